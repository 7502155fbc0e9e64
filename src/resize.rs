//! Bicubic scaling as OpenCV does it, because the networks were trained on pictures scaled so.
//!
//! Kernel with a = -0.75, pixel centres at half, replicated borders, no low-pass when shrinking, weights of 11
//! bits. The scalers of other crates use another kernel (a = -0.5) or blur when they shrink.

use image::RgbImage;

const TAPS: usize = 4;
const WEIGHT_BITS: u32 = 11;
const CHANNELS: usize = 3;

/// Where one output pixel comes from: the four source pixels and their weights.
struct Tap {
    source: [usize; TAPS],
    weight: [i32; TAPS],
}

/// Scales a picture to `width` x `height` pixels.
pub fn bicubic(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    if picture.dimensions() == (width, height) {
        return picture.clone();
    }
    let columns = taps(picture.width(), width);
    let lines = taps(picture.height(), height);
    let source_stride = picture.width() as usize * CHANNELS;
    let stride = width as usize * CHANNELS;

    // Sideways first: rows of the source at the new width, in fixed point.
    let mut wide = vec![0i32; stride * picture.height() as usize];
    for (row, out) in picture.chunks_exact(source_stride).zip(wide.chunks_exact_mut(stride)) {
        for (tap, out) in columns.iter().zip(out.chunks_exact_mut(CHANNELS)) {
            for (channel, out) in out.iter_mut().enumerate() {
                *out = (0..TAPS)
                    .map(|i| i32::from(row[tap.source[i] * CHANNELS + channel]) * tap.weight[i])
                    .sum();
            }
        }
    }

    let mut scaled = RgbImage::new(width, height);
    const HALF: i32 = 1 << (2 * WEIGHT_BITS - 1);
    for (tap, out) in lines.iter().zip(scaled.chunks_exact_mut(stride)) {
        let [a, b, c, d] = tap.source.map(|line| &wide[line * stride..][..stride]);
        let [wa, wb, wc, wd] = tap.weight;
        for (i, out) in out.iter_mut().enumerate() {
            let sum = a[i] * wa + b[i] * wb + c[i] * wc + d[i] * wd;
            *out = ((sum + HALF) >> (2 * WEIGHT_BITS)).clamp(0, 255) as u8;
        }
    }
    scaled
}

/// The taps of each of `to` output pixels over `from` source pixels.
fn taps(from: u32, to: u32) -> Vec<Tap> {
    let scale = f64::from(from) / f64::from(to);
    (0..to)
        .map(|i| {
            let centre = ((f64::from(i) + 0.5) * scale - 0.5) as f32;
            let first = centre.floor();
            Tap {
                source: std::array::from_fn(|k| {
                    (first as i64 + k as i64 - 1).clamp(0, i64::from(from) - 1) as usize
                }),
                weight: weights(centre - first)
                    .map(|w| (w * (1 << WEIGHT_BITS) as f32).round_ties_even() as i32),
            }
        })
        .collect()
}

/// Weights of the four pixels around a point `x` (0 to 1) past the second of them.
fn weights(x: f32) -> [f32; TAPS] {
    const A: f32 = -0.75;
    let outer = |x: f32| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    let inner = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let (a, b, c) = (outer(x + 1.0), inner(x), inner(1.0 - x));
    [a, b, c, 1.0 - a - b - c]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_picture_stays_flat() {
        let flat = RgbImage::from_pixel(31, 17, image::Rgb([200, 3, 77]));
        for (width, height) in [(328, 328), (7, 5), (31, 40)] {
            let scaled = bicubic(&flat, width, height);
            assert!(scaled.pixels().all(|p| p.0 == [200, 3, 77]));
        }
    }
}
