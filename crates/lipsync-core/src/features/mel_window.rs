// SPDX-License-Identifier: MPL-2.0
//! Audio contexts that are a window of the mel spectrogram, for networks of the Wav2Lip family.
//!
//! The window of frame `i` starts at mel frame `floor(3.2 i)`, clamped to the last 16. At other frame rates
//! it starts at the frame's own time. With exact [`MelWindows`] it starts at `3.2 i`.

use super::mel_track::{self, MelTrack, time_in_rows};
use super::{Context, FeatureTrack, MelWindows, WINDOW};
use crate::audio::mel::{BANDS, HOP};
use crate::error::Result;
use crate::inference::network::Interrupter;
use crate::rate::FrameRate;

/// A [`FeatureTrack`] without an encoder.
pub struct MelWindowTrack {
    mel: MelTrack,
    rate: FrameRate,
    /// Mel frames of a window to wait for; the last of them is repeated for the others.
    known: usize,
}

impl MelWindowTrack {
    /// A track with a lookahead of at most `limit` samples at 16 kHz.
    pub fn new(windows: MelWindows, limit: u64) -> Self {
        let missing = mel_track::LOOKAHEAD.saturating_sub(limit).div_ceil(HOP as u64);
        let known = (WINDOW as u64).saturating_sub(missing).max(1) as usize;
        Self { mel: MelTrack::new(windows), rate: FrameRate::NATIVE, known }
    }
}

impl FeatureTrack for MelWindowTrack {
    fn push(&mut self, mono: &[f32]) {
        self.mel.push(mono);
    }

    fn finish(&mut self) {
        self.mel.finish();
    }

    fn context(&mut self, n: u64) -> Result<Option<Context>> {
        let (rows, den) = time_in_rows(n, self.rate);
        let start = self.mel.window_start(rows, den);
        if !self.mel.has(start, self.known) {
            return Ok(None);
        }
        self.mel.forget_before(start);
        let mut context = Context::zeros(BANDS * WINDOW);
        self.mel.write_window(start, self.known, &mut context);
        Ok(Some(context))
    }

    fn lookahead(&self) -> u64 {
        mel_track::LOOKAHEAD - ((WINDOW - self.known) * HOP) as u64
    }

    fn restart(&mut self, rate: FrameRate) {
        self.rate = rate;
        self.mel.reset();
    }

    fn interrupter(&self) -> Option<Interrupter> {
        None
    }
}
