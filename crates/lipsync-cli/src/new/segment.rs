// SPDX-License-Identifier: MPL-2.0
//! The segment of a video from --from to --to, in frames.

use std::path::Path;

use anyhow::{Result, bail};

use crate::cli::New;
use crate::format;

/// Frames a second in data sets of SyncTalk_2D.
pub const RATE: usize = 25;

/// Frames from `start` to before `end`, or to the last one.
#[derive(Clone, Copy)]
pub struct Segment {
    pub start: usize,
    pub end: Option<usize>,
}

impl Segment {
    pub fn of(options: &New) -> Result<Self> {
        let frame = |seconds: f64| (seconds * RATE as f64).round() as usize;
        let segment = Self { start: options.from.map_or(0, frame), end: options.to.map(frame) };
        if segment.end.is_some_and(|end| end <= segment.start) {
            bail!(
                "--from {} is not before --to {}: nothing would be left. Give an earlier --from or a later --to",
                format::time(options.from.unwrap_or(0.0)),
                format::time(options.to.unwrap_or(0.0))
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
            let time = |frame: usize| format::time(frame as f64 / RATE as f64);
            bail!(
                "{}: ends at {}, before --from {}. Give an earlier one",
                video.display(),
                time(frames),
                time(self.start)
            );
        }
        Ok(())
    }
}
