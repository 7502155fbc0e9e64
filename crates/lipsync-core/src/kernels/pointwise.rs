//! 1 x 1 convolutions: every pixel's channels by a matrix.

use core::arch::x86_64::*;

use super::Layer;
use super::tiles::{self, Tiles};

/// The weights of a layer in the order in which registers take them.
pub struct Pointwise {
    panels: Vec<Panel>,
    /// Input channels by fours, as one instruction takes them.
    steps: usize,
    unit: Unit,
}

/// What multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// AVX-512 with VNNI.
    Vectors,
    /// AMX.
    Tiles,
}

impl Unit {
    /// The fastest of this processor.
    pub fn best() -> Self {
        if tiles::are_supported() { Self::Tiles } else { Self::Vectors }
    }
}

/// 64, 32 or 16 output channels.
struct Panel {
    /// Registers of 16 channels: 4, 2 or 1.
    registers: usize,
    first: usize,
    /// `[step][register][lane][4]`
    weights: Vec<Register<i8, 64>>,
    /// `[register][lane]`
    bias: Vec<Register<i32, LANES>>,
    /// `[register][lane]`
    scale: Vec<Register<f32, LANES>>,
}

/// What fills a register, in one line of the cache.
#[repr(C, align(64))]
pub struct Register<T, const N: usize>([T; N]);

impl<T: Copy, const N: usize> Register<T, N> {
    /// Values, as many as fill registers.
    pub fn of(values: &[T]) -> Vec<Self> {
        values.as_chunks().0.iter().map(|values| Self(*values)).collect()
    }
}

/// What goes in: pixels one after the other, `steps * 4` bytes each.
#[derive(Clone, Copy)]
pub struct Pixels<'a>(pub &'a [u8]);

/// Where results go: rows of pixels.
pub struct Rows<'a> {
    pub bytes: &'a mut [u8],
    /// Pixels in a row.
    pub width: usize,
    /// Bytes from one pixel to the next, and from one row to the next.
    pub pixel: usize,
    pub row: usize,
}

impl Rows<'_> {
    /// Where the channels from number `channel` on of `P` pixels are, from number `start` on.
    #[inline(always)]
    fn places<const P: usize>(&self, start: usize, channel: usize) -> [usize; P] {
        let (y, x) = (start / self.width, start % self.width);
        let first = y * self.row + x * self.pixel + channel;
        if x + P <= self.width {
            return std::array::from_fn(|i| first + i * self.pixel);
        }
        std::array::from_fn(|i| {
            let (y, x) = (y + (x + i) / self.width, (x + i) % self.width);
            y * self.row + x * self.pixel + channel
        })
    }
}

/// How sums become bytes.
#[derive(Clone, Copy)]
pub enum Finish<'a> {
    /// Rounded, on a grid with this zero.
    Rounded { zero: u8 },
    /// Rounded so, and added to what went into the block, which has the same pixels and channels.
    Added { zero: u8, input: &'a [u8], sum: Sum },
}

/// A sum of two bytes on grids of their own, on a third grid: `ours * byte + theirs * other + offset`.
#[derive(Debug, Clone, Copy)]
pub struct Sum {
    pub ours: f32,
    pub theirs: f32,
    pub offset: f32,
}

/// Bytes of a pixel from which on tiles are faster than vectors.
const SMALLEST_TILE: usize = 32;
/// Lanes of 32 bits in a register.
pub const LANES: usize = 16;
/// Bytes that one lane multiplies at once.
const QUAD: usize = 4;

/// The channel, within its panel, of a lane. Four registers hold theirs interleaved, as bytes come out in order when
/// they are packed.
pub fn channel_of(registers: usize, register: usize, lane: usize) -> usize {
    if registers == 4 { LANES * (lane / 4) + 4 * register + lane % 4 } else { LANES * register + lane }
}

impl Pointwise {
    /// `zero` is that of the input's grid. `inputs` channels go in, of which the layer takes the first; `outputs` channels come
    /// out, those that the layer lacks as zeros.
    pub fn new(layer: &Layer, zero: u8, [inputs, outputs]: [usize; 2], unit: Unit) -> Self {
        let steps = inputs.div_ceil(QUAD);
        let weight = |output: usize, input: usize| {
            let is_there = output < layer.channels() && input < layer.inputs();
            if is_there { layer.weights[output * layer.inputs() + input] } else { 0 }
        };
        let mut panels = Vec::new();
        let mut first = 0;
        while first < outputs {
            let registers = match (outputs - first) / LANES {
                0 | 1 => 1,
                2 | 3 => 2,
                _ => 4,
            };
            let place = |register, lane| first + channel_of(registers, register, lane);
            let lanes = || (0..registers).flat_map(|r| (0..LANES).map(move |lane| (r, lane)));
            let mut weights = Vec::with_capacity(steps * registers * LANES * QUAD);
            for step in 0..steps {
                for (register, lane) in lanes() {
                    weights.extend((0..QUAD).map(|i| weight(place(register, lane), QUAD * step + i)));
                }
            }
            let bias: Vec<i32> = lanes().map(|(r, lane)| layer.bias_of_bytes(place(r, lane), zero)).collect();
            let scale: Vec<f32> = lanes().map(|(r, lane)| layer.steps_of(place(r, lane))).collect();
            panels.push(Panel {
                registers,
                first,
                weights: Register::of(&weights),
                bias: Register::of(&bias),
                scale: Register::of(&scale),
            });
            first += registers * LANES;
        }
        Self { panels, steps, unit }
    }

    /// Bytes of a pixel that goes in.
    pub fn pixel(&self) -> usize {
        self.steps * QUAD
    }

    /// Computes pixels one after the other, as many as `from` holds.
    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    pub fn run(&self, from: Pixels<'_>, to: &mut Rows<'_>, finish: Finish<'_>) {
        if self.unit == Unit::Tiles
            && self.pixel() >= SMALLEST_TILE
            && from.0.len() >= tiles::PIXELS * self.pixel()
        {
            // SAFETY: the processor has tiles, and nothing is called before they are given up that would use them.
            let tiles = unsafe { Tiles::new(self.pixel()) };
            for panel in &self.panels {
                match panel.registers {
                    4 => panel.run_tiles::<4>(&tiles, self.pixel(), from, to, finish),
                    2 => panel.run_tiles::<2>(&tiles, self.pixel(), from, to, finish),
                    _ => panel.run_tiles::<1>(&tiles, self.pixel(), from, to, finish),
                }
            }
            return;
        }
        for panel in &self.panels {
            match panel.registers {
                4 => panel.run::<6, 4>(self.steps, from, to, finish),
                2 => panel.run::<8, 2>(self.steps, from, to, finish),
                _ => panel.run::<8, 1>(self.steps, from, to, finish),
            }
        }
    }
}

impl Panel {
    /// `P` pixels at a time, in `R` registers each. The last are done with some before them, once more.
    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    fn run<const P: usize, const R: usize>(
        &self,
        steps: usize,
        from: Pixels<'_>,
        to: &mut Rows<'_>,
        finish: Finish<'_>,
    ) {
        let pixel = steps * QUAD;
        let count = from.0.len() / pixel;
        let mut start = 0;
        while start + P <= count {
            self.finish(&self.sums::<P, R>(steps, &from.0[start * pixel..][..P * pixel]), start, to, finish);
            start += P;
        }
        if start < count && count >= P {
            let start = count - P;
            self.finish(&self.sums::<P, R>(steps, &from.0[start * pixel..][..P * pixel]), start, to, finish);
        } else {
            for start in start..count {
                self.finish(&self.sums::<1, R>(steps, &from.0[start * pixel..][..pixel]), start, to, finish);
            }
        }
    }

    /// The same by tiles, for at least as many pixels as a tile has.
    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    fn run_tiles<const R: usize>(
        &self,
        tiles: &Tiles,
        pixel: usize,
        from: Pixels<'_>,
        to: &mut Rows<'_>,
        finish: Finish<'_>,
    ) {
        assert!(self.weights.len() * QUAD == pixel * R && self.bias.len() == R);
        let count = from.0.len() / pixel;
        let mut sums = [[_mm512_setzero_si512(); R]; tiles::PIXELS];
        for start in (0..count).step_by(tiles::PIXELS) {
            let start = start.min(count - tiles::PIXELS);
            let from = from.0[start * pixel..][..tiles::PIXELS * pixel].as_ptr();
            // SAFETY: there are 16 pixels, and weights and bias as asserted.
            unsafe {
                tiles.sums(from, pixel, self.weights.as_ptr().cast(), self.bias.as_ptr().cast(), &mut sums)
            };
            self.finish(&sums, start, to, finish);
        }
    }

    /// Rounds the sums of `P` pixels, of which the first is number `start`, and puts them where they belong.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    fn finish<const P: usize, const R: usize>(
        &self,
        sums: &[[__m512i; R]; P],
        start: usize,
        to: &mut Rows<'_>,
        finish: Finish<'_>,
    ) {
        let scale = std::array::from_fn(|r| self.scale[r].load());
        let places = to.places::<P>(start, self.first);
        // One check for all: they are in order.
        assert!(places[P - 1] + R * LANES <= to.bytes.len());
        let to_bytes = to.bytes.as_mut_ptr();
        for (i, (sums, place)) in sums.iter().zip(places).enumerate() {
            let values = rounded(sums, &scale);
            // SAFETY: the last place is inside, as asserted.
            let to_here = unsafe { std::slice::from_raw_parts_mut(to_bytes.add(place), R * LANES) };
            match finish {
                Finish::Rounded { zero } => store(to_here, values, zero),
                Finish::Added { zero, input, sum } => {
                    let input = &input[(start + i) * to.pixel + self.first..][..R * LANES];
                    store(to_here, added(&values, zero, input, sum), 0);
                }
            }
        }
    }

    /// The sums of `P` pixels.
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    fn sums<const P: usize, const R: usize>(&self, steps: usize, from: &[u8]) -> [[__m512i; R]; P] {
        let pixel = steps * QUAD;
        assert!(from.len() == P * pixel && self.weights.len() == steps * R);
        let bias: [__m512i; R] = std::array::from_fn(|r| self.bias[r].load());
        let mut sums = [bias; P];
        let (from, weights) = (from.as_ptr(), self.weights.as_ptr().cast());
        let mut step = 0;
        // Several steps in a row: counting takes time on the same ports as multiplying.
        while step + UNROLLED <= steps {
            for n in 0..UNROLLED {
                // SAFETY: there are so many steps, and the lengths are as asserted.
                unsafe { one_step(&mut sums, from, pixel, weights, step + n) };
            }
            step += UNROLLED;
        }
        for step in step..steps {
            // SAFETY: as above.
            unsafe { one_step(&mut sums, from, pixel, weights, step) };
        }
        sums
    }
}

/// Steps that are written out one after the other.
const UNROLLED: usize = 4;

/// Adds the products of four bytes of `P` pixels.
///
/// # Safety
/// At `from` are `P` pixels of `pixel` bytes, at `weights` those of more than `step` steps.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
unsafe fn one_step<const P: usize, const R: usize>(
    sums: &mut [[__m512i; R]; P],
    from: *const u8,
    pixel: usize,
    weights: *const i8,
    step: usize,
) {
    // SAFETY: `r < R` and `i < P`; the rest is promised.
    unsafe {
        let weights = weights.add(step * R * LANES * QUAD);
        let weights: [__m512i; R] =
            std::array::from_fn(|r| _mm512_loadu_si512(weights.add(r * LANES * QUAD).cast()));
        for (i, sums) in sums.iter_mut().enumerate() {
            let quad = from.add(i * pixel + step * QUAD).cast::<i32>().read_unaligned();
            let quad = _mm512_set1_epi32(quad);
            for (sum, weights) in sums.iter_mut().zip(weights) {
                *sum = _mm512_dpbusd_epi32(*sum, quad, weights);
            }
        }
    }
}

impl Register<i32, LANES> {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl")]
    fn load(&self) -> __m512i {
        // SAFETY: a register's values are there.
        unsafe { _mm512_load_si512(self.0.as_ptr().cast()) }
    }
}

impl Register<f32, LANES> {
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
pub fn rounded<const R: usize>(sums: &[__m512i; R], scale: &[__m512; R]) -> [__m512i; R] {
    std::array::from_fn(|r| _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sums[r]), scale[r])))
}

/// The sum of what was computed, `zero` not yet added, and of what went into the block.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn added<const R: usize>(values: &[__m512i; R], zero: u8, input: &[u8], sum: Sum) -> [__m512i; R] {
    let zero = _mm512_set1_epi32(i32::from(zero));
    let inputs = spread::<R>(input);
    let (ours, theirs, offset) =
        (_mm512_set1_ps(sum.ours), _mm512_set1_ps(sum.theirs), _mm512_set1_ps(sum.offset));
    std::array::from_fn(|r| {
        let byte = _mm512_add_epi32(values[r], zero);
        let byte = _mm512_min_epi32(_mm512_max_epi32(byte, _mm512_setzero_si512()), _mm512_set1_epi32(255));
        let rest = _mm512_fmadd_ps(_mm512_cvtepi32_ps(inputs[r]), theirs, offset);
        _mm512_cvtps_epi32(_mm512_fmadd_ps(_mm512_cvtepi32_ps(byte), ours, rest))
    })
}

/// Bytes as 32 bits each, in the order of [`channel_of`].
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn spread<const R: usize>(bytes: &[u8]) -> [__m512i; R] {
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

/// Writes values as bytes, `zero` added, in the order of their channels.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
pub fn store<const R: usize>(to: &mut [u8], values: [__m512i; R], zero: u8) {
    assert!(to.len() == R * LANES);
    let to = to.as_mut_ptr();
    if R == 4 {
        let mut low = _mm512_packs_epi32(values[0], values[1]);
        let mut high = _mm512_packs_epi32(values[2], values[3]);
        if zero != 0 {
            let zero = _mm512_set1_epi16(i16::from(zero));
            (low, high) = (_mm512_adds_epi16(low, zero), _mm512_adds_epi16(high, zero));
        }
        // SAFETY: there is room for 64 bytes.
        unsafe { _mm512_storeu_si512(to.cast(), _mm512_packus_epi16(low, high)) };
        return;
    }
    let zero = _mm512_set1_epi32(i32::from(zero));
    for (r, value) in values.into_iter().enumerate() {
        let value = _mm512_max_epi32(_mm512_add_epi32(value, zero), _mm512_setzero_si512());
        // SAFETY: there is room for `R` times 16 bytes.
        unsafe { _mm_storeu_si128(to.add(r * LANES).cast(), _mm512_cvtusepi32_epi8(value)) };
    }
}
