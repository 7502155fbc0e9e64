// SPDX-License-Identifier: MPL-2.0
//! Networks that never come to an end: whatever they are at, everything can be stopped, and what does not begin is told.
//!
//! Waits have a generous limit, so that what hangs fails. What computes for minutes in a single operator goes on until
//! the test's process ends.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::fixture;
use common::gst::{Ended, pipeline, play, soon};
use common::studio::{SECOND, Studio};
use gst::prelude::*;
use tempfile::TempDir;

const MONO_16K: &str = "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";

/// An avatar with a network that does not end in place of one of its own.
fn avatar(network: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    common::copy_folder(&fixture("avatars/own_160"), folder.path());
    let place = if network.starts_with("encoder") { "audio_encoder.onnx" } else { "generator.onnx" };
    std::fs::copy(fixture(&format!("endless/{network}.onnx")), folder.path().join(place)).unwrap();
    folder
}

fn property(avatar: &TempDir) -> String {
    format!("avatar={}", avatar.path().display())
}

fn line(avatar: &TempDir) -> String {
    format!(
        "audiotestsrc samplesperbuffer=1600 ! audio/x-raw,rate=16000 ! lipsync name=l n-threads=1 {} ! fakesink name=out sync=false",
        property(avatar)
    )
}

/// Clock ticks, of which there are 100 a second, that threads of that name have computed.
fn ticks(name: &str) -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let times = threads.filter_map(|thread| {
        let text = std::fs::read_to_string(thread.path().join("stat")).ok()?;
        let (start, rest) = text.rsplit_once(')')?;
        let named = start.split_once('(')?.1.starts_with(name);
        named.then(|| rest.split_whitespace().nth(11)?.parse::<u64>().ok())?
    });
    times.sum()
}

/// Waits until threads of that name have computed for so long as nothing does here but a network that does not end.
fn wait_until_busy(name: &'static str) {
    soon("a network", move || {
        while ticks(name) < 30 {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}

/// Waits until there is no thread of that name any more.
fn wait_until_gone(name: &'static str) {
    let is_named = move |entry: std::fs::DirEntry| {
        std::fs::read_to_string(entry.path().join("comm")).is_ok_and(|text| text.starts_with(name))
    };
    soon("a thread of a network that is over", move || {
        while std::fs::read_dir("/proc/self/task").unwrap().flatten().any(is_named) {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}

fn set_state(pipeline: &gst::Pipeline, state: gst::State) -> bool {
    let pipeline = pipeline.clone();
    soon("a change of state", move || pipeline.set_state(state).is_ok())
}

/// Plays until the network is at work in a thread of that name, and stops.
fn stops_while_it_runs(network: &str, thread: &'static str) {
    let avatar = avatar(network);
    let pipeline = pipeline(&line(&avatar));
    assert!(set_state(&pipeline, gst::State::Playing));
    wait_until_busy(thread);
    assert!(set_state(&pipeline, gst::State::Null));
}

#[test]
fn a_loop_ends_with_the_element() {
    // In the warm-up, in the first frame, and while it hears.
    for network in ["generator", "generator_with_a_face"] {
        stops_while_it_runs(network, "lipsync-paint");
        wait_until_gone("lipsync-paint");
    }
    stops_while_it_runs("encoder_of_sound", "lipsync-hear");
    wait_until_gone("lipsync-hear");
}

#[test]
fn an_operator_without_an_end_is_left_to_itself() {
    stops_while_it_runs("generator_operator", "lipsync-paint");
    stops_while_it_runs("encoder_operator_of_sound", "lipsync-hear");
    // It holds nothing up: the same avatar, and another, can be started.
    stops_while_it_runs("generator_operator", "lipsync-paint");
    let ended = play(&pipeline(&format!(
        "audiotestsrc num-buffers=5 samplesperbuffer=1600 ! audio/x-raw,rate=16000 ! lipsync avatar={} ! appsink name=out sync=false",
        fixture("avatars/own_160").display()
    )));
    assert!(ended.errors.is_empty() && !ended.samples.is_empty(), "{:?}", ended.errors);
}

/// What is told of an avatar that is played.
fn told(network: &str) -> Vec<String> {
    let avatar = avatar(network);
    let line = line(&avatar).replace("fakesink", "appsink");
    let Ended { errors, samples } = play(&pipeline(&line));
    assert!(samples.is_empty(), "{network}");
    errors
}

#[test]
fn what_does_not_begin_is_told() {
    let cases = [
        ("generator", "generator.onnx"),
        ("generator_with_a_face", "generator.onnx"),
        ("generator_operator", "generator.onnx"),
        ("encoder", "audio_encoder.onnx"),
        ("encoder_of_sound", "audio_encoder.onnx"),
        ("encoder_operator", "audio_encoder.onnx"),
        ("encoder_operator_of_sound", "audio_encoder.onnx"),
    ];
    // All at once: each waits for its limit.
    std::thread::scope(|scope| {
        let all = cases.map(|(network, file)| (network, file, scope.spawn(move || told(network))));
        for (network, file, told) in all {
            let errors = told.join().unwrap();
            let [error] = &errors[..] else { panic!("{network}: {errors:?}") };
            assert!(error.contains(&format!("{file}: a run has not ended after")), "{network}: {error}");
        }
    });
}

#[test]
fn stopping_while_another_thread_starts() {
    let avatar = avatar("encoder");
    let pipeline = pipeline(&line(&avatar));
    pipeline.set_auto_flush_bus(false);
    let starts = std::thread::spawn({
        let pipeline = pipeline.clone();
        move || pipeline.set_state(gst::State::Paused)
    });
    wait_until_busy("lipsync-hear");
    assert!(set_state(&pipeline, gst::State::Null));
    // The start has not waited for the network, but gone on without it.
    assert_eq!(starts.join().unwrap(), Ok(gst::StateChangeSuccess::Async));
    assert_eq!(progress(&pipeline), [gst::ProgressType::Start, gst::ProgressType::Canceled]);
    let bus = pipeline.bus().unwrap();
    assert!(bus.pop_filtered(&[gst::MessageType::Error]).is_none());
    wait_until_gone("lipsync-hear");
}

/// What a pipeline has told of slow loads.
fn progress(pipeline: &gst::Pipeline) -> Vec<gst::ProgressType> {
    let bus = pipeline.bus().unwrap();
    std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Progress]))
        .map(|message| match message.view() {
            gst::MessageView::Progress(progress) => progress.type_(),
            _ => unreachable!("as asked for"),
        })
        .collect()
}

#[test]
fn stopping_a_presenter_while_another_thread_starts() {
    let avatar = avatar("encoder");
    let pipeline =
        pipeline(&format!("lipsyncsrc name=l n-threads=1 {} ! fakesink name=out", property(&avatar)));
    pipeline.set_auto_flush_bus(false);
    let starts = std::thread::spawn({
        let pipeline = pipeline.clone();
        move || pipeline.set_state(gst::State::Playing)
    });
    wait_until_busy("lipsync-hear");
    assert!(set_state(&pipeline, gst::State::Null));
    assert!(starts.join().unwrap().is_ok());
    assert_eq!(progress(&pipeline), [gst::ProgressType::Start, gst::ProgressType::Canceled]);
    wait_until_gone("lipsync-hear");
}

#[test]
fn a_flush_has_the_network_run_anew() {
    for (network, thread) in
        [("generator_with_a_face", "lipsync-paint"), ("encoder_of_sound", "lipsync-hear")]
    {
        let avatar = avatar(network);
        let pipeline = pipeline(&line(&avatar));
        assert!(set_state(&pipeline, gst::State::Playing));
        wait_until_busy(thread);
        let flushed = pipeline.clone();
        let flush = move || flushed.seek_simple(gst::SeekFlags::FLUSH, gst::ClockTime::ZERO);
        soon("a flush", flush).unwrap();
        wait_until_busy(thread);
        assert!(set_state(&pipeline, gst::State::Null));
        wait_until_gone(thread);
    }
}

/// A presenter on air that goes over to an avatar which does not begin; `while_it_loads` is what is done then.
fn goes_over(network: &str, thread: &'static str, while_it_loads: impl FnOnce(&mut Studio)) {
    let good = format!("avatar={}", fixture("avatars/own_160").display());
    let mut studio = Studio::new(&format!("n-threads=1 {good}"), MONO_16K);
    studio.run_until(SECOND);
    let before = ticks(thread);
    let avatar = avatar(network);
    studio.element.set_property("avatar", avatar.path().to_str().unwrap());
    soon("a network", move || {
        while ticks(thread) < before + 30 {
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    while_it_loads(&mut studio);
}

/// The one before goes on, and the other is told of.
fn goes_on(studio: &mut Studio) {
    let end = studio.now + SECOND;
    studio.run_until(end);
    for _ in 0..600 {
        if !studio.complaints().is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let complaints = studio.complaints();
    let [warning] = &complaints[..] else { panic!("{complaints:?}") };
    assert!(warning.contains("cannot take over") && warning.contains("has not ended after"), "{warning}");
    let end = studio.now + SECOND;
    studio.run_until(end);
}

const SWAPS: [(&str, &str); 5] = [
    ("generator", "lipsync-paint"),
    ("generator_with_a_face", "lipsync-paint"),
    ("generator_operator", "lipsync-paint"),
    ("encoder", "lipsync-hear"),
    ("encoder_operator", "lipsync-hear"),
];

// Each waits for the limit of a run, so each is a test.

#[test]
fn on_air_the_avatar_before_goes_on_where_the_other_does_not_paint() {
    goes_over("generator_with_a_face", "lipsync-paint", goes_on);
}

#[test]
fn on_air_the_avatar_before_goes_on_where_the_other_does_not_warm_up() {
    goes_over("generator_operator", "lipsync-paint", goes_on);
}

#[test]
fn on_air_the_avatar_before_goes_on_where_the_other_does_not_hear() {
    goes_over("encoder", "lipsync-hear", goes_on);
}

#[test]
fn on_air_it_stops_while_another_is_loaded() {
    for (network, thread) in SWAPS {
        goes_over(network, thread, |studio| {
            assert!(set_state(&studio.pipeline, gst::State::Null));
        });
        if !network.contains("operator") {
            wait_until_gone("lipsync-load");
        }
    }
}

#[test]
fn on_air_what_is_asked_for_next_does_not_wait() {
    goes_over("encoder_operator", "lipsync-hear", |studio| {
        let other = fixture("avatars/own_160");
        studio.element.set_property("avatar", other.to_str().unwrap());
        let playing = studio.element.clone();
        studio.forget_messages();
        studio.run_on(SECOND);
        assert_eq!(playing.property::<String>("avatar"), other.to_str().unwrap());
        assert!(studio.complaints().is_empty(), "{:?}", studio.complaints());
    });
}

#[test]
fn on_air_an_interruption_does_not_wait_for_what_hears() {
    let signal = |studio: &Studio| {
        let element = studio.element.clone();
        soon("an interruption", move || element.emit_by_name::<gst::Structure>("interrupt", &[]));
    };
    let flush = |studio: &Studio| {
        let pad = studio.input.static_pad("src").unwrap();
        soon("a flush", move || {
            assert!(pad.push_event(gst::event::FlushStart::new()));
            assert!(pad.push_event(gst::event::FlushStop::new(true)));
        });
    };
    let ways: [fn(&Studio); 2] = [signal, flush];
    for (network, interrupt) in ["encoder_of_sound", "encoder_operator_of_sound"].into_iter().zip(ways) {
        let avatar = avatar(network);
        let mut studio = Studio::new(&format!("n-threads=1 {}", property(&avatar)), MONO_16K);
        studio.say(&[9000; 16_000]);
        studio.run_on(SECOND);
        wait_until_busy("lipsync-hear");
        interrupt(&studio);
        // Had it waited, the run would have come to its limit, which is told before the next frame. Frames may be late.
        let end = studio.now + SECOND;
        studio.run_until(end);
        let complaints = studio.complaints();
        assert!(complaints.iter().all(|text| text.contains("come late")), "{network}: {complaints:?}");
        assert!(!studio.element.property::<bool>("speaking"), "{network}");
    }
}

#[test]
fn on_air_it_stops_while_it_hears() {
    for network in ["encoder_of_sound", "encoder_operator_of_sound"] {
        let avatar = avatar(network);
        let mut studio = Studio::new(&format!("n-threads=1 {}", property(&avatar)), MONO_16K);
        studio.say(&[9000; 16_000]);
        studio.run_on(SECOND);
        wait_until_busy("lipsync-hear");
        assert!(set_state(&studio.pipeline, gst::State::Null));
    }
}
