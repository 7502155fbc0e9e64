// SPDX-License-Identifier: MPL-2.0
//! Step 2: the mel spectrogram of 16 kHz mono, as SyncTalk_2D computes it.
//!
//! Pre-emphasis, a centred short-time Fourier transform with zero padding at both ends, Slaney mel filters
//! (those of `librosa.filters.mel`), decibels, and a scale of -4 to 4. Frame `t` is centred on sample `200
//! t`, so there are `1 + floor(samples / 200)` frames.

use std::collections::VecDeque;
use std::sync::Arc;

use realfft::num_complex::Complex32;
use realfft::{RealFftPlanner, RealToComplex};

use crate::audio::resample::SAMPLE_RATE;

/// Mel bands of a frame.
pub const BANDS: usize = 80;
/// Samples from one frame to the next: 12.5 ms.
pub(crate) const HOP: usize = 200;
/// FFT size: 50 ms.
pub(crate) const N_FFT: usize = 800;

const PRE_EMPHASIS: f32 = 0.97;
const MIN_HZ: f64 = 55.0;
const MAX_HZ: f64 = 7600.0;
const MIN_AMPLITUDE: f32 = 1e-5;
const REFERENCE_DB: f32 = 20.0;
const MIN_DB: f32 = -100.0;
/// Values lie in -`MAX_VALUE` to `MAX_VALUE`.
pub(crate) const MAX_VALUE: f32 = 4.0;

/// One mel frame, lowest band first, values in -4 to 4.
pub type MelFrame = [f32; BANDS];

/// A streaming mel spectrogram: a frame comes out as soon as its last sample is known.
pub struct MelSpectrogram {
    /// Samples from one frame to the next.
    hop: usize,
    fft: Arc<dyn RealToComplex<f32>>,
    window: Vec<f32>,
    filters: Vec<Band>,
    /// Pre-emphasized samples, from the start of the next frame's window on.
    samples: VecDeque<f32>,
    last: f32,
    taken: u64,
    frames: u64,
    windowed: Vec<f32>,
    spectrum: Vec<Complex32>,
    scratch: Vec<Complex32>,
}

/// A triangular filter whose weights start at FFT bin `first`.
struct Band {
    first: usize,
    weights: Vec<f32>,
}

impl Default for MelSpectrogram {
    fn default() -> Self {
        Self::with_hop(HOP)
    }
}

impl MelSpectrogram {
    /// A spectrogram whose frame `t` is centred on sample `hop * t`.
    pub(crate) fn with_hop(hop: usize) -> Self {
        let fft = RealFftPlanner::new().plan_fft_forward(N_FFT);
        let mut this = Self {
            hop,
            window: hann(),
            filters: mel_filters(),
            samples: VecDeque::new(),
            last: 0.0,
            taken: 0,
            frames: 0,
            windowed: fft.make_input_vec(),
            spectrum: fft.make_output_vec(),
            scratch: fft.make_scratch_vec(),
            fft,
        };
        this.reset();
        this
    }

    /// Drops all audio; the next sample is sample 0.
    pub fn reset(&mut self) {
        self.samples.clear();
        // Zero padding before the first sample, so that frame 0 is centred on it.
        self.samples.resize(N_FFT / 2, 0.0);
        self.last = 0.0;
        self.taken = 0;
        self.frames = 0;
    }

    /// Adds samples and hands each complete frame to `sink`, in order.
    pub fn push(&mut self, samples: &[f32], mut sink: impl FnMut(MelFrame)) {
        for &sample in samples {
            // y[0] = x[0]: the sample before the first is 0.
            self.samples.push_back(sample - PRE_EMPHASIS * self.last);
            self.last = sample;
            self.taken += 1;
            if self.samples.len() == N_FFT {
                sink(self.frame());
            }
        }
    }

    /// Ends the audio: pads with zeros and hands the remaining frames to `sink`.
    pub fn finish(&mut self, mut sink: impl FnMut(MelFrame)) {
        let total = 1 + self.taken / self.hop as u64;
        while self.frames < total {
            // Padding follows pre-emphasis, as in the reference, which pads the filtered signal.
            self.samples.resize(N_FFT, 0.0);
            sink(self.frame());
        }
    }

    /// Computes the frame whose window is full and advances by a hop.
    fn frame(&mut self) -> MelFrame {
        for ((out, sample), weight) in self.windowed.iter_mut().zip(&self.samples).zip(&self.window) {
            *out = sample * weight;
        }
        self.fft
            .process_with_scratch(&mut self.windowed, &mut self.spectrum, &mut self.scratch)
            .unwrap_or_else(|e| unreachable!("buffers come from the plan itself: {e}"));
        self.samples.drain(..self.hop);
        self.frames += 1;
        std::array::from_fn(|band| {
            let Band { first, weights } = &self.filters[band];
            let energy: f32 =
                weights.iter().zip(&self.spectrum[*first..]).map(|(weight, bin)| weight * bin.norm()).sum();
            let level = 20.0 * energy.max(MIN_AMPLITUDE).log10() - REFERENCE_DB;
            let scaled = 2.0 * MAX_VALUE * (level - MIN_DB) / -MIN_DB - MAX_VALUE;
            scaled.clamp(-MAX_VALUE, MAX_VALUE)
        })
    }
}

/// The periodic Hann window.
fn hann() -> Vec<f32> {
    (0..N_FFT)
        .map(|i| {
            let phase = std::f64::consts::TAU * i as f64 / N_FFT as f64;
            (0.5 - 0.5 * phase.cos()) as f32
        })
        .collect()
}

/// Slaney's triangular filters with area normalisation.
fn mel_filters() -> Vec<Band> {
    let (low, high) = (hz_to_mel(MIN_HZ), hz_to_mel(MAX_HZ));
    let edges: Vec<f64> =
        (0..BANDS + 2).map(|i| mel_to_hz(low + (high - low) * i as f64 / (BANDS + 1) as f64)).collect();
    edges
        .windows(3)
        .map(|edge| {
            let weight = |bin: usize| {
                let hz = bin as f64 * f64::from(SAMPLE_RATE) / N_FFT as f64;
                let rise = (hz - edge[0]) / (edge[1] - edge[0]);
                let fall = (edge[2] - hz) / (edge[2] - edge[1]);
                rise.min(fall).max(0.0) * 2.0 / (edge[2] - edge[0])
            };
            let bins = 0..=N_FFT / 2;
            let first = bins.clone().find(|&b| weight(b) > 0.0).unwrap_or(0);
            let weights = bins.skip(first).map(|b| weight(b) as f32).take_while(|&w| w > 0.0).collect();
            Band { first, weights }
        })
        .collect()
}

/// Slaney's mel scale: linear below 1 kHz, logarithmic above.
const LINEAR_HZ_PER_MEL: f64 = 200.0 / 3.0;
const LOG_START_HZ: f64 = 1000.0;
const LOG_START_MEL: f64 = LOG_START_HZ / LINEAR_HZ_PER_MEL;
/// Mels from 1 kHz to 6.4 kHz.
const MELS_PER_OCTAVES: f64 = 27.0;

fn hz_to_mel(hz: f64) -> f64 {
    if hz < LOG_START_HZ {
        hz / LINEAR_HZ_PER_MEL
    } else {
        LOG_START_MEL + (hz / LOG_START_HZ).ln() / 6.4_f64.ln() * MELS_PER_OCTAVES
    }
}

fn mel_to_hz(mel: f64) -> f64 {
    if mel < LOG_START_MEL {
        mel * LINEAR_HZ_PER_MEL
    } else {
        LOG_START_HZ * ((mel - LOG_START_MEL) / MELS_PER_OCTAVES * 6.4_f64.ln()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_frames_like_the_reference() {
        for samples in [0, 1, 199, 200, 399, 400, 799, 12_345] {
            let mut mel = MelSpectrogram::default();
            let mut frames = 0;
            mel.push(&vec![0.1; samples], |_| frames += 1);
            mel.finish(|_| frames += 1);
            assert_eq!(frames, 1 + samples / HOP, "{samples} samples");
        }
    }

    #[test]
    fn silence_is_the_lowest_value() {
        let mut mel = MelSpectrogram::default();
        mel.push(&[0.0; 2000], |frame| assert_eq!(frame, [-MAX_VALUE; BANDS]));
    }
}
