// SPDX-License-Identifier: MPL-2.0
//! The inputs of a convolution: requantized to common parameters, upsampled where they are half as large, and
//! concatenated.

use super::requantize::{Affine, Requantize};
use super::simd::Simd;
use super::{BlockInput, QuantParams};

/// Largest height and width: interpolation positions are computed in float32.
pub const MAX_SIDE: usize = (1 << 16) - 1;

/// Concatenates inputs along their channels, row by row.
pub struct Concat {
    ops: Vec<InputOp>,
    /// The largest byte of the result.
    max: u8,
}

enum InputOp {
    /// The parameters are those of the result: bytes are copied.
    Copy,
    Requantize(Box<Requantize>),
    /// Upsampled to twice the height and width, then requantized.
    Upsample2x(Affine),
}

/// An input tensor (NHWC) and its number of channels.
#[derive(Clone, Copy)]
pub struct InputTensor<'a> {
    pub bytes: &'a [u8],
    pub channels: usize,
}

impl Concat {
    /// Concatenates these inputs to a tensor of the parameters `to`.
    pub fn new(inputs: &[BlockInput], to: QuantParams) -> Self {
        let op = |input: &BlockInput| {
            let affine = Affine::between(input.params, to);
            if input.upsample_2x {
                InputOp::Upsample2x(affine)
            } else if input.params == to {
                InputOp::Copy
            } else {
                InputOp::Requantize(Requantize::new(affine, to.max).into())
            }
        };
        Self { ops: inputs.iter().map(op).collect(), max: to.max }
    }

    /// Number of inputs.
    pub fn input_count(&self) -> usize {
        self.ops.len()
    }

    /// Whether the concatenation is just a copy of the only input.
    pub fn is_identity(&self) -> bool {
        matches!(self.ops[..], [InputOp::Copy])
    }

    /// Whether an input has half the height and width of the result.
    pub fn upsamples(&self, input: usize) -> bool {
        matches!(self.ops[input], InputOp::Upsample2x(_))
    }

    /// Height and width of the result for an input of that size; `None` where they would be too large.
    pub fn result_size(&self, input: usize, size: [usize; 2]) -> Option<[usize; 2]> {
        let times = if self.upsamples(input) { 2 } else { 1 };
        let [height, width] = size.map(|side| side.checked_mul(times).filter(|side| *side <= MAX_SIDE));
        Some([height?, width?])
    }

    /// Panics where the inputs are not as long as a result of `size` (height, width) with `channels` needs: unsafe code
    /// relies on these lengths.
    pub fn check(&self, inputs: &[InputTensor<'_>], size: [usize; 2], channels: usize) {
        assert!(inputs.len() == self.ops.len());
        for (n, input) in inputs.iter().enumerate() {
            assert!(!self.upsamples(n) || size.iter().all(|side| side % 2 == 0));
            let [height, width] = if self.upsamples(n) { size.map(|side| side / 2) } else { size };
            assert!(input.channels > 0 && input.bytes.len() == height * width * input.channels);
        }
        assert!(inputs.iter().map(|input| input.channels).sum::<usize>() == channels);
    }

    /// Writes row `y` into `to`; `size` is the height and width of the result. A pixel takes `pixel_stride` bytes of
    /// `to`; those after the last channel are left as they are. `float_row` is scratch memory.
    ///
    /// # Safety
    /// The processor has the instruction set `S`; the lengths were checked ([`Self::check`]).
    #[inline(always)]
    pub unsafe fn run_row<S: Simd>(
        &self,
        inputs: &[InputTensor<'_>],
        [height, width]: [usize; 2],
        y: usize,
        to: &mut [u8],
        pixel_stride: usize,
        float_row: &mut Vec<f32>,
    ) {
        let mut channel = 0;
        for (op, InputTensor { bytes, channels }) in self.ops.iter().zip(inputs) {
            let to = DestRow { row: &mut to[channel..], pixel_stride, channels: *channels };
            let from = |y: usize, width: usize| &bytes[y * width * channels..][..width * channels];
            match op {
                InputOp::Copy => to.copy(from(y, width)),
                // SAFETY: the caller's promise.
                InputOp::Requantize(by) => unsafe { to.requantize::<S>(from(y, width), by) },
                InputOp::Upsample2x(affine) => {
                    let (above, below, share) = Interpolation::new(height).at(y);
                    let rows = [above, below].map(|y| from(y, width / 2));
                    // SAFETY: the caller's promise.
                    unsafe { to.upsample_row::<S>(rows, share, *affine, self.max, float_row) };
                }
            }
            channel += channels;
        }
    }
}

/// An input's channels in a row of the output.
struct DestRow<'a> {
    row: &'a mut [u8],
    /// Bytes from one pixel to the next.
    pixel_stride: usize,
    channels: usize,
}

impl DestRow<'_> {
    /// Pairs of input and output pixels.
    #[inline(always)]
    fn pixels<'a>(&'a mut self, from: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a mut [u8])> {
        let channels = self.channels;
        let to = self.row.chunks_mut(self.pixel_stride).map(move |to| &mut to[..channels]);
        from.chunks_exact(channels).zip(to)
    }

    #[inline(always)]
    fn copy(mut self, from: &[u8]) {
        // Pixels are short: a call of `memcpy` for each costs more than the copy.
        const CHUNK: usize = 16;
        for (from, to) in self.pixels(from) {
            let (from, from_rest) = from.as_chunks::<CHUNK>();
            let (to, to_rest) = to.as_chunks_mut::<CHUNK>();
            for (from, to) in from.iter().zip(to) {
                *to = *from;
            }
            for (from, to) in from_rest.iter().zip(to_rest) {
                *to = *from;
            }
        }
    }

    /// # Safety
    /// The processor has the instruction set `S`.
    #[inline(always)]
    unsafe fn requantize<S: Simd>(mut self, from: &[u8], by: &Requantize) {
        for (from, to) in self.pixels(from) {
            // SAFETY: the caller's promise; the pixels have the same length.
            unsafe { S::requantize_bytes(from, to, by) };
        }
    }

    /// Writes one row of the upsampled image, interpolated between two input rows.
    ///
    /// # Safety
    /// The processor has the instruction set `S`; `to` has twice as many pixels as the rows.
    #[inline(always)]
    unsafe fn upsample_row<S: Simd>(
        self,
        [above, below]: [&[u8]; 2],
        share: f32,
        affine: Affine,
        max: u8,
        float_row: &mut Vec<f32>,
    ) {
        let channels = self.channels;
        let width = 2 * above.len() / channels;
        assert!(above.len() == below.len());
        // Interpolate vertically first.
        float_row.resize(above.len(), 0.0);
        // SAFETY: the caller's promise; `registers` keeps within the slices.
        unsafe {
            let share = S::splat_float(share);
            let to = float_row.as_mut_ptr();
            for at in registers::<S>(above.len()) {
                let above = S::to_floats(S::widen::<1>(above.as_ptr().add(at))[0]);
                let below = S::to_floats(S::widen::<1>(below.as_ptr().add(at))[0]);
                S::store_floats(to.add(at), S::mul_add(S::sub(below, above), share, above));
            }
        }
        if above.len() < S::LANES {
            for ((to, above), below) in float_row.iter_mut().zip(above).zip(below) {
                let (above, below) = (f32::from(*above), f32::from(*below));
                *to = (below - above).mul_add(share, above);
            }
        }
        let between = Interpolation::new(width);
        for (x, to) in self.row.chunks_mut(self.pixel_stride).take(width).enumerate() {
            let (left, right, share) = between.at(x);
            let [left, right] = [left, right].map(|x| &float_row[x * channels..][..channels]);
            let to = &mut to[..channels];
            // SAFETY: the caller's promise; `registers` keeps within the slices.
            unsafe {
                let share = S::splat_float(share);
                let (scale, offset) = (S::splat_float(affine.scale), S::splat_float(affine.offset));
                for at in registers::<S>(channels) {
                    let left = S::load_floats(left.as_ptr().add(at));
                    let right = S::load_floats(right.as_ptr().add(at));
                    let value = S::mul_add(S::sub(right, left), share, left);
                    let value = S::round(S::mul_add(value, scale, offset));
                    S::narrow::<1>(to.as_mut_ptr().add(at), [value], 0, max);
                }
            }
            if channels < S::LANES {
                for ((to, left), right) in to.iter_mut().zip(left).zip(right) {
                    *to = affine.requantize((right - left).mul_add(share, *left), max);
                }
            }
        }
    }
}

/// Where to load registers so that they cover `length` values: the last one overlaps the one before. None where the
/// values do not fill one.
#[inline(always)]
fn registers<S: Simd>(length: usize) -> impl Iterator<Item = usize> {
    let last = length.checked_sub(S::LANES);
    last.into_iter().flat_map(move |last| (0..length).step_by(S::LANES).map(move |at| at.min(last)))
}

/// Bilinear interpolation with aligned corners, along one axis.
pub struct Interpolation {
    half: usize,
    step: f32,
}

impl Interpolation {
    pub fn new(size: usize) -> Self {
        assert!((2..=MAX_SIDE).contains(&size));
        let half = size / 2;
        Self { half, step: (half - 1) as f32 / (size - 1) as f32 }
    }

    /// The two source positions to interpolate between, and the weight of the second.
    #[inline]
    pub fn at(&self, place: usize) -> (usize, usize, f32) {
        let at = place as f32 * self.step;
        // SAFETY: the value lies between zero and half the size.
        let first = unsafe { at.to_int_unchecked::<i32>() } as usize;
        (first, (first + 1).min(self.half - 1), at - first as f32)
    }
}
