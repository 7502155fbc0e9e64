// SPDX-License-Identifier: MPL-2.0
//! Our own layout: `avatar.toml`, a folder of frames, face rectangles and two models (`models/README.md`).

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::{accompanying_pictures, frame_image, numbered_pictures, read_text};
use super::{Avatar, AvatarFrameFiles, FaceRect, Layout, Problems};
use crate::error::{Error, Result};
use crate::features::RowSelection;
use crate::file::Inside;
use crate::generator::face::{FaceOptions, Paste, Style};
use crate::limits::{BORDER, FPS, MANIFEST_BYTES, TEXT_BYTES, TITLE_CHARS};
use crate::rate::FrameRate;

/// The file that tells the layout.
pub const MANIFEST: &str = "avatar.toml";

/// The version of the manifest that this program reads.
pub const FORMAT: u32 = 1;

const REMEDY: &str = "models/README.md describes every key";

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
    fn check_paths(&self, path: &Path, inside: &Inside, problems: &mut Problems) -> Result<()> {
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
fn unreadable(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let line = error.span().and_then(|span| text.get(..span.start)).map(|before| before.split('\n').count());
    let line = line.map(|line| format!(" in line {line}")).unwrap_or_default();
    Error::invalid(path, format!("cannot be read{line}: {}", error.message().trim()), REMEDY)
        .with_source(error.clone())
}

pub fn open(folder: &Path, inside: &Inside, problems: &mut Problems) -> Result<Avatar> {
    let path = folder.join(MANIFEST);
    let text = read_text(inside, &path, MANIFEST_BYTES, REMEDY)?;
    let manifest: Manifest = toml::from_str(&text).map_err(|e| unreadable(&path, &text, &e))?;
    manifest.check_paths(&path, inside, problems)?;
    if manifest.format != FORMAT {
        return Err(Error::invalid(
            &path,
            format!("has format {}, and this program reads format {FORMAT}", manifest.format),
            "Use a newer plugin, or an avatar made for this one",
        ));
    }
    let rate = bounded(&path, "fps", manifest.fps, 1..=FPS, "Give the frames a second, usually 25");
    let rate = problems.note(rate).and_then(|fps| FrameRate::new(fps, 1)).unwrap_or(FrameRate::NATIVE);
    let title = manifest.title.chars().count();
    if title > TITLE_CHARS {
        let problem = format!("title has {title} characters, more than {TITLE_CHARS}");
        problems.add(Error::invalid(&path, problem, "Give a shorter one"));
    }
    let pictures = numbered_pictures(&folder.join(&manifest.frames), 0, inside, problems);
    let faces = match (manifest.crop, &manifest.crops) {
        (Some([x, y, width, height]), None) => Ok(vec![FaceRect { x, y, width, height }; pictures.len()]),
        // It has been told already that there are none.
        (None, Some(_)) if pictures.is_empty() => Ok(Vec::new()),
        (None, Some(file)) => read_crops(inside, &folder.join(file), pictures.len()),
        _ => Err(Error::invalid(
            &path,
            "must have either crop or crops",
            "Give crop = [x, y, width, height], or crops = \"crops.csv\"",
        )),
    };
    let faces = problems.note(faces).unwrap_or_else(|| {
        pictures.iter().for_each(|picture| problems.set_aside(picture.clone()));
        Vec::new()
    });
    if manifest.first_frame > 0 && manifest.first_frame >= pictures.len() {
        problems.add(Error::invalid(
            &path,
            format!("first_frame is {}, and there are {} frames", manifest.first_frame, pictures.len()),
            "Count frames from 0",
        ));
    }
    let image = frame_image(&pictures, problems);
    let Face { style, border, paste, faces: face_views, masked } = manifest.face;
    let remedy = "Give the width that the network was trained with, or delete the key";
    let border = border.map(|border| bounded(&path, "border", border, 0..=BORDER, remedy));
    let border = border.and_then(|border| problems.note(border));
    let mut beside = |name: &Option<PathBuf>| match name {
        Some(name) => {
            let pictures = accompanying_pictures(&folder.join(name), 0, pictures.len(), inside, problems);
            pictures.into_iter().map(Some).collect()
        }
        None => vec![None; pictures.len()],
    };
    let views = beside(&face_views).into_iter().zip(beside(&masked));
    let parsing = beside(&manifest.parsing);
    let alpha = beside(&manifest.alpha);
    if face_views.is_some() != masked.is_some() {
        problems.add(Error::invalid(
            &path,
            "has one of faces and masked without the other",
            "Give both folders of ready-made pictures, or neither",
        ));
    }
    if manifest.background.is_some() && manifest.alpha.is_none() {
        problems.add(Error::invalid(
            &path,
            "has background without alpha",
            "Give the folder of masks that say where it shows, alpha = \"alpha\", or delete the key background",
        ));
    }
    let frames = (faces.into_iter().zip(views).zip(parsing.into_iter().zip(alpha)))
        .zip(pictures.clone())
        .map(|(((face, (whole, masked)), (parsing, alpha)), picture)| AvatarFrameFiles {
            picture,
            face,
            views: whole.zip(masked),
            parsing,
            alpha,
        })
        .collect();
    Ok(Avatar {
        folder: folder.into(),
        layout: Layout::Own,
        title: manifest.title,
        audio_encoder: manifest.models.audio_encoder.map(|model| folder.join(model)),
        generator: folder.join(manifest.models.generator),
        image,
        background: manifest.background.map(|picture| folder.join(picture)),
        frames,
        rate,
        first_frame: manifest.first_frame,
        context: manifest.audio.context,
        face: FaceOptions { style, border, paste },
        at_rest: manifest.at_rest,
    })
}

/// The value of a key, if it lies in its bounds.
fn bounded(path: &Path, key: &str, value: u32, bounds: RangeInclusive<u32>, remedy: &str) -> Result<u32> {
    if bounds.contains(&value) {
        return Ok(value);
    }
    let problem = format!("{key} is {value}, not {} to {}", bounds.start(), bounds.end());
    Err(Error::invalid(path, problem, remedy))
}

fn read_crops(inside: &Inside, path: &Path, frames: usize) -> Result<Vec<FaceRect>> {
    let remedy = "Give the header frame,x,y,width,height and a line for each frame, counted from 0";
    let text = read_text(inside, path, TEXT_BYTES, remedy)?;
    let crops: Vec<Crop> = csv::Reader::from_reader(text.as_bytes())
        .deserialize()
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| Error::invalid(path, format!("cannot be read: {e}"), remedy))?;
    let in_order = crops.iter().enumerate().all(|(i, crop)| crop.frame == i);
    if crops.len() != frames || !in_order {
        return Err(Error::invalid(
            path,
            format!("has {} lines for {frames} frames, or not in their order", crops.len()),
            remedy,
        ));
    }
    Ok(crops.into_iter().map(|Crop { x, y, width, height, .. }| FaceRect { x, y, width, height }).collect())
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, RgbImage};

    use super::*;

    /// A folder with two frames, masks, a background and networks that are only there.
    fn folder(keys: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for name in ["frames", "alpha"] {
            std::fs::create_dir(at(name)).unwrap();
        }
        for n in 0..2 {
            RgbImage::new(32, 16).save(at(&format!("frames/{n}.png"))).unwrap();
            GrayImage::new(32, 16).save(at(&format!("alpha/{n}.png"))).unwrap();
        }
        RgbImage::new(32, 16).save(at("room.png")).unwrap();
        std::fs::write(at("generator.onnx"), "").unwrap();
        let manifest = format!(
            "format = 1\ntitle = \"\"\nlicense = \"\"\nfps = 25\nframes = \"frames\"\ncrop = [1, 1, 9, 9]\n{keys}\n\
             [models]\ngenerator = \"generator.onnx\"\n"
        );
        std::fs::write(at(MANIFEST), manifest).unwrap();
        folder
    }

    const MASKS: &str = "alpha = \"alpha\"";
    const ROOM: &str = "background = \"room.png\"";

    fn problems(folder: &Path) -> Vec<String> {
        let mut problems = Problems::default();
        Avatar::survey(folder, &mut problems).unwrap();
        problems.all().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn masks_make_alpha_of_opaque_frames() {
        let folder = folder(&format!("{MASKS}\n{ROOM}"));
        let avatar = Avatar::open(folder.path()).unwrap();
        assert!(avatar.has_alpha() && !avatar.image.alpha);
        assert_eq!(avatar.frames[1].alpha, Some(folder.path().join("alpha/1.png")));
        assert_eq!(avatar.background, Some(folder.path().join("room.png")));
    }

    #[test]
    fn without_masks_nothing_is_known_of_alpha() {
        let avatar = Avatar::open(folder("").path()).unwrap();
        assert!(!avatar.has_alpha() && avatar.background.is_none());
        // The background is optional.
        assert!(Avatar::open(folder(MASKS).path()).unwrap().background.is_none());
    }

    #[test]
    fn a_background_alone_is_refused() {
        let problems = problems(folder(ROOM).path());
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].contains("avatar.toml: has background without alpha. Give"), "{problems:?}");
    }

    #[test]
    fn missing_masks_and_backgrounds_are_named() {
        let folder = folder(&format!("{MASKS}\n{ROOM}"));
        std::fs::remove_file(folder.path().join("alpha/0.png")).unwrap();
        std::fs::remove_file(folder.path().join("room.png")).unwrap();
        let problems = problems(folder.path());
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].contains("alpha/0.*: this frame is missing"), "{problems:?}");
        assert!(problems[1].contains("room.png: no such picture. Put there"), "{problems:?}");
    }
}
