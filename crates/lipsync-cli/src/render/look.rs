// SPDX-License-Identifier: MPL-2.0
//! The options of the avatar, as properties of the element.

use anyhow::Result;
use gst::prelude::*;
use lipsync_core::avatar::Avatar;
use lipsync_core::rate::FrameRate;

use crate::cli::Look;
use crate::plugin;

impl Look {
    /// Opens the avatar.
    ///
    /// # Errors
    /// Where there is none of that name, or it would not play; where it lacks the clip.
    pub fn open_avatar(&self) -> Result<Avatar> {
        let avatar = Avatar::open(&plugin::locate(&self.avatar, plugin::library_dir().as_deref())?)?;
        if let Some(name) = self.clip.as_deref().filter(|name| avatar.clip(name).is_none()) {
            let names: Vec<&str> = avatar.clips.iter().map(|clip| clip.name.as_str()).collect();
            anyhow::bail!(
                "--clip {name}: {} has no clip of that name. It has {}",
                self.avatar,
                names.join(", ")
            );
        }
        Ok(avatar)
    }

    /// Sets the properties of the element, which shows what [`Self::open_avatar`] has opened.
    pub fn apply(&self, avatar: &Avatar, face: &gst::Element) {
        face.set_property("avatar", avatar.folder.to_string_lossy().as_ref());
        if let Some(clip) = &self.clip {
            face.set_property("clip", clip);
        }
        if let Some(emphasis) = self.emphasis {
            face.set_property("emphasis", emphasis);
        }
    }

    /// Frames a second of the video.
    pub fn frame_rate(&self, avatar: &Avatar) -> FrameRate {
        self.fps.and_then(|fps| FrameRate::new(fps, 1)).unwrap_or(avatar.rate)
    }

    /// What caps say of the frame rate: nothing where it is the avatar's own.
    pub fn rate(&self) -> String {
        self.fps.map_or_else(String::new, |fps| format!(",framerate={fps}/1"))
    }
}
