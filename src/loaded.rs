// SPDX-License-Identifier: MPL-2.0
//! What an element has open from READY on: the avatar, its networks and their workers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gst::prelude::*;
use lipsync_core::avatar::Avatar;
use lipsync_core::error::Error;
use lipsync_core::inference::cancellation::{self, Canceller};
use lipsync_core::inference::network::Interrupter;
use lipsync_core::rate::FrameRate;
use lipsync_core::render::listener::Listener;
use lipsync_core::render::painter::Painter;
use lipsync_core::text::plain;

use super::settings::Settings;

/// An avatar that is ready to speak.
#[derive(Clone)]
pub struct Loaded {
    /// What it was loaded with.
    pub settings: Settings,
    pub avatar: Arc<Avatar>,
    pub painter: Arc<Painter>,
    /// Stops the audio encoder, where there is one.
    pub encoder: Option<Interrupter>,
}

/// The same with a listener for the sound.
pub type Opened = (Loaded, Listener);

impl Loaded {
    /// Opens avatar, ONNX Runtime and networks, with a listener for the sound, until that is called off. `library_dir` is
    /// what [`library_dir`] gives. Networks that take too long are errors.
    ///
    /// # Errors
    /// As [`cancellation::run`], [`Avatar::find`], [`Painter::open`] and [`Avatar::open_features`].
    pub fn open(
        settings: Settings,
        library_dir: Option<PathBuf>,
        canceller: &Canceller,
    ) -> Result<Opened, Error> {
        cancellation::run(canceller, move || Self::open_here(settings, library_dir.as_deref()))
    }

    fn open_here(settings: Settings, library_dir: Option<&Path>) -> Result<Opened, Error> {
        let engine = settings.engine().with_library_dir(library_dir);
        let mut avatar = Avatar::find(&settings.avatar, library_dir)?;
        settings.adjust(&mut avatar);
        let mut painter = Painter::open(&avatar, &engine, settings.n_threads as usize)?;
        let track = avatar.open_features(painter.context_kind(), settings.lookahead_samples(), &engine)?;
        let mut listener = Listener::new(track, FrameRate::NATIVE);
        painter.set_silence(listener.silence()?);
        let encoder = listener.interrupter();
        Ok((Self { settings, avatar: Arc::new(avatar), painter: Arc::new(painter), encoder }, listener))
    }
}

impl std::fmt::Display for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "avatar {} from {}: {} frames, {:?}, {:?}, hears {}, {} workers, {}",
            plain(&self.avatar.title),
            self.avatar.folder.display(),
            self.avatar.frames.len(),
            self.avatar.image,
            self.painter.framing(),
            self.painter.context_kind(),
            self.painter.workers(),
            self.painter.arithmetic()
        )
    }
}

/// The folder of the plugin, where ONNX Runtime and avatars may lie, too.
pub fn library_dir(element: &impl IsA<gst::Element>) -> Option<PathBuf> {
    let plugin = element.factory()?.plugin()?.filename()?;
    Some(std::path::absolute(plugin).ok()?.parent()?.to_path_buf())
}
