//! Our own layout: `avatar.toml`, a folder of frames, face rectangles and two models (`models/README.md`).

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::files::{numbered_pictures, picture_size, read_text};
use super::{Avatar, AvatarFrameFiles, FaceRect};
use crate::error::{Error, Result};
use crate::face::{BORDER, Paste};
use crate::features::ContextKind;
use crate::rate::FrameRate;

/// The file that tells the layout.
pub const MANIFEST: &str = "avatar.toml";

/// The version of the manifest that this program reads.
const FORMAT: u32 = 1;

const REMEDY: &str = "models/README.md describes every key";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    title: String,
    /// Read by people only.
    #[serde(rename = "license")]
    _license: String,
    fps: u32,
    frames: PathBuf,
    crop: Option<[i64; 4]>,
    crops: Option<PathBuf>,
    models: Models,
    #[serde(default)]
    face: Face,
    #[serde(default)]
    audio: Audio,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Models {
    audio_encoder: PathBuf,
    generator: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Face {
    border: u32,
    paste: Paste,
}

impl Default for Face {
    fn default() -> Self {
        Self { border: BORDER, paste: Paste::default() }
    }
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Audio {
    context: ContextKind,
}

/// A line of the file `crops`.
#[derive(Deserialize)]
struct Crop {
    frame: usize,
    x: i64,
    y: i64,
    width: i64,
    height: i64,
}

pub fn open(folder: &Path) -> Result<Avatar> {
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
        .ok_or_else(|| Error::invalid(&path, "fps is 0", "Give the frames a second, usually 25"))?;
    let pictures = numbered_pictures(&folder.join(&manifest.frames), 0)?;
    let faces = match (manifest.crop, &manifest.crops) {
        (Some([x, y, width, height]), None) => {
            vec![FaceRect { x, y, width, height }; pictures.len()]
        }
        (None, Some(file)) => read_crops(&folder.join(file), pictures.len())?,
        _ => {
            return Err(Error::invalid(
                &path,
                "must have either crop or crops",
                "Give crop = [x, y, width, height], or crops = \"crops.csv\"",
            ));
        }
    };
    Ok(Avatar {
        folder: folder.into(),
        title: manifest.title,
        audio_encoder: folder.join(manifest.models.audio_encoder),
        generator: folder.join(manifest.models.generator),
        size: picture_size(&pictures[0])?,
        frames: (pictures.into_iter().zip(faces))
            .map(|(picture, face)| AvatarFrameFiles { picture, face, views: None })
            .collect(),
        rate,
        first_frame: 0,
        border: manifest.face.border,
        context: manifest.audio.context,
        paste: manifest.face.paste,
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
