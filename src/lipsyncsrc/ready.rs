// SPDX-License-Identifier: MPL-2.0
//! An avatar that is loaded, and those of an element.

use std::path::PathBuf;
use std::sync::Arc;

use lipsync_core::avatar::frames::FrameStore;
use lipsync_core::error::Error;
use lipsync_core::inference::cancellation::Canceller;
use lipsync_core::render::listener::Listener;

use crate::loaded::Loaded;
use crate::loading::Loading;
use crate::settings::Settings;

/// An avatar with all that is needed to go on with it.
pub struct Ready {
    pub loaded: Loaded,
    pub listener: Listener,
    /// The frames of which one has been painted, kept so that it need not be read once more.
    pub tried: Option<Arc<FrameStore>>,
}

impl Ready {
    /// Opens an avatar, as [`Loaded::open`] does.
    pub fn open(
        settings: Settings,
        library_dir: Option<PathBuf>,
        canceller: &Canceller,
    ) -> Result<Self, Error> {
        let (loaded, listener) = Loaded::open(settings, library_dir, canceller)?;
        Ok(Self { loaded, listener, tried: None })
    }
}

/// The avatar that plays, the one to start with, and the one that is to take over.
#[derive(Default)]
pub struct Avatars {
    /// Kept from READY to the first frame.
    pub ready: Option<Ready>,
    /// What is to be ready, and is not yet.
    pub starting: Option<Arc<Loading<Ready>>>,
    /// What plays now, from READY to PAUSED on.
    pub playing: Option<Loaded>,
    /// One that is to take over, and the number of the request.
    pub next: Option<(u64, Ready)>,
    /// Calls off the loading of one that was to take over.
    pub loading: Canceller,
    /// Counts the avatars asked for: only the last one takes over.
    pub requests: u64,
    /// The name of the one that played when another was asked for, as long as that one has not taken over.
    pub accepted: Option<String>,
}
