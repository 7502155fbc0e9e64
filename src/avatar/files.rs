//! What the layouts have in common: folders of numbered files.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// File name endings of pictures that can be read.
const PICTURES: [&str; 4] = ["jpg", "jpeg", "png", "webp"];

/// The pictures `first.*`, `first + 1.*`, ... of a folder, in the order of their numbers.
///
/// # Errors
/// [`Error::NotFound`] where the folder has none, or a number in between is missing.
pub fn numbered_pictures(folder: &Path, first: usize) -> Result<Vec<PathBuf>> {
    let remedy = "Copy the avatar's frames again: N.jpg, N.png or N.webp without gaps in N";
    let entries = std::fs::read_dir(folder).map_err(|e| Error::io(folder, &e, remedy))?;
    let mut pictures: Vec<(usize, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let ending = path.extension()?.to_str()?.to_ascii_lowercase();
            let number = path.file_stem()?.to_str()?.parse().ok()?;
            PICTURES.contains(&ending.as_str()).then_some((number, path))
        })
        .filter(|(number, _)| *number >= first)
        .collect();
    pictures.sort();
    for (expected, (number, _)) in (first..).zip(&pictures) {
        if *number != expected {
            let missing = folder.join(format!("{expected}.*"));
            return Err(Error::not_found(missing, "this frame is missing or doubled", remedy));
        }
    }
    if pictures.is_empty() {
        return Err(Error::not_found(folder, format!("has no frame {first}"), remedy));
    }
    Ok(pictures.into_iter().map(|(_, path)| path).collect())
}

/// The pictures of a folder that goes with the frames: one of each number of theirs.
///
/// # Errors
/// [`Error::NotFound`] where there are fewer than `frames`, else as [`numbered_pictures`].
pub fn accompanying_pictures(folder: &Path, first: usize, frames: usize) -> Result<Vec<PathBuf>> {
    let mut pictures = numbered_pictures(folder, first)?;
    if pictures.len() < frames {
        return Err(Error::not_found(
            folder,
            format!("has {} pictures for {frames} frames", pictures.len()),
            "Copy the folder again",
        ));
    }
    pictures.truncate(frames);
    Ok(pictures)
}

/// A text file as a whole.
///
/// # Errors
/// [`Error::NotFound`] or [`Error::Invalid`] with `remedy`.
pub fn read_text(path: &Path, remedy: &str) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| Error::io(path, &e, remedy))
}
