// SPDX-License-Identifier: MPL-2.0
//! Painted frames into downstream's buffers.

use std::ops::ControlFlow;
use std::sync::Mutex;

use gst::prelude::*;
use gst_video::{VideoInfo, VideoRegionOfInterestMeta};
use lipsync_core::picture::geometry::Rect;
use lipsync_core::rate::mul_div;
use lipsync_core::render::painter::Painted;

use super::messages::Stop;
use super::{CAT, lock, video_output};

/// The format of the video and the pool of its buffers. Used by the source pad's streaming thread; others may only make
/// it flush.
#[derive(Default)]
pub struct VideoWriter(Mutex<Option<(VideoInfo, gst::BufferPool)>>);

impl VideoWriter {
    /// Sends the caps downstream and gets buffers for them. True where the format is another than before.
    ///
    /// # Errors
    /// Where downstream takes neither, or the pad is flushing.
    pub fn set_format(&self, pad: &gst::Pad, info: VideoInfo) -> Result<bool, gst::FlowError> {
        let caps = info.to_caps().map_err(|_| gst::FlowError::NotNegotiated)?;
        gst::debug!(CAT, obj = pad, "video is {caps}");
        // A pad that is flushing does not even keep them; what else may be wrong, the first buffer tells.
        if !pad.push_event(gst::event::Caps::new(&caps)) && pad.pad_flags().contains(gst::PadFlags::FLUSHING)
        {
            return Err(gst::FlowError::Flushing);
        }
        let pool = video_output::buffer_pool(pad, &info).map_err(|error| {
            gst::error!(CAT, obj = pad, "no buffer pool: {error}");
            gst::FlowError::NotNegotiated
        })?;
        let changed = lock(&self.0).as_ref().is_none_or(|(before, _)| *before != info);
        self.replace(Some((info, pool)));
        Ok(changed)
    }

    /// A buffer with a frame drawn into it.
    pub fn draw(&self, painted: &Painted) -> Result<gst::Buffer, Stop> {
        let (info, pool) = lock(&self.0).clone().ok_or(gst::FlowError::NotNegotiated)?;
        let mut buffer = pool.acquire_buffer(None)?;
        video_output::with_picture(buffer.make_mut(), &info, |picture| painted.draw(picture)).map_err(
            |error| {
                Stop::message(gst::error_msg!(
                    gst::ResourceError::Write,
                    ("buffer cannot be written: {error}")
                ))
            },
        )?;
        mark_face(buffer.make_mut(), painted.face());
        Ok(buffer)
    }

    /// Wakes whoever waits for a buffer, and lets nobody wait until it is called with `false`.
    pub fn set_flushing(&self, flushing: bool) {
        if let Some((_, pool)) = lock(&self.0).clone() {
            pool.set_flushing(flushing);
        }
    }

    /// Gives the buffers back.
    pub fn stop(&self) {
        self.replace(None);
    }

    fn replace(&self, new: Option<(VideoInfo, gst::BufferPool)>) {
        let kept = new.as_ref().map(|(_, pool)| pool.clone());
        let old = std::mem::replace(&mut *lock(&self.0), new);
        // Downstream may offer the same pool again.
        if let Some((_, old)) = old.filter(|(_, old)| kept.as_ref() != Some(old)) {
            let _ = old.set_active(false);
        }
    }
}

/// The type of the region of interest that is the face.
const FACE: &str = "face";

/// Says where the face is, for encoders that spend more bits there.
fn mark_face(buffer: &mut gst::BufferRef, face: Rect) {
    use gst::buffer::BufferMetaForeachAction::{Keep, Remove};
    // Not every pool takes off what a buffer had when it went out before.
    buffer.foreach_meta_mut(|mut meta| {
        let region = meta.downcast_ref::<VideoRegionOfInterestMeta>();
        let is_face = region.is_some_and(|region| region.roi_type() == FACE);
        ControlFlow::Continue(if is_face { Remove } else { Keep })
    });
    VideoRegionOfInterestMeta::add(buffer, FACE, (face.x, face.y, face.width, face.height));
}

/// Says where the face is in a picture that has been scaled.
pub fn scale_face(from: (&gst::BufferRef, &VideoInfo), to: (&mut gst::BufferRef, &VideoInfo)) {
    let mut regions = from.0.iter_meta::<VideoRegionOfInterestMeta>();
    let Some(region) = regions.find(|region| region.roi_type() == FACE) else { return };
    let across = |x: u32| mul_div(x.into(), to.1.width().into(), from.1.width().into()) as u32;
    let down = |y: u32| mul_div(y.into(), to.1.height().into(), from.1.height().into()) as u32;
    let (x, y, width, height) = region.rect();
    let (width, height) = (across(width).max(1), down(height).max(1));
    mark_face(to.0, Rect { x: across(x), y: down(y), width, height });
}

/// Says when a frame is shown and which one it is. The last picture, shown once more, gets new ones.
pub fn stamp(
    buffer: &mut gst::Buffer,
    pts: gst::ClockTime,
    duration: gst::ClockTime,
    number: u64,
    discont: bool,
) {
    let buffer = buffer.make_mut();
    buffer.set_pts(pts);
    buffer.set_duration(duration);
    buffer.set_offset(number);
    buffer.set_offset_end(number + 1);
    buffer.unset_flags(gst::BufferFlags::DISCONT);
    if discont {
        buffer.set_flags(gst::BufferFlags::DISCONT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_has_one_face_which_is_scaled_with_the_picture() {
        gst::init().unwrap();
        let info = |w, h| VideoInfo::builder(gst_video::VideoFormat::I420, w, h).build().unwrap();
        let (large, small) = (info(480, 360), info(320, 240));
        let buffer = || gst::Buffer::with_size(100).unwrap();
        let regions = |buffer: &gst::Buffer| -> Vec<_> {
            buffer.iter_meta::<VideoRegionOfInterestMeta>().map(|region| region.rect()).collect()
        };
        let (mut from, mut to) = (buffer(), buffer());
        scale_face((&from, &large), (to.make_mut(), &small));
        assert_eq!(regions(&to), []);
        VideoRegionOfInterestMeta::add(from.make_mut(), "hand", (1, 2, 3, 4));
        for x in [90, 93] {
            mark_face(from.make_mut(), Rect { x, y: 61, width: 99, height: 120 });
        }
        assert_eq!(regions(&from), [(1, 2, 3, 4), (93, 61, 99, 120)], "that of others stays");
        scale_face((&from, &large), (to.make_mut(), &small));
        assert_eq!(regions(&to), [(62, 40, 66, 80)]);
    }
}
