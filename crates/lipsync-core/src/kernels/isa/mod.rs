// SPDX-License-Identifier: MPL-2.0
//! Instruction sets: one file for each, with the operations on its registers that the kernels consist of.
//!
//! A kernel is written once, generic over [`Simd`], in functions that are always inlined and without closures. Each instruction set
//! compiles them into functions of its own ([`entry_points`]) that enable its instructions; [`Isa`] selects one
//! at run time. All of them compute the same bits as [`super::reference`].

#[cfg(target_arch = "x86_64")]
pub mod amx;
#[cfg(target_arch = "x86_64")]
pub mod avx2;
#[cfg(target_arch = "x86_64")]
pub mod avx512;
#[cfg(target_arch = "x86_64")]
pub mod avx_vnni;
#[cfg(target_arch = "aarch64")]
pub mod neon;

use std::sync::OnceLock;

use super::concat::Requantize;
use super::conv::{Epilogue, OutputRows, PackedConv, Source};
use super::self_test;

/// An instruction set that there are kernels for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// AVX2: Intel since Haswell (2013), AMD since Excavator and Zen.
    Avx2,
    /// AVX-VNNI, on registers of 256 bits: Intel's desktops and laptops since the 12th generation, AMD since Zen 5.
    AvxVnni,
    /// AVX-512 with VNNI: Intel's servers since 2019, AMD since Zen 4.
    Avx512Vnni,
    /// AMX tiles beside AVX-512 with VNNI: Intel's servers since 2023.
    Amx,
    /// NEON with dot products (`sdot`): ARM processors since Cortex-A75, Apple since A11, Graviton 2, Raspberry Pi 5.
    NeonDotprod,
}

/// The environment variable that names the instruction set to use, or `none`.
pub const VARIABLE: &str = "LIPSYNC_KERNELS";

impl Isa {
    /// All of them, the slower ones of an architecture first.
    pub const ALL: [Self; 5] = [Self::Avx2, Self::AvxVnni, Self::Avx512Vnni, Self::Amx, Self::NeonDotprod];

    /// Its name in `stats`, in the log and in `LIPSYNC_KERNELS`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Avx2 => "avx2",
            Self::AvxVnni => "avx-vnni",
            Self::Avx512Vnni => "avx512-vnni",
            Self::Amx => "amx",
            Self::NeonDotprod => "neon-dotprod",
        }
    }

    /// Whether this processor has it, and the system lets this process use it.
    pub fn is_supported(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = || is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let avx512 = || {
                is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512vnni")
            };
            match self {
                Self::Avx2 => avx2(),
                Self::AvxVnni => avx2(),
                Self::Avx512Vnni => avx512(),
                Self::Amx => avx512() && amx::is_supported(),
                Self::NeonDotprod => false,
            }
        }
        #[cfg(target_arch = "aarch64")]
        return self == Self::NeonDotprod && std::arch::is_aarch64_feature_detected!("dotprod");
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        false
    }

    /// The fastest that this processor has, or the one that `LIPSYNC_KERNELS` names where it has that; `None`
    /// where ONNX Runtime has to do without. One that does not compute what the reference does is passed over:
    /// not every instruction set has been seen on silicon.
    pub fn detect() -> Option<Self> {
        static DETECTED: OnceLock<Option<Isa>> = OnceLock::new();
        *DETECTED.get_or_init(|| {
            let wanted = std::env::var(VARIABLE).ok();
            let is_wanted = |isa: &Self| wanted.as_ref().is_none_or(|name| name == isa.name());
            let usable = |isa: &Self| is_wanted(isa) && isa.is_supported() && self_test::passes(*isa);
            Self::ALL.into_iter().rev().find(usable)
        })
    }

    /// 32-bit lanes in a register.
    pub fn lanes(self) -> usize {
        match self {
            Self::Avx2 | Self::AvxVnni => 8,
            Self::Avx512Vnni | Self::Amx => 16,
            Self::NeonDotprod => 4,
        }
    }

    /// Whether it has instructions that multiply bytes and sum in 32 bits: several times as fast as float32 at any
    /// network.
    pub fn multiplies_bytes(self) -> bool {
        !self.sums_in_16_bits()
    }

    /// Whether products of two bytes are summed in 16 bits first, so that large weights have to be kept apart.
    pub fn sums_in_16_bits(self) -> bool {
        self == Self::Avx2
    }

    /// Whether bytes are multiplied as signed numbers, less 128.
    pub fn has_signed_bytes(self) -> bool {
        self == Self::NeonDotprod
    }
}

/// An array of `$value` for each `$n`. Closures, as `std::array::from_fn` takes them, would not be compiled for the
/// instruction set of the function that they are in.
macro_rules! array {
    ($n:ident < $count:expr => $value:expr) => {{
        let $n = 0;
        let mut values = [$value; $count];
        for $n in 1..$count {
            values[$n] = $value;
        }
        values
    }};
}
pub(crate) use array;

/// The operations of an instruction set on registers of [`Isa::lanes`] lanes.
///
/// A *quad* is four bytes that are multiplied and summed into one 32-bit lane. Several registers hold channels in
/// the order of [`super::conv::channel_of_lane`].
///
/// # Safety
/// All functions need the instruction set, and pointers to as many values as the registers hold.
pub trait Simd: Copy {
    /// 32-bit lanes in a register.
    const LANES: usize;
    /// Quads that one step of a product multiplies: 2 where products are summed in 16 bits first.
    const QUADS: usize = 1;
    /// Steps of a product's inner loop that are unrolled.
    const UNROLL: usize = 4;
    /// A register of 32-bit integers.
    type Ints: Copy;
    /// A register of float32.
    type Floats: Copy;

    unsafe fn load_ints(from: *const i32) -> Self::Ints;
    unsafe fn load_floats(from: *const f32) -> Self::Floats;
    unsafe fn store_floats(to: *mut f32, values: Self::Floats);
    unsafe fn splat_int(value: i32) -> Self::Ints;
    unsafe fn splat_float(value: f32) -> Self::Floats;
    unsafe fn to_floats(values: Self::Ints) -> Self::Floats;
    /// Rounds half to even.
    unsafe fn round(values: Self::Floats) -> Self::Ints;
    unsafe fn add_ints(a: Self::Ints, b: Self::Ints) -> Self::Ints;
    /// Clamps to `0..=max`.
    unsafe fn clamp(values: Self::Ints, max: Self::Ints) -> Self::Ints;
    unsafe fn sub(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    unsafe fn mul(a: Self::Floats, b: Self::Floats) -> Self::Floats;
    /// `a * b + c`, rounded once.
    unsafe fn mul_add(a: Self::Floats, b: Self::Floats, c: Self::Floats) -> Self::Floats;

    /// Zero-extends bytes of consecutive channels.
    unsafe fn widen<const R: usize>(from: *const u8) -> [Self::Ints; R];
    /// Adds the zero point, clamps to `0..=max`, and stores the bytes of consecutive channels.
    unsafe fn narrow<const R: usize>(to: *mut u8, values: [Self::Ints; R], zero_point: u8, max: u8);

    /// One step of a product: accumulates [`Self::QUADS`] quads of `P` pixels, which lie at `offsets` from the
    /// pixel and are `pixel_step` bytes apart, times weights `[quad][register][lane][4]`.
    unsafe fn accumulate<const P: usize, const R: usize>(
        acc: &mut [[Self::Ints; R]; P],
        from: *const u8,
        pixel_step: usize,
        offsets: *const u32,
        weights: *const i8,
    );

    /// Quads of the bytes of three rows and a zero, for four registers of channels.
    unsafe fn interleave(rows: [*const u8; 3]) -> [Self::Ints; 4];
    /// Accumulates quads of [`Self::interleave`] times weights. With `WIDE` the sum of two products may be
    /// larger than 16 bits hold.
    unsafe fn dot<const WIDE: bool>(acc: Self::Ints, quads: Self::Ints, weights: Self::Ints) -> Self::Ints;

    /// Requantizes bytes.
    ///
    /// # Safety
    /// As above; both slices have the same length.
    #[inline(always)]
    unsafe fn requantize_bytes(from: &[u8], to: &mut [u8], by: &Requantize) {
        const REGISTERS: usize = 4;
        let bytes = REGISTERS * Self::LANES;
        let whole = from.len() / bytes * bytes;
        // SAFETY: the caller's promise; `whole` is at most the length of both.
        unsafe {
            let (scale, offset) = (Self::splat_float(by.affine.scale), Self::splat_float(by.affine.offset));
            for at in (0..whole).step_by(bytes) {
                let values = Self::widen::<REGISTERS>(from.as_ptr().add(at));
                let values = array!(r < REGISTERS => {
                    Self::round(Self::mul_add(Self::to_floats(values[r]), scale, offset))
                });
                Self::narrow(to.as_mut_ptr().add(at), values, 0, by.max);
            }
        }
        by.look_up(&from[whole..], &mut to[whole..]);
    }

    /// Computes all panels, as many pixels at a time as there are registers for.
    unsafe fn run_panels(
        conv: &PackedConv,
        from: Source<'_>,
        to: &mut OutputRows<'_>,
        epilogue: Epilogue<'_>,
    );
}

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

/// Calls one of the [`entry_points`] of an instruction set.
///
/// # Safety
/// The processor must have it.
macro_rules! dispatch {
    ($isa:expr, $kernel:ident($($argument:expr),*)) => {
        match $isa {
            #[cfg(target_arch = "x86_64")]
            $crate::kernels::isa::Isa::Avx2 => $crate::kernels::isa::avx2::$kernel($($argument),*),
            #[cfg(target_arch = "x86_64")]
            $crate::kernels::isa::Isa::AvxVnni => $crate::kernels::isa::avx_vnni::$kernel($($argument),*),
            #[cfg(target_arch = "x86_64")]
            $crate::kernels::isa::Isa::Avx512Vnni | $crate::kernels::isa::Isa::Amx => {
                $crate::kernels::isa::avx512::$kernel($($argument),*)
            }
            #[cfg(target_arch = "aarch64")]
            $crate::kernels::isa::Isa::NeonDotprod => $crate::kernels::isa::neon::$kernel($($argument),*),
            #[allow(unreachable_patterns)]
            _ => unreachable!("an instruction set of another architecture is never detected"),
        }
    };
}
pub(crate) use dispatch;
