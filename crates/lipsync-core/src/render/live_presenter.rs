// SPDX-License-Identifier: MPL-2.0
//! A presenter on air: sound and time in, a frame for every moment out.

use std::sync::Arc;
use std::time::Duration;

use crate::avatar::Avatar;
use crate::avatar::frames::FrameStore;
use crate::error::Result;
use crate::picture::formats::PixelFormat;
use crate::rate::FrameRate;
use crate::render::live::{Live, Sound, Speech};
use crate::render::painter::{MouthRequest, Painter, PendingFrame};
use crate::render::presenter::{self, PresenterOptions};
use crate::render::timeline::Timeline;
use crate::render::video_frame::VideoFrame;

/// An avatar that speaks while there is sound, and is at rest while there is none: one frame after the other, without end.
///
/// All times are those of the video: frame `n` is shown `n / rate` seconds after frame 0, with the sound of that time. It
/// can be asked for as soon as the sound until [`Self::lookahead`] behind that is there. Who has no sound for a frame gives
/// silence.
///
/// ```no_run
/// use lipsync_core::{Avatar, LivePresenter, PresenterOptions, Sound};
///
/// # fn microphone(until: std::time::Duration) -> (u64, Vec<f32>) { unimplemented!() }
/// # fn main() -> lipsync_core::Result<()> {
/// let avatar = Avatar::find("iris", None)?;
/// let mut presenter = LivePresenter::open(avatar, &PresenterOptions::default(), -50.0)?;
/// presenter.set_input(16_000, vec![1.0])?;
/// loop {
///     // All since the last call.
///     let (start, samples) = microphone(presenter.needs());
///     let frame = presenter.step(Sound { start, samples: &samples })?.wait()?;
///     println!("{:?}: {} bytes", frame.time(), frame.to_vec().len());
/// }
/// # }
/// ```
///
/// It can be sent to another thread, and so can what it hands out.
pub struct LivePresenter {
    live: Live,
    painter: Painter,
    frames: Arc<FrameStore>,
    timeline: Timeline,
    sample_rate: u32,
    next: u64,
}

impl LivePresenter {
    /// Opens an avatar's networks, as [`Presenter::open`](crate::Presenter::open) does. Sound of `level` dB of full scale, or
    /// more, is speech.
    ///
    /// # Errors
    /// As [`Presenter::open`](crate::Presenter::open).
    pub fn open(avatar: Avatar, options: &PresenterOptions, level: f64) -> Result<Self> {
        let (listener, painter, frames) = presenter::open(avatar, options)?;
        let live = Live::new(listener, options.rate, level)?;
        let timeline = Timeline::new(frames.avatar().clone());
        Ok(Self { live, painter, frames, timeline, sample_rate: 0, next: 0 })
    }

    /// Width and height of the frames, in pixels.
    pub fn size(&self) -> (u32, u32) {
        self.frames.avatar().image.size
    }

    /// Format of the frames.
    pub fn format(&self) -> PixelFormat {
        self.frames.format()
    }

    /// Frames a second.
    pub fn rate(&self) -> FrameRate {
        self.live.rate()
    }

    /// The avatar that speaks.
    pub fn avatar(&self) -> &Avatar {
        self.frames.avatar()
    }

    /// How much sound behind its own time a frame needs, for sound of `sample_rate` Hz.
    pub fn lookahead(&self, sample_rate: u32) -> Duration {
        Duration::from_nanos(self.live.lookahead(sample_rate))
    }

    /// Until when the sound must be there for the next frame.
    pub fn needs(&self) -> Duration {
        Duration::from_nanos(self.rate().time_of(self.next)) + self.lookahead(self.sample_rate)
    }

    /// Sets the format of the sound to come, as [`Presenter::set_input`](crate::Presenter::set_input).
    ///
    /// # Errors
    /// As [`Presenter::set_input`](crate::Presenter::set_input).
    pub fn set_input(&mut self, sample_rate: u32, weights: Vec<f32>) -> Result<()> {
        self.live.set_input(sample_rate, weights)?;
        self.sample_rate = sample_rate;
        Ok(())
    }

    /// Hears the next piece of the sound, gapless behind the one before and up to what the next frame needs, and asks for
    /// that frame. Several may be in work at the same time.
    ///
    /// # Errors
    /// [`Error::Audio`](crate::Error::Audio) for samples that are no numbers, [`Error::Inference`](crate::Error::Inference) for
    /// an audio encoder that fails. The frame is left out then.
    pub fn step(&mut self, sound: Sound<'_>) -> Result<PendingVideoFrame> {
        let index = self.next;
        self.next += 1;
        let request = match self.live.step(index, sound)? {
            Some(context) => MouthRequest::Speech(context),
            None => MouthRequest::Rest,
        };
        let rate = self.rate();
        let step = rate.convert_index(index, self.avatar().rate);
        if self.live.underlines(index) {
            self.timeline.emphasize();
        }
        let shot = self.timeline.shot(step, self.live.is_speaking());
        let pending = self.painter.submit(&self.frames, &shot, request);
        Ok(PendingVideoFrame { pending, index, rate, format: self.format(), size: self.size() })
    }

    /// What of speech has begun or ended with the frames asked for since the last call.
    pub fn speech(&mut self) -> Vec<Speech> {
        match self.next.checked_sub(1) {
            Some(last) => self.live.speech_events(last),
            None => Vec::new(),
        }
    }

    /// Sets how many stressed syllables are underlined by a gesture, from 0, none, to 1, where the avatar has clips for that.
    pub fn set_emphasis(&mut self, amount: f64) {
        self.live.set_emphasis(amount);
    }

    /// Which picture of the avatar is shown when: plays clips.
    pub fn timeline(&mut self) -> &mut Timeline {
        &mut self.timeline
    }

    /// Stops speaking in the midst of a word, and forgets all sound: the next frame is at rest.
    pub fn interrupt(&mut self) {
        self.live.interrupt();
    }
}

/// A frame that a [`LivePresenter`] was asked for. Dropping it calls the frame off.
pub struct PendingVideoFrame {
    pending: PendingFrame,
    index: u64,
    rate: FrameRate,
    format: PixelFormat,
    size: (u32, u32),
}

impl PendingVideoFrame {
    /// Its number in the video, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Waits until it is painted.
    ///
    /// # Errors
    /// As [`Presenter::pull`](crate::Presenter::pull).
    pub fn wait(self) -> Result<VideoFrame> {
        let Self { pending, index, rate, format, size } = self;
        Ok(VideoFrame::new(pending.wait()?, index, rate, format, size))
    }
}
