// SPDX-License-Identifier: MPL-2.0
//! Sound as the ledger counts it: what is to come out, and what has.

use lipsync_core::rate::{SECOND, mul_div};

/// How much has come out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Played {
    /// Sample frames.
    pub samples: u64,
    /// The rate of the last of them, in Hz.
    pub rate: u32,
    /// Those of that rate.
    at_rate: u64,
    /// How long those of other rates lasted.
    earlier: u64,
}

impl Played {
    /// Counts samples of that rate.
    pub fn add(&mut self, samples: u64, rate: u32) {
        if rate != self.rate {
            self.earlier = self.duration();
            (self.rate, self.at_rate) = (rate, 0);
        }
        self.samples += samples;
        self.at_rate += samples;
    }

    /// The same, of that rate where nothing has come out that would have one.
    pub fn or_rate(self, rate: u32) -> Self {
        Self { rate: if self.rate == 0 { rate } else { self.rate }, ..self }
    }

    /// How long it lasted, in nanoseconds.
    pub fn duration(&self) -> u64 {
        self.earlier + mul_div(self.at_rate, SECOND, self.rate.max(1).into())
    }
}

/// Some of the sound that came in: part of a piece that comes out at once.
#[derive(Debug, Clone, Copy)]
pub struct Stretch {
    /// When that piece begins.
    pub piece: u64,
    /// Sample frames of the piece before this.
    pub offset: u64,
    /// Sample frames.
    pub samples: u64,
    /// In Hz.
    pub rate: u32,
    /// Sample frames in a second of running time: the rate, unless it is played faster.
    pub pace: u32,
}

impl Stretch {
    /// When so many of its samples have come out.
    pub fn time_of(&self, sample: u64) -> u64 {
        self.piece + mul_div(self.offset + sample, SECOND, self.pace.max(1).into())
    }

    /// When all of them have.
    pub fn end(&self) -> u64 {
        self.time_of(self.samples)
    }

    /// How many of its samples come before that time.
    pub fn samples_before(&self, time: u64) -> u64 {
        let product = u128::from(time.saturating_sub(self.piece)) * u128::from(self.pace);
        (product.div_ceil(SECOND.into()) as u64).saturating_sub(self.offset).min(self.samples)
    }
    /// Leaves out its first samples.
    pub fn leave_out(&mut self, samples: u64) {
        self.offset += samples;
        self.samples -= samples;
    }
}
