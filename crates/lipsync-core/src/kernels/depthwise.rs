// SPDX-License-Identifier: MPL-2.0
//! 3 x 3 depthwise convolutions.
//!
//! Each lane multiplies a quad: here a column of the window (three rows) and one zero, so that a window takes three
//! products.

use super::conv::{channel_of_lane, requantize};
use super::isa::Isa;
use super::memory::AlignedVec;
use super::simd::{QUAD, Simd, array};
use super::{QuantConv, QuantParams};

/// Registers of a group of channels.
const REGISTERS: usize = 4;
/// Columns of the window, and quads of a group.
const COLUMNS: usize = 3;
/// A depthwise convolution, packed for the kernel in groups of four registers of channels.
pub struct Depthwise {
    groups: Vec<Group>,
    channels: usize,
    stride: usize,
    output: QuantParams,
}

struct Group {
    /// `[column][register][lane][row]`; the fourth row is zero.
    weights: AlignedVec<i8>,
    /// `[register][lane]`
    bias: AlignedVec<i32>,
    /// `[register][lane]`
    scale: AlignedVec<f32>,
    /// Whether the products of two bytes may exceed 16 bits.
    is_wide: bool,
}

/// The three input rows of a window: `width + 2` pixels each, of which the first and the last are padding.
pub type InputRows<'a> = [&'a [u8]; 3];

/// A group's weights, biases and scales, loaded into registers.
struct GroupRegisters<S: Simd> {
    weights: [[S::Ints; REGISTERS]; COLUMNS],
    bias: [S::Ints; REGISTERS],
    scale: [S::Floats; REGISTERS],
}

/// Bytes that the registers of a group hold: the channels of one pixel, or of several where there are fewer.
fn group_bytes(isa: Isa) -> usize {
    REGISTERS * isa.lanes()
}

/// The number of channels that the kernel computes for a layer of `channels`: padded to full groups, or to a part
/// of one that several pixels share.
pub fn padded_channels(channels: usize, stride: usize, isa: Isa) -> usize {
    let group = group_bytes(isa);
    let part = channels.next_multiple_of(16).next_power_of_two();
    if stride == 1 && part < group { part } else { channels.next_multiple_of(group) }
}

/// Bytes after the end of a row that may be read and written.
pub const TAIL_PADDING: usize = 64;

impl Depthwise {
    /// `input` are the parameters of the input; the padding is filled with its zero point.
    pub fn new(layer: &QuantConv, input: QuantParams, stride: usize, isa: Isa) -> Self {
        let lanes = isa.lanes();
        let channels = padded_channels(layer.output_channels(), stride, isa);
        let group = |first: usize| {
            let group: Vec<usize> = (0..group_bytes(isa))
                .map(|n| first + channel_of_lane([REGISTERS, lanes], n / lanes, n % lanes) % channels)
                .collect();
            let quad = |channel: usize, column: usize| -> [i8; QUAD] {
                let weight = |row: usize| layer.weights.get(9 * channel + 3 * row + column).copied();
                std::array::from_fn(|row| if row == 3 { 0 } else { weight(row).unwrap_or(0) })
            };
            let columns = (0..COLUMNS).flat_map(|column| group.iter().map(move |n| quad(*n, column)));
            let quads: Vec<[i8; QUAD]> = columns.collect();
            let bias: Vec<i32> = group.iter().map(|n| layer.folded_bias(*n, input.zero_point, isa)).collect();
            let scale: Vec<f32> = group.iter().map(|n| layer.requant_scale(*n)).collect();
            let is_wide = |quad: &[i8; QUAD]| {
                let [top, middle, ..] = quad.map(i32::from);
                let largest = i32::from(input.max);
                let positive = (top.max(0) + middle.max(0)) * largest;
                let negative = (top.min(0) + middle.min(0)) * largest;
                positive > i16::MAX.into() || negative < i16::MIN.into()
            };
            Group {
                weights: AlignedVec::of(quads.as_flattened()),
                bias: AlignedVec::of(&bias),
                scale: AlignedVec::of(&scale),
                is_wide: isa.sums_in_16_bits() && quads.iter().any(is_wide),
            }
        };
        let groups = (0..channels).step_by(group_bytes(isa)).map(group).collect();
        Self { groups, channels, stride, output: layer.output }
    }

    /// Channels, including padding.
    pub fn output_channels(&self) -> usize {
        self.channels
    }

    /// Computes one output row of `width` pixels. Input rows and `to` must have [`TAIL_PADDING`] bytes after their
    /// end.
    ///
    /// # Safety
    /// The processor has the instruction set `S`, for which the weights were packed.
    #[inline(always)]
    pub unsafe fn run<S: Simd>(&self, from: InputRows<'_>, to: &mut [u8], width: usize) {
        for (n, group) in self.groups.iter().enumerate() {
            // SAFETY: the caller's promise.
            unsafe {
                if group.is_wide {
                    self.run_group::<S, true>(n, from, to, width);
                } else {
                    self.run_group::<S, false>(n, from, to, width);
                }
            }
        }
    }

    /// # Safety
    /// As [`Self::run`].
    #[inline(always)]
    unsafe fn run_group<S: Simd, const WIDE: bool>(
        &self,
        n: usize,
        from: InputRows<'_>,
        to: &mut [u8],
        width: usize,
    ) {
        let bytes = REGISTERS * S::LANES;
        let at = |x: usize| n * bytes + x * self.channels;
        // One bounds check for all loads and stores of the row.
        let last_window = at(self.stride * (width - 1) + COLUMNS - 1) + bytes;
        assert!(from.iter().all(|row| row.len() >= last_window) && to.len() >= at(width - 1) + bytes);
        let to = to.as_mut_ptr();
        // SAFETY: the caller's promise; places are in bounds, as asserted.
        unsafe {
            let group = self.groups[n].load::<S>();
            if self.channels < bytes {
                // The registers hold several pixels: the columns of the window overlap in memory.
                for place in (0..width * self.channels).step_by(bytes) {
                    let columns = array!(c < COLUMNS => column::<S>(from, place + c * self.channels));
                    self.store::<S, WIDE>(&group, &columns, to.add(place));
                }
            } else if self.stride == 1 {
                let (mut left, mut middle) = (column::<S>(from, at(0)), column::<S>(from, at(1)));
                for x in 0..width {
                    let right = column::<S>(from, at(x + 2));
                    self.store::<S, WIDE>(&group, &[left, middle, right], to.add(at(x)));
                    (left, middle) = (middle, right);
                }
            } else {
                for x in 0..width {
                    let columns = array!(c < COLUMNS => column::<S>(from, at(self.stride * x + c)));
                    self.store::<S, WIDE>(&group, &columns, to.add(at(x)));
                }
            }
        }
    }

    /// Computes the window of these columns.
    ///
    /// # Safety
    /// The processor has the instruction set `S`; `to` has room for four registers of bytes.
    #[inline(always)]
    unsafe fn store<S: Simd, const WIDE: bool>(
        &self,
        group: &GroupRegisters<S>,
        columns: &[[S::Ints; REGISTERS]; COLUMNS],
        to: *mut u8,
    ) {
        let mut sums = group.bias;
        // SAFETY: the caller's promise.
        unsafe {
            for (column, weights) in columns.iter().zip(&group.weights) {
                for r in 0..REGISTERS {
                    sums[r] = S::dot::<WIDE>(sums[r], column[r], weights[r]);
                }
            }
            let values = requantize::<S, REGISTERS>(&sums, &group.scale);
            S::narrow(to, values, self.output.zero_point, self.output.max);
        }
    }
}

/// The quads of a column of the window, from place `place` in each row on.
///
/// # Safety
/// The processor has the instruction set `S`; the rows have four registers of bytes there.
#[inline(always)]
unsafe fn column<S: Simd>(rows: InputRows<'_>, place: usize) -> [S::Ints; REGISTERS] {
    // SAFETY: the caller's promise.
    unsafe { S::interleave(array!(n < 3 => rows[n].as_ptr().add(place))) }
}

impl Group {
    /// # Safety
    /// The processor has the instruction set `S`, for which the weights were packed.
    #[inline(always)]
    unsafe fn load<S: Simd>(&self) -> GroupRegisters<S> {
        let (registers, lanes) = (REGISTERS * S::LANES, S::LANES);
        assert!(self.weights.len() == COLUMNS * registers * QUAD);
        assert!(self.bias.len() == registers && self.scale.len() == registers);
        // SAFETY: lengths were asserted.
        unsafe {
            let weights = self.weights.as_ptr();
            GroupRegisters {
                weights: array!(c < COLUMNS => array!(r < REGISTERS => {
                    S::load_ints(weights.add((c * registers + r * lanes) * QUAD).cast())
                })),
                bias: array!(r < REGISTERS => S::load_ints(self.bias.as_ptr().add(r * lanes))),
                scale: array!(r < REGISTERS => S::load_floats(self.scale.as_ptr().add(r * lanes))),
            }
        }
    }
}
