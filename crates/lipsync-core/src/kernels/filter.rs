//! 3 x 3 convolutions of every channel by itself.
//!
//! One instruction multiplies four bytes of a lane: here the three of a column, and one that counts for nothing. A filter is three
//! of these.

use core::arch::x86_64::*;

use super::Layer;
use super::pointwise::{channel_of, rounded, store};

/// Bytes in a register: channels of one pixel, or of several pixels where there are fewer channels.
const REGISTER: usize = 64;

/// The weights of a layer in the order in which registers take them, for groups of 64 channels.
pub struct Filter {
    groups: Vec<Group>,
    channels: usize,
    stride: usize,
    zero: u8,
}

struct Group {
    /// `[column][register][lane][row]`, of which the fourth is zero
    weights: [[[i8; REGISTER]; 4]; 3],
    bias: [[i32; 16]; 4],
    scale: [[f32; 16]; 4],
}

/// Three rows that go in: `width + 2` pixels each, the first and the last of which are the border.
pub type Window<'a> = [&'a [u8]; 3];

/// A group's numbers in registers.
struct Loaded {
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

impl Filter {
    /// `zero` is that of the input's grid, which borders are made of.
    pub fn new(layer: &Layer, zero: u8, stride: usize) -> Self {
        let channels = padded_channels(layer.channels(), stride);
        let group = |first: usize| {
            let channel = |register, lane| first + channel_of(4, register, lane) % channels;
            let weights = |register: usize, column: usize| {
                std::array::from_fn(|byte| {
                    let (lane, row) = (byte / 4, byte % 4);
                    let place = 9 * channel(register, lane) + 3 * row + column;
                    if row == 3 { 0 } else { layer.weights.get(place).copied().unwrap_or(0) }
                })
            };
            let bias = |channel: usize| layer.bias_of_bytes(channel, zero);
            let scale = |channel: usize| layer.steps_of(channel);
            Group {
                weights: std::array::from_fn(|column| std::array::from_fn(|r| weights(r, column))),
                bias: std::array::from_fn(|r| std::array::from_fn(|lane| bias(channel(r, lane)))),
                scale: std::array::from_fn(|r| std::array::from_fn(|lane| scale(channel(r, lane)))),
            }
        };
        let groups = (0..channels).step_by(REGISTER).map(group).collect();
        Self { groups, channels, stride, zero: layer.output.zero }
    }

    /// Channels that go in and come out.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Computes a row of so many pixels. The rows that go in, and `to`, have up to [`SLACK`] bytes behind them.
    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    pub fn run(&self, from: Window<'_>, to: &mut [u8], width: usize) {
        match (self.channels < REGISTER, self.stride) {
            (true, _) => self.several_pixels(from, to, width),
            (false, 1) => self.every_pixel(from, to, width),
            (false, _) => self.every_other(from, to, width),
        }
    }

    /// Registers hold several pixels: those beside them are in others, that overlap.
    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    fn several_pixels(&self, from: Window<'_>, to: &mut [u8], width: usize) {
        let group = self.groups[0].load();
        for place in (0..width * self.channels).step_by(REGISTER) {
            let columns = std::array::from_fn(|column| column_at(from, place + column * self.channels));
            group.finish(columns, &mut to[place..][..REGISTER], self.zero);
        }
    }

    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    fn every_pixel(&self, from: Window<'_>, to: &mut [u8], width: usize) {
        for (n, group) in self.groups.iter().enumerate() {
            let group = group.load();
            let at = |x: usize| n * REGISTER + x * self.channels;
            let mut left = column_at(from, at(0));
            let mut middle = column_at(from, at(1));
            for x in 0..width {
                let right = column_at(from, at(x + 2));
                group.finish([left, middle, right], &mut to[at(x)..][..REGISTER], self.zero);
                (left, middle) = (middle, right);
            }
        }
    }

    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    fn every_other(&self, from: Window<'_>, to: &mut [u8], width: usize) {
        for (n, group) in self.groups.iter().enumerate() {
            let group = group.load();
            let at = |x: usize| n * REGISTER + x * self.channels;
            for x in 0..width {
                let columns = std::array::from_fn(|column| column_at(from, at(self.stride * x + column)));
                group.finish(columns, &mut to[at(x)..][..REGISTER], self.zero);
            }
        }
    }
}

/// Bytes behind rows that may be read and written.
pub const SLACK: usize = REGISTER;

impl Group {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl")]
    fn load(&self) -> Loaded {
        // SAFETY: each of the arrays is as large as a register.
        unsafe {
            let register = |bytes: &[i8; REGISTER]| _mm512_loadu_si512(bytes.as_ptr().cast());
            Loaded {
                weights: std::array::from_fn(|c| std::array::from_fn(|r| register(&self.weights[c][r]))),
                bias: std::array::from_fn(|r| _mm512_loadu_si512(self.bias[r].as_ptr().cast())),
                scale: std::array::from_fn(|r| _mm512_loadu_ps(self.scale[r].as_ptr())),
            }
        }
    }
}

impl Loaded {
    #[inline]
    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    fn finish(&self, columns: [[__m512i; 4]; 3], to: &mut [u8], zero: u8) {
        let mut sums = self.bias;
        for (column, weights) in columns.iter().zip(&self.weights) {
            for r in 0..4 {
                sums[r] = _mm512_dpbusd_epi32(sums[r], column[r], weights[r]);
            }
        }
        store(to, rounded(&sums, &self.scale), zero);
    }
}

/// Of 64 channels, the three bytes of a column side by side, in the order of [`channel_of`].
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn column_at(rows: Window<'_>, place: usize) -> [__m512i; 4] {
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
