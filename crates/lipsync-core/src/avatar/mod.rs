// SPDX-License-Identifier: MPL-2.0
//! An avatar: a folder with frames of a person, where the face is in each, and the two networks.
//!
//! Three layouts are understood, told apart by what the folder holds: our own (`own`), a SyncTalk_2D data
//! set (`synctalk`) and a digital-clone package (`digital_clone`). Each becomes the same [`Avatar`].

mod clip_files;
pub mod clips;
mod digital_clone;
mod files;
mod frame_set;
pub mod frames;
mod list;
mod manifest;
pub mod matte;
mod own;
mod problems;
mod synctalk;
mod write;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::features::{self, AudioContextKind, FeatureTrack, MelWindows, RowSelection};
use crate::file::{self, Inside};
use crate::generator::face::FaceOptions;
use crate::inference::precision::int8_file;
use crate::inference::runtime::Engine;
use crate::installation;
use crate::picture::geometry::Rect;
use crate::picture::image_file::ImageInfo;
use crate::rate::FrameRate;
use clips::Clip;
pub use list::Listed;
pub use problems::Problems;
pub use write::names;

/// How a folder is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Our own: `avatar.toml`.
    Own,
    /// A data set of SyncTalk_2D.
    SyncTalk2d,
    /// A package of digital-clone.
    DigitalClone,
}

/// What a folder says about an avatar. Only the small files have been read; frames and networks are checked to
/// be there.
#[derive(Debug, Clone, PartialEq)]
pub struct Avatar {
    /// The folder.
    pub folder: PathBuf,
    /// How it is laid out.
    pub layout: Layout,
    /// A name for people.
    pub title: String,
    /// The audio encoder network; generators that hear mel windows need none.
    pub audio_encoder: Option<PathBuf>,
    /// The generator network.
    pub generator: PathBuf,
    /// The frames of all clips.
    #[doc(hidden)]
    pub frames: Vec<AvatarFrameFiles>,
    /// Which frames are played when; the first is what is shown while nothing else is asked for.
    #[doc(hidden)]
    pub clips: Vec<Clip>,
    /// Frames a second at which they play.
    pub rate: FrameRate,
    /// Size of every frame, and whether frames have an alpha channel.
    #[doc(hidden)]
    pub image: ImageInfo,
    /// What frames with masks show behind the person, where it is known.
    pub background: Option<PathBuf>,
    /// How a network that hears rows of an audio encoder wants to hear them.
    #[doc(hidden)]
    pub context: RowSelection,
    /// Where its mel windows start.
    #[doc(hidden)]
    pub windows: MelWindows,
    /// How the network sees and paints faces.
    #[doc(hidden)]
    pub face: FaceOptions,
    /// The mouth is at rest in all frames: while nothing is said they are shown as they are.
    pub at_rest: bool,
}

/// One frame of an avatar.
#[derive(Debug, Clone, PartialEq)]
pub struct AvatarFrameFiles {
    /// The whole picture.
    pub picture: PathBuf,
    /// The face in it, which may reach beyond its lower right edges.
    pub face: FaceRect,
    /// Ready-made pictures for the network, where the package brings them: the face and the masked face.
    pub views: Option<(PathBuf, PathBuf)>,
    /// A picture that marks in pure red or white what of the face is never painted over.
    pub parsing: Option<PathBuf>,
    /// A grey picture of how opaque each pixel is, for a picture that shows the person before a background.
    pub alpha: Option<PathBuf>,
}

/// A face rectangle as a file gives it, not yet checked against the frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FaceRect {
    /// Column of its left edge.
    pub x: i64,
    /// Row of its upper edge.
    pub y: i64,
    /// Columns.
    pub width: i64,
    /// Rows.
    pub height: i64,
}

impl FaceRect {
    /// The part inside a frame of that size; `None` where it starts outside or is empty.
    pub fn within(self, (frame_width, frame_height): (u32, u32)) -> Option<Rect> {
        let x = u32::try_from(self.x).ok().filter(|x| *x < frame_width)?;
        let y = u32::try_from(self.y).ok().filter(|y| *y < frame_height)?;
        let cut = |length: i64, most: u32| u32::try_from(length.min(most.into())).ok().filter(|n| *n > 0);
        Some(Rect {
            x,
            y,
            width: cut(self.width, frame_width - x)?,
            height: cut(self.height, frame_height - y)?,
        })
    }
}

/// The environment variable with folders of avatars, separated as in `PATH`.
pub const PATH_VARIABLE: &str = "LIPSYNC_AVATAR_PATH";

impl Avatar {
    /// Whether it is known how opaque the frames are: by an alpha channel, or by masks beside them.
    pub fn has_alpha(&self) -> bool {
        self.image.alpha || self.frames.iter().any(|frame| frame.alpha.is_some())
    }

    /// Opens an avatar by its folder, or by its name in the search path.
    ///
    /// A value with a path separator is a folder. A name is looked for in [`PATH_VARIABLE`], the user's and
    /// the system's data folders (`lipsync/avatars` in each), the folder `lipsync` in `library_dir`, the plugin's
    /// folder, and the data folder of the prefix that the plugin is installed in.
    ///
    /// # Errors
    /// [`Error::NotFound`] with the places searched, or what [`Self::open`] finds.
    pub fn find(name: &str, library_dir: Option<&Path>) -> Result<Self> {
        Self::open(&Self::locate(name, library_dir)?)
    }

    /// The folder of an avatar, given by its folder or its name, as [`Self::find`] finds it.
    ///
    /// # Errors
    /// [`Error::NotFound`] with the places searched.
    pub fn locate(name: &str, library_dir: Option<&Path>) -> Result<PathBuf> {
        if name.contains(std::path::is_separator) || name == "." || name == ".." {
            return Ok(name.into());
        }
        let places = search_path(library_dir);
        let found = places.iter().map(|place| place.join(name)).find(|folder| folder.is_dir());
        match found {
            Some(folder) => Ok(folder),
            None if Path::new(name).is_dir() => Ok(name.into()),
            None => {
                let places: Vec<String> = places.iter().map(|p| p.display().to_string()).collect();
                Err(Error::not_found(
                    name,
                    format!("no avatar of that name in {}", places.join(", ")),
                    format!(
                        "Set the property avatar to a folder, or {PATH_VARIABLE} to where your avatars are"
                    ),
                ))
            }
        }
    }

    /// Width and height of every frame, in pixels.
    pub fn size(&self) -> (u32, u32) {
        self.image.size
    }

    /// The landmarks of a frame, in its pixels: where the layout has them ([`Layout::SyncTalk2d`]) and they can be read.
    #[doc(hidden)]
    pub fn landmarks(&self, frame: &AvatarFrameFiles) -> Option<Vec<(i64, i64)>> {
        if self.layout != Layout::SyncTalk2d {
            return None;
        }
        let file = synctalk::landmark_file(&self.folder, &frame.picture);
        synctalk::landmarks(&Inside::new(&self.folder).ok()?, &file).ok()
    }

    /// Opens the avatar in a folder, of whichever layout.
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Invalid`], naming the file and the remedy.
    pub fn open(folder: &Path) -> Result<Self> {
        let mut problems = Problems::default();
        let avatar = Self::survey(folder, &mut problems);
        problems.first()?;
        avatar
    }

    /// Opens what can be opened of a folder, adding everything that is wrong with it to `problems`: only where there
    /// are none is the avatar one to play.
    ///
    /// # Errors
    /// As [`Self::open`], where nothing can be told of the folder.
    #[doc(hidden)]
    pub fn survey(folder: &Path, problems: &mut Problems) -> Result<Self> {
        if !folder.is_dir() {
            return Err(Error::not_found(
                folder,
                "no such folder",
                "Set the property avatar to the name or folder of an avatar",
            ));
        }
        let inside = &Inside::new(folder)?;
        let avatar = if folder.join(manifest::MANIFEST).exists() {
            own::open(folder, inside, problems)
        } else if folder.join(digital_clone::RECTANGLES).exists() {
            digital_clone::open(folder, inside, problems)
        } else if folder.join(synctalk::LANDMARKS).exists() {
            synctalk::open(folder, inside, problems)
        } else {
            Err(Error::not_found(
                folder,
                format!(
                    "holds no avatar: neither {} (our layout), nor {} (digital-clone), nor {}/ (SyncTalk_2D)",
                    manifest::MANIFEST,
                    digital_clone::RECTANGLES,
                    synctalk::LANDMARKS
                ),
                "Give the folder that holds one of these; models/README.md describes the layouts",
            ))
        }?;
        avatar.check(inside, problems);
        Ok(avatar)
    }

    /// Looks for what every layout needs.
    fn check(&self, inside: &Inside, problems: &mut Problems) {
        let remedy = "Put the exported network there; models/README.md describes the layouts";
        for model in self.audio_encoder.iter().chain([&self.generator]) {
            problems.note(check_file(inside, model, "no such model", remedy));
        }
        let int8 = int8_file(&self.generator);
        if int8.symlink_metadata().is_ok() {
            problems.note(check_file(inside, &int8, "no such model", "Run lipsync quantize again"));
        }
        let remedy = "Put there what the frames show behind the person, or delete the key background";
        if let Some(background) = &self.background {
            problems.note(check_file(inside, background, "no such picture", remedy));
        }
        // Of frames that cannot be read the size is not known.
        for frame in self.frames.iter().filter(|_| self.image.size != (0, 0)) {
            if frame.face.within(self.image.size).is_none() {
                let FaceRect { x, y, width, height } = frame.face;
                let (frame_width, frame_height) = self.image.size;
                problems.add(Error::invalid(
                    &frame.picture,
                    format!(
                        "its face rectangle, {width} x {height} at {x}, {y}, starts outside the {frame_width} x {frame_height} frame or is empty"
                    ),
                    "Correct the rectangle or the landmarks of that frame",
                ));
            }
        }
    }

    /// Opens what makes the contexts for its generator; the rest is as for [`features::open`].
    ///
    /// # Errors
    /// As [`features::open`].
    #[doc(hidden)]
    pub fn open_features(
        &self,
        context_kind: AudioContextKind,
        limit: u64,
        engine: &Engine,
    ) -> Result<Box<dyn FeatureTrack>> {
        let encoder = (self.audio_encoder.as_deref(), self.folder.as_path());
        features::open(encoder, context_kind, self.windows, limit, engine)
    }

    /// The clip of that name.
    pub fn clip(&self, name: &str) -> Option<&Clip> {
        self.clips.iter().find(|clip| clip.name == name)
    }

    /// The frames of the clip that is played while nothing else is asked for.
    pub fn idle(&self) -> &Clip {
        &self.clips[0]
    }
}

/// Checks that a file is there, is one, and is in the avatar's folder: before anything is read from it.
fn check_file(inside: &Inside, path: &Path, missing: &str, remedy: &str) -> Result<()> {
    let data = path.metadata().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => Error::not_found(path, missing, remedy),
        _ => Error::io(path, &e, remedy),
    })?;
    inside.check(path)?;
    if data.is_file() { Ok(()) } else { Err(file::no_file(path, data.is_dir(), remedy)) }
}

/// The folder of avatars in a data folder.
const AVATARS: &str = "lipsync/avatars";

/// The user's own folder of avatars, whether it exists or not; `None` for users without a home.
pub fn user_place() -> Option<PathBuf> {
    let folder = variable("XDG_DATA_HOME").map(PathBuf::from);
    let folder = folder.or_else(|| Some(std::env::home_dir()?.join(".local/share")))?;
    Some(folder.join(AVATARS))
}

/// An environment variable that is not empty.
fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// The folders in which avatars are looked for by name.
pub fn search_path(library_dir: Option<&Path>) -> Vec<PathBuf> {
    let mut places: Vec<PathBuf> =
        variable(PATH_VARIABLE).map(|paths| std::env::split_paths(&paths).collect()).unwrap_or_default();
    let system = variable("XDG_DATA_DIRS").unwrap_or_else(|| "/usr/local/share:/usr/share".into());
    places.extend(user_place());
    places.extend(std::env::split_paths(&system).map(|folder| folder.join(AVATARS)));
    if let Some(folder) = library_dir {
        places.push(folder.join("lipsync"));
        places.extend(installation::data_dirs(folder).iter().map(|folder| folder.join(AVATARS)));
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faces_are_cut_at_the_far_edges_only() {
        let face = FaceRect { x: 90, y: 10, width: 20, height: 20 };
        assert_eq!(face.within((100, 50)), Some(Rect { x: 90, y: 10, width: 10, height: 20 }));
        assert_eq!(FaceRect { x: -1, ..face }.within((100, 50)), None);
        assert_eq!(FaceRect { width: 0, ..face }.within((100, 50)), None);
        assert_eq!(FaceRect { width: i64::MIN, ..face }.within((100, 50)), None);
        let wide = FaceRect { width: i64::MAX, ..face }.within((100, 50));
        assert_eq!(wide, Some(Rect { x: 90, y: 10, width: 10, height: 20 }));
    }
}
