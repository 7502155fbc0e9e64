// SPDX-License-Identifier: MPL-2.0
//! The element in pipelines of this process: formats, times, and all that can happen to a stream.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::gst::{avatar, bytes, frames, init, pipeline, play, sound};
use common::{array, compare};
use gst::prelude::*;
use ndarray::Array4;

/// Frames of the speech: ceil(52877 / 16000 * 25).
const FRAMES: usize = 83;

/// A launch line from a sound of the fixtures to frames of an avatar with the given caps.
fn line(sound_name: &str, avatar_name: &str, caps: &str) -> String {
    format!("{} ! lipsync {} ! {caps} ! appsink name=out sync=false", sound(sound_name), avatar(avatar_name))
}

#[test]
fn frames_in_bgr_are_those_of_the_reference() {
    let golden: Array4<u8> = array("clips/own");
    let frames: Vec<u8> =
        frames(&line("speech", "own", "video/x-raw,format=BGR")).iter().flat_map(bytes).collect();
    let difference = compare(&frames, golden.iter());
    assert!(difference.worst <= 2 && difference.mean < 0.01, "{difference:?}");
}

#[test]
fn every_format_shows_the_same_picture() {
    let wanted: Vec<u8> =
        frames(&line("speech", "own", "video/x-raw,format=RGB")).iter().take(3).flat_map(bytes).collect();
    for format in ["I420", "NV12", "BGR", "RGBx", "BGRx", "xRGB", "xBGR", "RGBA", "BGRA", "ARGB", "ABGR"] {
        let caps = format!("video/x-raw,format={format} ! videoconvert ! video/x-raw,format=RGB");
        let frames = frames(&line("speech", "own", &caps));
        assert_eq!(frames.len(), FRAMES, "{format}");
        let shown: Vec<u8> = frames.iter().take(3).flat_map(bytes).collect();
        let difference = compare(&shown, &wanted);
        // Halved colour planes blur hard edges of colour, of which the test avatar is full.
        let allowed = if matches!(format, "I420" | "NV12") { 6.0 } else { 0.0 };
        assert!(difference.mean <= allowed, "{format}: {difference:?}");
    }
}

#[test]
fn i420_at_25_is_what_comes_where_nobody_asks() {
    let frames = frames(&line("speech", "own", "identity"));
    let caps = frames[0].caps().unwrap();
    let structure = caps.structure(0).unwrap();
    assert_eq!(structure.get::<&str>("format"), Ok("I420"));
    assert_eq!(structure.get::<gst::Fraction>("framerate"), Ok(gst::Fraction::new(25, 1)));
}

#[test]
fn every_rate_covers_the_sound_on_an_exact_grid() {
    for (num, den) in [(24_000, 1001), (24, 1), (25, 1), (30_000, 1001), (30, 1), (50, 1), (60, 1)] {
        let frames = frames(&line("speech", "own_160", &format!("video/x-raw,framerate={num}/{den}")));
        let expected = (52_877u64 * num).div_ceil(16_000 * den);
        assert_eq!(frames.len() as u64, expected, "{num}/{den}");
        let time = |n: u64| gst::ClockTime::from_nseconds(n * den * 1_000_000_000 / num);
        for (n, frame) in (0..).zip(&frames) {
            let buffer = frame.buffer().unwrap();
            assert_eq!(buffer.pts(), Some(time(n)));
            assert_eq!(buffer.duration(), Some(time(n + 1) - time(n)));
        }
    }
}

#[test]
fn every_kind_of_sound_gives_the_same_mouth() {
    let caps = "video/x-raw,format=BGR";
    let wanted: Vec<u8> = frames(&line("speech", "own", caps)).iter().flat_map(bytes).collect();
    let frame = wanted.len() / FRAMES;
    for name in ["u8_8k_mono", "s16_44k1_stereo", "f32_48k_5_1", "s24_96k_mono"] {
        let frames = frames(&line(name, "own", caps));
        assert_eq!(frames.len(), FRAMES, "{name}");
        let shown: Vec<u8> = frames.iter().flat_map(bytes).collect();
        let difference = compare(&shown, &wanted);
        // What a mouth of the wrong moment would be: the speech against itself, five frames later.
        let wrong = compare(&wanted[5 * frame..], &wanted[..wanted.len() - 5 * frame]);
        println!("{name}: {difference:?}, five frames off {:?}", wrong.mean);
        // 8 bits at 8 kHz have lost all above 4 kHz and added noise, which the networks hear.
        let share = if name == "u8_8k_mono" { 0.75 } else { 0.25 };
        assert!(difference.mean < share * wrong.mean, "{name}: {difference:?} of {wrong:?}");
    }
}

#[test]
fn buffers_of_any_size_give_the_same_frames() {
    let cut = |size: usize| {
        let line = format!(
            "{} ! audiobuffersplit output-buffer-size={size} ! lipsync {} ! appsink name=out sync=false",
            sound("speech"),
            avatar("own_160")
        );
        frames(&line).iter().flat_map(bytes).collect::<Vec<u8>>()
    };
    assert!(cut(2) == cut(2 * 8192));
}

/// The element alone, fed by hand.
struct Fed {
    harness: gst_check::Harness,
    position: gst::ClockTime,
}

const TENTH: gst::ClockTime = gst::ClockTime::from_mseconds(100);

impl Fed {
    fn new() -> Self {
        init();
        let element = gst::ElementFactory::make("lipsync")
            .property("avatar", common::fixture("avatars/own_160").to_str().unwrap())
            .build()
            .unwrap();
        let mut harness = gst_check::Harness::with_element(&element, Some("sink"), Some("src"));
        harness.set_src_caps_str("audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved");
        Self { harness, position: gst::ClockTime::ZERO }
    }

    /// A tenth of a second of a tone.
    fn buffer(&self) -> gst::Buffer {
        let samples: Vec<u8> =
            (0..1600).flat_map(|i| (((i as f32 * 0.2).sin() * 9000.0) as i16).to_le_bytes()).collect();
        let mut buffer = gst::Buffer::from_slice(samples);
        let inside = buffer.get_mut().unwrap();
        inside.set_pts(self.position);
        inside.set_duration(TENTH);
        buffer
    }

    fn speak(&mut self, tenths: u32) {
        for _ in 0..tenths {
            let buffer = self.buffer();
            self.harness.push(buffer).unwrap();
            self.position += TENTH;
        }
    }

    /// Ends the stream and returns the times of all frames.
    fn end(&mut self) -> Vec<gst::ClockTime> {
        assert!(self.harness.push_event(gst::event::Eos::new()));
        let mut times = Vec::new();
        loop {
            while let Some(buffer) = self.harness.try_pull() {
                times.push(buffer.pts().unwrap());
            }
            while let Some(event) = self.harness.try_pull_event() {
                if event.type_() == gst::EventType::Eos {
                    while let Some(buffer) = self.harness.try_pull() {
                        times.push(buffer.pts().unwrap());
                    }
                    return times;
                }
            }
            std::thread::yield_now();
        }
    }
}

/// The grid of `count` frames at 25 a second from `start` milliseconds on.
fn grid(start: u64, count: u64) -> Vec<gst::ClockTime> {
    (0..count).map(|n| gst::ClockTime::from_mseconds(start + n * 40)).collect()
}

#[test]
fn video_starts_with_the_first_sample_and_small_jitter_is_ignored() {
    let mut fed = Fed::new();
    fed.position = gst::ClockTime::from_mseconds(1234);
    fed.speak(5);
    fed.position += gst::ClockTime::from_mseconds(3);
    fed.speak(5);
    assert_eq!(fed.end(), grid(1234, 25));
}

#[test]
fn gaps_are_filled_with_silence() {
    let mut fed = Fed::new();
    fed.speak(5);
    // By a jump of the timestamps ...
    fed.position += gst::ClockTime::from_mseconds(500);
    let mut buffer = fed.buffer();
    buffer.get_mut().unwrap().set_flags(gst::BufferFlags::DISCONT);
    fed.harness.push(buffer).unwrap();
    fed.position += TENTH;
    // ... and by an event.
    let gap = gst::event::Gap::builder(fed.position).duration(TENTH * 4).build();
    assert!(fed.harness.push_event(gap));
    fed.position += TENTH * 4;
    fed.speak(5);
    assert_eq!(fed.end(), grid(0, 50));
}

#[test]
fn a_stream_of_nothing_but_gaps_shows_a_silent_face() {
    let mut fed = Fed::new();
    for n in 0..10u64 {
        let gap = gst::event::Gap::builder(TENTH * n).duration(TENTH).build();
        assert!(fed.harness.push_event(gap));
    }
    assert_eq!(fed.end(), grid(0, 25));
}

#[test]
fn a_time_that_no_sound_has_is_as_good_as_none() {
    let mut fed = Fed::new();
    fed.speak(2);
    let nonsense = gst::ClockTime::from_nseconds(u64::MAX - 2);
    let mut buffer = fed.buffer();
    buffer.get_mut().unwrap().set_pts(nonsense);
    fed.harness.push(buffer).unwrap();
    assert!(fed.harness.push_event(gst::event::Gap::builder(nonsense).duration(TENTH).build()));
    fed.position += TENTH;
    fed.speak(1);
    assert_eq!(fed.end(), grid(0, 10));
}

#[test]
fn a_jump_far_ahead_or_back_starts_a_new_grid() {
    let mut fed = Fed::new();
    fed.speak(2);
    fed.position += gst::ClockTime::from_seconds(1000);
    let mut buffer = fed.buffer();
    buffer.get_mut().unwrap().set_flags(gst::BufferFlags::DISCONT);
    fed.harness.push(buffer).unwrap();
    let mut expected = grid(0, 5);
    expected.extend(grid(1_000_200, 3));
    assert_eq!(fed.end(), expected);
}

#[test]
fn the_sound_may_change_its_format() {
    let mut fed = Fed::new();
    fed.speak(5);
    fed.harness.set_src_caps_str("audio/x-raw,format=S16LE,rate=32000,channels=2,layout=interleaved");
    // A buffer of the same bytes now lasts a quarter.
    for _ in 0..20 {
        let mut buffer = fed.buffer();
        buffer.get_mut().unwrap().set_duration(TENTH / 4);
        fed.harness.push(buffer).unwrap();
        fed.position += TENTH / 4;
    }
    assert_eq!(fed.end(), grid(0, 25));
}

#[test]
fn a_flush_leaves_nothing_behind() {
    let mut fed = Fed::new();
    fed.speak(10);
    assert!(fed.harness.push_event(gst::event::FlushStart::new()));
    assert!(fed.harness.push_event(gst::event::FlushStop::new(true)));
    while fed.harness.try_pull().is_some() {}
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    assert!(fed.harness.push_event(gst::event::Segment::new(&segment)));
    fed.position = gst::ClockTime::ZERO;
    fed.speak(5);
    assert_eq!(fed.end(), grid(0, 13));
}

#[test]
fn seeking_gives_the_frames_from_there() {
    let pipeline = pipeline(&line("speech", "own", "video/x-raw,format=BGR"));
    pipeline.set_state(gst::State::Paused).unwrap();
    assert!(pipeline.state(gst::ClockTime::from_seconds(30)).0.is_ok());
    let two = gst::ClockTime::from_seconds(2);
    pipeline.seek_simple(gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE, two).unwrap();
    let ended = play(&pipeline);
    assert!(ended.errors.is_empty(), "{:?}", ended.errors);
    let times: Vec<_> = ended.samples.iter().map(|sample| sample.buffer().unwrap().pts().unwrap()).collect();
    assert_eq!(times, grid(2000, 33));
}

#[test]
fn parts_of_a_video_are_those_of_the_whole() {
    let caps = "video/x-raw,format=BGR";
    // The loop of Iris has clips that take turns, and gestures at stressed words.
    let iris = format!("avatar={}/models/iris emphasis=1", env!("CARGO_MANIFEST_DIR"));
    for (chosen, rate) in [(avatar("own"), 25), (avatar("ultralight"), 30), (iris, 25)] {
        let frames = |part: &str| {
            let source = sound("speech");
            frames(&format!(
                "{source} ! lipsync {chosen} {part} ! {caps},framerate={rate}/1 ! appsink name=out sync=false"
            ))
        };
        let whole = frames("");
        let mut joined = Vec::new();
        for (first, last) in [(0, 0), (1, 39), (40, 76), (77, u64::MAX)] {
            joined.extend(frames(&format!("first-frame={first} last-frame={last}")));
        }
        assert_eq!(joined.len(), whole.len(), "{chosen}");
        for (n, (part, whole)) in joined.iter().zip(&whole).enumerate() {
            let time = |sample: &gst::Sample| sample.buffer().unwrap().pts();
            assert_eq!(time(part), time(whole), "{chosen}, frame {n}");
            assert!(bytes(part) == bytes(whole), "{chosen}, frame {n}");
        }
        assert!(frames("first-frame=1000").is_empty());
    }
}

#[test]
fn the_latency_is_lookahead_frame_and_processing() {
    let mut fed = Fed::new();
    let ask = |fed: &Fed| {
        let mut query = gst::query::Latency::new();
        let pad = fed.harness.element().unwrap().static_pad("src").unwrap();
        assert!(pad.query(&mut query));
        query.result()
    };
    fed.harness.set_upstream_latency(gst::ClockTime::from_mseconds(10));
    let milliseconds = |sum: f64| gst::ClockTime::from_useconds((sum * 1000.0) as u64);
    // 10 upstream, 452.5 of lookahead, 40 of a frame, 100 of processing.
    assert_eq!(ask(&fed).1, milliseconds(602.5));
    fed.harness.element().unwrap().set_property("processing-latency", 20_000_000u64);
    let (_, min, max) = ask(&fed);
    assert_eq!(min, milliseconds(522.5));
    assert!(max.is_none_or(|max| max >= min));
    fed.speak(1);
    assert_eq!(ask(&fed).1, milliseconds(522.5));
    fed.end();
}

#[test]
fn late_frames_repeat_the_last_picture_and_are_told() {
    let mut fed = Fed::new();
    let bus = gst::Bus::new();
    fed.harness.element().unwrap().set_bus(Some(&bus));
    fed.speak(10);
    // Downstream is a second late.
    let qos = gst::event::Qos::builder(gst::QOSType::Underflow, 2.0, 1_000_000_000)
        .timestamp(gst::ClockTime::from_seconds(1))
        .build();
    assert!(fed.harness.push_upstream_event(qos));
    fed.speak(30);
    assert_eq!(fed.end(), grid(0, 100));
    let element = fed.harness.element().unwrap();
    let stats: gst::Structure = element.property("stats");
    let repeated: u64 = stats.get("repeated").unwrap();
    assert!((20..=45).contains(&repeated), "{stats}");
    assert_eq!(stats.get::<u64>("frames").unwrap(), 100);
    let told = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Qos])).count();
    assert_eq!(told as u64, repeated);
    element.set_bus(None);
}

#[test]
fn a_sink_that_has_had_enough_ends_the_pipeline() {
    let pipeline =
        pipeline(&format!("{} ! lipsync {} ! fakesink num-buffers=2", sound("speech"), avatar("own_160")));
    pipeline.set_state(gst::State::Playing).unwrap();
    let message = pipeline.bus().unwrap().timed_pop_filtered(
        gst::ClockTime::from_seconds(60),
        &[gst::MessageType::Eos, gst::MessageType::Error],
    );
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(message.map(|message| message.type_()), Some(gst::MessageType::Eos));
}

#[test]
fn an_end_without_sound_is_told_and_still_an_end() {
    init();
    let mut fed = Fed::new();
    let bus = gst::Bus::new();
    fed.harness.element().unwrap().set_bus(Some(&bus));
    assert!(fed.end().is_empty());
    let errors: Vec<_> = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Error])).collect();
    assert_eq!(errors.len(), 1);
    fed.harness.element().unwrap().set_bus(None);
}

#[test]
fn playbin_can_use_it_as_its_visualisation() {
    init();
    let vis = gst::ElementFactory::make("lipsync")
        .property("avatar", common::fixture("avatars/own_160").to_str().unwrap())
        .build()
        .unwrap();
    let counted = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let video = gst::ElementFactory::make("fakesink").property("signal-handoffs", true).build().unwrap();
    let count = counted.clone();
    video.connect("handoff", false, move |_| {
        count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        None
    });
    let playbin = gst::ElementFactory::make("playbin")
        .property("uri", gst::glib::filename_to_uri(common::fixture("audio/speech.wav"), None).unwrap())
        .property("vis-plugin", &vis)
        .property("video-sink", &video)
        .property("audio-sink", gst::ElementFactory::make("fakesink").build().unwrap())
        .build()
        .unwrap();
    playbin.set_property_from_str("flags", "audio+video+vis");
    playbin.set_state(gst::State::Playing).unwrap();
    let message = playbin.bus().unwrap().timed_pop_filtered(
        gst::ClockTime::from_seconds(60),
        &[gst::MessageType::Eos, gst::MessageType::Error],
    );
    playbin.set_state(gst::State::Null).unwrap();
    assert_eq!(message.unwrap().type_(), gst::MessageType::Eos);
    assert!(counted.load(std::sync::atomic::Ordering::SeqCst) >= FRAMES);
}
