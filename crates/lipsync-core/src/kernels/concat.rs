// SPDX-License-Identifier: MPL-2.0
//! The inputs of a block: requantized to common parameters, upsampled where they are half as large, and
//! concatenated.

use core::arch::x86_64::*;

use super::{BlockInput, InvertedResidual, QuantParams};

/// Concatenates the inputs of a block along their channels, a few rows at a time.
pub struct Concat {
    ops: Vec<InputOp>,
}

enum InputOp {
    /// The parameters are those of the block: bytes are copied.
    Copy,
    /// Requantized with a lookup table.
    Requantize(Box<[u8; 256]>),
    /// Upsampled to twice the height and width, then requantized: `scale * value + offset`.
    Upsample2x { scale: f32, offset: f32 },
}

/// An input tensor (NHWC) and its number of channels.
#[derive(Clone, Copy)]
pub struct InputTensor<'a> {
    pub bytes: &'a [u8],
    pub channels: usize,
}

/// Bytes in a register.
const BYTES: usize = 64;
/// float32 lanes in a register.
const LANES: usize = 16;

impl Concat {
    pub fn new(block: &InvertedResidual) -> Self {
        let op = |input: &BlockInput| {
            let QuantParams { scale, zero_point } = input.params;
            let scale = scale / block.expand_input.scale;
            let offset = f32::from(block.expand_input.zero_point) - scale * f32::from(zero_point);
            if input.upsample_2x {
                InputOp::Upsample2x { scale, offset }
            } else if input.params == block.expand_input {
                InputOp::Copy
            } else {
                let changed = |byte: usize| scale.mul_add(byte as f32, offset).round_ties_even() as u8;
                InputOp::Requantize(Box::new(std::array::from_fn(changed)))
            }
        };
        Self { ops: block.inputs.iter().map(op).collect() }
    }

    /// Number of inputs.
    pub fn input_count(&self) -> usize {
        self.ops.len()
    }

    /// Whether the concatenation is just a copy of the only input.
    pub fn is_identity(&self) -> bool {
        matches!(self.ops[..], [InputOp::Copy])
    }

    /// Whether an input has half the height and width of the block.
    pub fn upsamples(&self, input: usize) -> bool {
        matches!(self.ops[input], InputOp::Upsample2x { .. })
    }

    /// Writes rows from row `first` on into `to`; `size` is the height and width of the block. A pixel takes
    /// `pixel_stride` bytes of `to`; those after the last channel are left as they are. `float_row` is
    /// scratch memory.
    #[target_feature(enable = "avx512bw,avx512vl")]
    pub fn run(
        &self,
        inputs: &[InputTensor<'_>],
        size: [usize; 2],
        first: usize,
        to: &mut [u8],
        pixel_stride: usize,
        float_row: &mut Vec<f32>,
    ) {
        let [height, width] = size;
        for (n, row) in to.chunks_exact_mut(width * pixel_stride).enumerate() {
            let y = first + n;
            let mut channel = 0;
            for (op, InputTensor { bytes, channels }) in self.ops.iter().zip(inputs) {
                let to = DestRow { row: &mut row[channel..], pixel_stride, channels: *channels };
                let from = |y: usize, width: usize| &bytes[y * width * channels..][..width * channels];
                match op {
                    InputOp::Copy => to.copy(from(y, width)),
                    InputOp::Requantize(table) if is_x86_feature_detected!("avx512vbmi") => {
                        // SAFETY: AVX-512 VBMI was detected.
                        unsafe { to.requantize_vbmi(from(y, width), table) };
                    }
                    InputOp::Requantize(table) => to.requantize_scalar(from(y, width), table),
                    InputOp::Upsample2x { scale, offset } => {
                        let (above, below, share) = Interpolation::new(height).at(y);
                        let rows = [above, below].map(|y| from(y, width / 2));
                        to.upsample_row(rows, share, (*scale, *offset), float_row);
                    }
                }
                channel += channels;
            }
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
    #[inline]
    fn pixels<'a>(&'a mut self, from: &'a [u8]) -> impl Iterator<Item = (&'a [u8], &'a mut [u8])> {
        let channels = self.channels;
        let to = self.row.chunks_mut(self.pixel_stride).map(move |to| &mut to[..channels]);
        from.chunks_exact(channels).zip(to)
    }

    #[target_feature(enable = "avx512bw,avx512vl")]
    fn copy(mut self, from: &[u8]) {
        let chunks = MaskedChunks::of(self.channels);
        for (from, to) in self.pixels(from) {
            for (at, mask) in chunks.all() {
                // SAFETY: the mask covers only bytes inside the slices.
                unsafe {
                    let bytes = _mm512_maskz_loadu_epi8(mask, from.as_ptr().add(at).cast());
                    _mm512_mask_storeu_epi8(to.as_mut_ptr().add(at).cast(), mask, bytes);
                }
            }
        }
    }

    #[target_feature(enable = "avx512bw,avx512vl,avx512vbmi")]
    fn requantize_vbmi(mut self, from: &[u8], table: &[u8; 256]) {
        let [a, b, c, d] = std::array::from_fn(|n| {
            let quarter = &table[n * BYTES..][..BYTES];
            // SAFETY: the slice has 64 bytes.
            unsafe { _mm512_loadu_si512(quarter.as_ptr().cast()) }
        });
        let chunks = MaskedChunks::of(self.channels);
        for (from, to) in self.pixels(from) {
            for (at, mask) in chunks.all() {
                // SAFETY: the mask covers only bytes inside the slices.
                unsafe {
                    let bytes = _mm512_maskz_loadu_epi8(mask, from.as_ptr().add(at).cast());
                    let (low, high) =
                        (_mm512_permutex2var_epi8(a, bytes, b), _mm512_permutex2var_epi8(c, bytes, d));
                    let bytes = _mm512_mask_blend_epi8(_mm512_movepi8_mask(bytes), low, high);
                    _mm512_mask_storeu_epi8(to.as_mut_ptr().add(at).cast(), mask, bytes);
                }
            }
        }
    }

    fn requantize_scalar(mut self, from: &[u8], table: &[u8; 256]) {
        for (from, to) in self.pixels(from) {
            for (from, to) in from.iter().zip(to) {
                *to = table[usize::from(*from)];
            }
        }
    }

    /// Writes one row of the upsampled image, interpolated between two input rows.
    #[target_feature(enable = "avx512bw,avx512vl")]
    fn upsample_row(
        self,
        rows: [&[u8]; 2],
        share: f32,
        (scale, offset): (f32, f32),
        float_row: &mut Vec<f32>,
    ) {
        let channels = self.channels;
        let width = 2 * rows[0].len() / channels;
        // Interpolate vertically first.
        float_row.resize(rows[0].len().next_multiple_of(LANES), 0.0);
        let lines =
            rows[0].chunks(LANES).zip(rows[1].chunks(LANES)).zip(float_row.as_chunks_mut::<LANES>().0);
        let share = _mm512_set1_ps(share);
        for ((above, below), float_row) in lines {
            let mask = if above.len() < LANES { (1 << above.len()) - 1 } else { u16::MAX };
            // SAFETY: the mask covers only values inside the slices.
            unsafe {
                let [above, below] = [above, below].map(|bytes| {
                    let bytes = _mm_maskz_loadu_epi8(mask, bytes.as_ptr().cast());
                    _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))
                });
                let value = _mm512_fmadd_ps(_mm512_sub_ps(below, above), share, above);
                _mm512_storeu_ps(float_row.as_mut_ptr(), value);
            }
        }
        let (scale, offset, none) = (_mm512_set1_ps(scale), _mm512_set1_ps(offset), _mm512_setzero_si512());
        let tail_mask = ((1u32 << (channels % LANES)) - 1) as u16;
        let between = Interpolation::new(width);
        for (x, to) in self.row.chunks_mut(self.pixel_stride).take(width).enumerate() {
            let (left, right, share) = between.at(x);
            let share = _mm512_set1_ps(share);
            let [left, right] = [left, right].map(|x| float_row[x * channels..][..channels].as_ptr());
            let to = to[..channels].as_mut_ptr();
            for at in (0..channels).step_by(LANES) {
                let mask = if channels - at < LANES { tail_mask } else { u16::MAX };
                // SAFETY: the mask covers only values inside the slices.
                unsafe {
                    let left = _mm512_maskz_loadu_ps(mask, left.add(at));
                    let right = _mm512_maskz_loadu_ps(mask, right.add(at));
                    let value = _mm512_fmadd_ps(_mm512_sub_ps(right, left), share, left);
                    let value = _mm512_cvtps_epi32(_mm512_fmadd_ps(value, scale, offset));
                    let bytes = _mm512_cvtusepi32_epi8(_mm512_max_epi32(value, none));
                    _mm_mask_storeu_epi8(to.add(at).cast(), mask, bytes);
                }
            }
        }
    }
}

/// A pixel's channels in chunks of a register, the last one masked.
#[derive(Clone, Copy)]
struct MaskedChunks {
    channels: usize,
    /// The mask of the last chunk.
    tail_mask: u64,
}

impl MaskedChunks {
    fn of(channels: usize) -> Self {
        Self { channels, tail_mask: (1 << (channels % BYTES)) - 1 }
    }

    /// Offset and mask of each chunk.
    #[inline]
    fn all(self) -> impl Iterator<Item = (usize, u64)> {
        let mask = move |at| if self.channels - at < BYTES { self.tail_mask } else { u64::MAX };
        (0..self.channels).step_by(BYTES).map(move |at| (at, mask(at)))
    }
}

/// Bilinear interpolation with aligned corners, along one axis.
struct Interpolation {
    half: usize,
    step: f32,
}

impl Interpolation {
    fn new(size: usize) -> Self {
        assert!((2..1 << 16).contains(&size));
        let half = size / 2;
        Self { half, step: (half - 1) as f32 / (size - 1) as f32 }
    }

    /// The two source positions to interpolate between, and the weight of the second.
    #[inline]
    fn at(&self, place: usize) -> (usize, usize, f32) {
        let at = place as f32 * self.step;
        // SAFETY: the value lies between zero and half the size.
        let first = unsafe { at.to_int_unchecked::<i32>() } as usize;
        (first, (first + 1).min(self.half - 1), at - first as f32)
    }
}
