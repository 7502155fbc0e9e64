// SPDX-License-Identifier: MPL-2.0
//! Scaling as OpenCV does it, because the networks were trained on pictures scaled so.
//!
//! Pixel centres at half, replicated borders, no low-pass when shrinking, weights of 11 bits. The bicubic kernel has
//! a = -0.75. The scalers of other crates use another kernel (a = -0.5) or blur when they shrink. The loops are
//! compiled for the wider registers of newer processors as well, and chosen when the program runs.

use std::cell::RefCell;

use image::RgbImage;
use multiversion::multiversion;

use crate::picture::geometry::{Rect, copy_rows};

const WEIGHT_BITS: u32 = 11;
const CHANNELS: usize = 3;

/// Which pixels of the source an output pixel is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// Four each way: `INTER_CUBIC`.
    Bicubic,
    /// Two each way: `INTER_LINEAR`.
    Bilinear,
}

/// Scales a picture to `width` x `height` pixels.
pub fn resize(picture: &RgbImage, width: u32, height: u32, kernel: Kernel) -> RgbImage {
    let mut scaled = RgbImage::new(width, height);
    resize_onto(picture, &mut scaled, Rect { x: 0, y: 0, width, height }, kernel);
    scaled
}

/// Scales a picture to the size of a rectangle of another, which lies inside that, and draws it there.
pub(crate) fn resize_onto(picture: &RgbImage, target: &mut RgbImage, at: Rect, kernel: Kernel) {
    let size = (at.width, at.height);
    if picture.dimensions() == size {
        copy_rows(picture, (0, 0), target, (at.x, at.y), at.height);
        return;
    }
    match kernel {
        Kernel::Bicubic => scale(picture, target, at, bicubic_weights, bicubic_line),
        // OpenCV takes the mean of four pixels where it halves a picture, whatever the kernel.
        Kernel::Bilinear if picture.dimensions() == (2 * at.width, 2 * at.height) => {
            copy_rows(&halve(picture), (0, 0), target, (at.x, at.y), at.height);
        }
        Kernel::Bilinear => scale(picture, target, at, bilinear_weights, bilinear_line),
    }
}

/// Where an output pixel comes from: the source pixels and their weights.
struct Tap<const N: usize> {
    source: [usize; N],
    weight: [i32; N],
}

/// Memory in which a thread scales one picture after the other.
#[derive(Default)]
struct Scratch {
    /// The taps of the columns: sources (times channels) and weights.
    columns: Vec<(usize, i32)>,
    /// Rows of the source at the new width, in fixed point.
    wide: Vec<i32>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// Scales sideways, then downward, with `N` source pixels each way; `line` makes a line of levels from `N` lines.
fn scale<const N: usize>(
    picture: &RgbImage,
    target: &mut RgbImage,
    at: Rect,
    weights: fn(f32) -> [f32; N],
    line: fn(&[&[i32]; N], &[i32; N], &mut [u8]),
) {
    let source_stride = picture.width() as usize * CHANNELS;
    let stride = at.width as usize * CHANNELS;
    let target_stride = target.width() as usize * CHANNELS;
    let first = at.y as usize * target_stride + at.x as usize * CHANNELS;
    let levels: &mut [u8] = target;
    SCRATCH.with_borrow_mut(|Scratch { columns, wide }| {
        columns.clear();
        columns.extend((0..at.width).flat_map(|i| {
            let Tap { source, weight } = tap(i, picture.width(), at.width, weights);
            std::array::from_fn::<_, N, _>(|k| (source[k] * CHANNELS, weight[k]))
        }));
        wide.resize(stride * picture.height() as usize, 0);
        for (row, out) in picture.chunks_exact(source_stride).zip(wide.chunks_exact_mut(stride)) {
            widen::<N>(row, columns.as_chunks().0, out);
        }
        for i in 0..at.height {
            let tap = tap(i, picture.height(), at.height, weights);
            let rows = tap.source.map(|row| &wide[row * stride..][..stride]);
            let start = first + i as usize * target_stride;
            line(&rows, &tap.weight, &mut levels[start..start + stride]);
        }
    });
}

/// One row of the source at the new width.
fn widen<const N: usize>(row: &[u8], columns: &[[(usize, i32); N]], out: &mut [i32]) {
    for (column, out) in columns.iter().zip(out.as_chunks_mut::<CHANNELS>().0) {
        let mut sums = [0; CHANNELS];
        for (source, weight) in column {
            let pixel: &[u8; CHANNELS] = row[*source..].first_chunk().unwrap_or(&[0; CHANNELS]);
            for (sum, level) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(*level) * weight;
            }
        }
        *out = sums;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn bicubic_line(rows: &[&[i32]; 4], weights: &[i32; 4], out: &mut [u8]) {
    const HALF: i32 = 1 << (2 * WEIGHT_BITS - 1);
    let [a, b, c, d] = rows;
    let [wa, wb, wc, wd] = *weights;
    for ((((out, a), b), c), d) in out.iter_mut().zip(*a).zip(*b).zip(*c).zip(*d) {
        *out = ((a * wa + b * wb + c * wc + d * wd + HALF) >> (2 * WEIGHT_BITS)).clamp(0, 255) as u8;
    }
}

/// In the steps of OpenCV's vector code, which cut off bits in between.
#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2"))]
fn bilinear_line(rows: &[&[i32]; 2], weights: &[i32; 2], out: &mut [u8]) {
    let part = |row: i32, weight: i32| ((row >> 4) * weight) >> 16;
    for ((out, a), b) in out.iter_mut().zip(rows[0]).zip(rows[1]) {
        *out = ((part(*a, weights[0]) + part(*b, weights[1]) + 2) >> 2).clamp(0, 255) as u8;
    }
}

/// The tap of output pixel `i` of `to`, over `from` source pixels.
fn tap<const N: usize>(i: u32, from: u32, to: u32, weights: fn(f32) -> [f32; N]) -> Tap<N> {
    let scale = f64::from(from) / f64::from(to);
    let centre = ((f64::from(i) + 0.5) * scale - 0.5) as f32;
    let floor = centre.floor();
    let first = floor as i64 - (N as i64 / 2 - 1);
    Tap {
        source: std::array::from_fn(|k| (first + k as i64).clamp(0, i64::from(from) - 1) as usize),
        weight: weights(centre - floor).map(|w| (w * (1 << WEIGHT_BITS) as f32).round_ties_even() as i32),
    }
}

/// Weights of the four pixels around a point `x` (0 to 1) past the second of them.
fn bicubic_weights(x: f32) -> [f32; 4] {
    const A: f32 = -0.75;
    let outer = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let inner = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let (a, b, c) = (outer(x + 1.0), inner(x), inner(1.0 - x));
    [a, b, c, 1.0 - a - b - c]
}

/// Weights of the two pixels around a point `x` (0 to 1) past the first of them.
fn bilinear_weights(x: f32) -> [f32; 2] {
    [1.0 - x, x]
}

/// Every output pixel is the mean of four.
fn halve(picture: &RgbImage) -> RgbImage {
    RgbImage::from_fn(picture.width() / 2, picture.height() / 2, |x, y| {
        let four =
            [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(dx, dy)| picture.get_pixel(2 * x + dx, 2 * y + dy).0);
        image::Rgb(std::array::from_fn(|channel| {
            let sum: u32 = four.iter().map(|pixel| u32::from(pixel[channel])).sum();
            ((sum + 2) / 4) as u8
        }))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_picture_stays_flat() {
        let flat = RgbImage::from_pixel(32, 18, image::Rgb([200, 3, 77]));
        for (width, height) in [(328, 328), (7, 5), (16, 9), (32, 40)] {
            for kernel in [Kernel::Bicubic, Kernel::Bilinear] {
                let scaled = resize(&flat, width, height, kernel);
                assert!(scaled.pixels().all(|p| p.0 == [200, 3, 77]), "{kernel:?} {width}x{height}");
            }
        }
    }

    #[test]
    fn a_part_is_drawn_where_it_belongs() {
        let picture = RgbImage::from_fn(9, 9, |x, y| image::Rgb([x as u8 * 20, y as u8 * 20, 7]));
        for kernel in [Kernel::Bicubic, Kernel::Bilinear] {
            let mut target = RgbImage::from_pixel(30, 20, image::Rgb([1, 2, 3]));
            let at = Rect { x: 5, y: 3, width: 17, height: 11 };
            let mut expected = target.clone();
            image::imageops::replace(&mut expected, &resize(&picture, 17, 11, kernel), 5, 3);
            resize_onto(&picture, &mut target, at, kernel);
            assert_eq!(target, expected, "{kernel:?}");
        }
    }
}
