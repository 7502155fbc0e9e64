//! Our own layout: `avatar.toml`, a folder of frames, face rectangles and two models (`models/README.md`).

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::files::{accompanying_pictures, numbered_pictures, read_text};
use super::{Avatar, AvatarFrameFiles, FaceOptions, FaceRect, Layout};
use crate::error::{Error, Result};
use crate::face::{Paste, Style};
use crate::features::ContextKind;
use crate::image_file;
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
    parsing: Option<PathBuf>,
    #[serde(default)]
    first_frame: usize,
    models: Models,
    #[serde(default)]
    face: Face,
    #[serde(default)]
    audio: Audio,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Models {
    audio_encoder: Option<PathBuf>,
    generator: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Face {
    style: Option<Style>,
    border: Option<u32>,
    paste: Option<Paste>,
    faces: Option<PathBuf>,
    masked: Option<PathBuf>,
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
    if manifest.first_frame >= pictures.len() {
        return Err(Error::invalid(
            &path,
            format!("first_frame is {}, and there are {} frames", manifest.first_frame, pictures.len()),
            "Count frames from 0",
        ));
    }
    let image = image_file::info(&pictures[0])?;
    let beside = |name: &Option<PathBuf>| match name {
        Some(name) => {
            let pictures = accompanying_pictures(&folder.join(name), 0, pictures.len())?;
            Ok(pictures.into_iter().map(Some).collect())
        }
        None => Ok(vec![None; pictures.len()]),
    };
    let Face { style, border, paste, faces: face_views, masked } = manifest.face;
    if face_views.is_some() != masked.is_some() {
        return Err(Error::invalid(
            &path,
            "has one of faces and masked without the other",
            "Give both folders of ready-made pictures, or neither",
        ));
    }
    let views = beside(&face_views)?.into_iter().zip(beside(&masked)?);
    let frames = (faces.into_iter().zip(views.zip(beside(&manifest.parsing)?)))
        .zip(pictures.clone())
        .map(|((face, ((whole, masked), parsing)), picture)| AvatarFrameFiles {
            picture,
            face,
            views: whole.zip(masked),
            parsing,
        })
        .collect();
    Ok(Avatar {
        folder: folder.into(),
        layout: Layout::Own,
        title: manifest.title,
        audio_encoder: manifest.models.audio_encoder.map(|model| folder.join(model)),
        generator: folder.join(manifest.models.generator),
        image,
        frames,
        rate,
        first_frame: manifest.first_frame,
        context: manifest.audio.context,
        face: FaceOptions { style, border, paste },
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
