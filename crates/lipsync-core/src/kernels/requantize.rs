// SPDX-License-Identifier: MPL-2.0
//! From one quantization to another.

use super::QuantParams;

/// The requantization of bytes, as a formula and as a table: some instruction sets are faster at the one, some at the
/// other.
pub struct Requantize {
    pub affine: Affine,
    /// The largest result.
    pub max: u8,
    pub table: [u8; 256],
}

impl Requantize {
    pub fn new(affine: Affine, max: u8) -> Self {
        Self { affine, max, table: std::array::from_fn(|byte| affine.requantize(byte as f32, max)) }
    }

    /// Requantizes bytes one by one.
    #[inline(always)]
    pub fn look_up(&self, from: &[u8], to: &mut [u8]) {
        for (from, to) in from.iter().zip(to) {
            *to = self.table[usize::from(*from)];
        }
    }
}

/// What requantizes a value without rounding it: `scale * value + offset`.
#[derive(Debug, Clone, Copy)]
pub struct Affine {
    pub scale: f32,
    pub offset: f32,
}

impl Affine {
    pub fn between(from: QuantParams, to: QuantParams) -> Self {
        let scale = from.scale / to.scale;
        Self { scale, offset: f32::from(to.zero_point) - scale * f32::from(from.zero_point) }
    }

    /// The requantized value, rounded half to even and clamped to `0..=max`.
    pub fn requantize(self, value: f32, max: u8) -> u8 {
        (self.scale.mul_add(value, self.offset).round_ties_even() as u8).min(max)
    }
}
