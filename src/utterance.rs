// SPDX-License-Identifier: MPL-2.0
//! The events by which upstream marks utterances.

use crate::{CAT, custom_structure};

/// What an event says of utterances.
pub enum UtteranceEvent {
    /// One begins with the sound that follows.
    Start(String),
    /// The one of that name, or whichever there is, has ended: that was all.
    End(Option<String>),
}

impl UtteranceEvent {
    /// What the event says, if it is one of these.
    pub fn of(event: &gst::EventRef) -> Option<Self> {
        let structure = custom_structure(event)?;
        let id = structure.get::<Option<String>>("id").ok().flatten();
        match structure.name().as_str() {
            "lipsync-utterance-start" if id.is_none() => {
                gst::warning!(CAT, "an utterance without an id, which is a string, is none: {structure}");
                None
            }
            "lipsync-utterance-start" => id.map(Self::Start),
            "lipsync-utterance-end" => Some(Self::End(id)),
            _ => None,
        }
    }
}
