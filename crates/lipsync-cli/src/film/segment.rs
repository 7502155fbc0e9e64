// SPDX-License-Identifier: MPL-2.0
//! The segment of a video from --from to --to, in frames.

use std::path::Path;

use anyhow::{Result, bail};

use super::RATE;
use crate::format;

/// Frames from `start` to before `end`, or to the last one.
#[derive(Clone, Copy)]
pub struct Segment {
    pub start: usize,
    pub end: Option<usize>,
}

impl Segment {
    /// From and to in seconds.
    pub fn new(from: Option<f64>, to: Option<f64>) -> Result<Self> {
        let frame = |seconds: f64| (seconds * RATE as f64).round() as usize;
        let segment = Self { start: from.map_or(0, frame), end: to.map(frame) };
        if segment.end.is_some_and(|end| end <= segment.start) {
            bail!(
                "--from {} is not before --to {}: nothing would be left. Give an earlier --from or a later --to",
                format::time(from.unwrap_or(0.0)),
                format::time(to.unwrap_or(0.0))
            );
        }
        Ok(segment)
    }

    pub fn contains(self, frame: usize) -> bool {
        frame >= self.start && self.end.is_none_or(|end| frame < end)
    }

    /// Fails where a video of `frames` frames ends before the segment.
    pub fn check(self, frames: usize, video: &Path) -> Result<()> {
        if self.start >= frames {
            bail!(
                "{}: ends at {}, before --from {}. Give an earlier one",
                video.display(),
                super::time(frames),
                super::time(self.start)
            );
        }
        Ok(())
    }
}
