// SPDX-License-Identifier: MPL-2.0
//! Our own layout: `avatar.toml`, folders of frames, face rectangles and two models (`models/README.md`).

use std::ops::RangeInclusive;
use std::path::Path;

use super::clip_files;
use super::files::{frame_image, read_text};
use super::frame_set::FrameSet;
use super::manifest::{FORMAT, Face, MANIFEST, Manifest, REMEDY, unreadable};
use super::{Avatar, Layout, Problems};
use crate::error::{Error, Result};
use crate::file::Inside;
use crate::generator::face::FaceOptions;
use crate::limits::{BORDER, FPS, MANIFEST_BYTES, TITLE_CHARS};
use crate::rate::FrameRate;

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
    let set = FrameSet {
        manifest: &path,
        frames: &folder.join(&manifest.frames),
        crop: manifest.crop,
        crops: manifest.crops.as_deref(),
        views: [&manifest.face.faces, &manifest.face.masked].map(Option::as_deref),
        parsing: manifest.parsing.as_deref(),
        alpha: manifest.alpha.as_deref(),
    };
    let pictures = set.pictures(inside, problems);
    let image = frame_image(&pictures, problems);
    if manifest.first_frame > 0 && manifest.first_frame >= pictures.len() {
        problems.add(Error::invalid(
            &path,
            format!("first_frame is {}, and there are {} frames", manifest.first_frame, pictures.len()),
            "Count frames from 0",
        ));
    }
    let Face { style, border, paste, faces: face_views, masked } = &manifest.face;
    let remedy = "Give the width that the network was trained with, or delete the key";
    let border = border.map(|border| bounded(&path, "border", border, 0..=BORDER, remedy));
    let border = border.and_then(|border| problems.note(border));
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
    let mut frames = set.read(folder, pictures, inside, problems);
    let clips = clip_files::read(
        (folder, &path),
        &manifest.clips,
        manifest.first_frame,
        &mut frames,
        inside,
        problems,
    );
    Ok(Avatar {
        folder: folder.into(),
        layout: Layout::Own,
        title: manifest.title,
        audio_encoder: manifest.models.audio_encoder.map(|model| folder.join(model)),
        generator: folder.join(manifest.models.generator),
        image,
        background: manifest.background.map(|picture| folder.join(picture)),
        frames,
        clips,
        rate,
        context: manifest.audio.context,
        windows: manifest.audio.windows,
        face: FaceOptions { style: *style, border, paste: *paste },
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
