// SPDX-License-Identifier: MPL-2.0
//! Clips of a made-up avatar: a bright blob before a gradient, which sways, nods, and looks aside.

use std::path::Path;

use image::{Rgb, RgbImage};

use super::*;
use crate::avatar::clips::Clip;
use crate::avatar::frames::FrameStore;
use crate::avatar::{AvatarFrameFiles, FaceRect, Layout};
use crate::features::{MelWindows, RowSelection};
use crate::generator::face::{FaceOptions, Framing, Style};
use crate::picture::formats::{Canvas, PictureMut, PixelFormat};
use crate::picture::image_file::ImageInfo;
use crate::rate::FrameRate;

const SIZE: (u32, u32) = (192, 128);

/// The blob at a place, as a picture.
fn picture(x: f64, y: f64) -> RgbImage {
    RgbImage::from_fn(SIZE.0, SIZE.1, |column, row| {
        let (dx, dy) = (f64::from(column) - x, f64::from(row) - y);
        let blob = 160.0 * (-(dx * dx + dy * dy) / 500.0).exp();
        Rgb([30 + (row / 4) as u8 + blob as u8, 40 + blob as u8, 50])
    })
}

/// Frames of the blob going along a path, which are added to those of a folder.
fn add(avatar: &mut Avatar, clip: Clip, path: impl Fn(f64) -> (f64, f64)) {
    let start = avatar.frames.len();
    for n in 0..clip.frames.len() {
        let (x, y) = path(n as f64);
        let file = avatar.folder.join(format!("{}.png", start + n));
        picture(x, y).save(&file).unwrap();
        let face = FaceRect { x: x as i64 - 20, y: y as i64 - 20, width: 40, height: 40 };
        avatar.frames.push(AvatarFrameFiles { picture: file, face, views: None, parsing: None, alpha: None });
    }
    avatar.clips.push(Clip { frames: start..avatar.frames.len(), ..clip });
}

fn clip(name: &str, used_for: ClipUse, play: Play, frames: usize) -> Clip {
    Clip { name: name.into(), used_for, play, mouth: ClipMouth::Painted, frames: 0..frames, start: 0 }
}

/// An avatar with the clips idle, idle-2, listening, nod and smile.
fn avatar(folder: &Path) -> Arc<Avatar> {
    let mut avatar = Avatar {
        folder: folder.into(),
        layout: Layout::Own,
        title: String::new(),
        audio_encoder: None,
        generator: Default::default(),
        frames: Vec::new(),
        clips: Vec::new(),
        rate: FrameRate::NATIVE,
        image: ImageInfo { size: SIZE, alpha: false },
        background: None,
        context: RowSelection::Window,
        windows: MelWindows::default(),
        face: FaceOptions::default(),
        at_rest: true,
    };
    let wave = |n: f64, period: f64| (n / period * std::f64::consts::TAU).cos();
    add(&mut avatar, clip("idle", ClipUse::Idle, Play::ThereAndBack, 40), |n| {
        (90.0 + 5.0 * wave(n, 78.0), 60.0)
    });
    add(&mut avatar, clip("idle-2", ClipUse::Idle, Play::ThereAndBack, 30), |n| {
        (90.0 + 5.0 * wave(n, 58.0), 62.0 - 3.0 * wave(n, 58.0))
    });
    add(&mut avatar, clip("listening", ClipUse::Listening, Play::Loop, 25), |n| {
        (88.0, 64.0 + 3.0 * wave(n, 25.0))
    });
    add(&mut avatar, clip("nod", ClipUse::Gesture, Play::Once, 20), |n| (95.0, 64.0 - 4.0 * wave(n, 20.0)));
    let smile = Clip { mouth: ClipMouth::Own, ..clip("smile", ClipUse::Gesture, Play::Once, 20) };
    add(&mut avatar, smile, |_| (95.0, 60.0));
    Arc::new(avatar)
}

fn store(avatar: &Arc<Avatar>) -> FrameStore {
    let framing = Framing::new(16, Style::SyncTalk, FaceOptions::default());
    let canvas = Canvas { format: PixelFormat::RGB8, background: None };
    FrameStore::new(avatar.clone(), canvas, framing, 64 << 20)
}

/// The picture as it is shown, without a mouth.
fn drawn(store: &FrameStore, shot: &Shot) -> Vec<u8> {
    let mut bytes = vec![0; 3 * (SIZE.0 * SIZE.1) as usize];
    let mut target = PictureMut::packed(store.format(), SIZE.0, SIZE.1, &mut bytes);
    store.get(shot.frame).unwrap().draw(None, &mut target);
    bytes
}

fn change(a: &[u8], b: &[u8]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
}

/// The clip that a picture belongs to; `None` between two.
fn clip_of<'a>(avatar: &'a Avatar, shot: &Shot) -> Option<&'a str> {
    let FrameRef::Single(index) = shot.frame else { return None };
    avatar.clips.iter().find(|clip| clip.frames.contains(&index)).map(|clip| clip.name.as_str())
}

/// The clips in the order in which they are shown, without repetitions.
fn order(avatar: &Avatar, shots: &[Shot]) -> Vec<String> {
    let mut names: Vec<String> =
        shots.iter().filter_map(|shot| clip_of(avatar, shot)).map(Into::into).collect();
    names.dedup();
    names
}

fn shots(timeline: &mut Timeline, steps: std::ops::Range<u64>) -> Vec<Shot> {
    steps.map(|step| timeline.shot(step, false)).collect()
}

#[test]
fn an_avatar_with_one_clip_goes_there_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut avatar = Arc::unwrap_or_clone(avatar(folder.path()));
    avatar.clips.truncate(1);
    let clip = avatar.clips[0].clone();
    let mut timeline = Timeline::new(Arc::new(avatar));
    for step in [0, 1, 1, 5, 39, 77, 78, 1_000_000_007, 3, 4] {
        let shot = timeline.shot(step, step % 2 == 0);
        assert_eq!(shot.frame, FrameRef::Single(clip.frame_at(step)), "{step}");
        assert_eq!(shot.ahead[0], FrameRef::Single(clip.frame_at(step + 1)), "{step}");
    }
    assert!(!timeline.play_clip("nod") && !timeline.set_clip(Some("nod")));
}

#[test]
fn idle_clips_take_turns() {
    let folder = tempfile::tempdir().unwrap();
    let avatar = avatar(folder.path());
    let mut timeline = Timeline::new(avatar.clone());
    let shots = shots(&mut timeline, 0..400);
    assert_eq!(order(&avatar, &shots), ["idle", "idle-2", "idle", "idle-2", "idle", "idle-2"]);
}

#[test]
fn states_and_gestures_are_played_and_left() {
    let folder = tempfile::tempdir().unwrap();
    let avatar = avatar(folder.path());
    let mut timeline = Timeline::new(avatar.clone());
    let mut all = shots(&mut timeline, 0..10);
    timeline.set_state(State::Listening);
    all.extend(shots(&mut timeline, 10..80));
    assert!(timeline.play_clip("nod"));
    all.extend(shots(&mut timeline, 80..140));
    // There is no clip for it: it is idle.
    timeline.set_state(State::Thinking);
    all.extend(shots(&mut timeline, 140..180));
    let order = order(&avatar, &all);
    assert_eq!(order[..4], ["idle", "listening", "nod", "listening"]);
    assert!(order.len() == 5 && order[4].starts_with("idle"), "{order:?}");
    let nods = all.iter().filter(|shot| clip_of(&avatar, shot) == Some("nod")).count();
    assert!((1..=20).contains(&nods), "{nods}");
}

#[test]
fn a_clip_that_is_set_stays_or_is_played_once() {
    let folder = tempfile::tempdir().unwrap();
    let avatar = avatar(folder.path());
    let mut timeline = Timeline::new(avatar.clone());
    assert!(timeline.set_clip(Some("listening")));
    let mut all = shots(&mut timeline, 0..200);
    assert!(timeline.set_clip(Some("nod")));
    all.extend(shots(&mut timeline, 200..260));
    assert!(!timeline.set_clip(Some("nowhere")));
    assert!(timeline.set_clip(Some("idle-2")));
    all.extend(shots(&mut timeline, 260..460));
    assert!(timeline.set_clip(None));
    assert_eq!(order(&avatar, &all), ["listening", "nod", "idle", "idle-2"]);
}

/// What is measured is what is asked for: a join changes the picture from frame to frame by at most half as much again as the clips
/// themselves do.
#[test]
fn joins_change_little_more_than_the_clips_do() {
    let folder = tempfile::tempdir().unwrap();
    let avatar = avatar(folder.path());
    let store = store(&avatar);
    let own = |name: &str| {
        let clip = avatar.clip(name).unwrap();
        let frame = |n| drawn(&store, &Shot::still(clip.frame_at(n)));
        let changes: Vec<f64> = (0..clip.period() - 1).map(|n| change(&frame(n), &frame(n + 1))).collect();
        changes.into_iter().fold(0.0, f64::max)
    };
    for begin in [3, 17, 40, 63] {
        for name in ["listening", "nod", "idle-2"] {
            let mut timeline = Timeline::new(avatar.clone());
            let mut all = shots(&mut timeline, 0..begin);
            assert!(timeline.set_clip(Some(name)));
            all.extend(shots(&mut timeline, begin..begin + 50));
            let pictures: Vec<_> = all.iter().map(|shot| drawn(&store, shot)).collect();
            let most = pictures.windows(2).map(|pair| change(&pair[0], &pair[1])).fold(0.0, f64::max);
            // Levels are whole numbers, and these pictures are small.
            let allowed = 1.5 * own("idle").max(own(name)) + 0.1;
            assert!(most <= allowed, "{name} from {begin}: {most} of {allowed}");
        }
    }
}

#[test]
fn previews_come_true_while_nothing_happens() {
    let folder = tempfile::tempdir().unwrap();
    let mut timeline = Timeline::new(avatar(folder.path()));
    timeline.shot(0, false);
    timeline.play_clip("nod");
    let mut ahead = timeline.shot(1, false).ahead;
    for step in 2..2 + PREFETCH as u64 {
        let shot = timeline.shot(step, false);
        assert_eq!(shot.frame, ahead[0]);
        ahead.rotate_left(1);
    }
}

/// Every clip asked for anew on every frame: whatever has begun is brought to its end, and nothing is left out for long.
#[test]
fn changes_on_every_frame_do_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let avatar = avatar(folder.path());
    let store = store(&avatar);
    let mut timeline = Timeline::new(avatar.clone());
    let names: Vec<String> = avatar.clips.iter().map(|clip| clip.name.clone()).collect();
    let mut all = Vec::new();
    for step in 0..250 {
        let name = &names[step as usize % names.len()];
        assert!(if step % 2 == 0 { timeline.set_clip(Some(name)) } else { timeline.play_clip(name) });
        timeline.set_state(if step % 3 == 0 { State::Listening } else { State::Auto });
        all.push(timeline.shot(step, step % 7 == 0));
    }
    let pictures: Vec<_> = all.iter().map(|shot| drawn(&store, shot)).collect();
    let most = pictures.windows(2).map(|pair| change(&pair[0], &pair[1])).fold(0.0, f64::max);
    let apart = change(&drawn(&store, &Shot::still(0)), &drawn(&store, &Shot::still(95)));
    assert!(most < apart.max(1.0), "{most} {apart}");
    assert!(order(&avatar, &all).len() > 5);
}

#[test]
fn a_clip_may_keep_its_own_mouth() {
    let folder = tempfile::tempdir().unwrap();
    let avatar = avatar(folder.path());
    let mut timeline = Timeline::new(avatar.clone());
    shots(&mut timeline, 0..5);
    timeline.play_clip("smile");
    let all = shots(&mut timeline, 5..60);
    for shot in &all {
        match clip_of(&avatar, shot) {
            Some("smile") => assert_eq!(shot.own_mouth, 255),
            Some(_) => assert_eq!(shot.own_mouth, 0),
            None => {}
        }
    }
    assert!(all.iter().any(|shot| shot.own_mouth == 255) && all.last().unwrap().own_mouth == 0);
}

#[test]
fn a_word_is_underlined_where_nothing_else_is_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let mut with = Arc::unwrap_or_clone(avatar(folder.path()));
    let mut timeline = Timeline::new(Arc::new(with.clone()));
    timeline.shot(0, true);
    assert!(!timeline.emphasize(), "it has no clip for that");
    add(&mut with, clip("stress", ClipUse::Emphasis, Play::Once, 12), |n| {
        (95.0, 60.0 + 3.0 * (n / 11.0 * std::f64::consts::PI).sin())
    });
    let avatar = Arc::new(with);
    let mut timeline = Timeline::new(avatar.clone());
    timeline.shot(0, true);
    assert!(timeline.emphasize());
    assert!(!timeline.emphasize(), "one at a time");
    let all: Vec<Shot> = (1..60).map(|step| timeline.shot(step, true)).collect();
    assert_eq!(order(&avatar, &all), ["stress", "idle"]);
    assert!(timeline.play_clip("nod"));
    timeline.shot(60, true);
    assert!(!timeline.emphasize(), "a gesture is under way");
}
