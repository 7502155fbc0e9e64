// SPDX-License-Identifier: MPL-2.0
//! The class: its properties, signal, pad templates and changes of state.

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use lipsync_core::error::Error;

use super::settings;
use super::state::LipsyncSrc;
use crate::messages::{error_message, post_latency};
use crate::{CAT, audio_input, clips, stats, video_output};

#[glib::object_subclass]
impl ObjectSubclass for LipsyncSrc {
    const NAME: &'static str = "GstLipsyncSrc";
    type Type = super::LipsyncSrc;
    type ParentType = gst::Element;

    fn with_class(klass: &Self::Class) -> Self {
        let template = klass.pad_template("src").unwrap_or_else(|| unreachable!("template src"));
        Self::new(Self::new_video_pad(&template))
    }
}

impl ObjectImpl for LipsyncSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let mut properties = settings::properties();
            properties.push(stats::property("; and the inference-interval in force"));
            properties
        });
        PROPERTIES.as_ref()
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(|| {
            vec![
                glib::subclass::Signal::builder("interrupt")
                    .action()
                    .return_type::<gst::Structure>()
                    .class_handler(|values| {
                        let element = values[0].get::<super::LipsyncSrc>().ok()?;
                        Some(element.imp().interrupt_speech().to_value())
                    })
                    .build(),
                /**
                 * GstLipsyncSrc::play-clip:
                 * @clip: the name of one of the avatar's clips
                 *
                 * Plays a clip of the avatar once, also while it speaks, and goes back to what was played before. A name that
                 * the avatar does not have is a warning, which lists those that it has.
                 *
                 * Since: 0.1.0
                 */
                clips::signal(|element: super::LipsyncSrc, asked| {
                    element.imp().state().clips_asked.push_back(asked);
                }),
            ]
        });
        SIGNALS.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let name = pspec.name();
        let known = self.settings().set(name, value);
        debug_assert!(known, "no property {name}");
        match name {
            "processing-latency" => post_latency(&*self.obj()),
            "avatar" => self.avatar_set(),
            "audio-offset" => {
                let pad = self.state().requested.audio.clone();
                if let Some(pad) = pad {
                    let offset = self.settings().live.audio_offset;
                    pad.set_offset(offset);
                }
            }
            _ => {}
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "speaking" => self.state().speaking.is_some().to_value(),
            "backlog" => self.state().backlog.length().to_value(),
            "stats" => {
                let least = self.least_interval();
                let (mut structure, interval) = {
                    let state = self.state();
                    let painter = state.avatars.playing.as_ref().map(|loaded| &loaded.painter);
                    let structure = state.stats.structure(painter.map(|painter| painter.arithmetic()));
                    (structure, state.overload.interval(least))
                };
                structure.set("inference-interval", interval);
                structure.to_value()
            }
            name => {
                let value = self.settings().get(name);
                value.unwrap_or_else(|| unreachable!("no property {name}"))
            }
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        element.set_element_flags(gst::ElementFlags::SOURCE);
        element.add_pad(&self.srcpad).unwrap_or_else(|e| unreachable!("the pad has a name of its own: {e}"));
    }
}

impl GstObjectImpl for LipsyncSrc {}

impl ElementImpl for LipsyncSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Lip sync source",
                "Source/Video",
                "A presenter on air: live video of an avatar that idles while nobody speaks and speaks the sound that comes in, in any pace; what is spoken comes out in sync. The action signal interrupt drops what it is saying and what waits to be said: the mouth closes within two frames",
                "The gst-plugin-lipsync authors",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            use gst::{PadDirection, PadPresence};
            let template = |name, direction, presence, caps: gst::Caps| {
                gst::PadTemplate::new(name, direction, presence, &caps)
                    .unwrap_or_else(|e| unreachable!("the caps are valid: {e}"))
            };
            vec![
                template("src", PadDirection::Src, PadPresence::Always, video_output::template_caps()),
                template("sink", PadDirection::Sink, PadPresence::Request, audio_input::caps()),
                template("audio", PadDirection::Src, PadPresence::Request, audio_input::interleaved_caps()),
            ]
        });
        TEMPLATES.as_ref()
    }

    fn request_new_pad(
        &self,
        template: &gst::PadTemplate,
        _name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst::Pad> {
        self.add_requested(template)
    }

    fn release_pad(&self, pad: &gst::Pad) {
        self.remove_requested(pad);
    }

    fn send_event(&self, event: gst::Event) -> bool {
        if event.type_() == gst::EventType::Eos {
            self.end();
            return true;
        }
        self.parent_send_event(event)
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        gst::debug!(CAT, imp = self, "changing state {transition:?}");
        let fail = |error: Error| {
            self.post_error_message(error_message(&error));
            gst::StateChangeError
        };
        match transition {
            gst::StateChange::NullToReady => self.load().map_err(fail)?,
            gst::StateChange::ReadyToPaused => self.begin().map_err(|error| {
                self.give_up_start();
                fail(error)
            })?,
            gst::StateChange::PlayingToPaused => self.pause(),
            // Before the parent deactivates the pads and waits for their threads.
            gst::StateChange::PausedToReady => self.stop(),
            _ => {}
        }
        let changed = self.parent_change_state(transition).inspect_err(|_| {
            if transition == gst::StateChange::ReadyToPaused {
                self.give_up_start();
            }
        })?;
        match transition {
            // A live source has nothing to show in PAUSED.
            gst::StateChange::ReadyToPaused | gst::StateChange::PlayingToPaused => {
                return Ok(gst::StateChangeSuccess::NoPreroll);
            }
            gst::StateChange::PausedToPlaying => {
                let element = self.obj();
                let clock = element.clock().unwrap_or_else(gst::SystemClock::obtain);
                self.play(clock, element.base_time().unwrap_or_default());
            }
            gst::StateChange::PausedToReady => self.clean_up(),
            gst::StateChange::ReadyToNull => self.unload(),
            _ => {}
        }
        Ok(changed)
    }
}
