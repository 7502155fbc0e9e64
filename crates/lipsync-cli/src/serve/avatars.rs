// SPDX-License-Identifier: MPL-2.0
//! The avatars that may be shown: those of the search path, and the one that was named at the start.

use std::path::{Path, PathBuf};

use anyhow::Result;
use lipsync_core::avatar::Avatar;
use serde_json::{Value, json};

use super::failure::{Failure, Outcome};
use crate::plugin;

/// The avatars by name. Folders are never taken from a request.
pub struct Avatars {
    /// The one of the command line: its name, and its folder.
    first: (String, PathBuf),
}

impl Avatars {
    /// # Errors
    /// Where there is no such avatar, or it would not play.
    pub fn new(first: &str) -> Result<Self> {
        let folder = plugin::locate(first, plugin::library_dir().as_deref())?;
        Avatar::open(&folder)?;
        let is_path = Path::new(first).components().count() > 1 || Path::new(first).is_dir();
        let name = folder.file_name().filter(|_| is_path).map(|name| name.to_string_lossy().into_owned());
        Ok(Self { first: (name.unwrap_or_else(|| first.into()), folder) })
    }

    /// Name of the one that is shown where none is asked for.
    pub fn first(&self) -> &str {
        &self.first.0
    }

    /// Names and avatars, the first one first. Reads the disk.
    fn all(&self) -> Vec<(String, Avatar)> {
        let first = Avatar::open(&self.first.1).ok().map(|avatar| (self.first.0.clone(), avatar));
        let listed = Avatar::list(plugin::library_dir().as_deref()).into_iter();
        let others = listed.filter(|listed| listed.hidden_by.is_none() && listed.name != self.first.0);
        first
            .into_iter()
            .chain(others.filter_map(|listed| Some((listed.name, listed.avatar.ok()?))))
            .collect()
    }

    /// An avatar by its name.
    ///
    /// # Errors
    /// Where there is none of that name.
    pub fn find(&self, name: &str) -> Outcome<Avatar> {
        let all = self.all();
        let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        let sentence = format!("there is no avatar {name:?}. There are {}", names.join(", "));
        all.into_iter()
            .find(|(known, _)| known == name)
            .map(|(_, avatar)| avatar)
            .ok_or_else(|| Failure::missing(sentence))
    }

    /// All of them, with their clips.
    pub fn describe(&self) -> Value {
        self.all().iter().map(|(name, avatar)| describe(name, avatar)).collect()
    }
}

fn describe(name: &str, avatar: &Avatar) -> Value {
    let (width, height) = avatar.size();
    let clips = avatar.clips.iter();
    let clips: Vec<Value> =
        clips.map(|clip| json!({ "name": clip.name, "use": clip.used_for, "play": clip.play })).collect();
    json!({ "name": name, "title": avatar.title, "width": width, "height": height, "clips": clips })
}
