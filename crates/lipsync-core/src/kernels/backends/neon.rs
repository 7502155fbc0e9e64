// SPDX-License-Identifier: MPL-2.0
//! NEON: 4 lanes, to which the products of four bytes each are added, or those of matrices of bytes.
//!
//! Dot products alone (`sdot`) are of signed bytes, and activations are unsigned: 128 is subtracted from them, and
//! [`PackedConv`] adds the difference to the bias. With i8mm there are instructions for unsigned by signed bytes: `usdot`,
//! and `usmmla`, which does twice as much: it multiplies two pixels of eight bytes by the weights of two channels.
//! The intrinsics of all three are not stable in Rust yet, so that they are assembler instructions.
//!
//! Safety: the functions are hardly more than instructions; what they need is said once, at [`Simd`].
#![allow(unsafe_op_in_unsafe_fn)]

use core::arch::aarch64::*;
use core::arch::asm;

use super::entry_points;
use crate::kernels::conv::{Blocking, Epilogue, OutputRows, PackedConv, Source};
use crate::kernels::isa::Isa;
use crate::kernels::simd::{Simd, array};

/// NEON with dot products, or with `I8MM` instead.
#[derive(Clone, Copy)]
pub struct Neon<const I8MM: bool>;

entry_points!(Neon<false>, "neon,dotprod");

/// Bytes in a register.
const BYTES: usize = 16;

/// A function for an instruction that adds products of bytes to 32-bit lanes.
macro_rules! instruction {
    ($name:ident) => {
        #[inline(always)]
        unsafe fn $name(mut acc: int32x4_t, bytes: int32x4_t, weights: int32x4_t) -> int32x4_t {
            asm!(
                concat!(stringify!($name), " {acc:v}.4s, {bytes:v}.16b, {weights:v}.16b"),
                acc = inout(vreg) acc,
                bytes = in(vreg) bytes,
                weights = in(vreg) weights,
                options(pure, nomem, nostack, preserves_flags)
            );
            acc
        }
    };
}
instruction!(sdot);
instruction!(usdot);
instruction!(usmmla);

impl<const I8MM: bool> Neon<I8MM> {
    /// What turns an unsigned byte into a signed one that is 128 less, where there are only products of signed bytes.
    const SIGN: u8 = if Self::ISA.has_signed_bytes() { 0x80 } else { 0 };

    /// One step of a product by matrices: eight bytes of two pixels at a time.
    ///
    /// The accumulators of two pixels are as [`Simd::pair_pixels`] leaves them; that of a single pixel is as ever.
    #[inline(always)]
    unsafe fn accumulate_matrices<const P: usize, const R: usize>(
        acc: &mut [[int32x4_t; R]; P],
        from: *const u8,
        pixel_step: usize,
        weights: *const i8,
    ) {
        let rows = array!(i < P => vld1_u8(from.add(i * pixel_step)));
        for r in 0..R {
            let [low, high] = array!(n < 2 => vld1q_s32(weights.add((2 * r + n) * BYTES).cast()));
            for i in (0..P).step_by(2) {
                let next = if i + 1 < P { i + 1 } else { i };
                let pixels = vreinterpretq_s32_u8(vcombine_u8(rows[i], rows[next]));
                if next > i {
                    acc[i][r] = usmmla(acc[i][r], pixels, low);
                    acc[next][r] = usmmla(acc[next][r], pixels, high);
                } else {
                    let none = vdupq_n_s32(0);
                    let sums = zip_halves([usmmla(none, pixels, low), usmmla(none, pixels, high)])[0];
                    acc[i][r] = vaddq_s32(acc[i][r], sums);
                }
            }
        }
    }
}

/// The lower halves of both, and the upper halves of both.
#[inline(always)]
unsafe fn zip_halves(pair: [int32x4_t; 2]) -> [int32x4_t; 2] {
    let [a, b] = array!(n < 2 => vreinterpretq_s64_s32(pair[n]));
    [vreinterpretq_s32_s64(vzip1q_s64(a, b)), vreinterpretq_s32_s64(vzip2q_s64(a, b))]
}

impl<const I8MM: bool> Simd for Neon<I8MM> {
    const ISA: Isa = if I8MM { Isa::NeonI8mm } else { Isa::NeonDotprod };
    type Ints = int32x4_t;
    type Floats = float32x4_t;

    #[inline(always)]
    unsafe fn load_ints(from: *const i32) -> int32x4_t {
        vld1q_s32(from)
    }

    #[inline(always)]
    unsafe fn load_floats(from: *const f32) -> float32x4_t {
        vld1q_f32(from)
    }

    #[inline(always)]
    unsafe fn store_floats(to: *mut f32, values: float32x4_t) {
        vst1q_f32(to, values);
    }

    #[inline(always)]
    unsafe fn splat_int(value: i32) -> int32x4_t {
        vdupq_n_s32(value)
    }

    #[inline(always)]
    unsafe fn splat_float(value: f32) -> float32x4_t {
        vdupq_n_f32(value)
    }

    #[inline(always)]
    unsafe fn to_floats(values: int32x4_t) -> float32x4_t {
        vcvtq_f32_s32(values)
    }

    #[inline(always)]
    unsafe fn round(values: float32x4_t) -> int32x4_t {
        vcvtnq_s32_f32(values)
    }

    #[inline(always)]
    unsafe fn add_ints(a: int32x4_t, b: int32x4_t) -> int32x4_t {
        vaddq_s32(a, b)
    }

    #[inline(always)]
    unsafe fn clamp(values: int32x4_t, max: int32x4_t) -> int32x4_t {
        vminq_s32(vmaxq_s32(values, vdupq_n_s32(0)), max)
    }

    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vsubq_f32(a, b)
    }

    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        vmulq_f32(a, b)
    }

    #[inline(always)]
    unsafe fn mul_add(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        vfmaq_f32(c, a, b)
    }

    #[inline(always)]
    unsafe fn widen<const R: usize>(from: *const u8) -> [int32x4_t; R] {
        array!(r < R => {
            let quad = from.add(r * Self::LANES).cast::<u32>().read_unaligned();
            let words = vmovl_u8(vcreate_u8(u64::from(quad)));
            vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(words)))
        })
    }

    #[inline(always)]
    unsafe fn narrow<const R: usize>(to: *mut u8, values: [int32x4_t; R], zero_point: u8, max: u8) {
        let (zero_point, max) = (vdupq_n_s16(zero_point.into()), vdup_n_u8(max));
        let mut r = 0;
        while r < R {
            let next = values[if r + 1 < R { r + 1 } else { r }];
            let words = vqaddq_s16(vcombine_s16(vqmovn_s32(values[r]), vqmovn_s32(next)), zero_point);
            let bytes = vmin_u8(vqmovun_s16(words), max);
            let to = to.add(r * Self::LANES);
            if r + 1 < R {
                vst1_u8(to, bytes);
            } else {
                to.cast::<u32>().write_unaligned(vget_lane_u32::<0>(vreinterpret_u32_u8(bytes)));
            }
            r += 2;
        }
    }

    #[inline(always)]
    unsafe fn accumulate<const P: usize, const R: usize>(
        acc: &mut [[int32x4_t; R]; P],
        from: *const u8,
        pixel_step: usize,
        offsets: *const u32,
        weights: *const i8,
    ) {
        let from = from.add(*offsets as usize);
        if I8MM {
            Self::accumulate_matrices(acc, from, pixel_step, weights);
            return;
        }
        let sign = vdupq_n_u8(Self::SIGN);
        let quads = array!(i < P => {
            let quad = vdupq_n_u32(from.add(i * pixel_step).cast::<u32>().read_unaligned());
            vreinterpretq_s32_u8(veorq_u8(vreinterpretq_u8_u32(quad), sign))
        });
        for r in 0..R {
            let weights = vld1q_s32(weights.add(r * BYTES).cast());
            for (acc, quad) in acc.iter_mut().zip(quads) {
                acc[r] = sdot(acc[r], quad, weights);
            }
        }
    }

    /// The sums of two channels of both pixels go before those of the other two.
    #[inline(always)]
    unsafe fn pair_pixels<const P: usize, const R: usize>(acc: &mut [[int32x4_t; R]; P]) {
        if I8MM {
            for [first, second] in acc.as_chunks_mut::<2>().0 {
                for r in 0..R {
                    [first[r], second[r]] = zip_halves([first[r], second[r]]);
                }
            }
        }
    }

    #[inline(always)]
    unsafe fn interleave(rows: [*const u8; 3]) -> [int32x4_t; 4] {
        let sign = vdupq_n_u8(Self::SIGN);
        let [top, middle, bottom] = array!(n < 3 => veorq_u8(vld1q_u8(rows[n]), sign));
        // The fourth byte has a weight of zero.
        let (upper, lower) = (vzip1q_u8(top, middle), vzip2q_u8(top, middle));
        let (upper_rest, lower_rest) = (vzip1q_u8(bottom, sign), vzip2q_u8(bottom, sign));
        let halves = [(upper, upper_rest), (lower, lower_rest)];
        array!(r < 4 => {
            let (words, rest) = (vreinterpretq_u16_u8(halves[r / 2].0), vreinterpretq_u16_u8(halves[r / 2].1));
            let quads = if r % 2 == 0 { vzip1q_u16(words, rest) } else { vzip2q_u16(words, rest) };
            vreinterpretq_s32_u16(quads)
        })
    }

    #[inline(always)]
    unsafe fn dot<const WIDE: bool>(acc: int32x4_t, quads: int32x4_t, weights: int32x4_t) -> int32x4_t {
        if I8MM { usdot(acc, quads, weights) } else { sdot(acc, quads, weights) }
    }
}

impl<const I8MM: bool> Blocking for Neon<I8MM> {
    #[inline(always)]
    unsafe fn run_panels(
        conv: &PackedConv,
        from: Source<'_>,
        to: &mut OutputRows<'_>,
        epilogue: Epilogue<'_>,
    ) {
        for panel in &conv.panels {
            match panel.registers {
                4 if I8MM => panel.run::<Self, 6, 4>(from, to, epilogue),
                4 => panel.run::<Self, 5, 4>(from, to, epilogue),
                2 => panel.run::<Self, 8, 2>(from, to, epilogue),
                _ => panel.run::<Self, 8, 1>(from, to, epilogue),
            }
        }
    }
}
