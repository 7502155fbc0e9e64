// SPDX-License-Identifier: MPL-2.0
//! Measurements that `benches/python/targets.py` cannot make from outside: streams in real time, and the first frame.
//!
//! ```sh
//! cargo run --release --example measure -- streams models/iris speech.wav 4 20 auto
//! cargo run --release --example measure -- first-frame models/iris examples/sample.wav auto
//! ```
//!
//! `streams AVATAR WAV N SECONDS PRECISION` plays N `lipsyncsrc` in one process, each fed with the audio in real
//! time; the audio must be as long as the run. `first-frame AVATAR WAV PRECISION` measures the time from READY to the
//! first frame in PAUSED. Both print one line of JSON.

use std::time::{Duration, Instant};

use gst::prelude::*;

type Failure = Box<dyn std::error::Error>;

/// How often the first frame is measured again after the first start of the process.
const STARTS: usize = 5;

/// Timeout for a first frame.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(120);

/// Timeout for the error message of something that has already failed.
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

/// Returns the error that a pipeline has posted or posts within `wait`.
fn check(pipeline: &gst::Pipeline, wait: gst::ClockTime) -> Result<(), Failure> {
    let bus = pipeline.bus().ok_or("no bus")?;
    let Some(message) = bus.timed_pop_filtered(wait, &[gst::MessageType::Error]) else { return Ok(()) };
    let gst::MessageView::Error(error) = message.view() else { return Ok(()) };
    Err(format!("{} ({:?})", error.error(), error.debug()).into())
}

/// Sets a state, and returns the posted error if that fails.
fn set_state(pipeline: &gst::Pipeline, state: gst::State) -> Result<(), Failure> {
    if let Err(error) = pipeline.set_state(state) {
        check(pipeline, SOON)?;
        return Err(error.into());
    }
    Ok(())
}

/// Plays `count` streams for `length` and returns the statistics of each.
fn streams(
    avatar: &str,
    wav: &str,
    count: usize,
    length: Duration,
    precision: &str,
) -> Result<serde_json::Value, Failure> {
    let stream = |n: usize| {
        // `identity` synchronizes the audio to the pipeline's clock, so it arrives at the pace of speech.
        format!(
            "lipsyncsrc name=s{n} avatar={avatar} precision={precision} ! fakesink sync=true \
             filesrc location={wav} ! wavparse ! identity sync=true ! s{n}.sink "
        )
    };
    let pipeline = pipeline(&(0..count).map(stream).collect::<String>())?;
    set_state(&pipeline, gst::State::Playing)?;
    // Waits for the whole length, or until an error.
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

/// Starts repeatedly. The first start of the process, which also reads all files, is reported separately.
fn first_frames(avatar: &str, wav: &str, precision: &str) -> Result<serde_json::Value, Failure> {
    let line = format!(
        "filesrc location={wav} ! wavparse ! lipsync avatar={avatar} precision={precision} ! fakesink"
    );
    let (ready, first) = first_frame(&line)?;
    let again = (0..STARTS).map(|_| Ok(first_frame(&line)?.1)).collect::<Result<Vec<_>, Failure>>()?;
    Ok(serde_json::json!({ "ready": ready, "first": first, "again": again }))
}

/// Seconds to READY, in which networks are loaded, and from there to PAUSED, which the sink reaches with its first
/// frame.
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
