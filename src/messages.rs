// SPDX-License-Identifier: MPL-2.0
//! Errors of the core as GStreamer error messages.

use gst::prelude::*;
use lipsync_core::error::Error;
use lipsync_core::rate::{SECOND, mul_div_nearest};

use super::ledger::{Played, Reason, Told, What};

/// What ends a stream: to be told to the application.
pub enum Failure {
    /// An error of the core.
    Core(Error),
    /// Something between elements.
    Message(gst::ErrorMessage),
}

impl Failure {
    /// The message; `source` is where the sound comes from, if that is known.
    pub fn into_message(self, source: Option<&str>) -> gst::ErrorMessage {
        match self {
            Self::Message(message) => message,
            Self::Core(error @ Error::Audio { .. }) => {
                let place = source.map(|source| format!("{source}: ")).unwrap_or_default();
                gst::error_msg!(gst::StreamError::Decode, ("{place}{error}"))
            }
            Self::Core(error) => error_message(&error),
        }
    }
}

/// Why nothing more goes through one of the pads.
pub enum Stop {
    Flow(gst::FlowError),
    Failure(Failure),
}

impl Stop {
    /// A failure with a message of its own.
    pub fn message(message: gst::ErrorMessage) -> Self {
        Self::Failure(Failure::Message(message))
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match error {
            // By a flush or a stop.
            Error::Interrupted => Self::Flow(gst::FlowError::Flushing),
            error => Self::Failure(Failure::Core(error)),
        }
    }
}

impl From<gst::FlowError> for Stop {
    fn from(flow: gst::FlowError) -> Self {
        Self::Flow(flow)
    }
}

/// A frame that comes too late, to be told on the bus.
pub struct Late {
    pub running_time: gst::ClockTime,
    pub stream_time: Option<gst::ClockTime>,
    pub pts: gst::ClockTime,
    pub duration: gst::ClockTime,
    /// Nanoseconds that it is late by.
    pub jitter: i64,
    /// Frames painted, and frames not painted, so far.
    pub processed: u64,
    pub dropped: u64,
}

impl Late {
    /// Posts the QoS message.
    pub fn post(self, element: &impl IsA<gst::Element>) {
        let count = gst::format::Buffers::from_u64;
        let message = gst::message::Qos::builder(true)
            .src(element.upcast_ref::<gst::Element>())
            .running_time(self.running_time)
            .stream_time(self.stream_time)
            .timestamp(self.pts)
            .duration(self.duration)
            .values(self.jitter, 1.0, 1_000_000)
            .stats(count(self.processed), count(self.dropped))
            .build();
        let _ = element.post_message(message);
    }
}

/// Tells the pipeline that an element's latency has changed.
pub fn post_latency(element: &impl IsA<gst::Element>) {
    let _ = element
        .post_message(gst::message::Latency::builder().src(element.upcast_ref::<gst::Element>()).build());
}

/// The message that tells an error to the application.
pub fn error_message(error: &Error) -> gst::ErrorMessage {
    match error {
        Error::NotFound { .. } => gst::error_msg!(gst::ResourceError::NotFound, ("{error}")),
        Error::Invalid { .. } => gst::error_msg!(gst::ResourceError::Read, ("{error}")),
        Error::Runtime { .. } => gst::error_msg!(gst::LibraryError::Init, ("{error}")),
        Error::System { .. } => gst::error_msg!(gst::ResourceError::Failed, ("{error}")),
        Error::Audio { .. } => gst::error_msg!(gst::StreamError::Decode, ("{error}")),
        // Of a network that failed, and of kinds that are yet to come.
        _ => gst::error_msg!(gst::StreamError::Failed, ("{error}")),
    }
}

/// Posts an element message.
pub fn post_element(element: &impl IsA<gst::Element>, structure: gst::Structure) {
    let element = element.upcast_ref::<gst::Element>();
    let _ = element.post_message(gst::message::Element::builder(structure).src(element).build());
}

/// What came out before an interruption.
pub struct Interrupted {
    /// The first utterance that was cut short.
    pub utterance: Option<String>,
    /// How much of it has come out; without one, of what belongs to none.
    pub played: Played,
    /// When the sound ends, in nanoseconds.
    pub time: u64,
    /// For how long the speech has lasted by then; `None` where nobody looks for it.
    pub speech: Option<u64>,
}

impl Interrupted {
    /// The answer of the signal `interrupt`, which is also a message.
    pub fn into_structure(self) -> gst::Structure {
        let Self { utterance, played, time, speech } = self;
        let structure = at("lipsync-interrupted", time).field_if_some("utterance", utterance);
        with_played(structure, &played)
            .field_if_some("speech-samples", speech.map(|speech| samples_of(speech, played.rate)))
            .field_if_some("speech-duration", speech.map(gst::ClockTime::from_nseconds))
            .build()
    }
}

/// A message of something that happens at that running time.
fn at(name: &str, time: u64) -> gst::structure::Builder {
    gst::Structure::builder(name).field("running-time", gst::ClockTime::from_nseconds(time))
}

/// Samples that last so many nanoseconds, which is a whole number of them but for the rounding of times.
fn samples_of(duration: u64, rate: u32) -> u64 {
    mul_div_nearest(duration, rate.into(), SECOND)
}

fn with_played(builder: gst::structure::Builder, played: &Played) -> gst::structure::Builder {
    with_sound(builder, played.samples, played.rate, played.duration())
}

fn with_sound(
    builder: gst::structure::Builder,
    samples: u64,
    rate: u32,
    duration: u64,
) -> gst::structure::Builder {
    builder
        .field("samples", samples)
        .field("rate", rate as i32)
        .field("duration", gst::ClockTime::from_nseconds(duration))
}

/// The message of something that belongs to a frame.
pub fn told_structure(told: &Told) -> gst::Structure {
    let named = |name| at(name, told.time);
    match &told.what {
        What::Start { id } => named("lipsync-utterance-start").field("id", id),
        What::End { id, reason, played } => {
            let structure = named("lipsync-utterance-end").field("id", id).field("reason", reason.nick());
            with_played(structure, played)
        }
        What::Drained => named("lipsync-drained"),
        What::Avatar { name } => named("lipsync-avatar-changed").field("avatar", name),
    }
    .build()
}

/// The message of the beginning of speech, in that utterance.
pub fn speech_start(time: u64, utterance: Option<&str>) -> gst::Structure {
    at("lipsync-speech-start", time).field_if_some("utterance", utterance).build()
}

/// The message of the end of speech that began at the time `since`, in that utterance, in sound of that rate.
pub fn speech_end(
    time: u64,
    since: u64,
    utterance: Option<&str>,
    reason: Reason,
    rate: u32,
) -> gst::Structure {
    let duration = time.saturating_sub(since);
    let structure = at("lipsync-speech-end", time).field_if_some("utterance", utterance);
    with_sound(structure.field("reason", reason.nick()), samples_of(duration, rate), rate, duration).build()
}
