// SPDX-License-Identifier: MPL-2.0
//! Errors of the core as GStreamer error messages.

use gst::prelude::*;
use lipsync_core::error::Error;

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
