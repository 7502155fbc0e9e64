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
use crate::picture::geometry::Rect;
use crate::picture::image_file::{self, ImageFile};
use crate::picture::morph::Flow;
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

    /// A frame of the avatar.
    pub(super) fn decode(&self, files: &AvatarFrameFiles) -> Result<DecodedFrame> {
        let given = match &files.views {
            None => None,
            Some((face, masked)) => {
                let side = self.framing.network;
                let view = |path| Ok(image_file::read_sized(path, (side, side), "the network")?.colours);
                Some([view(face)?, view(masked)?])
            }
        };
        Ok(self.finish(self.read(files)?, given))
    }

    /// What is `weight` of 255 of the way from one frame to another.
    pub(super) fn blend(&self, files: [&AvatarFrameFiles; 2], weight: u8) -> Result<DecodedFrame> {
        let [from, to] = [self.read(files[0])?, self.read(files[1])?];
        let flow = Flow::between(&from.colours, &to.colours);
        let colours = flow.colours(&from.colours, &to.colours, weight);
        let mask = |from: &GrayImage, to: &GrayImage| flow.mask(from, to, weight);
        let blended = Raw {
            matte: from
                .matte
                .as_ref()
                .zip(to.matte.as_ref())
                .map(|(from, to)| from.with_alpha(mask(from.alpha(), to.alpha()))),
            face: from.face.between(to.face, weight),
            parsing: [from.parsing, to.parsing].concat(),
            colours,
        };
        pool::give_back(from.colours);
        pool::give_back(to.colours);
        Ok(self.finish(blended, None))
    }

    /// Decodes the files of a frame.
    fn read(&self, files: &AvatarFrameFiles) -> Result<Raw> {
        let size = self.size;
        let ImageFile { colours, alpha } = read_picture(files, size)?;
        let face = files.face.within(size).ok_or_else(|| {
            Error::invalid(&files.picture, "its face rectangle lies outside", "Correct the rectangle")
        })?;
        let parsing = files.parsing.iter().map(|parsing| image_file::read_sized(parsing, size, "the frame"));
        let parsing = parsing.map(|parsing| Ok(parsing?.colours)).collect::<Result<_>>()?;
        let matte = self.mattes.of(files, alpha)?;
        Ok(Raw { colours, matte, face, parsing })
    }

    /// Makes of the raw frame what is drawn and what the network sees.
    fn finish(&self, raw: Raw, given: Option<[RgbImage; 2]>) -> DecodedFrame {
        let Raw { mut colours, matte, face, parsing } = raw;
        let outer = face.even(self.size.0, self.size.1);
        let crop = self.framing.crop_of(&face.cut(&colours));
        // What is kept of all.
        let keep = parsing.iter().map(|parsing| kept(&face.cut(parsing))).reduce(|a, b| darker(&a, &b));
        let patch = outer.cut(&colours);
        if let Some(matte) = &matte {
            matte.finish(&mut colours);
        }
        let picture = Picture::new(&colours, matte.as_ref().map(Matte::alpha), self.canvas.format);
        pool::give_back(colours);
        DecodedFrame {
            picture,
            face,
            patch: (outer, patch),
            matte: matte.map(|matte| matte.cut(outer)),
            keep,
            seen: FaceInput::new(FaceViews { crop, given }),
        }
    }
}

/// A frame as its files have it.
struct Raw {
    colours: RgbImage,
    /// How opaque it is, where it matters.
    matte: Option<Matte>,
    face: Rect,
    /// The pictures that mark what of the face is never painted over.
    parsing: Vec<RgbImage>,
}

/// The lower of two levels everywhere.
fn darker(a: &GrayImage, b: &GrayImage) -> GrayImage {
    GrayImage::from_fn(a.width(), a.height(), |x, y| {
        image::Luma([a.get_pixel(x, y).0[0].min(b.get_pixel(x, y).0[0])])
    })
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
