//! A network's last layer, from channels side by side to planes.

use super::pointwise::{Finish, Pixels, Pointwise, Rows, Unit};
use super::{LAST, Planes};

/// A layer with its weights in the order of the processor's registers.
pub struct PackedPlanes {
    layer: Pointwise,
    zero: u8,
    inputs: usize,
    outputs: usize,
}

/// Pixels at a time.
const PIXELS: usize = 1024;

impl PackedPlanes {
    /// Packs a layer whose input channels are a multiple of four and whose outputs are [`LAST`] at most.
    pub fn new(planes: &Planes, unit: Unit) -> Self {
        let Planes { input, layer } = planes;
        Self {
            layer: Pointwise::new(layer, input.zero, [layer.inputs(), LAST], unit),
            zero: layer.output.zero,
            inputs: layer.inputs(),
            outputs: layer.channels(),
        }
    }

    /// Channels that go in.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Planes that come out.
    pub fn outputs(&self) -> usize {
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
        assert!(self.layer.pixel() == self.inputs && self.outputs <= LAST);
        let mut mixed = [0; PIXELS * LAST];
        for (n, from) in from.chunks(PIXELS * self.inputs).enumerate() {
            let here = from.len() / self.inputs;
            let mut rows = Rows { bytes: &mut mixed, width: here, pixel: LAST, row: here * LAST };
            self.layer.run(Pixels(from), &mut rows, Finish::Rounded { zero: self.zero });
            for (channel, plane) in to.chunks_exact_mut(count).enumerate() {
                let plane = &mut plane[n * PIXELS..][..here];
                for (level, pixel) in plane.iter_mut().zip(mixed.as_chunks::<LAST>().0) {
                    *level = pixel[channel];
                }
            }
        }
    }
}
