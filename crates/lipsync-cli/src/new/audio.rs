//! The sound of a data set: 16 kHz mono, as long as its frames.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};

use super::segment::RATE;

const SAMPLE_RATE: usize = 16_000;

/// Frames that may lie after the end of the sound: encoders cut some off. They are given silence.
const MAX_MISSING_SOUND: usize = RATE / 2;

/// The loudest sample of what counts as silence: 60 dB below the loudest there is.
const SILENCE_PEAK: u16 = 32;

/// Samples that belong to so many frames.
pub fn samples_of(frames: usize) -> usize {
    frames * SAMPLE_RATE / RATE
}

/// Their bytes as GStreamer delivers them.
pub fn bytes_of(frames: usize) -> usize {
    2 * samples_of(frames)
}

/// The samples in bytes that GStreamer has delivered.
pub fn samples(bytes: &[u8]) -> Vec<i16> {
    bytes.as_chunks::<2>().0.iter().map(|bytes| i16::from_le_bytes(*bytes)).collect()
}

/// How many of `frames` have sound.
pub fn frames_with_sound(samples: &[i16], frames: usize) -> usize {
    frames.min(samples.len() / samples_of(1) + MAX_MISSING_SOUND)
}

/// Whether nothing is to be heard, as of a muted microphone.
pub fn is_silent(samples: &[i16]) -> bool {
    samples.iter().all(|sample| sample.unsigned_abs() < SILENCE_PEAK)
}

/// Writes the sound of some frames as a WAV file.
pub fn write(path: &Path, samples: &[i16], frames: &Range<usize>) -> Result<()> {
    let range = samples_of(frames.start)..samples_of(frames.end);
    let bytes = 2 * range.len() as u32;
    let mut file = Vec::with_capacity(44 + bytes as usize);
    file.extend(b"RIFF");
    file.extend((36 + bytes).to_le_bytes());
    // 16 bytes of format: PCM (1), one channel, rate, bytes a second, bytes and bits a sample.
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend((SAMPLE_RATE as u32).to_le_bytes());
    file.extend((2 * SAMPLE_RATE as u32).to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend(bytes.to_le_bytes());
    file.extend(range.flat_map(|n| samples.get(n).copied().unwrap_or(0).to_le_bytes()));
    std::fs::write(path, file).with_context(|| format!("{}: cannot be written", path.display()))
}
