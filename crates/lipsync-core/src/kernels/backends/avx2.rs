// SPDX-License-Identifier: MPL-2.0
//! AVX2: 8 lanes. Its products of bytes (`vpmaddubsw`) are summed in pairs, in 16 bits that saturate.
//!
//! [`PackedConv`] therefore orders its weights so that no sum can exceed 16 bits. Where activations are at most 127,
//! that leaves room for the products of two pairs, which halves the additions in 32 bits.
//!
//! Safety: the functions are hardly more than instructions; what they need is said once, at [`Simd`].
#![allow(unsafe_op_in_unsafe_fn)]

use core::arch::x86_64::*;

use super::entry_points;
use crate::kernels::conv::{Blocking, Epilogue, OutputRows, PackedConv, Source};
use crate::kernels::isa::Isa;
use crate::kernels::simd::{Simd, array};

/// AVX2 with FMA; `VNNI` with `vpdpbusd` as well.
#[derive(Clone, Copy)]
pub struct Avx2<const VNNI: bool>;

entry_points!(Avx2<false>, "avx2,fma");

/// Bytes in a register.
const BYTES: usize = 32;

impl<const VNNI: bool> Simd for Avx2<VNNI> {
    const ISA: Isa = if VNNI { Isa::AvxVnni } else { Isa::Avx2 };
    // The compiler runs out of registers where it interleaves two steps.
    const UNROLL: usize = if VNNI { 4 } else { 1 };
    type Ints = __m256i;
    type Floats = __m256;

    #[inline(always)]
    unsafe fn load_ints(from: *const i32) -> __m256i {
        _mm256_loadu_si256(from.cast())
    }

    #[inline(always)]
    unsafe fn load_floats(from: *const f32) -> __m256 {
        _mm256_loadu_ps(from)
    }

    #[inline(always)]
    unsafe fn store_floats(to: *mut f32, values: __m256) {
        _mm256_storeu_ps(to, values)
    }

    #[inline(always)]
    unsafe fn splat_int(value: i32) -> __m256i {
        _mm256_set1_epi32(value)
    }

    #[inline(always)]
    unsafe fn splat_float(value: f32) -> __m256 {
        _mm256_set1_ps(value)
    }

    #[inline(always)]
    unsafe fn to_floats(values: __m256i) -> __m256 {
        _mm256_cvtepi32_ps(values)
    }

    #[inline(always)]
    unsafe fn round(values: __m256) -> __m256i {
        _mm256_cvtps_epi32(values)
    }

    #[inline(always)]
    unsafe fn add_ints(a: __m256i, b: __m256i) -> __m256i {
        _mm256_add_epi32(a, b)
    }

    #[inline(always)]
    unsafe fn clamp(values: __m256i, max: __m256i) -> __m256i {
        _mm256_min_epi32(_mm256_max_epi32(values, _mm256_setzero_si256()), max)
    }

    #[inline(always)]
    unsafe fn sub(a: __m256, b: __m256) -> __m256 {
        _mm256_sub_ps(a, b)
    }

    #[inline(always)]
    unsafe fn mul(a: __m256, b: __m256) -> __m256 {
        _mm256_mul_ps(a, b)
    }

    #[inline(always)]
    unsafe fn mul_add(a: __m256, b: __m256, c: __m256) -> __m256 {
        _mm256_fmadd_ps(a, b, c)
    }

    #[inline(always)]
    unsafe fn widen<const R: usize>(from: *const u8) -> [__m256i; R] {
        if R == 4 {
            let all = _mm256_loadu_si256(from.cast());
            let none = _mm256_setzero_si256();
            let (low, high) = (_mm256_unpacklo_epi8(all, none), _mm256_unpackhi_epi8(all, none));
            let quads = [
                _mm256_unpacklo_epi16(low, none),
                _mm256_unpackhi_epi16(low, none),
                _mm256_unpacklo_epi16(high, none),
                _mm256_unpackhi_epi16(high, none),
            ];
            return array!(r < R => quads[r]);
        }
        array!(r < R => _mm256_cvtepu8_epi32(_mm_loadl_epi64(from.add(r * Self::LANES).cast())))
    }

    #[inline(always)]
    unsafe fn narrow<const R: usize>(to: *mut u8, values: [__m256i; R], zero_point: u8, max: u8) {
        if R == 4 {
            let zero_point = _mm256_set1_epi16(zero_point.into());
            let low = _mm256_adds_epi16(_mm256_packs_epi32(values[0], values[1]), zero_point);
            let high = _mm256_adds_epi16(_mm256_packs_epi32(values[2], values[3]), zero_point);
            let bytes = _mm256_min_epu8(_mm256_packus_epi16(low, high), _mm256_set1_epi8(max as i8));
            _mm256_storeu_si256(to.cast(), bytes);
            return;
        }
        for (r, values) in values.into_iter().enumerate() {
            let (low, high) = (_mm256_castsi256_si128(values), _mm256_extracti128_si256::<1>(values));
            let words = _mm_adds_epi16(_mm_packs_epi32(low, high), _mm_set1_epi16(zero_point.into()));
            let bytes = _mm_min_epu8(_mm_packus_epi16(words, words), _mm_set1_epi8(max as i8));
            _mm_storel_epi64(to.add(r * Self::LANES).cast(), bytes);
        }
    }

    #[inline(always)]
    unsafe fn accumulate<const P: usize, const R: usize>(
        acc: &mut [[__m256i; R]; P],
        from: *const u8,
        pixel_step: usize,
        offsets: *const u32,
        weights: *const i8,
    ) {
        let pixels = from.add(*offsets as usize);
        let first =
            array!(i < P => _mm256_set1_epi32(pixels.add(i * pixel_step).cast::<i32>().read_unaligned()));
        if VNNI {
            for r in 0..R {
                let weights = _mm256_loadu_si256(weights.add(r * BYTES).cast());
                for (acc, quad) in acc.iter_mut().zip(first) {
                    acc[r] = _mm256_dpbusd_avx_epi32(acc[r], quad, weights);
                }
            }
            return;
        }
        let pixels = from.add(*offsets.add(1) as usize);
        let second =
            array!(i < P => _mm256_set1_epi32(pixels.add(i * pixel_step).cast::<i32>().read_unaligned()));
        let ones = _mm256_set1_epi16(1);
        for r in 0..R {
            let [weights_1, weights_2] =
                array!(n < 2 => _mm256_loadu_si256(weights.add((n * R + r) * BYTES).cast()));
            for (acc, (first, second)) in acc.iter_mut().zip(first.into_iter().zip(second)) {
                // The weights are packed so that these sums fit into 16 bits.
                let sums = _mm256_add_epi16(
                    _mm256_maddubs_epi16(first, weights_1),
                    _mm256_maddubs_epi16(second, weights_2),
                );
                acc[r] = _mm256_add_epi32(acc[r], _mm256_madd_epi16(sums, ones));
            }
        }
    }

    #[inline(always)]
    unsafe fn interleave(rows: [*const u8; 3]) -> [__m256i; 4] {
        let [top, middle, bottom] = array!(n < 3 => _mm256_loadu_si256(rows[n].cast()));
        let none = _mm256_setzero_si256();
        let (upper, lower) = (_mm256_unpacklo_epi8(top, middle), _mm256_unpackhi_epi8(top, middle));
        let (upper_rest, lower_rest) =
            (_mm256_unpacklo_epi8(bottom, none), _mm256_unpackhi_epi8(bottom, none));
        [
            _mm256_unpacklo_epi16(upper, upper_rest),
            _mm256_unpackhi_epi16(upper, upper_rest),
            _mm256_unpacklo_epi16(lower, lower_rest),
            _mm256_unpackhi_epi16(lower, lower_rest),
        ]
    }

    #[inline(always)]
    unsafe fn dot<const WIDE: bool>(acc: __m256i, quads: __m256i, weights: __m256i) -> __m256i {
        if VNNI {
            return _mm256_dpbusd_avx_epi32(acc, quads, weights);
        }
        if WIDE {
            // The even and the odd bytes as 16-bit numbers, whose products are summed in 32 bits.
            let (even, odd) =
                (_mm256_and_si256(quads, _mm256_set1_epi16(0xff)), _mm256_srli_epi16::<8>(quads));
            let (even_weights, odd_weights) =
                (_mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(weights)), _mm256_srai_epi16::<8>(weights));
            let sums =
                _mm256_add_epi32(_mm256_madd_epi16(even, even_weights), _mm256_madd_epi16(odd, odd_weights));
            return _mm256_add_epi32(acc, sums);
        }
        let sums = _mm256_madd_epi16(_mm256_maddubs_epi16(quads, weights), _mm256_set1_epi16(1));
        _mm256_add_epi32(acc, sums)
    }
}

impl<const VNNI: bool> Blocking for Avx2<VNNI> {
    #[inline(always)]
    unsafe fn run_panels(
        conv: &PackedConv,
        from: Source<'_>,
        to: &mut OutputRows<'_>,
        epilogue: Epilogue<'_>,
    ) {
        // VNNI needs ten independent sums to hide its latency; without it, the sums of a step leave fewer registers.
        for panel in &conv.panels {
            match (VNNI, panel.registers) {
                (true, 4) => panel.run::<Self, 3, 4>(from, to, epilogue),
                (true, 2) => panel.run::<Self, 5, 2>(from, to, epilogue),
                (true, _) => panel.run::<Self, 8, 1>(from, to, epilogue),
                (false, 4) => panel.run::<Self, 2, 4>(from, to, epilogue),
                (false, 2) => panel.run::<Self, 3, 2>(from, to, epilogue),
                (false, _) => panel.run::<Self, 4, 1>(from, to, epilogue),
            }
        }
    }
}
