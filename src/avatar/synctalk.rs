//! A SyncTalk_2D data set with its exported models beside it: `full_body_img/N.jpg`, `landmarks/N.lms` (N from
//! 0), `models/generator.onnx` and `models/audio_encoder.onnx`.

use std::path::Path;

use super::files::{numbered_pictures, picture_size, read_text};
use super::{Avatar, AvatarFrameFiles, FaceRect};
use crate::error::{Error, Result};
use crate::face::{BORDER, Paste};
use crate::features::ContextKind;
use crate::rate::FrameRate;

/// The folder that tells the layout.
pub const LANDMARKS: &str = "landmarks";

/// Points of a landmark file that bound the face: left and right by x, top by y. It is as high as it is wide.
const LEFT: usize = 1;
const RIGHT: usize = 31;
const TOP: usize = 52;

pub fn open(folder: &Path) -> Result<Avatar> {
    let pictures = numbered_pictures(&folder.join("full_body_img"), 0)?;
    let size = picture_size(&pictures[0])?;
    let frames: Vec<AvatarFrameFiles> = pictures
        .into_iter()
        .enumerate()
        .map(|(n, picture)| {
            let face = face_rect(&folder.join(LANDMARKS).join(format!("{n}.lms")))?;
            Ok(AvatarFrameFiles { picture, face, views: None })
        })
        .collect::<Result<_>>()?;
    Ok(Avatar {
        folder: folder.into(),
        title: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        audio_encoder: folder.join("models/audio_encoder.onnx"),
        generator: folder.join("models/generator.onnx"),
        size,
        // SyncTalk_2D's own script steps before it shows the first frame.
        first_frame: 1.min(frames.len() - 1),
        frames,
        rate: FrameRate::NATIVE,
        border: BORDER,
        context: ContextKind::Window,
        paste: Paste::Inner,
    })
}

fn face_rect(path: &Path) -> Result<FaceRect> {
    let remedy = "Run SyncTalk_2D's landmark step for this frame again";
    let text = read_text(path, remedy)?;
    // The training code reads the points as floats and cuts them to whole pixels.
    let points: Vec<(i64, i64)> = text
        .lines()
        .map(|line| {
            let mut numbers = line.split_whitespace().map(|word| word.parse::<f32>());
            match (numbers.next(), numbers.next()) {
                (Some(Ok(x)), Some(Ok(y))) => Some((x as i64, y as i64)),
                _ => None,
            }
        })
        .collect::<Option<_>>()
        .ok_or_else(|| Error::invalid(path, "has a line that is not \"x y\"", remedy))?;
    match (points.get(LEFT), points.get(RIGHT), points.get(TOP)) {
        (Some(left), Some(right), Some(top)) => {
            let side = right.0 - left.0;
            Ok(FaceRect { x: left.0, y: top.1, width: side, height: side })
        }
        _ => Err(Error::invalid(
            path,
            format!("has {} points, fewer than the {} that are needed", points.len(), TOP + 1),
            remedy,
        )),
    }
}
