// SPDX-License-Identifier: MPL-2.0
//! 3 x 3 depthwise convolutions.
//!
//! `vpdpbusd` adds the products of four bytes to a 32-bit lane. Here the four bytes are a column of the
//! window (three rows) and one zero, so a window takes three of these instructions.

use core::arch::x86_64::*;

use super::QuantConv;
use super::pointwise::{channel_of_lane, requantize, store_u8};

/// Bytes in a register: the channels of one pixel, or of several pixels where there are fewer than 64
/// channels.
const REGISTER: usize = 64;

/// A depthwise convolution, packed for the kernel in groups of 64 channels.
pub struct Depthwise {
    groups: Vec<Group>,
    channels: usize,
    stride: usize,
    zero_point: u8,
}

struct Group {
    /// `[column][register][lane][row]`; the fourth row is zero.
    weights: [[[i8; REGISTER]; 4]; 3],
    bias: [[i32; 16]; 4],
    scale: [[f32; 16]; 4],
}

/// The three input rows of a window: `width + 2` pixels each, of which the first and the last are padding.
pub type InputRows<'a> = [&'a [u8]; 3];

/// A group's weights, biases and scales, loaded into registers.
struct GroupRegisters {
    weights: [[__m512i; 4]; 3],
    bias: [__m512i; 4],
    scale: [__m512; 4],
}

/// The number of channels that the kernel computes for a layer of `channels`: padded to full registers.
pub fn padded_channels(channels: usize, stride: usize) -> usize {
    match channels {
        // A register holds several pixels.
        1..=16 if stride == 1 => 16,
        17..=32 if stride == 1 => 32,
        _ => channels.next_multiple_of(REGISTER),
    }
}

impl Depthwise {
    /// `zero_point` is that of the input; the padding is filled with it.
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

    /// Channels, including padding.
    pub fn output_channels(&self) -> usize {
        self.channels
    }

    /// Computes one output row of `width` pixels. Input rows and `to` must have [`TAIL_PADDING`] bytes after
    /// their end.
    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    pub fn run(&self, from: InputRows<'_>, to: &mut [u8], width: usize) {
        match (self.channels < REGISTER, self.stride) {
            (true, _) => self.run_several_pixels(from, to, width),
            (false, 1) => self.run_stride_1(from, to, width),
            (false, _) => self.run_strided(from, to, width),
        }
    }

    /// A register holds several pixels; the three columns of the window are loaded from overlapping offsets.
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

/// Bytes after the end of a row that may be read and written.
pub const TAIL_PADDING: usize = REGISTER;

impl Group {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl")]
    fn load(&self) -> GroupRegisters {
        // SAFETY: each array has the size of a register.
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

/// The three rows of one column interleaved for `vpdpbusd`, for 64 channels in the order of
/// [`channel_of_lane`].
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn load_column(rows: InputRows<'_>, place: usize) -> [__m512i; 4] {
    let [top, middle, bottom] = rows.map(|row| {
        let bytes = &row[place..][..REGISTER];
        // SAFETY: the slice has 64 bytes.
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
