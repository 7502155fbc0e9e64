// SPDX-License-Identifier: MPL-2.0
//! Dense convolutions, 1 x 1 or 3 x 3, of concatenated inputs.

use std::cell::RefCell;

use super::concat::{Concat, InputTensor, MAX_SIDE};
use super::conv::{Blocking, Epilogue, OutputRows, PackedConv, Source};
use super::isa::Isa;
use super::memory::{CACHE_BUDGET, aligned_slice};
use super::{DenseConv, QuantParams};
use crate::limits::KERNEL_BYTES;

/// A convolution with weights packed for the kernels. It keeps no state between runs, so all threads share it.
pub struct PackedDenseConv {
    concat: Concat,
    layer: PackedConv,
    /// The padding is filled with its zero point.
    input: QuantParams,
    /// Rows above and below, and columns left and right.
    padding: usize,
    input_channels: usize,
    output_channels: usize,
    stride: usize,
    isa: Isa,
}

/// Output channels are computed in multiples of it.
const CHANNELS: usize = 16;

/// Scratch memory of a thread.
#[derive(Default)]
struct Scratch {
    padded: Vec<u8>,
    float_row: Vec<f32>,
    out_row: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl PackedDenseConv {
    pub fn new(conv: &DenseConv, isa: Isa) -> Self {
        let (inputs, outputs) = (conv.input_channels(), conv.layer.output_channels());
        Self {
            concat: Concat::new(&conv.inputs, conv.input),
            layer: PackedConv::new(
                &conv.layer,
                conv.input,
                conv.kernel,
                [inputs, outputs.next_multiple_of(CHANNELS)],
                isa,
            ),
            padding: conv.kernel / 2,
            input: conv.input,
            input_channels: inputs,
            output_channels: outputs,
            stride: conv.stride,
            isa,
        }
    }

    /// Input channels, all inputs together.
    pub fn input_channels(&self) -> usize {
        self.input_channels
    }

    /// Output channels.
    pub fn output_channels(&self) -> usize {
        self.output_channels
    }

    /// Number of inputs.
    pub fn input_count(&self) -> usize {
        self.concat.input_count()
    }

    /// Output height or width for an input of that height or width.
    pub fn output_size(&self, size: usize) -> usize {
        size.div_ceil(self.stride)
    }

    /// Height and width of the convolution for an input of that size; `None` where they would be too large.
    pub fn conv_size(&self, input: usize, size: [usize; 2]) -> Option<[usize; 2]> {
        self.concat.result_size(input, size)
    }

    /// Whether the convolution can run at that height and width with bounded scratch memory.
    pub fn supports_size(&self, size: [usize; 2]) -> bool {
        // An upper estimate of the rows held at a time, where one of them exceeds the cache.
        const ROWS: usize = 4;
        let [_, width] = size;
        let bytes = width.saturating_add(2 * self.padding).checked_mul(ROWS * self.layer.pixel_bytes());
        size.iter().all(|side| (1..=MAX_SIDE).contains(side))
            && bytes.is_some_and(|bytes| bytes <= KERNEL_BYTES)
    }

    /// The instruction set that its weights were packed for.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Runs the convolution at this height and width.
    ///
    /// # Safety
    /// The processor has the instruction set `S`, for which the weights were packed.
    ///
    /// # Panics
    /// Where an input or `to` does not have the expected length.
    #[inline(always)]
    pub unsafe fn run_with<S: Blocking>(&self, inputs: &[InputTensor<'_>], size: [usize; 2], to: &mut [u8]) {
        assert!(self.supports_size(size));
        self.concat.check(inputs, size, self.input_channels);
        let pixels: usize = size.map(|side| self.output_size(side)).iter().product();
        assert!(to.len() == pixels * self.output_channels);
        // Taken out, since closures are not compiled for the instruction set.
        let mut scratch = SCRATCH.take();
        // SAFETY: the caller's promise.
        unsafe { self.run_in::<S>(inputs, size, to, &mut scratch) };
        SCRATCH.set(scratch);
    }

    /// # Safety
    /// As [`Self::run_with`].
    #[inline(always)]
    unsafe fn run_in<S: Blocking>(
        &self,
        inputs: &[InputTensor<'_>],
        size: [usize; 2],
        to: &mut [u8],
        scratch: &mut Scratch,
    ) {
        let [height, width] = size;
        let (pixel, padding, stride) = (self.layer.pixel_bytes(), self.padding, self.stride);
        let row_stride = (width + 2 * padding) * pixel;
        let (out_width, channels) = (self.output_size(width), self.output_channels);
        let computed = channels.next_multiple_of(CHANNELS);
        let Scratch { padded, float_row, out_row } = scratch;
        out_row.resize(out_width * computed, 0);
        let rows_per_band = (CACHE_BUDGET / (stride * row_stride)).clamp(1, self.output_size(height));
        for (n, to) in to.chunks_mut(rows_per_band * out_width * channels).enumerate() {
            let rows = to.len() / (out_width * channels);
            // Rows of the padded input, of which the first is row `first` of it.
            let first = n * rows_per_band * stride;
            let count = stride * (rows - 1) + 2 * padding + 1;
            let padded = aligned_slice(padded, count * row_stride);
            padded.fill(self.input.zero_point);
            for (y, row) in padded.chunks_exact_mut(row_stride).enumerate() {
                let Some(y) = (first + y).checked_sub(padding).filter(|y| *y < height) else { continue };
                let row = &mut row[padding * pixel..][..width * pixel];
                // SAFETY: the caller's promise.
                unsafe { self.concat.run_row::<S>(inputs, size, y, row, pixel, float_row) };
            }
            for (y, to) in to.chunks_exact_mut(out_width * channels).enumerate() {
                let from = Source {
                    bytes: &padded[stride * y * row_stride..],
                    count: out_width,
                    pixel_step: stride * pixel,
                    row_stride,
                };
                let bytes = if computed == channels { &mut *to } else { &mut out_row[..] };
                let mut row = OutputRows {
                    bytes,
                    width: out_width,
                    pixel_stride: computed,
                    row_stride: out_width * computed,
                };
                // SAFETY: the caller's promise.
                unsafe { self.layer.run::<S>(from, &mut row, Epilogue::Requantize) };
                if computed != channels {
                    for (to, from) in to.chunks_exact_mut(channels).zip(out_row.chunks_exact(computed)) {
                        to.copy_from_slice(&from[..channels]);
                    }
                }
            }
        }
    }
}
