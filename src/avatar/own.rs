//! Our own layout: `avatar.toml`, a folder of frames, face rectangles and two models (`models/README.md`).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::{accompanying_pictures, frame_image, numbered_pictures, read_text};
use super::{Avatar, AvatarFrameFiles, FaceOptions, FaceRect, Layout, Problems};
use crate::error::{Error, Result};
use crate::face::{Paste, Style};
use crate::features::ContextKind;
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
    pub context: ContextKind,
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

pub fn open(folder: &Path, problems: &mut Problems) -> Result<Avatar> {
    let path = folder.join(MANIFEST);
    let text = read_text(&path, REMEDY)?;
    let manifest: Manifest = toml::from_str(&text)
        .map_err(|e| Error::invalid(&path, format!("cannot be read: {}", e.to_string().trim()), REMEDY))?;
    if manifest.format != FORMAT {
        return Err(Error::invalid(
            &path,
            format!("has format {}, and this program reads format {FORMAT}", manifest.format),
            "Use a newer plugin, or an avatar made for this one",
        ));
    }
    let rate = FrameRate::new(manifest.fps, 1)
        .ok_or_else(|| Error::invalid(&path, "fps is 0", "Give the frames a second, usually 25"));
    let rate = problems.note(rate).unwrap_or(FrameRate::NATIVE);
    let pictures = numbered_pictures(&folder.join(&manifest.frames), 0, problems);
    let faces = match (manifest.crop, &manifest.crops) {
        (Some([x, y, width, height]), None) => Ok(vec![FaceRect { x, y, width, height }; pictures.len()]),
        (None, Some(file)) => read_crops(&folder.join(file), pictures.len()),
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
    let mut beside = |name: &Option<PathBuf>| match name {
        Some(name) => {
            let pictures = accompanying_pictures(&folder.join(name), 0, pictures.len(), problems);
            pictures.into_iter().map(Some).collect()
        }
        None => vec![None; pictures.len()],
    };
    let Face { style, border, paste, faces: face_views, masked } = manifest.face;
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

fn read_crops(path: &Path, frames: usize) -> Result<Vec<FaceRect>> {
    let remedy = "Give the header frame,x,y,width,height and a line for each frame, counted from 0";
    let text = read_text(path, remedy)?;
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
