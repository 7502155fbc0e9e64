//! A network's last layer, from channels side by side to planes.

use super::pointwise::{Epilogue, Isa, OutputRows, Pixels, Pointwise};
use super::{MAX_PLANES, PlanarConv};

/// A layer with its weights in the order of the processor's registers.
pub struct PackedPlanarConv {
    layer: Pointwise,
    zero_point: u8,
    inputs: usize,
    outputs: usize,
}

/// Pixels at a time.
const PIXELS: usize = 1024;

impl PackedPlanarConv {
    /// Packs a layer whose input channels are a multiple of four and whose outputs are [`MAX_PLANES`] at most.
    pub fn new(planes: &PlanarConv, isa: Isa) -> Self {
        let PlanarConv { input, layer } = planes;
        Self {
            layer: Pointwise::new(layer, input.zero_point, [layer.input_channels(), MAX_PLANES], isa),
            zero_point: layer.output.zero_point,
            inputs: layer.input_channels(),
            outputs: layer.output_channels(),
        }
    }

    /// Channels that go in.
    pub fn input_channels(&self) -> usize {
        self.inputs
    }

    /// Planes that come out.
    pub fn output_channels(&self) -> usize {
        self.outputs
    }

    /// Computes pixels one after the other.
    ///
    /// # Panics
    /// Where `to` is not of as many pixels.
    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    pub fn run(&self, from: &[u8], to: &mut [u8]) {
        let count = from.len() / self.inputs;
        assert!(count > 0 && from.len() == count * self.inputs && to.len() == count * self.outputs);
        // Pixels are read as the weights lie.
        assert!(self.layer.pixel_bytes() == self.inputs && self.outputs <= MAX_PLANES);
        let mut interleaved = [0; PIXELS * MAX_PLANES];
        for (n, from) in from.chunks(PIXELS * self.inputs).enumerate() {
            let here = from.len() / self.inputs;
            let mut rows = OutputRows {
                bytes: &mut interleaved,
                width: here,
                pixel_stride: MAX_PLANES,
                row_stride: here * MAX_PLANES,
            };
            self.layer.run(Pixels(from), &mut rows, Epilogue::Requantize { zero_point: self.zero_point });
            for (channel, plane) in to.chunks_exact_mut(count).enumerate() {
                let plane = &mut plane[n * PIXELS..][..here];
                for (level, pixel) in plane.iter_mut().zip(interleaved.as_chunks::<MAX_PLANES>().0) {
                    *level = pixel[channel];
                }
            }
        }
    }
}
