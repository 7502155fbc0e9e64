// SPDX-License-Identifier: MPL-2.0
//! Video caps, buffers and pictures: which formats are offered, and how a frame gets into a buffer.

use gst::prelude::*;
use gst_video::prelude::*;
use gst_video::{VideoColorMatrix, VideoColorRange, VideoFormat, VideoFormatInfo, VideoFrameRef, VideoInfo};
use lipsync_core::avatar::Avatar;
use lipsync_core::picture::formats::{Matrix, Packed, PictureMut, PixelFormat, Range, YuvCoding};
use lipsync_core::picture::image_file::ImageInfo;

use super::messages::Stop;

/// Opaque formats, in the order of preference: what encoders take, without conversion, comes first.
const YUV: &[VideoFormat] = &[VideoFormat::I420, VideoFormat::Nv12];
const RGB: &[VideoFormat] = &[
    VideoFormat::Rgb,
    VideoFormat::Bgr,
    VideoFormat::Rgbx,
    VideoFormat::Bgrx,
    VideoFormat::Xrgb,
    VideoFormat::Xbgr,
];
/// Formats with alpha.
const YUV_ALPHA: &[VideoFormat] = &[VideoFormat::A420];
const RGB_ALPHA: &[VideoFormat] =
    &[VideoFormat::Rgba, VideoFormat::Bgra, VideoFormat::Argb, VideoFormat::Abgr];

/// The formats in the order of preference, for frames with an alpha channel or without. Opaque frames, also those with
/// masks, come with alpha only where downstream takes nothing else.
fn formats(alpha: bool) -> [&'static [VideoFormat]; 4] {
    if alpha { [YUV_ALPHA, RGB_ALPHA, YUV, RGB] } else { [YUV, RGB, RGB_ALPHA, YUV_ALPHA] }
}

/// What luma and colour differences can be made by: both matrices in both ranges, under the names and numbers
/// (range:matrix:transfer:primaries) that GStreamer writes for them. The primaries are those of the avatar's pictures or
/// near to them; others, as those of BT.2020, would need more than a matrix, so they are not offered.
const YUV_COLORIMETRIES: &[&str] = &[
    "bt709", "bt601", "2:3:7:1", "2:4:5:1", "2:4:7:1", "2:4:5:4", "1:3:5:1", "1:3:7:1", "1:4:5:1", "1:4:7:1",
    "1:4:16:4", "1:4:0:0",
];
/// What red, green and blue may be called.
const RGB_COLORIMETRIES: &[&str] = &["sRGB", "1:1:5:1", "1:1:16:4", "1:1:0:0"];

/// What formats can be coded by, for frames of that height: first what GStreamer takes for granted where nothing is said.
fn colorimetries(formats: &[VideoFormat], height: u32) -> Vec<&'static str> {
    const HIGHEST_SD: u32 = 576;
    if !VideoFormatInfo::from_format(formats[0]).is_yuv() {
        return RGB_COLORIMETRIES.to_vec();
    }
    let mut colorimetries = YUV_COLORIMETRIES.to_vec();
    if height <= HIGHEST_SD {
        colorimetries.swap(0, 1);
    }
    colorimetries
}

/// The slowest and the fastest frame rate.
const FRAME_RATES: [gst::Fraction; 2] = [gst::Fraction::from_integer(1), gst::Fraction::from_integer(240)];

/// The caps of all that can come out, of any avatar.
pub fn template_caps() -> gst::Caps {
    gst_video::VideoCapsBuilder::new()
        .format_list(formats(false).concat())
        .framerate_range(FRAME_RATES[0]..=FRAME_RATES[1])
        .build()
}

/// The caps of all that can come out of an avatar's frames, in the order of preference.
pub fn caps(image: ImageInfo) -> gst::Caps {
    let (width, height) = image.size;
    let mut caps = gst::Caps::new_empty();
    for formats in formats(image.alpha) {
        let colorimetries = gst::List::new(colorimetries(formats, height));
        let structure = gst_video::VideoCapsBuilder::new()
            .format_list(formats.iter().copied())
            .framerate_range(FRAME_RATES[0]..=FRAME_RATES[1])
            .width(width as i32)
            .height(height as i32)
            .pixel_aspect_ratio(gst::Fraction::new(1, 1))
            .field("interlace-mode", "progressive")
            .field("colorimetry", colorimetries)
            .build();
        caps.get_mut().unwrap_or_else(|| unreachable!("nobody else has them")).append(structure);
    }
    caps
}

/// Answers a CAPS query of downstream, for an avatar's frames if they are known.
pub fn answer_caps(query: &mut gst::query::Caps, image: Option<ImageInfo>) {
    let possible = image.map_or_else(template_caps, caps);
    let filtered =
        query.filter().map(|filter| filter.intersect_with_mode(&possible, gst::CapsIntersectMode::First));
    query.set_result(&filtered.unwrap_or(possible));
}

/// Chooses from what downstream takes: our preferred format, and `rate` or what is nearest to it.
fn choose(allowed: &gst::Caps, image: ImageInfo, rate: gst::Fraction) -> Option<VideoInfo> {
    let mut caps = caps(image).intersect_with_mode(allowed, gst::CapsIntersectMode::First);
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
    let allowed = pad.peer_query_caps(Some(&caps(image)));
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
    let colorimetry = info.colorimetry();
    let coding = YuvCoding {
        matrix: match colorimetry.matrix() {
            VideoColorMatrix::Bt601 => Matrix::Bt601,
            _ => Matrix::Bt709,
        },
        range: match colorimetry.range() {
            VideoColorRange::Range0_255 => Range::Full,
            _ => Range::Limited,
        },
    };
    match info.format() {
        VideoFormat::I420 => PixelFormat::I420(coding),
        VideoFormat::A420 => PixelFormat::A420(coding),
        VideoFormat::Nv12 => PixelFormat::Nv12(coding),
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
        && let max = if max == 0 { 0 } else { max.saturating_add(1) }
        && let Ok(()) = start(&pool, &caps, pool_size.max(size), min.saturating_add(1), max, with_meta)
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
