//! Steps 4 and 6: the face as the generator sees it, and its mouth put back into the face.
//!
//! The face rectangle of a frame is scaled to a *crop*, a border wider on each side than the network; the
//! network sees the inside of the crop twice, once whole and once with the mouth blacked. What it paints
//! replaces the inside of the crop, which is scaled back to the rectangle.
//!
//! Networks of the Wav2Lip family see the face without a border, its lower half blacked, and the blacked one
//! first; what they paint is the whole rectangle.

use std::sync::LazyLock;

use image::{RgbImage, imageops};
use multiversion::multiversion;

use crate::picture::geometry::{Rect, copy_rows};
use crate::picture::pool::Pooled;
use crate::picture::resize::{Kernel, resize, resize_onto};

/// Channels of the generator's picture input: the face and the blacked face, both blue, green, red.
pub const INPUT_CHANNELS: usize = 6;

/// Which family a generator is of, as far as its eyes are concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Style {
    /// The face first, then the face with the mouth rectangle blacked; bicubic scaling.
    SyncTalk,
    /// The same with bilinear scaling: Ultralight-Digital-Human.
    Ultralight,
    /// The face with its lower half blacked first, then the face; bilinear scaling.
    Wav2Lip,
}

/// How the painted square is put back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Paste {
    /// Into the crop, inside its border, and the crop into the rectangle: as SyncTalk_2D does.
    #[default]
    Inner,
    /// Stretched over the whole rectangle: as digital-clone's scripts do.
    Full,
}

/// How an avatar's network sees and paints faces; `None` is what its kind of network is used to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaceOptions {
    /// Which family it is of.
    pub style: Option<Style>,
    /// Width of the crop's border around what the network sees, in pixels.
    pub border: Option<u32>,
    /// How the painted mouth is put back.
    pub paste: Option<Paste>,
}

/// How a network sees faces and how they are put back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Framing {
    /// Side of the square that the network sees and paints, in pixels.
    pub network: u32,
    /// What the crop is wider on each side, in pixels.
    pub border: u32,
    /// The family's ways.
    pub style: Style,
    /// How the painted square is put back.
    pub paste: Paste,
}

/// Width of SyncTalk_2D's border.
const BORDER: u32 = 4;

/// The blacked mouth rectangle of SyncTalk_2D leaves this much of the square: left, top, right, bottom.
const UNMASKED: [u32; 4] = [5, 5, 5, 10];

impl Framing {
    /// The framing of a network that sees squares of `network` pixels: as `options` say, else as `style` does.
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

    /// The part of the network's square that is blacked before it sees it a second time.
    pub fn mask(self) -> Rect {
        let side = self.network;
        match self.style {
            Style::SyncTalk | Style::Ultralight => {
                let [left, top, right, bottom] = UNMASKED;
                // Of squares smaller than what is left, nothing is blacked.
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

    /// The face as the network sees it.
    pub fn face(self, views: &FaceViews) -> RgbImage {
        match &views.given {
            Some([face, _]) => face.clone(),
            None => {
                let (place, side) = (self.border, self.network);
                Rect { x: place, y: place, width: side, height: side }.cut(&views.crop)
            }
        }
    }

    /// The face without its mouth, as the network sees it.
    pub fn masked(self, views: &FaceViews) -> RgbImage {
        if let Some([_, masked]) = &views.given {
            return masked.clone();
        }
        let mut masked = self.face(views);
        let mask = self.mask();
        imageops::replace(&mut masked, &RgbImage::new(mask.width, mask.height), mask.x.into(), mask.y.into());
        masked
    }

    /// The crop of a face rectangle.
    pub fn crop_of(self, face: &RgbImage) -> RgbImage {
        resize(face, self.crop(), self.crop(), self.kernel())
    }

    /// Draws the face with what the network painted over the rectangle `at` of a picture.
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

    /// Writes what the network sees as planes of blue, green and red in 0 to 1, in the family's order.
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

/// What the network sees of a face.
#[derive(Debug, Clone)]
pub struct FaceViews {
    /// The face, scaled for the network, with its border.
    pub crop: RgbImage,
    /// The face and the masked face, of the network's size, in place of those that are cut from the crop.
    pub given: Option<[RgbImage; 2]>,
}

impl FaceViews {
    /// The views that are cut from a crop.
    pub fn of(crop: RgbImage) -> Self {
        Self { crop, given: None }
    }

    /// Bytes of its pictures.
    pub fn size(&self) -> usize {
        self.crop.len() + self.given.iter().flatten().map(|view| view.len()).sum::<usize>()
    }
}

/// The 256 levels in 0 to 1, as dividing gives them: multiplying by the inverse is not the same to the last bit.
static UNIT_LEVELS: LazyLock<[f32; 256]> =
    LazyLock::new(|| std::array::from_fn(|level| level as f32 / 255.0));

/// Writes a square of `side` pixels as planes; it begins `border` pixels inside a picture `width` wide.
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

/// The picture in a network's output: planes of blue, green and red in 0 to 1, cut off to whole levels.
///
/// `None` where a value is not a number.
pub fn decode_output(output: &[f32], side: u32) -> Option<Pooled> {
    let plane = (side * side) as usize;
    let mut picture = Pooled::new(side, side);
    let (blue, rest) = output.split_at(plane);
    let (green, red) = rest.split_at(plane);
    interleave(red, green, blue, &mut picture).then_some(picture)
}

/// Writes the levels of three planes pixel by pixel; false where a value is not a number.
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
    fn networks_of_any_side_see_a_face() {
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
