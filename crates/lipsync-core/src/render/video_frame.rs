// SPDX-License-Identifier: MPL-2.0
//! What presenters hand out: a painted frame that knows its place in the video.

use std::time::Duration;

use crate::picture::formats::{PictureMut, PixelFormat};
use crate::rate::FrameRate;
use crate::render::painter::Painted;

/// A frame of a presenter's video.
pub struct VideoFrame {
    painted: Painted,
    index: u64,
    time: Duration,
    format: PixelFormat,
    size: (u32, u32),
}

impl VideoFrame {
    pub(crate) fn new(
        painted: Painted,
        index: u64,
        rate: FrameRate,
        format: PixelFormat,
        size: (u32, u32),
    ) -> Self {
        Self { painted, index, time: Duration::from_nanos(rate.time_of(index)), format, size }
    }

    /// Its number in the video, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// When it is shown: that long after frame 0.
    pub fn time(&self) -> Duration {
        self.time
    }

    /// Width and height, in pixels.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// How its pixels lie in memory: as the presenter was asked for.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// How long the generator took for it; `None` where it was not run, as in silence.
    pub fn inference(&self) -> Option<Duration> {
        self.painted.inference
    }

    /// Its bytes, in the presenter's format ([`PixelFormat::RGB8`], [`PixelFormat::RGBA8`], [`PixelFormat::I420_BT709`], ...), planes
    /// one after the other and lines without gaps: [`PixelFormat::bytes`] of them.
    pub fn to_vec(&self) -> Vec<u8> {
        let (width, height) = self.size;
        let mut bytes = vec![0; self.format.bytes(width, height)];
        self.write_to(&mut bytes);
        bytes
    }

    /// Writes the same bytes to a buffer.
    ///
    /// # Panics
    /// Where the buffer is not of that size.
    pub fn write_to(&self, bytes: &mut [u8]) {
        let (width, height) = self.size;
        assert_eq!(bytes.len(), self.format.bytes(width, height), "bytes of the buffer and of the frame");
        self.draw(&mut PictureMut::packed(self.format, width, height, bytes));
    }

    /// Writes it to a picture of its format and size, whose lines may have gaps.
    pub fn draw(&self, target: &mut PictureMut<'_>) {
        self.painted.draw(target);
    }
}
