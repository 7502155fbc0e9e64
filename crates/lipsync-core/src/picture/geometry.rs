// SPDX-License-Identifier: MPL-2.0
//! Rectangles of pictures.

use image::RgbImage;

/// A rectangle of a frame, in pixels, that lies inside the frame and is not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    /// Column of its left edge.
    pub x: u32,
    /// Row of its upper edge.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl Rect {
    /// The smallest rectangle around this one with even corners, within a frame of that size.
    ///
    /// Pictures with halved colour planes can only be changed in such rectangles.
    pub fn even(self, frame_width: u32, frame_height: u32) -> Self {
        let (x, y) = (self.x & !1, self.y & !1);
        let end = |start: u32, length: u32, limit: u32| (start + length).next_multiple_of(2).min(limit);
        Self {
            x,
            y,
            width: end(self.x, self.width, frame_width) - x,
            height: end(self.y, self.height, frame_height) - y,
        }
    }

    /// The rectangle `weight` of 255 of the way to another.
    pub fn between(self, to: Self, weight: u8) -> Self {
        let share = u32::from(weight);
        let mix = |from: u32, to: u32| (from * (255 - share) + to * share + 127) / 255;
        Self {
            x: mix(self.x, to.x),
            y: mix(self.y, to.y),
            width: mix(self.width, to.width),
            height: mix(self.height, to.height),
        }
    }

    /// That part of a picture.
    pub fn cut(self, picture: &RgbImage) -> RgbImage {
        let mut part = RgbImage::new(self.width, self.height);
        copy_rows(picture, (self.x, self.y), &mut part, (0, 0), self.height);
        part
    }
}

/// Copies that many rows from a place in a picture to one in another, as wide as the narrower of both.
pub(crate) fn copy_rows(from: &RgbImage, at: (u32, u32), to: &mut RgbImage, place: (u32, u32), rows: u32) {
    let bytes = 3 * from.width().min(to.width()) as usize;
    let lines = |width: u32, (x, y): (u32, u32)| (3 * width as usize, 3 * x as usize, y as usize);
    let (from_line, from_x, from_y) = lines(from.width(), at);
    let (to_line, to_x, to_y) = lines(to.width(), place);
    let from = from.chunks_exact(from_line).skip(from_y);
    let to = to.chunks_exact_mut(to_line).skip(to_y);
    for (from, to) in from.zip(to).take(rows as usize) {
        to[to_x..][..bytes].copy_from_slice(&from[from_x..][..bytes]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_rectangles_cover_and_stay_inside() {
        let odd = Rect { x: 3, y: 7, width: 11, height: 12 };
        assert_eq!(odd.even(100, 100), Rect { x: 2, y: 6, width: 12, height: 14 });
        let corner = Rect { x: 90, y: 90, width: 9, height: 9 };
        assert_eq!(corner.even(99, 99), Rect { x: 90, y: 90, width: 9, height: 9 });
    }
}
