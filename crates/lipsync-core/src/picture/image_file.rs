// SPDX-License-Identifier: MPL-2.0
//! Picture files: JPEG, PNG and WebP, decoded to the very levels that OpenCV would give.
//!
//! They may be a stranger's: of each the header is read first, and nothing is allocated or decoded of a picture larger than
//! the bounds, or of another size than the one that is needed.

use std::io::Read;
use std::path::Path;

use image::{DynamicImage, GrayImage, ImageDecoder, ImageReader, RgbImage, imageops};
use turbojpeg::ScalingFactor;

use crate::error::{Error, Result, caught};
use crate::file;
use crate::limits::{JPEG_SCANS, PICTURE_BYTES, PICTURE_PIXELS, PICTURE_SIDE};
use crate::picture::pool;

/// A decoded picture.
#[derive(Debug, Clone)]
pub struct ImageFile {
    /// Its colours as they are stored, whatever the alpha.
    pub colours: RgbImage,
    /// How opaque each pixel is (255: fully), where the file says so.
    pub alpha: Option<GrayImage>,
}

/// What the header of a picture says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ImageInfo {
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// Whether it has an alpha channel.
    pub alpha: bool,
}

const REMEDY: &str = "Copy the frame again";
const GREY_REMEDY: &str = "Save how opaque each pixel is as a grey picture";

/// Decodes a picture file.
///
/// # Errors
/// [`Error::NotFound`] or [`Error::Invalid`]: also for one larger than [`crate::limits`] allow.
pub fn read(path: &Path) -> Result<ImageFile> {
    guarded(path, || Coded::read(path, REMEDY)?.decode())
}

/// Decodes a picture file that must have a size, as `like` has it; of any other nothing but the header is decoded.
///
/// # Errors
/// As [`read`]; [`Error::Invalid`] where it has another size.
pub(crate) fn read_sized(path: &Path, size: (u32, u32), like: &str) -> Result<ImageFile> {
    guarded(path, || {
        let coded = Coded::read(path, REMEDY)?;
        coded.check_size(size, like)?;
        coded.decode()
    })
}

/// Decodes a grey picture file that must have a size, as `like` has it.
///
/// # Errors
/// As `read_sized`; [`Error::Invalid`] where it has an alpha channel: then what is meant may lie in either.
pub fn read_grey(path: &Path, size: (u32, u32), like: &str) -> Result<GrayImage> {
    guarded(path, || {
        let coded = Coded::read(path, GREY_REMEDY)?;
        if coded.info.alpha {
            return Err(Error::invalid(path, "has an alpha channel, as no mask has", GREY_REMEDY));
        }
        coded.check_size(size, like)?;
        coded.decode_grey()
    })
}

/// Decodes the brightness of a picture file, an eighth of its width and height.
///
/// # Errors
/// As [`read`].
pub(crate) fn read_thumbnail(path: &Path) -> Result<GrayImage> {
    guarded(path, || Coded::read(path, REMEDY)?.decode_thumbnail())
}

/// Reads the header of a picture file.
///
/// # Errors
/// As [`read`].
pub fn info(path: &Path) -> Result<ImageInfo> {
    // A JPEG's header may hold a thumbnail, so the whole file is read; it is a frame, not a film.
    guarded(path, || Ok(Coded::read(path, REMEDY)?.info))
}

/// A panic of a decoder is an error of the file that it read: those who wait for the picture would blame another.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
    caught(work).unwrap_or_else(|_| Err(unreadable(path)("its decoder panicked")))
}

/// A picture's file, of which the header has been read and found to be within the bounds.
struct Coded<'a> {
    path: &'a Path,
    bytes: Vec<u8>,
    info: ImageInfo,
}

/// The beginnings of PNG and WebP files.
const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
const WEBP: &[u8] = b"RIFF";

impl<'a> Coded<'a> {
    fn read(path: &'a Path, remedy: &str) -> Result<Self> {
        let mut file = file::open(path, PICTURE_BYTES, remedy)?;
        let mut bytes = vec![0; PNG.len()];
        let problem = |e: std::io::Error| Error::io(path, &e, remedy);
        // What is no picture need not be read as a whole to be told so.
        let start = file.by_ref().take(bytes.len() as u64).read(&mut bytes).map_err(problem)?;
        bytes.truncate(start);
        if !is_jpeg(&bytes) && !bytes.starts_with(PNG) && !bytes.starts_with(WEBP) {
            return Err(unreadable(path)("it is neither JPEG, PNG nor WebP"));
        }
        file.take(PICTURE_BYTES).read_to_end(&mut bytes).map_err(problem)?;
        let info = header(path, &bytes)?;
        Ok(Self { path, bytes, info })
    }

    fn check_size(&self, wanted: (u32, u32), like: &str) -> Result<()> {
        if self.info.size == wanted {
            return Ok(());
        }
        let ((width, height), (wanted_width, wanted_height)) = (self.info.size, wanted);
        Err(Error::invalid(
            self.path,
            format!("is {width} x {height}, not {wanted_width} x {wanted_height} as {like}"),
            "Bring all frames to one size",
        ))
    }

    fn decode(&self) -> Result<ImageFile> {
        if is_jpeg(&self.bytes) {
            let (width, height) = self.info.size;
            let mut colours = pool::picture(width, height);
            self.decompress(&mut colours, 3, turbojpeg::PixelFormat::RGB, ScalingFactor::ONE)?;
            return Ok(ImageFile { colours, alpha: None });
        }
        let picture = self.decode_other()?;
        let alpha = picture.color().has_alpha().then(|| {
            let pixels = picture.to_rgba8();
            let levels = pixels.pixels().map(|pixel| pixel.0[3]).collect();
            GrayImage::from_raw(pixels.width(), pixels.height(), levels)
                .unwrap_or_else(|| unreachable!("a level for each pixel"))
        });
        Ok(ImageFile { colours: picture.into_rgb8(), alpha })
    }

    fn decode_grey(&self) -> Result<GrayImage> {
        if !is_jpeg(&self.bytes) {
            return Ok(self.decode_other()?.into_luma8());
        }
        let (width, height) = self.info.size;
        let mut grey = GrayImage::new(width, height);
        self.decompress(&mut grey, 1, turbojpeg::PixelFormat::GRAY, ScalingFactor::ONE)?;
        Ok(grey)
    }

    fn decode_thumbnail(&self) -> Result<GrayImage> {
        let scale = ScalingFactor::ONE_EIGHTH;
        let [width, height] =
            [self.info.size.0, self.info.size.1].map(|side| scale.scale(side as usize) as u32);
        if !is_jpeg(&self.bytes) {
            return Ok(imageops::thumbnail(&self.decode_other()?.into_luma8(), width, height));
        }
        // Most of the work of decoding is left out.
        let mut grey = GrayImage::new(width, height);
        self.decompress(&mut grey, 1, turbojpeg::PixelFormat::GRAY, scale)?;
        Ok(grey)
    }

    /// Decodes a JPEG into memory of its size at that scale.
    fn decompress(
        &self,
        pixels: &mut [u8],
        depth: usize,
        format: turbojpeg::PixelFormat,
        scale: ScalingFactor,
    ) -> Result<()> {
        let [width, height] = [self.info.size.0, self.info.size.1].map(|side| scale.scale(side as usize));
        let image = turbojpeg::Image { pixels, width, pitch: depth * width, height, format };
        let decompressed = turbojpeg::Decompressor::new().and_then(|mut decompressor| {
            decompressor.set_scan_limit(JPEG_SCANS)?;
            decompressor.set_scaling_factor(scale)?;
            decompressor.decompress(&self.bytes, image)
        });
        decompressed.map_err(unreadable(self.path))
    }

    /// Decodes what is no JPEG.
    fn decode_other(&self) -> Result<DynamicImage> {
        let decoder = decoder(&self.bytes).map_err(unreadable(self.path))?;
        DynamicImage::from_decoder(decoder).map_err(unreadable(self.path))
    }
}

/// What the header says, if it is within the bounds.
fn header(path: &Path, bytes: &[u8]) -> Result<ImageInfo> {
    if is_jpeg(bytes) {
        let header = turbojpeg::read_header(bytes).map_err(unreadable(path))?;
        let info = ImageInfo { size: (header.width as u32, header.height as u32), alpha: false };
        return check_bounds(path, info.size).map(|()| info);
    }
    if bytes.starts_with(PNG) {
        let header = PngHeader::of(bytes).ok_or_else(|| unreadable(path)("its header is cut short"))?;
        // Before the decoder makes room for a line of it.
        check_bounds(path, header.size)?;
        if header.palette.is_some_and(|length| length == 0 || length % 3 != 0 || length > 3 * 256) {
            return Err(unreadable(path)("its palette is not one of up to 256 colours"));
        }
    }
    let decoder = decoder(bytes).map_err(unreadable(path))?;
    let info = ImageInfo { size: decoder.dimensions(), alpha: decoder.color_type().has_alpha() };
    check_bounds(path, info.size).map(|()| info)
}

/// The decoder of what is no JPEG; it has read the header.
fn decoder(bytes: &[u8]) -> image::ImageResult<impl ImageDecoder> {
    let mut reader = ImageReader::new(std::io::Cursor::new(bytes)).with_guessed_format()?;
    let mut limits = image::Limits::default();
    // Four values of 16 bits a pixel, and as much again for what the decoder has beside them.
    limits.max_alloc = Some(2 * 8 * PICTURE_PIXELS);
    reader.limits(limits);
    reader.into_decoder()
}

/// What must be known of a PNG before it is given to the decoder.
struct PngHeader {
    size: (u32, u32),
    /// Bytes of the palette, which the decoder takes for whole colours.
    palette: Option<usize>,
}

impl PngHeader {
    /// `None` where it is cut short.
    fn of(bytes: &[u8]) -> Option<Self> {
        let number = |bytes: &[u8]| Some(u32::from_be_bytes(bytes.get(..4)?.try_into().ok()?));
        let mut chunks = bytes.get(PNG.len()..)?;
        let first = chunks.get(8..)?;
        let size = (number(first)?, number(first.get(4..)?)?);
        // A chunk: its length, its name, what is in it, a sum. The picture comes behind its palette.
        while let (Some(length), Some(name)) = (number(chunks), chunks.get(4..8)) {
            match name {
                b"PLTE" => return Some(Self { size, palette: Some(length as usize) }),
                b"IDAT" => break,
                _ => {}
            }
            let Some(rest) = chunks.get(12..).and_then(|rest| rest.get(length as usize..)) else { break };
            chunks = rest;
        }
        Some(Self { size, palette: None })
    }
}

fn check_bounds(path: &Path, (width, height): (u32, u32)) -> Result<()> {
    let pixels = u64::from(width) * u64::from(height);
    if width.max(height) <= PICTURE_SIDE && pixels <= PICTURE_PIXELS && pixels > 0 {
        return Ok(());
    }
    let problem = format!(
        "is {width} x {height} pixels: a picture may have {PICTURE_SIDE} on a side, and {PICTURE_PIXELS} in all"
    );
    Err(Error::invalid(path, problem, "Scale all of the avatar's pictures down"))
}

fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, 0xd8])
}

fn unreadable<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> Error {
    move |e| {
        let problem = format!("is no readable picture: {e}");
        Error::invalid(path, problem.trim_end_matches('.'), REMEDY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progressive() -> Vec<u8> {
        let (width, height) = (64, 48);
        let pixels: Vec<u8> = (0..3 * width * height).map(|n| (n * n / 7) as u8).collect();
        let format = turbojpeg::PixelFormat::RGB;
        let image = turbojpeg::Image { pixels: pixels.as_slice(), width, pitch: 3 * width, height, format };
        let mut compressor = turbojpeg::Compressor::new().unwrap();
        compressor.set_progressive(true).unwrap();
        compressor.compress_to_vec(image).unwrap()
    }

    #[test]
    fn scans_without_end_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.jpg");
        let mut bytes = progressive();
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(read(&path).unwrap().colours.dimensions(), (64, 48));
        // The last scan once more, a hundred times.
        let start = bytes.windows(2).rposition(|marker| marker == [0xff, 0xda]).unwrap();
        let end = bytes.len() - 2;
        let scan = bytes[start..end].to_vec();
        bytes.truncate(end);
        (0..JPEG_SCANS).for_each(|_| bytes.extend(&scan));
        bytes.extend([0xff, 0xd9]);
        std::fs::write(&path, &bytes).unwrap();
        let error = read(&path).unwrap_err().to_string();
        assert!(error.contains("0.jpg: is no readable picture: ") && error.contains("scans"), "{error}");
    }

    #[test]
    fn a_panic_is_an_error_of_the_file() {
        let error = guarded::<()>(Path::new("3.png"), || panic!("of a decoder")).unwrap_err().to_string();
        assert!(error.contains("3.png: is no readable picture: its decoder panicked"), "{error}");
    }

    #[test]
    fn other_sizes_are_told_without_decoding() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.jpg");
        let mut bytes = progressive();
        // There is nothing behind the head of the first scan.
        let start = bytes.windows(2).position(|marker| marker == [0xff, 0xda]).unwrap();
        bytes.truncate(start + 14);
        std::fs::write(&path, &bytes).unwrap();
        for error in [
            read_sized(&path, (32, 48), "the frame").unwrap_err(),
            read_grey(&path, (32, 48), "the frame").unwrap_err(),
        ] {
            assert!(error.to_string().contains("is 64 x 48, not 32 x 48 as the frame"), "{error}");
        }
    }
}
