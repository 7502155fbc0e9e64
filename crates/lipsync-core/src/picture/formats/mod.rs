// SPDX-License-Identifier: MPL-2.0
//! Step 7: pictures in the format of the video, and parts of them changed in place.

mod canvas;
mod convert;
mod picture;

pub use canvas::Canvas;
pub use picture::{Picture, PictureMut};

/// How the pixels of a video frame lie in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelFormat {
    /// Planes of luma, blue and red difference; the latter halved both ways.
    I420(YuvCoding),
    /// The same with a fourth plane, of alpha.
    A420(YuvCoding),
    /// A plane of luma and one of both differences, halved both ways.
    Nv12(YuvCoding),
    /// One plane of 8-bit red, green and blue.
    Packed(Packed),
}

/// How luma and colour differences are made of red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct YuvCoding {
    /// Weights of red, green and blue.
    pub matrix: Matrix,
    /// Levels of black and white.
    pub range: Range,
}

/// Which weights make luma of red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matrix {
    /// Those of standard-definition video.
    Bt601,
    /// Those of high-definition video.
    Bt709,
}

/// Which levels stand for black and white.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// 16 to 235, colour differences 16 to 240.
    Limited,
    /// 0 to 255.
    Full,
}

/// Places of the colours in a pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packed {
    /// Bytes of a pixel: 3 or 4. A fourth byte that is not alpha is set to 255.
    pub bytes: usize,
    /// Bytes in the pixel of red, green and blue.
    pub order: [usize; 3],
    /// Byte in the pixel of alpha, where the format has it.
    pub alpha: Option<usize>,
}

impl PixelFormat {
    /// Red, green, blue: three bytes a pixel.
    pub const RGB8: Self = Self::Packed(Packed { bytes: 3, order: [0, 1, 2], alpha: None });
    /// Red, green, blue, alpha: four bytes a pixel.
    pub const RGBA8: Self = Self::Packed(Packed { bytes: 4, order: [0, 1, 2], alpha: Some(3) });
    /// Planes of luma, blue and red difference as in high-definition video ([`YuvCoding::BT709`]).
    pub const I420_BT709: Self = Self::I420(YuvCoding::BT709);

    /// Bytes of a picture of that size, without gaps.
    pub fn bytes(self, width: u32, height: u32) -> usize {
        self.planes(width, height).into_iter().map(|(stride, lines)| stride * lines).sum()
    }

    /// Whether it has an alpha channel.
    pub fn has_alpha(self) -> bool {
        match self {
            Self::I420(_) | Self::Nv12(_) => false,
            Self::A420(_) => true,
            Self::Packed(packed) => packed.alpha.is_some(),
        }
    }

    /// Bytes per line and lines of each plane of a picture of that size, without gaps.
    fn planes(self, width: u32, height: u32) -> Vec<(usize, usize)> {
        let (width, height) = (width as usize, height as usize);
        let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
        match self {
            Self::I420(_) => vec![(width, height), (half_width, half_height), (half_width, half_height)],
            Self::A420(coding) => {
                [Self::I420(coding).planes(width as u32, height as u32), vec![(width, height)]].concat()
            }
            Self::Nv12(_) => vec![(width, height), (2 * half_width, half_height)],
            Self::Packed(packed) => vec![(width * packed.bytes, height)],
        }
    }

    /// Where in a line, and in which line, of its plane `n` the pixel at `x`, `y` is: both even.
    fn place(self, n: usize, x: usize, y: usize) -> (usize, usize) {
        match self {
            Self::I420(_) | Self::A420(_) if matches!(n, 1 | 2) => (x / 2, y / 2),
            Self::Nv12(_) if n == 1 => (x, y / 2),
            Self::I420(_) | Self::A420(_) | Self::Nv12(_) => (x, y),
            Self::Packed(packed) => (x * packed.bytes, y),
        }
    }
}

impl YuvCoding {
    /// That of high-definition video.
    pub const BT709: Self = Self { matrix: Matrix::Bt709, range: Range::Limited };
}

impl Packed {
    fn write(self, rgb: &[u8], line: &mut [u8]) {
        let [red, green, blue] = self.order;
        for (rgb, pixel) in rgb.chunks_exact(3).zip(line.chunks_exact_mut(self.bytes)) {
            if self.bytes == 4 && self.alpha.is_none() {
                pixel.fill(255);
            }
            (pixel[red], pixel[green], pixel[blue]) = (rgb[0], rgb[1], rgb[2]);
        }
    }
}
