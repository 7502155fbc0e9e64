// SPDX-License-Identifier: MPL-2.0
//! Extracts frames at 25 a second and audio at 16 kHz from a video.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};

use super::audio;
use super::segment::{RATE, Segment};
use crate::media::Reader;
use crate::progress;

/// JPEG quality of the frames.
const QUALITY: i32 = 95;

const REMEDY: &str =
    "Give a video with picture and sound of a person who speaks, in a format that GStreamer can play";

// Phones record sideways with an orientation tag, hence videoflip; pixels must be square for the networks.
const PIPELINE: &str = "uridecodebin name=source \
    videoconvert name=picture ! videoflip video-direction=auto ! deinterlace ! videoscale ! videorate \
    ! videoconvert ! appsink name=frames sync=false max-buffers=4 \
    audioconvert name=convert ! audioresample ! audiorate ! audio/x-raw,format=S16LE,rate=16000,channels=1 \
    ! appsink name=sound sync=false";

/// The frames and audio of a segment.
pub struct Extracted {
    pub frames: usize,
    pub size: (u32, u32),
    /// The audio from the first frame on.
    pub sound: Vec<i16>,
}

/// Writes the frames of a segment to `folder` as N.jpg, from 0.
pub fn extract(video: &Path, segment: Segment, folder: &Path) -> Result<Extracted> {
    let mut reader = Reader::open(PIPELINE, video, REMEDY)?;
    reader.link(&[("video", reader.element("picture")?), ("audio", reader.element("convert")?)])?;
    let counter = Arc::new(FrameCounter::default());
    collect_frames(&reader.sink("frames")?, folder.to_path_buf(), segment, counter.clone());
    let collected = reader.collect_sound("sound")?;
    let bar = progress::bar(0, "frames");
    reader.start();
    while !reader.has_ended()? {
        let frame_count = counter.frame_count.load(Ordering::SeqCst);
        if let Some(duration) = reader.duration() {
            bar.set_length(duration.mseconds() * RATE as u64 / 1000);
        }
        bar.set_position(frame_count as u64);
        let enough = |end: usize| frame_count >= end && collected.len() >= audio::bytes_of(end);
        if segment.end.is_some_and(enough) {
            break;
        }
    }
    bar.finish_and_clear();
    let frame_count = counter.frame_count.load(Ordering::SeqCst);
    let sound = audio::samples(&collected.take());
    if frame_count == 0 || sound.is_empty() {
        return Err(reader.file_error(if frame_count == 0 { "holds no picture" } else { "holds no sound" }));
    }
    segment.check(frame_count, video)?;
    let size = |size: &AtomicUsize| size.load(Ordering::SeqCst) as u32;
    Ok(Extracted {
        frames: segment.end.unwrap_or(frame_count).min(frame_count) - segment.start,
        size: (size(&counter.width), size(&counter.height)),
        sound: sound.get(audio::samples_of(segment.start)..).unwrap_or_default().to_vec(),
    })
}

#[derive(Default)]
struct FrameCounter {
    /// Frames of the video so far, including those before the segment.
    frame_count: AtomicUsize,
    width: AtomicUsize,
    height: AtomicUsize,
}

/// Writes each frame of the segment as a JPEG file.
fn collect_frames(sink: &gst_app::AppSink, folder: PathBuf, segment: Segment, counter: Arc<FrameCounter>) {
    let caps = gst_video::VideoCapsBuilder::new()
        .format(gst_video::VideoFormat::Rgb)
        .framerate(gst::Fraction::new(RATE as i32, 1))
        .pixel_aspect_ratio(gst::Fraction::new(1, 1))
        .build();
    sink.set_caps(Some(&caps));
    let write = move |sample: &gst::Sample| -> Result<()> {
        let index = counter.frame_count.load(Ordering::SeqCst);
        if segment.contains(index) {
            let path = folder.join(format!("{}.jpg", index - segment.start));
            let (width, height) = write_frame(sample, &path)?;
            counter.width.store(width, Ordering::SeqCst);
            counter.height.store(height, Ordering::SeqCst);
        }
        counter.frame_count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    };
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        write(&sample).map(|()| gst::FlowSuccess::Ok).map_err(|error| {
            gst::element_error!(sink, gst::ResourceError::Write, ("{}", crate::message(&error)));
            gst::FlowError::Error
        })
    });
    sink.set_callbacks(callbacks.build());
}

/// Writes a frame as JPEG and returns its size.
fn write_frame(sample: &gst::Sample, path: &Path) -> Result<(usize, usize)> {
    let (buffer, caps) = sample.buffer().zip(sample.caps()).context("a frame without a picture")?;
    let info = gst_video::VideoInfo::from_caps(caps)?;
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info)?;
    let image = turbojpeg::Image {
        pixels: frame.plane_data(0)?,
        width: info.width() as usize,
        pitch: info.stride()[0] as usize,
        height: info.height() as usize,
        format: turbojpeg::PixelFormat::RGB,
    };
    let jpeg = turbojpeg::compress(image, QUALITY, turbojpeg::Subsamp::Sub2x2)?;
    std::fs::write(path, &jpeg).with_context(|| format!("{}: cannot be written", path.display()))?;
    Ok((image.width, image.height))
}
