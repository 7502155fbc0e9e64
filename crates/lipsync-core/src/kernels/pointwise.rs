//! 1 x 1 convolutions: every pixel's channels by a matrix.

use core::arch::x86_64::*;

use super::QuantConv;
use super::amx::{self, AmxTiles};

/// The weights of a layer in the order in which registers take them.
pub struct Pointwise {
    panels: Vec<Panel>,
    /// Input channels by fours, as one instruction takes them.
    k_steps: usize,
    isa: Isa,
}

/// What multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 with VNNI.
    Vnni,
    /// AMX.
    Amx,
}

impl Isa {
    /// The fastest of this processor.
    pub fn detect() -> Self {
        if amx::is_supported() { Self::Amx } else { Self::Vnni }
    }
}

/// 64, 32 or 16 output channels.
struct Panel {
    /// Registers of 16 channels: 4, 2 or 1.
    registers: usize,
    first_channel: usize,
    /// `[k_step][register][lane][4]`
    weights: Vec<AlignedLanes<i8, 64>>,
    /// `[register][lane]`
    bias: Vec<AlignedLanes<i32, LANES>>,
    /// `[register][lane]`
    scale: Vec<AlignedLanes<f32, LANES>>,
}

/// What fills a register, in one line of the cache.
#[repr(C, align(64))]
pub struct AlignedLanes<T, const N: usize>([T; N]);

impl<T: Copy, const N: usize> AlignedLanes<T, N> {
    /// Values, as many as fill registers.
    pub fn of(values: &[T]) -> Vec<Self> {
        values.as_chunks().0.iter().map(|values| Self(*values)).collect()
    }
}

/// What goes in: pixels one after the other, `k_steps * 4` bytes each.
#[derive(Clone, Copy)]
pub struct Pixels<'a>(pub &'a [u8]);

/// Where results go: rows of pixels.
pub struct OutputRows<'a> {
    pub bytes: &'a mut [u8],
    /// Pixels in a row.
    pub width: usize,
    /// Bytes from one pixel to the next, and from one row to the next.
    pub pixel_stride: usize,
    pub row_stride: usize,
}

impl OutputRows<'_> {
    /// Where the channels from number `channel` on of `P` pixels are, from number `start` on.
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

/// How sums become bytes.
#[derive(Clone, Copy)]
pub enum Epilogue<'a> {
    /// Rounded, on a grid with this zero.
    Requantize { zero_point: u8 },
    /// Rounded so, and added to what went into the block, which has the same pixels and channels.
    AddResidual { zero_point: u8, input: &'a [u8], sum: ResidualAdd },
}

/// A sum of two bytes on grids of their own, on a third grid: `scale * byte + input_scale * other + offset`.
#[derive(Debug, Clone, Copy)]
pub struct ResidualAdd {
    pub scale: f32,
    pub input_scale: f32,
    pub offset: f32,
}

/// Bytes of a pixel from which on tiles are faster than vectors.
const MIN_AMX_PIXEL_BYTES: usize = 32;
/// Lanes of 32 bits in a register.
pub const LANES: usize = 16;
/// Bytes that one lane multiplies at once.
const QUAD: usize = 4;

/// The channel, within its panel, of a lane. Four registers hold theirs interleaved, as bytes come out in order when
/// they are packed.
pub fn channel_of_lane(registers: usize, register: usize, lane: usize) -> usize {
    if registers == 4 { LANES * (lane / 4) + 4 * register + lane % 4 } else { LANES * register + lane }
}

impl Pointwise {
    /// `zero_point` is that of the input's grid. `inputs` channels go in, of which the layer takes the first; `outputs` channels come
    /// out, those that the layer lacks as zeros.
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

    /// Bytes of a pixel that goes in.
    pub fn pixel_bytes(&self) -> usize {
        self.k_steps * QUAD
    }

    /// Computes pixels one after the other, as many as `from` holds.
    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    pub fn run(&self, from: Pixels<'_>, to: &mut OutputRows<'_>, epilogue: Epilogue<'_>) {
        if self.isa == Isa::Amx
            && self.pixel_bytes() >= MIN_AMX_PIXEL_BYTES
            && from.0.len() >= amx::TILE_PIXELS * self.pixel_bytes()
        {
            // SAFETY: the processor has tiles, and nothing is called before they are given up that would use them.
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
    /// `P` pixels at a time, in `R` registers each. The last are done with some before them, once more.
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

    /// The same by tiles, for at least as many pixels as a tile has.
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
            // SAFETY: there are 16 pixels, and weights and bias as asserted.
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

    /// Rounds the sums of `P` pixels, of which the first is number `start`, and puts them where they belong.
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
        // One check for all: they are in order.
        assert!(offsets[P - 1] + R * LANES <= to.bytes.len());
        let to_bytes = to.bytes.as_mut_ptr();
        for (i, (acc, offset)) in acc.iter().zip(offsets).enumerate() {
            let values = requantize(acc, &scale);
            // SAFETY: the last place is inside, as asserted.
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

    /// The sums of `P` pixels.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    fn accumulate<const P: usize, const R: usize>(&self, k_steps: usize, from: &[u8]) -> [[__m512i; R]; P] {
        let pixel = k_steps * QUAD;
        assert!(from.len() == P * pixel && self.weights.len() == k_steps * R);
        let bias: [__m512i; R] = std::array::from_fn(|r| self.bias[r].load());
        let mut acc = [bias; P];
        let (from, weights) = (from.as_ptr(), self.weights.as_ptr().cast());
        let mut k_step = 0;
        // Several steps in a row: counting takes time on the same ports as multiplying.
        while k_step + UNROLL <= k_steps {
            for n in 0..UNROLL {
                // SAFETY: there are so many steps, and the lengths are as asserted.
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

/// Steps that are written out one after the other.
const UNROLL: usize = 4;

/// Adds the products of four bytes of `P` pixels.
///
/// # Safety
/// At `from` are `P` pixels of `pixel` bytes, at `weights` those of more than `k_step` steps.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
unsafe fn accumulate_step<const P: usize, const R: usize>(
    acc: &mut [[__m512i; R]; P],
    from: *const u8,
    pixel: usize,
    weights: *const i8,
    k_step: usize,
) {
    // SAFETY: `r < R` and `i < P`; the rest is promised.
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
        // SAFETY: a register's values are there.
        unsafe { _mm512_load_si512(self.0.as_ptr().cast()) }
    }
}

impl AlignedLanes<f32, LANES> {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl")]
    pub fn load(&self) -> __m512 {
        // SAFETY: a register's values are there.
        unsafe { _mm512_load_ps(self.0.as_ptr()) }
    }
}

/// Sums as steps of the output, rounded to even.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
pub fn requantize<const R: usize>(acc: &[__m512i; R], scale: &[__m512; R]) -> [__m512i; R] {
    std::array::from_fn(|r| _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(acc[r]), scale[r])))
}

/// The sum of what was computed, `zero_point` not yet added, and of what went into the block.
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

/// Bytes as 32 bits each, in the order of [`channel_of_lane`].
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn widen_u8<const R: usize>(bytes: &[u8]) -> [__m512i; R] {
    assert!(bytes.len() == R * LANES);
    let bytes = bytes.as_ptr();
    if R == 4 {
        // SAFETY: there are 64 bytes.
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
    // SAFETY: there are `R` times 16 bytes.
    std::array::from_fn(|r| unsafe { _mm512_cvtepu8_epi32(_mm_loadu_si128(bytes.add(r * LANES).cast())) })
}

/// Writes values as bytes, `zero_point` added, in the order of their channels.
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
        // SAFETY: there is room for 64 bytes.
        unsafe { _mm512_storeu_si512(to.cast(), _mm512_packus_epi16(low, high)) };
        return;
    }
    let zero_point = _mm512_set1_epi32(i32::from(zero_point));
    for (r, value) in values.into_iter().enumerate() {
        let value = _mm512_max_epi32(_mm512_add_epi32(value, zero_point), _mm512_setzero_si512());
        // SAFETY: there is room for `R` times 16 bytes.
        unsafe { _mm_storeu_si128(to.add(r * LANES).cast(), _mm512_cvtusepi32_epi8(value)) };
    }
}
