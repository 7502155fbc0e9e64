// SPDX-License-Identifier: MPL-2.0
//! How far a job is, as lines of JSON on stdout.

use std::time::{Duration, Instant};

use lipsync_core::rate::FrameRate;
use serde_json::json;

/// A line at most so often.
const EVERY: Duration = Duration::from_millis(500);

pub struct Progress {
    rate: FrameRate,
    /// Frames of the video, as far as they were counted.
    frames: Option<u64>,
    /// Frames in pieces that are complete, and how many of them are earlier runs'.
    complete: u64,
    resumed: u64,
    begun: Instant,
    last: Option<(&'static str, Instant)>,
}

impl Progress {
    pub fn new(rate: FrameRate) -> Self {
        Self { rate, frames: None, complete: 0, resumed: 0, begun: Instant::now(), last: None }
    }

    pub fn set_frames(&mut self, frames: u64) {
        self.frames = Some(frames);
    }

    /// Counts the frames of a piece that this run has rendered.
    pub fn add(&mut self, frames: u64) {
        self.complete += frames;
    }

    /// Counts the frames of a piece that an earlier run has rendered.
    pub fn add_resumed(&mut self, frames: u64) {
        self.complete += frames;
        self.resumed += frames;
    }

    pub fn resumed(&self) -> u64 {
        self.resumed
    }

    /// Prints how far the stage is: the piece that is being rendered, or the whole that is being joined.
    pub fn show(&mut self, stage: &'static str, reached: gst::ClockTime, of: gst::ClockTime) {
        let now = Instant::now();
        if self.last.is_some_and(|(shown, at)| shown == stage && now - at < EVERY) {
            return;
        }
        self.last = Some((stage, now));
        let reached = self.rate.frames_covering(reached.nseconds());
        let done = if stage == "join" { reached } else { self.complete + reached };
        let of = self.frames.unwrap_or_else(|| self.rate.frames_covering(of.nseconds())).max(done);
        let mine = done.saturating_sub(self.resumed);
        let mut line = json!({ "stage": stage, "done": done, "of": of });
        // Joining takes seconds.
        if stage != "join" && mine > 0 {
            let left = self.begun.elapsed().as_secs_f64() * (of - done) as f64 / mine as f64;
            line["seconds_left"] = (left.round() as u64).into();
        }
        super::json::print(&line);
    }
}
