// SPDX-License-Identifier: MPL-2.0
//! The class: its properties, pad templates and changes of state.

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::settings;
use super::state::Lipsync;
use super::stream::Stream;
use crate::ledger::{Ledger, Reason};
use crate::messages::{error_message, post_latency};
use crate::progress::Progress;
use crate::stats::{self, Stats};
use crate::{CAT, audio_input, clips, video_output};

#[glib::object_subclass]
impl ObjectSubclass for Lipsync {
    const NAME: &'static str = "GstLipsync";
    type Type = super::Lipsync;
    type ParentType = gst::Element;

    fn with_class(klass: &Self::Class) -> Self {
        let template = |name| klass.pad_template(name).unwrap_or_else(|| unreachable!("template {name}"));
        Self::new(Self::new_sink_pad(&template("sink")), Self::new_source_pad(&template("src")))
    }
}

impl ObjectImpl for Lipsync {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let mut properties = settings::properties();
            properties.push(stats::property("; how far the video is (running-time) and how fast it goes, in seconds of video a second (speed)"));
            properties
        });
        PROPERTIES.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let known = self.settings().set(pspec.name(), value);
        debug_assert!(known, "no property {}", pspec.name());
        if pspec.name() == "processing-latency" {
            post_latency(&*self.obj());
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "stats" => {
                let state = self.state();
                let painter = state.loaded.as_ref().map(|loaded| &loaded.painter);
                let mut structure = state.stats.structure(painter.map(|painter| painter.arithmetic()));
                structure.set("running-time", gst::ClockTime::from_nseconds(state.progress.until()));
                structure.set("speed", state.progress.speed());
                structure.to_value()
            }
            name => self.settings().get(name).unwrap_or_else(|| unreachable!("no property {name}")),
        }
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(|| {
            /**
             * GstLipsync::play-clip:
             * @clip: the name of one of the avatar's clips
             *
             * Plays a clip of the avatar once, from the next frame on that is asked for, and goes back to what was played before.
             * A name that the avatar does not have is a warning, which lists those that it has.
             *
             * Since: 0.1.0
             */
            let play_clip = clips::signal(|element: super::Lipsync, asked| {
                element.imp().state().clips_asked.push_back(asked);
            });
            vec![play_clip]
        });
        SIGNALS.as_ref()
    }

    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        for pad in [&self.sinkpad, &self.srcpad] {
            element.add_pad(pad).unwrap_or_else(|e| unreachable!("the pads have names of their own: {e}"));
        }
    }
}

impl GstObjectImpl for Lipsync {}

impl ElementImpl for Lipsync {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Lip sync",
                "Visualization",
                "Makes a face speak: turns audio into video of a talking avatar, its mouth painted by neural networks (the method of SyncTalk_2D). Example: gst-launch-1.0 playbin uri=file:///home/me/speech.mp3 flags=0x0b vis-plugin=lipsync",
                "The gst-plugin-lipsync authors",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let always = |name, direction, caps: gst::Caps| {
                gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps)
                    .unwrap_or_else(|e| unreachable!("the caps are valid: {e}"))
            };
            vec![
                always("sink", gst::PadDirection::Sink, audio_input::caps()),
                always("src", gst::PadDirection::Src, video_output::template_caps()),
            ]
        });
        TEMPLATES.as_ref()
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        gst::debug!(CAT, imp = self, "changing state {transition:?}");
        match transition {
            // Again from READY on, where properties may have changed.
            gst::StateChange::NullToReady | gst::StateChange::ReadyToPaused => {
                {
                    let mut state = self.state();
                    state.stats = Stats::default();
                    state.progress = Progress::default();
                    state.has_played = false;
                    state.stall_told = false;
                }
                let restart = |()| self.stream().as_mut().map_or(Ok(()), Stream::restart);
                if let Err(error) = self.load().and_then(restart) {
                    self.post_error_message(error_message(&error));
                    return Err(gst::StateChangeError);
                }
            }
            gst::StateChange::PausedToPlaying => self.state().has_played = true,
            // Before the parent deactivates the pads and waits for their threads.
            gst::StateChange::PausedToReady => self.interrupt(),
            _ => {}
        }
        let changed = self.parent_change_state(transition)?;
        match transition {
            gst::StateChange::PausedToReady => {
                drop(self.queue.take());
                self.writer.stop();
                self.forget_picture();
                self.cut_utterances(Reason::Stopped);
                self.state().ledger = Ledger::default();
            }
            gst::StateChange::ReadyToNull => self.unload(),
            _ => {}
        }
        Ok(changed)
    }
}
