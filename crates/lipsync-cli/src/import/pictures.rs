// SPDX-License-Identifier: MPL-2.0
//! The pictures of an avatar, compressed.

use std::path::Path;

use anyhow::{Context, Result};
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, RgbaImage};
use indicatif::ParallelProgressIterator;
use lipsync_core::avatar::{Avatar, AvatarFrameFiles, frames, names};
use lipsync_core::file;
use lipsync_core::limits::PICTURE_BYTES;
use lipsync_core::picture::image_file::ImageFile;
use rayon::prelude::*;

use crate::cli::Import;
use crate::partial::Partial;
use crate::{interrupt, progress};

const REMEDY: &str = "Copy the avatar's frames again";

/// How frames are to be stored.
#[derive(Clone, Copy)]
pub enum Encoding {
    Jpeg(i32),
    Lossless,
}

impl Encoding {
    pub fn of(options: &Import) -> Self {
        if options.lossless { Self::Lossless } else { Self::Jpeg(options.quality.into()) }
    }
}

/// Writes the frames of an avatar to a folder, numbered from 0.
pub fn copy_frames(avatar: &Avatar, folder: &Path, encoding: Encoding) -> Result<()> {
    let bar = progress::bar(avatar.frames.len(), "frames");
    avatar.frames.par_iter().progress_with(bar).enumerate().try_for_each(|(n, frame)| {
        interrupt::check()?;
        let (ending, bytes) = encode(frame, encoding, avatar)?;
        put(&folder.join(format!("{n}.{ending}")), &bytes)
    })
}

/// Copies ready-made pictures and masks, which must stay bit-exact.
pub fn copy_beside(avatar: &Avatar, partial: &Partial) -> Result<()> {
    for (n, frame) in avatar.frames.iter().enumerate() {
        let views =
            frame.views.iter().flat_map(|(face, masked)| names::VIEWS.into_iter().zip([face, masked]));
        let parsing = frame.parsing.iter().map(|parsing| (names::PARSING, parsing));
        let alpha = frame.alpha.iter().map(|alpha| (names::ALPHA, alpha));
        for (name, picture) in views.chain(parsing).chain(alpha) {
            interrupt::check()?;
            copy(picture, &partial.subfolder(name)?.join(format!("{n}.{}", ending(picture))))?;
        }
    }
    Ok(())
}

/// Copies the picture of the background without the person, where there is one.
pub fn copy_background(avatar: &Avatar, folder: &Path) -> Result<()> {
    let Some(background) = &avatar.background else { return Ok(()) };
    copy(background, &folder.join(names::background(background)))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    Ok(file::copy(from, to, PICTURE_BYTES, REMEDY)?)
}

/// A frame's new extension and bytes; the original where that is not larger.
fn encode(frame: &AvatarFrameFiles, encoding: Encoding, avatar: &Avatar) -> Result<(String, Vec<u8>)> {
    let path = &frame.picture;
    let own = file::read(path, PICTURE_BYTES, REMEDY)?;
    let is_jpeg = own.starts_with(&[0xff, 0xd8]);
    if is_jpeg && matches!(encoding, Encoding::Lossless) {
        return Ok((ending(path), own));
    }
    let picture = frames::read_picture(frame, avatar.image.size)?;
    let alpha = avatar.image.alpha;
    let (new_ending, bytes) = match encoding {
        Encoding::Jpeg(quality) if !alpha => ("jpg", jpeg(&picture, quality)?),
        _ => ("webp", webp(&picture)?),
    };
    if own.len() <= bytes.len() { Ok((ending(path), own)) } else { Ok((new_ending.into(), bytes)) }
}

fn jpeg(picture: &ImageFile, quality: i32) -> Result<Vec<u8>> {
    let (width, height) = picture.colours.dimensions();
    let image = turbojpeg::Image {
        pixels: picture.colours.as_raw().as_slice(),
        width: width as usize,
        pitch: 3 * width as usize,
        height: height as usize,
        format: turbojpeg::PixelFormat::RGB,
    };
    Ok(turbojpeg::compress(image, quality, turbojpeg::Subsamp::Sub2x2)?.to_vec())
}

fn webp(picture: &ImageFile) -> Result<Vec<u8>> {
    let (width, height) = picture.colours.dimensions();
    let mut bytes = Vec::new();
    let encoder = WebPEncoder::new_lossless(&mut bytes);
    match &picture.alpha {
        None => encoder.encode(&picture.colours, width, height, ExtendedColorType::Rgb8)?,
        Some(alpha) => {
            let pixels = picture.colours.pixels().zip(alpha.pixels());
            let pixels =
                pixels.flat_map(|(colour, alpha)| [colour.0[0], colour.0[1], colour.0[2], alpha.0[0]]);
            let picture =
                RgbaImage::from_raw(width, height, pixels.collect()).context("pixels are missing")?;
            encoder.encode(&picture, width, height, ExtendedColorType::Rgba8)?;
        }
    }
    Ok(bytes)
}

fn ending(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

fn put(path: &Path, bytes: &[u8]) -> Result<()> {
    std::fs::write(path, bytes).with_context(|| {
        format!("{}: cannot be written. Make room, or choose another folder", path.display())
    })
}
