// SPDX-License-Identifier: MPL-2.0
//! Size and shape of the video, and what is behind the avatar: what its frames show, a colour, a picture, or nothing.

use std::io::Cursor;
use std::path::Path;

use anyhow::{Context, Result, bail};
use gst::prelude::*;
use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat, RgbImage};
use lipsync_core::avatar::Avatar;
use lipsync_core::picture::image_file;
use tempfile::TempPath;

use crate::cli::Look;
use crate::media::Reader;

/// How an avatar is shown: as tall as the video. What is too wide is cut off at the sides of the face; beside what is too
/// narrow there is background.
pub struct Stage {
    background: Background,
    size: (u32, u32),
    /// Columns of the avatar's frames that are cut off at the left and at the right.
    cut: (u32, u32),
}

/// What is behind the avatar.
enum Background {
    /// What the frames show.
    Own,
    /// An opaque colour, as 0xAARRGGBB.
    Colour(u32),
    /// A picture in the size of the video, in a PNG file of its own.
    Picture(TempPath),
    /// Nothing: the video has an alpha channel.
    Transparent,
}

/// The pad of the compositor for what is behind.
const BEHIND: &str = "sink_1";

/// The names of colours; green and blue are those of film studios.
const COLOURS: [(&str, u32); 6] = [
    ("green", 0xff00_b140),
    ("blue", 0xff00_47bb),
    ("black", 0xff00_0000),
    ("white", 0xffff_ffff),
    ("grey", 0xff80_8080),
    ("gray", 0xff80_8080),
];

impl Stage {
    /// What the options ask for; `has_alpha` says whether the video has an alpha channel.
    ///
    /// # Errors
    /// Where the picture cannot be read, or the avatar has no alpha channel to show anything behind it.
    pub fn of(look: &Look, avatar: &Avatar, has_alpha: bool) -> Result<Self> {
        let size = look.size.unwrap_or_else(|| avatar.size());
        let visible = visible_width(avatar, size);
        let background = Background::of(look, avatar, size, visible, has_alpha)?;
        Ok(Self { background, size, cut: cut(avatar, visible) })
    }

    /// Width and height of the video in pixels.
    pub fn size(&self) -> (u32, u32) {
        self.size
    }

    /// The launch line from speech to raw video of that size; `rate` is what caps say of the frame rate.
    pub fn line(&self, rate: &str) -> String {
        let (width, height) = self.size;
        let size = format!("video/x-raw,width={width},height={height},pixel-aspect-ratio=1/1");
        let painted = |format: &str| {
            format!("lipsync name=face ! video/x-raw,format={format}{rate} ! videocrop name=cut")
        };
        match self.background {
            // Where the shape differs, what is missing at the sides is black.
            Background::Own | Background::Colour(_) => {
                format!("{} ! videoconvertscale add-borders=true ! {size}", painted("I420"))
            }
            Background::Transparent => format!(
                "{} ! compositor name=stage background=transparent ! {size},format=AYUV{rate}",
                painted("A420")
            ),
            Background::Picture(_) => format!(
                "{} ! queue ! stage.sink_0 filesrc name=background ! pngdec ! imagefreeze num-buffers=1 ! stage.{BEHIND} \
                 compositor name=stage ! {size},format=AYUV{rate}",
                painted("A420")
            ),
        }
    }

    /// Sets what a launch line cannot say.
    ///
    /// # Errors
    /// Where the pipeline has not the elements of [`Self::line`].
    pub fn apply(&self, reader: &Reader) -> Result<()> {
        let (width, height) = self.size;
        let cut = reader.element("cut")?;
        cut.set_property("left", self.cut.0 as i32);
        cut.set_property("right", self.cut.1 as i32);
        if let Background::Colour(colour) = self.background {
            reader.element("face")?.set_property("background-color", colour);
        }
        if let Background::Picture(file) = &self.background {
            reader.element("background")?.set_property_from_str("location", &file.to_string_lossy());
        }
        if let Background::Picture(_) | Background::Transparent = self.background {
            let stage = reader.element("stage")?;
            for pad in stage.sink_pads() {
                let is_background = pad.name() == BEHIND;
                pad.set_property("width", width as i32);
                pad.set_property("height", height as i32);
                pad.set_property("zorder", u32::from(!is_background));
                pad.set_property_from_str("sizing-policy", "keep-aspect-ratio");
                // Its one picture stays for as long as the avatar speaks.
                pad.set_property("repeat-after-eos", is_background);
            }
        }
        Ok(())
    }
}

impl Background {
    fn of(look: &Look, avatar: &Avatar, size: (u32, u32), visible: u32, has_alpha: bool) -> Result<Self> {
        let Some(text) = look.background.as_deref() else {
            return Ok(if has_alpha && avatar.has_alpha() { Self::Transparent } else { Self::Own });
        };
        if !avatar.has_alpha() {
            bail!(
                "--background {text}: the frames of {} have no alpha channel to show anything behind them. Leave the option out, \
                 or use iris or theo",
                avatar.folder.display()
            );
        }
        match colour(text) {
            Some(colour) if visible <= avatar.size().0 => Ok(Self::Colour(colour)),
            // Beside frames that are too narrow there is colour as well.
            Some(colour) => {
                let [_, red, green, blue] = colour.to_be_bytes();
                file_of(&RgbImage::from_pixel(size.0, size.1, image::Rgb([red, green, blue])).into())
                    .map(Self::Picture)
            }
            None => picture(Path::new(text), size).map(Self::Picture),
        }
    }
}

/// How many columns of the avatar's frames would fill the width of the video where their height fills its height.
fn visible_width(avatar: &Avatar, (width, height): (u32, u32)) -> u32 {
    let columns = u64::from(avatar.size().1) * u64::from(width) / u64::from(height.max(1));
    columns.try_into().unwrap_or(u32::MAX)
}

/// The columns to cut off at the left and the right for the face to be in the middle of what is visible, as far as there are
/// columns beside it.
fn cut(avatar: &Avatar, visible: u32) -> (u32, u32) {
    let surplus = i64::from(avatar.size().0) - i64::from(visible.max(2));
    if surplus <= 0 || avatar.frames.is_empty() {
        return (0, 0);
    }
    let middles = avatar.frames.iter().map(|frame| frame.face.x + frame.face.width / 2);
    let middle = middles.sum::<i64>() / avatar.frames.len() as i64;
    // Even, for chroma has half the columns.
    let left = (middle - i64::from(visible) / 2).clamp(0, surplus) & !1;
    (left as u32, (surplus - left) as u32)
}

/// A colour by name, or as #RRGGBB.
fn colour(text: &str) -> Option<u32> {
    let named = COLOURS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)).map(|(_, colour)| *colour);
    let digits = || text.strip_prefix('#').filter(|digits| digits.len() == 6);
    named.or_else(|| u32::from_str_radix(digits()?, 16).ok().map(|colour| 0xff00_0000 | colour))
}

/// A picture, scaled and cut to cover that size.
fn picture(path: &Path, (width, height): (u32, u32)) -> Result<TempPath> {
    if !path.exists() {
        bail!(
            "--background {}: no such picture, and no colour: green, blue, black, white, grey or #RRGGBB",
            path.display()
        );
    }
    let picture = DynamicImage::from(image_file::read(path)?.colours);
    file_of(&picture.resize_to_fill(width, height, FilterType::CatmullRom))
}

/// Writes a picture to a temporary file, in a format that GStreamer reads in any installation.
fn file_of(picture: &DynamicImage) -> Result<TempPath> {
    let mut png = Cursor::new(Vec::new());
    picture.write_to(&mut png, ImageFormat::Png).context("the background cannot be encoded")?;
    let file = tempfile::Builder::new().prefix("lipsync-").suffix(".png").tempfile();
    let file = file.context("no temporary file can be made for the background")?.into_temp_path();
    std::fs::write(&file, png.get_ref()).context("the background cannot be written to a temporary file")?;
    Ok(file)
}
