// SPDX-License-Identifier: MPL-2.0
//! The property `stats`.

use std::collections::VecDeque;
use std::time::Duration;

use gst::glib;
use gst::prelude::*;

/// The property as `gst-inspect-1.0` shows it; `more` is what else the element counts.
pub fn property(more: &str) -> glib::ParamSpec {
    glib::ParamSpecBoxed::builder::<gst::Structure>("stats")
        .nick("Statistics")
        .blurb(&format!("Counts since the start (frames out, of these repeated; frames skipped), the generator's nanoseconds a frame (inference-time-mean, inference-time-p95), and how it computes (arithmetic: precision, kernels){more}"))
        .read_only()
        .build()
}

/// How many of the latest inferences the 95th percentile is taken of.
const LATEST: usize = 500;

/// Counts since the element started.
#[derive(Debug, Default)]
pub struct Stats {
    frames: u64,
    repeated: u64,
    skipped: u64,
    inferences: u64,
    total: Duration,
    latest: VecDeque<Duration>,
}

impl Stats {
    /// A painted frame went out.
    pub fn painted(&mut self, inference: Option<Duration>) {
        self.frames += 1;
        let Some(inference) = inference else { return };
        self.inferences += 1;
        self.total += inference;
        self.latest.push_back(inference);
        if self.latest.len() > LATEST {
            self.latest.pop_front();
        }
    }

    /// The last picture went out once more.
    pub fn repeated(&mut self) {
        self.frames += 1;
        self.repeated += 1;
    }

    /// A frame was due and none went out.
    pub fn skipped(&mut self) {
        self.skipped += 1;
    }

    /// Frames out.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Frames painted, and frames repeated or skipped: what a QoS message wants to know.
    pub fn processed_and_dropped(&self) -> (u64, u64) {
        (self.frames - self.repeated, self.repeated + self.skipped)
    }

    /// How long the generator took for a frame, on average.
    pub fn mean_inference(&self) -> Duration {
        self.total / (self.inferences.max(1) as u32)
    }

    /// All counts, as the property shows them, and how the generator computes, where one is loaded.
    pub fn structure(&self, arithmetic: Option<&str>) -> gst::Structure {
        let mut latest: Vec<Duration> = self.latest.iter().copied().collect();
        latest.sort_unstable();
        let p95 = latest.get(latest.len() * 95 / 100).copied().unwrap_or_default();
        let mean = self.mean_inference().as_nanos() as u64;
        gst::Structure::builder("application/x-lipsync-stats")
            .field("frames", self.frames)
            .field("repeated", self.repeated)
            .field("skipped", self.skipped)
            .field("inference-time-mean", mean)
            .field("inference-time-p95", p95.as_nanos() as u64)
            .field("arithmetic", arithmetic.unwrap_or_default())
            .build()
    }
}
