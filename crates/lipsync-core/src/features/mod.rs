// SPDX-License-Identifier: MPL-2.0
//! Step 3: from audio to the generator's audio input for a video frame, its *context*.
//!
//! The shape of a generator's audio input tells its kind of context ([`AudioContextKind`]): rows of an
//! encoder over mel windows (`mel_rows`: SyncTalk_2D, digital-clone), rows of HuBERT (`hubert`: SyncTalk_2D,
//! Ultralight-Digital-Human), or the mel window itself (`mel_window`: the Wav2Lip family).

mod hubert;
mod mel_rows;
mod mel_track;
mod mel_window;

use std::path::Path;

pub use hubert::HubertSpan;
pub use mel_rows::{MAX_MEL_LOOKAHEAD, RowSelection};

use crate::audio::mel::BANDS;
use crate::audio::resample::SAMPLE_RATE;
use crate::error::{Error, Result};
use crate::inference::network::{Interrupter, TensorInfo};
use crate::inference::runtime::Engine;
use crate::picture::pool::Floats;
use crate::rate::FrameRate;

/// Mel frames in a window.
pub(crate) const WINDOW: usize = 16;

/// No limit on the lookahead.
pub const NO_LIMIT: u64 = i64::MAX as u64;

/// The audio input of a generator for one video frame, row-major.
pub type Context = Floats;

/// The kind of audio context that a generator takes, known by the shape of its audio input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub enum AudioContextKind {
    /// [32, 16, 16]: 16 rows of 512 values from a mel encoder.
    MelRows(RowSelection),
    /// HuBERT rows of 1024 values: [32, 32, 32] spans 16 video frames, [16, 32, 32] spans 8.
    Hubert(HubertSpan),
    /// [1, 80, 16]: a window of the mel spectrogram.
    MelWindow,
}

impl Default for AudioContextKind {
    fn default() -> Self {
        Self::MelRows(RowSelection::default())
    }
}

impl AudioContextKind {
    /// The kind for an audio input of that shape; `None` where it is not known.
    pub(crate) fn from_input(audio: &TensorInfo) -> Option<Self> {
        if audio.has_item_shape(&[1, BANDS, WINDOW]) {
            return Some(Self::MelWindow);
        }
        // The shape of rows may be anything: only the number of values counts.
        match audio.values()? {
            mel_rows::CONTEXT => Some(Self::default()),
            values => HubertSpan::of(values).map(Self::Hubert),
        }
    }

    /// The same kind with mel rows selected as `kind` says; `model` is the generator's file.
    ///
    /// # Errors
    /// [`Error::Invalid`] where a selection is given and the context has no mel rows.
    pub fn with_rows(self, kind: RowSelection, model: &Path) -> Result<Self> {
        match (self, kind) {
            (Self::MelRows(_), kind) => Ok(Self::MelRows(kind)),
            (kind, RowSelection::Window) => Ok(kind),
            (kind, RowSelection::Tile) => Err(Error::invalid(
                model,
                format!("takes {kind}, for which there is no context \"tile\""),
                "Set context to auto or window",
            )),
        }
    }

    /// Values in a context.
    pub fn values(self) -> usize {
        match self {
            Self::MelRows(_) => mel_rows::CONTEXT,
            Self::Hubert(span) => span.values(),
            Self::MelWindow => BANDS * WINDOW,
        }
    }
}

impl std::fmt::Display for AudioContextKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::MelRows(RowSelection::Window) => "rows of a mel encoder, 16 around the frame",
            Self::MelRows(RowSelection::Tile) => "the frame's own row of a mel encoder, 16 times",
            Self::Hubert(HubertSpan::Sixteen) => "rows of HuBERT for 16 frames",
            Self::Hubert(HubertSpan::Eight) => "rows of HuBERT for 8 frames",
            Self::MelWindow => "a window of the mel spectrogram",
        })
    }
}

/// Where mel windows start, and how many of them make a row.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MelWindows {
    /// On the mel frames, 12.5 ms apart, as SyncTalk_2D and Wav2Lip train: the audio of a frame is up to 10 ms early.
    #[default]
    MelFrames,
    /// Every 2.5 ms, which is exact for 25 and 50 frames per second.
    Exact,
    /// The same, and each row of an encoder is the mean of three windows 20 ms apart, the middle one counted twice: neighbouring
    /// frames at 50 or 60 frames per second then share most of what they hear.
    Averaged,
}

impl MelWindows {
    /// Steps of the grid on which windows start, from a mel frame to the next.
    const fn steps(self) -> usize {
        match self {
            Self::MelFrames => 1,
            Self::Exact | Self::Averaged => 5,
        }
    }
}

/// Turns a stream of audio into contexts.
///
/// Frames must be asked for in ascending order: what only earlier ones need is dropped.
pub trait FeatureTrack: Send {
    /// Adds samples at 16 kHz.
    fn push(&mut self, mono: &[f32]);

    /// Ends the audio.
    fn finish(&mut self);

    /// The context of video frame `n`, or `None` where more audio is needed first.
    ///
    /// # Errors
    /// [`Error::Inference`] from an encoder.
    fn context(&mut self, n: u64) -> Result<Option<Context>>;

    /// Goes past video frame `n` without its context. Returns false where that would need more audio first.
    ///
    /// # Errors
    /// As [`Self::context`].
    fn pass(&mut self, n: u64) -> Result<bool> {
        Ok(self.context(n)?.is_some())
    }

    /// Audio that a frame needs after its own time, in samples at 16 kHz.
    fn lookahead(&self) -> u64;

    /// Drops all audio and starts again for video of `rate`.
    fn restart(&mut self, rate: FrameRate);

    /// A handle that interrupts the encoder, where there is one.
    fn interrupter(&self) -> Option<Interrupter>;
}

/// The context in the middle of a long silence. The track is empty afterwards.
///
/// # Errors
/// [`Error::Inference`] from the encoder.
pub fn silence(track: &mut dyn FeatureTrack) -> Result<Context> {
    const BEFORE: u64 = 50;
    track.restart(FrameRate::NATIVE);
    let seconds = BEFORE as usize / FrameRate::NATIVE.num() as usize;
    track.push(&vec![0.0; seconds * SAMPLE_RATE as usize + track.lookahead() as usize]);
    let context = track.context(BEFORE);
    track.restart(FrameRate::NATIVE);
    context?.ok_or_else(|| unreachable!("the frame has all of its lookahead"))
}

/// Opens the track for a generator with contexts of `kind`; `encoder` is the file of the audio encoder,
/// `folder` the avatar's folder, for messages.
///
/// `limit` bounds the lookahead, in samples at 16 kHz, as far as the kind allows: rows or mel frames further
/// ahead repeat the last known one. The least lookahead is about 100 ms. That of HuBERT is fixed.
///
/// # Errors
/// As [`crate::inference::network::Network::open`]; [`Error::NotFound`] where an encoder is needed and there
/// is none; [`Error::Invalid`] with the shapes where it does not fit.
pub fn open(
    (encoder, folder): (Option<&Path>, &Path),
    kind: AudioContextKind,
    windows: MelWindows,
    limit: u64,
    engine: &Engine,
) -> Result<Box<dyn FeatureTrack>> {
    let needed = || {
        encoder.ok_or_else(|| {
            Error::not_found(
                folder,
                format!("names no audio encoder, and its generator takes {kind}"),
                "Add models.audio_encoder to avatar.toml",
            )
        })
    };
    Ok(match kind {
        AudioContextKind::MelRows(kind) => {
            Box::new(mel_rows::MelRowTrack::open(needed()?, kind, windows, limit, engine)?)
        }
        AudioContextKind::Hubert(span) => Box::new(hubert::HubertTrack::open(needed()?, span, engine)?),
        AudioContextKind::MelWindow if windows == MelWindows::Averaged => {
            return Err(Error::invalid(
                folder,
                format!(
                    "has windows = \"averaged\", and its generator takes {kind}, which is never averaged"
                ),
                "Set windows to \"exact\" or \"mel-frames\" in avatar.toml",
            ));
        }
        AudioContextKind::MelWindow => Box::new(mel_window::MelWindowTrack::new(windows, limit)),
    })
}
