//! A network that runs on a thread of its own, so that who waits for a run can leave at any time.
//!
//! ONNX Runtime ends a run between two operators, not within one. A thread that stands in the midst of a stream must
//! not wait for that: a stop waits for it in turn.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::inference::bounded;
use crate::inference::network::{Interrupter, Network, Stoppable};

/// A network beside the thread that uses it.
pub struct Aside {
    path: PathBuf,
    /// `None` while it runs, also after who waited has left.
    network: Option<Box<Network>>,
    limit: Duration,
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// Where the two threads hand it to each other.
struct Desk {
    state: Mutex<State>,
    changed: Condvar,
    /// Ends the run.
    run: Interrupter,
}

#[derive(Default)]
struct State {
    turn: Turn,
    /// No run is waited for, nor begun.
    interrupted: bool,
    closed: bool,
}

#[derive(Default)]
enum Turn {
    #[default]
    Nobody,
    ToRun(Box<Network>),
    Done(Box<Network>, Result<()>),
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The network that is to run next; `None` at the end.
    fn next(&self) -> Option<Box<Network>> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return None;
            }
            match std::mem::take(&mut state.turn) {
                Turn::ToRun(network) => {
                    // Under the lock, so that an interruption comes either before this or during the run.
                    if !state.interrupted {
                        self.run.rearm();
                    }
                    return Some(network);
                }
                other => state.turn = other,
            }
            state = self.changed.wait(state).unwrap_or_else(|e| e.into_inner());
        }
    }

    /// The life of the thread.
    fn work(&self) {
        while let Some(mut network) = self.next() {
            let done = Error::guard(network.path().to_owned().as_path(), || network.compute(None));
            self.lock().turn = Turn::Done(network, done);
            self.changed.notify_all();
        }
        // A network that was handed back is dropped here, by whoever is last.
    }
}

impl Stoppable for Desk {
    fn interrupt(&self) {
        self.lock().interrupted = true;
        self.run.interrupt();
        self.changed.notify_all();
    }

    /// A run that is still to end does so: it is the next one that is allowed.
    fn rearm(&self) {
        self.lock().interrupted = false;
    }
}

impl Aside {
    /// Starts a thread for a network.
    ///
    /// # Errors
    /// [`Error::Runtime`] where no thread can be started.
    pub fn new(network: Network) -> Result<Self> {
        let (path, limit) = (network.path().to_path_buf(), network.run_limit());
        let desk =
            Arc::new(Desk { state: Mutex::default(), changed: Condvar::new(), run: network.interrupter() });
        let works = desk.clone();
        let thread = std::thread::Builder::new().name("lipsync-hear".into()).spawn(move || works.work());
        let thread = thread
            .map_err(|e| Error::runtime(format!("no thread could be started: {e}"), "Stop other programs"))?;
        Ok(Self { path, network: Some(Box::new(network)), limit, desk, thread: Some(thread) })
    }

    /// The file that it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A handle that has nobody wait for its runs, and ends them as soon as they can.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter::new(self.desk.clone())
    }

    /// The network, for its inputs to be written. Where somebody has left a run, it is waited for.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn network(&mut self) -> Result<&mut Network> {
        if self.network.is_none() {
            // What came of that run is of no interest any more.
            let (network, _) = self.wait()?;
            self.network = Some(network);
        }
        Ok(self.network.as_mut().unwrap_or_else(|| unreachable!("it is there")))
    }

    /// Runs on the inputs as they are and returns the output, row-major.
    ///
    /// # Errors
    /// As [`Network::run`]; [`Error::Interrupted`], and [`Error::Inference`] where the run takes too long.
    pub fn run(&mut self) -> Result<&[f32]> {
        self.network()?;
        if let Some(network) = self.network.take() {
            self.desk.lock().turn = Turn::ToRun(network);
            self.desk.changed.notify_all();
        }
        let (network, done) = self.wait()?;
        let network = self.network.insert(network);
        done.map(|()| network.output_values())
    }

    /// Waits for the network to come back.
    fn wait(&self) -> Result<(Box<Network>, Result<()>)> {
        let mut spent = Duration::ZERO;
        let mut state = self.desk.lock();
        loop {
            if state.interrupted {
                return Err(Error::Interrupted);
            }
            match std::mem::take(&mut state.turn) {
                Turn::Done(network, done) => return Ok((network, done)),
                other => state.turn = other,
            }
            let waiting = self.desk.changed.wait_timeout(state, bounded::LOOK);
            let (locked, waited) = waiting.unwrap_or_else(|e| e.into_inner());
            state = locked;
            if !waited.timed_out() {
                continue;
            }
            spent += bounded::LOOK;
            let left =
                if spent < self.limit { bounded::check().err() } else { Some(late(&self.path, self.limit)) };
            if let Some(error) = left {
                self.desk.run.interrupt();
                return Err(error);
            }
        }
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.desk.lock().closed = true;
        self.desk.run.interrupt();
        self.desk.changed.notify_all();
        bounded::join(self.thread.take(), &self.path);
    }
}

/// The error for a run that takes too long.
pub(crate) fn late(model: &Path, limit: Duration) -> Error {
    let problem = format!(
        "a run has not ended after {} seconds, and is stopped. Take a smaller network or a faster machine, or get the avatar \
         from somebody whom you trust",
        limit.as_secs()
    );
    Error::inference(model, problem)
}
