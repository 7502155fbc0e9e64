// SPDX-License-Identifier: MPL-2.0
//! What `benches/python/targets.py` cannot see from outside: streams in real time, and the first frame.
//!
//! ```sh
//! cargo run --release --example measure -- streams models/iris speech.wav 4 20 auto
//! cargo run --release --example measure -- first-frame models/iris examples/sample.wav auto
//! ```
//!
//! `streams AVATAR WAV N SECONDS PRECISION` plays so many `lipsyncsrc` in one process, each fed with the sound in real
//! time; the sound must be as long as the run. `first-frame AVATAR WAV PRECISION` measures from PAUSED to the first
//! frame, in READY before. Both print one line of JSON.

use std::time::{Duration, Instant};

use gst::prelude::*;

type Failure = Box<dyn std::error::Error>;

/// First frames after the first one of the process.
const STARTS: usize = 5;

/// How long a first frame may take before something is broken.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(120);

/// How long to look for the error of something that has failed already.
const SOON: gst::ClockTime = gst::ClockTime::from_seconds(1);

fn main() -> Result<(), Failure> {
    gst::init()?;
    gstlipsync::plugin_register_static()?;
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["streams", avatar, wav, count, seconds, precision] => {
            streams(avatar, wav, count.parse()?, Duration::from_secs_f64(seconds.parse()?), precision)?
        }
        ["first-frame", avatar, wav, precision] => first_frames(avatar, wav, precision)?,
        _ => {
            return Err(
                "usage: measure streams AVATAR WAV N SECONDS PRECISION | first-frame AVATAR WAV PRECISION"
                    .into(),
            );
        }
    };
    println!("{result}");
    Ok(())
}

fn pipeline(line: &str) -> Result<gst::Pipeline, Failure> {
    gst::parse::launch(line)?.downcast().map_err(|_| format!("not a pipeline: {line}").into())
}

/// Fails with the error that a pipeline has posted, waiting so long for one.
fn check(pipeline: &gst::Pipeline, wait: gst::ClockTime) -> Result<(), Failure> {
    let bus = pipeline.bus().ok_or("no bus")?;
    let Some(message) = bus.timed_pop_filtered(wait, &[gst::MessageType::Error]) else { return Ok(()) };
    let gst::MessageView::Error(error) = message.view() else { return Ok(()) };
    Err(format!("{} ({:?})", error.error(), error.debug()).into())
}

/// Sets a state; where that fails, says why.
fn set_state(pipeline: &gst::Pipeline, state: gst::State) -> Result<(), Failure> {
    if let Err(error) = pipeline.set_state(state) {
        check(pipeline, SOON)?;
        return Err(error.into());
    }
    Ok(())
}

/// Plays `count` streams for so long and tells what each has counted.
fn streams(
    avatar: &str,
    wav: &str,
    count: usize,
    length: Duration,
    precision: &str,
) -> Result<serde_json::Value, Failure> {
    let stream = |n: usize| {
        // `identity` holds the sound back to the pipeline's clock: it comes as somebody would speak it.
        format!(
            "lipsyncsrc name=s{n} avatar={avatar} precision={precision} ! fakesink sync=true \
             filesrc location={wav} ! wavparse ! identity sync=true ! s{n}.sink "
        )
    };
    let pipeline = pipeline(&(0..count).map(stream).collect::<String>())?;
    set_state(&pipeline, gst::State::Playing)?;
    // An error ends the wait.
    check(&pipeline, gst::ClockTime::try_from(length)?)?;
    let told: Vec<_> = (0..count)
        .filter_map(|n| pipeline.by_name(&format!("s{n}")))
        .map(|element| {
            let stats: gst::Structure = element.property("stats");
            let count = |name| stats.get::<u64>(name).unwrap_or_default();
            serde_json::json!({
                "frames": count("frames"), "repeated": count("repeated"), "skipped": count("skipped"),
                "mean": count("inference-time-mean") as f64 / 1e9, "p95": count("inference-time-p95") as f64 / 1e9,
                "interval": stats.get::<u32>("inference-interval").unwrap_or(1),
            })
        })
        .collect();
    pipeline.set_state(gst::State::Null)?;
    Ok(serde_json::json!({ "streams": told, "seconds": length.as_secs_f64() }))
}

/// Starts again and again. The first start of the process, which also reads all files, is told apart.
fn first_frames(avatar: &str, wav: &str, precision: &str) -> Result<serde_json::Value, Failure> {
    let line = format!(
        "filesrc location={wav} ! wavparse ! lipsync avatar={avatar} precision={precision} ! fakesink"
    );
    let (ready, first) = first_frame(&line)?;
    let again = (0..STARTS).map(|_| Ok(first_frame(&line)?.1)).collect::<Result<Vec<_>, Failure>>()?;
    Ok(serde_json::json!({ "ready": ready, "first": first, "again": again }))
}

/// Seconds to READY, where networks are loaded, and from PAUSED until a sink has its first frame, which is when it is
/// in PAUSED itself.
fn first_frame(line: &str) -> Result<(f64, f64), Failure> {
    let pipeline = pipeline(line)?;
    let start = Instant::now();
    set_state(&pipeline, gst::State::Ready)?;
    let ready = start.elapsed().as_secs_f64();
    let start = Instant::now();
    set_state(&pipeline, gst::State::Paused)?;
    let (reached, state, _) = pipeline.state(PATIENCE);
    let seconds = start.elapsed().as_secs_f64();
    if reached.is_err() {
        check(&pipeline, SOON)?;
    }
    reached?;
    if state != gst::State::Paused {
        return Err(format!("no frame in {PATIENCE}").into());
    }
    pipeline.set_state(gst::State::Null)?;
    Ok((ready, seconds))
}
