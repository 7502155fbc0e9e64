//! Work that may never end: it is done on a thread of its own, is called off from outside, and is left to itself where
//! even that does not end it.
//!
//! A network may loop for ever, or compute for hours in a single operator, which ONNX Runtime does not interrupt. Threads
//! cannot be killed, so nobody may wait for one without end: who stops gives it `GRACE_PERIOD`. What is left holds
//! nothing that anybody else waits for, and ends with its operator.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::sync;

/// How often those who wait look whether it is in vain.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// How long what has been interrupted may take to end before it is left to itself.
const GRACE_PERIOD: Duration = Duration::from_millis(500);

/// As much as the main thread of a program has: graphs are gone through by recursion.
const STACK_SIZE: usize = 8 << 20;

/// Calls off work that is done by [`run`], from any thread.
#[derive(Clone, Default)]
pub struct Canceller(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    cancelled: bool,
    load_stage: Option<LoadStage>,
}

/// What the work is at, where that has a limit.
struct LoadStage {
    path: PathBuf,
    limit: Duration,
    /// As counted by those who look: time in which the whole process stood still is none.
    elapsed: Duration,
    stop: Box<dyn Fn() + Send>,
}

impl Canceller {
    fn lock(&self) -> MutexGuard<'_, State> {
        sync::lock(&self.0)
    }

    /// Calls the work off: it ends as soon as it can.
    pub fn cancel(&self) {
        let mut state = self.lock();
        state.cancelled = true;
        state.load_stage.iter().for_each(|load_stage| (load_stage.stop)());
    }

    /// Whether the work has been called off.
    pub fn is_cancelled(&self) -> bool {
        self.lock().cancelled
    }

    /// Why the work is not to be waited for any longer, if so.
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

    /// That of the work that this thread does, if it does such.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }
}

thread_local! {
    // Each function on the way from an element to a network would have to hand it on otherwise.
    static CURRENT: RefCell<Option<Canceller>> = const { RefCell::new(None) };
}

/// Fails where the work of this thread has been called off.
///
/// # Errors
/// [`Error::Interrupted`].
pub(crate) fn check() -> Result<()> {
    match Canceller::current() {
        Some(canceller) if canceller.is_cancelled() => Err(Error::Interrupted),
        _ => Ok(()),
    }
}

/// Ends a stage when it is dropped.
pub(crate) struct LoadGuard(Option<Canceller>);

impl Drop for LoadGuard {
    fn drop(&mut self) {
        if let Some(canceller) = &self.0 {
            canceller.lock().load_stage = None;
        }
    }
}

/// Takes note that the work of this thread, if there is one that can be called off, loads the file at `path` now, which may
/// take that many seconds; `stop` makes an end of it.
///
/// # Errors
/// [`Error::Interrupted`] where it has been called off already.
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

/// Does work on a thread of its own, and waits until it has ended, is called off, or has taken longer than a stage of it
/// may. A panic in it is one here.
///
/// # Errors
/// Those of the work; [`Error::Interrupted`], and [`Error::Invalid`] with the file that is not loaded in time.
pub fn run<T: Send + 'static>(
    canceller: &Canceller,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let (send, receive) = sync_channel(1);
    let worker_canceller = canceller.clone();
    let work = move || {
        CURRENT.set(Some(worker_canceller));
        // Where nobody waits any more it is dropped here.
        let _ = send.send(catch_unwind(AssertUnwindSafe(work)));
    };
    let thread = std::thread::Builder::new().name("lipsync-open".into()).stack_size(STACK_SIZE).spawn(work);
    thread.map_err(|e| Error::runtime(format!("no thread could be started: {e}"), "Stop other programs"))?;
    loop {
        match receive.recv_timeout(POLL_INTERVAL) {
            Ok(done) => return done.unwrap_or_else(|panic| resume_unwind(panic)),
            Err(RecvTimeoutError::Disconnected) => unreachable!("what it sends is what ends it"),
            Err(RecvTimeoutError::Timeout) => {}
        }
        if let Some(error) = canceller.poll() {
            canceller.cancel();
            if receive.recv_timeout(GRACE_PERIOD).is_err() {
                warn(&format!("what is loaded cannot be interrupted, and is left to itself: {error}"));
            }
            return Err(error);
        }
    }
}

/// Waits for threads that run a network and have been interrupted. Those that do not end soon are left to themselves.
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
        warn(&format!("{network}: a run cannot be interrupted: it is left to itself until it ends"));
    }
}

static LOG: OnceLock<fn(&str)> = OnceLock::new();

/// Has warnings of what is left to itself written to a log; the first one counts.
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
            assert!(matches!(waits.join().unwrap(), Err(Error::Interrupted)), "it was left to itself");
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
