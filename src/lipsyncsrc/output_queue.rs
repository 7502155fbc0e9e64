// SPDX-License-Identifier: MPL-2.0
//! What the scheduler has for a source pad: a queue whose first item stays in it until its time.

use std::collections::VecDeque;

/// What a queue needs to know of an item.
pub trait Item {
    /// Whether it may be left out where nobody takes it. The number of such items is bounded.
    fn may_be_dropped(&self) -> bool;
    /// Whether it makes one needless that is just before it. Only what may not be dropped does.
    fn replaces(&self, before: &Self) -> bool;
}

/// A queue that drops its oldest items where nobody takes them.
pub struct OutputQueue<T> {
    items: VecDeque<T>,
}

impl<T> Default for OutputQueue<T> {
    fn default() -> Self {
        Self { items: VecDeque::new() }
    }
}

impl<T: Item> OutputQueue<T> {
    /// Appends an item, and returns what had to go: where more than `most` may be dropped, the oldest of them.
    #[must_use = "what items hold may take locks, so they are dropped where none is held"]
    pub fn push(&mut self, item: T, most: usize) -> Vec<T> {
        let mut dropped = Vec::new();
        self.items.push_back(item);
        self.merge(self.items.len() - 1, &mut dropped);
        let surplus = self.items.iter().filter(|item| item.may_be_dropped()).count().saturating_sub(most);
        (0..surplus).for_each(|_| self.drop_oldest(&mut dropped));
        dropped
    }

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

    /// The first item.
    pub fn front(&self) -> Option<&T> {
        self.items.front()
    }

    /// Takes the first item, if there is one.
    pub fn pop(&mut self) -> Option<T> {
        self.items.pop_front()
    }

    /// All items.
    pub fn items(&self) -> &VecDeque<T> {
        &self.items
    }

    /// All items, to be changed.
    pub fn items_mut(&mut self) -> &mut VecDeque<T> {
        &mut self.items
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
        let mut queue = OutputQueue::<u32>::default();
        let mut dropped: Vec<u32> = Vec::new();
        for item in [100, 1, 2, 101, 3, 4, 102, 5, 103, 104, 6, 7, 8] {
            dropped.extend(queue.push(item, 3));
            assert!(queue.items().len() <= 7);
        }
        // A format with no frame left before the next is needless.
        assert_eq!(dropped, [1, 2, 100, 103, 3, 4, 101, 5, 102]);
        let left: Vec<u32> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(left, [104, 6, 7, 8]);
    }
}
