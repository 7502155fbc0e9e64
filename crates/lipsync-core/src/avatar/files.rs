// SPDX-License-Identifier: MPL-2.0
//! What the layouts have in common: folders of numbered files.

use std::path::{Path, PathBuf};

use super::{Problems, check_file};
use crate::error::{Error, Result};
use crate::file::{self, Inside};
use crate::limits::{FOLDER_FILES, FRAMES};
use crate::picture::image_file::{self, ImageInfo};

/// File name endings of pictures that can be read.
const PICTURES: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// Missing frames that are told one by one, and frames that are tried for their size.
const MAX_TOLD: usize = 8;

/// Frames that may be missing before the first.
const MAX_GAP: usize = 100;

/// The pictures `first.*`, `first + 1.*`, ... of a folder, in the order of their numbers. Where one is missing, or must not
/// be opened, a name that no file has keeps its place, so that the others keep their numbers.
pub fn numbered_pictures(
    folder: &Path,
    first: usize,
    inside: &Inside,
    problems: &mut Problems,
) -> Vec<PathBuf> {
    let remedy = "Copy the avatar's frames again: N.jpg, N.png or N.webp without gaps in N";
    let found = inside.check(folder).and_then(|()| find_pictures(folder, first, remedy));
    let Some(found) = problems.note(found) else { return Vec::new() };
    let mut pictures: Vec<PathBuf> = Vec::with_capacity(found.len());
    let mut missing = 0;
    for Found { number, path, kind } in found {
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
        let absent = |number: usize| folder.join(format!("{number}.*"));
        while pictures.len() < place {
            let absent = absent(first + pictures.len());
            missing += 1;
            if missing <= MAX_TOLD {
                problems.add(Error::not_found(&absent, "this frame is missing", remedy));
            }
            problems.name(absent.clone());
            pictures.push(absent);
        }
        match problems.note(check_kind(&path, kind, inside, remedy)) {
            Some(()) => pictures.push(path),
            None => {
                problems.name(absent(number));
                pictures.push(absent(number));
            }
        }
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

/// What is named as a picture is.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    number: usize,
    path: PathBuf,
    kind: Kind,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    File,
    Link,
    Folder,
    Other,
}

/// All in a folder that is named as a picture of a number from `first` on is, sorted by number and name.
fn find_pictures(folder: &Path, first: usize, remedy: &str) -> Result<Vec<Found>> {
    let too_many = |what: String| Error::invalid(folder, what, "models/README.md states the bounds");
    let mut found = Vec::new();
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, &e, remedy))?;
    for (count, entry) in entries.enumerate() {
        if count == FOLDER_FILES {
            return Err(too_many(format!("has more than {FOLDER_FILES} files")));
        }
        let entry = entry.map_err(|e| Error::io(folder, &e, remedy))?;
        let path = entry.path();
        let Some(number) = picture_number(&path).filter(|number| *number >= first) else { continue };
        if found.len() == FRAMES {
            return Err(too_many(format!("has more than the {FRAMES} pictures that an avatar may have")));
        }
        // Known from the folder itself: no file is asked.
        let kind = match entry.file_type().map_err(|e| Error::io(&path, &e, remedy))? {
            kind if kind.is_file() => Kind::File,
            kind if kind.is_symlink() => Kind::Link,
            kind if kind.is_dir() => Kind::Folder,
            _ => Kind::Other,
        };
        found.push(Found { number, path, kind });
    }
    found.sort();
    Ok(found)
}

/// The number in the name of a picture.
fn picture_number(path: &Path) -> Option<usize> {
    let ending = path.extension()?.to_str()?.to_ascii_lowercase();
    let number = path.file_stem()?.to_str()?;
    // Digits alone: "+1" is a number, too.
    let is_picture = PICTURES.contains(&ending.as_str()) && number.bytes().all(|byte| byte.is_ascii_digit());
    number.parse().ok().filter(|_| is_picture)
}

/// Checks that a picture is a file, and in the avatar's folder.
fn check_kind(path: &Path, kind: Kind, inside: &Inside, remedy: &str) -> Result<()> {
    match kind {
        Kind::File => Ok(()),
        Kind::Link => check_file(inside, path, "is a link to what is not there", remedy),
        Kind::Folder => Err(file::no_file(path, true, remedy)),
        Kind::Other => Err(file::no_file(path, false, remedy)),
    }
}

/// The pictures of a folder that goes with the frames: one of each number of theirs.
pub fn accompanying_pictures(
    folder: &Path,
    first: usize,
    frames: usize,
    inside: &Inside,
    problems: &mut Problems,
) -> Vec<PathBuf> {
    let mut pictures = numbered_pictures(folder, first, inside, problems);
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
    for picture in pictures.iter().take(MAX_TOLD) {
        if problems.names(picture) {
            continue;
        }
        if let Some(image) = problems.note(image_file::info(picture)) {
            return image;
        }
    }
    ImageInfo { size: (0, 0), alpha: false }
}

/// A text file of the avatar as a whole.
///
/// # Errors
/// [`Error::NotFound`] or [`Error::Invalid`] with `remedy`: also where it is a link out of the folder.
pub fn read_text(inside: &Inside, path: &Path, most: u64, remedy: &str) -> Result<String> {
    inside.check(path)?;
    file::read_text(path, most, remedy)
}
