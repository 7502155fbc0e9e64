// SPDX-License-Identifier: MPL-2.0
//! A SyncTalk_2D data set with its exported models beside it: `full_body_img/N.jpg`, `landmarks/N.lms` (N from
//! 0), `models/generator.onnx` and `models/audio_encoder.onnx`; `parsing/N.png`, if there, is used.

use std::path::{Path, PathBuf};

use super::clip_files;
use super::files::{accompanying_pictures, frame_image, numbered_pictures, read_text};
use super::{Avatar, AvatarFrameFiles, FaceRect, Layout, Problems};
use crate::error::{Error, Result};
use crate::features::{MelWindows, RowSelection};
use crate::file::Inside;
use crate::generator::face::FaceOptions;
use crate::limits::LANDMARK_BYTES;
use crate::rate::FrameRate;

/// The folder that tells the layout.
pub const LANDMARKS: &str = "landmarks";

/// The folder of parsing masks, which SyncTalk_2D's script uses where it is told to.
const PARSING: &str = "parsing";

/// Points of a landmark file that bound the face: left and right by x, top by y. It is as high as it is wide.
const LEFT: usize = 1;
const RIGHT: usize = 31;
const TOP: usize = 52;

const REMEDY: &str = "Run SyncTalk_2D's landmark step for this frame again";

pub fn open(folder: &Path, inside: &Inside, problems: &mut Problems) -> Result<Avatar> {
    let pictures = numbered_pictures(&folder.join("full_body_img"), 0, inside, problems);
    let image = frame_image(&pictures, problems);
    let parsing = folder.join(PARSING);
    let parsing = match parsing.is_dir() {
        true => {
            let pictures = accompanying_pictures(&parsing, 0, pictures.len(), inside, problems);
            pictures.into_iter().map(Some).collect()
        }
        false => vec![None; pictures.len()],
    };
    let mut frames: Vec<AvatarFrameFiles> = pictures
        .into_iter()
        .zip(parsing)
        .enumerate()
        .filter_map(|(n, (picture, parsing))| {
            match problems.note(face_rect(inside, &folder.join(LANDMARKS).join(format!("{n}.lms")))) {
                Some(face) => Some(AvatarFrameFiles { picture, face, views: None, parsing, alpha: None }),
                None => {
                    problems.set_aside(picture);
                    None
                }
            }
        })
        .collect();
    // SyncTalk_2D's own script steps before it shows the first frame.
    let first_frame = 1.min(frames.len().saturating_sub(1));
    let clips = clip_files::read_beside(folder, first_frame, &mut frames, inside, problems);
    Ok(Avatar {
        folder: folder.into(),
        layout: Layout::SyncTalk2d,
        title: folder.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        audio_encoder: Some(folder.join("models/audio_encoder.onnx")),
        generator: folder.join("models/generator.onnx"),
        image,
        background: None,
        clips,
        frames,
        rate: FrameRate::NATIVE,
        context: RowSelection::Window,
        windows: MelWindows::default(),
        face: FaceOptions::default(),
        at_rest: false,
    })
}

/// The file of a frame's landmarks.
pub fn landmark_file(folder: &Path, picture: &Path) -> PathBuf {
    folder.join(LANDMARKS).join(picture.file_name().unwrap_or_default()).with_extension("lms")
}

/// The points in a landmark file, in pixels of the frame.
pub fn landmarks(inside: &Inside, path: &Path) -> Result<Vec<(i64, i64)>> {
    let text = read_text(inside, path, LANDMARK_BYTES, REMEDY)?;
    // The training code reads the points as floats and cuts them to whole pixels.
    text.lines()
        .map(|line| {
            let mut numbers = line.split_whitespace().map(|word| word.parse::<f32>());
            match (numbers.next(), numbers.next()) {
                (Some(Ok(x)), Some(Ok(y))) => Some((x as i64, y as i64)),
                _ => None,
            }
        })
        .collect::<Option<_>>()
        .ok_or_else(|| Error::invalid(path, "has a line that is not \"x y\"", REMEDY))
}

fn face_rect(inside: &Inside, path: &Path) -> Result<FaceRect> {
    let points = landmarks(inside, path)?;
    match (points.get(LEFT), points.get(RIGHT), points.get(TOP)) {
        (Some(left), Some(right), Some(top)) => {
            let side = right.0.saturating_sub(left.0);
            Ok(FaceRect { x: left.0, y: top.1, width: side, height: side })
        }
        _ => Err(Error::invalid(
            path,
            format!("has {} points, fewer than the {} that are needed", points.len(), TOP + 1),
            REMEDY,
        )),
    }
}
