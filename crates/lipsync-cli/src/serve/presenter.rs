// SPDX-License-Identifier: MPL-2.0
//! The pipeline of a session: an avatar that never stops, encoded once for everybody.
//!
//! ```text
//! appsrc voice ─▶ lipsyncsrc ─▶ valve ─▶ x264enc ─▶ appsink picture ─▶ viewers, recording
//!                     └───────▶ tee ─▶ opusenc ──▶ appsink sound ───▶ viewers
//!                                └──────────────▶ appsink raw ─────▶ recording
//! ```
//!
//! What the appsinks get goes to pipelines of their own, with the clock and base time of this one, so that a viewer who comes
//! or goes disturbs nobody. While nobody watches, the valve keeps the encoder from working.

use std::path::Path;

use gst::prelude::*;
use gst_utils::streamproducer::{ProducerSettings, StreamProducer};

use super::failure::{Failure, Outcome};
use super::options::Serve;
use super::pipeline;
use super::sound::RATE;

/// What starting a pipeline may take.
const STARTS: gst::ClockTime = gst::ClockTime::from_seconds(30);

/// What is sent.
#[derive(Clone)]
pub struct Streams {
    /// H.264, constrained baseline, one picture a buffer.
    pub picture: StreamProducer,
    /// Opus.
    pub sound: StreamProducer,
    /// S16LE, one channel.
    pub raw_sound: StreamProducer,
    clock: gst::Clock,
    base_time: gst::ClockTime,
}

impl Streams {
    /// Gives a pipeline that consumes them the clock that they are timed by.
    pub fn share_time(&self, pipeline: &gst::Pipeline) {
        pipeline.use_clock(Some(&self.clock));
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(self.base_time);
    }
}

/// The avatar. It stops when it is dropped.
pub struct Presenter {
    pipeline: gst::Pipeline,
    face: gst::Element,
    voice: gst_app::AppSrc,
    valve: gst::Element,
    streams: Streams,
}

impl Presenter {
    /// Starts an avatar.
    ///
    /// # Errors
    /// Where an element is missing, or the avatar cannot be played.
    pub fn start(avatar: &Path, options: &Serve) -> Outcome<Self> {
        let line = format!(
            "appsrc name=voice format=time ! face.sink \
             lipsyncsrc name=face face.src ! video/x-raw,format=I420 ! valve name=valve drop=true drop-mode=forward-sticky-events \
             ! queue max-size-buffers=5 leaky=downstream ! x264enc speed-preset=veryfast tune=zerolatency \
             bitrate={} key-int-max=250 threads=2 ! video/x-h264,profile=constrained-baseline \
             ! h264parse config-interval=-1 ! video/x-h264,stream-format=byte-stream,alignment=au ! appsink name=picture \
             face.audio ! audioconvert ! audioresample ! audio/x-raw,format=S16LE,rate={RATE},channels=1,layout=interleaved \
             ! tee name=sounds \
             sounds. ! queue leaky=downstream ! opusenc bitrate=64000 audio-type=voice ! appsink name=sound \
             sounds. ! queue leaky=downstream ! appsink name=raw",
            options.bitrate
        );
        let pipeline = pipeline::launch(&line)?;
        let producer = |name: &str| {
            let sink: gst_app::AppSink = pipeline::element(&pipeline, name)?;
            // lipsyncsrc has sent it at its time.
            let producer = StreamProducer::with(&sink, ProducerSettings { sync: false });
            sink.set_property("async", false);
            Ok::<_, Failure>(producer)
        };
        let (picture, sound, raw_sound) = (producer("picture")?, producer("sound")?, producer("raw")?);
        let face: gst::Element = pipeline::element(&pipeline, "face")?;
        let valve = pipeline::element(&pipeline, "valve")?;
        let voice: gst_app::AppSrc = pipeline::element(&pipeline, "voice")?;
        face.set_property("avatar", avatar.to_string_lossy().as_ref());
        face.set_property("lookahead", (u64::from(options.lookahead) * 1_000_000 + 500_000).max(92_500_000));
        // What comes is bounded before it comes here, and so nobody waits.
        face.set_property("max-backlog", 3_600_000_000_000_u64);
        let format = gst_audio::AudioInfo::builder(gst_audio::AudioFormat::S16le, RATE, 1).build();
        voice.set_caps(Some(&format.and_then(|format| format.to_caps()).map_err(Failure::ours)?));
        voice.set_max_bytes(0);
        let clock = gst::SystemClock::obtain();
        pipeline.use_clock(Some(&clock));
        let started = pipeline.set_state(gst::State::Playing);
        // Its base time is known when the state change has gone that far; the avatar may still be loading.
        if started.is_err() || pipeline.state(STARTS).0.is_err() {
            let sentence = first_error(&pipeline).unwrap_or_else(|| "the avatar cannot be started".into());
            let _ = pipeline.set_state(gst::State::Null);
            return Err(Failure::unusable(sentence));
        }
        let base_time = pipeline.base_time().unwrap_or_default();
        let streams = Streams { picture, sound, raw_sound, clock, base_time };
        Ok(Self { pipeline, face, voice, valve, streams })
    }

    pub fn streams(&self) -> &Streams {
        &self.streams
    }

    /// Where the elements post what happens.
    pub fn bus(&self) -> Option<gst::Bus> {
        self.pipeline.bus()
    }

    /// The element `lipsyncsrc`.
    pub fn face(&self) -> &gst::Element {
        &self.face
    }

    /// Whether somebody needs the picture.
    pub fn encode(&self, wanted: bool) {
        self.valve.set_property("drop", !wanted);
    }

    /// Says sound, S16LE of [`RATE`], one channel.
    pub fn push(&self, sound: Vec<u8>) -> Outcome<()> {
        let pushed = self.voice.push_buffer(gst::Buffer::from_mut_slice(sound));
        pushed.map(|_| ()).map_err(|_| Failure::conflict("the session has ended. Make another"))
    }

    /// Marks the beginning or the end of an utterance in the sound.
    pub fn mark(&self, what: &str, id: &str) {
        let mark = gst::Structure::builder(format!("lipsync-utterance-{what}")).field("id", id).build();
        self.voice.send_event(gst::event::CustomDownstream::new(mark));
    }

    /// Stops speaking at once; what was played, as the element tells it.
    pub fn interrupt(&self) -> gst::Structure {
        let answer = self.face.emit_by_name::<gst::Structure>("interrupt", &[]);
        // And what has not reached the element yet.
        self.voice.send_event(gst::event::FlushStart::new());
        self.voice.send_event(gst::event::FlushStop::new(false));
        answer
    }

    /// Ends it, also where somebody still holds it.
    pub fn stop(&self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }

    /// Nanoseconds of sound that wait to be spoken.
    pub fn backlog(&self) -> u64 {
        self.face.property("backlog")
    }

    /// From sound that comes in to the picture that shows it.
    pub fn latency(&self) -> Option<gst::ClockTime> {
        let mut query = gst::query::Latency::new();
        let answered = self.face.static_pad("src").is_some_and(|pad| pad.query(&mut query));
        answered.then(|| query.result().1)
    }
}

impl Drop for Presenter {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What went wrong, as the element that failed tells it.
pub fn first_error(pipeline: &gst::Pipeline) -> Option<String> {
    let message = pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
    match message.view() {
        gst::MessageView::Error(error) => Some(error.error().message().to_string()),
        _ => None,
    }
}
