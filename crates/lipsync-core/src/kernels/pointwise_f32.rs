// SPDX-License-Identifier: MPL-2.0
//! 1 x 1 convolutions with u8 input and float32 weights and output.

use super::isa::Isa;
use super::memory::AlignedVec;
use super::simd::Simd;
use super::{FloatConv, QuantParams};

/// A 1 x 1 convolution with packed weights.
pub struct PointwiseF32 {
    /// One for every register of output channels: `[input][lane]`
    panels: Vec<AlignedVec<f32>>,
    bias: AlignedVec<f32>,
    /// Bytes of an input pixel.
    pixel_bytes: usize,
}

/// Pixels for each pass.
const PIXELS: usize = 8;

impl PointwiseF32 {
    /// Packs a layer whose output channels are a multiple of 16. Input pixels have `pixel_bytes` bytes, of which the
    /// layer reads the first ones.
    pub fn new(layer: &FloatConv, input: QuantParams, pixel_bytes: usize, isa: Isa) -> Self {
        let (channels, inputs, lanes) = (layer.output_channels(), layer.input_channels(), isa.lanes());
        // The input's scale is folded into the weights, its zero point into the bias.
        let weight = |output: usize, byte: usize| {
            if byte < inputs { layer.weights[output * inputs + byte] * input.scale } else { 0.0 }
        };
        let bias = |output: usize| {
            let total: f64 = (0..inputs).map(|byte| f64::from(weight(output, byte))).sum();
            (f64::from(layer.bias[output]) - f64::from(input.zero_point) * total) as f32
        };
        let panel = |first: usize| {
            let lanes = |byte: usize| (first..first + lanes).map(move |output| weight(output, byte));
            AlignedVec::of(&(0..pixel_bytes).flat_map(lanes).collect::<Vec<f32>>())
        };
        Self {
            panels: (0..channels).step_by(lanes).map(panel).collect(),
            bias: AlignedVec::of(&(0..channels).map(bias).collect::<Vec<f32>>()),
            pixel_bytes,
        }
    }

    /// Computes all pixels of `from`. `floats` is scratch memory.
    ///
    /// # Safety
    /// The processor has the instruction set `S`, for which the weights were packed.
    ///
    /// # Panics
    /// Where `to` does not hold as many pixels.
    #[inline(always)]
    pub unsafe fn run<S: Simd>(&self, from: &[u8], to: &mut [f32], floats: &mut Vec<f32>) {
        let channels = self.panels.len() * S::LANES;
        assert!(from.len() / self.pixel_bytes * channels == to.len() && self.bias.len() == channels);
        for (from, to) in from.chunks(PIXELS * self.pixel_bytes).zip(to.chunks_mut(PIXELS * channels)) {
            floats.clear();
            floats.extend(from.iter().map(|byte| f32::from(*byte)));
            // A pass with fewer pixels is padded with zeros; their results are dropped.
            floats.resize(PIXELS * self.pixel_bytes, 0.0);
            for (n, panel) in self.panels.iter().enumerate() {
                // SAFETY: the caller's promise; lengths were asserted.
                unsafe {
                    let bias = S::load_floats(self.bias.as_ptr().add(n * S::LANES));
                    let sums = self.sums::<S>(panel, bias, floats);
                    for (to, sums) in to.chunks_exact_mut(channels).zip(sums) {
                        S::store_floats(to[n * S::LANES..][..S::LANES].as_mut_ptr(), sums);
                    }
                }
            }
        }
    }

    /// # Safety
    /// The processor has the instruction set `S`, for which the weights were packed.
    #[inline(always)]
    unsafe fn sums<S: Simd>(
        &self,
        panel: &AlignedVec<f32>,
        bias: S::Floats,
        floats: &[f32],
    ) -> [S::Floats; PIXELS] {
        assert!(panel.len() == self.pixel_bytes * S::LANES && floats.len() == PIXELS * self.pixel_bytes);
        let mut sums = [bias; PIXELS];
        for place in 0..self.pixel_bytes {
            // SAFETY: `place` is below the length of a pixel, and `floats` holds eight pixels, as asserted.
            unsafe {
                let weights = S::load_floats(panel.as_ptr().add(place * S::LANES));
                for (i, sum) in sums.iter_mut().enumerate() {
                    let value = *floats.get_unchecked(i * self.pixel_bytes + place);
                    *sum = S::mul_add(S::splat_float(value), weights, *sum);
                }
            }
        }
        sums
    }
}
