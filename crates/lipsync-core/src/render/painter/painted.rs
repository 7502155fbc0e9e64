// SPDX-License-Identifier: MPL-2.0
//! What a worker hands over: an avatar frame with its mouth.

use std::sync::Arc;
use std::time::Duration;

use crate::avatar::frames::{DecodedFrame, Mouth};
use crate::picture::formats::PictureMut;
use crate::picture::geometry::Rect;

/// A frame that is ready to be drawn.
pub struct Painted {
    pub(super) frame: Arc<DecodedFrame>,
    /// `None` where the frame is right as it is.
    pub(super) mouth: Option<Mouth>,
    /// How long the generator took, for each frame of its run; `None` where it was not run.
    pub inference: Option<Duration>,
}

impl Painted {
    /// The face rectangle in it.
    pub fn face(&self) -> Rect {
        self.frame.face()
    }

    /// Writes it to a picture of the frame store's format and the avatar's size.
    pub fn draw(&self, target: &mut PictureMut<'_>) {
        self.frame.draw(self.mouth.as_ref(), target);
    }
}
