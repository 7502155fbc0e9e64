// SPDX-License-Identifier: MPL-2.0
//! The element's state, and the locks that it is behind.
//!
//! # Locks
//!
//! `stream` is held while upstream's thread is in the sink pad, which the pad serialises: nobody waits for it but
//! a change of state when that thread has gone. All others are held for a moment, one at a time, and never across
//! a push, a query, a run of a network or a message. To stop, first everybody is woken (queue, painter, encoder,
//! buffer pool), then the pads are deactivated.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use lipsync_core::rate::FrameRate;
use lipsync_core::render::listener::Listener;

use super::item::Item;
use super::settings::Settings;
use super::stream::Stream;
use crate::clips::Asked;
use crate::ledger::Ledger;
use crate::loaded::{Loaded, Opened};
use crate::loading::Loading;
use crate::lock;
use crate::progress::Progress;
use crate::queue::Queue;
use crate::stats::Stats;
use crate::video_writer::VideoWriter;

/// The element `lipsync`.
pub struct Lipsync {
    /// Sound comes in here.
    pub sinkpad: gst::Pad,
    /// Video goes out here.
    pub srcpad: gst::Pad,
    /// The values of the properties.
    settings: Mutex<Settings>,
    /// What both streaming threads have in common.
    state: Mutex<State>,
    /// The sink's streaming thread's own, once there is an avatar.
    stream: Mutex<Option<Stream>>,
    /// From the sink's streaming thread to the source's.
    pub queue: Queue<Item>,
    /// Draws into downstream's buffers.
    pub writer: VideoWriter,
}

/// The parts of the declared latency.
pub struct Latency {
    /// Nanoseconds of sound behind a frame that it waits for.
    pub lookahead: u64,
    pub frame_rate: FrameRate,
}

impl Latency {
    /// The latency of a listener that hears sound of that rate.
    pub fn of(listener: &Listener, sample_rate: u32) -> Self {
        Self { lookahead: listener.lookahead(sample_rate), frame_rate: listener.rate() }
    }
}

/// Until there is a listener: the most that networks with a mel encoder hear.
impl Default for Latency {
    fn default() -> Self {
        Self { lookahead: lipsync_core::features::MAX_MEL_LOOKAHEAD, frame_rate: FrameRate::NATIVE }
    }
}

/// What both streaming threads have in common.
#[derive(Default)]
pub struct State {
    /// The avatar with its networks, from READY on.
    pub loaded: Option<Loaded>,
    /// What is not there yet.
    pub loading: Option<Arc<Loading<Opened>>>,
    /// The parts of the declared latency.
    pub latency: Latency,
    /// Frames of an earlier running time come too late: what downstream says.
    pub earliest: Option<gst::ClockTime>,
    /// The last picture.
    pub last: Option<gst::Buffer>,
    /// Where the last frame that went out ends.
    pub sent_until: Option<gst::ClockTime>,
    /// Clips that are to be played once, from the next frame on.
    pub clips_asked: VecDeque<Asked>,
    /// Counts since the start.
    pub stats: Stats,
    /// How far the video is, and when that is to be told.
    pub progress: Progress,
    /// The utterances under way.
    pub ledger: Ledger,
    /// Upstream has sent its last.
    pub has_ended: bool,
    /// Upstream or the application has been told why no video goes out any more.
    pub flow_told: bool,
    /// The pipeline has been in PLAYING since it started.
    pub has_played: bool,
    /// A warning about a stall has been given.
    pub stall_told: bool,
}

impl Lipsync {
    /// An element with these pads.
    pub fn new(sinkpad: gst::Pad, srcpad: gst::Pad) -> Self {
        Self {
            sinkpad,
            srcpad,
            settings: Mutex::default(),
            state: Mutex::default(),
            stream: Mutex::default(),
            queue: Queue::default(),
            writer: VideoWriter::default(),
        }
    }

    /// The values of the properties, locked.
    pub fn settings(&self) -> MutexGuard<'_, Settings> {
        lock(&self.settings)
    }

    /// What both streaming threads have in common, locked.
    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// The stream of sound, locked. The state must not be.
    pub fn stream(&self) -> MutexGuard<'_, Option<Stream>> {
        lock(&self.stream)
    }

    /// The avatar with its networks.
    pub fn loaded(&self) -> Option<Loaded> {
        self.state().loaded.clone()
    }

    /// From a sample's arrival to its frame's leaving: the sound that must follow it, the frame, the painting.
    pub fn own_latency(&self) -> gst::ClockTime {
        let processing = self.settings().common.processing_latency;
        let Latency { lookahead, frame_rate } = self.state().latency;
        gst::ClockTime::from_nseconds(lookahead + frame_rate.time_of(1)) + processing
    }
}
