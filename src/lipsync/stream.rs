// SPDX-License-Identifier: MPL-2.0
//! The stream of sound: what has been heard of it, and what is to come of that.

use std::collections::VecDeque;
use std::sync::Arc;

use gst_audio::{AudioInfo, AudioStreamAlign};
use gst_video::VideoInfo;
use lipsync_core::avatar::frames::FrameStore;
use lipsync_core::error::Error;
use lipsync_core::render::listener::Listener;

use crate::audio_input::AudioInput;
use crate::clips::Director;

/// Timestamps may differ by this from the count of samples before it counts as a gap.
pub const JITTER: gst::ClockTime = gst::ClockTime::from_mseconds(40);
/// For this long jitter beyond that is only watched.
const JITTER_WAIT: gst::ClockTime = gst::ClockTime::from_seconds(1);
/// Silence, in nanoseconds, that is heard before speech that follows an end: more than any network's context.
const SILENCE: u64 = 500_000_000;
/// It begins at a multiple of so many frames: at the usual rates a whole number of samples.
const GRID: u64 = 15;

/// Where the stream of sound is. Only the sink's streaming thread uses it, under the pad's stream lock.
pub struct Stream {
    /// Hears the sound and tells which frames it makes possible.
    pub listener: Listener,
    /// The sound as it comes in.
    pub info: Option<AudioInfo>,
    /// Reads it in that format.
    pub input: Option<AudioInput>,
    /// Tells gaps from jitter.
    pub align: AudioStreamAlign,
    /// Where in its stream the sound is heard.
    pub segment: gst::FormattedSegment<gst::ClockTime>,
    /// Identifies the stream of sound.
    pub id: Option<gst::glib::GString>,
    /// Events that came behind sound whose frames are not all asked for yet: each goes before the frame of its number.
    pub held: VecDeque<(u64, gst::Event)>,
    /// Time of the first sample since the last discontinuity.
    pub start: Option<gst::ClockTime>,
    /// The frame since then that is the listener's first, and how long the sound was that it has not heard, in nanoseconds: both 0
    /// unless it was said that speech was over.
    pub first: u64,
    pub before: u64,
    /// The utterance that comes in.
    pub utterance: Option<u64>,
    /// Where the sound ended that has been brought to its end, in this segment.
    pub drained: Option<gst::ClockTime>,
    /// The format of the video, once downstream has agreed to one.
    pub format: Option<VideoInfo>,
    /// The avatar's frames in that format.
    pub frames: Option<Arc<FrameStore>>,
    /// Decides which picture of the avatar is shown.
    pub director: Option<Director>,
    /// Frames shown since the last flush: the avatar moves on over discontinuities.
    pub shown: u64,
    /// There was sound, or a gap, since the element started.
    pub heard: bool,
    /// Something went wrong that the application has been told, or will be: the rest is not heard.
    pub failed: bool,
}

impl Stream {
    /// A stream at its beginning.
    pub fn new(listener: Listener) -> Self {
        Self {
            listener,
            info: None,
            input: None,
            align: AudioStreamAlign::new(1, JITTER, JITTER_WAIT),
            segment: gst::FormattedSegment::new(),
            id: None,
            held: VecDeque::new(),
            start: None,
            first: 0,
            before: 0,
            utterance: None,
            drained: None,
            format: None,
            frames: None,
            director: None,
            shown: 0,
            heard: false,
            failed: false,
        }
    }

    /// Forgets the sound, as a flush demands, and returns the events that were held. The format of the sound stays;
    /// that of the video is agreed upon anew, because the queue may have held it.
    pub fn flush(&mut self) -> Result<VecDeque<(u64, gst::Event)>, Error> {
        self.align.mark_discont();
        self.segment = gst::FormattedSegment::new();
        self.start = None;
        (self.first, self.before) = (0, 0);
        self.utterance = None;
        self.drained = None;
        self.format = None;
        self.shown = 0;
        self.failed = false;
        self.listener.reset()?;
        Ok(std::mem::take(&mut self.held))
    }

    /// Forgets everything, for a new run of the element.
    pub fn restart(&mut self) -> Result<(), Error> {
        self.info = None;
        self.input = None;
        self.frames = None;
        self.director = None;
        self.id = None;
        self.heard = false;
        self.flush().map(drop)
    }

    /// Time at which the sound heard so far ends.
    pub fn end(&self) -> Option<gst::ClockTime> {
        Some(self.start? + gst::ClockTime::from_nseconds(self.before + self.listener.duration()))
    }

    /// Where the next sample is heard, in running time.
    pub fn running_end(&self) -> gst::ClockTime {
        let end = self.end().or(self.drained).or(self.segment.start());
        end.and_then(|end| self.segment.to_running_time(end)).unwrap_or_default()
    }

    /// Begins to listen anew behind the sound heard so far, which has been brought to its end: to silence. Frames go on as if nothing
    /// had happened.
    pub fn begin_behind(&mut self) -> Result<(), Error> {
        let rate = self.listener.rate();
        let heard = self.before + self.listener.duration();
        let shown = self.first + self.listener.told();
        let silent = rate.frames_covering(SILENCE) + 1;
        self.first = shown.saturating_sub(silent) / GRID * GRID;
        self.listener.reset()?;
        self.listener.push_silence(heard.saturating_sub(rate.time_of(self.first)))?;
        self.before = heard.saturating_sub(self.listener.duration());
        self.listener.skip_to(shown - self.first);
        Ok(())
    }
}
