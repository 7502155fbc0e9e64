// SPDX-License-Identifier: MPL-2.0
//! How well an avatar's clips join the clip that is played while nothing else is, for whoever makes them.

use std::ops::RangeInclusive;

use super::matching::{Cursor, GESTURE, Matching, STATE, frames_in};
use crate::avatar::Avatar;
use crate::avatar::clips::{Clip, Play};

/// Places of a clip from which it is left, evenly spaced.
const PLACES: u64 = 8;

/// How many pictures between two clips it takes to come from one to the other: fewest and most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClipJoins {
    /// From the clip `idle`.
    pub there: RangeInclusive<u32>,
    /// Back to it.
    pub back: RangeInclusive<u32>,
}

/// The joins of each clip but the first with the first, in the order of the clips.
pub fn joins(avatar: &Avatar) -> Vec<ClipJoins> {
    let mut matching = Matching::default();
    let mut between = |from: usize, to: usize, times: (u64, u64)| {
        let lengths: Vec<u32> = places(&avatar.clips[from], frames_in(avatar, times.0))
            .map(|position| matching.join(avatar, Cursor { clip: from, position }, to, times).length)
            .collect();
        let [least, most] = [lengths.iter().min(), lengths.iter().max()];
        least.copied().unwrap_or(0)..=most.copied().unwrap_or(0)
    };
    (1..avatar.clips.len())
        .map(|clip| {
            let is_once = avatar.clips[clip].play == Play::Once;
            ClipJoins {
                there: between(0, clip, if is_once { GESTURE } else { STATE }),
                back: between(clip, 0, (if is_once { GESTURE.0 } else { STATE.0 }, STATE.1)),
            }
        })
        .collect()
}

/// Where a clip is left: anywhere, or at its end.
fn places(clip: &Clip, patience: u32) -> Box<dyn Iterator<Item = u64>> {
    let period = clip.period();
    match clip.play {
        Play::Once => Box::new(std::iter::once(period.saturating_sub(u64::from(patience) + 1))),
        Play::Loop | Play::ThereAndBack => {
            let places = PLACES.min(period);
            Box::new((0..places).map(move |n| n * period / places))
        }
    }
}
