// SPDX-License-Identifier: MPL-2.0
//! What goes from the sink's streaming thread to the source's.

use gst_video::VideoInfo;
use lipsync_core::render::painter::PendingFrame;

use crate::messages::Failure;
use crate::queue;

/// What goes from the sink's thread to the source's.
pub enum Item {
    /// An event for downstream.
    Event(gst::Event),
    /// From here on frames have this format.
    Format(VideoInfo),
    /// A frame of video.
    Frame(Frame),
    /// The sound cannot be followed any further: tell the application and end the stream.
    Failure(Failure),
}

impl Item {
    /// The event, if it is one.
    pub fn into_event(self) -> Option<gst::Event> {
        match self {
            Self::Event(event) => Some(event),
            _ => None,
        }
    }
}

impl queue::Item for Item {
    fn is_frame(&self) -> bool {
        matches!(self, Self::Frame(_))
    }
}

/// A frame of video that is being painted.
pub struct Frame {
    pub pts: gst::ClockTime,
    pub duration: gst::ClockTime,
    /// Running time until which it is shown.
    pub until: gst::ClockTime,
    /// Number since the last discontinuity; 0 is marked as one.
    pub number: u64,
    /// `None`: it would be late, so the last picture is shown once more.
    pub pending: Option<PendingFrame>,
}
