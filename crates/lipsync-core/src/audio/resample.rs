// SPDX-License-Identifier: MPL-2.0
//! Step 1: any interleaved float audio to the 16 kHz mono that the networks take.

use rubato::{
    Async, FixedAsync, Indexing, Resampler as _, SincInterpolationParameters, SincInterpolationType,
    WindowFunction, audioadapter_buffers::direct::InterleavedSlice,
};

use crate::error::{Error, Result};
use crate::limits::{CHANNELS, LEAST_RATE, RATE};
use crate::rate::mul_div;

/// Sample rate of everything after this step, in Hz.
pub const SAMPLE_RATE: u32 = 16_000;

/// Length of the windowed sinc on each side of a sample, in samples at 16 kHz (or of the input, if that is
/// slower): the transition band is as narrow as that of soxr's high quality, which librosa uses.
const HALF_SINC: usize = 128;

/// Converts interleaved audio of any rate and channel count to 16 kHz mono, aligned with the input: output
/// sample `n` is at input sample `n * rate / 16000`, since the filter's delay is trimmed.
///
/// The input is resampled in blocks of a fixed size, so the result does not depend on the size of the buffers
/// in which it arrives.
pub struct ToMono16k {
    rate: u32,
    weights: Vec<f32>,
    /// `None` at 16 kHz, where samples are passed through.
    resampler: Option<Sinc>,
    samples_in: u64,
}

/// The resampler, its input block, and the output samples that are still to be trimmed.
struct Sinc {
    inner: Async<f32>,
    block: Vec<f32>,
    out: Vec<f32>,
    trim: usize,
    samples_out: u64,
}

impl ToMono16k {
    /// A converter for audio of `rate` Hz with one channel per weight; mono is the weighted sum.
    ///
    /// # Errors
    /// As [`check_format`].
    pub fn new(rate: u32, weights: Vec<f32>) -> Result<Self> {
        check_format(rate, weights.len())?;
        let resampler = (rate != SAMPLE_RATE).then(|| Sinc::new(rate)).transpose()?;
        Ok(Self { rate, weights, resampler, samples_in: 0 })
    }

    /// The same converter, reset to before its first sample.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(crate) fn restarted(self) -> Result<Self> {
        Self::new(self.rate, self.weights)
    }

    /// Sample frames taken so far.
    pub(crate) fn samples_in(&self) -> u64 {
        self.samples_in
    }

    /// Sample rate of the input, in Hz.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// The longest time that a sample is delayed before it comes out, in nanoseconds.
    pub fn delay(rate: u32) -> u64 {
        if rate == SAMPLE_RATE {
            return 0;
        }
        let samples = half_sinc(rate) + block_len(rate);
        mul_div(samples as u64, crate::rate::SECOND, u64::from(rate))
    }

    /// Takes interleaved sample frames and appends 16 kHz mono to `out`.
    ///
    /// # Errors
    /// [`Error::Audio`] on a sample that is not a finite number, or a broken frame.
    pub fn push(&mut self, interleaved: &[f32], out: &mut Vec<f32>) -> Result<()> {
        let channels = self.weights.len();
        if !interleaved.len().is_multiple_of(channels) {
            return Err(Error::audio(
                format!("{} values do not make frames of {channels} channels", interleaved.len()),
                "Give whole sample frames",
            ));
        }
        for frame in interleaved.chunks_exact(channels) {
            let mono: f32 = frame.iter().zip(&self.weights).map(|(s, w)| s * w).sum();
            if !mono.is_finite() {
                return Err(Error::audio(
                    format!(
                        "sample {} ({:.3} s) is not a finite number ({mono})",
                        self.samples_in,
                        self.samples_in as f64 / f64::from(self.rate)
                    ),
                    "Repair the file, or convert it to an integer format first",
                ));
            }
            self.samples_in += 1;
            match &mut self.resampler {
                None => out.push(mono),
                Some(sinc) => sinc.push(mono, out)?,
            }
        }
        Ok(())
    }

    /// Takes `frames` sample frames of silence.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn push_silence(&mut self, frames: u64, out: &mut Vec<f32>) -> Result<()> {
        self.samples_in += frames;
        for _ in 0..frames {
            match &mut self.resampler {
                None => out.push(0.0),
                Some(sinc) => sinc.push(0.0, out)?,
            }
        }
        Ok(())
    }

    /// Flushes the resampler: afterwards `ceil(samples_in * 16000 / rate)` samples have come out.
    ///
    /// # Errors
    /// [`Error::Audio`] where the resampler fails.
    pub fn finish(&mut self, out: &mut Vec<f32>) -> Result<()> {
        let Some(sinc) = &mut self.resampler else {
            return Ok(());
        };
        let due =
            (u128::from(self.samples_in) * u128::from(SAMPLE_RATE)).div_ceil(u128::from(self.rate)) as u64;
        let start = out.len() as u64;
        let before = sinc.samples_out;
        while sinc.samples_out < due {
            sinc.run(out)?;
        }
        out.truncate((start + due.saturating_sub(before)) as usize);
        Ok(())
    }
}

/// Whether audio of `rate` Hz with so many channels is supported.
///
/// # Errors
/// [`Error::Audio`] where either is out of bounds ([`crate::limits`]): the filter for a rate of 1 GHz would
/// fill the memory.
pub fn check_format(rate: u32, channels: usize) -> Result<()> {
    if !(LEAST_RATE..=RATE).contains(&rate) {
        return Err(Error::audio(
            format!("its sample rate is {rate} Hz, not {LEAST_RATE} to {RATE}"),
            "Put audioresample in front, or repair the file",
        ));
    }
    if !(1..=CHANNELS as usize).contains(&channels) {
        return Err(Error::audio(
            format!("it has {channels} channels, not 1 to {CHANNELS}"),
            "Put audioconvert in front",
        ));
    }
    Ok(())
}

/// Input samples in a block: 5 ms, little beside the lookahead.
fn block_len(rate: u32) -> usize {
    (rate as usize / 200).max(16)
}

/// Length of the filter on each side of a sample, in input samples. The whole length must be a multiple of
/// eight.
fn half_sinc(rate: u32) -> usize {
    (HALF_SINC * rate.max(SAMPLE_RATE) as usize / SAMPLE_RATE as usize).next_multiple_of(4)
}

/// Greatest common divisor.
fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Sinc {
    fn new(rate: u32) -> Result<Self> {
        let half = half_sinc(rate);
        let parameters = SincInterpolationParameters {
            sinc_len: 2 * half,
            f_cutoff: None,
            oversampling_factor: 256,
            interpolation: SincInterpolationType::Linear,
            window: WindowFunction::BlackmanHarris2,
        };
        let inner = Async::new_sinc(
            f64::from(SAMPLE_RATE) / f64::from(rate),
            1.0,
            &parameters,
            block_len(rate),
            1,
            FixedAsync::Input,
        )
        .map_err(|e| {
            Error::audio(
                format!("{rate} Hz cannot be resampled to 16000 Hz: {e}"),
                "Put audioresample in front",
            )
        })?;
        // Silence in front makes the filter's delay a whole number of output samples, which are all trimmed:
        // no fraction of a sample remains.
        let period = (rate / gcd(rate, SAMPLE_RATE)) as usize;
        let delay = half.next_multiple_of(period);
        // The first output already lies one step after the filter's start.
        let trim = mul_div(delay as u64, SAMPLE_RATE.into(), rate.into()) as usize - 1;
        let out = vec![0.0; inner.output_frames_max()];
        let block = Vec::with_capacity(block_len(rate));
        let mut sinc = Self { inner, block, out, trim, samples_out: 0 };
        for _ in half..delay {
            sinc.push(0.0, &mut Vec::new())?;
        }
        Ok(sinc)
    }

    fn push(&mut self, sample: f32, out: &mut Vec<f32>) -> Result<()> {
        self.block.push(sample);
        if self.block.len() == self.inner.input_frames_next() {
            self.run(out)?;
        }
        Ok(())
    }

    /// Resamples the block, padded with silence where it is short, and clears it.
    fn run(&mut self, out: &mut Vec<f32>) -> Result<()> {
        let valid = self.block.len();
        self.block.resize(self.inner.input_frames_next(), 0.0);
        let failed = |e: &dyn std::fmt::Display| {
            Error::audio(format!("resampling failed: {e}"), "Put audioresample in front")
        };
        let frames_out = self.out.len();
        let input = InterleavedSlice::new(&self.block, 1, self.block.len()).map_err(|e| failed(&e))?;
        let mut output = InterleavedSlice::new_mut(&mut self.out, 1, frames_out).map_err(|e| failed(&e))?;
        let indexing = Indexing::new().partial_len(valid);
        let (_, made) =
            self.inner.process_into_buffer(&input, &mut output, Some(&indexing)).map_err(|e| failed(&e))?;
        let trimmed = self.trim.min(made);
        self.trim -= trimmed;
        out.extend_from_slice(&self.out[trimmed..made]);
        self.samples_out += (made - trimmed) as u64;
        self.block.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tone(rate: u32, hertz: f32, seconds: f32) -> Vec<f32> {
        (0..(rate as f32 * seconds) as usize)
            .map(|i| (std::f32::consts::TAU * hertz * i as f32 / rate as f32).sin() * 0.5)
            .collect()
    }

    fn convert(rate: u32, samples: &[f32], piece: usize) -> Vec<f32> {
        let mut converter = ToMono16k::new(rate, vec![1.0]).unwrap();
        let mut out = Vec::new();
        for piece in samples.chunks(piece) {
            converter.push(piece, &mut out).unwrap();
        }
        converter.finish(&mut out).unwrap();
        out
    }

    #[test]
    fn a_tone_keeps_its_place_at_every_rate() {
        for rate in [8_000, 11_025, 22_050, 24_000, 44_100, 48_000, 96_000, 192_000] {
            let out = convert(rate, &tone(rate, 440.0, 0.5), 1000);
            assert_eq!(out.len(), 8000, "{rate} Hz");
            let expected = tone(16_000, 440.0, 0.5);
            // The ends hold the filter's ringing at the edges to silence.
            let worst = (200..7800).map(|i| (out[i] - expected[i]).abs()).fold(0.0, f32::max);
            // A tenth of a sample off would be 0.0086 for this tone.
            assert!(worst < 0.001, "{rate} Hz: off by {worst}");
        }
    }

    #[test]
    fn pieces_of_any_size_give_the_same_samples() {
        let samples = tone(44_100, 300.0, 0.3);
        assert_eq!(convert(44_100, &samples, 1), convert(44_100, &samples, 8192));
    }

    #[test]
    fn formats_are_bounded() {
        for (rate, channels, wrong) in [
            (999, 1, Some("its sample rate is 999 Hz, not 1000 to 768000")),
            (1_000, 1, None),
            (768_000, 64, None),
            (767_999, 2, None),
            (768_001, 1, Some("its sample rate is 768001 Hz")),
            (u32::MAX, 1, Some("its sample rate is 4294967295 Hz")),
            (16_000, 0, Some("it has 0 channels, not 1 to 64")),
            (16_000, 65, Some("it has 65 channels")),
        ] {
            let error = ToMono16k::new(rate, vec![0.0; channels]).err().map(|error| error.to_string());
            match wrong {
                None => assert_eq!(error, None),
                Some(wrong) => assert!(error.as_ref().is_some_and(|e| e.contains(wrong)), "{error:?}"),
            }
        }
    }

    #[test]
    fn nan_is_refused_with_its_place() {
        let mut converter = ToMono16k::new(16_000, vec![1.0]).unwrap();
        let error = converter.push(&[0.0, f32::NAN], &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("sample 1"), "{error}");
    }
}
