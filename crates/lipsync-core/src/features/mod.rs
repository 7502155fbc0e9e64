//! Step 3: sound to what the generator hears with a video frame, its *context*.
//!
//! Three kinds of generators are known by the shape of their audio input ([`AudioContextKind`]): those that hear rows of an
//! audio encoder over mel windows (`rows`: SyncTalk_2D, digital-clone), those that hear rows of HuBERT
//! (`hubert`: SyncTalk_2D, Ultralight-Digital-Human), and those that hear the mel window itself (`window`: Wav2Lip and its kin).

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
pub const WINDOW: usize = 16;

/// The limit of lookahead that is none.
pub const NO_LIMIT: u64 = i64::MAX as u64;

/// What a generator hears with one video frame, row-major.
pub type Context = Floats;

/// What a generator hears, as the values of its audio input tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub enum AudioContextKind {
    /// [32, 16, 16]: 16 rows of 512 values from an audio encoder.
    MelRows(RowSelection),
    /// [32, 32, 32]: rows of 1024 values from HuBERT, of the 16 frames around; [16, 32, 32]: of 8 frames.
    Hubert(HubertSpan),
    /// [1, 80, 16]: the frame's mel window.
    MelWindow,
}

impl Default for AudioContextKind {
    fn default() -> Self {
        Self::MelRows(RowSelection::default())
    }
}

impl AudioContextKind {
    /// What a generator with that audio input hears; `None` where it is none that is known.
    pub fn from_input(audio: &TensorInfo) -> Option<Self> {
        if audio.has_item_shape(&[1, BANDS, WINDOW]) {
            return Some(Self::MelWindow);
        }
        // Rows may be viewed in any shape: what counts is how many values there are.
        match audio.values()? {
            mel_rows::CONTEXT => Some(Self::default()),
            values => HubertSpan::of(values).map(Self::Hubert),
        }
    }

    /// The same with rows chosen as `kind` says, for the network in the file `model`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it hears no rows that could be chosen.
    pub fn with_rows(self, kind: RowSelection, model: &Path) -> Result<Self> {
        match (self, kind) {
            (Self::MelRows(_), kind) => Ok(Self::MelRows(kind)),
            (kind, RowSelection::Window) => Ok(kind),
            (kind, RowSelection::Tile) => Err(Error::invalid(
                model,
                format!("hears {kind}, for which there is no context \"tile\""),
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
            Self::Hubert(HubertSpan::Sixteen) => "rows of HuBERT, of 16 frames",
            Self::Hubert(HubertSpan::Eight) => "rows of HuBERT, of 8 frames",
            Self::MelWindow => "the mel window itself",
        })
    }
}

/// The sound of a stream, and the contexts that can be made of it.
///
/// Frames must be asked for in rising order: what only earlier ones need is dropped.
pub trait FeatureTrack: Send {
    /// Hears samples at 16 kHz.
    fn push(&mut self, mono: &[f32]);

    /// Hears the end of the sound.
    fn finish(&mut self);

    /// The context of video frame `n`, or `None` while it needs sound still to come.
    ///
    /// # Errors
    /// [`Error::Inference`] from an encoder.
    fn context(&mut self, n: u64) -> Result<Option<Context>>;

    /// Sound that a frame needs from behind its own time, in samples at 16 kHz.
    fn lookahead(&self) -> u64;

    /// Forgets all sound, and goes on with video of `rate`.
    fn restart(&mut self, rate: FrameRate);

    /// A handle that stops the encoder, where there is one.
    fn interrupter(&self) -> Option<Interrupter>;
}

/// What a generator hears in the midst of a long silence. The track is left without any sound.
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
    context?.ok_or_else(|| unreachable!("all that the frame hears is there"))
}

/// Opens what makes the contexts for a generator that hears `kind`; `encoder` is the file of
/// its audio encoder, and `folder` where one would be.
///
/// Frames wait for at most `limit` samples at 16 kHz from behind their own time, as far as the kind of hearing allows:
/// rows, or mel frames, that lie further ahead are taken to be like the last known. The least is about 100 ms. HuBERT
/// cannot hear less than it does.
///
/// # Errors
/// As [`crate::inference::network::Network::open`]; [`Error::NotFound`] where an encoder is needed and there is none;
/// [`Error::Invalid`] with the shapes where it does not fit.
pub fn open(
    (encoder, folder): (Option<&Path>, &Path),
    kind: AudioContextKind,
    limit: u64,
    engine: &Engine,
    library_dir: Option<&Path>,
) -> Result<Box<dyn FeatureTrack>> {
    let needed = || {
        encoder.ok_or_else(|| {
            Error::not_found(
                folder,
                format!("names no audio encoder, and its generator hears {kind}"),
                "Add models.audio_encoder to avatar.toml",
            )
        })
    };
    Ok(match kind {
        AudioContextKind::MelRows(kind) => {
            Box::new(mel_rows::MelRowTrack::open(needed()?, kind, limit, engine, library_dir)?)
        }
        AudioContextKind::Hubert(span) => {
            Box::new(hubert::HubertTrack::open(needed()?, span, engine, library_dir)?)
        }
        AudioContextKind::MelWindow => Box::new(mel_window::MelWindowTrack::new(limit)),
    })
}
