// SPDX-License-Identifier: MPL-2.0
//! Mouths that later frames repeat: which frame a repetition is bound to, and what has become of that frame.

use std::sync::{Arc, Mutex, MutexGuard};

use crate::picture::pool::Pooled;
use crate::sync;

/// A mouth as the generator painted it; `None` where the avatar's frame is shown as it is.
pub(super) type GeneratedMouth = Option<Arc<Pooled>>;

/// What becomes of the mouth of a frame, for the frames that repeat it.
pub(super) struct MouthOutcome(Mutex<MouthState>);

enum MouthState {
    /// It is still to be painted. The other is that of the frame asked for before.
    Pending(Option<Arc<MouthOutcome>>),
    Known(GeneratedMouth),
    /// It was called off or failed: repetitions use that one instead.
    Abandoned(Arc<MouthOutcome>),
}

impl MouthOutcome {
    /// That of a frame asked for now, `before` being that of the frame asked for before it.
    pub(super) fn pending(before: Option<Arc<Self>>) -> Arc<Self> {
        Arc::new(Self(Mutex::new(MouthState::Pending(before))))
    }

    fn lock(&self) -> MutexGuard<'_, MouthState> {
        sync::lock(&self.0)
    }

    /// The mouth, once it is known.
    pub(super) fn get(&self) -> Option<GeneratedMouth> {
        match &*self.lock() {
            MouthState::Pending(_) => None,
            MouthState::Known(mouth) => Some(mouth.clone()),
            MouthState::Abandoned(before) => before.get(),
        }
    }

    /// Leaves it to the one before, if it is still pending.
    fn abandon(&self) {
        let mut state = self.lock();
        let MouthState::Pending(before) = &mut *state else { return };
        // Abandoned ones are skipped, so that the chain does not grow.
        let mut before = before.take();
        *state = loop {
            let Some(outcome) = before else { break MouthState::Known(None) };
            let earlier = match &*outcome.lock() {
                MouthState::Pending(_) => None,
                MouthState::Known(mouth) => break MouthState::Known(mouth.clone()),
                MouthState::Abandoned(earlier) => Some(earlier.clone()),
            };
            match earlier {
                Some(earlier) => before = Some(earlier),
                None => break MouthState::Abandoned(outcome),
            }
        };
    }
}

/// The job's side of an outcome. Dropping it before it is fulfilled abandons the outcome.
pub(super) struct MouthPromise(pub(super) Arc<MouthOutcome>);

impl MouthPromise {
    pub(super) fn fulfil(&self, mouth: GeneratedMouth) {
        *self.0.lock() = MouthState::Known(mouth);
    }
}

impl Drop for MouthPromise {
    fn drop(&mut self) {
        self.0.abandon();
    }
}
