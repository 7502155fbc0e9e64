// SPDX-License-Identifier: MPL-2.0
//! Sound that is to be spoken: files decoded, raw sound converted, texts cut into sentences.

use std::path::Path;

use anyhow::Result;
use rubato::{
    Async, FixedAsync, Resampler as _, SincInterpolationParameters, SincInterpolationType, WindowFunction,
    audioadapter_buffers::direct::InterleavedSlice,
};

use super::failure::{Failure, Outcome};
use crate::media::Reader;

/// Samples a second of what sessions are given: that of Opus, so that nothing is resampled afterwards. One channel, S16LE.
pub const RATE: u32 = 48_000;
const BYTES_A_SECOND: usize = 2 * RATE as usize;

const REMEDY: &str = "Send speech in a format that GStreamer can play";

/// Characters that a sentence has at least before it is spoken by itself: shorter ones are spoken together, and the dot of an
/// abbreviation is mostly no end.
const SHORT: usize = 60;

/// Samples that the filter of a resampler takes into account: speech needs no more.
const SINC_LENGTH: usize = 128;

/// Seconds of raw sound.
pub fn seconds(bytes: usize) -> f64 {
    bytes as f64 / BYTES_A_SECOND as f64
}

/// Decodes a file of at most so many seconds; none where it is not wanted any more.
///
/// # Errors
/// Where it holds no sound, too much of it, or cannot be decoded.
pub fn decode(file: &Path, max_seconds: u16, is_wanted: impl Fn() -> bool) -> Outcome<Option<Vec<u8>>> {
    let line = format!(
        "uridecodebin name=source caps=audio/x-raw expose-all-streams=false audioconvert name=convert ! audioresample ! \
         audio/x-raw,format=S16LE,layout=interleaved,rate={RATE},channels=1 ! appsink name=sink sync=false"
    );
    let open = || -> Result<_> {
        let mut reader = Reader::open(&line, file, REMEDY)?;
        let sound = reader.collect_sound("sink")?;
        let convert = reader.element("convert")?;
        reader.link(&[("audio", convert)])?;
        reader.start();
        Ok((reader, sound))
    };
    // Nobody knows the name of a temporary file.
    let name = format!("{}: ", file.display());
    let nameless = |error: anyhow::Error| {
        let sentence = format!("{error:#}");
        Failure::unusable(match sentence.strip_prefix(&name) {
            Some(problem) => format!("the file {problem}"),
            None => format!("the file cannot be read: {}. {REMEDY}", sentence.trim_end_matches(['.', ' '])),
        })
    };
    let (mut reader, sound) = open().map_err(nameless)?;
    loop {
        let ended = reader.has_ended().map_err(nameless)?;
        if sound.len() > usize::from(max_seconds) * BYTES_A_SECOND {
            return Err(Failure::new(
                axum::http::StatusCode::PAYLOAD_TOO_LARGE,
                format!(
                    "the file has more than {max_seconds} s of sound. Cut it, or start with a larger --max-sound"
                ),
            ));
        }
        if ended {
            break;
        }
        if !is_wanted() {
            return Ok(None);
        }
    }
    match sound.take() {
        empty if empty.is_empty() => Err(Failure::unusable(format!("the file holds no sound. {REMEDY}"))),
        sound => Ok(Some(sound)),
    }
}

/// Converts raw S16LE sound of another rate, piece by piece. What a filter holds back, 3 ms at 48 kHz, is not asked for.
pub struct Converter {
    channels: usize,
    resampler: Option<Async<f32>>,
    /// Bytes of a sample that is not complete.
    rest: Vec<u8>,
    /// Samples that do not fill a block.
    block: Vec<f32>,
}

impl Converter {
    /// # Errors
    /// Where rate or channels are not possible.
    pub fn new(rate: u32, channels: u32) -> Outcome<Self> {
        if !(8_000..=192_000).contains(&rate) {
            return Err(Failure::bad(format!("rate={rate}: a rate is 8000 to 192000 samples a second")));
        }
        if !(1..=2).contains(&channels) {
            return Err(Failure::bad(format!("channels={channels}: there may be 1 or 2")));
        }
        let parameters = SincInterpolationParameters {
            sinc_len: SINC_LENGTH,
            f_cutoff: None,
            oversampling_factor: 256,
            interpolation: SincInterpolationType::Linear,
            window: WindowFunction::BlackmanHarris2,
        };
        let resampler = (rate != RATE).then(|| {
            let block = rate as usize / 200;
            Async::new_sinc(f64::from(RATE) / f64::from(rate), 1.0, &parameters, block, 1, FixedAsync::Input)
        });
        let resampler = resampler.transpose().map_err(Failure::ours)?;
        Ok(Self { channels: channels as usize, resampler, rest: Vec::new(), block: Vec::new() })
    }

    /// Converts what came; returns what is complete.
    ///
    /// # Errors
    /// Where it cannot be resampled.
    pub fn convert(&mut self, bytes: &[u8]) -> Outcome<Vec<u8>> {
        let mut all = std::mem::take(&mut self.rest);
        all.extend_from_slice(bytes);
        let frame = 2 * self.channels;
        self.rest = all.split_off(all.len() / frame * frame);
        let Some(resampler) = self.resampler.as_mut() else { return Ok(mono(&all, self.channels)) };
        let mut converted = Vec::new();
        let mut made = vec![0.0; resampler.output_frames_max()];
        for sample in mono(&all, self.channels).as_chunks::<2>().0 {
            self.block.push(f32::from(i16::from_le_bytes(*sample)));
            if self.block.len() < resampler.input_frames_next() {
                continue;
            }
            let frames = made.len();
            let input = InterleavedSlice::new(&self.block, 1, self.block.len()).map_err(Failure::ours)?;
            let mut output = InterleavedSlice::new_mut(&mut made, 1, frames).map_err(Failure::ours)?;
            let (_, count) =
                resampler.process_into_buffer(&input, &mut output, None).map_err(Failure::ours)?;
            converted.extend(made[..count].iter().flat_map(|sample| (sample.round() as i16).to_le_bytes()));
            self.block.clear();
        }
        Ok(converted)
    }
}

/// The mean of the channels.
fn mono(bytes: &[u8], channels: usize) -> Vec<u8> {
    if channels == 1 {
        return bytes.to_vec();
    }
    let frames = bytes.as_chunks::<4>().0.iter();
    let sample = |low, high| i32::from(i16::from_le_bytes([low, high]));
    frames.flat_map(|&[a, b, c, d]| (((sample(a, b) + sample(c, d)) / 2) as i16).to_le_bytes()).collect()
}

/// Cuts a text into parts that are spoken one after the other, so that the first is heard soon.
pub fn sentences(text: &str) -> Vec<String> {
    let mut parts = Vec::new();
    let mut part = String::new();
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        part.push(character);
        let wide = matches!(character, '。' | '！' | '？');
        let end = matches!(character, '.' | '!' | '?' | ';' | ':' | '\n')
            && characters.peek().is_none_or(|next| next.is_whitespace());
        if (wide || end) && part.chars().count() >= SHORT {
            parts.push(std::mem::take(&mut part));
        }
    }
    parts.push(part);
    parts.iter().map(|part| part.trim().to_string()).filter(|part| !part.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_after_sentences() {
        let long = "This sentence is long enough to be spoken all by itself, as it should. ";
        assert_eq!(sentences("  "), [""; 0]);
        assert_eq!(sentences("Hello. World."), ["Hello. World."]);
        assert_eq!(sentences(&format!("{long}Version 1.5 is out.")), [long.trim(), "Version 1.5 is out."]);
        assert_eq!(sentences(&long.repeat(3)).len(), 3);
        assert_eq!(sentences(&"é".repeat(200)).len(), 1);
    }

    #[test]
    fn sound_of_another_rate_is_converted_whole() {
        let mut converter = Converter::new(16_000, 2).unwrap();
        let mut came = 0;
        // Pieces that end within a sample.
        for piece in vec![0; 4 * 16_000].chunks(333) {
            came += converter.convert(piece).unwrap().len();
        }
        let missing = (2 * RATE as usize).abs_diff(came);
        assert!(missing < 2 * RATE as usize / 100, "{missing}");
        assert!(Converter::new(7_999, 1).is_err());
        assert!(Converter::new(48_000, 3).is_err());
    }
}
