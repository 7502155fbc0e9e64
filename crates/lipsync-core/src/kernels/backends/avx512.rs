// SPDX-License-Identifier: MPL-2.0
//! AVX-512 with VNNI: 16 lanes, of which `vpdpbusd` adds the products of four bytes to each.
//!
//! Safety: the functions are hardly more than instructions; what they need is said once, at [`Simd`].
#![allow(unsafe_op_in_unsafe_fn)]

use core::arch::x86_64::*;

use super::{amx, entry_points};
use crate::kernels::conv::{Blocking, Epilogue, OutputRows, PackedConv, Source};
use crate::kernels::isa::Isa;
use crate::kernels::requantize::Requantize;
use crate::kernels::simd::{Simd, array};

/// AVX-512 BW, VL and VNNI.
#[derive(Clone, Copy)]
pub struct Avx512;

entry_points!(Avx512, "avx512bw,avx512vl,avx512vnni");

/// Bytes in a register.
const BYTES: usize = 64;

impl Simd for Avx512 {
    const ISA: Isa = Isa::Avx512Vnni;
    type Ints = __m512i;
    type Floats = __m512;

    #[inline(always)]
    unsafe fn load_ints(from: *const i32) -> __m512i {
        _mm512_loadu_si512(from.cast())
    }

    #[inline(always)]
    unsafe fn load_floats(from: *const f32) -> __m512 {
        _mm512_loadu_ps(from)
    }

    #[inline(always)]
    unsafe fn store_floats(to: *mut f32, values: __m512) {
        _mm512_storeu_ps(to, values)
    }

    #[inline(always)]
    unsafe fn splat_int(value: i32) -> __m512i {
        _mm512_set1_epi32(value)
    }

    #[inline(always)]
    unsafe fn splat_float(value: f32) -> __m512 {
        _mm512_set1_ps(value)
    }

    #[inline(always)]
    unsafe fn to_floats(values: __m512i) -> __m512 {
        _mm512_cvtepi32_ps(values)
    }

    #[inline(always)]
    unsafe fn round(values: __m512) -> __m512i {
        _mm512_cvtps_epi32(values)
    }

    #[inline(always)]
    unsafe fn add_ints(a: __m512i, b: __m512i) -> __m512i {
        _mm512_add_epi32(a, b)
    }

    #[inline(always)]
    unsafe fn clamp(values: __m512i, max: __m512i) -> __m512i {
        _mm512_min_epi32(_mm512_max_epi32(values, _mm512_setzero_si512()), max)
    }

    #[inline(always)]
    unsafe fn sub(a: __m512, b: __m512) -> __m512 {
        _mm512_sub_ps(a, b)
    }

    #[inline(always)]
    unsafe fn mul(a: __m512, b: __m512) -> __m512 {
        _mm512_mul_ps(a, b)
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m512, b: __m512, c: __m512) -> __m512 {
        _mm512_fmadd_ps(a, b, c)
    }

    #[inline(always)]
    unsafe fn widen<const R: usize>(from: *const u8) -> [__m512i; R] {
        if R == 4 {
            let all = _mm512_loadu_si512(from.cast());
            let none = _mm512_setzero_si512();
            let (low, high) = (_mm512_unpacklo_epi8(all, none), _mm512_unpackhi_epi8(all, none));
            let quads = [
                _mm512_unpacklo_epi16(low, none),
                _mm512_unpackhi_epi16(low, none),
                _mm512_unpacklo_epi16(high, none),
                _mm512_unpackhi_epi16(high, none),
            ];
            return array!(r < R => quads[r]);
        }
        array!(r < R => _mm512_cvtepu8_epi32(_mm_loadu_si128(from.add(r * Self::LANES).cast())))
    }

    #[inline(always)]
    unsafe fn narrow<const R: usize>(to: *mut u8, values: [__m512i; R], zero_point: u8, max: u8) {
        if R == 4 {
            let mut low = _mm512_packs_epi32(values[0], values[1]);
            let mut high = _mm512_packs_epi32(values[2], values[3]);
            if zero_point != 0 {
                let zero_point = _mm512_set1_epi16(i16::from(zero_point));
                (low, high) = (_mm512_adds_epi16(low, zero_point), _mm512_adds_epi16(high, zero_point));
            }
            let bytes = _mm512_min_epu8(_mm512_packus_epi16(low, high), _mm512_set1_epi8(max as i8));
            _mm512_storeu_si512(to.cast(), bytes);
            return;
        }
        let zero_point = _mm512_set1_epi32(i32::from(zero_point));
        for (r, value) in values.into_iter().enumerate() {
            // Beyond 16 bits the zero point makes no difference, but the sum could overflow.
            let value = _mm512_min_epi32(value, _mm512_set1_epi32(i16::MAX.into()));
            let value = _mm512_max_epi32(_mm512_add_epi32(value, zero_point), _mm512_setzero_si512());
            let bytes = _mm_min_epu8(_mm512_cvtusepi32_epi8(value), _mm_set1_epi8(max as i8));
            _mm_storeu_si128(to.add(r * Self::LANES).cast(), bytes);
        }
    }

    #[inline(always)]
    unsafe fn accumulate<const P: usize, const R: usize>(
        acc: &mut [[__m512i; R]; P],
        from: *const u8,
        pixel_step: usize,
        offsets: *const u32,
        weights: *const i8,
    ) {
        let from = from.add(*offsets as usize);
        let weights = array!(r < R => _mm512_loadu_si512(weights.add(r * BYTES).cast()));
        for (i, acc) in acc.iter_mut().enumerate() {
            let quad = _mm512_set1_epi32(from.add(i * pixel_step).cast::<i32>().read_unaligned());
            for (sum, weights) in acc.iter_mut().zip(weights) {
                *sum = _mm512_dpbusd_epi32(*sum, quad, weights);
            }
        }
    }

    #[inline(always)]
    unsafe fn interleave(rows: [*const u8; 3]) -> [__m512i; 4] {
        let [top, middle, bottom] = array!(n < 3 => _mm512_loadu_si512(rows[n].cast()));
        let none = _mm512_setzero_si512();
        let (upper, lower) = (_mm512_unpacklo_epi8(top, middle), _mm512_unpackhi_epi8(top, middle));
        let (upper_rest, lower_rest) =
            (_mm512_unpacklo_epi8(bottom, none), _mm512_unpackhi_epi8(bottom, none));
        [
            _mm512_unpacklo_epi16(upper, upper_rest),
            _mm512_unpackhi_epi16(upper, upper_rest),
            _mm512_unpacklo_epi16(lower, lower_rest),
            _mm512_unpackhi_epi16(lower, lower_rest),
        ]
    }

    #[inline(always)]
    unsafe fn dot<const WIDE: bool>(acc: __m512i, quads: __m512i, weights: __m512i) -> __m512i {
        _mm512_dpbusd_epi32(acc, quads, weights)
    }

    #[inline(always)]
    unsafe fn requantize_bytes(from: &[u8], to: &mut [u8], by: &Requantize) {
        if is_x86_feature_detected!("avx512vbmi") {
            look_up_vbmi(from, to, &by.table);
        } else {
            by.look_up(from, to);
        }
    }
}

impl Blocking for Avx512 {
    #[inline(always)]
    unsafe fn run_panels(
        conv: &PackedConv,
        from: Source<'_>,
        to: &mut OutputRows<'_>,
        epilogue: Epilogue<'_>,
    ) {
        if amx::is_faster(conv, &from) {
            return amx::run_panels::<Self>(conv, from, to, epilogue);
        }
        // More than eight pixels at a time gain nothing.
        for panel in &conv.panels {
            match panel.registers {
                4 => panel.run::<Self, 6, 4>(from, to, epilogue),
                2 => panel.run::<Self, 8, 2>(from, to, epilogue),
                _ => panel.run::<Self, 8, 1>(from, to, epilogue),
            }
        }
    }
}

/// # Safety
/// The processor has AVX-512 VBMI; the slices have the same length.
#[target_feature(enable = "avx512bw,avx512vl,avx512vbmi")]
unsafe fn look_up_vbmi(from: &[u8], to: &mut [u8], table: &[u8; 256]) {
    let [a, b, c, d] = array!(n < 4 => _mm512_loadu_si512(table.as_ptr().add(n * BYTES).cast()));
    for (from, to) in from.chunks(BYTES).zip(to.chunks_mut(BYTES)) {
        let mask = if from.len() < BYTES { (1 << from.len()) - 1 } else { u64::MAX };
        // SAFETY: the mask covers only bytes inside the slices.
        let bytes = _mm512_maskz_loadu_epi8(mask, from.as_ptr().cast());
        let (low, high) = (_mm512_permutex2var_epi8(a, bytes, b), _mm512_permutex2var_epi8(c, bytes, d));
        let bytes = _mm512_mask_blend_epi8(_mm512_movepi8_mask(bytes), low, high);
        _mm512_mask_storeu_epi8(to.as_mut_ptr().cast(), mask, bytes);
    }
}
