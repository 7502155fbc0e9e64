// SPDX-License-Identifier: MPL-2.0
//! Speech that comes in bursts, where an event says that one is over: nothing waits for sound behind it. And what `lipsync` tells of
//! utterances and of its progress.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::gst::{avatar, pipeline, sound};
use common::record::Record;
use common::studio::{FRAME, SECOND, Studio};
use gst::prelude::*;

const MONO_16K: &str = "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";
const UTTERANCE: [&str; 2] = ["lipsync-utterance-start", "lipsync-utterance-end"];

/// Frames by which the end of speech is told late.
fn lateness(lookahead: &str, is_told: bool) -> u64 {
    let mut studio = Studio::new(&format!("{} {lookahead}", avatar("own")), MONO_16K);
    studio.run_until(SECOND);
    studio.say_now(&[9000; 16_000]);
    if is_told {
        studio.end();
    }
    while studio.speeches().len() < 2 {
        studio.run_until(studio.now + FRAME / 4);
    }
    let last = studio.video.lock().unwrap().last().unwrap().buffer().unwrap().pts().unwrap().nseconds();
    let end = studio.speeches()[1].1;
    last.saturating_sub((end - 1) / FRAME * FRAME) / FRAME
}

#[test]
fn the_end_of_speech_is_told_with_its_last_frame() {
    for lookahead in ["", "lookahead=212500000", "lookahead=92500000"] {
        println!("{lookahead}: {} frames late without an event", lateness(lookahead, false));
        assert_eq!(lateness(lookahead, true), 0, "{lookahead}");
    }
}

/// A pipeline with `lipsync` that is sent sound by hand.
struct Line {
    pipeline: gst::Pipeline,
    input: gst_app::AppSrc,
    record: Record,
}

impl Line {
    fn new() -> Self {
        Self::with("own", 16_000, 25)
    }

    /// With that avatar, sound of that rate, and that many frames a second.
    fn with(name: &str, rate: usize, frame_rate: usize) -> Self {
        let caps = format!("audio/x-raw,format=S16LE,rate={rate},channels=1,layout=interleaved");
        let pipeline = pipeline(&format!(
            "appsrc name=in format=time caps={caps} ! lipsync name=ls {} ! video/x-raw,framerate={frame_rate}/1 \
             ! fakesink name=out sync=false async=false",
            avatar(name)
        ));
        let input = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
        let record = Record::of(&pipeline.by_name("out").unwrap().static_pad("sink").unwrap());
        pipeline.set_state(gst::State::Playing).unwrap();
        Self { pipeline, input, record }
    }

    fn event(&self, name: &str, id: Option<&str>) {
        let structure = gst::Structure::builder(name).field_if_some("id", id).build();
        assert!(self.input.send_event(gst::event::CustomDownstream::new(structure)));
    }

    fn say(&self, samples: usize) {
        self.input.push_buffer(gst::Buffer::from_slice(vec![9u8; 2 * samples])).unwrap();
    }

    fn wait_for_frames(&self, frames: usize) {
        self.record
            .wait_for("frames", |entries| entries.iter().filter(|entry| entry.is_buffer()).count() >= frames);
    }

    /// Element messages so far.
    fn told(&self) -> Vec<gst::Structure> {
        let bus = self.pipeline.bus().unwrap();
        let messages = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Element]));
        messages.filter_map(|message| message.structure().map(ToOwned::to_owned)).collect()
    }

    /// Waits until one of that name has been told, and returns all until then.
    fn told_until(&self, name: &str) -> Vec<gst::Structure> {
        let start = std::time::Instant::now();
        let mut told = Vec::new();
        while !told.iter().any(|told: &gst::Structure| told.name() == name) {
            assert!(start.elapsed().as_secs() < 30, "no {name} in {told:?}");
            told.extend(self.told());
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        told
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.pipeline.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn the_frames_of_a_burst_do_not_wait_for_the_next() {
    let formats = [("own", 16_000, 25), ("own", 44_100, 30), ("synctalk_hubert", 16_000, 25)];
    for (name, rate, frame_rate) in formats {
        let line = Line::with(name, rate, frame_rate);
        // Each a little longer than a second.
        let samples = rate + rate / 100;
        let frames = |burst: usize| (burst * samples * frame_rate).div_ceil(rate);
        let bursts = if name == "synctalk_hubert" { 3 } else { 40 };
        for burst in 1..=bursts {
            line.say(samples);
            line.event(UTTERANCE[1], None);
            line.wait_for_frames(frames(burst));
        }
        line.input.end_of_stream().unwrap();
        line.record.wait_for("end", |entries| {
            entries.iter().any(|entry| entry.event(gst::EventType::Eos).is_some())
        });
        let entries = line.record.entries();
        let times = entries.iter().filter_map(|entry| match entry {
            common::record::Entry::Buffer(start, end) => Some((start.nseconds(), end.nseconds())),
            common::record::Entry::Event(_) => None,
        });
        let time = |n: usize| n as u64 * SECOND / frame_rate as u64;
        let grid = (0..frames(bursts)).map(|n| (time(n), time(n + 1)));
        assert!(times.eq(grid), "{name}: on one grid, and no more than the sound has: {entries:#?}");
    }
}

#[test]
fn bursts_look_as_they_do_alone() {
    let line = |sound: &str| {
        format!("{sound} ! lipsync {} ! video/x-raw,format=RGB ! appsink name=out sync=false", avatar("own"))
    };
    let alone = common::gst::frames(&line(&sound("speech")));
    let pipeline = pipeline(&line(&format!("appsrc name=in format=time caps={MONO_16K}")));
    let input = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    let mut reader = hound::WavReader::open(common::fixture("audio/speech.wav")).unwrap();
    let speech: Vec<u8> = reader.samples::<i16>().flat_map(|sample| sample.unwrap().to_ne_bytes()).collect();
    // Twice, with so much silence behind each that the avatar, which plays there and back, is where it was.
    let frames = speech.len() / 1280;
    let period = (frames + 25).next_multiple_of(90);
    for _ in 0..2 {
        input.push_buffer(gst::Buffer::from_slice(speech[..frames * 1280].to_vec())).unwrap();
        let structure = gst::Structure::new_empty(UTTERANCE[1]);
        assert!(input.send_event(gst::event::CustomDownstream::new(structure)));
        input.push_buffer(gst::Buffer::from_slice(vec![0u8; (period - frames) * 1280])).unwrap();
    }
    input.end_of_stream().unwrap();
    let both = common::gst::play(&pipeline).samples;
    assert_eq!(both.len(), 2 * period);
    let picture = |samples: &[gst::Sample], n: usize| common::gst::bytes(&samples[n]);
    for n in 0..frames {
        // Alone, what is behind the last samples belongs to them, too.
        if n + 14 < frames {
            let difference = common::compare(&picture(&alone, n), &picture(&both, n));
            assert!(difference.worst <= 1, "frame {n}: {difference:?}");
        }
        // Before the first there is nothing, before the second silence.
        if n >= 14 {
            let difference = common::compare(&picture(&both, n), &picture(&both, period + n));
            assert!(difference.worst <= 1, "frame {n} of the second: {difference:?}");
        }
    }
}

#[test]
fn lipsync_tells_of_utterances_with_the_frames_that_show_them() {
    let line = Line::new();
    line.say(8000);
    line.event(UTTERANCE[0], Some("a"));
    line.say(16_000);
    line.event(UTTERANCE[0], Some("b"));
    line.event(UTTERANCE[1], Some("b"));
    line.event(UTTERANCE[0], Some("c"));
    line.say(100);
    line.event(UTTERANCE[1], None);
    line.event(UTTERANCE[0], Some("d"));
    line.say(8077);
    line.input.end_of_stream().unwrap();
    let told = line.told_until("lipsync-progress");
    let text = |told: &gst::Structure, name: &str| told.get::<String>(name).unwrap_or_default();
    let number =
        |told: &gst::Structure, name: &str| told.get::<u64>(name).unwrap_or_default() * 16 / 1_000_000;
    let utterances: Vec<_> = told
        .iter()
        .filter(|told| UTTERANCE.contains(&told.name().as_str()))
        .map(|told| {
            let samples = told.get::<u64>("samples").unwrap_or_default();
            assert_eq!(number(told, "duration"), samples);
            (text(told, "id"), text(told, "reason"), number(told, "running-time"), samples)
        })
        .collect();
    let expected = [
        ("a", "", 8000, 0),
        ("a", "finished", 24_000, 16_000),
        ("b", "", 24_000, 0),
        ("b", "finished", 24_000, 0),
        ("c", "", 24_000, 0),
        ("c", "finished", 24_100, 100),
        ("d", "", 24_100, 0),
        ("d", "eos", 32_177, 8077),
    ];
    assert_eq!(
        utterances,
        expected.map(|(id, reason, time, samples)| (id.into(), reason.into(), time, samples))
    );
    // The events go on downstream, in their places.
    let passed = line.record.events(gst::EventType::CustomDownstream);
    assert_eq!(passed.len(), 6);

    let progress = told.last().unwrap();
    let frames = 32_177u64.div_ceil(640);
    assert_eq!(progress.get("frames"), Ok(frames));
    assert_eq!(progress.get("position"), Ok(gst::ClockTime::from_nseconds(frames * FRAME)));
    assert_eq!(progress.get("percent"), Ok(100));
    assert!(progress.get::<f64>("speed").unwrap() > 0.0);
    let stats = line.pipeline.by_name("ls").unwrap().property::<gst::Structure>("stats");
    assert_eq!(stats.get("running-time"), Ok(gst::ClockTime::from_nseconds(frames * FRAME)));
    assert!(stats.get::<f64>("speed").unwrap() > 0.0);
}

#[test]
fn a_flush_of_lipsync_ends_an_utterance_with_what_was_shown() {
    let line = Line::new();
    line.event(UTTERANCE[0], Some("a"));
    line.say(32_000);
    // What is left waits for sound behind it.
    line.wait_for_frames(30);
    std::thread::sleep(std::time::Duration::from_millis(100));
    line.input.send_event(gst::event::FlushStart::new());
    line.input.send_event(gst::event::FlushStop::new(true));
    let shown = line.record.buffers() as u64;
    let told = line.told();
    let names: Vec<&str> = told.iter().map(|told| told.name().as_str()).collect();
    assert_eq!(names, [UTTERANCE[0], "lipsync-interrupted", UTTERANCE[1]], "{told:?}");
    for told in &told[1..] {
        assert_eq!(told.get("samples"), Ok(shown * 640), "{told}");
        assert_eq!(told.get("duration"), Ok(gst::ClockTime::from_nseconds(shown * FRAME)), "{told}");
    }
    assert_eq!(told[1].get("utterance"), Ok("a"));
    assert_eq!(told[2].get("reason"), Ok("interrupted"));
    // A stop ends one, too.
    line.event(UTTERANCE[0], Some("b"));
    line.say(32_000);
    line.wait_for_frames(shown as usize + 10);
    line.pipeline.set_state(gst::State::Ready).unwrap();
    let told = line.told();
    assert_eq!(told.last().unwrap().get("reason"), Ok("stopped"), "{told:?}");
}

#[test]
fn progress_is_told_of_a_file_with_its_length() {
    let pipeline =
        pipeline(&format!("{} ! lipsync {} ! fakesink sync=false", sound("speech"), avatar("own")));
    pipeline.set_state(gst::State::Playing).unwrap();
    let message = common::record::wait_for_message(&pipeline, &[gst::MessageType::Element]);
    let progress = message.structure().unwrap();
    assert_eq!(progress.name(), "lipsync-progress");
    let samples = u64::from(hound::WavReader::open(common::fixture("audio/speech.wav")).unwrap().duration());
    assert_eq!(progress.get("duration"), Ok(gst::ClockTime::from_nseconds(samples * 62_500)));
    assert!((1..=100).contains(&progress.get::<i32>("percent").unwrap()), "{progress}");
    pipeline.set_state(gst::State::Null).unwrap();
}
