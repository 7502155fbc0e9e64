// SPDX-License-Identifier: MPL-2.0
//! The one way from the sink's streaming thread to the source's: a bounded queue that keeps order.
//!
//! The flow of the source lives here too, the single truth between both threads: whoever waits is woken when it
//! is no longer `Ok`.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

use lipsync_core::sync;

use gst::{FlowError, FlowSuccess};

/// A queue of `T`, of which some count as frames and are bounded in number.
pub struct Queue<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    /// Frames among the items.
    frames: usize,
    /// The item that was popped last is still being sent.
    sending: bool,
    flow: Result<FlowSuccess, FlowError>,
}

/// What the queue needs to know of an item.
pub trait Item {
    /// Whether it counts against the bound.
    fn is_frame(&self) -> bool;
}

impl<T: Item> Default for Queue<T> {
    /// An empty queue that takes nothing: [`Self::open`] opens it.
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                items: VecDeque::new(),
                frames: 0,
                sending: false,
                flow: Err(FlowError::Flushing),
            }),
            changed: Condvar::new(),
        }
    }
}

impl<T: Item> Queue<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        sync::lock(&self.state)
    }

    /// Lets items through again.
    pub fn open(&self) {
        self.lock().flow = Ok(FlowSuccess::Ok);
    }

    /// Lets items through again where it was closed with [`FlowError::Eos`], and returns what was in it then.
    pub fn reopen_after_end(&self) -> Option<VecDeque<T>> {
        let mut state = self.lock();
        if state.flow != Err(FlowError::Eos) {
            return None;
        }
        state.flow = Ok(FlowSuccess::Ok);
        state.frames = 0;
        Some(std::mem::take(&mut state.items))
    }

    /// Empties the queue and returns what was in it.
    pub fn take(&self) -> VecDeque<T> {
        let mut state = self.lock();
        state.frames = 0;
        std::mem::take(&mut state.items)
    }

    /// Closes the queue with `reason` and wakes everybody. Items stay until they are taken.
    ///
    /// Where it flushes, that stays the reason: only who flushes may end it.
    pub fn stop(&self, reason: FlowError) {
        let mut state = self.lock();
        if state.flow != Err(FlowError::Flushing) {
            state.flow = Err(reason);
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The flow as it is.
    pub fn flow(&self) -> Result<FlowSuccess, FlowError> {
        self.lock().flow
    }

    /// Appends an item; a frame waits until there are fewer than `max_frames` in the queue.
    pub fn push(&self, item: T, max_frames: usize) -> Result<FlowSuccess, FlowError> {
        let mut state = self.lock();
        while item.is_frame() && state.flow.is_ok() && state.frames >= max_frames {
            state = sync::wait(&self.changed, state);
        }
        state.flow?;
        state.frames += usize::from(item.is_frame());
        state.items.push_back(item);
        self.changed.notify_all();
        Ok(FlowSuccess::Ok)
    }

    /// The next item, waiting for it; `None` where there is none for that long. Whoever pops has sent what it popped before.
    pub fn pop(&self, patience: Duration) -> Result<Option<T>, FlowError> {
        let mut state = self.lock();
        state.sending = false;
        self.changed.notify_all();
        let empty = |state: &mut State<T>| state.flow.is_ok() && state.items.is_empty();
        state = sync::wait_timeout_while(&self.changed, state, patience, empty).0;
        state.flow?;
        let Some(item) = state.items.pop_front() else { return Ok(None) };
        state.frames -= usize::from(item.is_frame());
        state.sending = true;
        self.changed.notify_all();
        Ok(Some(item))
    }

    /// Puts an item back in front that could not be sent.
    pub fn put_back(&self, item: T) {
        let mut state = self.lock();
        state.frames += usize::from(item.is_frame());
        state.items.push_front(item);
    }

    /// Waits until everything in it has been sent.
    pub fn wait_until_sent(&self) -> Result<FlowSuccess, FlowError> {
        let mut state = self.lock();
        while state.flow.is_ok() && (state.sending || !state.items.is_empty()) {
            state = sync::wait(&self.changed, state);
        }
        state.flow
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const LONG: Duration = Duration::from_secs(60);

    impl Item for u32 {
        fn is_frame(&self) -> bool {
            *self < 100
        }
    }

    #[test]
    fn keeps_order_and_bounds_frames_only() {
        let queue = Arc::new(Queue::<u32>::default());
        assert_eq!(queue.push(0, 2), Err(FlowError::Flushing));
        queue.open();
        for item in [1, 2, 100, 101] {
            queue.push(item, 2).unwrap();
        }
        let pusher = std::thread::spawn({
            let queue = queue.clone();
            move || queue.push(3, 2)
        });
        let popped: Vec<u32> = (0..5).map(|_| queue.pop(LONG).unwrap().unwrap()).collect();
        assert_eq!(popped, [1, 2, 100, 101, 3]);
        assert!(pusher.join().unwrap().is_ok());
    }

    #[test]
    fn stopping_wakes_who_waits() {
        let queue = Arc::new(Queue::<u32>::default());
        queue.open();
        let popper = std::thread::spawn({
            let queue = queue.clone();
            move || queue.pop(LONG)
        });
        queue.push(1, 9).unwrap();
        assert_eq!(popper.join().unwrap(), Ok(Some(1)));
        queue.push(1, 1).unwrap();
        let pusher = std::thread::spawn({
            let queue = queue.clone();
            move || queue.push(2, 1)
        });
        queue.stop(FlowError::Eos);
        assert_eq!(pusher.join().unwrap(), Err(FlowError::Eos));
    }

    #[test]
    fn what_was_popped_is_sent_when_the_next_is_asked_for() {
        let queue = Arc::new(Queue::<u32>::default());
        queue.open();
        queue.push(1, 9).unwrap();
        assert_eq!(queue.pop(LONG), Ok(Some(1)));
        let waiter = std::thread::spawn({
            let queue = queue.clone();
            move || queue.wait_until_sent()
        });
        assert!(!waiter.is_finished());
        assert_eq!(queue.pop(Duration::ZERO), Ok(None));
        assert_eq!(waiter.join().unwrap(), Ok(FlowSuccess::Ok));
    }
}
