// SPDX-License-Identifier: MPL-2.0
//! `lipsyncsrc` in random sequences of whatever an application may do: nothing hangs, fails, panics or leaks.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::fixture;
use common::stress::{
    Log, Pairs, Random, Upstream, assert_no_error, event_of_downstream, run, trace_leaks, utterance_event,
};
use gst::prelude::*;
use lipsync_core::inference::runtime::Engine;
use lipsync_core::render::painter::Painter;

const MS: u64 = 1_000_000;

/// Formats of sound, the rate and the bytes of a sample frame.
const SOUNDS: [(&str, u32, usize); 5] = [
    ("S16LE,rate=16000,channels=1", 16_000, 2),
    ("F32LE,rate=48000,channels=2,channel-mask=(bitmask)3", 48_000, 8),
    ("S16BE,rate=44100,channels=2,channel-mask=(bitmask)3", 44_100, 4),
    ("U8,rate=8000,channels=1", 8000, 1),
    ("F64LE,rate=96000,channels=6,channel-mask=(bitmask)0x3f", 96_000, 48),
];
/// Formats of the video.
const VIDEOS: [&str; 5] =
    ["", ",format=RGB", ",format=I420", ",format=BGRx,framerate=30/1", ",framerate=10/1"];

/// Frames that came out in all.
static FRAMES: AtomicU64 = AtomicU64::new(0);

/// One that sends sound.
struct Feeder {
    upstream: Upstream,
    /// The format that it sends.
    sound: usize,
}

impl Feeder {
    fn new(sink: &gst::Pad) -> Self {
        let feeder = Self { upstream: Upstream::new(sink), sound: 0 };
        feeder.upstream.pad.set_active(true).unwrap();
        feeder.event(gst::event::StreamStart::new("sound"));
        feeder.caps();
        feeder.segment();
        feeder
    }

    fn event(&self, event: gst::Event) {
        self.upstream.event(event);
    }

    fn caps(&self) {
        let caps = format!("audio/x-raw,layout=interleaved,format={}", SOUNDS[self.sound].0);
        self.event(gst::event::Caps::new(&caps.parse().unwrap()));
    }

    fn segment(&self) {
        self.event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    }

    /// Some sound, not always of whole sample frames.
    fn buffer(&self, random: &mut Random) {
        let (_, rate, bytes) = SOUNDS[self.sound];
        let size = random.below(u64::from(rate)) as usize * bytes + random.below(2) as usize;
        let loud = random.below(256) as u8;
        self.upstream.buffer(gst::Buffer::from_mut_slice(vec![loud; size.max(1)]));
    }

    fn flush(&self) {
        self.upstream.pad.push_event(gst::event::FlushStart::new());
        // What was sent before goes nowhere: behind the flush it would come before the segment.
        self.upstream.wait();
        self.upstream.pad.push_event(gst::event::FlushStop::new(true));
        self.segment();
    }
}

/// A presenter on air.
struct Air {
    pipeline: gst::Pipeline,
    element: gst::Element,
    filter: gst::Element,
    clock: gst_check::TestClock,
    now: u64,
    size: &'static str,
    feeder: Option<(gst::Pad, Feeder)>,
    audio: Option<(gst::Pad, Option<gst::Element>)>,
    pairs: Pairs,
    blocks: Vec<(gst::Pad, gst::PadProbeId)>,
}

impl Air {
    fn new(random: &mut Random, log: &Log) -> Self {
        let size = *random.pick(&["", "", ",width=320,height=240"]);
        let processing = random.pick(&[0, 20 * MS, 100 * MS]);
        let line = format!(
            "lipsyncsrc name=ls avatar={} n-threads=1 lookahead=92500000 max-backlog=300000000 processing-latency={processing} \
             ! capsfilter name=filter caps=video/x-raw{size} ! fakesink name=out sync=false",
            fixture("avatars/own_160").display()
        );
        log.step(&line);
        let pipeline = common::gst::pipeline(&line);
        log.uses(&pipeline);
        log.uses(&pipeline.by_name("ls").unwrap());
        let sink = pipeline.by_name("out").unwrap().static_pad("sink").unwrap();
        sink.add_probe(gst::PadProbeType::BUFFER, |_, _| {
            FRAMES.fetch_add(1, Ordering::SeqCst);
            gst::PadProbeReturn::Ok
        });
        let pairs = Pairs::of(&pipeline);
        let clock = gst_check::TestClock::new();
        clock.set_time(gst::ClockTime::ZERO);
        pipeline.use_clock(Some(&clock));
        Self {
            element: pipeline.by_name("ls").unwrap(),
            filter: pipeline.by_name("filter").unwrap(),
            pipeline,
            clock,
            now: 0,
            size,
            feeder: None,
            audio: None,
            pairs,
            blocks: Vec::new(),
        }
    }

    fn pass_time(&mut self, time: u64) {
        for _ in 0..time.div_ceil(20 * MS) {
            self.now += 20 * MS;
            self.clock.set_time(gst::ClockTime::from_nseconds(self.now));
            std::thread::sleep(Duration::from_micros(500));
            while let Some(id) = self.clock.peek_next_pending_id() {
                if id.time().nseconds() > self.now || self.clock.process_next_clock_id().is_none() {
                    break;
                }
            }
        }
    }

    fn step(&mut self, random: &mut Random, log: &Log) {
        match random.below(20) {
            0..3 => self.change_state(random, log),
            3 | 4 => self.send_sound(random, log),
            5 => self.change_sink(log),
            6 => self.change_audio(random, log),
            7 => {
                log.step("interrupt");
                let answer = self.element.emit_by_name::<gst::Structure>("interrupt", &[]);
                log.result(answer);
            }
            8 => {
                let name = *random.pick(&["own", "own_160", "nosuch"]);
                let name = match name {
                    "nosuch" => name.into(),
                    name => fixture(&format!("avatars/{name}")).display().to_string(),
                };
                log.step(format!("avatar={name}"));
                self.set_avatar(name);
            }
            9 => self.set_number(random, log),
            10 => {
                let caps = format!("video/x-raw{}{}", random.pick(&VIDEOS), self.size);
                log.step(format!("filter {caps}"));
                self.filter.set_property("caps", caps.parse::<gst::Caps>().unwrap());
            }
            11 => self.send_upstream(random, log),
            12 => self.change_block(random, log),
            _ => {
                let time = random.below(800) * MS;
                log.step(format!("{} ms", time / MS));
                self.pass_time(time);
            }
        }
    }

    /// Not in NULL or READY: there a wrong name is an error, as it must be.
    fn set_avatar(&self, name: String) {
        if self.element.current_state() >= gst::State::Paused {
            self.element.set_property("avatar", name);
        }
    }

    fn change_state(&mut self, random: &mut Random, log: &Log) {
        use gst::State::{Null, Paused, Playing, Ready};
        let state = *random.pick(&[Playing, Playing, Playing, Paused, Ready, Null]);
        log.step(format!("{state:?}"));
        log.result(format!("{:?}", self.pipeline.set_state(state)));
    }

    fn send_sound(&mut self, random: &mut Random, log: &Log) {
        let Some((_, feeder)) = &mut self.feeder else { return self.change_sink(log) };
        match random.below(14) {
            0 => {
                log.step("flush");
                feeder.flush();
            }
            1 => {
                let length = random.below(2000) * MS;
                log.step(format!("gap of {length}"));
                feeder.event(
                    gst::event::Gap::builder(gst::ClockTime::ZERO)
                        .duration(gst::ClockTime::from_nseconds(length))
                        .build(),
                );
            }
            2 => {
                log.step("end of the sound");
                feeder.event(gst::event::Eos::new());
            }
            10..12 => {
                let id = random.below(3).to_string();
                log.step(format!("start of the utterance {id}"));
                feeder.event(utterance_event("start", Some(&id)));
            }
            12 => {
                let id = random.one_in(2).then(|| random.below(3).to_string());
                log.step(format!("end of the utterance {id:?}"));
                feeder.event(utterance_event("end", id.as_deref()));
            }
            13 => {
                log.step("another stream");
                feeder.event(gst::event::StreamStart::new("another"));
                feeder.caps();
                feeder.segment();
            }
            3 | 4 => {
                feeder.sound = random.below(SOUNDS.len() as u64) as usize;
                log.step(format!("sound {}", SOUNDS[feeder.sound].0));
                feeder.caps();
            }
            _ => {
                log.step("sound");
                feeder.buffer(random);
            }
        }
    }

    /// Requests the pad for the sound, or releases it.
    fn change_sink(&mut self, log: &Log) {
        match self.feeder.take() {
            None => {
                log.step("request sink");
                let pad = self.element.request_pad_simple("sink").unwrap();
                let feeder = Feeder::new(&pad);
                self.feeder = Some((pad, feeder));
            }
            Some((pad, feeder)) => {
                log.step("release sink");
                self.element.release_request_pad(&pad);
                drop(feeder);
            }
        }
    }

    /// Requests the pad `audio`, linked or not, or releases it.
    fn change_audio(&mut self, random: &mut Random, log: &Log) {
        match self.audio.take() {
            None => {
                let sink = (!random.one_in(3)).then(|| {
                    let sink = gst::ElementFactory::make("fakesink").property("async", false);
                    let sink = sink.property("sync", random.one_in(2)).build().unwrap();
                    self.pipeline.add(&sink).unwrap();
                    sink.sync_state_with_parent().unwrap();
                    sink
                });
                log.step(format!("request audio, {}linked", if sink.is_some() { "" } else { "not " }));
                let pad = self.element.request_pad_simple("audio").unwrap();
                if let Some(sink) = &sink {
                    pad.link(&sink.static_pad("sink").unwrap()).unwrap();
                }
                self.audio = Some((pad, sink));
            }
            Some((pad, sink)) => {
                log.step("release audio");
                self.blocks.retain(|(blocked, _)| *blocked != pad);
                self.element.release_request_pad(&pad);
                if let Some(sink) = sink {
                    sink.set_state(gst::State::Null).unwrap();
                    self.pipeline.remove(&sink).unwrap();
                }
            }
        }
    }

    fn set_number(&self, random: &mut Random, log: &Log) {
        let name = *random.pick(&[
            "background-color",
            "num-buffers",
            "inference-interval",
            "max-backlog",
            "audio-offset",
        ]);
        log.step(name);
        match name {
            "num-buffers" => self.element.set_property(name, *random.pick(&[-1, -1, 0, 3, 20])),
            "audio-offset" => self.element.set_property(name, *random.pick(&[0i64, -21_333_333, 50_000_000])),
            "max-backlog" => self.element.set_property(name, *random.pick(&[100 * MS, 3000 * MS])),
            "inference-interval" => self.element.set_property(name, 1 + random.below(25) as u32),
            _ => self.element.set_property(name, random.next() as u32),
        }
    }

    fn send_upstream(&self, random: &mut Random, log: &Log) {
        let pad = self.element.static_pad("src").unwrap();
        let time = gst::ClockTime::from_nseconds(self.now);
        let event = event_of_downstream(random, time);
        log.step(format!("{:?} from downstream", event.type_()));
        pad.send_event(event);
    }

    /// Blocks a source pad, or lets all go on.
    fn change_block(&mut self, random: &mut Random, log: &Log) {
        if !self.blocks.is_empty() {
            log.step("unblock");
            self.blocks.drain(..).for_each(|(pad, block)| pad.remove_probe(block));
            return;
        }
        let pad = match &self.audio {
            Some((pad, _)) if random.one_in(2) => pad.clone(),
            _ => self.element.static_pad("src").unwrap(),
        };
        log.step(format!("block {}", pad.name()));
        let block = pad.add_probe(gst::PadProbeType::BLOCK_DOWNSTREAM, |_, _| gst::PadProbeReturn::Ok);
        self.blocks.extend(block.map(|block| (pad, block)));
    }
}

fn sequence(random: &mut Random, log: &Log) {
    let mut air = Air::new(random, log);
    if !random.one_in(4) {
        log.step("Playing");
        air.pipeline.set_state(gst::State::Playing).unwrap();
    }
    for _ in 0..5 + random.below(11) {
        air.step(random, log);
        assert_no_error(&air.pipeline.bus().unwrap());
    }
    log.step("stop");
    air.pipeline.set_state(gst::State::Null).unwrap();
    air.pairs.assert_closed();
    assert_no_error(&air.pipeline.bus().unwrap());
}

#[test]
fn random_sequences() {
    trace_leaks();
    // Keeps the networks open, so that most of the time goes to what is to be tested.
    let _painters = ["own", "own_160"].map(|name| {
        let avatar = common::avatar(name);
        Painter::open(&avatar, &Engine::default(), 1).unwrap()
    });
    run(250, sequence);
    println!("{} frames", FRAMES.load(Ordering::SeqCst));
}
