// SPDX-License-Identifier: MPL-2.0
//! A sound file in, a video of the speaking avatar out: as an MP4 file, or in a window.
//!
//! The elements come from the installed plugin, as every other element does, so the program depends on `gstreamer` alone:
//!
//! ```toml
//! [dependencies]
//! gst = { package = "gstreamer", version = "0.25", features = ["v1_22"] }
//! ```
//!
//! In this checkout, after `make`:
//!
//! ```sh
//! export GST_PLUGIN_PATH=$PWD/target/plugin    # not after `make install`
//! cargo run --example rust_dynamic -- examples/sample.wav speech.mp4
//! cargo run --example rust_dynamic -- examples/sample.wav            # in a window, with sound
//! cargo run --example rust_dynamic -- examples/sample.wav speech.mp4 theo
//! ```

use std::path::Path;
use std::process::ExitCode;

use gst::prelude::*;

type Failure = Box<dyn std::error::Error>;

// The picture comes some seconds after the sound: lipsync needs the sound that follows a frame, and x264enc looks ahead. Until then
// the queue of the sound must hold it, so it has no limit. AAC is encoded at 48 kHz, where the encoder's delay is shortest.
const TO_FILE: &str = "
    filesrc name=source ! decodebin ! tee name=sound
    sound. ! queue ! lipsync name=presenter ! x264enc speed-preset=veryfast ! queue ! film.
    sound. ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 ! audioconvert ! audioresample
        ! audio/x-raw,rate=48000 ! avenc_aac ! film.
    mp4mux name=film ! filesink name=target";

const TO_WINDOW: &str = "
    filesrc name=source ! decodebin ! tee name=sound
    sound. ! queue ! lipsync name=presenter ! queue ! videoconvert ! autovideosink
    sound. ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 ! audioconvert ! audioresample ! autoaudiosink";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (sound, film, avatar) = match arguments[..] {
        [sound] => (sound, None, "iris"),
        [sound, film] => (sound, Some(film), "iris"),
        [sound, film, avatar] => (sound, Some(film), avatar),
        _ => return Err("usage: rust_dynamic SOUND [FILM.mp4 [AVATAR]]".into()),
    };
    if !Path::new(sound).is_file() {
        return Err(format!("{sound}: there is no such file").into());
    }
    gst::init()?;
    if gst::ElementFactory::find("lipsync").is_none() {
        return Err(
            "GStreamer finds no element lipsync. Install the plugin, or set GST_PLUGIN_PATH to its folder"
                .into(),
        );
    }

    let pipeline = gst::parse::launch(if film.is_some() { TO_FILE } else { TO_WINDOW })?;
    let pipeline = pipeline.downcast::<gst::Pipeline>().map_err(|_| "the description is of no pipeline")?;
    // As properties and not in the description, because names of files may contain anything.
    element(&pipeline, "source")?.set_property("location", sound);
    element(&pipeline, "presenter")?.set_property("avatar", avatar);
    if let Some(film) = film {
        element(&pipeline, "target")?.set_property("location", film);
    }

    let played = play(&pipeline);
    // Also after an error: a pipeline must not be dropped while it runs.
    pipeline.set_state(gst::State::Null)?;
    played?;
    println!("{}", film.map_or("played to the end".into(), |film| format!("wrote {film}")));
    Ok(())
}

fn element(pipeline: &gst::Pipeline, name: &str) -> Result<gst::Element, Failure> {
    pipeline.by_name(name).ok_or_else(|| format!("there is no element named {name}").into())
}

/// Plays a pipeline to its end, and prints what it tells meanwhile.
///
/// # Errors
/// The first error that an element posts.
fn play(pipeline: &gst::Pipeline) -> Result<(), Failure> {
    let bus = pipeline.bus().ok_or("the pipeline has no bus")?;
    if pipeline.set_state(gst::State::Playing).is_err() {
        // An element could not start, and has said why: without an avatar, say, or ONNX Runtime.
        let message = bus.pop_filtered(&[gst::MessageType::Error]);
        return Err(message.as_ref().map_or("the pipeline does not start".into(), error_of));
    }
    for message in bus.iter_timed(gst::ClockTime::NONE) {
        match message.view() {
            gst::MessageView::Eos(_) => break,
            gst::MessageView::Error(_) => return Err(error_of(&message)),
            gst::MessageView::Warning(warning) => eprintln!("warning: {}", warning.error()),
            // How far it is, once a second.
            gst::MessageView::Element(_) if message.has_name("lipsync-progress") => {
                let Some(progress) = message.structure() else { continue };
                let position: gst::ClockTime = progress.get("position")?;
                let speed: f64 = progress.get("speed")?;
                // Where the length of the sound is known.
                let percent = progress.get::<i32>("percent").map_or(String::new(), |n| format!("{n} %, "));
                println!("{percent}{position:.1}, {speed:.1} times as fast as it plays");
            }
            // The avatar takes more than a second to load.
            gst::MessageView::Progress(progress) => println!("{} ...", progress.get().2),
            gst::MessageView::Latency(_) => pipeline.recalculate_latency()?,
            _ => {}
        }
    }
    Ok(())
}

/// What an error message says: of lipsync always one sentence with the file or value at fault and the remedy.
fn error_of(message: &gst::Message) -> Failure {
    let gst::MessageView::Error(error) = message.view() else { return "an unknown error".into() };
    let element = message.src().map(|source| source.name()).unwrap_or_default();
    format!("{element}: {}", error.error()).into()
}
