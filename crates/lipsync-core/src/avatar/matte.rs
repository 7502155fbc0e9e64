// SPDX-License-Identifier: MPL-2.0
//! Step 7, where an avatar is not opaque: edges freed of what its frames show behind the person, and what is seen there
//! instead.
//!
//! A frame tells how opaque it is by an alpha channel, or by a mask beside it. With a mask it shows the person before
//! a background, of which pixels at the edges have taken on a part: where that background is known, it is taken out.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use image::{GrayImage, Rgb, RgbImage, imageops};

use crate::avatar::{Avatar, AvatarFrameFiles};
use crate::error::Result;
use crate::picture::formats::Canvas;
use crate::picture::geometry::Rect;
use crate::picture::image_file;

/// The mattes of an avatar's frames, as far as they matter on a canvas.
pub struct Mattes {
    canvas: Canvas,
    /// Of the frames.
    size: (u32, u32),
    /// The picture that the frames show behind the person.
    background: Option<PathBuf>,
    /// The same, decoded when it is first needed.
    decoded: OnceLock<Result<Arc<RgbImage>>>,
}

/// How opaque a frame or a part of one is, and what is behind the person: in the frame, and on the canvas.
pub struct Matte {
    canvas: Canvas,
    alpha: GrayImage,
    /// That of the whole frame.
    background: Option<Arc<RgbImage>>,
    /// Where in the frame the part begins: x, y.
    corner: (u32, u32),
}

impl Mattes {
    /// Those of an avatar's frames; nothing is read yet.
    pub fn new(avatar: &Avatar, canvas: Canvas) -> Self {
        Self {
            canvas,
            size: avatar.image.size,
            background: avatar.background.clone(),
            decoded: OnceLock::new(),
        }
    }

    /// The matte of a frame, whose picture has the alpha channel `own`. `None` where the frame is shown as it is: then
    /// its mask is not even read.
    ///
    /// # Errors
    /// [`crate::error::Error::NotFound`] or [`crate::error::Error::Invalid`] for the mask and the background.
    pub fn of(&self, files: &AvatarFrameFiles, own: Option<GrayImage>) -> Result<Option<Matte>> {
        let (alpha, background) = match &files.alpha {
            None => (own, None),
            Some(_) if !self.canvas.replaces_background() => (None, None),
            Some(mask) => (Some(image_file::read_grey(mask, self.size, "the frame")?), self.background()?),
        };
        Ok(alpha.map(|alpha| Matte { canvas: self.canvas, alpha, background, corner: (0, 0) }))
    }

    fn background(&self) -> Result<Option<Arc<RgbImage>>> {
        let Some(path) = &self.background else { return Ok(None) };
        let read = || Ok(Arc::new(image_file::read_sized(path, self.size, "the frames")?.colours));
        self.decoded.get_or_init(read).clone().map(Some)
    }
}

impl Matte {
    /// How opaque each pixel is (255: fully).
    pub fn alpha(&self) -> &GrayImage {
        &self.alpha
    }

    /// The same before the same background, but as opaque as that.
    pub fn with_alpha(&self, alpha: GrayImage) -> Self {
        Self { canvas: self.canvas, alpha, background: self.background.clone(), corner: self.corner }
    }

    /// The part of it under a rectangle.
    pub fn cut(&self, Rect { x, y, width, height }: Rect) -> Self {
        Self {
            canvas: self.canvas,
            alpha: imageops::crop_imm(&self.alpha, x, y, width, height).to_image(),
            background: self.background.clone(),
            corner: (self.corner.0 + x, self.corner.1 + y),
        }
    }

    /// Makes colours of this part of the frame what the canvas is to show: edges freed of the avatar's background,
    /// and all laid over the canvas's where it has no alpha.
    pub fn finish(&self, colours: &mut RgbImage) {
        if let Some(background) = &self.background {
            self.free_edges(colours, background);
        }
        self.canvas.flatten(colours, &self.alpha);
    }

    /// Takes the background out of pixels in which it is mixed with the person.
    fn free_edges(&self, colours: &mut RgbImage, background: &RgbImage) {
        let (x, y) = (self.corner.0 as usize, self.corner.1 as usize);
        let lines = colours.rows_mut().zip(self.alpha.rows()).zip(background.rows().skip(y));
        for ((colours, alpha), background) in lines {
            for ((colour, alpha), background) in colours.zip(alpha).zip(background.skip(x)) {
                free(colour, alpha.0[0], background);
            }
        }
    }
}

/// The least alpha of which the colour behind can be told: below it the noise of a JPEG, divided by alpha, is louder
/// than the colour, so that the pixel, of which little is seen anyway, had better stay as it is.
const FAINTEST: u8 = 16;

/// Solves mixed = alpha person + (1 - alpha) background for the person.
fn free(mixed: &mut Rgb<u8>, alpha: u8, background: &Rgb<u8>) {
    if !(FAINTEST..255).contains(&alpha) {
        return;
    }
    let alpha = i32::from(alpha);
    for (level, background) in mixed.0.iter_mut().zip(background.0) {
        let share = (255 * i32::from(*level) - (255 - alpha) * i32::from(background)).max(0);
        *level = ((share + alpha / 2) / alpha).min(255) as u8;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::formats::{Packed, PixelFormat};

    const RGBA: PixelFormat = PixelFormat::Packed(Packed { bytes: 4, order: [0, 1, 2], alpha: Some(3) });
    const RGB: PixelFormat = PixelFormat::Packed(Packed { bytes: 3, order: [0, 1, 2], alpha: None });

    fn person(x: u32, y: u32) -> Rgb<u8> {
        Rgb([(x * 37 + y * 11) as u8, (x * 5 + y * 101) as u8, (255 - x * 3) as u8])
    }

    fn background(x: u32, y: u32) -> Rgb<u8> {
        Rgb([(x * 7 + y) as u8, (200 - y) as u8, (x + y * 29) as u8])
    }

    /// A matte whose alpha goes through all levels, and the picture of both behind it.
    fn mixture(format: PixelFormat, colour: Option<[u8; 3]>) -> (Matte, RgbImage) {
        let alpha = GrayImage::from_fn(64, 48, |x, y| image::Luma([(x + 64 * y) as u8]));
        let mixed = RgbImage::from_fn(64, 48, |x, y| {
            let alpha = f64::from(alpha.get_pixel(x, y).0[0]) / 255.0;
            let (person, background) = (person(x, y), background(x, y));
            let mix = |c: usize| {
                (alpha * f64::from(person.0[c]) + (1.0 - alpha) * f64::from(background.0[c])).round() as u8
            };
            Rgb([mix(0), mix(1), mix(2)])
        });
        let background = Some(Arc::new(RgbImage::from_fn(64, 48, background)));
        let canvas = Canvas { format, background: colour };
        (Matte { canvas, alpha, background, corner: (0, 0) }, mixed)
    }

    #[test]
    fn edges_are_freed_of_the_background() {
        let (matte, mixed) = mixture(RGBA, None);
        let mut freed = mixed.clone();
        matte.finish(&mut freed);
        for (x, y, freed) in freed.enumerate_pixels() {
            match matte.alpha.get_pixel(x, y).0[0] {
                0..FAINTEST => assert_eq!(freed, mixed.get_pixel(x, y)),
                255 => assert_eq!(*freed, person(x, y)),
                64.. => {
                    let pairs = freed.0.iter().zip(person(x, y).0);
                    let worst = pairs.map(|(freed, person)| freed.abs_diff(person)).max();
                    assert!(worst <= Some(2), "{worst:?} at {x}, {y}");
                }
                _ => {}
            }
        }
    }

    #[test]
    fn a_part_is_finished_as_the_whole() {
        let part = Rect { x: 10, y: 6, width: 31, height: 22 };
        for (format, colour) in [(RGBA, None), (RGB, Some([1, 200, 3]))] {
            let (matte, mut whole) = mixture(format, colour);
            let mut cut = part.cut(&whole);
            matte.cut(part).finish(&mut cut);
            assert_ne!(cut, part.cut(&whole), "{format:?}");
            matte.finish(&mut whole);
            assert_eq!(cut, part.cut(&whole), "{format:?}");
        }
    }

    #[test]
    fn what_is_transparent_becomes_the_colour_of_the_canvas() {
        let (matte, mut colours) = mixture(RGB, Some([1, 200, 3]));
        matte.finish(&mut colours);
        for (colour, alpha) in colours.pixels().zip(matte.alpha.iter()) {
            assert!(*alpha > 0 || colour.0 == [1, 200, 3], "{colour:?}");
        }
    }
}
