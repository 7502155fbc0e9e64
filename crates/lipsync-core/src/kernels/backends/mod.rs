// SPDX-License-Identifier: MPL-2.0
//! One file for each instruction set: its registers' operations, and the kernels compiled for it.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
#[cfg(target_arch = "x86_64")]
pub mod avx_vnni;
#[cfg(target_arch = "aarch64")]
pub mod neon;
#[cfg(target_arch = "aarch64")]
pub mod neon_i8mm;

/// The kernels, compiled for an instruction set.
macro_rules! entry_points {
    ($simd:ty, $($features:literal),+) => {
        /// # Safety
        /// The processor must have the instruction set.
        $(#[target_feature(enable = $features)])+
        pub unsafe fn inverted_residual(
            block: &$crate::kernels::inverted_residual::PackedInvertedResidual,
            inputs: &[$crate::kernels::concat::InputTensor<'_>],
            size: [usize; 2],
            to: $crate::kernels::inverted_residual::BlockOutput<'_>,
        ) {
            block.run_with::<$simd>(inputs, size, to)
        }

        /// # Safety
        /// The processor must have the instruction set.
        $(#[target_feature(enable = $features)])+
        pub unsafe fn dense_conv(
            conv: &$crate::kernels::dense_conv::PackedDenseConv,
            inputs: &[$crate::kernels::concat::InputTensor<'_>],
            size: [usize; 2],
            to: &mut [u8],
        ) {
            conv.run_with::<$simd>(inputs, size, to)
        }

        /// # Safety
        /// The processor must have the instruction set.
        $(#[target_feature(enable = $features)])+
        pub unsafe fn planar_conv(
            planes: &$crate::kernels::planar::PackedPlanarConv,
            from: &[u8],
            to: &mut [u8],
        ) {
            planes.run_with::<$simd>(from, to)
        }
    };
}
pub(crate) use entry_points;
