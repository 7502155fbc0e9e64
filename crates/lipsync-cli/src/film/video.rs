// SPDX-License-Identifier: MPL-2.0
//! Extracts frames at 25 a second and audio at 16 kHz from a video.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use lipsync_core::sync::lock;

use super::segment::Segment;
use super::thinning::Thinning;
use super::{RATE, sound};
use crate::media::Reader;

/// JPEG quality of the frames.
const QUALITY: i32 = 95;

pub const REMEDY: &str =
    "Give a video with picture and sound of a person who speaks, in a format that GStreamer can play";

// Phones record sideways with an orientation tag, hence videoflip; pixels must be square for the networks.
const PIPELINE: &str = "uridecodebin name=source \
    videoconvert name=picture ! videoflip video-direction=auto ! deinterlace ! videoscale ! videorate \
    ! videoconvert ! appsink name=frames sync=false max-buffers=4 \
    audioconvert name=convert ! audioresample ! audiorate ! audio/x-raw,format=S16LE,rate=16000,channels=1 \
    ! appsink name=sound sync=false";

/// How much of a film is read.
pub struct Wanted {
    pub segment: Segment,
    /// Frames to keep at most: of longer segments, pieces that are spread over them.
    pub most_frames: Option<usize>,
    /// The longest side of the frames: larger ones are scaled down.
    pub longest_side: Option<i32>,
}

/// The frames and audio of a segment.
pub struct Extracted {
    /// How many were written.
    pub frames: usize,
    /// Which of the segment's frames these are: one range, unless it was too long.
    pub pieces: Vec<Range<usize>>,
    pub size: (u32, u32),
    /// The audio of the frames that were written, from the first one on. It may end early.
    pub sound: Vec<i16>,
}

/// Writes the frames of a segment to `folder` as N.jpg, from 0. `progress` is told how many frames were read, and of how many
/// where that is known.
pub fn extract(
    video: &Path,
    wanted: &Wanted,
    folder: &Path,
    progress: &mut dyn FnMut(usize, Option<usize>),
) -> Result<Extracted> {
    let segment = wanted.segment;
    let mut reader = Reader::open(PIPELINE, video, REMEDY)?;
    reader.link(&[("video", reader.element("picture")?), ("audio", reader.element("convert")?)])?;
    let writer = Arc::new(Mutex::new(Writer {
        folder: folder.to_path_buf(),
        segment,
        thinning: Thinning::new(wanted.most_frames),
        frame_count: 0,
        size: (0, 0),
    }));
    collect_frames(&reader.sink("frames")?, wanted.longest_side, writer.clone());
    let collected = reader.collect_sound("sound")?;
    reader.start();
    while !reader.has_ended()? {
        let frame_count = lock(&writer).frame_count;
        let length = reader.duration().map(|duration| duration.mseconds() as usize * RATE / 1000);
        progress(frame_count, length.map(|length| segment.end.map_or(length, |end| end.min(length))));
        let enough = |end: usize| frame_count >= end && collected.len() >= sound::bytes_of(end);
        if segment.end.is_some_and(enough) {
            break;
        }
    }
    let samples = sound::samples(&collected.take());
    let writer = lock(&writer);
    let frame_count = writer.frame_count;
    if frame_count == 0 || samples.is_empty() {
        return Err(reader.file_error(if frame_count == 0 { "holds no picture" } else { "holds no sound" }));
    }
    segment.check(frame_count, video)?;
    let frames = segment.end.unwrap_or(frame_count).min(frame_count) - segment.start;
    let samples = samples.get(sound::samples_of(segment.start)..).unwrap_or_default().to_vec();
    let pieces = writer.thinning.pieces(frames);
    Ok(Extracted {
        frames: pieces.iter().map(ExactSizeIterator::len).sum(),
        pieces,
        size: writer.size,
        sound: writer.thinning.close_gaps(frames, folder, samples)?,
    })
}

/// Writes each frame of a segment as a JPEG file.
struct Writer {
    folder: PathBuf,
    segment: Segment,
    thinning: Thinning,
    /// Frames of the video so far, including those before the segment.
    frame_count: usize,
    size: (u32, u32),
}

impl Writer {
    fn take(&mut self, sample: &gst::Sample) -> Result<()> {
        let frame = self.frame_count;
        self.frame_count += 1;
        if !self.segment.contains(frame) {
            return Ok(());
        }
        let frame = frame - self.segment.start;
        if self.thinning.keeps(frame) {
            self.size = write_frame(sample, &self.folder.join(format!("{frame}.jpg")))?;
            self.thinning.thin(frame + 1, &self.folder)?;
        }
        Ok(())
    }
}

fn collect_frames(sink: &gst_app::AppSink, longest_side: Option<i32>, writer: Arc<Mutex<Writer>>) {
    let mut caps = gst_video::VideoCapsBuilder::new()
        .format(gst_video::VideoFormat::Rgb)
        .framerate(gst::Fraction::new(RATE as i32, 1))
        .pixel_aspect_ratio(gst::Fraction::new(1, 1));
    if let Some(side) = longest_side {
        caps = caps.width_range(16..=side).height_range(16..=side);
    }
    sink.set_caps(Some(&caps.build()));
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let taken = lock(&writer).take(&sample);
        taken.map(|()| gst::FlowSuccess::Ok).map_err(|error| {
            gst::element_error!(sink, gst::ResourceError::Write, ("{}", crate::message(&error)));
            gst::FlowError::Error
        })
    });
    sink.set_callbacks(callbacks.build());
}

/// Writes a frame as JPEG and returns its size.
fn write_frame(sample: &gst::Sample, path: &Path) -> Result<(u32, u32)> {
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
    Ok((info.width(), info.height()))
}
