//! 1 x 1 convolutions from bytes to real numbers, by real weights.

use core::arch::x86_64::*;

use super::pointwise::{AlignedLanes, LANES};
use super::{FloatConv, QuantParams};

/// The weights of a layer in the order in which registers take them.
pub struct PointwiseF32 {
    /// Of 16 output channels each: `[input][lane]`
    panels: Vec<Vec<AlignedLanes<f32, LANES>>>,
    bias: Vec<AlignedLanes<f32, LANES>>,
    /// Bytes of a pixel that goes in.
    pixel_bytes: usize,
}

/// Pixels at a time.
const PIXELS: usize = 8;

impl PointwiseF32 {
    /// Packs a layer whose output channels are a multiple of 16. Pixels that go in are `pixel_bytes` bytes, of which the layer
    /// reads the first.
    pub fn new(layer: &FloatConv, input: QuantParams, pixel_bytes: usize) -> Self {
        let (channels, inputs) = (layer.output_channels(), layer.input_channels());
        // Weights of bytes, with what does not depend on these taken into the bias.
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

    /// Computes pixels one after the other. `floats` is memory to work with.
    ///
    /// # Panics
    /// Where `to` is not of as many pixels.
    #[target_feature(enable = "avx512bw,avx512vl")]
    pub fn run(&self, from: &[u8], to: &mut [f32], floats: &mut Vec<f32>) {
        let channels = self.panels.len() * LANES;
        assert!(from.len() / self.pixel_bytes * channels == to.len());
        for (from, to) in from.chunks(PIXELS * self.pixel_bytes).zip(to.chunks_mut(PIXELS * channels)) {
            floats.clear();
            floats.extend(from.iter().map(|byte| f32::from(*byte)));
            // Where there are fewer pixels, the rest is computed of zeros and left.
            floats.resize(PIXELS * self.pixel_bytes, 0.0);
            for (n, panel) in self.panels.iter().enumerate() {
                let sums = self.sums(panel, &self.bias[n], floats);
                for (to, sums) in to.chunks_exact_mut(channels).zip(sums) {
                    let to = &mut to[n * LANES..][..LANES];
                    // SAFETY: there is room for a register.
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
                // SAFETY: `place` is below the length of a pixel, and there are eight of these, as asserted.
                let value = unsafe { *floats.get_unchecked(i * self.pixel_bytes + place) };
                *sum = _mm512_fmadd_ps(_mm512_set1_ps(value), weights, *sum);
            }
        }
        sums
    }
}
