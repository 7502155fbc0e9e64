// SPDX-License-Identifier: MPL-2.0
//! The manifest of our own layout, `avatar.toml`, and the table of face rectangles, as they are written in the files.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Problems;
use super::clips::{ClipMouth, ClipUse, Play};
use crate::error::{Error, Result};
use crate::features::{MelWindows, RowSelection};
use crate::file::Inside;
use crate::generator::face::{Paste, Style};

/// The file that tells the layout.
pub const MANIFEST: &str = "avatar.toml";

/// The version of the manifest that this program reads.
pub const FORMAT: u32 = 1;

pub const REMEDY: &str = "models/README.md describes every key";

/// What the manifest says.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    pub format: u32,
    pub title: String,
    /// Read by people only.
    pub license: String,
    pub fps: u32,
    pub frames: PathBuf,
    pub crop: Option<[i64; 4]>,
    pub crops: Option<PathBuf>,
    pub parsing: Option<PathBuf>,
    pub alpha: Option<PathBuf>,
    pub background: Option<PathBuf>,
    #[serde(default)]
    pub first_frame: usize,
    #[serde(default)]
    pub at_rest: bool,
    pub models: Models,
    #[serde(default)]
    pub face: Face,
    #[serde(default)]
    pub audio: Audio,
    #[serde(default)]
    pub clips: BTreeMap<String, ClipKeys>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Models {
    pub audio_encoder: Option<PathBuf>,
    pub generator: PathBuf,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Face {
    pub style: Option<Style>,
    pub border: Option<u32>,
    pub paste: Option<Paste>,
    pub faces: Option<PathBuf>,
    pub masked: Option<PathBuf>,
}

#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audio {
    pub context: RowSelection,
    pub windows: MelWindows,
}

/// What the manifest says about a clip: a folder of frames of its own, or a range of the avatar's.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClipKeys {
    /// First and last.
    pub range: Option<[usize; 2]>,
    pub frames: Option<PathBuf>,
    pub crop: Option<[i64; 4]>,
    pub crops: Option<PathBuf>,
    pub parsing: Option<PathBuf>,
    pub alpha: Option<PathBuf>,
    #[serde(rename = "use")]
    pub used_for: ClipUse,
    pub play: Play,
    pub mouth: ClipMouth,
}

/// The clips of a folder in another layout: `clips.toml` beside it.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipsFile {
    pub clips: BTreeMap<String, ClipKeys>,
}

impl ClipKeys {
    /// The paths that it names, by their keys.
    pub fn paths(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let paths = [
            ("frames", self.frames.as_ref()),
            ("crops", self.crops.as_ref()),
            ("parsing", self.parsing.as_ref()),
            ("alpha", self.alpha.as_ref()),
        ];
        paths.into_iter().filter_map(|(key, path)| Some((key, path?.as_path())))
    }
}

/// A line of the file `crops`.
#[derive(Deserialize, Serialize)]
pub struct Crop {
    pub frame: usize,
    pub x: i64,
    pub y: i64,
    pub width: i64,
    pub height: i64,
}

impl Manifest {
    /// The paths that it names, by their keys.
    fn paths(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        [
            ("frames", Some(&self.frames)),
            ("crops", self.crops.as_ref()),
            ("parsing", self.parsing.as_ref()),
            ("alpha", self.alpha.as_ref()),
            ("background", self.background.as_ref()),
            ("audio_encoder", self.models.audio_encoder.as_ref()),
            ("generator", Some(&self.models.generator)),
            ("faces", self.face.faces.as_ref()),
            ("masked", self.face.masked.as_ref()),
        ]
        .into_iter()
        .filter_map(|(key, path)| Some((key, path?.as_path())))
    }

    /// Fails where a path leads out of the folder, with the last of those; the others are added to `problems`.
    pub fn check_paths(&self, path: &Path, inside: &Inside, problems: &mut Problems) -> Result<()> {
        let outside = self.paths().filter_map(|(key, named)| inside.named(path, key, named).err());
        match outside.reduce(|before, problem| {
            problems.add(before);
            problem
        }) {
            Some(last) => Err(last),
            None => Ok(()),
        }
    }
}

/// What is wrong with a manifest, and in which line, without showing the line itself: it may be of any length.
pub fn unreadable(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let line = error.span().and_then(|span| text.get(..span.start)).map(|before| before.split('\n').count());
    let line = line.map(|line| format!(" in line {line}")).unwrap_or_default();
    Error::invalid(path, format!("cannot be read{line}: {}", error.message().trim()), REMEDY)
        .with_source(error.clone())
}
