// SPDX-License-Identifier: MPL-2.0
//! Where one clip is left for another, and how long the way between them is: the frames that look most alike.

use std::num::NonZeroUsize;

use image::GrayImage;
use lru::LruCache;

use crate::avatar::Avatar;
use crate::avatar::clips::{Clip, Play};
use crate::picture::image_file;

/// How long a gesture may wait for a frame from which it is well entered, and how long the way there may be, in nanoseconds.
pub const GESTURE: (u64, u64) = (200_000_000, 600_000_000);
/// The same for clips that go on.
pub const STATE: (u64, u64) = (500_000_000, 1_000_000_000);
/// How long the way to a clip that underlines a word may be, in nanoseconds: else the word goes without.
pub const EMPHASIS: u64 = 400_000_000;
/// Small frames that are remembered: those of a few joins, about 4 MB at 720p.
const MOST_SEEN: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// Places of a clip that goes round where it may be entered; of those whose face is nearest, the pictures are compared.
const ENTRIES: usize = 8;
/// A join may change the picture by so much more than the clips themselves do from frame to frame.
const ALLOWED: f32 = 0.35;
/// Pictures between two clips at least: their frames may differ in grain, which is not seen in small ones.
const SHORTEST: u32 = 4;
/// The motion of clips that stand still, in levels: less is not seen.
const STILL: f32 = 0.15;

/// A place in a clip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// Index of the clip.
    pub clip: usize,
    /// Frames since its beginning.
    pub position: u64,
}

/// How to come from one clip to another: at first the one goes on for `wait` frames, then come `length` pictures between the two,
/// which both go on meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Join {
    /// Frames of the first clip.
    pub wait: u32,
    /// Where the other is entered.
    pub entry: Cursor,
    /// Pictures between the two.
    pub length: u32,
}

/// Compares frames of an avatar, small and in grey, and remembers the last that it has seen.
pub struct Matching {
    /// `None` for those that cannot be read, which whoever paints them will report.
    seen: LruCache<usize, Option<GrayImage>>,
}

impl Default for Matching {
    fn default() -> Self {
        Self { seen: LruCache::new(MOST_SEEN) }
    }
}

impl Matching {
    /// The best way from a place in a clip to another clip, leaving within a time and over a time.
    pub fn join(&mut self, avatar: &Avatar, from: Cursor, to: usize, times: (u64, u64)) -> Join {
        let [patience, longest] = [times.0, times.1].map(|time| frames_in(avatar, time));
        let (leaving, entered) = (&avatar.clips[from.clip], &avatar.clips[to]);
        let entries = self.entries(avatar, leaving.frame_at(from.position + 1), entered);
        let mut best: Option<(f32, Join)> = None;
        for wait in 0..=patience {
            let left = leaving.frame_at(from.position + u64::from(wait) + 1);
            for position in &entries {
                let distance = self.distance(avatar, left, entered.frame_at(*position));
                if best.is_none_or(|(least, _)| distance < least) {
                    best = Some((
                        distance,
                        Join { wait, entry: Cursor { clip: to, position: *position }, length: 0 },
                    ));
                }
            }
        }
        let Some((distance, join)) = best else {
            return Join { wait: 0, entry: Cursor { clip: to, position: 0 }, length: longest };
        };
        let before = self.motion(avatar, leaving, from.position + u64::from(join.wait));
        let motion = before.max(self.motion(avatar, entered, join.entry.position)).max(STILL);
        // What the join adds to the motion of either clip is spread over its frames.
        let steps = (distance / (ALLOWED * motion)).ceil() as u32;
        let length = if distance > 0.0 { steps.max(SHORTEST).min(longest) } else { 0 };
        Join { length, ..join }
    }

    /// Where a clip may be entered from a frame.
    fn entries(&self, avatar: &Avatar, from: usize, clip: &Clip) -> Vec<u64> {
        if clip.play == Play::Once {
            return vec![0];
        }
        let face = |index: usize| {
            let face = avatar.frames[index].face;
            [face.x, face.y, face.width, face.height]
        };
        let from = face(from);
        let far = |position: &u64| -> i64 {
            let to = face(clip.frame_at(*position));
            from.iter()
                .zip(to)
                .map(|(a, b)| a.saturating_sub(b).saturating_abs())
                .fold(0, i64::saturating_add)
        };
        let mut positions: Vec<u64> = (0..clip.period()).collect();
        // Of the same distance, the first.
        if let Some(last) = positions.len().checked_sub(1) {
            positions.select_nth_unstable_by_key(ENTRIES.min(last), |position| (far(position), *position));
        }
        positions.truncate(ENTRIES);
        positions.sort_by_key(|position| (far(position), *position));
        positions
    }

    /// How much a clip changes with the frame behind a position.
    fn motion(&mut self, avatar: &Avatar, clip: &Clip, position: u64) -> f32 {
        // Over a few frames: one may be repeated, or the turn; gestures begin slowly.
        let frames = if clip.play == Play::Once { 8 } else { 3 };
        let changes = (0..frames).map(|n| {
            let [a, b] = [n, n + 1].map(|n| clip.frame_at(position + n));
            self.distance(avatar, a, b)
        });
        changes.fold(0.0, f32::max)
    }

    /// The mean difference of two frames, in levels; that of black and white where one cannot be read.
    fn distance(&mut self, avatar: &Avatar, a: usize, b: usize) -> f32 {
        if a == b {
            return 0.0;
        }
        for index in [a, b] {
            let read = || image_file::read_thumbnail(&avatar.frames[index].picture).ok();
            self.seen.get_or_insert(index, read);
        }
        match (self.seen.peek(&a).and_then(Option::as_ref), self.seen.peek(&b).and_then(Option::as_ref)) {
            (Some(a), Some(b)) if a.len() == b.len() => {
                let sum: u64 = a.iter().zip(b.iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
                sum as f32 / a.len().max(1) as f32
            }
            _ => f32::from(u8::MAX),
        }
    }
}

/// Frames of the avatar in a time.
pub fn frames_in(avatar: &Avatar, time: u64) -> u32 {
    (time / avatar.rate.time_of(1)) as u32
}
