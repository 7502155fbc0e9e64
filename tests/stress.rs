// SPDX-License-Identifier: MPL-2.0
//! `lipsync` in random sequences of whatever upstream, downstream and an application may do: nothing hangs, fails, panics or
//! leaks.

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

/// Formats of sound, the rate and the bytes of a sample frame.
const SOUNDS: [(&str, u32, usize); 5] = [
    ("S16LE,layout=interleaved,rate=16000,channels=1", 16_000, 2),
    ("F32LE,layout=interleaved,rate=48000,channels=2,channel-mask=(bitmask)3", 48_000, 8),
    ("S16BE,layout=non-interleaved,rate=44100,channels=2,channel-mask=(bitmask)3", 44_100, 4),
    ("U8,layout=interleaved,rate=8000,channels=1", 8000, 1),
    ("F64LE,layout=interleaved,rate=96000,channels=6,channel-mask=(bitmask)0x3f", 96_000, 48),
];
/// Formats of the video, among them one that cannot be.
const VIDEOS: [&str; 6] = [
    "video/x-raw",
    "video/x-raw,format=RGB",
    "video/x-raw,format=RGBA;video/x-raw,format=I420",
    "video/x-raw,format=NV12,colorimetry=1:4:0:0",
    "video/x-raw,format=BGRx,framerate=30/1",
    "video/x-raw,framerate=10/1",
];

/// Frames that came out in all.
static FRAMES: AtomicU64 = AtomicU64::new(0);

/// The sound that upstream sends.
struct Sound {
    upstream: Upstream,
    /// Its format.
    format: usize,
    /// Where what comes next is.
    position: gst::ClockTime,
    streams: u32,
}

impl Sound {
    fn new(sink: &gst::Pad) -> Self {
        Self { upstream: Upstream::new(sink), format: 0, position: gst::ClockTime::ZERO, streams: 0 }
    }

    fn event(&self, event: gst::Event) {
        self.upstream.event(event);
    }

    fn is_running(&self) -> bool {
        self.upstream.pad.is_active()
    }

    fn begin(&mut self) {
        self.streams += 1;
        self.event(gst::event::StreamStart::new(&format!("stream{}", self.streams)));
        self.caps();
        self.segment();
    }

    fn caps(&self) {
        let caps = format!("audio/x-raw,format={}", SOUNDS[self.format].0);
        self.event(gst::event::Caps::new(&caps.parse().unwrap()));
    }

    fn segment(&self) {
        let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
        segment.set_start(self.position);
        segment.set_time(self.position);
        segment.set_base(self.position);
        self.event(gst::event::Segment::new(&segment));
    }

    /// Some sound, not always of whole sample frames.
    fn buffer(&mut self, random: &mut Random) {
        let (_, rate, bytes) = SOUNDS[self.format];
        let samples = random.below(u64::from(rate));
        let size = samples as usize * bytes + random.below(2) as usize;
        // Of more than that bytes make floats that are too loud or no numbers.
        let mut buffer = gst::Buffer::from_mut_slice(vec![random.below(64) as u8; size.max(1)]);
        let inside = buffer.get_mut().unwrap();
        if !random.one_in(8) {
            inside.set_pts(self.position);
        }
        if random.one_in(8) {
            inside.set_flags(gst::BufferFlags::DISCONT);
        }
        self.position += gst::ClockTime::from_nseconds(samples * 1_000_000_000 / u64::from(rate));
        self.upstream.buffer(buffer);
    }

    /// As sources do it: whoever sends has stopped before the flush ends.
    fn flush(&mut self, reset: bool) {
        let pad = &self.upstream.pad;
        pad.push_event(gst::event::FlushStart::new());
        self.upstream.wait();
        pad.push_event(gst::event::FlushStop::new(reset));
        // What was sticky may have been sent into the flush.
        if pad.has_current_caps() && pad.sticky_event::<gst::event::StreamStart>(0).is_some() {
            self.segment();
        } else {
            self.begin();
        }
    }
}

/// The element with what is before and behind it.
struct Chain {
    sound: Sound,
    pipeline: gst::Pipeline,
    element: gst::Element,
    filter: gst::Element,
    block: Option<gst::PadProbeId>,
    pairs: Pairs,
}

impl Chain {
    fn new(random: &mut Random, log: &Log) -> Self {
        let behind = *random.pick(&["", "queue ! ", "queue max-size-buffers=1 ! videoconvert ! "]);
        let sync = random.one_in(4);
        let line = format!(
            "lipsync name=l n-threads={} avatar={} ! capsfilter name=filter ! {behind}fakesink name=out sync={sync}",
            1 + random.below(2),
            fixture(&format!("avatars/{}", random.pick(&["own_160", "alpha"]))).display()
        );
        log.step(&line);
        let pipeline = common::gst::pipeline(&line);
        let element = pipeline.by_name("l").unwrap();
        log.uses(&pipeline);
        log.uses(&element);
        let sink = pipeline.by_name("out").unwrap().static_pad("sink").unwrap();
        sink.add_probe(gst::PadProbeType::BUFFER, |_, _| {
            FRAMES.fetch_add(1, Ordering::SeqCst);
            gst::PadProbeReturn::Ok
        });
        let sound = Sound::new(&element.static_pad("sink").unwrap());
        let pairs = Pairs::of(&pipeline);
        Self { sound, filter: pipeline.by_name("filter").unwrap(), element, pipeline, block: None, pairs }
    }

    fn step(&mut self, random: &mut Random, log: &Log) {
        match random.below(20) {
            0..3 => self.change_state(random, log),
            3..9 => self.send(random, log),
            9 if self.sound.is_running() => {
                let reset = random.one_in(2);
                log.step(format!("flush, reset {reset}"));
                if random.one_in(3) {
                    self.sound.position = gst::ClockTime::from_mseconds(random.below(3000));
                }
                self.sound.flush(reset);
            }
            10 => {
                let caps = *random.pick(&VIDEOS);
                log.step(format!("filter {caps}"));
                self.filter.set_property("caps", caps.parse::<gst::Caps>().unwrap());
            }
            11 | 12 => self.send_upstream(random, log),
            13 => {
                if let Some(block) = self.block.take() {
                    log.step("unblock");
                    self.element.static_pad("src").unwrap().remove_probe(block);
                } else {
                    log.step("block");
                    let pad = self.element.static_pad("src").unwrap();
                    self.block =
                        pad.add_probe(gst::PadProbeType::BLOCK_DOWNSTREAM, |_, _| gst::PadProbeReturn::Ok);
                }
            }
            14 => {
                let name = *random.pick(&["background-color", "cache-size", "n-threads", "qos"]);
                log.step(name);
                match name {
                    "qos" => self.element.set_property(name, random.one_in(2)),
                    "background-color" => self.element.set_property(name, random.next() as u32),
                    _ => self.element.set_property(name, 1 + random.below(2) as u32),
                }
            }
            _ => {
                let time = Duration::from_micros(random.below(50_000));
                log.step(format!("{time:?}"));
                std::thread::sleep(time);
            }
        }
    }

    fn change_state(&mut self, random: &mut Random, log: &Log) {
        use gst::State::{Null, Paused, Playing, Ready};
        let state = *random.pick(&[Playing, Playing, Playing, Paused, Ready, Null]);
        log.step(format!("{state:?}"));
        log.result(format!("{:?}", self.set_state(state)));
    }

    /// Upstream sends while the pipeline runs, as sources do.
    fn set_state(&mut self, state: gst::State) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        let set = self.pipeline.set_state(state);
        let runs = state >= gst::State::Paused;
        if runs != self.sound.is_running() {
            self.sound.upstream.pad.set_active(runs).unwrap();
            self.sound.upstream.wait();
            if runs {
                self.sound.begin();
            }
        }
        set
    }

    fn send(&mut self, random: &mut Random, log: &Log) {
        let structure = || gst::Structure::builder("application/x-test").field("n", 1).build();
        let sound = &mut self.sound;
        if !sound.is_running() {
            return;
        }
        match random.below(16) {
            0 => {
                sound.format = random.below(SOUNDS.len() as u64) as usize;
                log.step(format!("sound {}", SOUNDS[sound.format].0));
                sound.caps();
            }
            1 => {
                log.step("segment");
                sound.segment();
            }
            2 => {
                let length = gst::ClockTime::from_mseconds(random.below(1500));
                log.step(format!("gap of {length}"));
                sound.event(gst::event::Gap::builder(sound.position).duration(length).build());
                sound.position += length;
            }
            3 => {
                log.step("new stream");
                sound.begin();
            }
            4 => {
                log.step("event");
                let event = *random.pick(&[0, 1, 2, 3, 3, 4]);
                sound.event(match event {
                    0 => gst::event::CustomDownstream::new(structure()),
                    1 => gst::event::CustomDownstreamSticky::new(structure()),
                    3 => utterance_event("start", Some("an utterance")),
                    4 => utterance_event("end", None),
                    _ => gst::event::SegmentDone::new(sound.position),
                });
            }
            5 if random.one_in(3) => {
                // An end that nothing came before is an error, as it must be.
                log.step("sound and end");
                sound.buffer(random);
                sound.event(gst::event::Eos::new());
            }
            6 => {
                sound.position += gst::ClockTime::from_mseconds(random.below(90_000));
                log.step(format!("jump to {}", sound.position));
            }
            7 => {
                log.step("drain");
                sound.upstream.drain();
            }
            _ => {
                log.step("buffer");
                sound.buffer(random);
            }
        }
    }

    fn send_upstream(&self, random: &mut Random, log: &Log) {
        let pad = self.element.static_pad("src").unwrap();
        let event = event_of_downstream(random, self.sound.position);
        log.step(format!("{:?} from downstream", event.type_()));
        pad.send_event(event);
    }
}

fn sequence(random: &mut Random, log: &Log) {
    let mut chain = Chain::new(random, log);
    if !random.one_in(4) {
        log.step("Playing");
        chain.set_state(gst::State::Playing).unwrap();
    }
    for _ in 0..8 + random.below(16) {
        chain.step(random, log);
        assert_no_error(&chain.pipeline.bus().unwrap());
    }
    log.step("stop");
    chain.set_state(gst::State::Null).unwrap();
    chain.pairs.assert_closed();
    assert_no_error(&chain.pipeline.bus().unwrap());
}

#[test]
fn random_sequences() {
    trace_leaks();
    // Keeps the networks open, so that most of the time goes to what is to be tested.
    let _painters = ["own_160", "alpha"].map(|name| {
        let avatar = common::avatar(name);
        Painter::open(&avatar, &Engine::default(), 1).unwrap()
    });
    run(250, sequence);
    println!("{} frames", FRAMES.load(Ordering::SeqCst));
}
