// SPDX-License-Identifier: MPL-2.0
//! The elements built into a program, which then needs no installed plugin: samples in, pictures out.
//!
//! ```toml
//! [dependencies]
//! gst-plugin-lipsync = { path = ".../gst-plugin-lipsync" }    # a checkout; the library is called gstlipsync
//! gst = { package = "gstreamer", version = "0.25", features = ["v1_22"] }
//! gst-app = { package = "gstreamer-app", version = "0.25", features = ["v1_22"] }
//! gst-audio = { package = "gstreamer-audio", version = "0.25", features = ["v1_22"] }
//! gst-video = { package = "gstreamer-video", version = "0.25", features = ["v1_22"] }
//! hound = "3.5"
//! image = { version = "0.25", default-features = false, features = ["png"] }
//! ```
//!
//! What is built in lies beside no plugin, so two things must be named: ONNX Runtime's library, by `ORT_DYLIB_PATH` (unless the
//! system has one), and the avatar, by its folder. In this checkout, after `make`:
//!
//! ```sh
//! export ORT_DYLIB_PATH=$PWD/target/onnxruntime/libonnxruntime.so
//! cargo run --release --example rust_static -- models/iris examples/sample.wav pictures
//! ```
//!
//! It writes one picture for each second into the folder `pictures`. Without `--release` it is slow, unless the program's
//! `Cargo.toml` has `[profile.dev.package."*"] opt-level = 3`.

use std::path::Path;
use std::process::ExitCode;

use gst::prelude::*;
use gst_video::prelude::*;

type Failure = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    match run() {
        Ok(count) => {
            println!("{count} pictures");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<u64, Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [avatar, sound, folder] = &arguments[..] else {
        return Err("usage: rust_static AVATAR_FOLDER SOUND.wav PICTURES_FOLDER".into());
    };
    gst::init()?;
    // This is all it takes: from here on, lipsync and lipsyncsrc are elements like any other in this process.
    gstlipsync::plugin_register_static()?;

    let mut sound = hound::WavReader::open(sound).map_err(|error| format!("{sound}: {error}"))?;
    let spec = sound.spec();
    let samples = sound.samples::<i16>().collect::<Result<Vec<i16>, _>>()?;
    let format = gst_audio::AUDIO_FORMAT_S16; // in the byte order of this machine
    let audio = gst_audio::AudioInfo::builder(format, spec.sample_rate, spec.channels.into()).build()?;

    let source = gst_app::AppSrc::builder().caps(&audio.to_caps()?).format(gst::Format::Time).build();
    let presenter = gst::ElementFactory::make("lipsync").property("avatar", avatar).build()?;
    let pictures = gst::Caps::builder("video/x-raw").field("format", "RGB").build();
    // The sink keeps few frames, so that a program that takes its time with them does not fill its memory.
    let sink = gst_app::AppSink::builder().caps(&pictures).sync(false).max_buffers(4).build();
    let pipeline = gst::Pipeline::new();
    pipeline.add_many([source.upcast_ref(), &presenter, sink.upcast_ref()])?;
    gst::Element::link_many([source.upcast_ref(), &presenter, sink.upcast_ref()])?;

    let spoken = speak(&pipeline, &source, &samples, &spec, &sink, Path::new(folder));
    pipeline.set_state(gst::State::Null)?;
    spoken
}

/// Sends the samples through the pipeline, writes every 25th picture, and returns how many there were.
fn speak(
    pipeline: &gst::Pipeline,
    source: &gst_app::AppSrc,
    samples: &[i16],
    spec: &hound::WavSpec,
    sink: &gst_app::AppSink,
    folder: &Path,
) -> Result<u64, Failure> {
    std::fs::create_dir_all(folder)?;
    if pipeline.set_state(gst::State::Playing).is_err() {
        return Err(error_of(pipeline).unwrap_or("the pipeline does not start".into()));
    }
    // In pieces of any length. Those without timestamps follow one another; appsrc copies none of them.
    for piece in samples.chunks(spec.sample_rate as usize * usize::from(spec.channels)) {
        let bytes: Vec<u8> = piece.iter().flat_map(|sample| sample.to_ne_bytes()).collect();
        source.push_buffer(gst::Buffer::from_slice(bytes))?;
    }
    source.end_of_stream()?;

    let mut count = 0;
    // Until the end of the stream, which lipsync also sends after an error.
    while let Ok(sample) = sink.pull_sample() {
        let (buffer, caps) = sample.buffer().zip(sample.caps()).ok_or("a picture without a buffer")?;
        let info = gst_video::VideoInfo::from_caps(caps)?;
        let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info)?;
        if count % 25 == 0 {
            let time = buffer.pts().unwrap_or_default();
            frame_to_image(&frame)?.save(folder.join(format!("{:03}.png", time.seconds())))?;
        }
        count += 1;
    }
    error_of(pipeline).map_or(Ok(count), Err)
}

/// A picture of the crate `image`. Rows of a GStreamer frame may be longer than the picture is wide.
fn frame_to_image(frame: &gst_video::VideoFrameRef<&gst::BufferRef>) -> Result<image::RgbImage, Failure> {
    let (width, stride) = (frame.width() as usize, frame.plane_stride()[0] as usize);
    let rows = frame.plane_data(0)?.chunks(stride).take(frame.height() as usize);
    let pixels = rows.flat_map(|row| &row[..width * 3]).copied().collect();
    Ok(image::RgbImage::from_raw(frame.width(), frame.height(), pixels).ok_or("a frame that is cut short")?)
}

/// The error that an element has posted, if any: of lipsync always one sentence with the file or value at fault and the remedy.
fn error_of(pipeline: &gst::Pipeline) -> Option<Failure> {
    let message = pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
    let gst::MessageView::Error(error) = message.view() else { return None };
    Some(error.error().to_string().into())
}
