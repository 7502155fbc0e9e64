// SPDX-License-Identifier: MPL-2.0
//! A folder made of one input, so that whole avatars can be written down in a file and changed at random.
//!
//! The input is text: a line `@@ KIND NAME` begins each file. The kinds are `text` (the lines up to the next file), `picture`
//! (`WIDTH HEIGHT LEVEL`, and `alpha` or `grey` behind; a PNG is made of it), `link` (the line is its target), `pipe` and `folder`.

use std::io::Cursor;
use std::os::unix::fs::symlink;
use std::path::{Component, Path};
use std::process::{Command, Stdio};

use image::{DynamicImage, ImageFormat, Luma, Rgb, Rgba};
use tempfile::TempDir;

/// Files in a folder, at most: more only make it slow.
const FILES: usize = 40;
/// The longest side of a picture that is made.
const SIDE: u32 = 300;

/// A folder where `run.sh` says, which removes it in the end.
pub fn temporary() -> TempDir {
    tempfile::tempdir().expect("no temporary folder")
}

/// Makes the folder that the input describes. What cannot be made is left out.
pub fn write(folder: &Path, input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let parts: Vec<Part> = text.split("@@ ").skip(1).take(FILES).filter_map(Part::read).collect();
    for part in &parts {
        let _ = part.write_file(folder);
    }
    // When all is written: what is written through a link might be anywhere.
    for part in &parts {
        let _ = part.write_link(folder);
    }
}

struct Part<'a> {
    kind: &'a str,
    name: &'a Path,
    body: &'a str,
}

impl<'a> Part<'a> {
    fn read(text: &'a str) -> Option<Self> {
        let (head, body) = text.split_once('\n').unwrap_or((text, ""));
        let (kind, name) = head.split_once(' ')?;
        // Only the avatar's own words may lead out of the folder, never those that make it.
        let is_plain = !name.is_empty() && !name.contains('\0') && {
            Path::new(name).components().all(|part| matches!(part, Component::Normal(_)))
        };
        is_plain.then(|| Self { kind, name: Path::new(name), body })
    }

    fn write_file(&self, folder: &Path) -> Option<()> {
        let path = folder.join(self.name);
        let make = |path: &Path| std::fs::create_dir_all(path).ok();
        let write = |bytes: &[u8]| make(path.parent()?).and_then(|()| std::fs::write(&path, bytes).ok());
        match self.kind {
            "text" => write(self.body.as_bytes()),
            "picture" => write(&picture(self.body)?),
            "folder" => make(&path),
            _ => None,
        }
    }

    fn write_link(&self, folder: &Path) -> Option<()> {
        let path = folder.join(self.name);
        // Not into what another link points to.
        if path.parent()?.canonicalize().ok()? != folder.canonicalize().ok()?.join(self.name.parent()?) {
            return None;
        }
        match self.kind {
            "link" => symlink(self.body.trim_end(), &path).ok(),
            "pipe" => Command::new("mkfifo").arg(&path).stderr(Stdio::null()).status().ok().map(drop),
            _ => None,
        }
    }
}

fn picture(words: &str) -> Option<Vec<u8>> {
    let mut words = words.split_whitespace();
    let width = words.next()?.parse().ok().filter(|width| (1..=SIDE).contains(width))?;
    let height = words.next()?.parse().ok().filter(|height| (1..=SIDE).contains(height))?;
    let level: u8 = words.next()?.parse().ok()?;
    let picture: DynamicImage = match words.next() {
        Some("alpha") => image::RgbaImage::from_pixel(width, height, Rgba([level; 4])).into(),
        Some("grey") => image::GrayImage::from_pixel(width, height, Luma([level])).into(),
        _ => image::RgbImage::from_pixel(width, height, Rgb([level, 0, 99])).into(),
    };
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png).ok()?;
    Some(bytes.into_inner())
}
