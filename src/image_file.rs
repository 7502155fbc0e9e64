//! Picture files: JPEG, PNG and WebP, decoded to the very levels that OpenCV would give.

use std::path::Path;

use image::{GrayImage, ImageDecoder, ImageReader, RgbImage};

use crate::error::{Error, Result};
use crate::file;
use crate::limits::PICTURE_BYTES;
use crate::pool;

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
/// [`Error::NotFound`] or [`Error::Invalid`].
pub fn read(path: &Path) -> Result<ImageFile> {
    let bytes = file::read(path, PICTURE_BYTES, REMEDY)?;
    if is_jpeg(&bytes) {
        let colours = decompress(&bytes).map_err(unreadable(path))?;
        return Ok(ImageFile { colours, alpha: None });
    }
    let picture = image::load_from_memory(&bytes).map_err(unreadable(path))?;
    let alpha = picture.color().has_alpha().then(|| {
        let pixels = picture.to_rgba8();
        let levels = pixels.pixels().map(|pixel| pixel.0[3]).collect();
        GrayImage::from_raw(pixels.width(), pixels.height(), levels)
            .unwrap_or_else(|| unreachable!("a level for each pixel"))
    });
    Ok(ImageFile { colours: picture.into_rgb8(), alpha })
}

/// Decodes a JPEG into memory that was used before.
fn decompress(bytes: &[u8]) -> turbojpeg::Result<RgbImage> {
    let mut decompressor = turbojpeg::Decompressor::new()?;
    let turbojpeg::DecompressHeader { width, height, .. } = decompressor.read_header(bytes)?;
    let mut picture = pool::picture(width as u32, height as u32);
    let pixels: &mut [u8] = &mut picture;
    let format = turbojpeg::PixelFormat::RGB;
    decompressor.decompress(bytes, turbojpeg::Image { pixels, width, pitch: 3 * width, height, format })?;
    Ok(picture)
}

/// Decodes a picture file that must have a size, as `like` has it.
///
/// # Errors
/// As [`read`]; [`Error::Invalid`] where it has another size.
pub fn read_sized(path: &Path, size: (u32, u32), like: &str) -> Result<ImageFile> {
    let picture = read(path)?;
    check_size(path, picture.colours.dimensions(), size, like)?;
    Ok(picture)
}

/// Decodes a grey picture file that must have a size, as `like` has it.
///
/// # Errors
/// As [`read_sized`]; [`Error::Invalid`] where it has an alpha channel: then what is meant may lie in either.
pub fn read_grey(path: &Path, size: (u32, u32), like: &str) -> Result<GrayImage> {
    let bytes = file::read(path, PICTURE_BYTES, GREY_REMEDY)?;
    let grey = if is_jpeg(&bytes) {
        let picture =
            turbojpeg::decompress(&bytes, turbojpeg::PixelFormat::GRAY).map_err(unreadable(path))?;
        GrayImage::from_raw(picture.width as u32, picture.height as u32, picture.pixels)
            .ok_or_else(|| unreadable(path)("its lines do not add up"))?
    } else {
        let picture = image::load_from_memory(&bytes).map_err(unreadable(path))?;
        if picture.color().has_alpha() {
            return Err(Error::invalid(path, "has an alpha channel, as no mask has", GREY_REMEDY));
        }
        picture.into_luma8()
    };
    check_size(path, grey.dimensions(), size, like)?;
    Ok(grey)
}

fn check_size(path: &Path, found: (u32, u32), wanted: (u32, u32), like: &str) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    let ((width, height), (wanted_width, wanted_height)) = (found, wanted);
    Err(Error::invalid(
        path,
        format!("is {width} x {height}, not {wanted_width} x {wanted_height} as {like}"),
        "Bring all frames to one size",
    ))
}

/// Reads the header of a picture file.
///
/// # Errors
/// [`Error::NotFound`] or [`Error::Invalid`].
pub fn info(path: &Path) -> Result<ImageInfo> {
    // A JPEG's header may hold a thumbnail, so the whole file is read; it is a frame, not a film.
    let bytes = file::read(path, PICTURE_BYTES, REMEDY)?;
    if is_jpeg(&bytes) {
        let header = turbojpeg::read_header(&bytes).map_err(unreadable(path))?;
        return Ok(ImageInfo { size: (header.width as u32, header.height as u32), alpha: false });
    }
    let reader = ImageReader::new(std::io::Cursor::new(&bytes));
    let decoder = reader
        .with_guessed_format()
        .map_err(image::ImageError::from)
        .and_then(ImageReader::into_decoder)
        .map_err(unreadable(path))?;
    Ok(ImageInfo { size: decoder.dimensions(), alpha: decoder.color_type().has_alpha() })
}

fn is_jpeg(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0xff, 0xd8])
}

fn unreadable<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> Error {
    move |e| Error::invalid(path, format!("is no readable picture: {e}"), REMEDY)
}
