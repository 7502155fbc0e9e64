//! Step 3: sound to what the generator hears with a video frame, its *context*.
//!
//! Three kinds of generators are known by the shape of their audio input ([`Hearing`]): those that hear rows of an
//! audio encoder over mel windows (`rows`: SyncTalk_2D, digital-clone), those that hear rows of HuBERT
//! (`hubert`: SyncTalk_2D, Ultralight-Digital-Human), and those that hear the mel window itself (`window`: Wav2Lip and its kin).

mod hubert;
mod mel_track;
mod rows;
mod window;

use std::path::Path;

pub use hubert::HubertSpan;
pub use rows::ContextKind;

use crate::audio::mel::BANDS;
use crate::audio::resample::SAMPLE_RATE;
use crate::error::{Error, Result};
use crate::inference::network::{Interrupter, Port};
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
pub enum Hearing {
    /// [32, 16, 16]: 16 rows of 512 values from an audio encoder.
    Rows(ContextKind),
    /// [32, 32, 32]: rows of 1024 values from HuBERT, of the 16 frames around; [16, 32, 32]: of 8 frames.
    Hubert(HubertSpan),
    /// [1, 80, 16]: the frame's mel window.
    Window,
}

impl Default for Hearing {
    fn default() -> Self {
        Self::Rows(ContextKind::default())
    }
}

impl Hearing {
    /// What a generator with that audio input hears; `None` where it is none that is known.
    pub fn of(audio: &Port) -> Option<Self> {
        if audio.holds(&[1, BANDS, WINDOW]) {
            return Some(Self::Window);
        }
        // Rows may be viewed in any shape: what counts is how many values there are.
        match audio.values()? {
            rows::CONTEXT => Some(Self::default()),
            values => HubertSpan::of(values).map(Self::Hubert),
        }
    }

    /// The same with rows chosen as `kind` says, for the network in the file `model`.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it hears no rows that could be chosen.
    pub fn chosen(self, kind: ContextKind, model: &Path) -> Result<Self> {
        match (self, kind) {
            (Self::Rows(_), kind) => Ok(Self::Rows(kind)),
            (hearing, ContextKind::Window) => Ok(hearing),
            (hearing, ContextKind::Tile) => Err(Error::invalid(
                model,
                format!("hears {hearing}, for which there is no context \"tile\""),
                "Set context to auto or window",
            )),
        }
    }

    /// Values in a context.
    pub fn values(self) -> usize {
        match self {
            Self::Rows(_) => rows::CONTEXT,
            Self::Hubert(span) => span.values(),
            Self::Window => BANDS * WINDOW,
        }
    }
}

impl std::fmt::Display for Hearing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Rows(ContextKind::Window) => "rows of a mel encoder, 16 around the frame",
            Self::Rows(ContextKind::Tile) => "the frame's own row of a mel encoder, 16 times",
            Self::Hubert(HubertSpan::Sixteen) => "rows of HuBERT, of 16 frames",
            Self::Hubert(HubertSpan::Eight) => "rows of HuBERT, of 8 frames",
            Self::Window => "the mel window itself",
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

/// Opens what makes the contexts for a generator that hears `hearing`; `encoder` is the file of
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
    hearing: Hearing,
    limit: u64,
    engine: &Engine,
) -> Result<Box<dyn FeatureTrack>> {
    let needed = || {
        encoder.ok_or_else(|| {
            Error::not_found(
                folder,
                format!("names no audio encoder, and its generator hears {hearing}"),
                "Add models.audio_encoder to avatar.toml",
            )
        })
    };
    Ok(match hearing {
        Hearing::Rows(kind) => Box::new(rows::RowTrack::open(needed()?, kind, limit, engine)?),
        Hearing::Hubert(span) => Box::new(hubert::HubertTrack::open(needed()?, span, engine)?),
        Hearing::Window => Box::new(window::WindowTrack::new(limit)),
    })
}
