// SPDX-License-Identifier: MPL-2.0
//! `lipsyncsrc` on a clock that the test turns.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;

use super::gst::pipeline;

/// One frame of 25 a second.
pub const FRAME: u64 = 40_000_000;
/// A second.
pub const SECOND: u64 = 1_000_000_000;

/// What came out of a pad.
pub type Received = Arc<Mutex<Vec<gst::Sample>>>;

/// A presenter, what comes out of it, and the time.
pub struct Studio {
    pub pipeline: gst::Pipeline,
    pub element: gst::Element,
    pub input: gst_app::AppSrc,
    clock: gst_check::TestClock,
    pub video: Received,
    pub audio: Received,
    pub now: u64,
    /// The number of frames after which it ends.
    pub most: u64,
    /// Frames that came out and were taken away.
    pub taken: u64,
    /// Number of the frame after those that were taken away.
    taken_to: u64,
    /// Where the sound that was taken away ends.
    taken_until: u64,
    messages: Vec<gst::Message>,
}

/// Collects what comes to the `appsink` of that name.
pub fn collect(pipeline: &gst::Pipeline, name: &str) -> Received {
    let received = Received::default();
    let sink = pipeline.by_name(name).unwrap().downcast::<gst_app::AppSink>().unwrap();
    let collected = received.clone();
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                collected.lock().unwrap().push(sink.pull_sample().map_err(|_| gst::FlowError::Eos)?);
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );
    received
}

impl Studio {
    /// A presenter with these properties and with sound of that format to come, playing at time 0.
    pub fn new(properties: &str, caps: &str) -> Self {
        Self::with_source("appsrc name=in format=time max-bytes=0 max-time=0", properties, caps)
    }

    /// The same with an `appsrc` of one's own.
    pub fn with_source(source: &str, properties: &str, caps: &str) -> Self {
        let pipeline = pipeline(&format!(
            "{source} caps={caps} ! ls.sink \
             lipsyncsrc name=ls {properties} \
             ls.src ! capsfilter name=filter caps=video/x-raw,format=RGB ! appsink name=out sync=false \
             ls.audio ! capsfilter name=heard caps={caps} ! appsink name=sound sync=false"
        ));
        let clock = gst_check::TestClock::new();
        clock.set_time(gst::ClockTime::ZERO);
        pipeline.use_clock(Some(&clock));
        let studio = Self {
            element: pipeline.by_name("ls").unwrap(),
            input: pipeline.by_name("in").unwrap().downcast().unwrap(),
            video: collect(&pipeline, "out"),
            audio: collect(&pipeline, "sound"),
            pipeline,
            clock,
            now: 0,
            most: u64::MAX,
            taken: 0,
            taken_to: 0,
            taken_until: 0,
            messages: Vec::new(),
        };
        studio.pipeline.set_state(gst::State::Playing).unwrap();
        // Else the time might have gone by before the scheduler has looked at it.
        studio.clock.wait_for_next_pending_id();
        studio
    }

    /// Frames that came out.
    pub fn frames(&self) -> u64 {
        self.taken + self.video.lock().unwrap().len() as u64
    }

    /// Number of the frame after those that came out.
    fn seen_to(&self) -> u64 {
        let received = self.video.lock().unwrap();
        received
            .last()
            .map_or(self.taken_to, |sample| sample.buffer().unwrap().pts().unwrap().nseconds() / FRAME + 1)
    }

    /// Where the sound that came out ends.
    fn heard_until(&self) -> u64 {
        let received = self.audio.lock().unwrap();
        received.last().map_or(self.taken_until, |sample| {
            let buffer = sample.buffer().unwrap();
            (buffer.pts().unwrap() + buffer.duration().unwrap()).nseconds()
        })
    }

    /// Takes away what came out: frames and sounds.
    pub fn take(&mut self) -> (Vec<gst::Sample>, Vec<gst::Sample>) {
        self.taken_to = self.seen_to();
        self.taken_until = self.heard_until();
        let video = std::mem::take(&mut *self.video.lock().unwrap());
        self.taken += video.len() as u64;
        (video, std::mem::take(&mut *self.audio.lock().unwrap()))
    }

    /// The declared latency.
    pub fn latency(&self) -> u64 {
        let mut query = gst::query::Latency::new();
        assert!(self.element.static_pad("src").unwrap().query(&mut query));
        let (live, min, max) = query.result();
        assert!(live && max.is_none_or(|max| max >= min));
        min.nseconds()
    }

    /// Turns the clock on to that time, waiting for each frame that is due by then.
    pub fn run_until(&mut self, time: u64) {
        while self.now < time {
            self.step_to((self.now + FRAME / 4).min(time));
        }
    }

    /// Sets the clock to that time, however far ahead, and waits for each frame that is due by then.
    pub fn step_to(&mut self, time: u64) {
        self.now = time;
        self.clock.set_time(gst::ClockTime::from_nseconds(self.now));
        let due = (self.now + FRAME).saturating_sub(self.latency()) / FRAME;
        let heard = self.now.saturating_sub(self.latency());
        self.wait_for("frames", |studio| {
            let enough = studio.seen_to() >= due.min(studio.most);
            // The sound comes in pieces of a frame, the last of which may be cut off.
            enough && (studio.most < u64::MAX || studio.heard_until() + FRAME >= heard)
        });
    }

    /// Sets the clock so far ahead that time is given up: it goes on with a frame of the present, a latency later.
    pub fn leap(&mut self, time: u64) {
        self.now += time;
        self.clock.set_time(gst::ClockTime::from_nseconds(self.now));
        self.run_on(self.latency() + 2 * FRAME);
    }

    /// Turns the clock on by that time, whatever comes out.
    pub fn run_on(&mut self, time: u64) {
        for _ in 0..time.div_ceil(FRAME / 4) {
            self.now += FRAME / 4;
            self.clock.set_time(gst::ClockTime::from_nseconds(self.now));
            // Let the threads see the time that it is.
            std::thread::sleep(Duration::from_millis(1));
            self.wait_for("nothing", |_| true);
        }
    }

    /// Waits until something is so, letting those go on whose time has come.
    pub fn wait_for(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        loop {
            while let Some(id) = self.clock.peek_next_pending_id() {
                if id.time().nseconds() > self.now || self.clock.process_next_clock_id().is_none() {
                    break;
                }
            }
            if done(self) {
                break;
            }
            if start.elapsed() > Duration::from_secs(20) {
                let count = |received: &Received| received.lock().unwrap().len();
                let (frames, sounds) = (count(&self.video), count(&self.audio));
                let (now, complaints) = (self.now, self.complaints());
                panic!("no {what} at {now} ns: {frames} frames, {sounds} sounds, {complaints:?}");
            }
            std::thread::sleep(Duration::from_micros(50));
        }
    }

    /// Sends 16 bit samples.
    pub fn say(&self, samples: &[i16]) {
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_ne_bytes()).collect();
        self.input.push_buffer(gst::Buffer::from_slice(bytes)).unwrap();
    }

    /// Sends 16 bit samples and waits until they have come in.
    pub fn say_now(&mut self, samples: &[i16]) {
        let (begun, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let pad = self.input.static_pad("src").unwrap();
        let sees = begun.clone();
        let probe = pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            sees.store(true, Ordering::SeqCst);
            gst::PadProbeReturn::Ok
        });
        self.say(samples);
        self.wait_for("sound on its way", |_| begun.load(Ordering::SeqCst));
        pad.remove_probe(probe.unwrap());
        let sees = done.clone();
        pad.add_probe(gst::PadProbeType::IDLE, move |_, _| {
            sees.store(true, Ordering::SeqCst);
            gst::PadProbeReturn::Remove
        });
        self.wait_for("sound in the backlog", |_| done.load(Ordering::SeqCst));
    }

    /// Silences the presenter, and returns how much came out.
    pub fn interrupt(&self) -> gst::Structure {
        self.element.emit_by_name("interrupt", &[])
    }

    /// Says that an utterance begins, behind what has been sent.
    pub fn begin(&self, id: &str) {
        let structure = gst::Structure::builder("lipsync-utterance-start").field("id", id).build();
        assert!(self.input.send_event(gst::event::CustomDownstream::new(structure)));
    }

    /// Says that the utterance has ended with what has been sent.
    pub fn end(&self) {
        let structure = gst::Structure::new_empty("lipsync-utterance-end");
        assert!(self.input.send_event(gst::event::CustomDownstream::new(structure)));
    }

    /// What the element has told, by its messages of these names.
    pub fn told(&mut self, names: &[&str]) -> Vec<gst::Structure> {
        let structures = self.messages().iter().filter_map(|message| message.structure());
        let told = structures.filter(|structure| names.iter().any(|name| structure.name() == *name));
        told.map(ToOwned::to_owned).collect()
    }

    /// Messages on the bus since the start.
    pub fn messages(&mut self) -> &[gst::Message] {
        let bus = self.pipeline.bus().unwrap();
        while let Some(message) = bus.pop() {
            self.messages.push(message);
        }
        &self.messages
    }

    /// Forgets the messages so far.
    pub fn forget_messages(&mut self) {
        self.messages.clear();
    }

    /// Starts (true) and ends of speech with their times.
    pub fn speeches(&mut self) -> Vec<(bool, u64)> {
        self.messages()
            .iter()
            .filter_map(|message| {
                let structure = message.structure()?;
                let starts = match structure.name().as_str() {
                    "lipsync-speech-start" => true,
                    "lipsync-speech-end" => false,
                    _ => return None,
                };
                Some((starts, structure.get::<gst::ClockTime>("running-time").unwrap().nseconds()))
            })
            .collect()
    }

    /// Texts of errors and warnings.
    pub fn complaints(&mut self) -> Vec<String> {
        self.messages()
            .iter()
            .filter_map(|message| match message.view() {
                gst::MessageView::Error(error) => Some(error.error().to_string()),
                gst::MessageView::Warning(warning) => Some(warning.error().to_string()),
                _ => None,
            })
            .collect()
    }

    /// Errors and warnings once there are so many: what they are about may be seen before they are posted.
    pub fn wait_for_complaints(&mut self, count: usize) -> Vec<String> {
        self.wait_for_messages(|studio| studio.complaints().len() >= count);
        self.complaints()
    }

    /// Waits for messages, which come one after the other; what is missing in the end, the test is to say.
    pub fn wait_for_messages(&mut self, all: impl Fn(&mut Self) -> bool) {
        let start = Instant::now();
        while !all(self) && start.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The 16 bit samples that came out, from the first on.
    pub fn sound(&self) -> Vec<i16> {
        let received = self.audio.lock().unwrap();
        let bytes: Vec<u8> = received.iter().flat_map(super::gst::bytes).collect();
        bytes.chunks_exact(2).map(|pair| i16::from_ne_bytes([pair[0], pair[1]])).collect()
    }

    /// The pictures that came out.
    pub fn pictures(&self) -> Vec<Vec<u8>> {
        self.video.lock().unwrap().iter().map(super::gst::bytes).collect()
    }

    /// Checks that frame `n` has the time of frame `n`, and that the sound has no hole, also not behind what was taken away.
    pub fn assert_gapless(&self) {
        for (n, sample) in (self.taken_to..).zip(self.video.lock().unwrap().iter()) {
            let buffer = sample.buffer().unwrap();
            assert_eq!(buffer.pts().unwrap().nseconds(), n * FRAME);
            assert_eq!(buffer.flags().contains(gst::BufferFlags::DISCONT), n == 0);
        }
        let mut end = (self.taken_until > 0).then(|| gst::ClockTime::from_nseconds(self.taken_until));
        for sample in self.audio.lock().unwrap().iter() {
            let buffer = sample.buffer().unwrap();
            let pts = buffer.pts().unwrap();
            assert_eq!(pts, end.unwrap_or(pts));
            end = Some(pts + buffer.duration().unwrap());
        }
    }
}

impl Drop for Studio {
    fn drop(&mut self) {
        self.pipeline.set_state(gst::State::Null).unwrap();
    }
}
