// SPDX-License-Identifier: MPL-2.0
//! 1 x 1 convolutions: the matrix product of pixels and weights, u8 x i8 to i32, requantized to u8.

use core::arch::x86_64::*;

use super::QuantConv;
use super::amx::{self, AmxTiles};

/// A 1 x 1 convolution with packed weights.
pub struct Pointwise {
    panels: Vec<Panel>,
    /// Input channels in groups of four: the steps of the product's inner loop.
    k_steps: usize,
    isa: Isa,
}

/// The instruction set of the inner loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 VNNI.
    Vnni,
    /// AMX tiles.
    Amx,
}

impl Isa {
    /// The fastest that this processor supports.
    pub fn detect() -> Self {
        if amx::is_supported() { Self::Amx } else { Self::Vnni }
    }
}

/// The weights for 64, 32 or 16 output channels.
struct Panel {
    /// Registers of 16 channels each: 4, 2 or 1.
    registers: usize,
    first_channel: usize,
    /// `[k_step][register][lane][4]`
    weights: Vec<AlignedLanes<i8, 64>>,
    /// `[register][lane]`
    bias: Vec<AlignedLanes<i32, LANES>>,
    /// `[register][lane]`
    scale: Vec<AlignedLanes<f32, LANES>>,
}

/// The values of one register, aligned to a cache line.
#[repr(C, align(64))]
pub struct AlignedLanes<T, const N: usize>([T; N]);

impl<T: Copy, const N: usize> AlignedLanes<T, N> {
    /// Splits values into registers; the length must be a multiple of `N`.
    pub fn of(values: &[T]) -> Vec<Self> {
        values.as_chunks().0.iter().map(|values| Self(*values)).collect()
    }
}

/// The input: consecutive pixels of `k_steps * 4` bytes.
#[derive(Clone, Copy)]
pub struct Pixels<'a>(pub &'a [u8]);

/// The output: rows of pixels, with strides.
pub struct OutputRows<'a> {
    pub bytes: &'a mut [u8],
    /// Pixels in a row.
    pub width: usize,
    /// Bytes from one pixel to the next, and from one row to the next.
    pub pixel_stride: usize,
    pub row_stride: usize,
}

impl OutputRows<'_> {
    /// Byte offsets of channel `channel` for `P` consecutive pixels from pixel `start` on.
    #[inline(always)]
    fn offsets<const P: usize>(&self, start: usize, channel: usize) -> [usize; P] {
        let (y, x) = (start / self.width, start % self.width);
        let first = y * self.row_stride + x * self.pixel_stride + channel;
        if x + P <= self.width {
            return std::array::from_fn(|i| first + i * self.pixel_stride);
        }
        std::array::from_fn(|i| {
            let (y, x) = (y + (x + i) / self.width, (x + i) % self.width);
            y * self.row_stride + x * self.pixel_stride + channel
        })
    }
}

/// How i32 accumulators become u8 values.
#[derive(Clone, Copy)]
pub enum Epilogue<'a> {
    /// Requantize to this zero point.
    Requantize { zero_point: u8 },
    /// Requantize, then add the block's input, which has the same pixels and channels.
    AddResidual { zero_point: u8, input: &'a [u8], sum: ResidualAdd },
}

/// The residual addition, in quantized values: `scale * byte + input_scale * other + offset`.
#[derive(Debug, Clone, Copy)]
pub struct ResidualAdd {
    pub scale: f32,
    pub input_scale: f32,
    pub offset: f32,
}

/// Pixels need at least so many bytes for AMX to be faster than VNNI.
const MIN_AMX_PIXEL_BYTES: usize = 32;
/// 32-bit lanes in a register.
pub const LANES: usize = 16;
/// Bytes that `vpdpbusd` multiplies in one lane.
const QUAD: usize = 4;

/// The channel, within its panel, of a lane. In panels of four registers the channels are interleaved so that
/// the pack instructions put bytes in order.
pub fn channel_of_lane(registers: usize, register: usize, lane: usize) -> usize {
    if registers == 4 { LANES * (lane / 4) + 4 * register + lane % 4 } else { LANES * register + lane }
}

impl Pointwise {
    /// `zero_point` is that of the input. Pixels have `inputs` channels, of which the layer reads the first
    /// ones; `outputs` channels are written, those that the layer does not have as zeros.
    pub fn new(layer: &QuantConv, zero_point: u8, [inputs, outputs]: [usize; 2], isa: Isa) -> Self {
        let k_steps = inputs.div_ceil(QUAD);
        let weight = |output: usize, input: usize| {
            let is_there = output < layer.output_channels() && input < layer.input_channels();
            if is_there { layer.weights[output * layer.input_channels() + input] } else { 0 }
        };
        let mut panels = Vec::new();
        let mut first_channel = 0;
        while first_channel < outputs {
            let registers = match (outputs - first_channel) / LANES {
                0 | 1 => 1,
                2 | 3 => 2,
                _ => 4,
            };
            let channel_index = |register, lane| first_channel + channel_of_lane(registers, register, lane);
            let lanes = || (0..registers).flat_map(|r| (0..LANES).map(move |lane| (r, lane)));
            let mut weights = Vec::with_capacity(k_steps * registers * LANES * QUAD);
            for k_step in 0..k_steps {
                for (register, lane) in lanes() {
                    weights
                        .extend((0..QUAD).map(|i| weight(channel_index(register, lane), QUAD * k_step + i)));
                }
            }
            let bias: Vec<i32> =
                lanes().map(|(r, lane)| layer.folded_bias(channel_index(r, lane), zero_point)).collect();
            let scale: Vec<f32> =
                lanes().map(|(r, lane)| layer.requant_scale(channel_index(r, lane))).collect();
            panels.push(Panel {
                registers,
                first_channel,
                weights: AlignedLanes::of(&weights),
                bias: AlignedLanes::of(&bias),
                scale: AlignedLanes::of(&scale),
            });
            first_channel += registers * LANES;
        }
        Self { panels, k_steps, isa }
    }

    /// Bytes of an input pixel.
    pub fn pixel_bytes(&self) -> usize {
        self.k_steps * QUAD
    }

    /// Computes all pixels of `from`.
    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    pub fn run(&self, from: Pixels<'_>, to: &mut OutputRows<'_>, epilogue: Epilogue<'_>) {
        if self.isa == Isa::Amx
            && self.pixel_bytes() >= MIN_AMX_PIXEL_BYTES
            && from.0.len() >= amx::TILE_PIXELS * self.pixel_bytes()
        {
            // SAFETY: the processor supports AMX, and no other code uses tiles before these are released.
            let tiles = unsafe { AmxTiles::new(self.pixel_bytes()) };
            for panel in &self.panels {
                match panel.registers {
                    4 => panel.run_amx::<4>(&tiles, self.pixel_bytes(), from, to, epilogue),
                    2 => panel.run_amx::<2>(&tiles, self.pixel_bytes(), from, to, epilogue),
                    _ => panel.run_amx::<1>(&tiles, self.pixel_bytes(), from, to, epilogue),
                }
            }
            return;
        }
        for panel in &self.panels {
            match panel.registers {
                4 => panel.run::<6, 4>(self.k_steps, from, to, epilogue),
                2 => panel.run::<8, 2>(self.k_steps, from, to, epilogue),
                _ => panel.run::<8, 1>(self.k_steps, from, to, epilogue),
            }
        }
    }
}

impl Panel {
    /// Computes `P` pixels at a time, in `R` registers each. Where the count is no multiple of `P`, the last
    /// `P` pixels overlap those before them and are computed again.
    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    fn run<const P: usize, const R: usize>(
        &self,
        k_steps: usize,
        from: Pixels<'_>,
        to: &mut OutputRows<'_>,
        epilogue: Epilogue<'_>,
    ) {
        let pixel = k_steps * QUAD;
        let count = from.0.len() / pixel;
        let mut start = 0;
        while start + P <= count {
            self.store_tile(
                &self.accumulate::<P, R>(k_steps, &from.0[start * pixel..][..P * pixel]),
                start,
                to,
                epilogue,
            );
            start += P;
        }
        if start < count && count >= P {
            let start = count - P;
            self.store_tile(
                &self.accumulate::<P, R>(k_steps, &from.0[start * pixel..][..P * pixel]),
                start,
                to,
                epilogue,
            );
        } else {
            for start in start..count {
                self.store_tile(
                    &self.accumulate::<1, R>(k_steps, &from.0[start * pixel..][..pixel]),
                    start,
                    to,
                    epilogue,
                );
            }
        }
    }

    /// The same with AMX; there must be at least as many pixels as a tile has.
    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    fn run_amx<const R: usize>(
        &self,
        tiles: &AmxTiles,
        pixel: usize,
        from: Pixels<'_>,
        to: &mut OutputRows<'_>,
        epilogue: Epilogue<'_>,
    ) {
        assert!(self.weights.len() * QUAD == pixel * R && self.bias.len() == R);
        let count = from.0.len() / pixel;
        let mut acc = [[_mm512_setzero_si512(); R]; amx::TILE_PIXELS];
        for start in (0..count).step_by(amx::TILE_PIXELS) {
            let start = start.min(count - amx::TILE_PIXELS);
            let from = from.0[start * pixel..][..amx::TILE_PIXELS * pixel].as_ptr();
            // SAFETY: `from` points to 16 pixels; lengths of weights and bias were asserted.
            unsafe {
                tiles.accumulate(
                    from,
                    pixel,
                    self.weights.as_ptr().cast(),
                    self.bias.as_ptr().cast(),
                    &mut acc,
                )
            };
            self.store_tile(&acc, start, to, epilogue);
        }
    }

    /// Applies the epilogue to the accumulators of `P` pixels, of which the first is pixel `start`, and
    /// stores them.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    fn store_tile<const P: usize, const R: usize>(
        &self,
        acc: &[[__m512i; R]; P],
        start: usize,
        to: &mut OutputRows<'_>,
        epilogue: Epilogue<'_>,
    ) {
        let scale = std::array::from_fn(|r| self.scale[r].load());
        let offsets = to.offsets::<P>(start, self.first_channel);
        // Offsets rise, so that one bounds check covers all.
        assert!(offsets[P - 1] + R * LANES <= to.bytes.len());
        let to_bytes = to.bytes.as_mut_ptr();
        for (i, (acc, offset)) in acc.iter().zip(offsets).enumerate() {
            let values = requantize(acc, &scale);
            // SAFETY: the last offset is in bounds, as asserted.
            let to_here = unsafe { std::slice::from_raw_parts_mut(to_bytes.add(offset), R * LANES) };
            match epilogue {
                Epilogue::Requantize { zero_point } => store_u8(to_here, values, zero_point),
                Epilogue::AddResidual { zero_point, input, sum } => {
                    let input = &input[(start + i) * to.pixel_stride + self.first_channel..][..R * LANES];
                    store_u8(to_here, add_residual(&values, zero_point, input, sum), 0);
                }
            }
        }
    }

    /// The accumulators of `P` pixels.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    fn accumulate<const P: usize, const R: usize>(&self, k_steps: usize, from: &[u8]) -> [[__m512i; R]; P] {
        let pixel = k_steps * QUAD;
        assert!(from.len() == P * pixel && self.weights.len() == k_steps * R);
        let bias: [__m512i; R] = std::array::from_fn(|r| self.bias[r].load());
        let mut acc = [bias; P];
        let (from, weights) = (from.as_ptr(), self.weights.as_ptr().cast());
        let mut k_step = 0;
        // Unrolled by hand: loop counters compete with the multiplications for execution ports.
        while k_step + UNROLL <= k_steps {
            for n in 0..UNROLL {
                // SAFETY: `k_step + n` is below `k_steps`, and the lengths were asserted.
                unsafe { accumulate_step(&mut acc, from, pixel, weights, k_step + n) };
            }
            k_step += UNROLL;
        }
        for k_step in k_step..k_steps {
            // SAFETY: as above.
            unsafe { accumulate_step(&mut acc, from, pixel, weights, k_step) };
        }
        acc
    }
}

/// Unrolling of the inner loop.
const UNROLL: usize = 4;

/// Multiplies and accumulates four channels of `P` pixels.
///
/// # Safety
/// `from` points to `P` pixels of `pixel` bytes, `weights` to more than `k_step` steps of weights.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
unsafe fn accumulate_step<const P: usize, const R: usize>(
    acc: &mut [[__m512i; R]; P],
    from: *const u8,
    pixel: usize,
    weights: *const i8,
    k_step: usize,
) {
    // SAFETY: `r < R` and `i < P`; the rest is the caller's promise.
    unsafe {
        let weights = weights.add(k_step * R * LANES * QUAD);
        let weights: [__m512i; R] =
            std::array::from_fn(|r| _mm512_loadu_si512(weights.add(r * LANES * QUAD).cast()));
        for (i, acc) in acc.iter_mut().enumerate() {
            let quad = from.add(i * pixel + k_step * QUAD).cast::<i32>().read_unaligned();
            let quad = _mm512_set1_epi32(quad);
            for (sum, weights) in acc.iter_mut().zip(weights) {
                *sum = _mm512_dpbusd_epi32(*sum, quad, weights);
            }
        }
    }
}

impl AlignedLanes<i32, LANES> {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl")]
    fn load(&self) -> __m512i {
        // SAFETY: the array has the size and alignment of a register.
        unsafe { _mm512_load_si512(self.0.as_ptr().cast()) }
    }
}

impl AlignedLanes<f32, LANES> {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl")]
    pub fn load(&self) -> __m512 {
        // SAFETY: the array has the size and alignment of a register.
        unsafe { _mm512_load_ps(self.0.as_ptr()) }
    }
}

/// Scales accumulators and rounds them half to even; the zero point is not added yet.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
pub fn requantize<const R: usize>(acc: &[__m512i; R], scale: &[__m512; R]) -> [__m512i; R] {
    std::array::from_fn(|r| _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(acc[r]), scale[r])))
}

/// Adds the block's input to requantized values, whose `zero_point` is not added yet.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn add_residual<const R: usize>(
    values: &[__m512i; R],
    zero_point: u8,
    input: &[u8],
    sum: ResidualAdd,
) -> [__m512i; R] {
    let zero_point = _mm512_set1_epi32(i32::from(zero_point));
    let inputs = widen_u8::<R>(input);
    let (scale, input_scale, offset) =
        (_mm512_set1_ps(sum.scale), _mm512_set1_ps(sum.input_scale), _mm512_set1_ps(sum.offset));
    std::array::from_fn(|r| {
        let byte = _mm512_add_epi32(values[r], zero_point);
        let byte = _mm512_min_epi32(_mm512_max_epi32(byte, _mm512_setzero_si512()), _mm512_set1_epi32(255));
        let rest = _mm512_fmadd_ps(_mm512_cvtepi32_ps(inputs[r]), input_scale, offset);
        _mm512_cvtps_epi32(_mm512_fmadd_ps(_mm512_cvtepi32_ps(byte), scale, rest))
    })
}

/// Zero-extends bytes to 32 bits, in the order of [`channel_of_lane`].
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn widen_u8<const R: usize>(bytes: &[u8]) -> [__m512i; R] {
    assert!(bytes.len() == R * LANES);
    let bytes = bytes.as_ptr();
    if R == 4 {
        // SAFETY: the slice has 64 bytes.
        let all = unsafe { _mm512_loadu_si512(bytes.cast()) };
        let none = _mm512_setzero_si512();
        let (low, high) = (_mm512_unpacklo_epi8(all, none), _mm512_unpackhi_epi8(all, none));
        let quads = [
            _mm512_unpacklo_epi16(low, none),
            _mm512_unpackhi_epi16(low, none),
            _mm512_unpacklo_epi16(high, none),
            _mm512_unpackhi_epi16(high, none),
        ];
        return std::array::from_fn(|r| quads[r]);
    }
    // SAFETY: the slice has `R` times 16 bytes.
    std::array::from_fn(|r| unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(bytes.add(r * LANES).cast())) })
}

/// Adds the zero point, saturates to u8, and stores the values in the order of their channels.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
pub fn store_u8<const R: usize>(to: &mut [u8], values: [__m512i; R], zero_point: u8) {
    assert!(to.len() == R * LANES);
    let to = to.as_mut_ptr();
    if R == 4 {
        let mut low = _mm512_packs_epi32(values[0], values[1]);
        let mut high = _mm512_packs_epi32(values[2], values[3]);
        if zero_point != 0 {
            let zero_point = _mm512_set1_epi16(i16::from(zero_point));
            (low, high) = (_mm512_adds_epi16(low, zero_point), _mm512_adds_epi16(high, zero_point));
        }
        // SAFETY: the slice has 64 bytes.
        unsafe { _mm512_storeu_si512(to.cast(), _mm512_packus_epi16(low, high)) };
        return;
    }
    let zero_point = _mm512_set1_epi32(i32::from(zero_point));
    for (r, value) in values.into_iter().enumerate() {
        let value = _mm512_max_epi32(_mm512_add_epi32(value, zero_point), _mm512_setzero_si512());
        // SAFETY: the slice has `R` times 16 bytes.
        unsafe { _mm_storeu_si128(to.add(r * LANES).cast(), _mm512_cvtusepi32_epi8(value)) };
    }
}
