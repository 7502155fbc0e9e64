//! A video taken apart: frames at 25 a second, and the sound at 16 kHz.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use gst::prelude::*;

use crate::{interrupt, progress};

/// Frames a second of a data set of SyncTalk_2D.
pub const RATE: i32 = 25;

/// The quality of the frames.
const QUALITY: i32 = 95;

/// What a video held.
pub struct Taken {
    pub frames: usize,
    pub size: (u32, u32),
}

/// Writes the frames as N.jpg, from 0, to `frames` and the sound to `sound`.
pub fn take_apart(video: &Path, frames: &Path, sound: &Path) -> Result<Taken> {
    if !video.is_file() {
        bail!("{}: no such file. Give a video of a person who speaks", video.display());
    }
    gst::init().context("GStreamer cannot be started")?;
    let video = std::path::absolute(video)?;
    let uri = gst::glib::filename_to_uri(&video, None)?;
    // Phones film on their side and say so; square pixels, because the networks know no others.
    let pipeline = gst::parse::launch(
        "uridecodebin name=source \
         videoconvert name=picture ! videoflip video-direction=auto ! deinterlace ! videoscale ! videorate \
         ! videoconvert ! appsink name=frames sync=false max-buffers=4 \
         audioconvert name=sound ! audioresample ! audiorate ! audio/x-raw,format=S16LE,rate=16000,channels=1 \
         ! wavenc ! filesink name=file async=false",
    )
    .context("GStreamer lacks an element. Install gstreamer1.0-plugins-base and gstreamer1.0-plugins-good")?;
    let pipeline =
        pipeline.downcast::<gst::Pipeline>().map_err(|_| anyhow::anyhow!("the pipeline is none"))?;
    let element = |name: &str| pipeline.by_name(name).with_context(|| format!("the pipeline has no {name}"));
    let source = element("source")?;
    source.set_property("uri", uri.as_str());
    element("file")?.set_property("location", sound.to_str().context("the folder's name is no UTF-8")?);
    let counted = Arc::new(Counted::default());
    let sink = element("frames")?;
    let sink = sink.downcast::<gst_app::AppSink>().map_err(|_| anyhow::anyhow!("the appsink is none"))?;
    collect_frames(&sink, frames.to_path_buf(), counted.clone());
    link(&source, &element("picture")?, &element("sound")?);
    let result = play(&pipeline, &counted, &video);
    // Whatever the result, nothing may go on writing.
    let _ = pipeline.set_state(gst::State::Null);
    result?;
    let frames = counted.frames.load(Ordering::SeqCst);
    if frames == 0 {
        bail!("{}: holds no picture. Give a video of a person who speaks", video.display());
    }
    let size = |size: &AtomicUsize| size.load(Ordering::SeqCst) as u32;
    Ok(Taken { frames, size: (size(&counted.width), size(&counted.height)) })
}

#[derive(Default)]
struct Counted {
    frames: AtomicUsize,
    width: AtomicUsize,
    height: AtomicUsize,
}

/// Writes each frame that arrives as a JPEG file.
fn collect_frames(sink: &gst_app::AppSink, folder: PathBuf, counted: Arc<Counted>) {
    let caps = gst_video::VideoCapsBuilder::new()
        .format(gst_video::VideoFormat::Rgb)
        .framerate(gst::Fraction::new(RATE, 1))
        .pixel_aspect_ratio(gst::Fraction::new(1, 1))
        .build();
    sink.set_caps(Some(&caps));
    let write = move |sample: &gst::Sample| -> Result<()> {
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
        let path = folder.join(format!("{}.jpg", counted.frames.load(Ordering::SeqCst)));
        std::fs::write(&path, &jpeg).with_context(|| format!("{}: cannot be written", path.display()))?;
        counted.width.store(image.width, Ordering::SeqCst);
        counted.height.store(image.height, Ordering::SeqCst);
        counted.frames.fetch_add(1, Ordering::SeqCst);
        Ok(())
    };
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        write(&sample).map(|()| gst::FlowSuccess::Ok).map_err(|error| {
            gst::element_error!(sink, gst::ResourceError::Write, ("{error:#}"));
            gst::FlowError::Error
        })
    });
    sink.set_callbacks(callbacks.build());
}

/// Links the first picture and the first sound of the source; says so where one of them is missing.
fn link(source: &gst::Element, picture: &gst::Element, sound: &gst::Element) {
    let branches = [("video/", picture.clone(), "picture"), ("audio/", sound.clone(), "sound")];
    let wanted = branches.clone();
    source.connect_pad_added(move |_, pad| {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let kind = caps.structure(0).map(|structure| structure.name().to_string()).unwrap_or_default();
        for (prefix, branch, _) in &wanted {
            let sink = branch.static_pad("sink").filter(|sink| kind.starts_with(prefix) && !sink.is_linked());
            // A pad that does not fit after all is told by the source as not linked.
            let _ = sink.map(|sink| pad.link(&sink));
        }
    });
    source.connect_no_more_pads(move |source| {
        for (_, branch, what) in &branches {
            if branch.static_pad("sink").is_some_and(|sink| !sink.is_linked()) {
                gst::element_error!(source, gst::StreamError::WrongType, ("holds no {what}"));
            }
        }
    });
}

/// Plays to the end, with a bar over the frames.
fn play(pipeline: &gst::Pipeline, counted: &Counted, video: &Path) -> Result<()> {
    let bus = pipeline.bus().context("the pipeline has no bus")?;
    let bar = progress::bar(0, "frames");
    // A failure is told on the bus, with more words.
    let _ = pipeline.set_state(gst::State::Playing);
    loop {
        interrupt::check()?;
        let message = bus.timed_pop_filtered(
            gst::ClockTime::from_mseconds(100),
            &[gst::MessageType::Eos, gst::MessageType::Error],
        );
        if let Some(duration) = pipeline.query_duration::<gst::ClockTime>() {
            bar.set_length(duration.mseconds() * RATE as u64 / 1000);
        }
        bar.set_position(counted.frames.load(Ordering::SeqCst) as u64);
        match message.as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Eos(_)) => break,
            Some(gst::MessageView::Error(error)) => bail!(
                "{}: {}. Give a video with picture and sound of a person who speaks, in a format that GStreamer can play",
                video.display(),
                error.error().message()
            ),
            _ => {}
        }
    }
    bar.finish_and_clear();
    Ok(())
}
