// SPDX-License-Identifier: MPL-2.0
//! All steps together, for programs without GStreamer: audio in, frames out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::avatar::Avatar;
use crate::avatar::frames::FrameStore;
use crate::error::Result;
use crate::features;
use crate::inference::runtime::Engine;
use crate::picture::formats::{Canvas, PixelFormat};
use crate::rate::FrameRate;
use crate::render::listener::Listener;
use crate::render::painter::{MouthRequest, Painter, PendingFrame};
use crate::render::timeline::Timeline;
use crate::render::video_frame::VideoFrame;

/// How a [`Presenter`] or a [`LivePresenter`](crate::LivePresenter) works.
///
/// ```
/// use lipsync_core::{FrameRate, PixelFormat, PresenterOptions};
///
/// let options = PresenterOptions::default().format(PixelFormat::I420_BT709).threads(2);
/// assert_eq!(options.rate, FrameRate::NATIVE);
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PresenterOptions {
    /// Where and how the networks run. By default on the processor.
    pub engine: Engine,
    /// Frames painted at the same time; 0, the default, for as many as there are cores.
    pub threads: usize,
    /// Frames a second. By default [`FrameRate::NATIVE`].
    pub rate: FrameRate,
    /// Format of the frames, and what is behind them. By default [`PixelFormat::RGB8`] with the avatar's own background.
    pub canvas: Canvas,
    /// Bytes of decoded avatar frames to keep. By default 32 MiB.
    pub cache: usize,
}

impl Default for PresenterOptions {
    fn default() -> Self {
        Self {
            engine: Engine::default(),
            threads: 0,
            rate: FrameRate::NATIVE,
            canvas: Canvas { format: PixelFormat::RGB8, background: None },
            cache: 32 << 20,
        }
    }
}

impl PresenterOptions {
    /// Where and how the networks run.
    #[must_use]
    pub fn engine(self, engine: Engine) -> Self {
        Self { engine, ..self }
    }

    /// Frames painted at the same time; 0 for as many as there are cores.
    #[must_use]
    pub fn threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    /// Frames a second.
    #[must_use]
    pub fn rate(self, rate: FrameRate) -> Self {
        Self { rate, ..self }
    }

    /// Format of the frames.
    #[must_use]
    pub fn format(self, format: PixelFormat) -> Self {
        Self { canvas: Canvas { format, ..self.canvas }, ..self }
    }

    /// Red, green and blue behind a transparent avatar, in formats without alpha.
    #[must_use]
    pub fn background(self, background: [u8; 3]) -> Self {
        Self { canvas: Canvas { background: Some(background), ..self.canvas }, ..self }
    }

    /// Bytes of decoded avatar frames to keep.
    #[must_use]
    pub fn cache(self, cache: usize) -> Self {
        Self { cache, ..self }
    }
}

/// A speaking avatar: push sound, pull frames.
///
/// Frame `n` shows the sound at `n / rate` seconds after the first sample. Half a second of the avatar, painted:
///
/// ```
/// # fn main() -> lipsync_core::Result<()> {
/// # let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/iris");
/// use lipsync_core::{Avatar, Presenter, PresenterOptions};
///
/// let avatar = Avatar::open(&folder)?;
/// let mut presenter = Presenter::open(avatar, &PresenterOptions::default())?;
/// let (width, height) = presenter.size();
/// presenter.set_input(16_000, vec![1.0])?;
/// let tone = |n| (n as f32 * 0.1).sin() * 0.5;
/// presenter.push(&(0..8_000).map(tone).collect::<Vec<f32>>())?;
/// presenter.finish()?;
/// let mut frames = 0;
/// while let Some(frame) = presenter.pull()? {
///     assert_eq!(frame.index(), frames);
///     assert_eq!(frame.to_vec().len(), 3 * (width * height) as usize);
///     frames += 1;
/// }
/// assert_eq!(frames, 13);
/// # Ok(())
/// # }
/// ```
///
/// It can be sent to another thread, and so can its frames; it starts threads of its own to paint, and ends them when it is
/// dropped. Presenters of the same network in one process share them.
pub struct Presenter {
    listener: Listener,
    painter: Painter,
    frames: Arc<FrameStore>,
    timeline: Timeline,
    waiting: VecDeque<(u64, PendingFrame)>,
}

/// A painter with the frames that it paints, for video of some rate, and what tells it what to paint.
pub(crate) fn open(
    avatar: Avatar,
    options: &PresenterOptions,
) -> Result<(Listener, Painter, Arc<FrameStore>)> {
    let mut painter = Painter::open(&avatar, &options.engine, options.threads)?;
    let track = avatar.open_features(painter.context_kind(), features::NO_LIMIT, &options.engine)?;
    let mut listener = Listener::new(track, options.rate);
    painter.set_silence(listener.silence()?);
    let frames = FrameStore::new(Arc::new(avatar), options.canvas, painter.framing(), options.cache);
    Ok((listener, painter, Arc::new(frames)))
}

impl Presenter {
    /// Opens an avatar's networks. ONNX Runtime is the library that the environment variable `ORT_DYLIB_PATH` names, else
    /// that in [`Engine::library_dir`], else that of the system.
    ///
    /// # Errors
    /// [`Error::Runtime`](crate::Error::Runtime) where ONNX Runtime cannot be used,
    /// [`Error::NotFound`](crate::Error::NotFound) and [`Error::Invalid`](crate::Error::Invalid) where a network is
    /// missing or is none of the method.
    pub fn open(avatar: Avatar, options: &PresenterOptions) -> Result<Self> {
        let (listener, painter, frames) = open(avatar, options)?;
        let timeline = Timeline::new(frames.avatar().clone());
        Ok(Self { listener, painter, frames, timeline, waiting: VecDeque::new() })
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
        self.listener.rate()
    }

    /// The avatar that speaks.
    pub fn avatar(&self) -> &Avatar {
        self.frames.avatar()
    }

    /// How much sound behind its own time a frame needs, for sound of `sample_rate` Hz.
    pub fn lookahead(&self, sample_rate: u32) -> Duration {
        Duration::from_nanos(self.listener.lookahead(sample_rate))
    }

    /// Sets the format of the sound: samples a second, and for each channel its weight in the mono sound that the avatar
    /// hears, such as `vec![1.0]` for mono or `vec![0.5, 0.5]` for stereo. In mid-stream the sound goes on without a break.
    ///
    /// # Errors
    /// [`Error::Audio`](crate::Error::Audio) for a rate or a number of channels that is not supported.
    pub fn set_input(&mut self, sample_rate: u32, weights: Vec<f32>) -> Result<()> {
        self.listener.set_input(sample_rate, weights)
    }

    /// Hears interleaved samples, from -1 to 1, in the format of [`Self::set_input`]; before that is set they are ignored.
    ///
    /// # Errors
    /// [`Error::Audio`](crate::Error::Audio) for samples that are no numbers, or an incomplete last frame of channels.
    pub fn push(&mut self, interleaved: &[f32]) -> Result<()> {
        self.listener.push(interleaved)
    }

    /// Hears the end of the sound: the frames still due can be pulled.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(&mut self) -> Result<()> {
        self.listener.finish()
    }

    /// The next frame, or `None` where it needs more sound, or all have been pulled. It waits until the frame is painted.
    ///
    /// # Errors
    /// [`Error::Inference`](crate::Error::Inference) for a network that fails, [`Error::NotFound`](crate::Error::NotFound) or
    /// [`Error::Invalid`](crate::Error::Invalid) for the picture of a frame.
    pub fn pull(&mut self) -> Result<Option<VideoFrame>> {
        while self.waiting.len() < self.painter.capacity() {
            let Some((n, context)) = self.listener.next_context()? else { break };
            let step = self.rate().convert_index(n, self.frames.avatar().rate);
            if self.listener.underlines(n) {
                self.timeline.emphasize();
            }
            let shot = self.timeline.shot(step, true);
            let pending = self.painter.submit(&self.frames, &shot, MouthRequest::Speech(context));
            self.waiting.push_back((n, pending));
        }
        let Some((index, pending)) = self.waiting.pop_front() else { return Ok(None) };
        let painted = pending.wait()?;
        Ok(Some(VideoFrame::new(painted, index, self.rate(), self.format(), self.size())))
    }

    /// Sets how many stressed syllables are underlined by a gesture, from 0, none, to 1, where the avatar has clips for that.
    pub fn set_emphasis(&mut self, amount: f64) {
        self.listener.set_emphasis(amount);
    }

    /// Which picture of the avatar is shown when: plays clips.
    pub fn timeline(&mut self) -> &mut Timeline {
        &mut self.timeline
    }

    /// Forgets all sound and the frames still in work: the next sample is the first, the next frame is frame 0.
    ///
    /// # Errors
    /// [`Error::Audio`](crate::Error::Audio) where the resampler cannot be made again.
    pub fn reset(&mut self) -> Result<()> {
        self.painter.interrupt();
        self.waiting.clear();
        self.listener.reset()
    }
}
