//! All steps together, for programs without GStreamer: audio in, frames out.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::avatar::Avatar;
use crate::avatar::frames::FrameStore;
use crate::error::Result;
use crate::features;
use crate::inference::runtime::Engine;
use crate::picture::formats::Canvas;
use crate::rate::FrameRate;
use crate::render::listener::Listener;
use crate::render::painter::{MouthRequest, Painted, Painter, PendingFrame};

/// How a [`Presenter`] works.
#[derive(Debug, Clone)]
pub struct PresenterOptions {
    /// Where the networks run.
    pub engine: Engine,
    /// Frames painted at the same time; 0 for as many as there are cores.
    pub threads: usize,
    /// Frames a second.
    pub rate: FrameRate,
    /// Format of the frames, and what is behind them.
    pub canvas: Canvas,
    /// Bytes of decoded avatar frames to keep.
    pub cache: usize,
}

/// A speaking avatar: push sound, pull frames.
///
/// ```no_run
/// # use lipsync_core::{Avatar, Engine, FrameRate, Presenter, PresenterOptions, picture::formats::*};
/// # fn main() -> lipsync_core::error::Result<()> {
/// let avatar = Avatar::find("iris", None)?;
/// let options = PresenterOptions {
///     engine: Engine::default(),
///     threads: 0,
///     rate: FrameRate::NATIVE,
///     canvas: Canvas {
///         format: PixelFormat::Packed(Packed { bytes: 3, order: [0, 1, 2], alpha: None }),
///         background: None,
///     },
///     cache: 128 << 20,
/// };
/// let mut presenter = Presenter::open(avatar, &options)?;
/// presenter.set_input(16_000, vec![1.0])?;
/// presenter.push(&[0.0; 16_000])?;
/// presenter.finish()?;
/// while let Some(frame) = presenter.pull()? {
///     // frame.draw(...)
/// }
/// # Ok(())
/// # }
/// ```
pub struct Presenter {
    listener: Listener,
    painter: Painter,
    frames: Arc<FrameStore>,
    rate: FrameRate,
    waiting: VecDeque<PendingFrame>,
}

impl Presenter {
    /// Opens an avatar's networks; ONNX Runtime is looked for as in [`crate::inference::runtime::environment`].
    ///
    /// # Errors
    /// As [`Avatar::open_features`] and [`Painter::open`].
    pub fn open(avatar: Avatar, options: &PresenterOptions) -> Result<Self> {
        let mut painter = Painter::open(&avatar, &options.engine, options.threads)?;
        let track = avatar.open_features(painter.hearing(), features::NO_LIMIT, &options.engine)?;
        let mut listener = Listener::new(track, options.rate);
        painter.set_silence(listener.silence()?);
        let frames = FrameStore::new(Arc::new(avatar), options.canvas, painter.framing(), options.cache);
        Ok(Self { listener, painter, frames: Arc::new(frames), rate: options.rate, waiting: VecDeque::new() })
    }

    /// Sets the format of the sound; mono is the sum of the channels by their weights.
    ///
    /// # Errors
    /// As [`Listener::set_input`].
    pub fn set_input(&mut self, sample_rate: u32, weights: Vec<f32>) -> Result<()> {
        self.listener.set_input(sample_rate, weights)
    }

    /// Hears interleaved samples.
    ///
    /// # Errors
    /// As [`Listener::push`].
    pub fn push(&mut self, interleaved: &[f32]) -> Result<()> {
        self.listener.push(interleaved)
    }

    /// Hears the end of the sound.
    ///
    /// # Errors
    /// As [`Listener::finish`].
    pub fn finish(&mut self) -> Result<()> {
        self.listener.finish()
    }

    /// The next frame, or `None` where it needs more sound, or all have been pulled.
    ///
    /// # Errors
    /// As [`Listener::next_context`] and [`PendingFrame::wait`].
    pub fn pull(&mut self) -> Result<Option<Painted>> {
        while self.waiting.len() < self.painter.capacity() {
            let Some((n, context)) = self.listener.next_context()? else { break };
            let step = self.rate.convert_index(n, self.frames.avatar().rate);
            self.waiting.push_back(self.painter.submit(&self.frames, step, MouthRequest::Speech(context)));
        }
        self.waiting.pop_front().map(PendingFrame::wait).transpose()
    }

    /// Forgets all sound and the frames still in work.
    ///
    /// # Errors
    /// As [`Listener::reset`].
    pub fn reset(&mut self) -> Result<()> {
        self.painter.interrupt();
        self.waiting.clear();
        self.listener.reset()
    }
}
