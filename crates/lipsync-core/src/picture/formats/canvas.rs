// SPDX-License-Identifier: MPL-2.0
//! What frames are drawn on: the format, and the background where they are transparent.

use image::{GrayImage, RgbImage};

use crate::picture::formats::PixelFormat;

/// What avatar frames are drawn on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canvas {
    /// Format of the video.
    pub format: PixelFormat,
    /// Red, green and blue behind what is transparent, in formats without alpha; `None` for what the avatar itself
    /// shows there: what its frames show behind the person, or black where they have an alpha channel.
    pub background: Option<[u8; 3]>,
}

impl Canvas {
    /// Whether opaque frames are shown before anything but what they show themselves.
    pub(crate) fn replaces_background(&self) -> bool {
        self.format.has_alpha() || self.background.is_some()
    }

    /// Lays colours with that alpha over the background, unless the format has alpha itself.
    pub fn flatten(&self, colours: &mut RgbImage, alpha: &GrayImage) {
        if self.format.has_alpha() {
            return;
        }
        let background = self.background.unwrap_or_default();
        for (pixel, alpha) in colours.pixels_mut().zip(alpha.iter()) {
            let alpha = match *alpha {
                // Most pixels are the one or the other.
                255 => continue,
                0 => {
                    pixel.0 = background;
                    continue;
                }
                alpha => u32::from(alpha),
            };
            for (level, background) in pixel.0.iter_mut().zip(background) {
                let sum = u32::from(*level) * alpha + u32::from(background) * (255 - alpha);
                *level = ((sum + 127) / 255) as u8;
            }
        }
    }
}
