// SPDX-License-Identifier: MPL-2.0
//! Clips with networks: whose mouth is seen in them and on the way to them.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{array, avatar, copy_folder, fixture, root};
use lipsync_core::avatar::clips::Clip;
use lipsync_core::avatar::frames::{FrameRef, FrameStore, Shot, read_picture};
use lipsync_core::generator::face::{FaceOptions, Framing, Style};
use lipsync_core::{Avatar, Canvas, PictureMut, PixelFormat, Presenter, PresenterOptions, Timeline};
use ndarray::Array1;

/// The avatar of the fixtures with a clip of its last two frames.
fn with_clip(keys: &str) -> (tempfile::TempDir, Avatar) {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&fixture("avatars/own"), folder.path());
    let manifest = folder.path().join("avatar.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    let clips = format!("[clips.idle]\nrange = [0, 3]\n[clips.smile]\nrange = [4, 5]\n{keys}\n");
    std::fs::write(&manifest, text + &clips).unwrap();
    let avatar = Avatar::open(folder.path()).unwrap();
    (folder, avatar)
}

/// Frames of a second of speech, in which the clip is played from frame 5 on.
fn speak(avatar: Avatar) -> Vec<Vec<u8>> {
    let samples: Array1<f32> = array("golden/audio_16k");
    let mut presenter = Presenter::open(avatar, &PresenterOptions::default().threads(1)).unwrap();
    presenter.set_input(16_000, vec![1.0]).unwrap();
    presenter.push(&samples.as_slice().unwrap()[..16_000]).unwrap();
    presenter.finish().unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = presenter.pull().unwrap() {
        frames.push(frame.to_vec());
        if frames.len() == 5 {
            assert!(presenter.timeline().play_clip("smile") && !presenter.timeline().play_clip("frown"));
        }
    }
    frames
}

/// The avatar's own frames.
fn own() -> Vec<Vec<u8>> {
    let avatar = avatar("own");
    let read = |frame| read_picture(frame, avatar.size()).unwrap().colours.into_raw();
    avatar.frames.iter().map(read).collect()
}

#[test]
fn a_clip_with_its_own_mouth_is_shown_as_it_is_while_somebody_speaks() {
    let (_folder, avatar) = with_clip("mouth = \"own\"");
    let (frames, own) = (speak(avatar), own());
    assert_eq!(frames.len(), 25);
    let as_they_are: Vec<usize> = (0..25).filter(|n| own.contains(&frames[*n])).collect();
    assert!(!as_they_are.is_empty(), "the clip is not seen");
    // All others have a mouth that was painted; and the clip comes within its time, and goes.
    assert!(*as_they_are.first().unwrap() >= 5 && *as_they_are.last().unwrap() < 24, "{as_they_are:?}");
    assert!(as_they_are.iter().all(|n| own[4..].contains(&frames[*n])), "{as_they_are:?}");
}

#[test]
fn in_a_clip_and_between_two_the_mouth_is_painted() {
    let (_folder, avatar) = with_clip("");
    let painted = speak(avatar.clone());
    let own = own();
    assert!(painted.iter().all(|frame| !own.contains(frame)), "no mouth was painted");
    // The same sound and the same requests give the same pictures.
    assert_eq!(painted, speak(avatar));
}

/// The brightness of a shipped avatar's picture, as it is shown while nobody speaks, in levels: averaged over 4 x 4 pixels, so that motion
/// counts and grain does not.
fn shown(frames: &FrameStore, shot: &Shot) -> Vec<f64> {
    const CELL: usize = 4;
    let (width, height) = frames.avatar().size();
    let mut bytes = vec![0; frames.format().bytes(width, height)];
    let planes = vec![(bytes.as_mut_slice(), 3 * width as usize)];
    let mut target = PictureMut { format: frames.format(), width, height, planes };
    frames.get(shot.frame).unwrap().draw(None, &mut target);
    let columns = width as usize / CELL;
    let mut cells = vec![0.0; columns * (height as usize / CELL)];
    for (y, row) in bytes.chunks_exact(3 * width as usize).enumerate() {
        for (x, pixels) in row.chunks_exact(3 * CELL).enumerate() {
            let sum: u32 = pixels.iter().map(|level| u32::from(*level)).sum();
            cells[y / CELL * columns + x] += f64::from(sum) / (3 * CELL * CELL) as f64;
        }
    }
    cells
}

/// The largest mean change from one picture to the next, in levels.
fn largest_change(frames: &FrameStore, shots: &[Shot]) -> f64 {
    let pictures: Vec<Vec<f64>> = shots.iter().map(|shot| shown(frames, shot)).collect();
    let change = |pair: &[Vec<f64>]| {
        let sum: f64 = pair[0].iter().zip(&pair[1]).map(|(a, b)| (a - b).abs()).sum();
        sum / pair[0].len() as f64
    };
    pictures.windows(2).map(change).fold(0.0, f64::max)
}

/// Joins to each clip of the shipped avatars, and back, change the picture from frame to frame by at most half as much again as the
/// clips themselves; a quarter of a level is not seen.
#[test]
fn joins_of_the_shipped_avatars_are_not_seen() {
    for name in ["iris", "theo"] {
        let avatar = Arc::new(Avatar::open(&root().join("models").join(name)).unwrap());
        let framing = Framing::new(320, Style::SyncTalk, FaceOptions::default());
        let canvas = Canvas { format: PixelFormat::RGB8, background: None };
        let frames = FrameStore::new(avatar.clone(), canvas, framing, 256 << 20);
        for (n, clip) in avatar.clips.iter().enumerate().skip(1) {
            // From different places of the idle loop.
            let begin = 17 * n as u64;
            let mut timeline = Timeline::new(avatar.clone());
            timeline.shot(begin, false);
            assert!(timeline.play_clip(&clip.name));
            let joined: Vec<Shot> =
                (0..40 + clip.period()).map(|n| timeline.shot(begin + 1 + n, false)).collect();
            assert!(
                joined
                    .iter()
                    .any(|shot| matches!(shot.frame, FrameRef::Single(i) if clip.frames.contains(&i)))
            );
            let of = |clip: &Clip, from: u64, count: u64| -> Vec<Shot> {
                (from..from + count).map(|n| Shot::still(clip.frame_at(n))).collect()
            };
            let own = largest_change(&frames, &of(clip, 0, clip.period()))
                .max(largest_change(&frames, &of(avatar.idle(), begin, 40)));
            let most = largest_change(&frames, &joined);
            assert!(most <= (1.5 * own).max(0.25), "{name}, {}: {most:.2} of {own:.2}", clip.name);
        }
    }
}

/// The shipped avatars underline words of the sample recording: more of them, the more is asked for, and both ways that they have.
#[test]
fn words_of_real_speech_are_underlined() {
    let mut reader = hound::WavReader::open(root().join("examples/sample.wav")).unwrap();
    let rate = reader.spec().sample_rate;
    let samples: Vec<f32> = reader.samples::<i16>().map(|s| f32::from(s.unwrap()) / 32768.0).collect();
    let underlined = |name: &str, amount: f64| -> Vec<String> {
        let avatar = Avatar::open(&root().join("models").join(name)).unwrap();
        let mut presenter = Presenter::open(avatar, &PresenterOptions::default()).unwrap();
        presenter.set_input(rate, vec![1.0]).unwrap();
        let mut clips = Vec::new();
        for (n, piece) in samples.chunks(rate as usize / 10).enumerate() {
            presenter.push(piece).unwrap();
            // In mid-speech: times go on from there.
            if n == 5 {
                presenter.set_emphasis(amount);
            }
            while presenter.pull().unwrap().is_some() {
                clips.push(presenter.timeline().clip().to_owned());
            }
        }
        clips.dedup();
        clips.retain(|clip| clip.starts_with("stress"));
        clips
    };
    for name in ["iris", "theo"] {
        let [none, usual, many] = [0.0, 0.3, 1.0].map(|amount| underlined(name, amount));
        assert!(none.is_empty(), "{name}: {none:?}");
        assert!(!usual.is_empty() && usual.len() <= many.len(), "{name}: {usual:?} {many:?}");
    }
}
