// SPDX-License-Identifier: MPL-2.0
//! A pool of buffers: once the first frames have been made, a frame allocates nothing of any size.

use std::ops::{Deref, DerefMut};
use std::sync::Mutex;

use image::RgbImage;

use crate::sync;

/// Buffers that nobody uses at the moment.
struct FreeList<T>(Mutex<Vec<Vec<T>>>);

static BYTES: FreeList<u8> = FreeList(Mutex::new(Vec::new()));
static FLOATS: FreeList<f32> = FreeList(Mutex::new(Vec::new()));

/// Buffers kept for reuse; more are needed only on very large machines, and the surplus is freed.
const MOST: usize = 64;

impl<T: Copy + Default> FreeList<T> {
    /// A buffer of that many values with undefined content.
    fn take(&self, size: usize) -> Vec<T> {
        let mut free = sync::lock(&self.0);
        // Neither too small nor so large that another would miss it.
        let fits = |buffer: &Vec<T>| (size..=2 * size).contains(&buffer.capacity());
        let fitting = free.iter().position(fits).map(|place| free.swap_remove(place));
        drop(free);
        let mut buffer = fitting.unwrap_or_default();
        buffer.resize(size, T::default());
        buffer
    }

    fn put(&self, buffer: Vec<T>) {
        let mut free = sync::lock(&self.0);
        if free.len() == MOST {
            // The oldest are of sizes that are no longer asked for.
            free.remove(0);
        }
        free.push(buffer);
    }
}

/// A picture of that size with undefined content. `give_back` returns its memory to the pool.
pub fn picture(width: u32, height: u32) -> RgbImage {
    let buffer = BYTES.take(3 * width as usize * height as usize);
    RgbImage::from_raw(width, height, buffer).unwrap_or_default()
}

/// Returns a picture's memory to the pool.
pub(crate) fn give_back(picture: RgbImage) {
    BYTES.put(picture.into_raw());
}

/// A picture that returns its memory to the pool when it is dropped.
#[derive(Debug)]
pub struct Pooled(RgbImage);

impl Pooled {
    /// A picture of that size with undefined content.
    pub fn new(width: u32, height: u32) -> Self {
        Self(picture(width, height))
    }

    /// A copy of a picture.
    pub fn copy(picture: &RgbImage) -> Self {
        let mut copy = Self::new(picture.width(), picture.height());
        copy.copy_from_slice(picture);
        copy
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        give_back(std::mem::take(&mut self.0));
    }
}

impl Deref for Pooled {
    type Target = RgbImage;

    fn deref(&self) -> &RgbImage {
        &self.0
    }
}

impl DerefMut for Pooled {
    fn deref_mut(&mut self) -> &mut RgbImage {
        &mut self.0
    }
}

/// Values that return their memory to the pool when they are dropped.
#[derive(Debug)]
pub struct Floats(Vec<f32>);

impl Floats {
    /// That many zeros.
    pub fn zeros(count: usize) -> Self {
        let mut values = FLOATS.take(count);
        values.fill(0.0);
        Self(values)
    }
}

impl From<&[f32]> for Floats {
    fn from(values: &[f32]) -> Self {
        let mut copy = FLOATS.take(values.len());
        copy.copy_from_slice(values);
        Self(copy)
    }
}

impl Clone for Floats {
    fn clone(&self) -> Self {
        (**self).into()
    }
}

impl Drop for Floats {
    fn drop(&mut self) {
        FLOATS.put(std::mem::take(&mut self.0));
    }
}

impl Deref for Floats {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Floats {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again() {
        let first = Pooled::new(20, 10);
        let place = first.as_ptr();
        drop(first);
        assert_eq!(Pooled::new(10, 20).as_ptr(), place);
        let values = Floats::from(&[1.0; 99][..]);
        let place = values.as_ptr();
        drop(values);
        let zeros = Floats::zeros(99);
        assert_eq!((zeros.as_ptr(), &zeros[..]), (place, &[0.0; 99][..]));
    }
}
