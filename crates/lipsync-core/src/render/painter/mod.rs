// SPDX-License-Identifier: MPL-2.0
//! Steps 4 to 6 on several cores: workers that paint frames, in any order, for those who collect them in order.
//!
//! A frame that repeats the mouth of the one before is bound to that frame when it is asked for, not when its turn comes: by
//! then other workers may have painted later frames. No worker takes a job before the mouth that it repeats is known, so
//! none waits for another.
//!
//! Threads: one worker per generator session. [`Painter::submit`] adds a job to the queue, which whichever worker is free
//! takes, and returns a [`PendingFrame`]; the collector waits on pending frames in the order in which it wants them. A worker
//! with nothing to paint decodes frames that will be shown soon, and has the network see those that are to speak. All painters
//! of one network in a process share its workers.
//! Locks: a painter's `last`, then the queue's state, then the outcomes of mouths from the newer to the older; a job's slot
//! and the meter are never locked together with another.
//!
//! A run that takes longer than it may is stopped by those who wait for a frame: nobody else needs to know.

mod job;
mod job_queue;
mod mouth;
mod paint;
mod painted;
mod pending_frame;
mod prefetch;
mod workers;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

use crate::avatar::Avatar;
use crate::avatar::frames::{FrameStore, Shot};
use crate::error::Result;
use crate::features::{AudioContextKind, Context};
use crate::generator::face::Framing;
use crate::inference::runtime::Engine;
use crate::render::pace::Pace;
use crate::sync;

pub use job::MouthRequest;
use job::{Job, Slot};
use mouth::{MouthOutcome, MouthPromise};
pub use painted::Painted;
pub use pending_frame::PendingFrame;
use prefetch::PrefetchJob;
use workers::Workers;

/// Has frames painted by the workers of a network.
pub struct Painter {
    number: u64,
    workers: Arc<Workers>,
    context_kind: AudioContextKind,
    silence: Option<Arc<Context>>,
    /// The last frame asked for that others may repeat.
    last: Mutex<Option<Arc<MouthOutcome>>>,
}

impl Painter {
    /// Finds the workers of the avatar's generator, or opens it once per worker and starts `workers` of them; 0 for as
    /// many as there are cores.
    ///
    /// # Errors
    /// As [`Generator::open`](crate::generator::Generator::open); [`Error::Invalid`](crate::Error::Invalid) where the avatar's context is not one for its generator.
    pub fn open(avatar: &Avatar, engine: &Engine, workers: usize) -> Result<Self> {
        static PAINTERS: AtomicU64 = AtomicU64::new(0);
        let workers = match workers {
            0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
            n => n,
        };
        let workers = Workers::shared(avatar, engine, workers)?;
        let context_kind = workers.context_kind.with_rows(avatar.context, &avatar.generator)?;
        let number = PAINTERS.fetch_add(1, Ordering::Relaxed);
        Ok(Self { number, workers, context_kind, silence: None, last: Mutex::default() })
    }

    /// Says what its generator hears in silence. Until then frames at rest are shown as they are.
    pub fn set_silence(&mut self, silence: Context) {
        self.silence = Some(Arc::new(silence));
    }

    /// What its generator hears.
    pub fn context_kind(&self) -> AudioContextKind {
        self.context_kind
    }

    /// How its generator sees faces and how they are put back.
    pub fn framing(&self) -> Framing {
        self.workers.framing
    }

    /// How its generator computes: as [`Generator::arithmetic`](crate::generator::Generator::arithmetic).
    pub fn arithmetic(&self) -> &str {
        &self.workers.arithmetic
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.workers.threads.len()
    }

    /// How many frames keep the workers busy: for each a batch in its hands and one to take up without waiting.
    pub fn capacity(&self) -> usize {
        2 * self.workers() * self.workers.batch
    }

    /// How fast the workers are at the moment, as far as they paint for this painter.
    pub fn pace(&self) -> Pace {
        self.workers.queue.meter().pace(self.number, Instant::now())
    }

    /// Asks for a picture of the avatar with the mouth of a request.
    pub fn submit(&self, frames: &Arc<FrameStore>, shot: &Shot, request: MouthRequest) -> PendingFrame {
        let before = self.last().clone();
        self.ask(frames, shot, request, before)
    }

    /// Paints a frame that speaks, for nobody to see: what is wrong with frame or network is met here.
    ///
    /// # Errors
    /// As [`PendingFrame::wait`].
    pub fn try_out(&self, frames: &Arc<FrameStore>) -> Result<()> {
        let context = match &self.silence {
            Some(silence) => (**silence).clone(),
            None => Context::zeros(self.context_kind.values()),
        };
        let shot = Shot::still(frames.avatar().idle().frame_at(0));
        self.submit(frames, &shot, MouthRequest::Speech(context)).wait().map(drop)
    }

    /// Asks for a frame with another mouth in the place of one that was asked for, and repeats what that was to repeat.
    pub fn resubmit(
        &self,
        old: &PendingFrame,
        frames: &Arc<FrameStore>,
        shot: &Shot,
        request: MouthRequest,
    ) -> PendingFrame {
        self.ask(frames, shot, request, old.before.clone())
    }

    fn last(&self) -> MutexGuard<'_, Option<Arc<MouthOutcome>>> {
        sync::lock(&self.last)
    }

    fn ask(
        &self,
        frames: &Arc<FrameStore>,
        shot: &Shot,
        request: MouthRequest,
        before: Option<Arc<MouthOutcome>>,
    ) -> PendingFrame {
        let slot = Arc::new(Slot::default());
        let promise = matches!(request, MouthRequest::Speech(_) | MouthRequest::Rest)
            .then(|| MouthPromise(MouthOutcome::pending(before.clone())));
        if let Some(promise) = &promise {
            *self.last() = Some(promise.0.clone());
        }
        let job = Job {
            painter: self.number,
            silence: self.silence.clone(),
            frames: frames.clone(),
            at: shot.frame,
            own_mouth: shot.own_mouth,
            request,
            before: before.clone(),
            promise,
            slot: slot.clone(),
        };
        let speaks =
            self.workers.sees_ahead && matches!(job.request, MouthRequest::Speech(_)) && !job.is_silent();
        let missing = frames.missing(&shot.ahead, speaks).into_iter();
        let queue = self.workers.queue.clone();
        queue.push(job, missing.map(|at| PrefetchJob { frames: frames.clone(), at, speaks }));
        PendingFrame { slot, queue, before }
    }

    /// Calls off all frames asked for so far, also those being painted: [`PendingFrame::wait`] fails at once.
    pub fn interrupt(&self) {
        self.workers.queue.interrupt(Some(self.number));
    }
}

impl Drop for Painter {
    fn drop(&mut self) {
        self.interrupt();
    }
}
