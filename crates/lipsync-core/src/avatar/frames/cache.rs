// SPDX-License-Identifier: MPL-2.0
//! What is kept in memory of an avatar's frames, within a budget of bytes.

use std::collections::HashMap;
use std::sync::Arc;

use lru::LruCache;

use crate::avatar::frames::decoded_frame::DecodedFrame;
use crate::avatar::frames::shot::FrameRef;
use crate::picture::pool::Pooled;

/// Decoded frames and mouths at rest, by what they show.
///
/// Of the frames, the least recently used go first. Mouths at rest stay once they are kept: up to half of the budget, and
/// what they take is taken from that of the frames.
pub(super) struct FrameCache {
    /// Frames with the bytes that each was counted for.
    frames: LruCache<FrameRef, (Arc<DecodedFrame>, usize)>,
    frame_bytes: usize,
    resting: HashMap<FrameRef, Arc<Pooled>>,
    resting_bytes: usize,
    /// Bytes that may be kept.
    budget: usize,
}

/// Frames that are no longer kept, to be dropped after the cache is unlocked.
pub(super) type Evicted = Vec<Arc<DecodedFrame>>;

impl FrameCache {
    pub(super) fn new(budget: usize) -> Self {
        Self {
            // It evicts by number of entries; here bytes decide.
            frames: LruCache::unbounded(),
            frame_bytes: 0,
            resting: HashMap::new(),
            resting_bytes: 0,
            budget,
        }
    }

    /// A frame, which is now the one used last.
    pub(super) fn get(&mut self, at: FrameRef) -> Option<Arc<DecodedFrame>> {
        self.frames.get(&at).map(|(frame, _)| frame.clone())
    }

    /// A frame, without using it.
    pub(super) fn peek(&self, at: FrameRef) -> Option<&DecodedFrame> {
        self.frames.peek(&at).map(|(frame, _)| &**frame)
    }

    /// Keeps a frame as the one used last, and makes room for it.
    pub(super) fn insert(&mut self, at: FrameRef, frame: &Arc<DecodedFrame>) -> Evicted {
        let size = frame.size();
        let before = self.frames.put(at, (frame.clone(), size));
        self.frame_bytes += size;
        let replaced = before.map(|(frame, size)| {
            self.frame_bytes -= size;
            frame
        });
        self.evict(replaced)
    }

    /// Counts a frame anew, whose size has changed, and makes room for it. It is now the one used last. One that is no
    /// longer kept does not come back.
    pub(super) fn recount(&mut self, at: FrameRef, size: usize) -> Evicted {
        let Some((_, counted)) = self.frames.get_mut(&at) else { return Vec::new() };
        self.frame_bytes = self.frame_bytes - *counted + size;
        *counted = size;
        self.evict(None)
    }

    fn evict(&mut self, replaced: Option<Arc<DecodedFrame>>) -> Evicted {
        let mut evicted: Evicted = replaced.into_iter().collect();
        // The frame in use stays, however small the budget.
        while self.frame_bytes > self.budget - self.resting_bytes
            && self.frames.len() > 1
            && let Some((_, (frame, size))) = self.frames.pop_lru()
        {
            self.frame_bytes -= size;
            evicted.push(frame);
        }
        evicted
    }

    /// How many frames of the usual size fit; `None` while none is kept.
    pub(super) fn capacity(&self) -> Option<usize> {
        let size = self.frame_bytes.checked_div(self.frames.len())?;
        Some(self.budget / size.max(1))
    }

    /// The mouth of a frame at rest.
    pub(super) fn resting(&self, at: FrameRef) -> Option<Arc<Pooled>> {
        self.resting.get(&at).cloned()
    }

    /// Keeps the mouth of a frame at rest, if there is room.
    pub(super) fn insert_resting(&mut self, at: FrameRef, mouth: &Arc<Pooled>) {
        if self.resting_bytes + mouth.len() <= self.budget / 2
            && self.resting.insert(at, mouth.clone()).is_none()
        {
            self.resting_bytes += mouth.len();
        }
    }

    /// Bytes of the frames.
    #[cfg(test)]
    pub(super) fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }
}
