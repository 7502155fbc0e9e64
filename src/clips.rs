// SPDX-License-Identifier: MPL-2.0
//! Who decides which picture of the avatar is shown: the properties, signals and events that name clips.

use std::sync::Arc;

use gst::glib;
use gst::prelude::*;
use lipsync_core::avatar::Avatar;
use lipsync_core::avatar::clips::ClipUse;
use lipsync_core::avatar::frames::Shot;
use lipsync_core::render::timeline::Timeline;
use lipsync_core::text::plain;

use crate::custom_structure;
use crate::enums::State;
use crate::settings::Settings;

/// The custom event in the sound that plays a clip in step with it, and its field with the clip's name.
const EVENT: &str = "lipsync-clip";
const EVENT_FIELD: &str = "clip";

/// A clip that is to be played once.
#[derive(Debug, PartialEq, Eq)]
pub struct Asked {
    pub clip: String,
    /// With the next frame, however it joins: in step with a word.
    pub at_once: bool,
}

impl Asked {
    /// What an event of the sound asks for; an empty name where it names none.
    pub fn by_event(event: &gst::EventRef) -> Option<Self> {
        let structure = custom_structure(event).filter(|structure| structure.name() == EVENT)?;
        Some(Self { clip: structure.get::<String>(EVENT_FIELD).unwrap_or_default(), at_once: true })
    }
}

/// The action signal `play-clip`.
pub fn signal<E: IsA<gst::Element>>(
    play: impl Fn(E, Asked) + Send + Sync + 'static,
) -> glib::subclass::Signal {
    glib::subclass::Signal::builder("play-clip")
        .action()
        .param_types([String::static_type()])
        .class_handler(move |values| {
            let element = values.first().and_then(|value| value.get::<E>().ok());
            let clip = values.get(1).and_then(|value| value.get::<Option<String>>().ok()).flatten();
            if let (Some(element), Some(clip)) = (element, clip) {
                play(element, Asked { clip, at_once: false });
            }
            None
        })
        .build()
}

/// Tells an avatar's timeline what is asked for.
pub struct Director {
    timeline: Timeline,
    /// What the timeline has been told.
    clip: String,
    state: State,
}

impl Director {
    /// One to whom nothing has been said.
    pub fn new(avatar: Arc<Avatar>) -> Self {
        Self { timeline: Timeline::new(avatar), clip: String::new(), state: State::default() }
    }

    /// Does what the properties say now, and plays the clips that are asked for. Returns warnings where the avatar cannot.
    #[must_use]
    pub fn follow(&mut self, settings: &Settings, asked: impl IntoIterator<Item = Asked>) -> Vec<String> {
        if self.state != settings.state {
            self.state = settings.state;
            self.timeline.set_state(self.state.into());
        }
        let mut unknown = Vec::new();
        if self.clip != settings.clip {
            self.clip.clone_from(&settings.clip);
            let name = Some(self.clip.as_str()).filter(|name| !name.is_empty());
            if !self.timeline.set_clip(name) {
                self.timeline.set_clip(None);
                unknown.push(self.clip.clone());
            }
        }
        for Asked { clip, at_once } in asked {
            let plays =
                if at_once { self.timeline.play_clip_now(&clip) } else { self.timeline.play_clip(&clip) };
            if !plays {
                unknown.push(clip);
            }
        }
        unknown.iter().map(|name| no_such_clip(self.timeline.avatar(), name)).collect()
    }

    /// How many words are to be underlined: none where the avatar has no clips for that.
    pub fn emphasis(&self, settings: &Settings) -> f64 {
        let can = self.timeline.avatar().clips.iter().any(|clip| clip.used_for == ClipUse::Emphasis);
        if can { settings.emphasis } else { 0.0 }
    }

    /// Underlines a word, where the avatar can and nothing else is under way.
    pub fn emphasize(&mut self) {
        self.timeline.emphasize();
    }

    /// The picture at a step of the avatar.
    pub fn shot(&mut self, step: u64, speaking: bool) -> Shot {
        self.timeline.shot(step, speaking)
    }
}

/// That an avatar has no such clip, and which it has.
fn no_such_clip(avatar: &Avatar, name: &str) -> String {
    let names: Vec<&str> = avatar.clips.iter().map(|clip| clip.name.as_str()).collect();
    format!(
        "the avatar {} has no clip \"{}\". It has {}",
        plain(&avatar.title),
        plain(name),
        names.join(", ")
    )
}
