// SPDX-License-Identifier: MPL-2.0
//! Calls a kernel as it was compiled for the instruction set that its weights are packed for.

use super::concat::InputTensor;
use super::dense_conv::PackedDenseConv;
use super::inverted_residual::{BlockOutput, PackedInvertedResidual};
use super::isa::Isa;
use super::planar::PackedPlanarConv;

/// Weights are packed only for instruction sets that the processor has.
macro_rules! dispatch {
    ($isa:expr, $kernel:ident($($argument:expr),*)) => {
        // SAFETY: the processor has the instruction set.
        unsafe {
            match $isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => super::backends::avx2::$kernel($($argument),*),
                #[cfg(target_arch = "x86_64")]
                Isa::AvxVnni => super::backends::avx_vnni::$kernel($($argument),*),
                #[cfg(target_arch = "x86_64")]
                Isa::Avx512Vnni | Isa::Amx => super::backends::avx512::$kernel($($argument),*),
                #[cfg(target_arch = "aarch64")]
                Isa::NeonDotprod => super::backends::neon::$kernel($($argument),*),
                #[cfg(target_arch = "aarch64")]
                Isa::NeonI8mm => super::backends::neon_i8mm::$kernel($($argument),*),
                #[allow(unreachable_patterns)]
                _ => unreachable!("weights are packed for this architecture"),
            }
        }
    };
}

/// Runs a block at this height and width.
///
/// # Panics
/// Where an input or `to` does not have the expected length or element type.
pub fn inverted_residual(
    block: &PackedInvertedResidual,
    inputs: &[InputTensor<'_>],
    size: [usize; 2],
    to: BlockOutput<'_>,
) {
    dispatch!(block.isa(), inverted_residual(block, inputs, size, to));
}

/// Runs a convolution at this height and width.
///
/// # Panics
/// Where an input or `to` does not have the expected length.
pub fn dense_conv(conv: &PackedDenseConv, inputs: &[InputTensor<'_>], size: [usize; 2], to: &mut [u8]) {
    dispatch!(conv.isa(), dense_conv(conv, inputs, size, to));
}

/// Computes all pixels of `from`.
///
/// # Panics
/// Where `to` does not hold as many pixels.
pub fn planar_conv(planes: &PackedPlanarConv, from: &[u8], to: &mut [u8]) {
    dispatch!(planes.isa(), planar_conv(planes, from, to));
}
