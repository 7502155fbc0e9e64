// SPDX-License-Identifier: MPL-2.0
//! A digital-clone package: `full_body_img/N.jpg` (N from 1), the network's pictures ready-made in
//! `rois_320/N.jpg` and `model_inputs/N.jpg`, `cache/crop_rectangles.json`, and models as in SyncTalk_2D.

use std::collections::HashMap;
use std::path::Path;

use serde::Deserialize;

use super::clips::Clip;
use super::files::{accompanying_pictures, frame_image, numbered_pictures, read_text};
use super::{Avatar, AvatarFrameFiles, FaceRect, Layout, Problems};
use crate::error::{Error, Result};
use crate::features::{MelWindows, RowSelection};
use crate::file::Inside;
use crate::generator::face::FaceOptions;
use crate::limits::TEXT_BYTES;
use crate::rate::FrameRate;

/// The file that tells the layout.
pub const RECTANGLES: &str = "cache/crop_rectangles.json";

#[derive(Deserialize)]
struct Entry {
    /// Left, top, right, bottom.
    rect: [i64; 4],
}

pub fn open(folder: &Path, inside: &Inside, problems: &mut Problems) -> Result<Avatar> {
    let path = folder.join(RECTANGLES);
    let remedy = "Copy the package's cache folder again";
    let rectangles = read_text(inside, &path, TEXT_BYTES, remedy).and_then(|text| {
        serde_json::from_str::<HashMap<usize, Entry>>(&text)
            .map_err(|e| Error::invalid(&path, format!("cannot be read: {e}"), remedy))
    });
    let rectangles = problems.note(rectangles);
    let pictures = numbered_pictures(&folder.join("full_body_img"), 1, inside, problems);
    let mut beside =
        |name: &str| accompanying_pictures(&folder.join(name), 1, pictures.len(), inside, problems);
    let (faces, masked) = (beside("rois_320"), beside("model_inputs"));
    let image = frame_image(&pictures, problems);
    let frames: Vec<AvatarFrameFiles> = pictures
        .into_iter()
        .zip(faces.into_iter().zip(masked))
        .enumerate()
        .filter_map(|(n, (picture, views))| {
            let Some(Entry { rect: [left, top, right, bottom] }) = rectangles.as_ref()?.get(&n) else {
                problems.add(Error::invalid(&path, format!("has no rectangle \"{n}\""), remedy));
                problems.set_aside(picture);
                return None;
            };
            // Far corners may be further apart than numbers go.
            let (width, height) = (right.saturating_sub(*left), bottom.saturating_sub(*top));
            let face = FaceRect { x: *left, y: *top, width, height };
            Some(AvatarFrameFiles { picture, face, views: Some(views), parsing: None, alpha: None })
        })
        .collect();
    Ok(Avatar {
        folder: folder.into(),
        layout: Layout::DigitalClone,
        title: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        audio_encoder: Some(folder.join("models/audio_encoder.onnx")),
        generator: folder.join("models/generator.onnx"),
        clips: vec![Clip::idle(frames.len(), 0)],
        frames,
        rate: FrameRate::NATIVE,
        image,
        background: None,
        context: RowSelection::Window,
        windows: MelWindows::default(),
        face: FaceOptions::default(),
        at_rest: false,
    })
}
