//! 1 x 1 convolutions from bytes to real numbers, by real weights.

use core::arch::x86_64::*;

use super::pointwise::{LANES, Register};
use super::{Grid, RealLayer};

/// The weights of a layer in the order in which registers take them.
pub struct RealMix {
    /// Of 16 output channels each: `[input][lane]`
    panels: Vec<Vec<Register<f32, LANES>>>,
    bias: Vec<Register<f32, LANES>>,
    /// Bytes of a pixel that goes in.
    pixel: usize,
}

/// Pixels at a time.
const PIXELS: usize = 8;

impl RealMix {
    /// Packs a layer whose output channels are a multiple of 16. Pixels that go in are `pixel` bytes, of which the layer
    /// reads the first.
    pub fn new(layer: &RealLayer, input: Grid, pixel: usize) -> Self {
        let (channels, inputs) = (layer.channels(), layer.inputs());
        // Weights of bytes, with what does not depend on these taken into the bias.
        let weight = |output: usize, byte: usize| {
            if byte < inputs { layer.weights[output * inputs + byte] * input.scale } else { 0.0 }
        };
        let bias = |output: usize| {
            let total: f64 = (0..inputs).map(|byte| f64::from(weight(output, byte))).sum();
            (f64::from(layer.bias[output]) - f64::from(input.zero) * total) as f32
        };
        let panel = |first: usize| {
            let lanes = |byte: usize| (first..first + LANES).map(move |output| weight(output, byte));
            Register::of(&(0..pixel).flat_map(lanes).collect::<Vec<f32>>())
        };
        Self {
            panels: (0..channels).step_by(LANES).map(panel).collect(),
            bias: Register::of(&(0..channels).map(bias).collect::<Vec<f32>>()),
            pixel,
        }
    }

    /// Computes pixels one after the other. `reals` is memory to work with.
    ///
    /// # Panics
    /// Where `to` is not of as many pixels.
    #[target_feature(enable = "avx512bw,avx512vl")]
    pub fn run(&self, from: &[u8], to: &mut [f32], reals: &mut Vec<f32>) {
        let channels = self.panels.len() * LANES;
        assert!(from.len() / self.pixel * channels == to.len());
        for (from, to) in from.chunks(PIXELS * self.pixel).zip(to.chunks_mut(PIXELS * channels)) {
            reals.clear();
            reals.extend(from.iter().map(|byte| f32::from(*byte)));
            // Where there are fewer pixels, the rest is computed of zeros and left.
            reals.resize(PIXELS * self.pixel, 0.0);
            for (n, panel) in self.panels.iter().enumerate() {
                let sums = self.sums(panel, &self.bias[n], reals);
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
        panel: &[Register<f32, LANES>],
        bias: &Register<f32, LANES>,
        reals: &[f32],
    ) -> [__m512; PIXELS] {
        assert!(panel.len() == self.pixel && reals.len() == PIXELS * self.pixel);
        let mut sums = [bias.load(); PIXELS];
        for (place, weights) in panel.iter().enumerate() {
            let weights = weights.load();
            for (i, sum) in sums.iter_mut().enumerate() {
                // SAFETY: `place` is below the length of a pixel, and there are eight of these, as asserted.
                let value = unsafe { *reals.get_unchecked(i * self.pixel + place) };
                *sum = _mm512_fmadd_ps(_mm512_set1_ps(value), weights, *sum);
            }
        }
        sums
    }
}
