// SPDX-License-Identifier: MPL-2.0
//! Steps 4 and 6: the generator's image input, and pasting its output into the frame.
//!
//! The face rectangle of a frame is scaled to a *crop*, which is larger than the network's input by a border
//! on each side. The image input stacks the inside of the crop twice, once whole and once with the mouth
//! masked (black). The network's output replaces the inside of the crop, which is scaled back to the
//! rectangle.
//!
//! Networks of the Wav2Lip family take the face without a border, with its lower half masked, and the masked
//! face first; their output covers the whole rectangle.

use std::sync::LazyLock;

use image::{RgbImage, imageops};
use multiversion::multiversion;

use crate::picture::geometry::{Rect, copy_rows};
use crate::picture::pool::Pooled;
use crate::picture::resize::{Kernel, resize, resize_onto};

/// Channels of the image input: the face and the masked face, both as blue, green, red.
pub const INPUT_CHANNELS: usize = 6;

/// The family of a generator: how its image input is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// The face, then the face with the mouth rectangle masked; bicubic scaling.
    SyncTalk,
    /// The same with bilinear scaling: Ultralight-Digital-Human.
    Ultralight,
    /// The face with its lower half masked, then the face; bilinear scaling.
    Wav2Lip,
}

/// How the output is pasted into the frame.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Paste {
    /// Into the crop, inside its border, and the crop into the rectangle: as SyncTalk_2D does.
    #[default]
    Inner,
    /// Scaled to the whole rectangle: as digital-clone's scripts do.
    Full,
}

/// How an avatar's faces are cut out and pasted; `None` is the default of the generator's family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaceOptions {
    /// The generator's family.
    pub style: Option<Style>,
    /// Width of the crop's border around the network's input, in pixels.
    pub border: Option<u32>,
    /// How the output is pasted.
    pub paste: Option<Paste>,
}

/// How faces are cut out for a generator, and how its output is pasted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Framing {
    /// Side of the network's square input and output, in pixels.
    pub network: u32,
    /// Width of the crop's border, in pixels.
    pub border: u32,
    /// The generator's family.
    pub style: Style,
    /// How the output is pasted.
    pub paste: Paste,
}

/// Width of SyncTalk_2D's border.
const BORDER: u32 = 4;

/// Margins of SyncTalk_2D's mouth mask inside the square: left, top, right, bottom.
const UNMASKED: [u32; 4] = [5, 5, 5, 10];

/// What part of the square's side the face's own border fades out over: 8 pixels of 320.
const FADE: u32 = 40;

impl Framing {
    /// The framing for a network with squares of `network` pixels: `options` come first, then the defaults of
    /// `style`.
    pub fn new(network: u32, style: Style, options: FaceOptions) -> Self {
        let style = options.style.unwrap_or(style);
        let (border, paste) = match style {
            Style::SyncTalk | Style::Ultralight => (BORDER, Paste::Inner),
            Style::Wav2Lip => (0, Paste::Full),
        };
        Self {
            network,
            border: options.border.unwrap_or(border),
            style,
            paste: options.paste.unwrap_or(paste),
        }
    }

    /// Side of the crop.
    pub fn crop(self) -> u32 {
        self.network + 2 * self.border
    }

    fn kernel(self) -> Kernel {
        match self.style {
            Style::SyncTalk => Kernel::Bicubic,
            Style::Ultralight | Style::Wav2Lip => Kernel::Bilinear,
        }
    }

    /// The part of the network's square that is masked.
    pub fn mask(self) -> Rect {
        let side = self.network;
        match self.style {
            Style::SyncTalk | Style::Ultralight => {
                let [left, top, right, bottom] = UNMASKED;
                // In squares smaller than the margins nothing is masked.
                Rect {
                    x: left.min(side),
                    y: top.min(side),
                    width: side.saturating_sub(left + right),
                    height: side.saturating_sub(top + bottom),
                }
            }
            Style::Wav2Lip => Rect { x: 0, y: side / 2, width: side, height: side - side / 2 },
        }
    }

    /// The face in the size of the network.
    pub fn face(self, views: &FaceViews) -> RgbImage {
        match &views.given {
            Some([face, _]) => face.clone(),
            None => {
                let (place, side) = (self.border, self.network);
                Rect { x: place, y: place, width: side, height: side }.cut(&views.crop)
            }
        }
    }

    /// The masked face in the size of the network.
    pub fn masked(self, views: &FaceViews) -> RgbImage {
        if let Some([_, masked]) = &views.given {
            return masked.clone();
        }
        let mut masked = self.face(views);
        let mask = self.mask();
        imageops::replace(&mut masked, &RgbImage::new(mask.width, mask.height), mask.x.into(), mask.y.into());
        masked
    }

    /// Whether all of the face is masked but for a narrow border, which [`Self::restore_border`] restores.
    fn restores_border(self) -> bool {
        matches!(self.style, Style::SyncTalk | Style::Ultralight)
    }

    /// Width of that border in feature maps of `side` pixels, rounded down; 0 where the face is little more than border.
    pub fn restored_border(self, side: usize) -> usize {
        let widest = UNMASKED.into_iter().max().unwrap_or(0);
        let is_narrow = self.restores_border() && 4 * widest <= self.network;
        if is_narrow { widest as usize * side / self.network as usize } else { 0 }
    }

    /// Puts the border of the face, which is not masked, back into the network's output, and fades it out inside the mask.
    ///
    /// The network was given it and paints it once more, from values several times larger than elsewhere, for which 8 bits
    /// have no room.
    pub fn restore_border(self, views: &FaceViews, painted: &mut RgbImage) {
        if !self.restores_border() {
            return;
        }
        let (face, offset) = match &views.given {
            Some([face, _]) => (face, 0),
            None => (&views.crop, self.border),
        };
        let (mask, side) = (self.mask(), self.network);
        let fade = (side / FADE).max(1);
        // How many pixels a place is inside the mask, 0 in the border.
        let depth = |place: u32, from: u32, size: u32| {
            (place + 1).saturating_sub(from).min((from + size).saturating_sub(place)).min(fade)
        };
        let columns: Vec<u32> = (0..side).map(|x| depth(x, mask.x, mask.width)).collect();
        for y in 0..side {
            let row = depth(y, mask.y, mask.height);
            for (x, column) in (0..side).zip(&columns) {
                let depth = row.min(*column);
                if depth < fade {
                    let own = face.get_pixel(x + offset, y + offset);
                    for (value, own) in painted.get_pixel_mut(x, y).0.iter_mut().zip(own.0) {
                        let sum = u32::from(*value) * depth + u32::from(own) * (fade - depth);
                        *value = ((sum + fade / 2) / fade) as u8;
                    }
                }
            }
        }
    }

    /// The crop of a face rectangle.
    pub fn crop_of(self, face: &RgbImage) -> RgbImage {
        resize(face, self.crop(), self.crop(), self.kernel())
    }

    /// Pastes `painted`, the network's output, over the rectangle `at` of a picture.
    pub fn paste(self, crop: &RgbImage, painted: &RgbImage, picture: &mut RgbImage, at: Rect) {
        match self.paste {
            Paste::Full => resize_onto(painted, picture, at, self.kernel()),
            Paste::Inner => {
                let mut crop = Pooled::copy(crop);
                copy_rows(painted, (0, 0), &mut crop, (self.border, self.border), painted.height());
                resize_onto(&crop, picture, at, self.kernel());
            }
        }
    }

    /// Writes the image input: planes of blue, green and red in 0 to 1, in the family's order.
    pub fn write(self, views: &FaceViews, input: &mut [f32]) {
        let (first, second) = input.split_at_mut(input.len() / 2);
        let (face, masked) = match self.style {
            Style::SyncTalk | Style::Ultralight => (first, second),
            Style::Wav2Lip => (second, first),
        };
        let side = self.network as usize;
        if let Some(given) = &views.given {
            for (picture, planes) in given.iter().zip([face, masked]) {
                write_planes(picture, (0, side), side, planes);
            }
            return;
        }
        write_planes(&views.crop, (self.border as usize, self.crop() as usize), side, face);
        masked.copy_from_slice(face);
        let Rect { x, y, width, height } = self.mask();
        let (x, width) = (x as usize, width as usize);
        for plane in masked.chunks_exact_mut(side * side) {
            for row in plane.chunks_exact_mut(side).skip(y as usize).take(height as usize) {
                row[x..x + width].fill(0.0);
            }
        }
    }
}

/// The pictures that the image input is made of.
#[derive(Debug, Clone)]
pub struct FaceViews {
    /// The face scaled to the crop, with its border.
    pub crop: RgbImage,
    /// Ready-made pictures of the face and the masked face in the size of the network, instead of those cut
    /// from the crop.
    pub given: Option<[RgbImage; 2]>,
}

impl FaceViews {
    /// Views that are cut from a crop.
    pub fn of(crop: RgbImage) -> Self {
        Self { crop, given: None }
    }

    /// Bytes of the pictures.
    pub fn size(&self) -> usize {
        self.crop.len() + self.given.iter().flatten().map(|view| view.len()).sum::<usize>()
    }
}

/// The 256 levels in 0 to 1, as a division gives them: multiplying by the inverse would differ in the last
/// bit.
static UNIT_LEVELS: LazyLock<[f32; 256]> =
    LazyLock::new(|| std::array::from_fn(|level| level as f32 / 255.0));

/// Writes a square of `side` pixels as planes; it begins `border` pixels inside a picture that is `width`
/// wide.
fn write_planes(picture: &[u8], (border, width): (usize, usize), side: usize, planes: &mut [f32]) {
    let levels = &*UNIT_LEVELS;
    let (blue, rest) = planes.split_at_mut(side * side);
    let (green, red) = rest.split_at_mut(side * side);
    let rows = picture.chunks_exact(3 * width).skip(border);
    let planes =
        blue.chunks_exact_mut(side).zip(green.chunks_exact_mut(side)).zip(red.chunks_exact_mut(side));
    for (row, ((blue, green), red)) in rows.zip(planes) {
        let pixels = row[3 * border..].chunks_exact(3);
        for (((pixel, blue), green), red) in pixels.zip(blue).zip(green).zip(red) {
            *red = levels[usize::from(pixel[0])];
            *green = levels[usize::from(pixel[1])];
            *blue = levels[usize::from(pixel[2])];
        }
    }
}

/// The network's output as a picture: planes of blue, green and red in 0 to 1, truncated to whole levels.
///
/// `None` where a value is NaN.
pub fn decode_output(output: &[f32], side: u32) -> Option<Pooled> {
    let plane = (side * side) as usize;
    let mut picture = Pooled::new(side, side);
    let (blue, rest) = output.split_at(plane);
    let (green, red) = rest.split_at(plane);
    interleave(red, green, blue, &mut picture).then_some(picture)
}

/// Interleaves three planes into pixels; false where a value is NaN.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn interleave(red: &[f32], green: &[f32], blue: &[f32], picture: &mut [u8]) -> bool {
    let mut has_nan = false;
    for (((pixel, red), green), blue) in picture.chunks_exact_mut(3).zip(red).zip(green).zip(blue) {
        pixel[0] = (red * 255.0) as u8;
        pixel[1] = (green * 255.0) as u8;
        pixel[2] = (blue * 255.0) as u8;
        has_nan |= red.is_nan() | green.is_nan() | blue.is_nan();
    }
    !has_nan
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_network_size_gets_an_image_input() {
        for style in [Style::SyncTalk, Style::Wav2Lip] {
            for side in 1..20 {
                let framing = Framing::new(side, style, FaceOptions::default());
                let views = FaceViews::of(RgbImage::new(framing.crop(), framing.crop()));
                let mut input = vec![1.0; INPUT_CHANNELS * (side * side) as usize];
                framing.write(&views, &mut input);
                assert!(input.iter().all(|value| *value == 0.0));
                framing.masked(&views);
            }
        }
    }

    #[test]
    fn the_border_is_the_faces_own() {
        let framing = Framing::new(160, Style::Ultralight, FaceOptions::default());
        let crop = RgbImage::from_fn(168, 168, |x, y| image::Rgb([x as u8, y as u8, 0]));
        let views = FaceViews::of(crop);
        let mut painted = RgbImage::from_pixel(160, 160, image::Rgb([0, 0, 9]));
        framing.restore_border(&views, &mut painted);
        let mask = framing.mask();
        for (x, y, pixel) in painted.enumerate_pixels() {
            let inside = |place: u32, from: u32, size: u32| {
                i64::from(place).min(i64::from(from + size - 1)).max(i64::from(from)) == i64::from(place)
            };
            let is_masked = |x, y| inside(x, mask.x, mask.width) && inside(y, mask.y, mask.height);
            let own = [x as u8 + 4, y as u8 + 4, 0];
            if !is_masked(x, y) {
                assert_eq!(pixel.0, own, "{x}, {y}");
            } else if [-4, 4]
                .into_iter()
                .all(|d| is_masked(x.saturating_add_signed(d), y) && is_masked(x, y.saturating_add_signed(d)))
            {
                assert_eq!(pixel.0, [0, 0, 9], "{x}, {y}");
            }
        }
        // Of four pixels' way: a quarter of what was painted.
        assert_eq!(painted.get_pixel(mask.x, 80).0, [(3 * (5 + 4) + 2) / 4, (3 * 84 + 2) / 4, (9 + 2) / 4]);
        // What is not masked of this face is no border.
        let framing = Framing::new(160, Style::Wav2Lip, FaceOptions::default());
        let before = painted.clone();
        framing.restore_border(&views, &mut painted);
        assert!(painted == before);
    }

    #[test]
    fn the_mask_is_the_rectangle_of_the_training_code() {
        let framing = Framing::new(320, Style::SyncTalk, FaceOptions::default());
        let crop = RgbImage::from_pixel(328, 328, image::Rgb([9; 3]));
        let masked = framing.masked(&FaceViews::of(crop));
        let black: Vec<_> = masked.enumerate_pixels().filter(|p| p.2.0 == [0; 3]).collect();
        let (xs, ys): (Vec<u32>, Vec<u32>) = black.iter().map(|p| (p.0, p.1)).unzip();
        assert_eq!((xs.iter().min(), xs.iter().max()), (Some(&5), Some(&314)));
        assert_eq!((ys.iter().min(), ys.iter().max()), (Some(&5), Some(&309)));
        assert_eq!(black.len(), 310 * 305);
    }
}
