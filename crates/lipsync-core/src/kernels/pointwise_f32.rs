// SPDX-License-Identifier: MPL-2.0
//! 1 x 1 convolutions with u8 input and float32 weights and output.

use core::arch::x86_64::*;

use super::pointwise::{AlignedLanes, LANES};
use super::{FloatConv, QuantParams};

/// A 1 x 1 convolution with packed weights.
pub struct PointwiseF32 {
    /// One for every 16 output channels: `[input][lane]`
    panels: Vec<Vec<AlignedLanes<f32, LANES>>>,
    bias: Vec<AlignedLanes<f32, LANES>>,
    /// Bytes of an input pixel.
    pixel_bytes: usize,
}

/// Pixels for each pass.
const PIXELS: usize = 8;

impl PointwiseF32 {
    /// Packs a layer whose output channels are a multiple of 16. Input pixels have `pixel_bytes` bytes, of
    /// which the layer reads the first ones.
    pub fn new(layer: &FloatConv, input: QuantParams, pixel_bytes: usize) -> Self {
        let (channels, inputs) = (layer.output_channels(), layer.input_channels());
        // The input's scale is folded into the weights, its zero point into the bias.
        let weight = |output: usize, byte: usize| {
            if byte < inputs { layer.weights[output * inputs + byte] * input.scale } else { 0.0 }
        };
        let bias = |output: usize| {
            let total: f64 = (0..inputs).map(|byte| f64::from(weight(output, byte))).sum();
            (f64::from(layer.bias[output]) - f64::from(input.zero_point) * total) as f32
        };
        let panel = |first: usize| {
            let lanes = |byte: usize| (first..first + LANES).map(move |output| weight(output, byte));
            AlignedLanes::of(&(0..pixel_bytes).flat_map(lanes).collect::<Vec<f32>>())
        };
        Self {
            panels: (0..channels).step_by(LANES).map(panel).collect(),
            bias: AlignedLanes::of(&(0..channels).map(bias).collect::<Vec<f32>>()),
            pixel_bytes,
        }
    }

    /// Computes all pixels of `from`. `floats` is scratch memory.
    ///
    /// # Panics
    /// Where `to` does not hold as many pixels.
    #[target_feature(enable = "avx512bw,avx512vl")]
    pub fn run(&self, from: &[u8], to: &mut [f32], floats: &mut Vec<f32>) {
        let channels = self.panels.len() * LANES;
        assert!(from.len() / self.pixel_bytes * channels == to.len());
        for (from, to) in from.chunks(PIXELS * self.pixel_bytes).zip(to.chunks_mut(PIXELS * channels)) {
            floats.clear();
            floats.extend(from.iter().map(|byte| f32::from(*byte)));
            // A pass with fewer pixels is padded with zeros; their results are dropped.
            floats.resize(PIXELS * self.pixel_bytes, 0.0);
            for (n, panel) in self.panels.iter().enumerate() {
                let sums = self.sums(panel, &self.bias[n], floats);
                for (to, sums) in to.chunks_exact_mut(channels).zip(sums) {
                    let to = &mut to[n * LANES..][..LANES];
                    // SAFETY: the slice has the length of a register.
                    unsafe { _mm512_storeu_ps(to.as_mut_ptr(), sums) };
                }
            }
        }
    }

    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl")]
    fn sums(
        &self,
        panel: &[AlignedLanes<f32, LANES>],
        bias: &AlignedLanes<f32, LANES>,
        floats: &[f32],
    ) -> [__m512; PIXELS] {
        assert!(panel.len() == self.pixel_bytes && floats.len() == PIXELS * self.pixel_bytes);
        let mut sums = [bias.load(); PIXELS];
        for (place, weights) in panel.iter().enumerate() {
            let weights = weights.load();
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: `place` is below the length of a pixel, and `floats` holds eight pixels, as
                // asserted.
                let value = unsafe { *floats.get_unchecked(i * self.pixel_bytes + place) };
                *sum = _mm512_fmadd_ps(_mm512_set1_ps(value), weights, *sum);
            }
        }
        sums
    }
}
