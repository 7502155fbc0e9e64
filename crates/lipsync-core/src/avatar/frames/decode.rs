// SPDX-License-Identifier: MPL-2.0
//! From the files of a frame to a [`DecodedFrame`].

use image::{GrayImage, RgbImage};

use crate::avatar::frames::decoded_frame::DecodedFrame;
use crate::avatar::matte::{Matte, Mattes};
use crate::avatar::{Avatar, AvatarFrameFiles};
use crate::error::{Error, Result};
use crate::generator::FaceInput;
use crate::generator::face::{FaceViews, Framing};
use crate::picture::formats::{Canvas, Picture};
use crate::picture::image_file::{self, ImageFile};
use crate::picture::pool;

/// Decodes the frames of one avatar for one canvas and one network.
pub(super) struct Decoder {
    pub(super) canvas: Canvas,
    pub(super) framing: Framing,
    mattes: Mattes,
    /// Of the frames.
    size: (u32, u32),
}

impl Decoder {
    pub(super) fn new(avatar: &Avatar, canvas: Canvas, framing: Framing) -> Self {
        Self { canvas, framing, mattes: Mattes::new(avatar, canvas), size: avatar.image.size }
    }

    pub(super) fn decode(&self, files: &AvatarFrameFiles) -> Result<DecodedFrame> {
        let size = self.size;
        let ImageFile { mut colours, alpha } = read_picture(files, size)?;
        let face = files.face.within(size).ok_or_else(|| {
            Error::invalid(&files.picture, "its face rectangle lies outside", "Correct the rectangle")
        })?;
        let outer = face.even(size.0, size.1);
        let crop = self.framing.crop_of(&face.cut(&colours));
        let given = match &files.views {
            None => None,
            Some((face, masked)) => {
                let side = self.framing.network;
                let view = |path| Ok(image_file::read_sized(path, (side, side), "the network")?.colours);
                Some([view(face)?, view(masked)?])
            }
        };
        let keep = match &files.parsing {
            None => None,
            Some(parsing) => {
                let parsing = image_file::read_sized(parsing, size, "the frame")?;
                Some(kept(&face.cut(&parsing.colours)))
            }
        };
        let patch = outer.cut(&colours);
        let matte = self.mattes.of(files, alpha)?;
        if let Some(matte) = &matte {
            matte.finish(&mut colours);
        }
        let picture = Picture::new(&colours, matte.as_ref().map(Matte::alpha), self.canvas.format);
        pool::give_back(colours);
        Ok(DecodedFrame {
            picture,
            face,
            patch: (outer, patch),
            matte: matte.map(|matte| matte.cut(outer)),
            keep,
            seen: FaceInput::new(FaceViews { crop, given }),
        })
    }
}

/// Decodes the picture of a frame, which must have the size of all.
///
/// # Errors
/// [`Error::NotFound`] or [`Error::Invalid`]: also where both an alpha channel and a mask say how opaque it is.
pub fn read_picture(files: &AvatarFrameFiles, size: (u32, u32)) -> Result<ImageFile> {
    let picture = image_file::read_sized(&files.picture, size, "the first frame")?;
    match &files.alpha {
        Some(mask) if picture.alpha.is_some() => Err(Error::invalid(
            &files.picture,
            format!("has an alpha channel, and a mask, {}", mask.display()),
            "Save the frame without alpha, or delete the key alpha in the manifest",
        )),
        _ => Ok(picture),
    }
}

/// What a parsing picture marks to be kept: 255 where it is pure red or pure white.
fn kept(parsing: &RgbImage) -> GrayImage {
    GrayImage::from_fn(parsing.width(), parsing.height(), |x, y| {
        let keep = matches!(parsing.get_pixel(x, y).0, [255, 0, 0] | [255, 255, 255]);
        image::Luma([if keep { 255 } else { 0 }])
    })
}
