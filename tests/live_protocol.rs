// SPDX-License-Identifier: MPL-2.0
//! `lipsyncsrc` and what is around it: pads that come and go, ends, queries, avatars that do not fit.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::fixture;
use common::gst::{avatar, pipeline, soon};
use common::studio::{FRAME, SECOND, Studio};
use gst::prelude::*;

const MONO_16K: &str = "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";
const PATIENCE: Duration = Duration::from_secs(30);

/// Waits until something is so.
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "no {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A presenter by the machine's clock, with a short latency.
fn presenter(properties: &str, behind: &str) -> gst::Pipeline {
    let line = "lipsyncsrc name=ls n-threads=1 lookahead=92500000";
    pipeline(&format!("{line} {} {properties} ! {behind}", avatar("own_160")))
}

fn frames(element: &gst::Element) -> u64 {
    element.property::<gst::Structure>("stats").get("frames").unwrap()
}

/// Errors and warnings on the bus.
fn complaints(pipeline: &gst::Pipeline) -> Vec<String> {
    let bus = pipeline.bus().unwrap();
    let messages = std::iter::from_fn(|| bus.pop());
    let text = |message: gst::Message| match message.view() {
        gst::MessageView::Error(error) => Some(error.error().to_string()),
        gst::MessageView::Warning(warning) => Some(warning.error().to_string()),
        _ => None,
    };
    messages.filter_map(text).collect()
}

/// A pad that sends sound to the pad `sink`.
fn feeder(element: &gst::Element) -> gst::Pad {
    let pad = gst::Pad::builder(gst::PadDirection::Src).name("feeder").build();
    pad.set_active(true).unwrap();
    pad.link(&element.request_pad_simple("sink").unwrap()).unwrap();
    assert!(pad.push_event(gst::event::StreamStart::new("sound")));
    assert!(pad.push_event(gst::event::Caps::new(&MONO_16K.parse().unwrap())));
    assert!(pad.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new())));
    pad
}

/// Pushes a second of sound after the other until it is not taken any more.
fn push_on(pad: &gst::Pad) -> gst::FlowError {
    loop {
        if let Err(flow) = pad.push(gst::Buffer::from_mut_slice(vec![9u8; 32_000])) {
            return flow;
        }
    }
}

#[test]
fn pads_are_released_in_any_state() {
    use gst::State::{Null, Paused, Playing, Ready};
    for states in [vec![Null], vec![Ready], vec![Paused], vec![Playing], vec![Playing, Paused]] {
        for linked in [None, Some("fakesink async=false sync=false"), Some("fakesink async=false sync=true")]
        {
            let pipeline = presenter("", "fakesink sync=false");
            let element = pipeline.by_name("ls").unwrap();
            let audio = element.request_pad_simple("audio").unwrap();
            let sink = element.request_pad_simple("sink").unwrap();
            if let Some(line) = linked {
                let peer = gst::parse::launch(line).unwrap();
                pipeline.add(&peer).unwrap();
                audio.link(&peer.static_pad("sink").unwrap()).unwrap();
            }
            for state in &states {
                pipeline.set_state(*state).unwrap();
                if *state == Playing {
                    wait_until("frames", || frames(&element) > 3);
                }
            }
            let what = format!("a release in {states:?}, linked to {linked:?},");
            let released = element.clone();
            soon(&what, move || [audio, sink].iter().for_each(|pad| released.release_request_pad(pad)));
            assert_eq!(element.pads().len(), 1, "{what}");
            // Others may come.
            assert!(
                element.request_pad_simple("audio").is_some() && element.request_pad_simple("sink").is_some()
            );
            let stopped = pipeline.clone();
            soon("the stop", move || stopped.set_state(Null).unwrap());
            assert_eq!(complaints(&pipeline), [""; 0], "{what}");
        }
    }
}

#[test]
fn a_pad_requested_while_the_element_starts_or_stops_works() {
    use gst::State::{Null, Paused, Ready};
    let pipeline = presenter("", "fakesink sync=false");
    let element = pipeline.by_name("ls").unwrap();
    pipeline.set_state(Ready).unwrap();
    for i in 0..100 {
        let state = if i % 2 == 0 { Paused } else { Ready };
        let [audio, sink] = std::thread::scope(|scope| {
            let changes = scope.spawn(|| pipeline.set_state(state).unwrap());
            std::thread::sleep(Duration::from_micros(300 * i));
            let pads = ["audio", "sink"].map(|name| element.request_pad_simple(name).unwrap());
            changes.join().unwrap();
            pads
        });
        let is_running = state == Paused;
        assert_eq!([audio.is_active(), sink.is_active()], [is_running; 2], "try {i}");
        if is_running {
            assert_eq!(audio.task_state(), gst::TaskState::Started, "try {i}");
        }
        [audio, sink].iter().for_each(|pad| element.release_request_pad(pad));
    }
    pipeline.set_state(Null).unwrap();
    assert_eq!(complaints(&pipeline), [""; 0]);
}

#[test]
fn a_pad_is_released_while_downstream_is_blocked() {
    let pipeline = presenter("", "fakesink sync=false");
    let element = pipeline.by_name("ls").unwrap();
    let audio = element.request_pad_simple("audio").unwrap();
    audio.add_probe(gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER, |_, _| gst::PadProbeReturn::Ok);
    pipeline.set_state(gst::State::Playing).unwrap();
    wait_until("blocked pad", || audio.is_blocking());
    let released = element.clone();
    soon("the release", move || released.release_request_pad(&audio));
    let before = frames(&element);
    wait_until("more frames", || frames(&element) > before + 3);
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn the_sink_is_released_while_sound_waits_to_come_in() {
    for state in [gst::State::Paused, gst::State::Playing] {
        let pipeline = presenter("max-backlog=100000000", "fakesink sync=false");
        let element = pipeline.by_name("ls").unwrap();
        pipeline.set_state(state).unwrap();
        let feeder = feeder(&element);
        let pushing = feeder.clone();
        let pusher = std::thread::spawn(move || {
            let gap =
                gst::event::Gap::builder(gst::ClockTime::ZERO).duration(gst::ClockTime::from_seconds(90));
            pushing.push_event(gap.build());
            push_on(&pushing)
        });
        wait_until("backlog", || element.property::<u64>("backlog") > SECOND);
        let released = element.clone();
        soon("the release", move || released.release_request_pad(&released.static_pad("sink").unwrap()));
        let flow = soon("the push", move || pusher.join().unwrap());
        assert!([gst::FlowError::Flushing, gst::FlowError::NotLinked].contains(&flow), "{flow:?}");
        pipeline.set_state(gst::State::Null).unwrap();
        assert_eq!(complaints(&pipeline), [""; 0]);
    }
}

#[test]
fn a_flush_ends_the_wait_of_a_gap_and_of_what_is_behind_it() {
    let pipeline = presenter("max-backlog=100000000", "fakesink sync=false");
    let element = pipeline.by_name("ls").unwrap();
    pipeline.set_state(gst::State::Paused).unwrap();
    let feeder = feeder(&element);
    let pushing = feeder.clone();
    let pusher = std::thread::spawn(move || push_on(&pushing));
    wait_until("backlog", || element.property::<u64>("backlog") > 0);
    feeder.push_event(gst::event::FlushStart::new());
    assert_eq!(soon("the push", move || pusher.join().unwrap()), gst::FlowError::Flushing);
    assert_eq!(element.property::<u64>("backlog"), 0);
    assert!(feeder.push_event(gst::event::FlushStop::new(true)));
    assert!(feeder.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new())));
    feeder.push(gst::Buffer::from_mut_slice(vec![9u8; 32_000])).unwrap();
    assert_eq!(element.property::<u64>("backlog"), SECOND);
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn after_the_end_nothing_waits_to_be_spoken() {
    let ends: [(&str, &str, usize); 4] = [
        ("num-buffers=5", "fakesink sync=false", 0),
        ("", "fakesink sync=false name=out", 0),
        ("", "identity eos-after=5 ! fakesink sync=false", 0),
        ("", "identity error-after=5 ! fakesink sync=false", 1),
    ];
    for (properties, behind, errors) in ends {
        let pipeline = presenter(&format!("{properties} max-backlog=100000000"), behind);
        let element = pipeline.by_name("ls").unwrap();
        let feeder = feeder(&element);
        pipeline.set_state(gst::State::Playing).unwrap();
        let pushing = feeder.clone();
        let pusher = std::thread::spawn(move || push_on(&pushing));
        if behind.contains("name=out") {
            wait_until("frames", || frames(&element) > 3);
            assert!(pipeline.send_event(gst::event::Eos::new()));
        }
        let flow = soon(&format!("the push, {properties} {behind},"), move || pusher.join().unwrap());
        assert_eq!(flow, gst::FlowError::Eos);
        assert_eq!(push_on(&feeder), gst::FlowError::Eos);
        assert_eq!(element.property::<u64>("backlog"), 0);
        let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
        let end = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(30), &kinds);
        assert_eq!(end.map(|end| end.type_()), Some(kinds[errors]), "{behind}");
        // And begins anew.
        element.set_property("num-buffers", -1);
        pipeline.set_state(gst::State::Ready).unwrap();
        feeder.set_active(false).unwrap();
        pipeline.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn what_is_asked_on_the_source_pad_is_answered_truthfully() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    studio.run_until(2 * SECOND);
    let compared =
        pipeline("videotestsrc name=v is-live=true ! video/x-raw,width=320,height=240 ! fakesink sync=false");
    compared.set_state(gst::State::Playing).unwrap();
    wait_until("start", || compared.state(gst::ClockTime::from_seconds(1)).1 == gst::State::Playing);
    let pad = studio.element.static_pad("src").unwrap();
    let theirs = compared.by_name("v").unwrap().static_pad("src").unwrap();

    let last = studio.video.lock().unwrap().last().unwrap().buffer().unwrap().pts().unwrap();
    assert_eq!(pad.query_position::<gst::ClockTime>(), Some(last));
    let number = last.nseconds() / FRAME;
    assert_eq!(pad.query_position::<gst::format::Default>().map(|n| *n), Some(number));
    assert_eq!(pad.query_position::<gst::format::Bytes>(), None);
    for format in [gst::Format::Time, gst::Format::Default, gst::Format::Bytes] {
        assert_eq!(pad.query_duration_generic(format), None, "{format:?}");
        // Of theirs nothing is known either.
        assert!(theirs.query_duration_generic(format).is_none_or(|duration| duration.is_none()));
        let seekable = |pad: &gst::Pad| {
            let mut query = gst::query::Seeking::new(format);
            (pad.query(&mut query), query.result().0)
        };
        assert_eq!(seekable(&pad), (true, false), "{format:?}");
    }
    let time = gst::ClockTime::from_seconds(2);
    let units = gst::format::Default::from_u64;
    assert_eq!(pad.query_convert_generic(time, gst::Format::Default), Some(units(50).into()));
    assert_eq!(pad.query_convert_generic(units(50), gst::Format::Time), Some(time.into()));
    assert_eq!(pad.query_convert_generic(time, gst::Format::Bytes), None);

    let audio = studio.element.static_pad("audio").unwrap();
    let end = audio.query_position::<gst::ClockTime>().unwrap();
    let samples = audio.query_position::<gst::format::Default>().unwrap();
    assert_eq!(*samples, end.nseconds() * 16 / 1_000_000);
    assert_eq!(audio.query_convert_generic(time, gst::Format::Default), Some(units(32_000).into()));
    assert_eq!(audio.query_position::<gst::format::Bytes>(), None);
    compared.set_state(gst::State::Null).unwrap();
}

#[test]
fn the_caps_are_those_of_the_avatar_once_there_is_one() {
    let pipeline = presenter("", "fakesink");
    let element = pipeline.by_name("ls").unwrap();
    let pad = element.static_pad("src").unwrap();
    assert_eq!(pad.query_caps(None), pad.pad_template_caps());
    for state in [gst::State::Ready, gst::State::Paused, gst::State::Playing] {
        pipeline.set_state(state).unwrap();
        let caps = pad.query_caps(None);
        assert!(
            caps.iter()
                .all(|caps| caps.get::<i32>("width") == Ok(320) && caps.get::<i32>("height") == Ok(240))
        );
        let filter = "video/x-raw,format=RGB,width=[1,400]".parse::<gst::Caps>().unwrap();
        let filtered = pad.query_caps(Some(&filter));
        assert!(filtered.is_subset(&filter) && filtered.is_subset(&caps) && !filtered.is_empty());
        assert!(pad.query_caps(Some(&"video/x-raw,width=640".parse().unwrap())).is_empty());
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn an_avatar_of_a_size_that_downstream_refuses_does_not_take_over() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    let playing: String = studio.element.property("avatar");
    let filter = studio.pipeline.by_name("filter").unwrap();
    filter.set_property("caps", "video/x-raw,format=RGB,width=480,height=360".parse::<gst::Caps>().unwrap());
    studio.run_until(SECOND);
    let refused = fixture("avatars/own_160").display().to_string();
    for name in [refused.as_str(), "nosuch"] {
        studio.element.set_property("avatar", name);
        let start = Instant::now();
        while studio.element.property::<String>("avatar") != playing {
            assert!(start.elapsed() < PATIENCE, "{name} is not refused");
            studio.run_until(studio.now + FRAME);
        }
        let complaints = studio.wait_for_complaints(1);
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert!(complaints[0].contains(name) && complaints[0].contains(&playing), "{complaints:?}");
        assert!(name == "nosuch" || complaints[0].contains("320 x 240"), "{complaints:?}");
        assert!(name == "nosuch" || complaints[0].contains("videoscale"), "{complaints:?}");
        studio.forget_messages();
    }
    studio.run_until(studio.now + SECOND);
    studio.assert_gapless();
    assert_eq!(studio.complaints(), [""; 0]);
    // It starts again with what played.
    studio.pipeline.set_state(gst::State::Null).unwrap();
    studio.pipeline.set_state(gst::State::Playing).unwrap();
    assert_eq!(studio.element.property::<String>("avatar"), playing);
}

#[test]
fn what_cannot_be_painted_does_not_end_the_show() {
    let copy = || {
        let folder = tempfile::tempdir().unwrap();
        common::copy_folder(&fixture("avatars/own"), folder.path());
        folder
    };
    let [playing, nan, broken] = [copy(), copy(), copy()];
    std::fs::copy(fixture("models/generator_nan.onnx"), nan.path().join("generator.onnx")).unwrap();
    std::fs::write(broken.path().join("frames/0.png"), b"no picture").unwrap();
    let mut studio = Studio::new(&format!("cache-size=0 avatar={}", playing.path().display()), MONO_16K);
    studio.run_until(SECOND);
    for folder in [&nan, &broken] {
        studio.element.set_property("avatar", folder.path().to_str().unwrap());
        studio.wait_for("refusal", |studio| {
            studio.element.property::<String>("avatar") == playing.path().to_str().unwrap()
        });
        let complaints = studio.wait_for_complaints(1);
        assert!(complaints.len() == 1 && complaints[0].contains("goes on"), "{complaints:?}");
        assert!(complaints[0].contains(folder.path().to_str().unwrap()), "{complaints:?}");
        studio.forget_messages();
    }
    // A frame of the one that plays goes.
    std::fs::remove_file(playing.path().join("frames/5.png")).unwrap();
    studio.run_until(studio.now + 5 * SECOND);
    studio.assert_gapless();
    let complaints = studio.wait_for_complaints(1);
    assert!(complaints.len() == 1 && complaints[0].contains("5.png"), "{complaints:?}");
}

#[test]
fn an_avatar_asked_for_just_before_a_stop_is_asked_for_again() {
    for (name, taken) in [("nosuch".into(), false), (fixture("avatars/own").display().to_string(), true)] {
        let pipeline = presenter("", "fakesink sync=false");
        let element = pipeline.by_name("ls").unwrap();
        let pad = element.static_pad("src").unwrap();
        let playing: String = element.property("avatar");
        pipeline.set_state(gst::State::Playing).unwrap();
        element.set_property("avatar", &name);
        pipeline.set_state(gst::State::Null).unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let width = |pad: &gst::Pad| pad.query_caps(None).structure(0).unwrap().get::<i32>("width").unwrap();
        let expected = if taken { (name, 480) } else { (playing, 320) };
        wait_until("decision", || {
            element.property::<String>("avatar") == expected.0 && width(&pad) == expected.1
        });
        pipeline.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn formats_are_not_lost_where_nobody_takes_the_video() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    studio.run_until(SECOND);
    let pad = studio.element.static_pad("src").unwrap();
    let block = pad
        .add_probe(gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER, |_, _| gst::PadProbeReturn::Ok)
        .unwrap();
    let frames = studio.video.lock().unwrap().len();
    studio.run_on(SECOND);
    let other = fixture("avatars/own_160").display().to_string();
    studio.element.set_property("avatar", &other);
    let width = |pad: &gst::Pad| pad.query_caps(None).structure(0).unwrap().get::<i32>("width").unwrap();
    let start = Instant::now();
    while width(&pad) != 320 {
        assert!(start.elapsed() < PATIENCE, "it does not take over");
        studio.run_on(FRAME);
    }
    let from = studio.now;
    studio.run_on(10 * SECOND);
    pad.remove_probe(block);
    studio.wait_for("video", |studio| studio.video.lock().unwrap().len() > frames + 20);
    let received = studio.video.lock().unwrap();
    let of = |sample: &gst::Sample| {
        let info = gst_video::VideoInfo::from_caps(sample.caps().unwrap()).unwrap();
        assert_eq!(sample.buffer().unwrap().size(), info.size());
        (info.width(), sample.buffer().unwrap().pts().unwrap().nseconds())
    };
    // One was in the pad's hands when it was blocked; what waited longest has been given up, in spite of the format.
    let later: Vec<(u32, u64)> = received[frames + 1..].iter().map(of).collect();
    assert!(later.iter().all(|(width, time)| *width == 320 && *time > from + 6 * SECOND), "{later:?}");
}

#[test]
fn a_start_begins_with_frame_0() {
    // The change of state has taken 200 ms; then the element comes five seconds late.
    for (late, first) in [(0, 0), (200_000_000, 0), (5 * SECOND, 125)] {
        let pipeline =
            pipeline(&format!("lipsyncsrc name=ls {} ! appsink name=out sync=false", avatar("own_160")));
        let clock = gst_check::TestClock::new();
        clock.set_time(gst::ClockTime::from_nseconds(7 * SECOND + late));
        pipeline.use_clock(Some(&clock));
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(gst::ClockTime::from_seconds(7));
        let received = common::studio::collect(&pipeline, "out");
        pipeline.set_state(gst::State::Playing).unwrap();
        clock.wait_for_next_pending_id();
        let mut latency = gst::query::Latency::new();
        assert!(pipeline.by_name("ls").unwrap().static_pad("src").unwrap().query(&mut latency));
        // No further than to where that frame goes out, so that the time does not run away from who is to send it.
        let due = 7 * SECOND + first * FRAME + latency.result().1.nseconds() + FRAME;
        let start = Instant::now();
        let mut time = 7 * SECOND + late;
        while received.lock().unwrap().is_empty() {
            assert!(start.elapsed() < PATIENCE, "no frame");
            time = (time + FRAME / 4).min(due.max(time));
            clock.set_time(gst::ClockTime::from_nseconds(time));
            while clock.peek_next_pending_id().is_some_and(|id| id.time().nseconds() <= time) {
                clock.process_next_clock_id();
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let buffer = received.lock().unwrap()[0].buffer_owned().unwrap();
        assert_eq!(buffer.pts(), Some(gst::ClockTime::from_nseconds(first * FRAME)));
        assert_eq!(buffer.offset(), first);
        pipeline.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn sound_that_is_moved_to_the_front_does_not_begin_before_the_beginning() {
    let mut studio = Studio::new(&format!("{} audio-offset=-21333333", avatar("own")), MONO_16K);
    studio.run_until(SECOND);
    let received = studio.audio.lock().unwrap();
    let time = |sample: &gst::Sample| {
        let segment = sample.segment().unwrap().downcast_ref::<gst::ClockTime>().cloned().unwrap();
        segment.to_running_time(sample.buffer().unwrap().pts()).expect("a time that there is")
    };
    // The first sample that is not too early: 342 of 16,000 a second.
    assert_eq!(time(&received[0]).nseconds(), 342 * 62_500 - 21_333_333);
    assert!(
        received
            .windows(2)
            .all(|pair| time(&pair[1]) - time(&pair[0]) <= gst::ClockTime::from_nseconds(FRAME))
    );
}

#[test]
fn a_slow_generator_is_told_with_what_was_measured() {
    let folder = tempfile::tempdir().unwrap();
    common::copy_folder(&fixture("avatars/own"), folder.path());
    std::fs::copy(fixture("models/slow_generator.onnx"), folder.path().join("generator.onnx")).unwrap();
    let pipeline = pipeline(&format!(
        "audiotestsrc wave=ticks samplesperbuffer=1600 ! ls.sink lipsyncsrc name=ls n-threads=1 avatar={} ! fakesink sync=false",
        folder.path().display()
    ));
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let kinds = [gst::MessageType::Warning, gst::MessageType::Error];
    let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds).expect("a warning");
    let gst::MessageView::Warning(warning) = message.view() else { panic!("{message:?}") };
    let text = warning.error().to_string();
    assert!(text.contains("the generator is too slow") && text.contains("inference-interval"), "{text}");
    let stats: gst::Structure = pipeline.by_name("ls").unwrap().property("stats");
    println!("{text}\n{stats}");
    pipeline.set_state(gst::State::Null).unwrap();
}
