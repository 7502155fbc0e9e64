//! What the layouts have in common: folders of numbered files.

use std::path::{Path, PathBuf};

use super::Problems;
use crate::error::{Error, Result};
use crate::file;
use crate::image_file::{self, ImageInfo};
use crate::limits::TEXT_BYTES;

/// File name endings of pictures that can be read.
const PICTURES: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// Missing frames that are told one by one.
const MAX_TOLD: usize = 8;

/// Frames that may be missing before the first.
const MAX_GAP: usize = 100;

/// The pictures `first.*`, `first + 1.*`, ... of a folder, in the order of their numbers. Where one is missing, a
/// name that no file has keeps its place, so that the others keep their numbers.
pub fn numbered_pictures(folder: &Path, first: usize, problems: &mut Problems) -> Vec<PathBuf> {
    let remedy = "Copy the avatar's frames again: N.jpg, N.png or N.webp without gaps in N";
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, &e, remedy));
    let Some(entries) = problems.note(entries) else { return Vec::new() };
    let mut found: Vec<(usize, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let ending = path.extension()?.to_str()?.to_ascii_lowercase();
            let number = path.file_stem()?.to_str()?.parse().ok()?;
            PICTURES.contains(&ending.as_str()).then_some((number, path))
        })
        .filter(|(number, _)| *number >= first)
        .collect();
    found.sort();
    let mut pictures: Vec<PathBuf> = Vec::with_capacity(found.len());
    let mut missing = 0;
    for (number, path) in found {
        let place = number - first;
        // Most numbers missing: not gaps, but files that are no frames.
        if place > 2 * pictures.len() + MAX_GAP {
            missing += 1;
            problems.add(Error::not_found(&path, "stands alone, with no frames before it", remedy));
            break;
        }
        if place < pictures.len() {
            problems.add(Error::invalid(&path, "is a second picture of the same number", remedy));
            continue;
        }
        while pictures.len() < place {
            let absent = folder.join(format!("{}.*", first + pictures.len()));
            missing += 1;
            if missing <= MAX_TOLD {
                problems.add(Error::not_found(&absent, "this frame is missing", remedy));
            }
            problems.name(absent.clone());
            pictures.push(absent);
        }
        pictures.push(path);
    }
    if missing > MAX_TOLD {
        let more = format!("{} more frames are missing", missing - MAX_TOLD);
        problems.add(Error::not_found(folder, more, remedy));
    }
    if pictures.is_empty() && missing == 0 {
        problems.add(Error::not_found(folder, format!("has no frame {first}"), remedy));
    }
    pictures
}

/// The pictures of a folder that goes with the frames: one of each number of theirs.
pub fn accompanying_pictures(
    folder: &Path,
    first: usize,
    frames: usize,
    problems: &mut Problems,
) -> Vec<PathBuf> {
    let mut pictures = numbered_pictures(folder, first, problems);
    if pictures.len() < frames && !problems.names(folder) {
        let problem = format!("has {} pictures for {frames} frames", pictures.len());
        problems.add(Error::not_found(folder, problem, "Copy the folder again"));
    }
    pictures.truncate(frames);
    while pictures.len() < frames {
        let absent = folder.join(format!("{}.*", first + pictures.len()));
        problems.name(absent.clone());
        pictures.push(absent);
    }
    pictures
}

/// Size and alpha of the frames: those of the first that can be read.
pub fn frame_image(pictures: &[PathBuf], problems: &mut Problems) -> ImageInfo {
    for picture in pictures {
        if problems.names(picture) {
            continue;
        }
        if let Some(image) = problems.note(image_file::info(picture)) {
            return image;
        }
    }
    ImageInfo { size: (0, 0), alpha: false }
}

/// A text file as a whole.
///
/// # Errors
/// [`Error::NotFound`] or [`Error::Invalid`] with `remedy`.
pub fn read_text(path: &Path, remedy: &str) -> Result<String> {
    file::read_text(path, TEXT_BYTES, remedy)
}
