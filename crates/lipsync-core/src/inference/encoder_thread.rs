// SPDX-License-Identifier: MPL-2.0
//! The audio encoder on a thread of its own, so that the thread that waits for it can stop waiting at any
//! time.
//!
//! ONNX Runtime interrupts a run only between two operators. A streaming thread must not wait for that,
//! because a state change waits for the streaming thread in turn.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::inference::cancellation;
use crate::inference::network::{Interrupter, Network, Stoppable};
use crate::sync;

/// A network that runs on a thread of its own.
pub struct EncoderThread {
    path: PathBuf,
    /// `None` while it runs, also after the caller has stopped waiting.
    network: Option<Box<Network>>,
    limit: Duration,
    handoff: Arc<Handoff>,
    thread: Option<JoinHandle<()>>,
}

/// Hands the network from the caller to the thread and back.
struct Handoff {
    state: Mutex<State>,
    changed: Condvar,
    /// Interrupts the run.
    run: Interrupter,
}

#[derive(Default)]
struct State {
    slot: Slot,
    /// Runs are neither started nor waited for.
    interrupted: bool,
    closed: bool,
}

#[derive(Default)]
enum Slot {
    #[default]
    Empty,
    Queued(Box<Network>),
    Done(Box<Network>, Result<()>),
}

impl Handoff {
    fn lock(&self) -> MutexGuard<'_, State> {
        sync::lock(&self.state)
    }

    /// The network to run next; `None` at the end.
    fn next(&self) -> Option<Box<Network>> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            match std::mem::take(&mut state.slot) {
                Slot::Queued(network) => {
                    // Under the lock, so that an interruption comes either before this or during the run.
                    if !state.interrupted {
                        self.run.rearm();
                    }
                    return Some(network);
                }
                other => state.slot = other,
            }
            state = sync::wait(&self.changed, state);
        }
    }

    /// The thread's main loop.
    fn run_loop(&self) {
        while let Some(mut network) = self.next() {
            let done = Error::guard(network.path().to_owned().as_path(), || network.compute(None));
            self.lock().slot = Slot::Done(network, done);
            self.changed.notify_all();
        }
        // The network that was handed back last is dropped with the handoff.
    }
}

impl Stoppable for Handoff {
    fn interrupt(&self) {
        self.lock().interrupted = true;
        self.run.interrupt();
        self.changed.notify_all();
    }

    /// A run that was interrupted still ends; only the next one may start.
    fn rearm(&self) {
        self.lock().interrupted = false;
    }
}

impl EncoderThread {
    /// Starts a thread for a network.
    ///
    /// # Errors
    /// [`Error::Runtime`] where no thread can be started.
    pub fn new(network: Network) -> Result<Self> {
        let (path, limit) = (network.path().to_path_buf(), network.run_limit());
        let handoff = Arc::new(Handoff {
            state: Mutex::default(),
            changed: Condvar::new(),
            run: network.interrupter(),
        });
        let worker = handoff.clone();
        let thread = std::thread::Builder::new().name("lipsync-hear".into()).spawn(move || worker.run_loop());
        let thread = thread.map_err(Error::no_thread)?;
        Ok(Self { path, network: Some(Box::new(network)), limit, handoff, thread: Some(thread) })
    }

    /// The network's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A handle that ends waiting at once, and interrupts the run as soon as possible.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter::new(self.handoff.clone())
    }

    /// The network, for writing its inputs. Waits for an earlier run that nothing waited for.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn network(&mut self) -> Result<&mut Network> {
        if self.network.is_none() {
            // The result of that run is not needed any more.
            let (network, _) = self.wait()?;
            self.network = Some(network);
        }
        Ok(self.network.as_mut().unwrap_or_else(|| unreachable!("it is there")))
    }

    /// Runs on the current inputs and returns the output, row-major.
    ///
    /// # Errors
    /// As [`Network::run`]; [`Error::Interrupted`], and [`Error::Inference`] where the run exceeds its limit.
    pub fn run(&mut self) -> Result<&[f32]> {
        self.network()?;
        if let Some(network) = self.network.take() {
            self.handoff.lock().slot = Slot::Queued(network);
            self.handoff.changed.notify_all();
        }
        let (network, done) = self.wait()?;
        let network = self.network.insert(network);
        done.map(|()| network.output_values())
    }

    /// Waits for the thread to hand the network back.
    fn wait(&self) -> Result<(Box<Network>, Result<()>)> {
        let mut spent = Duration::ZERO;
        let mut state = self.handoff.lock();
        loop {
            if state.interrupted {
                return Err(Error::Interrupted);
            }
            match std::mem::take(&mut state.slot) {
                Slot::Done(network, done) => return Ok((network, done)),
                other => state.slot = other,
            }
            let (locked, waited) =
                sync::wait_timeout(&self.handoff.changed, state, cancellation::POLL_INTERVAL);
            state = locked;
            if !waited.timed_out() {
                continue;
            }
            spent += cancellation::POLL_INTERVAL;
            let left = if spent < self.limit {
                cancellation::check().err()
            } else {
                Some(run_timeout(&self.path, self.limit))
            };
            if let Some(error) = left {
                self.handoff.run.interrupt();
                return Err(error);
            }
        }
    }
}

impl Drop for EncoderThread {
    fn drop(&mut self) {
        self.handoff.lock().closed = true;
        self.handoff.run.interrupt();
        self.handoff.changed.notify_all();
        cancellation::join_or_detach(self.thread.take(), &self.path);
    }
}

/// The error for a run that exceeds its limit.
pub(crate) fn run_timeout(model: &Path, limit: Duration) -> Error {
    let problem = format!(
        "a run has not ended after {} seconds, and is stopped. Take a smaller network or a faster machine, or get the avatar \
         from somebody whom you trust",
        limit.as_secs()
    );
    Error::inference(model, problem)
}
