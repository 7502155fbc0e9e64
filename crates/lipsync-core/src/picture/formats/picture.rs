// SPDX-License-Identifier: MPL-2.0
//! Pictures in the format of the video: our own, and those in memory of others that are written to.

use image::{GrayImage, RgbImage};

use crate::picture::formats::{Packed, PixelFormat};
use crate::picture::geometry::Rect;

/// A picture of the video's own memory, to be written to. Widths and heights are those of the whole picture.
pub struct PictureMut<'a> {
    /// How its pixels lie in memory.
    pub format: PixelFormat,
    /// In pixels.
    pub width: u32,
    /// In pixels.
    pub height: u32,
    /// Bytes and bytes per line of each plane.
    pub planes: Vec<(&'a mut [u8], usize)>,
}

/// A picture of our own in the format of the video, its lines without gaps.
#[derive(Debug, Clone)]
pub struct Picture {
    format: PixelFormat,
    width: u32,
    height: u32,
    planes: Vec<Vec<u8>>,
}

impl Picture {
    /// Converts a whole picture; without `alpha` it is opaque.
    pub fn new(colours: &RgbImage, alpha: Option<&GrayImage>, format: PixelFormat) -> Self {
        let (width, height) = colours.dimensions();
        let sizes = format.planes(width, height);
        let mut picture = Self {
            format,
            width,
            height,
            planes: sizes.iter().map(|(stride, lines)| vec![0; stride * lines]).collect(),
        };
        let whole = Rect { x: 0, y: 0, width, height };
        picture.as_mut().draw(colours, whole);
        picture.set_alpha(alpha);
        picture
    }

    fn set_alpha(&mut self, alpha: Option<&GrayImage>) {
        let (plane, place, step) = match self.format {
            PixelFormat::A420(_) => (3, 0, 1),
            PixelFormat::Packed(Packed { bytes, alpha: Some(place), .. }) => (0, place, bytes),
            _ => return,
        };
        let bytes = self.planes[plane].iter_mut().skip(place).step_by(step);
        match alpha {
            Some(alpha) => bytes.zip(alpha.iter()).for_each(|(byte, level)| *byte = *level),
            None => bytes.for_each(|byte| *byte = 255),
        }
    }

    /// Bytes of memory.
    pub fn size(&self) -> usize {
        self.planes.iter().map(Vec::len).sum()
    }

    /// Its memory, to be written to.
    pub fn as_mut(&mut self) -> PictureMut<'_> {
        let sizes = self.format.planes(self.width, self.height);
        PictureMut {
            format: self.format,
            width: self.width,
            height: self.height,
            planes: (self.planes.iter_mut().zip(sizes))
                .map(|(plane, (stride, _))| (plane.as_mut_slice(), stride))
                .collect(),
        }
    }

    /// Copies the picture to one of the same format and size.
    pub(crate) fn copy_to(&self, target: &mut PictureMut<'_>) {
        let sizes = self.format.planes(self.width, self.height);
        for ((plane, (stride, lines)), (target, target_stride)) in
            self.planes.iter().zip(sizes).zip(&mut target.planes)
        {
            if stride == *target_stride {
                target[..stride * lines].copy_from_slice(plane);
                continue;
            }
            for (line, target) in plane.chunks_exact(stride).zip(target.chunks_mut(*target_stride)) {
                target[..stride].copy_from_slice(line);
            }
        }
    }
}

impl<'a> PictureMut<'a> {
    /// One whose planes follow each other in `bytes`, lines without gaps.
    pub(crate) fn packed(format: PixelFormat, width: u32, height: u32, bytes: &'a mut [u8]) -> Self {
        let mut rest = bytes;
        let sizes = format.planes(width, height).into_iter();
        let planes = sizes.map(|(stride, lines)| {
            let (plane, behind) = std::mem::take(&mut rest).split_at_mut(stride * lines);
            rest = behind;
            (plane, stride)
        });
        Self { format, width, height, planes: planes.collect() }
    }
}

impl PictureMut<'_> {
    /// Draws `rgb` over the rectangle of its size; the corners must be even ([`Rect::even`]). Alpha stays as it is.
    pub fn draw(&mut self, rgb: &RgbImage, at: Rect) {
        let (x, y) = (at.x as usize, at.y as usize);
        if let PixelFormat::Packed(packed) = self.format {
            let (plane, stride) = &mut self.planes[0];
            let lines = plane[y * *stride..].chunks_mut(*stride);
            for (line, rgb) in lines.zip(rgb.chunks_exact(3 * rgb.width() as usize)) {
                packed.write(rgb, &mut line[x * packed.bytes..]);
            }
            return;
        }
        let planes = self.planes.iter_mut().enumerate().map(|(n, (plane, stride))| {
            let (left, top) = self.format.place(n, x, y);
            (&mut plane[top * *stride + left..], *stride)
        });
        self.format.convert(rgb, at.width, planes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::sha256_hex;
    use crate::picture::formats::{Canvas, Matrix, Range, YuvCoding};

    const FORMATS: [PixelFormat; 6] = [
        PixelFormat::I420(YuvCoding::BT709),
        PixelFormat::A420(YuvCoding { matrix: Matrix::Bt709, range: Range::Full }),
        PixelFormat::Nv12(YuvCoding { matrix: Matrix::Bt601, range: Range::Limited }),
        PixelFormat::Packed(Packed { bytes: 3, order: [2, 1, 0], alpha: None }),
        PixelFormat::Packed(Packed { bytes: 4, order: [1, 2, 3], alpha: None }),
        PixelFormat::Packed(Packed { bytes: 4, order: [1, 2, 3], alpha: Some(0) }),
    ];

    fn noise(width: u32, height: u32) -> RgbImage {
        let mut state = 1u32;
        RgbImage::from_fn(width, height, |_, _| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            image::Rgb([(state >> 8) as u8, (state >> 16) as u8, (state >> 24) as u8])
        })
    }

    #[test]
    fn drawing_a_part_is_converting_the_changed_whole() {
        let mut rgb = noise(61, 43);
        for format in FORMATS {
            let alpha = GrayImage::from_fn(61, 43, |x, y| image::Luma([(x * 4 + y) as u8]));
            let mut drawn = Picture::new(&rgb, Some(&alpha), format);
            let part = Rect { x: 5, y: 9, width: 20, height: 17 }.even(61, 43);
            let patch = noise(part.width, part.height);
            drawn.as_mut().draw(&patch, part);
            image::imageops::replace(&mut rgb, &patch, part.x.into(), part.y.into());
            let whole = Picture::new(&rgb, Some(&alpha), format);
            assert!(drawn.planes == whole.planes, "{format:?}");
        }
    }

    #[test]
    fn any_part_can_be_drawn_down_to_the_last_row_and_column() {
        for (width, height) in (1..=7).flat_map(|width| (1..=7).map(move |height| (width, height))) {
            let all = (0..width).flat_map(|x| (0..height).map(move |y| (x, y)));
            for (format, (x, y)) in FORMATS.iter().flat_map(|format| all.clone().map(move |at| (format, at)))
            {
                let mut rgb = noise(width, height);
                let mut drawn = Picture::new(&rgb, None, *format);
                let part = Rect { x, y, width: width - x, height: (height - y).min(3) }.even(width, height);
                let mut patch = noise(part.width, part.height);
                image::imageops::invert(&mut patch);
                drawn.as_mut().draw(&patch, part);
                image::imageops::replace(&mut rgb, &patch, part.x.into(), part.y.into());
                let whole = Picture::new(&rgb, None, *format);
                assert!(drawn.planes == whole.planes, "{format:?}, {part:?} of {width} x {height}");
            }
        }
    }

    #[test]
    fn planes_are_the_same_to_the_bit_on_every_processor() {
        let rgb = noise(1061, 43);
        let planes = FORMATS[..3].iter().flat_map(|format| Picture::new(&rgb, None, *format).planes.concat());
        assert_eq!(sha256_hex(&planes.collect::<Vec<_>>())[..16], *"65cc38506986b55c");
    }

    /// The planes in floating point; chroma of the mean of four pixels.
    fn exact_i420(rgb: &RgbImage, coding: YuvCoding) -> Vec<u8> {
        let [red, blue] = match coding.matrix {
            Matrix::Bt601 => [0.299, 0.114],
            Matrix::Bt709 => [0.2126, 0.0722],
        };
        let (black, luma_range, chroma_range) = match coding.range {
            Range::Limited => (16.0, 219.0, 224.0),
            Range::Full => (0.0, 255.0, 255.0),
        };
        let luma = |[r, g, b]: [f64; 3]| red * r + (1.0 - red - blue) * g + blue * b;
        let pixel = |x, y| rgb.get_pixel(x, y).0.map(f64::from);
        let level = |value: f64| value.round() as u8;
        let (width, height) = rgb.dimensions();
        let mut planes = [Vec::new(), Vec::new(), Vec::new()];
        for y in 0..height {
            for x in 0..width {
                planes[0].push(level(black + luma(pixel(x, y)) * luma_range / 255.0));
            }
        }
        for y in (0..height).step_by(2) {
            for x in (0..width).step_by(2) {
                let four = [pixel(x, y), pixel(x + 1, y), pixel(x, y + 1), pixel(x + 1, y + 1)];
                let mean: [f64; 3] = std::array::from_fn(|c| four.iter().map(|p| p[c]).sum::<f64>() / 4.0);
                let chroma = |colour: f64, weight: f64| {
                    level(128.0 + (colour - luma(mean)) / (2.0 - 2.0 * weight) * chroma_range / 255.0)
                };
                planes[1].push(chroma(mean[2], blue));
                planes[2].push(chroma(mean[0], red));
            }
        }
        planes.concat()
    }

    #[test]
    fn planes_are_those_of_the_standard() {
        let rgb = noise(64, 48);
        for matrix in [Matrix::Bt601, Matrix::Bt709] {
            for range in [Range::Limited, Range::Full] {
                let coding = YuvCoding { matrix, range };
                let picture = Picture::new(&rgb, None, PixelFormat::I420(coding));
                let exact = exact_i420(&rgb, coding);
                let pairs = || picture.planes.iter().flatten().zip(&exact);
                let worst = pairs().map(|(a, b)| a.abs_diff(*b)).max();
                let same = pairs().filter(|(a, b)| a == b).count();
                println!("{coding:?}: {same} of {} are the same, worst {worst:?}", exact.len());
                assert!(
                    worst <= Some(1) && same * 100 > exact.len() * 95,
                    "{coding:?}: {same}, worst {worst:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_transparent_shows_the_background_where_there_is_no_alpha() {
        let alpha = GrayImage::from_raw(3, 1, vec![0, 128, 255]).unwrap();
        for (format, expected) in
            [(FORMATS[3], [[9, 8, 7], [105, 104, 104], [200; 3]]), (FORMATS[5], [[200; 3]; 3])]
        {
            let mut colours = RgbImage::from_pixel(3, 1, image::Rgb([200; 3]));
            Canvas { format, background: Some([9, 8, 7]) }.flatten(&mut colours, &alpha);
            let levels: Vec<[u8; 3]> = colours.pixels().map(|pixel| pixel.0).collect();
            assert_eq!(levels, expected, "{format:?}");
        }
        let picture = Picture::new(&noise(3, 1), Some(&alpha), FORMATS[5]);
        assert_eq!([0, 4, 8].map(|byte| picture.planes[0][byte]), [0, 128, 255]);
    }

    #[test]
    fn lines_with_gaps_are_left_alone_in_the_gaps() {
        for format in FORMATS {
            let picture = Picture::new(&noise(10, 6), None, format);
            let sizes = format.planes(10, 6);
            let mut memory: Vec<Vec<u8>> =
                sizes.iter().map(|(stride, lines)| vec![7; (stride + 6) * lines]).collect();
            let mut target = PictureMut {
                format,
                width: 10,
                height: 6,
                planes: (memory.iter_mut().zip(&sizes))
                    .map(|(plane, (stride, _))| (plane.as_mut_slice(), stride + 6))
                    .collect(),
            };
            picture.copy_to(&mut target);
            for ((plane, (stride, _)), own) in memory.iter().zip(&sizes).zip(&picture.planes) {
                for (line, own) in plane.chunks(stride + 6).zip(own.chunks(*stride)) {
                    assert_eq!(&line[..*stride], own);
                    assert_eq!(line[*stride..], [7; 6]);
                }
            }
        }
    }
}
