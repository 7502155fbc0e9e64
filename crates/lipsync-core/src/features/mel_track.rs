// SPDX-License-Identifier: MPL-2.0
//! The mel frames of a stream that are still needed.

use std::collections::VecDeque;

use super::WINDOW;
use crate::audio::mel::{BANDS, HOP, MAX_VALUE, MelFrame, MelSpectrogram, N_FFT};
use crate::rate::FrameRate;

/// Audio that a window needs after its own time, in samples at 16 kHz.
pub const LOOKAHEAD: u64 = ((WINDOW - 1) * HOP + N_FFT / 2) as u64;

/// Mel frames for each row: 80 a second over 25 a second.
const MEL_PER_ROW: (i64, i64) = (16, 5);

/// Mel frames from `first` on; older ones are no longer needed.
#[derive(Default)]
pub struct MelTrack {
    spectrogram: MelSpectrogram,
    frames: VecDeque<MelFrame>,
    first: u64,
    finished: bool,
}

impl MelTrack {
    /// Adds samples at 16 kHz.
    pub fn push(&mut self, mono: &[f32]) {
        let frames = &mut self.frames;
        self.spectrogram.push(mono, |frame| frames.push_back(frame));
    }

    /// Ends the audio; audio shorter than a window is padded with silence.
    pub fn finish(&mut self) {
        let frames = &mut self.frames;
        self.spectrogram.finish(|frame| frames.push_back(frame));
        while self.first == 0 && self.frames.len() < WINDOW {
            self.frames.push_back([-MAX_VALUE; BANDS]);
        }
        self.finished = true;
    }

    /// Drops all audio.
    pub fn reset(&mut self) {
        self.spectrogram.reset();
        self.frames.clear();
        self.first = 0;
        self.finished = false;
    }

    /// Number of mel frames so far.
    pub fn known(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    /// Number of mel frames, once the audio has ended.
    pub fn total(&self) -> Option<u64> {
        self.finished.then(|| self.known())
    }

    /// The first mel frame of the window at the time `rows / den`, in rows of 40 ms.
    ///
    /// At the end, windows are clamped to the audio.
    pub fn window_start(&self, rows: i64, den: i64) -> u64 {
        let start = (rows * MEL_PER_ROW.0 / (den * MEL_PER_ROW.1)) as u64;
        match self.total() {
            Some(total) => start.min(total - WINDOW as u64),
            None => start,
        }
    }

    /// Whether all mel frames before `end` are known.
    pub fn has(&self, end: u64) -> bool {
        end <= self.known()
    }

    /// Drops what is before the window at `start`. The last window is kept, since later windows may be
    /// clamped to it.
    pub fn forget_before(&mut self, start: u64) {
        let start = start.min(self.known().saturating_sub(WINDOW as u64));
        let passed = start.saturating_sub(self.first);
        self.frames.drain(..passed as usize);
        self.first += passed;
    }

    /// Writes the window that starts at mel frame `start` as 80 bands of 16 values. Its first `known` frames
    /// must be there; the last of them is repeated for the others.
    pub fn write_window(&self, start: u64, known: usize, values: &mut [f32]) {
        let index = (start - self.first) as usize;
        for t in 0..WINDOW {
            for (band, value) in self.frames[index + t.min(known - 1)].iter().enumerate() {
                values[band * WINDOW + t] = *value;
            }
        }
    }
}

/// The time of frame `n` in rows of 40 ms, as a fraction: exact at any frame rate.
pub fn time_in_rows(n: u64, rate: FrameRate) -> (i64, i64) {
    let native = FrameRate::NATIVE;
    let num = i64::from(native.num()) * i64::from(rate.den());
    let den = i64::from(native.den()) * i64::from(rate.num());
    (n as i64 * num, den)
}
