//! From the conductor's thread to that of a source pad: a queue whose first item stays in it until its time.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};

use crate::lock;

/// What an outlet needs to know of an item.
pub trait Item {
    /// Whether it may be left out where nobody takes it. The number of such items is bounded.
    fn may_be_dropped(&self) -> bool;
    /// Whether it makes one needless that is just before it. Only what may not be dropped does.
    fn replaces(&self, before: &Self) -> bool;
}

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

impl<T: Item> State<T> {
    /// Takes out the oldest item that may be dropped, and what is needless without it.
    fn drop_oldest(&mut self, dropped: &mut Vec<T>) {
        let Some(place) = self.items.iter().position(T::may_be_dropped) else { return };
        dropped.extend(self.items.remove(place));
        self.merge(place, dropped);
    }

    /// Takes out the item before `place` if the one there replaces it.
    fn merge(&mut self, place: usize, dropped: &mut Vec<T>) {
        if let Some(before) = place.checked_sub(1)
            && let Some(item) = self.items.get(place)
            && item.replaces(&self.items[before])
        {
            dropped.extend(self.items.remove(before));
        }
    }
}

impl<T: Item> Outlet<T> {
    /// Empties it, and lets it be filled and waited for.
    pub fn open(&self) {
        self.clear();
        lock(&self.state).open = true;
    }

    /// Empties it. Items are dropped without the lock: what they hold may take others.
    pub fn clear(&self) {
        let items = std::mem::take(&mut lock(&self.state).items);
        drop(items);
    }

    /// Wakes whoever waits, and lets nobody wait or fill it.
    pub fn close(&self) {
        lock(&self.state).open = false;
        self.changed.notify_all();
    }

    /// Appends an item if it is open, and returns what had to go: where more than `most` may be dropped, the oldest of them.
    pub fn push(&self, item: T, most: usize) -> Vec<T> {
        let mut dropped = Vec::new();
        let mut state = lock(&self.state);
        if !state.open {
            drop(state);
            return dropped;
        }
        state.items.push_back(item);
        let last = state.items.len() - 1;
        state.merge(last, &mut dropped);
        let surplus = state.items.iter().filter(|item| item.may_be_dropped()).count().saturating_sub(most);
        (0..surplus).for_each(|_| state.drop_oldest(&mut dropped));
        drop(state);
        self.changed.notify_all();
        dropped
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
    pub fn change<R>(&self, change: impl FnOnce(&mut VecDeque<T>) -> R) -> R {
        change(&mut lock(&self.state).items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Below 100 a frame, else a format.
    impl Item for u32 {
        fn may_be_dropped(&self) -> bool {
            *self < 100
        }

        fn replaces(&self, before: &Self) -> bool {
            *self >= 100 && *before >= 100
        }
    }

    #[test]
    fn the_oldest_frames_go_and_formats_stay() {
        let outlet = Outlet::<u32>::default();
        assert!(outlet.push(0, 2).is_empty());
        assert_eq!(outlet.pop(), None, "closed");
        outlet.open();
        let mut dropped: Vec<u32> = Vec::new();
        for item in [100, 1, 2, 101, 3, 4, 102, 5, 103, 104, 6, 7, 8] {
            dropped.extend(outlet.push(item, 3));
            assert!(outlet.change(|items| items.len()) <= 7);
        }
        // A format with no frame left before the next is needless.
        assert_eq!(dropped, [1, 2, 100, 103, 3, 4, 101, 5, 102]);
        let left: Vec<u32> = std::iter::from_fn(|| outlet.pop()).collect();
        assert_eq!(left, [104, 6, 7, 8]);
    }
}
