// SPDX-License-Identifier: MPL-2.0
//! The avatar: how it is loaded, and given back.

use gst::subclass::prelude::*;
use lipsync_core::error::Error;
use lipsync_core::render::listener::Listener;

use super::item::Item;
use super::state::{Latency, Lipsync};
use super::stream::Stream;
use crate::CAT;
use crate::loaded::{Loaded, Opened, library_dir};
use crate::loading::Loading;
use crate::messages::{Failure, error_message, post_latency};

impl Lipsync {
    /// Opens avatar, ONNX Runtime and networks, if that has not been done with the same settings. What takes long is
    /// waited for by [`Self::wait_for_stream`].
    pub fn load(&self) -> Result<(), Error> {
        let settings = self.settings().common.clone();
        if self.loaded().is_some_and(|loaded| loaded.settings.load_the_same(&settings)) {
            return Ok(());
        }
        let loading = self.state().loading.clone();
        let opened = match loading.filter(|loading| loading.settings.load_the_same(&settings)) {
            Some(loading) => loading.take(),
            None => {
                self.unload();
                let library_dir = library_dir(&*self.obj());
                let open = |settings, canceller: &_| Loaded::open(settings, library_dir, canceller);
                let loading = Loading::start(&*self.obj(), settings, open)?;
                self.state().loading = Some(loading.clone());
                loading.wait_a_moment()
            }
        };
        if let Some(opened) = opened {
            self.forget_loading();
            self.take_opened(opened?);
        }
        Ok(())
    }

    fn forget_loading(&self) {
        let loading = self.state().loading.take();
        drop(loading);
    }

    fn take_opened(&self, (loaded, listener): Opened) {
        gst::info!(CAT, imp = self, "{loaded}");
        let before = {
            let mut state = self.state();
            state.latency = Latency::of(&listener, lipsync_core::audio::resample::SAMPLE_RATE);
            state.loaded.replace(loaded)
        };
        let stream = self.stream().replace(Stream::new(listener));
        drop((before, stream));
    }

    /// Gives everything back that has been loaded, and calls off what has not.
    pub fn unload(&self) {
        let loading = self.state().loading.take();
        if let Some(loading) = loading {
            loading.call_off();
        }
        let stream = self.stream().take();
        let loaded = self.state().loaded.take();
        // Joins the workers, with no lock held.
        drop((stream, loaded));
    }

    /// Waits for what takes long to load.
    pub fn wait_for_stream(&self) -> Result<(), gst::FlowError> {
        let loading = self.state().loading.clone();
        let Some(loading) = loading else { return Ok(()) };
        let opened = loading.wait_long(|| self.queue.flow().is_err());
        // A flush or a stop, which leaves it for the next time.
        let opened = opened.ok_or(gst::FlowError::Flushing)?;
        self.forget_loading();
        match opened {
            Ok(opened) => {
                self.change_latency(|| self.take_opened(opened));
                Ok(())
            }
            Err(error) => {
                // A flush meanwhile must not take it: it would never be told again.
                if self.queue.push(Item::Failure(Failure::Core(error.clone())), 0).is_err() {
                    self.post_error_message(error_message(&error));
                }
                Err(gst::FlowError::Eos)
            }
        }
    }

    /// Takes note of what the latency depends on and tells the pipeline if it has changed.
    pub fn note_latency(&self, listener: &Listener, sample_rate: u32) {
        self.change_latency(|| self.state().latency = Latency::of(listener, sample_rate));
    }

    /// Makes a change on which the latency may depend, and tells the pipeline if it has changed.
    fn change_latency(&self, change: impl FnOnce()) {
        let before = self.own_latency();
        change();
        if self.own_latency() != before {
            post_latency(&*self.obj());
        }
    }
}
