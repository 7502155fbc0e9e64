// SPDX-License-Identifier: MPL-2.0
//! From red, green and blue to luma and colour differences.
//!
//! In whole numbers, so that every processor gives the same bits. Compilers vectorise plain loops over planes well, but
//! not over pixels of three bytes: a block of two lines is split into planes first.

use multiversion::multiversion;

use crate::picture::formats::{Matrix, PixelFormat, Range, YuvCoding};

/// Bits of weights behind the binary point.
const BITS: i32 = 15;
/// Pixels of a line that are converted at a time: few enough for the L1 cache.
const BLOCK: usize = 512;
/// Colour differences of a block.
const HALF: usize = BLOCK / 2;

/// Weights of red, green and blue, and what is added to their sum, for luma or a colour difference.
#[derive(Clone, Copy)]
struct Weights {
    weights: [i16; 3],
    offset: i32,
}

/// Luma, blue and red difference.
struct Coding {
    luma: Weights,
    differences: [Weights; 2],
}

/// A part of two lines; where there is no second, of the first twice.
struct Block {
    /// Red, green and blue of both lines.
    colours: [[[u8; BLOCK]; 3]; 2],
    /// Sums of two neighbours' red, green and blue, which are the means of both lines.
    sums: [[i16; HALF]; 3],
    differences: [[u8; HALF]; 2],
}

impl PixelFormat {
    /// Converts lines of red, green and blue to planes of luma and colour differences, each with its bytes a line.
    /// Where width or height are odd, the last pixels are taken twice.
    ///
    /// # Panics
    /// Where a plane is too small, or the format packed.
    pub(super) fn convert<'a>(
        self,
        rgb: &[u8],
        width: u32,
        mut planes: impl Iterator<Item = (&'a mut [u8], usize)>,
    ) {
        let (Self::I420(coding) | Self::A420(coding) | Self::Nv12(coding)) = self else {
            unreachable!("packed formats have no luma")
        };
        let Coding { luma, differences } = Coding::of(coding);
        let width = width as usize;
        let mut plane = || planes.next().unwrap_or_else(|| unreachable!("no plane was left out"));
        let (luma_plane, luma_stride) = plane();
        let (first, stride) = plane();
        let mut second = if matches!(self, Self::Nv12(_)) { None } else { Some(plane()) };
        let mut block =
            Block { colours: [[[0; BLOCK]; 3]; 2], sums: [[0; HALF]; 3], differences: [[0; HALF]; 2] };
        let line = 3 * width;
        for (y, lines) in rgb.chunks((2 * line).max(1)).enumerate() {
            let line_count = lines.len() / line;
            for x in (0..width).step_by(BLOCK) {
                let count = BLOCK.min(width - x);
                for (n, colours) in block.colours.iter_mut().enumerate() {
                    split(&lines[n.min(line_count - 1) * line + 3 * x..][..3 * count], colours);
                    if count % 2 == 1 {
                        colours.iter_mut().for_each(|colour| colour[count] = colour[count - 1]);
                    }
                    if n < line_count {
                        let place = (2 * y + n) * luma_stride + x;
                        weigh_bytes(colours, luma, &mut luma_plane[place..][..count]);
                    }
                }
                let half = count.div_ceil(2);
                let [top, bottom] = &block.colours;
                for ((top, bottom), sums) in top.iter().zip(bottom).zip(&mut block.sums) {
                    sum(&top[..2 * half], &bottom[..2 * half], &mut sums[..half]);
                }
                for (weights, to) in differences.iter().zip(&mut block.differences) {
                    weigh_sums(&block.sums, *weights, &mut to[..half]);
                }
                let [blue, red] = &block.differences;
                if let Some((second, second_stride)) = &mut second {
                    first[y * stride + x / 2..][..half].copy_from_slice(&blue[..half]);
                    second[y * *second_stride + x / 2..][..half].copy_from_slice(&red[..half]);
                } else {
                    let pairs = first[y * stride + x..][..2 * half].as_chunks_mut::<2>().0;
                    for (pair, (blue, red)) in pairs.iter_mut().zip(blue.iter().zip(red)) {
                        *pair = [*blue, *red];
                    }
                }
            }
        }
    }
}

impl Coding {
    fn of(coding: YuvCoding) -> Self {
        let [red, blue] = match coding.matrix {
            Matrix::Bt601 => [0.299, 0.114],
            Matrix::Bt709 => [0.2126, 0.0722],
        };
        let (black, luma_levels, levels) = match coding.range {
            Range::Limited => (16, 219.0, 224.0),
            Range::Full => (0, 255.0, 255.0),
        };
        let green = 1.0 - red - blue;
        let fixed = |weight: f64| (weight / 255.0 * f64::from(1 << BITS)).round() as i16;
        // Rounded down where it is half a level; a difference is that of a sum of two pixels.
        let offset = |level: i32, bits: i32| (level << bits) + (1 << (bits - 1)) - 1;
        let difference = |weights: [f64; 3], of: f64| Weights {
            weights: weights.map(|weight| fixed(weight / (1.0 - of) / 2.0 * levels)),
            offset: offset(128, BITS + 1),
        };
        Self {
            luma: Weights {
                weights: [red, green, blue].map(|weight| fixed(weight * luma_levels)),
                offset: offset(black, BITS),
            },
            differences: [
                difference([-red, -green, 1.0 - blue], blue),
                difference([1.0 - red, -green, -blue], red),
            ],
        }
    }
}

/// The colours of pixels, each for itself.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn split(pixels: &[u8], [red, green, blue]: &mut [[u8; BLOCK]; 3]) {
    for (((pixel, red), green), blue) in pixels.as_chunks::<3>().0.iter().zip(red).zip(green).zip(blue) {
        [*red, *green, *blue] = *pixel;
    }
}

/// The sums of two neighbours, each the mean of both lines.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn sum(top: &[u8], bottom: &[u8], to: &mut [i16]) {
    for ((top, bottom), to) in top.as_chunks::<2>().0.iter().zip(bottom.as_chunks::<2>().0).zip(to) {
        let mean = |n: usize| (i16::from(top[n]) + i16::from(bottom[n]) + 1) >> 1;
        *to = mean(0) + mean(1);
    }
}

/// Luma.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn weigh_bytes([red, green, blue]: &[[u8; BLOCK]; 3], weights: Weights, to: &mut [u8]) {
    let [of_red, of_green, of_blue] = weights.weights.map(i32::from);
    for (((red, green), blue), to) in red.iter().zip(green).zip(blue).zip(to) {
        let sum = of_red * i32::from(*red) + of_green * i32::from(*green) + of_blue * i32::from(*blue);
        *to = ((sum + weights.offset) >> BITS) as u8;
    }
}

/// A colour difference.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn weigh_sums([red, green, blue]: &[[i16; HALF]; 3], weights: Weights, to: &mut [u8]) {
    let [of_red, of_green, of_blue] = weights.weights.map(i32::from);
    for (((red, green), blue), to) in red.iter().zip(green).zip(blue).zip(to) {
        let sum = of_red * i32::from(*red) + of_green * i32::from(*green) + of_blue * i32::from(*blue);
        *to = ((sum + weights.offset) >> (BITS + 1)) as u8;
    }
}
