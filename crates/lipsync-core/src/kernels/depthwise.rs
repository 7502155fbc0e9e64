//! 3 x 3 convolutions of every channel by itself.
//!
//! One instruction multiplies four bytes of a lane: here the three of a column, and one that counts for nothing. A filter is three
//! of these.

use core::arch::x86_64::*;

use super::QuantConv;
use super::pointwise::{channel_of_lane, requantize, store_u8};

/// Bytes in a register: channels of one pixel, or of several pixels where there are fewer channels.
const REGISTER: usize = 64;

/// The weights of a layer in the order in which registers take them, for groups of 64 channels.
pub struct Depthwise {
    groups: Vec<Group>,
    channels: usize,
    stride: usize,
    zero_point: u8,
}

struct Group {
    /// `[column][register][lane][row]`, of which the fourth is zero
    weights: [[[i8; REGISTER]; 4]; 3],
    bias: [[i32; 16]; 4],
    scale: [[f32; 16]; 4],
}

/// Three rows that go in: `width + 2` pixels each, the first and the last of which are the border.
pub type InputRows<'a> = [&'a [u8]; 3];

/// A group's numbers in registers.
struct GroupRegisters {
    weights: [[__m512i; 4]; 3],
    bias: [__m512i; 4],
    scale: [__m512; 4],
}

/// How many channels to compute where a layer has so many: what fills registers.
pub fn padded_channels(channels: usize, stride: usize) -> usize {
    match channels {
        // Several pixels side by side in a register.
        1..=16 if stride == 1 => 16,
        17..=32 if stride == 1 => 32,
        _ => channels.next_multiple_of(REGISTER),
    }
}

impl Depthwise {
    /// `zero_point` is that of the input's grid, which borders are made of.
    pub fn new(layer: &QuantConv, zero_point: u8, stride: usize) -> Self {
        let channels = padded_channels(layer.output_channels(), stride);
        let group = |first: usize| {
            let channel = |register, lane| first + channel_of_lane(4, register, lane) % channels;
            let weights = |register: usize, column: usize| {
                std::array::from_fn(|byte| {
                    let (lane, row) = (byte / 4, byte % 4);
                    let place = 9 * channel(register, lane) + 3 * row + column;
                    if row == 3 { 0 } else { layer.weights.get(place).copied().unwrap_or(0) }
                })
            };
            let bias = |channel: usize| layer.folded_bias(channel, zero_point);
            let scale = |channel: usize| layer.requant_scale(channel);
            Group {
                weights: std::array::from_fn(|column| std::array::from_fn(|r| weights(r, column))),
                bias: std::array::from_fn(|r| std::array::from_fn(|lane| bias(channel(r, lane)))),
                scale: std::array::from_fn(|r| std::array::from_fn(|lane| scale(channel(r, lane)))),
            }
        };
        let groups = (0..channels).step_by(REGISTER).map(group).collect();
        Self { groups, channels, stride, zero_point: layer.output.zero_point }
    }

    /// Channels that go in and come out.
    pub fn output_channels(&self) -> usize {
        self.channels
    }

    /// Computes a row of so many pixels. The rows that go in, and `to`, have up to [`TAIL_PADDING`] bytes behind them.
    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    pub fn run(&self, from: InputRows<'_>, to: &mut [u8], width: usize) {
        match (self.channels < REGISTER, self.stride) {
            (true, _) => self.run_several_pixels(from, to, width),
            (false, 1) => self.run_stride_1(from, to, width),
            (false, _) => self.run_strided(from, to, width),
        }
    }

    /// Registers hold several pixels: those beside them are in others, that overlap.
    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    fn run_several_pixels(&self, from: InputRows<'_>, to: &mut [u8], width: usize) {
        let group = self.groups[0].load();
        for place in (0..width * self.channels).step_by(REGISTER) {
            let columns = std::array::from_fn(|column| load_column(from, place + column * self.channels));
            group.accumulate_and_store(columns, &mut to[place..][..REGISTER], self.zero_point);
        }
    }

    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    fn run_stride_1(&self, from: InputRows<'_>, to: &mut [u8], width: usize) {
        for (n, group) in self.groups.iter().enumerate() {
            let group = group.load();
            let at = |x: usize| n * REGISTER + x * self.channels;
            let mut left = load_column(from, at(0));
            let mut middle = load_column(from, at(1));
            for x in 0..width {
                let right = load_column(from, at(x + 2));
                group.accumulate_and_store(
                    [left, middle, right],
                    &mut to[at(x)..][..REGISTER],
                    self.zero_point,
                );
                (left, middle) = (middle, right);
            }
        }
    }

    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    fn run_strided(&self, from: InputRows<'_>, to: &mut [u8], width: usize) {
        for (n, group) in self.groups.iter().enumerate() {
            let group = group.load();
            let at = |x: usize| n * REGISTER + x * self.channels;
            for x in 0..width {
                let columns = std::array::from_fn(|column| load_column(from, at(self.stride * x + column)));
                group.accumulate_and_store(columns, &mut to[at(x)..][..REGISTER], self.zero_point);
            }
        }
    }
}

/// Bytes behind rows that may be read and written.
pub const TAIL_PADDING: usize = REGISTER;

impl Group {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl")]
    fn load(&self) -> GroupRegisters {
        // SAFETY: each of the arrays is as large as a register.
        unsafe {
            let register = |bytes: &[i8; REGISTER]| _mm512_loadu_si512(bytes.as_ptr().cast());
            GroupRegisters {
                weights: std::array::from_fn(|c| std::array::from_fn(|r| register(&self.weights[c][r]))),
                bias: std::array::from_fn(|r| _mm512_loadu_si512(self.bias[r].as_ptr().cast())),
                scale: std::array::from_fn(|r| _mm512_loadu_ps(self.scale[r].as_ptr())),
            }
        }
    }
}

impl GroupRegisters {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    fn accumulate_and_store(&self, columns: [[__m512i; 4]; 3], to: &mut [u8], zero_point: u8) {
        let mut sums = self.bias;
        for (column, weights) in columns.iter().zip(&self.weights) {
            for r in 0..4 {
                sums[r] = _mm512_dpbusd_epi32(sums[r], column[r], weights[r]);
            }
        }
        store_u8(to, requantize(&sums, &self.scale), zero_point);
    }
}

/// Of 64 channels, the three bytes of a column side by side, in the order of [`channel_of_lane`].
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn load_column(rows: InputRows<'_>, place: usize) -> [__m512i; 4] {
    let [top, middle, bottom] = rows.map(|row| {
        let bytes = &row[place..][..REGISTER];
        // SAFETY: there are 64 bytes.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    });
    let none = _mm512_setzero_si512();
    let (upper, lower) = (_mm512_unpacklo_epi8(top, middle), _mm512_unpackhi_epi8(top, middle));
    let (upper_rest, lower_rest) = (_mm512_unpacklo_epi8(bottom, none), _mm512_unpackhi_epi8(bottom, none));
    [
        _mm512_unpacklo_epi16(upper, upper_rest),
        _mm512_unpackhi_epi16(upper, upper_rest),
        _mm512_unpacklo_epi16(lower, lower_rest),
        _mm512_unpackhi_epi16(lower, lower_rest),
    ]
}
