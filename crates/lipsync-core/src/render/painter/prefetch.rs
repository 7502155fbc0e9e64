// SPDX-License-Identifier: MPL-2.0
//! What workers do while there is nothing to paint: they make frames ready that will be shown soon.

use std::sync::Arc;

use crate::avatar::frames::{FrameRef, FrameStore};
use crate::error::Result;
use crate::generator::Generator;

/// A frame that will be shown soon.
pub(super) struct PrefetchJob {
    pub(super) frames: Arc<FrameStore>,
    pub(super) at: FrameRef,
    /// Whether it will speak, so that the network is to see it.
    pub(super) speaks: bool,
}

/// Decodes a frame, and has the network see it if it will speak.
pub(super) fn prefetch(job: &PrefetchJob, generator: &mut Generator) -> Result<()> {
    let frame = job.frames.get(job.at)?;
    if job.speaks {
        generator.encode_face(&frame.seen)?;
        job.frames.note_growth(job.at, &frame);
    }
    Ok(())
}
