// SPDX-License-Identifier: MPL-2.0
//! Cancellation and time limits: work that may never end runs on a thread of its own, can be cancelled from
//! any thread, and is abandoned where even that does not end it.
//!
//! A network may loop for ever, or spend hours in a single operator, which ONNX Runtime does not interrupt.
//! Threads cannot be killed, so nothing may join one without a limit: after cancellation it gets
//! `GRACE_PERIOD`. An abandoned thread holds no lock that others wait for, and ends with its operator.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::sync;

/// How often waiting threads check for cancellation and limits.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long interrupted work may take to end before it is abandoned.
const GRACE_PERIOD: Duration = Duration::from_millis(500);

/// As large as a main thread's stack: graphs are traversed recursively.
const STACK_SIZE: usize = 8 << 20;

/// Cancels work that is done by [`run`], from any thread.
#[derive(Clone, Default)]
pub struct Canceller(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    cancelled: bool,
    load_stage: Option<LoadStage>,
}

/// The load in progress, which has a time limit.
struct LoadStage {
    path: PathBuf,
    limit: Duration,
    /// Counted in polls, so that time in which the whole process was suspended does not count.
    elapsed: Duration,
    stop: Box<dyn Fn() + Send>,
}

impl Canceller {
    fn lock(&self) -> MutexGuard<'_, State> {
        sync::lock(&self.0)
    }

    /// Cancels the work: it ends as soon as it can.
    pub fn cancel(&self) {
        let mut state = self.lock();
        state.cancelled = true;
        state.load_stage.iter().for_each(|load_stage| (load_stage.stop)());
    }

    /// Whether the work has been cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// Counts a poll; the error where the work is cancelled or over its limit.
    fn poll(&self) -> Option<Error> {
        let mut state = self.lock();
        if state.cancelled {
            return Some(Error::Interrupted);
        }
        let load_stage = state.load_stage.as_mut()?;
        load_stage.elapsed += POLL_INTERVAL;
        (load_stage.elapsed >= load_stage.limit).then(|| {
            let problem = format!("has not been loaded after {} seconds", load_stage.limit.as_secs());
            Error::invalid(
                &load_stage.path,
                problem,
                "Take a smaller network, or get it from somebody whom you trust",
            )
        })
    }

    /// The canceller of the work on this thread, if there is one.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }
}

thread_local! {
    // A thread local, because every function from an element down to a network would have to pass it on
    // otherwise.
    static CURRENT: RefCell<Option<Canceller>> = const { RefCell::new(None) };
}

/// Fails where the work on this thread has been cancelled.
///
/// # Errors
/// [`Error::Interrupted`].
pub(crate) fn check() -> Result<()> {
    match Canceller::current() {
        Some(canceller) if canceller.is_cancelled() => Err(Error::Interrupted),
        _ => Ok(()),
    }
}

/// Ends the load when it is dropped.
pub(crate) struct LoadGuard(Option<Canceller>);

impl Drop for LoadGuard {
    fn drop(&mut self) {
        if let Some(canceller) = &self.0 {
            canceller.lock().load_stage = None;
        }
    }
}

/// Notes for the canceller of this thread, if there is one, that the file at `path` is being loaded and may
/// take so many seconds; `stop` interrupts it.
///
/// # Errors
/// [`Error::Interrupted`] where the work has been cancelled already.
pub(crate) fn begin_load(path: &Path, seconds: u64, stop: impl Fn() + Send + 'static) -> Result<LoadGuard> {
    let canceller = Canceller::current();
    if let Some(canceller) = &canceller {
        let mut state = canceller.lock();
        if state.cancelled {
            return Err(Error::Interrupted);
        }
        state.load_stage = Some(LoadStage {
            path: path.into(),
            limit: Duration::from_secs(seconds),
            elapsed: Duration::ZERO,
            stop: Box::new(stop),
        });
    }
    Ok(LoadGuard(canceller))
}

/// Runs work on a thread of its own, and waits until it has ended, is cancelled, or a load in it exceeds its
/// limit. A panic in the work is propagated.
///
/// # Errors
/// Those of the work; [`Error::Interrupted`], and [`Error::Invalid`] with the file that was not loaded in
/// time.
pub fn run<T: Send + 'static>(
    canceller: &Canceller,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (send, receive) = sync_channel(1);
    let worker_canceller = canceller.clone();
    let work = move || {
        CURRENT.set(Some(worker_canceller));
        // Where nothing receives it any more, it is dropped here.
        let _ = send.send(catch_unwind(AssertUnwindSafe(work)));
    };
    let thread = std::thread::Builder::new().name("lipsync-open".into()).stack_size(STACK_SIZE).spawn(work);
    thread.map_err(Error::no_thread)?;
    loop {
        match receive.recv_timeout(POLL_INTERVAL) {
            Ok(done) => return done.unwrap_or_else(|panic| resume_unwind(panic)),
            Err(RecvTimeoutError::Disconnected) => unreachable!("what it sends is what ends it"),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(error) = canceller.poll() {
            canceller.cancel();
            if receive.recv_timeout(GRACE_PERIOD).is_err() {
                warn(&format!("loading cannot be interrupted, and is abandoned: {error}"));
            }
            return Err(error);
        }
    }
}

/// Joins threads that run a network and have been interrupted. Those that do not end within the grace period
/// are detached.
pub(crate) fn join_or_detach(threads: impl IntoIterator<Item = JoinHandle<()>>, network: &Path) {
    let until = Instant::now() + GRACE_PERIOD;
    let mut pause = Duration::from_micros(50);
    let mut threads: Vec<_> = threads.into_iter().collect();
    while threads.iter().any(|thread| !thread.is_finished()) && Instant::now() < until {
        std::thread::sleep(pause);
        pause = (2 * pause).min(Duration::from_millis(5));
    }
    threads.retain(|thread| !thread.is_finished());
    if !threads.is_empty() {
        let network = network.display();
        warn(&format!("{network}: a run cannot be interrupted, and is abandoned until it ends"));
    }
}

static LOG: OnceLock<fn(&str)> = OnceLock::new();

/// Sets the function that logs warnings about abandoned threads; only the first call counts.
pub fn set_log(log: fn(&str)) {
    LOG.get_or_init(|| log);
}

fn warn(text: &str) {
    if let Some(log) = LOG.get() {
        log(text);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn work_is_waited_for_until_it_is_called_off() {
        let canceller = Canceller::default();
        assert_eq!(run(&canceller, || Ok(1)).unwrap(), 1);
        let (end, wait) = channel::<()>();
        let (begun, begins) = channel();
        let work = move || {
            begun.send(()).unwrap();
            let _ = wait.recv();
            check()
        };
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| run(&canceller, work));
            begins.recv().unwrap();
            canceller.cancel();
            assert!(matches!(waits.join().unwrap(), Err(Error::Interrupted)), "it was abandoned");
        });
        drop(end);
    }

    #[test]
    fn what_is_not_loaded_in_time_is_stopped_and_named() {
        let (stopped, stop) = channel();
        let work = move || {
            let _stage = begin_load(Path::new("generator.onnx"), 0, move || stopped.send(()).unwrap())?;
            stop.recv().unwrap();
            check()
        };
        let error = run(&Canceller::default(), work).unwrap_err().to_string();
        assert!(error.starts_with("generator.onnx: has not been loaded after 0 seconds"), "{error}");
    }

    #[test]
    #[should_panic(expected = "in the work")]
    fn a_panic_is_handed_on() {
        let _ = run::<()>(&Canceller::default(), || panic!("in the work"));
    }
}
