//! From the conductor's thread to that of a source pad: a queue whose first item stays in it until its time.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};

use crate::elements::lock;

/// A queue that drops its oldest items where nobody takes them.
pub struct Outlet<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    open: bool,
}

impl<T> Default for Outlet<T> {
    /// A closed outlet.
    fn default() -> Self {
        Self { state: Mutex::new(State { items: VecDeque::new(), open: false }), changed: Condvar::new() }
    }
}

impl<T> Outlet<T> {
    /// Empties it, and lets it be waited for.
    pub fn open(&self) {
        self.clear();
        lock(&self.state).open = true;
    }

    /// Empties it. Items are dropped without the lock: what they hold may take others.
    pub fn clear(&self) {
        let items = std::mem::take(&mut lock(&self.state).items);
        drop(items);
    }

    /// Wakes whoever waits, and lets nobody wait.
    pub fn close(&self) {
        lock(&self.state).open = false;
        self.changed.notify_all();
    }

    /// Appends an item and returns the oldest one if there are more than `most`.
    pub fn push(&self, item: T, most: usize) -> Option<T> {
        let mut state = lock(&self.state);
        state.items.push_back(item);
        let old = (state.items.len() > most).then(|| state.items.pop_front()).flatten();
        drop(state);
        self.changed.notify_all();
        old
    }

    /// Waits for an item and looks at it; `None` when closed.
    pub fn peek<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        let mut state = lock(&self.state);
        loop {
            if !state.open {
                return None;
            }
            match state.items.front() {
                Some(item) => return Some(look(item)),
                None => state = self.changed.wait(state).unwrap_or_else(|e| e.into_inner()),
            }
        }
    }

    /// Takes the first item, if there is one.
    pub fn pop(&self) -> Option<T> {
        lock(&self.state).items.pop_front()
    }

    /// Changes the items that wait.
    pub fn change(&self, change: impl FnOnce(&mut VecDeque<T>)) {
        change(&mut lock(&self.state).items);
    }
}
