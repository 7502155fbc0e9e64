// SPDX-License-Identifier: MPL-2.0
//! Memory for the kernels: aligned to cache lines, and as much at a time as fits a core's cache.

/// Bytes of rows to hold at a time: a part of a core's L2 cache.
pub const CACHE_BUDGET: usize = 192 << 10;

/// Bytes in a cache line.
const CACHE_LINE: usize = 64;

/// Values that begin at a cache line: vectors that cross one take nearly twice as long to load.
pub struct AlignedVec<T> {
    values: Vec<T>,
    /// Where the line begins.
    start: usize,
}

impl<T: Copy + Default> AlignedVec<T> {
    pub fn of(from: &[T]) -> Self {
        let mut values = vec![T::default(); from.len() + CACHE_LINE / size_of::<T>()];
        let start = values.as_ptr().align_offset(CACHE_LINE);
        values[start..][..from.len()].copy_from_slice(from);
        values.truncate(start + from.len());
        Self { values, start }
    }
}

impl<T> AlignedVec<T> {
    pub fn len(&self) -> usize {
        self.values.len() - self.start
    }

    pub fn as_ptr(&self) -> *const T {
        self.values[self.start..].as_ptr()
    }
}

/// A slice of `size` bytes that starts at a cache line.
pub fn aligned_slice(memory: &mut Vec<u8>, size: usize) -> &mut [u8] {
    if memory.len() < size + CACHE_LINE {
        memory.resize(size + CACHE_LINE, 0);
    }
    let start = memory.as_ptr().align_offset(CACHE_LINE);
    &mut memory[start..][..size]
}
