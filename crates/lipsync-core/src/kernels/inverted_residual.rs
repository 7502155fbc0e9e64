// SPDX-License-Identifier: MPL-2.0
//! The fused inverted residual block, computed a few rows at a time.

use std::cell::RefCell;

use super::concat::{Concat, InputTensor, MAX_SIDE};
use super::conv::{Blocking, Epilogue, OutputRows, PackedConv, ResidualAdd};
use super::depthwise::{Depthwise, TAIL_PADDING, padded_channels};
use super::isa::Isa;
use super::memory::{CACHE_BUDGET, aligned_slice};
use super::pointwise_f32::PointwiseF32;
use super::{InvertedResidual, Projection, QuantParams};
use crate::limits::KERNEL_BYTES;

/// A block with weights packed for the kernels. It keeps no state between runs, so all threads share it.
pub struct PackedInvertedResidual {
    concat: Concat,
    expand: PackedConv,
    depthwise: Depthwise,
    project: PackedProjection,
    /// Zero point of the expanded values, with which the depthwise convolution is padded.
    expand_zero_point: u8,
    input_channels: usize,
    output_channels: usize,
    stride: usize,
    isa: Isa,
}

enum PackedProjection {
    Quantized { layer: PackedConv, sum: Option<ResidualAdd> },
    Float(PointwiseF32),
}

/// The output tensor, of the element type that the block produces.
pub enum BlockOutput<'a> {
    U8(&'a mut [u8]),
    F32(&'a mut [f32]),
}

/// Scratch memory of a thread, shared by all of its blocks.
#[derive(Default)]
struct Scratch {
    concatenated: Vec<u8>,
    float_row: Vec<f32>,
    expanded: Vec<u8>,
    depthwise_out: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl PackedInvertedResidual {
    pub fn new(block: &InvertedResidual, isa: Isa) -> Self {
        let expanded = padded_channels(block.expand.output_channels(), block.stride, isa);
        let (wide, narrow) = (block.depthwise.output, block.output_channels());
        let project = match &block.project {
            Projection::Quantized(layer) => PackedProjection::Quantized {
                layer: PackedConv::new(layer, wide, 1, [expanded, narrow], isa),
                sum: block.residual.map(|sum| ResidualAdd::of(layer.output, block.expand_input, sum)),
            },
            Projection::Float(layer) => {
                PackedProjection::Float(PointwiseF32::new(layer, wide, expanded, isa))
            }
        };
        let channels = [block.input_channels(), expanded];
        Self {
            concat: Concat::new(&block.inputs, block.expand_input),
            expand: PackedConv::new(&block.expand, block.expand_input, 1, channels, isa),
            depthwise: Depthwise::new(&block.depthwise, block.expand.output, block.stride, isa),
            project,
            expand_zero_point: block.expand.output.zero_point,
            input_channels: block.input_channels(),
            output_channels: block.output_channels(),
            stride: block.stride,
            isa,
        }
    }

    /// Output channels.
    pub fn output_channels(&self) -> usize {
        self.output_channels
    }

    /// Output height or width for an input of that height or width.
    pub fn output_size(&self, size: usize) -> usize {
        size.div_ceil(self.stride)
    }

    /// Whether the output is float32.
    pub fn is_float(&self) -> bool {
        matches!(self.project, PackedProjection::Float(_))
    }

    /// Number of inputs.
    pub fn input_count(&self) -> usize {
        self.concat.input_count()
    }

    /// Height and width of the block for an input of that size; `None` where they would be too large.
    pub fn block_size(&self, input: usize, size: [usize; 2]) -> Option<[usize; 2]> {
        self.concat.result_size(input, size)
    }

    /// Whether the block can run at that height and width with bounded scratch memory.
    pub fn supports_size(&self, size: [usize; 2]) -> bool {
        let [height, width] = size;
        let is_size = |side: usize| (1..=MAX_SIDE).contains(&side);
        // An upper estimate of the rows held at a time: input, expanded, and depthwise output.
        const ROWS: usize = 8;
        let pixels = width.saturating_add(2).saturating_mul(ROWS);
        let bytes = self.depthwise.output_channels().max(self.expand.pixel_bytes()).checked_mul(pixels);
        is_size(height) && is_size(width) && bytes.is_some_and(|bytes| bytes <= KERNEL_BYTES)
    }

    /// Input channels, all inputs together.
    pub fn input_channels(&self) -> usize {
        self.input_channels
    }

    /// The instruction set that its weights were packed for.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Runs the block at this height and width.
    ///
    /// # Safety
    /// The processor has the instruction set `S`, for which the weights were packed.
    ///
    /// # Panics
    /// Where an input or `to` does not have the expected length or element type.
    #[inline(always)]
    pub unsafe fn run_with<S: Blocking>(
        &self,
        inputs: &[InputTensor<'_>],
        size: [usize; 2],
        to: BlockOutput<'_>,
    ) {
        self.check(inputs, size, &to);
        // Taken out, since closures are not compiled for the instruction set.
        let mut scratch = SCRATCH.take();
        // SAFETY: the caller's promise.
        unsafe { self.run_in::<S>(inputs, size, to, &mut scratch) };
        SCRATCH.set(scratch);
    }

    /// Panics where a length is wrong: the unsafe code that follows relies on these lengths.
    fn check(&self, inputs: &[InputTensor<'_>], size: [usize; 2], to: &BlockOutput<'_>) {
        assert!(self.supports_size(size));
        self.concat.check(inputs, size, self.input_channels);
        let [height, width] = size.map(|side| self.output_size(side));
        let length = match to {
            BlockOutput::U8(to) => to.len(),
            BlockOutput::F32(to) => to.len(),
        };
        assert!(length == height * width * self.output_channels);
        let is_added = matches!(&self.project, PackedProjection::Quantized { sum: Some(_), .. });
        assert!(
            !is_added
                || (self.stride == 1 && self.input_channels == self.output_channels && inputs.len() == 1)
        );
    }

    /// # Safety
    /// As [`Self::run_with`].
    #[inline(always)]
    unsafe fn run_in<S: Blocking>(
        &self,
        inputs: &[InputTensor<'_>],
        size: [usize; 2],
        mut to: BlockOutput<'_>,
        scratch: &mut Scratch,
    ) {
        let [height, width] = size;
        let [out_height, out_width] = size.map(|side| self.output_size(side));
        let channels = self.depthwise.output_channels();
        let expanded_row = (width + 2) * channels;
        let depthwise_row = out_width * channels;
        let stride = self.stride;
        // Rows that two consecutive passes share.
        let shared = 3 - stride;
        let rows_per_pass = (CACHE_BUDGET / (stride * expanded_row)).saturating_sub(1).clamp(1, out_height);
        let rows = stride * rows_per_pass + shared;
        let Scratch { concatenated, float_row, expanded, depthwise_out } = scratch;
        let expanded = aligned_slice(expanded, rows * expanded_row + TAIL_PADDING);
        let depthwise_out = aligned_slice(depthwise_out, rows_per_pass * depthwise_row + TAIL_PADDING);
        for row in expanded.chunks_exact_mut(expanded_row).take(rows) {
            row[..channels].fill(self.expand_zero_point);
            row[expanded_row - channels..].fill(self.expand_zero_point);
        }

        for first_row in (0..out_height).step_by(rows_per_pass) {
            let count = rows_per_pass.min(out_height - first_row);
            // Row 0 of the buffer is the one above the first output row; in the first pass it is padding.
            let (kept, begin) = if first_row == 0 { (0, 1) } else { (shared, shared) };
            expanded.copy_within(
                stride * rows_per_pass * expanded_row..(stride * rows_per_pass + kept) * expanded_row,
                0,
            );
            let needed = stride * count + shared;
            let end = needed.min(height + 1 - stride * first_row);
            for row in (kept..begin).chain(end..needed) {
                expanded[row * expanded_row + channels..][..width * channels].fill(self.expand_zero_point);
            }
            if begin < end {
                let first = stride * first_row + begin - 1;
                // SAFETY: the caller's promise.
                let pixels = unsafe {
                    self.concatenated::<S>(inputs, size, first, end - begin, concatenated, float_row)
                };
                let mut to = OutputRows {
                    bytes: &mut expanded[begin * expanded_row + channels..],
                    width,
                    pixel_stride: channels,
                    row_stride: expanded_row,
                };
                // SAFETY: the caller's promise.
                unsafe { self.expand.run_pointwise::<S>(pixels, &mut to, Epilogue::Requantize) };
            }
            for row in 0..count {
                let window = [0, 1, 2]
                    .map(|n| &expanded[(stride * row + n) * expanded_row..][..expanded_row + TAIL_PADDING]);
                // SAFETY: the caller's promise.
                unsafe {
                    self.depthwise.run::<S>(window, &mut depthwise_out[row * depthwise_row..], out_width);
                }
            }
            let depthwise_out = &depthwise_out[..count * depthwise_row];
            let (place, length) =
                (first_row * out_width * self.output_channels, count * out_width * self.output_channels);
            match (&self.project, &mut to) {
                (PackedProjection::Quantized { layer, sum }, BlockOutput::U8(to)) => {
                    let mut to = OutputRows {
                        bytes: &mut to[place..][..length],
                        width: out_width,
                        pixel_stride: self.output_channels,
                        row_stride: out_width * self.output_channels,
                    };
                    let finish = match *sum {
                        None => Epilogue::Requantize,
                        Some(sum) => Epilogue::AddResidual { input: &inputs[0].bytes[place..], sum },
                    };
                    // SAFETY: the caller's promise.
                    unsafe { layer.run_pointwise::<S>(depthwise_out, &mut to, finish) };
                }
                (PackedProjection::Float(layer), BlockOutput::F32(to)) => {
                    // SAFETY: the caller's promise.
                    unsafe { layer.run::<S>(depthwise_out, &mut to[place..][..length], float_row) };
                }
                _ => unreachable!("outputs are made as the block says"),
            }
        }
    }

    /// The concatenated input rows from row `first` on.
    ///
    /// # Safety
    /// As [`Self::run_with`].
    #[inline(always)]
    unsafe fn concatenated<'a, S: Blocking>(
        &self,
        inputs: &[InputTensor<'a>],
        size: [usize; 2],
        first: usize,
        count: usize,
        memory: &'a mut Vec<u8>,
        float_row: &mut Vec<f32>,
    ) -> &'a [u8] {
        let (pixel, [_, width]) = (self.expand.pixel_bytes(), size);
        if self.concat.is_identity() && self.input_channels == pixel {
            return &inputs[0].bytes[first * width * pixel..][..count * width * pixel];
        }
        let rows = aligned_slice(memory, count * width * pixel);
        for (n, row) in rows.chunks_exact_mut(width * pixel).enumerate() {
            // SAFETY: the caller's promise.
            unsafe { self.concat.run_row::<S>(inputs, size, first + n, row, pixel, float_row) };
        }
        rows
    }
}

impl ResidualAdd {
    /// Adds the block's quantized output and input, and requantizes the sum to the parameters `sum`.
    pub fn of(output: QuantParams, input: QuantParams, sum: QuantParams) -> Self {
        let zeros = [output, input].map(|params| params.scale / sum.scale * f32::from(params.zero_point));
        Self {
            scale: output.scale / sum.scale,
            input_scale: input.scale / sum.scale,
            offset: f32::from(sum.zero_point) - (zeros[0] + zeros[1]),
            max: sum.max,
        }
    }
}
