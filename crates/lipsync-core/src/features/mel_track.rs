// SPDX-License-Identifier: MPL-2.0
//! The mel frames of a stream that are still needed.

use std::collections::VecDeque;

use super::{MelWindows, WINDOW};
use crate::audio::mel::{BANDS, HOP, MAX_VALUE, MelFrame, MelSpectrogram, N_FFT};
use crate::rate::FrameRate;

/// Audio that a window needs after its own time, in samples at 16 kHz.
pub const LOOKAHEAD: u64 = ((WINDOW - 1) * HOP + N_FFT / 2) as u64;

/// Mel frames for each row: 80 a second over 25 a second.
const MEL_PER_ROW: (i64, i64) = (16, 5);

/// Mel frames on a grid from `first` on; older ones are no longer needed.
///
/// All positions are in steps of the grid, of which there are [`MelWindows::steps`] from a frame of a window to the next.
pub struct MelTrack {
    steps: usize,
    spectrogram: MelSpectrogram,
    frames: VecDeque<MelFrame>,
    first: u64,
    finished: bool,
}

impl MelTrack {
    /// A track for those windows.
    pub fn new(windows: MelWindows) -> Self {
        let steps = windows.steps();
        Self {
            steps,
            spectrogram: MelSpectrogram::with_hop(HOP / steps),
            frames: VecDeque::new(),
            first: 0,
            finished: false,
        }
    }

    /// Steps from the first frame of a window to behind its `frames`th.
    pub fn reach(&self, frames: usize) -> u64 {
        ((frames - 1) * self.steps + 1) as u64
    }

    /// Adds samples at 16 kHz.
    pub fn push(&mut self, mono: &[f32]) {
        let frames = &mut self.frames;
        self.spectrogram.push(mono, |frame| frames.push_back(frame));
    }

    /// Ends the audio; audio shorter than a window is padded with silence.
    pub fn finish(&mut self) {
        let frames = &mut self.frames;
        self.spectrogram.finish(|frame| frames.push_back(frame));
        let window = self.reach(WINDOW);
        while self.known() < window {
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

    /// Number of steps so far.
    fn known(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    /// Number of mel frames, [`HOP`] samples apart, once the audio has ended.
    pub fn mel_frames(&self) -> Option<u64> {
        self.finished.then(|| (self.known() - 1) / self.steps as u64 + 1)
    }

    /// The start of the window at the time `rows / den`, in rows of 40 ms.
    ///
    /// At the end, windows are clamped to the audio.
    pub fn window_start(&self, rows: i64, den: i64) -> u64 {
        let start = (rows * MEL_PER_ROW.0 * self.steps as i64 / (den * MEL_PER_ROW.1)) as u64;
        if self.finished { start.min(self.known() - self.reach(WINDOW)) } else { start }
    }

    /// Whether the first `frames` frames of the window at `start` are known.
    pub fn has(&self, start: u64, frames: usize) -> bool {
        start + self.reach(frames) <= self.known()
    }

    /// Drops what is before the window at `start`. The last window is kept, since later windows may be
    /// clamped to it.
    pub fn forget_before(&mut self, start: u64) {
        let start = start.min(self.known().saturating_sub(self.reach(WINDOW)));
        let passed = start.saturating_sub(self.first);
        self.frames.drain(..passed as usize);
        self.first += passed;
    }

    /// Writes the window that starts at `start` as 80 bands of 16 values. Its first `known` frames
    /// must be there; the last of them is repeated for the others.
    pub fn write_window(&self, start: u64, known: usize, values: &mut [f32]) {
        let index = (start - self.first) as usize;
        for t in 0..WINDOW {
            for (band, value) in self.frames[index + t.min(known - 1) * self.steps].iter().enumerate() {
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
