// SPDX-License-Identifier: MPL-2.0
//! What the scheduler works with.

use std::collections::VecDeque;
use std::sync::Arc;

use gst_audio::AudioInfo;
use gst_video::VideoInfo;
use lipsync_core::avatar::frames::FrameStore;
use lipsync_core::error::Error;
use lipsync_core::rate::FrameRate;
use lipsync_core::render::live::Live;

use super::frame::SpeechEvent;
use super::ready::Ready;
use super::sound::Position;
use crate::audio_input::AudioInput;
use crate::clips::{Asked, Director};
use crate::loaded::Loaded;

/// Rounding between samples and nanoseconds must not make a frame miss a sample.
const MARGIN: u64 = 1_000_000;

/// What the latency consists of, beside the processing latency.
#[derive(Clone, Copy)]
pub struct Timing {
    /// Sound that must be there behind a frame's time, in nanoseconds.
    pub lookahead: u64,
    pub rate: FrameRate,
}

impl Timing {
    /// The timing of a presenter that hears sound of `sample_rate`: the same for all but uncommonly low rates, so that a
    /// change of the sound changes nothing.
    fn of(live: &Live, sample_rate: u32) -> Self {
        const LOW: u32 = 8000;
        let rate = live.rate();
        Self { lookahead: live.lookahead(sample_rate.min(LOW)).max(rate.time_of(1)) + MARGIN, rate }
    }

    /// From a frame's time until it is scheduled.
    pub fn until_scheduled(self) -> u64 {
        self.lookahead + self.rate.time_of(1)
    }
}

/// The presenter between two frames: what it has heard, and which frame is next.
pub struct RenderState {
    /// The avatar that plays.
    pub loaded: Loaded,
    /// Hears what is spoken.
    pub live: Live,
    /// The format of the video, once downstream has agreed to one.
    pub format: Option<VideoInfo>,
    /// The avatar's frames in that format.
    pub frames: Option<Arc<FrameStore>>,
    /// Where the sound is that has been taken from the backlog.
    pub position: Position,
    /// Reads the sound in its format.
    pub input: AudioInput,
    /// The frame that is next.
    pub next: u64,
    /// Decides which picture of the avatar is shown.
    pub director: Director,
    /// Clips that the sound asks for, with the times at which they begin.
    pub clips: VecDeque<(u64, Asked)>,
    /// Frames that this avatar has shown so far: what its loop goes by.
    pub shown: u64,
    /// Frames scheduled so far, by all avatars.
    pub scheduled: u64,
    /// Frames since the last new mouth; `None` where the next one that speaks is to have one.
    pub held: Option<u32>,
    /// The next frame does not follow the one before.
    pub discont: bool,
    /// Speech events that no frame has taken along yet.
    pub speech_events: Vec<SpeechEvent>,
    /// A warning about broken samples has been given.
    pub warned: bool,
}

impl RenderState {
    /// An avatar at its beginning, silent so far in sound of that format.
    pub fn new(ready: Ready, info: Arc<AudioInfo>, level: f64) -> Result<Self, Error> {
        let Ready { loaded, listener, .. } = ready;
        let rate = loaded.avatar.rate;
        let mut render = Self {
            live: Live::new(listener, rate, level)?,
            director: Director::new(loaded.avatar.clone()),
            clips: VecDeque::new(),
            loaded,
            format: None,
            frames: None,
            position: Position::new(info.clone(), 0),
            input: AudioInput::new((*info).clone()),
            next: 0,
            shown: 0,
            scheduled: 0,
            held: None,
            discont: true,
            speech_events: Vec::new(),
            warned: false,
        };
        render.set_input(info)?;
        Ok(render)
    }

    /// Takes the format of the sound to come.
    pub fn set_input(&mut self, info: Arc<AudioInfo>) -> Result<(), Error> {
        self.input = AudioInput::new((*info).clone());
        self.live.set_input(info.rate(), self.input.mono_weights())
    }

    /// What the latency consists of.
    pub fn timing(&self) -> Timing {
        Timing::of(&self.live, self.input.info().rate())
    }
}
