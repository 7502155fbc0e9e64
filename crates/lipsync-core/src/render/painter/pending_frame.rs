// SPDX-License-Identifier: MPL-2.0
//! The collector's side of a job.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::inference::cancellation::{self, POLL_INTERVAL};
use crate::render::painter::job::Slot;
use crate::render::painter::job_queue::JobQueue;
use crate::render::painter::mouth::MouthOutcome;
use crate::render::painter::painted::Painted;

/// A frame that was asked for. Dropping it calls the frame off, unless a worker already paints it.
pub struct PendingFrame {
    pub(super) slot: Arc<Slot>,
    pub(super) queue: Arc<JobQueue>,
    /// The frame whose mouth it repeats, should it repeat one.
    pub(super) before: Option<Arc<MouthOutcome>>,
}

impl PendingFrame {
    /// Waits for the frame.
    ///
    /// # Errors
    /// What the worker met, or [`Error::Interrupted`](crate::Error::Interrupted).
    pub fn wait(self) -> Result<Painted> {
        loop {
            if let Some(result) = self.wait_for(POLL_INTERVAL) {
                return result;
            }
            cancellation::check()?;
        }
    }

    /// The frame, if it is ready within that time.
    ///
    /// # Errors
    /// As [`Self::wait`].
    pub fn wait_for(&self, patience: Duration) -> Option<Result<Painted>> {
        let result = self.slot.take_within(patience);
        if result.is_none() {
            self.queue.stop_late_runs();
        }
        result
    }
}
