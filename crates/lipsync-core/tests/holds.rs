// SPDX-License-Identifier: MPL-2.0
//! Frames that repeat a mouth: that of the frame before them, however many workers paint at the same time.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{BGR, copy_folder, fixture};
use lipsync_core::avatar::Avatar;
use lipsync_core::avatar::frames::{FrameStore, Shot};
use lipsync_core::features::Context;
use lipsync_core::inference::runtime::Engine;
use lipsync_core::picture::formats::{Canvas, PictureMut};
use lipsync_core::render::painter::{MouthRequest, Painted, Painter, PendingFrame};

/// An avatar whose frames take long to paint.
struct Slow {
    _folder: tempfile::TempDir,
    painter: Painter,
    frames: Arc<FrameStore>,
}

impl Slow {
    fn new(workers: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_folder(&fixture("avatars/own"), folder.path());
        std::fs::copy(fixture("models/slow_generator.onnx"), folder.path().join("generator.onnx")).unwrap();
        let avatar = Avatar::open(folder.path()).unwrap();
        let mut painter = Painter::open(&avatar, &Engine::default(), workers).unwrap();
        painter.set_silence(Context::zeros(painter.context_kind().values()));
        let canvas = Canvas { format: BGR, background: None };
        let frames = FrameStore::new(Arc::new(avatar), canvas, painter.framing(), 64 << 20);
        Self { _folder: folder, painter, frames: Arc::new(frames) }
    }

    /// Always the same frame, so that pictures of the same mouth are the same.
    fn ask(&self, request: MouthRequest) -> PendingFrame {
        self.painter.submit(&self.frames, &Shot::still(0), request)
    }

    fn speak(&self, seed: usize) -> MouthRequest {
        let mut context = Context::zeros(self.painter.context_kind().values());
        for (n, value) in context.iter_mut().enumerate() {
            *value = ((n * 37 + seed * 101) % 97) as f32 / 48.0 - 1.0;
        }
        MouthRequest::Speech(context)
    }

    fn draw(&self, painted: &Painted) -> Vec<u8> {
        let (width, height) = self.frames.avatar().image.size;
        let stride = width as usize * 3;
        let mut picture = vec![0; stride * height as usize];
        let planes = vec![(picture.as_mut_slice(), stride)];
        painted.draw(&mut PictureMut { format: BGR, width, height, planes });
        picture
    }

    fn picture(&self, pending: PendingFrame) -> Vec<u8> {
        self.draw(&pending.wait().unwrap())
    }
}

#[test]
fn a_held_mouth_is_that_of_the_frame_before() {
    for workers in [1, 2, 4] {
        let slow = Slow::new(workers);
        let requests = (0..5).flat_map(|seed| [slow.speak(seed), MouthRequest::Repeat, MouthRequest::Repeat]);
        let pending: Vec<PendingFrame> = requests.map(|request| slow.ask(request)).collect();
        let pictures: Vec<Vec<u8>> = pending.into_iter().map(|pending| slow.picture(pending)).collect();
        for (n, group) in pictures.chunks(3).enumerate() {
            assert!(group[1] == group[0] && group[2] == group[0], "{workers} workers, mouth {n}");
            assert!(n == 0 || pictures[3 * n] != pictures[3 * n - 1], "mouth {n} is a new one");
        }
    }
}

#[test]
fn what_is_called_off_leaves_it_to_the_one_before() {
    for workers in [1, 3] {
        let slow = Slow::new(workers);
        // Nothing before it: the frame as it is.
        let bare = slow.ask(MouthRequest::Repeat);
        let first = slow.ask(slow.speak(1));
        // Enough to keep all workers busy, so that what follows is called off before its turn.
        let busy: Vec<PendingFrame> = (0..workers).map(|_| slow.ask(slow.speak(1))).collect();
        let lost: Vec<PendingFrame> = (5..9).map(|seed| slow.ask(slow.speak(seed))).collect();
        let held = slow.ask(MouthRequest::Repeat);
        let closing = slow.ask(MouthRequest::Closing);
        drop(lost);
        let [bare, first, held] = [bare, first, held].map(|pending| slow.picture(pending));
        assert!(held == first && bare != first, "{workers} workers");
        assert!(slow.picture(closing) != first);
        drop(busy);
    }
}

#[test]
fn what_takes_the_place_of_another_repeats_what_that_would_have_repeated() {
    let slow = Slow::new(2);
    let first = slow.ask(slow.speak(1));
    let second = slow.ask(slow.speak(2));
    let third = slow.ask(MouthRequest::Repeat);
    // As when somebody interrupts while these wait to go out.
    let instead = slow.painter.resubmit(&second, &slow.frames, &Shot::still(0), MouthRequest::Repeat);
    let rest = slow.painter.resubmit(&third, &slow.frames, &Shot::still(0), MouthRequest::Rest);
    let after = slow.ask(MouthRequest::Repeat);
    let [first, second, third, instead, rest, after] =
        [first, second, third, instead, rest, after].map(|pending| slow.picture(pending));
    assert!(instead == first && third == second && after == rest);
    assert!(first != second && rest != first);
}

#[test]
fn an_interruption_leaves_nobody_waiting() {
    let slow = Slow::new(2);
    for _ in 0..5 {
        let pending: Vec<PendingFrame> = (0..4)
            .flat_map(|seed| [slow.speak(seed), MouthRequest::Repeat])
            .map(|request| slow.ask(request))
            .collect();
        slow.painter.interrupt();
        assert!(pending.into_iter().all(|pending| pending.wait().is_err()));
        let held = slow.ask(MouthRequest::Repeat);
        assert!(held.wait().is_ok());
    }
}
