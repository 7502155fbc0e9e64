//! A video taken apart: frames at 25 a second, and the sound at 16 kHz.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result};

use super::part::{Part, RATE};
use super::sound;
use crate::media::Reader;
use crate::progress;

/// The quality of the frames.
const QUALITY: i32 = 95;

const REMEDY: &str =
    "Give a video with picture and sound of a person who speaks, in a format that GStreamer can play";

// Phones film on their side and say so; square pixels, because the networks know no others.
const LINE: &str = "uridecodebin name=source \
    videoconvert name=picture ! videoflip video-direction=auto ! deinterlace ! videoscale ! videorate \
    ! videoconvert ! appsink name=frames sync=false max-buffers=4 \
    audioconvert name=convert ! audioresample ! audiorate ! audio/x-raw,format=S16LE,rate=16000,channels=1 \
    ! appsink name=sound sync=false";

/// What a part of a video held.
pub struct Taken {
    pub frames: usize,
    pub size: (u32, u32),
    /// The sound from the first of the frames on.
    pub sound: Vec<i16>,
}

/// Writes the frames of a part as N.jpg, from 0, to `folder`.
pub fn take_apart(video: &Path, part: Part, folder: &Path) -> Result<Taken> {
    let mut reader = Reader::open(LINE, video, REMEDY)?;
    reader.link(&[("video", reader.element("picture")?), ("audio", reader.element("convert")?)])?;
    let counted = Arc::new(Counted::default());
    collect_frames(&reader.sink("frames")?, folder.to_path_buf(), part, counted.clone());
    let collected = reader.collect_sound("sound")?;
    let bar = progress::bar(0, "frames");
    reader.start();
    while !reader.has_ended()? {
        let seen = counted.seen.load(Ordering::SeqCst);
        if let Some(duration) = reader.duration() {
            bar.set_length(duration.mseconds() * RATE as u64 / 1000);
        }
        bar.set_position(seen as u64);
        let enough = |end: usize| seen >= end && collected.len() >= sound::bytes_of(end);
        if part.end.is_some_and(enough) {
            break;
        }
    }
    bar.finish_and_clear();
    let seen = counted.seen.load(Ordering::SeqCst);
    let sound = sound::samples(&collected.take());
    if seen == 0 || sound.is_empty() {
        return Err(reader.complaint(if seen == 0 { "holds no picture" } else { "holds no sound" }));
    }
    part.check(seen, video)?;
    let size = |size: &AtomicUsize| size.load(Ordering::SeqCst) as u32;
    Ok(Taken {
        frames: part.end.unwrap_or(seen).min(seen) - part.start,
        size: (size(&counted.width), size(&counted.height)),
        sound: sound.get(sound::samples_of(part.start)..).unwrap_or_default().to_vec(),
    })
}

#[derive(Default)]
struct Counted {
    /// Frames of the video so far, also those before the part.
    seen: AtomicUsize,
    width: AtomicUsize,
    height: AtomicUsize,
}

/// Writes each frame of the part that arrives as a JPEG file.
fn collect_frames(sink: &gst_app::AppSink, folder: PathBuf, part: Part, counted: Arc<Counted>) {
    let caps = gst_video::VideoCapsBuilder::new()
        .format(gst_video::VideoFormat::Rgb)
        .framerate(gst::Fraction::new(RATE as i32, 1))
        .pixel_aspect_ratio(gst::Fraction::new(1, 1))
        .build();
    sink.set_caps(Some(&caps));
    let write = move |sample: &gst::Sample| -> Result<()> {
        let index = counted.seen.load(Ordering::SeqCst);
        if part.contains(index) {
            let path = folder.join(format!("{}.jpg", index - part.start));
            let (width, height) = write_frame(sample, &path)?;
            counted.width.store(width, Ordering::SeqCst);
            counted.height.store(height, Ordering::SeqCst);
        }
        counted.seen.fetch_add(1, Ordering::SeqCst);
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

/// Writes a frame as JPEG; tells its size.
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
