//! Video caps, buffers and pictures: which formats are offered, and how a frame gets into a buffer.

use gst::prelude::*;
use gst_video::prelude::*;
use gst_video::{VideoColorMatrix, VideoFormat, VideoFrameRef, VideoInfo};

use super::messages::Stop;
use crate::avatar::Avatar;
use crate::image_file::ImageInfo;
use crate::picture::{Matrix, Packed, PictureMut, PixelFormat};

/// Formats in the order of preference: what encoders take, without conversion, comes first.
const FORMATS: [VideoFormat; 13] = [
    VideoFormat::I420,
    VideoFormat::Nv12,
    VideoFormat::Rgb,
    VideoFormat::Bgr,
    VideoFormat::Rgbx,
    VideoFormat::Bgrx,
    VideoFormat::Xrgb,
    VideoFormat::Xbgr,
    VideoFormat::Rgba,
    VideoFormat::Bgra,
    VideoFormat::Argb,
    VideoFormat::Abgr,
    VideoFormat::A420,
];

/// The formats in the order of preference, for frames with an alpha channel or without. Opaque frames with masks come
/// before their own background, and with alpha where downstream takes nothing else.
fn formats(alpha: bool) -> Vec<VideoFormat> {
    let mut formats = FORMATS.to_vec();
    if alpha {
        let planar_first = |format: &VideoFormat| (!has_alpha(*format), *format != VideoFormat::A420);
        formats.sort_by_key(planar_first);
    }
    formats
}

fn has_alpha(format: VideoFormat) -> bool {
    gst_video::VideoFormatInfo::from_format(format).has_alpha()
}

/// The slowest and the fastest frame rate.
const FRAME_RATES: [gst::Fraction; 2] = [gst::Fraction::from_integer(1), gst::Fraction::from_integer(240)];

/// The caps of all that can come out, of one avatar's frames if they are known.
pub fn caps(image: Option<ImageInfo>) -> gst::Caps {
    let builder = gst_video::VideoCapsBuilder::new()
        .format_list(formats(image.is_some_and(|image| image.alpha)))
        .framerate_range(FRAME_RATES[0]..=FRAME_RATES[1]);
    match image {
        None => builder.build(),
        Some(ImageInfo { size: (width, height), .. }) => builder
            .width(width as i32)
            .height(height as i32)
            .pixel_aspect_ratio(gst::Fraction::new(1, 1))
            .field("interlace-mode", "progressive")
            .build(),
    }
}

/// Chooses from what downstream takes: our preferred format, and `rate` or what is nearest to it.
fn choose(allowed: &gst::Caps, image: ImageInfo, rate: gst::Fraction) -> Option<VideoInfo> {
    let mut caps = caps(Some(image)).intersect_with_mode(allowed, gst::CapsIntersectMode::First);
    caps.truncate();
    caps.make_mut().structure_mut(0)?.fixate_field_nearest_fraction("framerate", rate);
    caps.fixate();
    VideoInfo::from_caps(&caps).ok()
}

/// Agrees with downstream on format and frame rate for an avatar's video.
///
/// Asks downstream, so no lock may be held.
pub fn negotiate(pad: &gst::Pad, avatar: &Avatar) -> Result<VideoInfo, Stop> {
    let image = avatar.image;
    let allowed = pad.peer_query_caps(Some(&caps(Some(image))));
    let fps = gst::Fraction::new(avatar.rate.num() as i32, avatar.rate.den() as i32);
    choose(&allowed, image, fps).ok_or_else(|| {
        let wanted = pad.peer_query_caps(None);
        Stop::message(gst::error_msg!(
            gst::CoreError::Negotiation,
            (
                "downstream takes none of the avatar's {} x {} video: it wants {wanted}. Put videoconvert ! videoscale behind {}",
                image.size.0,
                image.size.1,
                pad.parent_element().and_then(|element| element.factory()).map_or("it".into(), |factory| factory.name())
            )
        ))
    })
}

/// Where the pixels of a format lie.
pub fn pixel_format(info: &VideoInfo) -> PixelFormat {
    let matrix = match info.colorimetry().matrix() {
        VideoColorMatrix::Bt601 => Matrix::Bt601,
        _ => Matrix::Bt709,
    };
    match info.format() {
        VideoFormat::I420 => PixelFormat::I420(matrix),
        VideoFormat::A420 => PixelFormat::A420(matrix),
        VideoFormat::Nv12 => PixelFormat::Nv12(matrix),
        _ => {
            let format = info.format_info();
            let place = |component: usize| format.poffset()[component] as usize;
            PixelFormat::Packed(Packed {
                bytes: format.pixel_stride()[0] as usize,
                order: [0, 1, 2].map(place),
                alpha: format.has_alpha().then(|| place(3)),
            })
        }
    }
}

/// Lets `draw` write into a buffer of that format.
///
/// Fails where the buffer cannot be mapped.
pub fn with_picture(
    buffer: &mut gst::BufferRef,
    info: &VideoInfo,
    draw: impl FnOnce(&mut PictureMut<'_>),
) -> Result<(), gst::glib::BoolError> {
    let mut frame = VideoFrameRef::from_buffer_ref_writable(buffer, info)?;
    let strides: Vec<usize> = frame.plane_stride().iter().map(|stride| *stride as usize).collect();
    let planes = frame.planes_data_mut().into_iter().zip(strides).collect();
    draw(&mut PictureMut { format: pixel_format(info), width: info.width(), height: info.height(), planes });
    Ok(())
}

/// Buffers for the caps: downstream's pool if it offers one that works, else one of our own.
///
/// Asks downstream, so it must be called from the source's streaming thread with no lock held.
pub fn buffer_pool(pad: &gst::Pad, info: &VideoInfo) -> Result<gst::BufferPool, gst::glib::BoolError> {
    let caps = info.to_caps()?;
    let size = info.size() as u32;
    let mut query = gst::query::Allocation::new(Some(&caps), true);
    let answered = pad.peer_query(&mut query);
    let with_meta = answered && query.find_allocation_meta::<gst_video::VideoMeta>().is_some();
    let offered = query.allocation_pools().next().filter(|_| answered);
    // One buffer more than downstream needs: the element keeps the last one, to show it again.
    if let Some((Some(pool), pool_size, min, max)) = offered
        && let max = if max == 0 { 0 } else { max + 1 }
        && let Ok(()) = start(&pool, &caps, pool_size.max(size), min + 1, max, with_meta)
    {
        return Ok(pool);
    }
    let pool = gst_video::VideoBufferPool::new().upcast::<gst::BufferPool>();
    start(&pool, &caps, size, 1, 0, with_meta)?;
    Ok(pool)
}

fn start(
    pool: &gst::BufferPool,
    caps: &gst::Caps,
    size: u32,
    min: u32,
    max: u32,
    with_meta: bool,
) -> Result<(), gst::glib::BoolError> {
    let mut config = pool.config();
    config.set_params(Some(caps), size, min, max);
    if with_meta && pool.has_option(gst_video::BUFFER_POOL_OPTION_VIDEO_META) {
        config.add_option(gst_video::BUFFER_POOL_OPTION_VIDEO_META);
    }
    pool.set_config(config)?;
    pool.set_active(true)
}
