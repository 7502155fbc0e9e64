// SPDX-License-Identifier: MPL-2.0
//! A frame to be painted: what it is painted from, and the slot where its result is waited for.

use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use crate::avatar::frames::{FrameRef, FrameStore};
use crate::error::Result;
use crate::features::Context;
use crate::render::painter::mouth::{GeneratedMouth, MouthOutcome, MouthPromise};
use crate::render::painter::painted::Painted;
use crate::sync;

/// The mouth that a frame is to have.
#[derive(Clone)]
pub enum MouthRequest {
    /// That of the sound.
    Speech(Context),
    /// The mouth of the last frame asked for before this one that speaks or is at rest, once more.
    Repeat,
    /// Half way from that one to the mouth at rest.
    Closing,
    /// At rest: that of silence.
    Rest,
}

/// Where the result of a job is put.
#[derive(Default)]
pub(super) struct Slot {
    result: Mutex<Option<Result<Painted>>>,
    done: Condvar,
}

impl Slot {
    fn lock(&self) -> MutexGuard<'_, Option<Result<Painted>>> {
        sync::lock(&self.result)
    }

    pub(super) fn fulfil(&self, result: Result<Painted>) {
        *self.lock() = Some(result);
        self.done.notify_all();
    }

    /// Takes the result, if it comes within that time.
    pub(super) fn take_within(&self, patience: Duration) -> Option<Result<Painted>> {
        let is_missing = |result: &mut Option<_>| result.is_none();
        sync::wait_timeout_while(&self.done, self.lock(), patience, is_missing).0.take()
    }
}

pub(super) struct Job {
    pub(super) painter: u64,
    /// What is heard in silence: its mouths are painted once.
    pub(super) silence: Option<Arc<Context>>,
    pub(super) frames: Arc<FrameStore>,
    pub(super) at: FrameRef,
    /// How much of the mouth is the frame's own, of 255.
    pub(super) own_mouth: u8,
    pub(super) request: MouthRequest,
    /// What it repeats, should it repeat something.
    pub(super) before: Option<Arc<MouthOutcome>>,
    /// For those that repeat it; `None` where it is a repetition itself.
    pub(super) promise: Option<MouthPromise>,
    pub(super) slot: Arc<Slot>,
}

impl Job {
    /// Whether somebody still waits for it.
    pub(super) fn is_wanted(&self) -> bool {
        Arc::strong_count(&self.slot) > 1
    }

    /// Whether what it is painted from is silence, to the last bit.
    pub(super) fn is_silent(&self) -> bool {
        match (&self.request, &self.silence) {
            (MouthRequest::Speech(context), Some(silence)) => **context == ***silence,
            (MouthRequest::Speech(_), None) => false,
            _ => true,
        }
    }

    /// The mouth before, if it is known and there is one.
    pub(super) fn mouth_before(&self) -> GeneratedMouth {
        self.before.as_ref().and_then(|before| before.get()).flatten()
    }

    /// Whether everything is there that it is painted from.
    pub(super) fn is_ready(&self) -> bool {
        match self.request {
            MouthRequest::Repeat | MouthRequest::Closing => {
                self.before.as_ref().is_none_or(|before| before.get().is_some())
            }
            MouthRequest::Speech(_) | MouthRequest::Rest => true,
        }
    }
}
