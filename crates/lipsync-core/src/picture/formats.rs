//! Step 7: pictures in the format of the video, and parts of them changed in place.

use image::{GrayImage, RgbImage};
use yuv::{
    BufferStoreMut, YuvBiPlanarImageMut, YuvConversionMode, YuvPlanarImageMut, YuvRange, YuvStandardMatrix,
    rgb_to_yuv_nv12, rgb_to_yuv420,
};

use crate::picture::geometry::Rect;
use crate::picture::pool::Pooled;

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
    pub matrix: Matrix,
    pub range: Range,
}

/// Which weights make luma of red, green and blue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Matrix {
    Bt601,
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

/// What avatar frames are drawn on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Canvas {
    /// Format of the video.
    pub format: PixelFormat,
    /// Red, green and blue behind what is transparent, in formats without alpha; `None` for what the avatar itself
    /// shows there: what its frames show behind the person, or black where they have an alpha channel.
    pub background: Option<[u8; 3]>,
}

/// A picture of the video's own memory, to be written to. Widths and heights are those of the whole picture.
pub struct PictureMut<'a> {
    pub format: PixelFormat,
    pub width: u32,
    pub height: u32,
    /// Bytes and bytes per line of each plane.
    pub planes: Vec<(&'a mut [u8], usize)>,
}

/// A picture of our own in the format of the video, its lines without gaps.
#[derive(Debug, Clone)]
pub struct Picture {
    format: PixelFormat,
    width: u32,
    height: u32,
    planes: Vec<Vec<u8>>,
}

impl Canvas {
    /// Whether opaque frames are shown before anything but what they show themselves.
    pub fn replaces_background(&self) -> bool {
        self.format.has_alpha() || self.background.is_some()
    }

    /// Lays colours with that alpha over the background, unless the format has alpha itself.
    pub fn flatten(&self, colours: &mut RgbImage, alpha: &GrayImage) {
        if self.format.has_alpha() {
            return;
        }
        let background = self.background.unwrap_or_default();
        for (pixel, alpha) in colours.pixels_mut().zip(alpha.iter()) {
            let alpha = match *alpha {
                // Most pixels are the one or the other.
                255 => continue,
                0 => {
                    pixel.0 = background;
                    continue;
                }
                alpha => u32::from(alpha),
            };
            for (level, background) in pixel.0.iter_mut().zip(background) {
                let sum = u32::from(*level) * alpha + u32::from(background) * (255 - alpha);
                *level = ((sum + 127) / 255) as u8;
            }
        }
    }
}

impl PixelFormat {
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

    /// Converts lines of red, green and blue to planes of luma and colour differences, each with its bytes a line.
    fn convert<'a>(
        self,
        rgb: &[u8],
        (width, height): (u32, u32),
        mut planes: impl Iterator<Item = (&'a mut [u8], usize)>,
    ) {
        const MODE: YuvConversionMode = YuvConversionMode::Professional;
        let mut plane = || {
            let (plane, stride) = planes.next().unwrap_or_else(|| unreachable!("no plane was left out"));
            (BufferStoreMut::Borrowed(plane), stride as u32)
        };
        let result = match self {
            Self::I420(coding) | Self::A420(coding) => {
                let [(y_plane, y_stride), (u_plane, u_stride), (v_plane, v_stride)] =
                    [plane(), plane(), plane()];
                let mut planes = YuvPlanarImageMut {
                    y_plane,
                    y_stride,
                    u_plane,
                    u_stride,
                    v_plane,
                    v_stride,
                    width,
                    height,
                };
                rgb_to_yuv420(&mut planes, rgb, 3 * width, coding.range(), coding.matrix(), MODE)
            }
            Self::Nv12(coding) => {
                let [(y_plane, y_stride), (uv_plane, uv_stride)] = [plane(), plane()];
                let mut planes =
                    YuvBiPlanarImageMut { y_plane, y_stride, uv_plane, uv_stride, width, height };
                rgb_to_yuv_nv12(&mut planes, rgb, 3 * width, coding.range(), coding.matrix(), MODE)
            }
            Self::Packed(_) => unreachable!("packed formats have no luma"),
        };
        if let Err(error) = result {
            unreachable!("{width} x {height} pixels lie inside their planes: {error}");
        }
    }
}

impl YuvCoding {
    /// That of high-definition video.
    pub const BT709: Self = Self { matrix: Matrix::Bt709, range: Range::Limited };

    fn matrix(self) -> YuvStandardMatrix {
        match self.matrix {
            Matrix::Bt601 => YuvStandardMatrix::Bt601,
            Matrix::Bt709 => YuvStandardMatrix::Bt709,
        }
    }

    fn range(self) -> YuvRange {
        match self.range {
            Range::Limited => YuvRange::Limited,
            Range::Full => YuvRange::Full,
        }
    }
}

impl Picture {
    /// Converts a whole picture; without `alpha` it is opaque.
    pub fn new(colours: &RgbImage, alpha: Option<&GrayImage>, format: PixelFormat) -> Self {
        let (width, height) = colours.dimensions();
        let sizes = format.planes(width, height);
        let mut picture = Self {
            format,
            width,
            height,
            planes: sizes.iter().map(|(stride, lines)| vec![0; stride * lines]).collect(),
        };
        let whole = Rect { x: 0, y: 0, width, height };
        picture.as_mut().draw(colours, whole);
        picture.set_alpha(alpha);
        picture
    }

    fn set_alpha(&mut self, alpha: Option<&GrayImage>) {
        let (plane, place, step) = match self.format {
            PixelFormat::A420(_) => (3, 0, 1),
            PixelFormat::Packed(Packed { bytes, alpha: Some(place), .. }) => (0, place, bytes),
            _ => return,
        };
        let bytes = self.planes[plane].iter_mut().skip(place).step_by(step);
        match alpha {
            Some(alpha) => bytes.zip(alpha.iter()).for_each(|(byte, level)| *byte = *level),
            None => bytes.for_each(|byte| *byte = 255),
        }
    }

    /// Bytes of memory.
    pub fn size(&self) -> usize {
        self.planes.iter().map(Vec::len).sum()
    }

    /// Its memory, to be written to.
    pub fn as_mut(&mut self) -> PictureMut<'_> {
        let sizes = self.format.planes(self.width, self.height);
        PictureMut {
            format: self.format,
            width: self.width,
            height: self.height,
            planes: (self.planes.iter_mut().zip(sizes))
                .map(|(plane, (stride, _))| (plane.as_mut_slice(), stride))
                .collect(),
        }
    }

    /// Copies the picture to one of the same format and size.
    pub fn copy_to(&self, target: &mut PictureMut<'_>) {
        let sizes = self.format.planes(self.width, self.height);
        for ((plane, (stride, lines)), (target, target_stride)) in
            self.planes.iter().zip(sizes).zip(&mut target.planes)
        {
            if stride == *target_stride {
                target[..stride * lines].copy_from_slice(plane);
                continue;
            }
            for (line, target) in plane.chunks_exact(stride).zip(target.chunks_mut(*target_stride)) {
                target[..stride].copy_from_slice(line);
            }
        }
    }
}

impl PictureMut<'_> {
    /// Draws `rgb` over the rectangle of its size; the corners must be even ([`Rect::even`]). Alpha stays as it is.
    pub fn draw(&mut self, rgb: &RgbImage, at: Rect) {
        let (x, y) = (at.x as usize, at.y as usize);
        if let PixelFormat::Packed(packed) = self.format {
            let (plane, stride) = &mut self.planes[0];
            let lines = plane[y * *stride..].chunks_mut(*stride);
            for (line, rgb) in lines.zip(rgb.chunks_exact(3 * rgb.width() as usize)) {
                packed.write(rgb, &mut line[x * packed.bytes..]);
            }
            return;
        }
        // The converter takes lines of a whole stride, which the last of a plane, cut at the left, is not; and it takes
        // the last line in the memory that it is given for the one that has no other to be paired with. So it is never
        // given the last pair, or the one that is left over.
        let above = at.height.saturating_sub(1) & !1;
        let (upper, last) = rgb.split_at(3 * (at.width * above) as usize);
        if above > 0 {
            let planes = self.planes.iter_mut().enumerate().map(|(n, (plane, stride))| {
                let (left, top) = self.format.place(n, x, y);
                (&mut plane[top * *stride + left..], *stride)
            });
            self.format.convert(upper, (at.width, above), planes);
        }
        self.draw_last(last, Rect { y: at.y + above, height: at.height - above, ..at });
    }

    /// Draws one or two lines, by way of memory in which they have no gaps.
    fn draw_last(&mut self, rgb: &[u8], at: Rect) {
        let mut scratch = Pooled::new(at.width, 2);
        let mut free: &mut [u8] = &mut scratch;
        // Alpha, which is not drawn, is the last plane.
        let sizes = self.format.planes(at.width, at.height);
        let mut planes: Vec<(&mut [u8], usize)> = Vec::with_capacity(sizes.len());
        for (stride, lines) in sizes.into_iter().take(3) {
            let (plane, rest) = std::mem::take(&mut free).split_at_mut(stride * lines);
            planes.push((plane, stride));
            free = rest;
        }
        self.format.convert(
            rgb,
            (at.width, at.height),
            planes.iter_mut().map(|(plane, n)| (&mut **plane, *n)),
        );
        for (n, (lines, length)) in planes.into_iter().enumerate() {
            let (left, top) = self.format.place(n, at.x as usize, at.y as usize);
            let (target, stride) = &mut self.planes[n];
            let targets = target[top * *stride..].chunks_mut(*stride);
            for (line, target) in lines.chunks_exact(length).zip(targets) {
                target[left..][..length].copy_from_slice(line);
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [PixelFormat; 6] = [
        PixelFormat::I420(YuvCoding::BT709),
        PixelFormat::A420(YuvCoding { matrix: Matrix::Bt709, range: Range::Full }),
        PixelFormat::Nv12(YuvCoding { matrix: Matrix::Bt601, range: Range::Limited }),
        PixelFormat::Packed(Packed { bytes: 3, order: [2, 1, 0], alpha: None }),
        PixelFormat::Packed(Packed { bytes: 4, order: [1, 2, 3], alpha: None }),
        PixelFormat::Packed(Packed { bytes: 4, order: [1, 2, 3], alpha: Some(0) }),
    ];

    fn noise(width: u32, height: u32) -> RgbImage {
        let mut state = 1u32;
        RgbImage::from_fn(width, height, |_, _| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            image::Rgb([(state >> 8) as u8, (state >> 16) as u8, (state >> 24) as u8])
        })
    }

    #[test]
    fn drawing_a_part_is_converting_the_changed_whole() {
        let mut rgb = noise(61, 43);
        for format in FORMATS {
            let alpha = GrayImage::from_fn(61, 43, |x, y| image::Luma([(x * 4 + y) as u8]));
            let mut drawn = Picture::new(&rgb, Some(&alpha), format);
            let part = Rect { x: 5, y: 9, width: 20, height: 17 }.even(61, 43);
            let patch = noise(part.width, part.height);
            drawn.as_mut().draw(&patch, part);
            image::imageops::replace(&mut rgb, &patch, part.x.into(), part.y.into());
            let whole = Picture::new(&rgb, Some(&alpha), format);
            let pairs = drawn.planes.iter().flatten().zip(whole.planes.iter().flatten());
            let worst = pairs.map(|(a, b)| a.abs_diff(*b)).max();
            // One level: the converter's vector and scalar paths round differently.
            assert!(worst <= Some(1), "{format:?} differs by {worst:?}");
        }
    }

    #[test]
    fn any_part_can_be_drawn_down_to_the_last_row_and_column() {
        for (width, height) in (1..=7).flat_map(|width| (1..=7).map(move |height| (width, height))) {
            let all = (0..width).flat_map(|x| (0..height).map(move |y| (x, y)));
            for (format, (x, y)) in FORMATS.iter().flat_map(|format| all.clone().map(move |at| (format, at)))
            {
                let mut rgb = noise(width, height);
                let mut drawn = Picture::new(&rgb, None, *format);
                let part = Rect { x, y, width: width - x, height: (height - y).min(3) }.even(width, height);
                let mut patch = noise(part.width, part.height);
                image::imageops::invert(&mut patch);
                drawn.as_mut().draw(&patch, part);
                image::imageops::replace(&mut rgb, &patch, part.x.into(), part.y.into());
                let whole = Picture::new(&rgb, None, *format);
                let pairs = drawn.planes.iter().flatten().zip(whole.planes.iter().flatten());
                let worst = pairs.map(|(a, b)| a.abs_diff(*b)).max();
                assert!(worst <= Some(1), "{format:?}, {part:?} of {width} x {height}: {worst:?}");
            }
        }
    }

    /// The planes in floating point; chroma of the mean of four pixels.
    fn exact_i420(rgb: &RgbImage, coding: YuvCoding) -> Vec<u8> {
        let [red, blue] = match coding.matrix {
            Matrix::Bt601 => [0.299, 0.114],
            Matrix::Bt709 => [0.2126, 0.0722],
        };
        let (black, luma_range, chroma_range) = match coding.range {
            Range::Limited => (16.0, 219.0, 224.0),
            Range::Full => (0.0, 255.0, 255.0),
        };
        let luma = |[r, g, b]: [f64; 3]| red * r + (1.0 - red - blue) * g + blue * b;
        let pixel = |x, y| rgb.get_pixel(x, y).0.map(f64::from);
        let level = |value: f64| value.round() as u8;
        let (width, height) = rgb.dimensions();
        let mut planes = [Vec::new(), Vec::new(), Vec::new()];
        for y in 0..height {
            for x in 0..width {
                planes[0].push(level(black + luma(pixel(x, y)) * luma_range / 255.0));
            }
        }
        for y in (0..height).step_by(2) {
            for x in (0..width).step_by(2) {
                let four = [pixel(x, y), pixel(x + 1, y), pixel(x, y + 1), pixel(x + 1, y + 1)];
                let mean: [f64; 3] = std::array::from_fn(|c| four.iter().map(|p| p[c]).sum::<f64>() / 4.0);
                let chroma = |colour: f64, weight: f64| {
                    level(128.0 + (colour - luma(mean)) / (2.0 - 2.0 * weight) * chroma_range / 255.0)
                };
                planes[1].push(chroma(mean[2], blue));
                planes[2].push(chroma(mean[0], red));
            }
        }
        planes.concat()
    }

    #[test]
    fn planes_are_those_of_the_standard() {
        let rgb = noise(64, 48);
        for matrix in [Matrix::Bt601, Matrix::Bt709] {
            for range in [Range::Limited, Range::Full] {
                let coding = YuvCoding { matrix, range };
                let picture = Picture::new(&rgb, None, PixelFormat::I420(coding));
                let exact = exact_i420(&rgb, coding);
                let pairs = || picture.planes.iter().flatten().zip(&exact);
                let worst = pairs().map(|(a, b)| a.abs_diff(*b)).max();
                let same = pairs().filter(|(a, b)| a == b).count();
                println!("{coding:?}: {same} of {} are the same, worst {worst:?}", exact.len());
                assert!(
                    worst <= Some(1) && same * 100 > exact.len() * 95,
                    "{coding:?}: {same}, worst {worst:?}"
                );
            }
        }
    }

    #[test]
    fn what_is_transparent_shows_the_background_where_there_is_no_alpha() {
        let alpha = GrayImage::from_raw(3, 1, vec![0, 128, 255]).unwrap();
        for (format, expected) in
            [(FORMATS[3], [[9, 8, 7], [105, 104, 104], [200; 3]]), (FORMATS[5], [[200; 3]; 3])]
        {
            let mut colours = RgbImage::from_pixel(3, 1, image::Rgb([200; 3]));
            Canvas { format, background: Some([9, 8, 7]) }.flatten(&mut colours, &alpha);
            let levels: Vec<[u8; 3]> = colours.pixels().map(|pixel| pixel.0).collect();
            assert_eq!(levels, expected, "{format:?}");
        }
        let picture = Picture::new(&noise(3, 1), Some(&alpha), FORMATS[5]);
        assert_eq!([0, 4, 8].map(|byte| picture.planes[0][byte]), [0, 128, 255]);
    }

    #[test]
    fn lines_with_gaps_are_left_alone_in_the_gaps() {
        for format in FORMATS {
            let picture = Picture::new(&noise(10, 6), None, format);
            let sizes = format.planes(10, 6);
            let mut memory: Vec<Vec<u8>> =
                sizes.iter().map(|(stride, lines)| vec![7; (stride + 6) * lines]).collect();
            let mut target = PictureMut {
                format,
                width: 10,
                height: 6,
                planes: (memory.iter_mut().zip(&sizes))
                    .map(|(plane, (stride, _))| (plane.as_mut_slice(), stride + 6))
                    .collect(),
            };
            picture.copy_to(&mut target);
            for ((plane, (stride, _)), own) in memory.iter().zip(&sizes).zip(&picture.planes) {
                for (line, own) in plane.chunks(stride + 6).zip(own.chunks(*stride)) {
                    assert_eq!(&line[..*stride], own);
                    assert_eq!(line[*stride..], [7; 6]);
                }
            }
        }
    }
}
