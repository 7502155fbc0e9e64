//! A digital-clone package: `full_body_img/N.jpg` (N from 1), the network's pictures ready-made in
//! `rois_320/N.jpg` and `model_inputs/N.jpg`, `cache/crop_rectangles.json`, and models as in SyncTalk_2D.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::files::{accompanying_pictures, numbered_pictures, read_text};
use super::{Avatar, AvatarFrameFiles, FaceOptions, FaceRect, Layout};
use crate::error::{Error, Result};
use crate::features::ContextKind;
use crate::image_file;
use crate::rate::FrameRate;

/// The file that tells the layout.
pub const RECTANGLES: &str = "cache/crop_rectangles.json";

#[derive(Deserialize)]
struct Entry {
    /// Left, top, right, bottom.
    rect: [i64; 4],
}

pub fn open(folder: &Path) -> Result<Avatar> {
    let path = folder.join(RECTANGLES);
    let remedy = "Copy the package's cache folder again";
    let rectangles: HashMap<usize, Entry> = serde_json::from_str(&read_text(&path, remedy)?)
        .map_err(|e| Error::invalid(&path, format!("cannot be read: {e}"), remedy))?;
    let pictures = numbered_pictures(&folder.join("full_body_img"), 1)?;
    let faces = accompanying_pictures(&folder.join("rois_320"), 1, pictures.len())?;
    let masked = accompanying_pictures(&folder.join("model_inputs"), 1, pictures.len())?;
    let image = image_file::info(&pictures[0])?;
    let frames = pictures
        .into_iter()
        .zip(faces.into_iter().zip(masked))
        .enumerate()
        .map(|(n, (picture, views))| {
            let Some(Entry { rect: [left, top, right, bottom] }) = rectangles.get(&n) else {
                return Err(Error::invalid(&path, format!("has no rectangle \"{n}\""), remedy));
            };
            let face = FaceRect { x: *left, y: *top, width: right - left, height: bottom - top };
            Ok(AvatarFrameFiles { picture, face, views: Some(views), parsing: None })
        })
        .collect::<Result<_>>()?;
    Ok(Avatar {
        folder: folder.into(),
        layout: Layout::DigitalClone,
        title: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        audio_encoder: Some(folder.join("models/audio_encoder.onnx")),
        generator: folder.join("models/generator.onnx"),
        frames,
        rate: FrameRate::NATIVE,
        first_frame: 0,
        image,
        context: ContextKind::Window,
        face: FaceOptions::default(),
    })
}
