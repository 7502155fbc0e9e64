// SPDX-License-Identifier: MPL-2.0
//! What a video frame shows of an avatar: one of its frames, or something between two of them.

/// Frames that are prefetched at most: a third of a second.
pub const PREFETCH: usize = 8;

/// A picture of an avatar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameRef {
    /// The avatar's frame of that index.
    Single(usize),
    /// `weight` of 255 of the way from one frame to another.
    Between {
        /// Index of the one frame.
        from: usize,
        /// Index of the other.
        to: usize,
        /// 1 to 254: how much of the way.
        weight: u8,
    },
}

impl FrameRef {
    /// The picture that far between two frames.
    pub fn between(from: usize, to: usize, weight: u8) -> Self {
        match weight {
            0 => Self::Single(from),
            255 => Self::Single(to),
            _ if from == to => Self::Single(from),
            weight => Self::Between { from, to, weight },
        }
    }
}

impl From<usize> for FrameRef {
    fn from(index: usize) -> Self {
        Self::Single(index)
    }
}

/// What a video frame is to show, and what those after it will, unless something happens meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shot {
    /// The picture.
    pub frame: FrameRef,
    /// How much of the mouth is the picture's own, of 255: the rest is painted.
    pub own_mouth: u8,
    /// The next ones.
    pub ahead: [FrameRef; PREFETCH],
}

impl Shot {
    /// A frame of the avatar whose mouth is painted, and which stays.
    pub fn still(index: usize) -> Self {
        let frame = FrameRef::Single(index);
        Self { frame, own_mouth: 0, ahead: [frame; PREFETCH] }
    }
}
