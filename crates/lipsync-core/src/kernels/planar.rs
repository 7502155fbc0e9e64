// SPDX-License-Identifier: MPL-2.0
//! The network's output layer: a 1 x 1 convolution from NHWC to planes (NCHW).

use super::conv::{Blocking, Epilogue, OutputRows, PackedConv};
use super::isa::Isa;
use super::{MAX_PLANES, PlanarConv};

/// The layer with weights packed for the kernel.
pub struct PackedPlanarConv {
    layer: PackedConv,
    isa: Isa,
    inputs: usize,
    outputs: usize,
}

/// Pixels for each pass.
const PIXELS: usize = 1024;

impl PackedPlanarConv {
    /// Packs a layer whose input channels are a multiple of eight and which has at most [`MAX_PLANES`] output
    /// channels.
    pub fn new(planes: &PlanarConv, isa: Isa) -> Self {
        let PlanarConv { input, layer } = planes;
        Self {
            layer: PackedConv::new(layer, *input, 1, [layer.input_channels(), MAX_PLANES], isa),
            isa,
            inputs: layer.input_channels(),
            outputs: layer.output_channels(),
        }
    }

    /// Input channels.
    pub fn input_channels(&self) -> usize {
        self.inputs
    }

    /// Output planes.
    pub fn output_channels(&self) -> usize {
        self.outputs
    }

    /// The instruction set that its weights were packed for.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Computes all pixels of `from`.
    ///
    /// # Safety
    /// The processor has the instruction set `S`, for which the weights were packed.
    ///
    /// # Panics
    /// Where `to` does not hold as many pixels.
    #[inline(always)]
    pub unsafe fn run_with<S: Blocking>(&self, from: &[u8], to: &mut [u8]) {
        let count = from.len() / self.inputs;
        assert!(count > 0 && from.len() == count * self.inputs && to.len() == count * self.outputs);
        // The packed weights expect pixels without padding.
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
            // SAFETY: the caller's promise.
            unsafe { self.layer.run_pointwise::<S>(from, &mut rows, Epilogue::Requantize) };
            for (channel, plane) in to.chunks_exact_mut(count).enumerate() {
                let plane = &mut plane[n * PIXELS..][..here];
                for (level, pixel) in plane.iter_mut().zip(interleaved.as_chunks::<MAX_PLANES>().0) {
                    *level = pixel[channel];
                }
            }
        }
    }
}
