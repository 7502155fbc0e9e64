// SPDX-License-Identifier: MPL-2.0
//! The audio of a data set: 16 kHz mono, as long as its frames.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};

use super::RATE;

const SAMPLE_RATE: usize = 16_000;

/// Frames that may lie after the end of the audio, since encoders cut some off. They get silence.
const MAX_MISSING_SOUND: usize = RATE / 2;

/// Peak below which audio counts as silence: 60 dB below full scale.
const SILENCE_PEAK: u16 = 32;

/// Samples for so many frames.
pub fn samples_of(frames: usize) -> usize {
    frames * SAMPLE_RATE / RATE
}

/// The samples in bytes from GStreamer.
pub fn samples(bytes: &[u8]) -> Vec<i16> {
    bytes.as_chunks::<2>().0.iter().map(|bytes| i16::from_le_bytes(*bytes)).collect()
}

/// How many of `frames` have audio.
pub fn frames_with_sound(samples: &[i16], frames: usize) -> usize {
    frames.min(samples.len() / samples_of(1) + MAX_MISSING_SOUND)
}

/// Whether the audio is silence, as from a muted microphone.
pub fn is_silent(samples: &[i16]) -> bool {
    samples.iter().all(|sample| sample.unsigned_abs() < SILENCE_PEAK)
}

/// Writes the audio of a range of frames as a WAV file.
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
    std::fs::write(path, file).with_context(|| format!("{}: cannot be written. Make room", path.display()))
}
