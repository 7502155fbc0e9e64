// SPDX-License-Identifier: MPL-2.0
//! Jobs that wait for a worker, and what each worker does at the moment: one state, one lock, one condition variable.
//!
//! Whoever waits for a frame also looks for runs that take too long ([`JobQueue::stop_late_runs`]): no thread of its own is
//! needed for that.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::inference::cancellation::POLL_INTERVAL;
use crate::inference::encoder_thread::run_timeout;
use crate::inference::network::Interrupter;
use crate::render::pace::Meter;
use crate::render::painter::job::{Job, Slot};
use crate::render::painter::painted::Painted;
use crate::render::painter::prefetch::PrefetchJob;
use crate::sync;

pub(super) struct JobQueue {
    state: Mutex<QueueState>,
    wake: Condvar,
    /// Those of the workers' generators.
    interrupters: Vec<Interrupter>,
    /// How long painting takes.
    meter: Mutex<Meter>,
    /// The file of the network, for errors.
    pub(super) network: PathBuf,
    /// How long one run may take.
    limit: Duration,
}

#[derive(Default)]
struct QueueState {
    jobs: VecDeque<Job>,
    /// Frames to make ready ahead of time, and for whom.
    prefetch: VecDeque<(u64, PrefetchJob)>,
    /// What each worker does now.
    running: Vec<ActiveRun>,
    /// When somebody last looked for runs that take too long.
    looked: Option<Instant>,
    /// Why the network paints nothing, not even to warm up.
    broken: Option<Error>,
    stopping: bool,
}

/// What a worker does.
#[derive(Default)]
struct ActiveRun {
    frames: Vec<ActiveFrame>,
    /// The worker is in the network, or may be, and has not been stopped for taking too long.
    busy: bool,
    warms_up: bool,
    /// For how long it has been seen at it.
    spent: Duration,
}

/// A frame in the hands of a worker.
struct ActiveFrame {
    painter: u64,
    /// `None` where it is not wanted any more, and whoever wanted it has been told.
    slot: Option<Arc<Slot>>,
}

/// What a worker finds to do.
pub(super) enum Task {
    /// Paint these.
    Paint(Vec<Job>),
    /// Make a frame ready that will be shown soon.
    Prefetch(PrefetchJob),
}

impl JobQueue {
    /// A queue for as many workers as there are interrupters, one for the generator of each. A run of `network` may take
    /// `limit`.
    pub(super) fn new(interrupters: Vec<Interrupter>, network: PathBuf, limit: Duration) -> Self {
        let workers = interrupters.len();
        Self {
            state: Mutex::new(QueueState {
                running: std::iter::repeat_with(ActiveRun::default).take(workers).collect(),
                ..QueueState::default()
            }),
            wake: Condvar::new(),
            interrupters,
            meter: Mutex::new(Meter::new(workers)),
            network,
            limit,
        }
    }

    fn lock(&self) -> MutexGuard<'_, QueueState> {
        sync::lock(&self.state)
    }

    pub(super) fn meter(&self) -> MutexGuard<'_, Meter> {
        sync::lock(&self.meter)
    }

    /// Adds a job, and replaces what is prefetched for its painter. Where the network is broken, the job fails at once.
    pub(super) fn push(&self, job: Job, prefetch: impl Iterator<Item = PrefetchJob>) {
        let painter = job.painter;
        let slot = job.slot.clone();
        let broken = {
            let mut state = self.lock();
            if state.broken.is_none() {
                state.jobs.push_back(job);
                state.prefetch.retain(|(other, ..)| *other != painter);
                state.prefetch.extend(prefetch.map(|job| (painter, job)));
            }
            state.broken.clone()
        };
        match broken {
            Some(error) => slot.fulfil(Err(error)),
            None => self.wake.notify_one(),
        }
    }

    /// Abandons all jobs of one painter, or of all, waiting or running.
    pub(super) fn interrupt(&self, whose: Option<u64>) {
        let is_theirs = |painter: u64| whose.is_none_or(|whose| whose == painter);
        let mut state = self.lock();
        let stopping = state.stopping;
        state.prefetch.retain(|(painter, ..)| !is_theirs(*painter));
        let (abandoned, kept) = state.jobs.drain(..).partition(|job| is_theirs(job.painter));
        state.jobs = kept;
        let mut slots: Vec<Arc<Slot>> = Vec::new();
        for (ActiveRun { frames, .. }, interrupter) in state.running.iter_mut().zip(&self.interrupters) {
            // The network may not end at once, so they are not waited for.
            slots.extend(
                frames.iter_mut().filter(|run| is_theirs(run.painter)).filter_map(|run| run.slot.take()),
            );
            if stopping || (!frames.is_empty() && frames.iter().all(|run| run.slot.is_none())) {
                interrupter.interrupt();
            }
        }
        drop(state);
        let abandoned: VecDeque<Job> = abandoned;
        slots.extend(abandoned.into_iter().map(|job| job.slot));
        slots.into_iter().for_each(|slot| slot.fulfil(Err(Error::Interrupted)));
    }

    /// Abandons all jobs and has the workers end.
    pub(super) fn stop(&self) {
        self.lock().stopping = true;
        self.interrupt(None);
        self.wake.notify_all();
    }

    /// Stops the runs that take longer than they may: their frames fail.
    pub(super) fn stop_late_runs(&self) {
        let mut locked = self.lock();
        let state = &mut *locked;
        let now = Instant::now();
        if state.looked.is_some_and(|looked| now.duration_since(looked) < POLL_INTERVAL) {
            return;
        }
        state.looked = Some(now);
        let mut slots: Vec<Arc<Slot>> = Vec::new();
        for (running, interrupter) in state.running.iter_mut().zip(&self.interrupters) {
            // Time in which nobody looks does not count: the whole process may have stood still.
            running.spent += POLL_INTERVAL;
            if !running.busy || running.spent < self.limit {
                continue;
            }
            running.busy = false;
            interrupter.interrupt();
            slots.extend(running.frames.iter_mut().filter_map(|run| run.slot.take()));
            if running.warms_up {
                state.broken = Some(run_timeout(&self.network, self.limit));
                slots.extend(state.jobs.drain(..).map(|job| job.slot));
            }
        }
        drop(locked);
        slots.into_iter().for_each(|slot| slot.fulfil(Err(run_timeout(&self.network, self.limit))));
    }

    /// A worker begins to warm up its generator.
    pub(super) fn begin_warm_up(&self, worker: usize) {
        self.lock().running[worker] = ActiveRun { busy: true, warms_up: true, ..ActiveRun::default() };
    }

    /// A worker's generator is warm. It may have been given up as too late meanwhile: it is not broken.
    pub(super) fn note_warm(&self) {
        self.lock().broken = None;
    }

    /// A worker has painted its jobs, with these results.
    pub(super) fn finish(&self, worker: usize, results: Vec<Result<Painted>>) {
        let running = std::mem::take(&mut self.lock().running[worker]);
        for (result, run) in results.into_iter().zip(running.frames) {
            if let Some(slot) = run.slot {
                slot.fulfil(result);
            }
        }
    }

    /// Waits for something that worker can do, at most `batch` jobs together; `None` when it is time to stop.
    pub(super) fn next_task(&self, worker: usize, batch: usize) -> Option<Task> {
        let mut state = self.lock();
        loop {
            if state.stopping {
                return None;
            }
            state.jobs.retain(Job::is_wanted);
            let jobs = take_ready(&mut state.jobs, batch);
            if !jobs.is_empty() {
                // Under the lock, so that an interruption comes either before this or during the run.
                self.interrupters[worker].rearm();
                let frames =
                    jobs.iter().map(|job| ActiveFrame { painter: job.painter, slot: Some(job.slot.clone()) });
                state.running[worker] =
                    ActiveRun { frames: frames.collect(), busy: true, ..ActiveRun::default() };
                // Jobs that have become ready through the outcome of others wake nobody by themselves.
                if state.jobs.iter().any(Job::is_ready) {
                    self.wake.notify_one();
                }
                return Some(Task::Paint(jobs));
            }
            if let Some((_, job)) = state.prefetch.pop_front() {
                self.interrupters[worker].rearm();
                state.running[worker] = ActiveRun { busy: true, ..ActiveRun::default() };
                return Some(Task::Prefetch(job));
            }
            state.running[worker] = ActiveRun::default();
            state = sync::wait(&self.wake, state);
        }
    }
}

/// The first jobs for which everything is there, at most a batch of them.
fn take_ready(jobs: &mut VecDeque<Job>, batch: usize) -> Vec<Job> {
    let mut ready = Vec::new();
    let mut place = 0;
    while ready.len() < batch && place < jobs.len() {
        if jobs[place].is_ready() {
            ready.extend(jobs.remove(place));
        } else {
            place += 1;
        }
    }
    ready
}
