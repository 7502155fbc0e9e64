//! Scaling as OpenCV does it, because the networks were trained on pictures scaled so.
//!
//! Pixel centres at half, replicated borders, no low-pass when shrinking, weights of 11 bits. The bicubic kernel has
//! a = -0.75. The scalers of other crates use another kernel (a = -0.5) or blur when they shrink.

use image::RgbImage;

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
    if picture.dimensions() == (width, height) {
        return picture.clone();
    }
    match kernel {
        Kernel::Bicubic => scale(picture, width, height, bicubic_weights, |rows, weights| {
            const HALF: i32 = 1 << (2 * WEIGHT_BITS - 1);
            let [a, b, c, d] = rows;
            let [wa, wb, wc, wd] = weights;
            ((a * wa + b * wb + c * wc + d * wd + HALF) >> (2 * WEIGHT_BITS)).clamp(0, 255) as u8
        }),
        // OpenCV takes the mean of four pixels where it halves a picture, whatever the kernel.
        Kernel::Bilinear if picture.dimensions() == (2 * width, 2 * height) => halve(picture),
        Kernel::Bilinear => scale(picture, width, height, bilinear_weights, |rows, weights| {
            // In the steps of its vector code, which cut off bits in between.
            let part = |row: i32, weight: i32| ((row >> 4) * weight) >> 16;
            ((part(rows[0], weights[0]) + part(rows[1], weights[1]) + 2) >> 2).clamp(0, 255) as u8
        }),
    }
}

/// Where one output pixel comes from: the source pixels and their weights.
struct Tap<const N: usize> {
    source: [usize; N],
    weight: [i32; N],
}

/// Scales sideways, then downward, with `N` source pixels each way; `down` makes a level of a column's values.
fn scale<const N: usize>(
    picture: &RgbImage,
    width: u32,
    height: u32,
    weights: fn(f32) -> [f32; N],
    down: impl Fn([i32; N], [i32; N]) -> u8,
) -> RgbImage {
    let columns = taps(picture.width(), width, weights);
    let lines = taps(picture.height(), height, weights);
    let source_stride = picture.width() as usize * CHANNELS;
    let stride = width as usize * CHANNELS;

    // Rows of the source at the new width, in fixed point.
    let mut wide = vec![0i32; stride * picture.height() as usize];
    for (row, out) in picture.chunks_exact(source_stride).zip(wide.chunks_exact_mut(stride)) {
        for (tap, out) in columns.iter().zip(out.chunks_exact_mut(CHANNELS)) {
            for (channel, out) in out.iter_mut().enumerate() {
                *out =
                    (0..N).map(|i| i32::from(row[tap.source[i] * CHANNELS + channel]) * tap.weight[i]).sum();
            }
        }
    }

    let mut scaled = RgbImage::new(width, height);
    for (tap, out) in lines.iter().zip(scaled.chunks_exact_mut(stride)) {
        let rows = tap.source.map(|line| &wide[line * stride..][..stride]);
        for (i, out) in out.iter_mut().enumerate() {
            *out = down(rows.map(|row| row[i]), tap.weight);
        }
    }
    scaled
}

/// The taps of each of `to` output pixels over `from` source pixels.
fn taps<const N: usize>(from: u32, to: u32, weights: fn(f32) -> [f32; N]) -> Vec<Tap<N>> {
    let scale = f64::from(from) / f64::from(to);
    (0..to)
        .map(|i| {
            let centre = ((f64::from(i) + 0.5) * scale - 0.5) as f32;
            let floor = centre.floor();
            let first = floor as i64 - (N as i64 / 2 - 1);
            Tap {
                source: std::array::from_fn(|k| (first + k as i64).clamp(0, i64::from(from) - 1) as usize),
                weight: weights(centre - floor)
                    .map(|w| (w * (1 << WEIGHT_BITS) as f32).round_ties_even() as i32),
            }
        })
        .collect()
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
}
