// SPDX-License-Identifier: MPL-2.0
//! Clips: which of an avatar's frames belong together, how they are played, and what for.

use std::fmt::{Display, Formatter};
use std::ops::Range;

use serde::{Deserialize, Serialize};

/// The clip that every avatar has: its own frames, unless the manifest gives another of that name.
pub const IDLE: &str = "idle";

/// What a clip is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClipUse {
    /// Nobody speaks. Several take turns.
    Idle,
    /// Somebody else speaks.
    Listening,
    /// The answer is being thought about.
    Thinking,
    /// The avatar speaks; where there is none, it speaks in the idle clips.
    Speaking,
    /// Played at request only.
    #[default]
    Gesture,
    /// Played at the stressed words of what is said, as often as is asked for.
    Emphasis,
}

/// The order in which a clip's frames are shown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Play {
    /// From the first to the last.
    #[default]
    Once,
    /// Again from the first after the last.
    Loop,
    /// Forward and backward, the frames at both ends once each time.
    ThereAndBack,
}

/// As the manifest has it.
impl Display for ClipUse {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}

/// As the manifest has it.
impl Display for Play {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        self.serialize(f)
    }
}

/// Whose mouth a clip shows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ClipMouth {
    /// The generator's.
    #[default]
    Painted,
    /// That of the frames, also while somebody speaks: a smile, a laugh.
    Own,
}

/// Frames of an avatar that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Clip {
    /// By what it is asked for.
    pub name: String,
    /// What it is for.
    pub used_for: ClipUse,
    /// In which order its frames are shown.
    pub play: Play,
    /// Whose mouth it shows.
    pub mouth: ClipMouth,
    /// Its frames, as indices of the avatar's; at least one.
    pub frames: Range<usize>,
    /// Where it begins: frames after the first.
    pub start: usize,
}

impl Clip {
    /// The clip of frames that are all there are, as every layout knows it.
    pub(super) fn idle(frames: usize, start: usize) -> Self {
        Self {
            name: IDLE.into(),
            used_for: ClipUse::Idle,
            play: Play::ThereAndBack,
            mouth: ClipMouth::Painted,
            frames: 0..frames,
            start,
        }
    }

    /// Frames until it begins anew, or ends.
    pub fn period(&self) -> u64 {
        let count = self.frames.len() as u64;
        match self.play {
            Play::Once | Play::Loop => count,
            Play::ThereAndBack => (2 * count).saturating_sub(2).max(1),
        }
    }

    /// Index of the avatar's frame that is shown `position` frames after the beginning. One that is played once stays at
    /// its last.
    pub fn frame_at(&self, position: u64) -> usize {
        let (period, last) = (self.period(), self.frames.len() as u64 - 1);
        let position = position + self.start as u64;
        let place = match self.play {
            Play::Once => position.min(last),
            Play::Loop => position % period,
            Play::ThereAndBack => {
                let place = position % period;
                place.min(2 * last - place)
            }
        };
        self.frames.start + place as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(play: Play, frames: Range<usize>, start: usize, n: u64) -> Vec<usize> {
        let clip = Clip { play, frames, ..Clip::idle(1, start) };
        (0..n).map(|n| clip.frame_at(n)).collect()
    }

    #[test]
    fn clips_play_as_they_are_to() {
        assert_eq!(shown(Play::ThereAndBack, 0..4, 0, 8), [0, 1, 2, 3, 2, 1, 0, 1]);
        assert_eq!(shown(Play::ThereAndBack, 0..4, 1, 8), [1, 2, 3, 2, 1, 0, 1, 2]);
        assert_eq!(shown(Play::ThereAndBack, 0..1, 0, 3), [0, 0, 0]);
        assert_eq!(shown(Play::ThereAndBack, 0..2, 0, 3), [0, 1, 0]);
        assert_eq!(shown(Play::Loop, 5..8, 0, 5), [5, 6, 7, 5, 6]);
        assert_eq!(shown(Play::Once, 5..8, 0, 5), [5, 6, 7, 7, 7]);
    }
}
