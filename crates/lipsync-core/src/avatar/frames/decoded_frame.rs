// SPDX-License-Identifier: MPL-2.0
//! A frame of the avatar in memory, and the mouths that are painted into it.

use image::{GrayImage, RgbImage};

use crate::avatar::matte::Matte;
use crate::generator::FaceInput;
use crate::generator::face::Framing;
use crate::picture::formats::{Picture, PictureMut};
use crate::picture::geometry::Rect;
use crate::picture::pool::Pooled;

/// One frame of the avatar, decoded.
pub struct DecodedFrame {
    /// The whole picture, in the format of the video.
    pub(super) picture: Picture,
    /// The face rectangle.
    pub(super) face: Rect,
    /// The same with even corners, and the picture inside it.
    pub(super) patch: (Rect, RgbImage),
    /// How opaque that is, where it matters.
    pub(super) matte: Option<Matte>,
    /// Where 255, the face rectangle is never painted over.
    pub(super) keep: Option<GrayImage>,
    /// What the network sees.
    pub seen: FaceInput,
}

/// A finished mouth: the face rectangle with even corners, and what is to be drawn there.
pub struct Mouth {
    patch: (Rect, Pooled),
}

impl DecodedFrame {
    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        let alpha = self.matte.as_ref().map(Matte::alpha);
        let planes = alpha.into_iter().chain(&self.keep).map(|plane| plane.len());
        self.picture.size() + self.seen.size() + self.patch.1.len() + planes.sum::<usize>()
    }

    /// What the network painted into the face, seen in `framing`, ready to be drawn.
    pub(super) fn mouth(&self, framing: Framing, painted: &RgbImage) -> Mouth {
        let (outer, base) = &self.patch;
        let at = Rect { x: self.face.x - outer.x, y: self.face.y - outer.y, ..self.face };
        let mut patch = Pooled::copy(base);
        framing.paste(&self.seen.views.crop, painted, &mut patch, at);
        if let Some(keep) = &self.keep {
            for (x, y, keep) in keep.enumerate_pixels() {
                if keep.0 == [255] {
                    let (x, y) = (at.x + x, at.y + y);
                    patch.put_pixel(x, y, *base.get_pixel(x, y));
                }
            }
        }
        if let Some(matte) = &self.matte {
            matte.finish(&mut patch);
        }
        Mouth { patch: (*outer, patch) }
    }

    /// The face rectangle.
    pub fn face(&self) -> Rect {
        self.face
    }

    /// Writes the frame, with that mouth if there is one, to a picture of its format and size.
    pub fn draw(&self, mouth: Option<&Mouth>, target: &mut PictureMut<'_>) {
        self.picture.copy_to(target);
        if let Some(mouth) = mouth {
            target.draw(&mouth.patch.1, mouth.patch.0);
        }
    }
}
