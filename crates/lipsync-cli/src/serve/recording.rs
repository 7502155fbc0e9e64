// SPDX-License-Identifier: MPL-2.0
//! A recording: the encoded picture as it is, and the sound as AAC, in an MP4 file.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use gst::prelude::*;
use gst_utils::streamproducer::{ConsumptionLink, StreamProducer};
use lipsync_core::sync::lock;
use tempfile::TempPath;

use super::failure::{Failure, Outcome};
use super::pipeline;
use super::presenter::{Streams, first_error};
use crate::render::output::Output;

/// What finishing a file may take: its index is written at the end, and the file copied once.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(60);

/// What the sound waits for at most: the first picture is a key frame, which is asked for.
const FIRST_PICTURE: Duration = Duration::from_secs(5);

/// A recording in the making. Its file is removed when it is dropped.
pub struct Recording {
    pipeline: gst::Pipeline,
    links: Vec<ConsumptionLink>,
    sources: Vec<gst_app::AppSrc>,
    file: Option<TempPath>,
    start: Arc<Start>,
    began: Instant,
}

/// When the picture begins, so that the sound begins with it.
#[derive(Default)]
struct Start {
    state: Mutex<StartState>,
    changed: Condvar,
}

#[derive(Default)]
struct StartState {
    first_picture: Option<gst::ClockTime>,
    ended: bool,
}

impl Recording {
    /// Begins.
    ///
    /// # Errors
    /// Where an element is missing, or no file can be written.
    pub fn begin(streams: &Streams) -> Outcome<Self> {
        Output::Mp4.require().map_err(Failure::ours)?;
        let file = tempfile::Builder::new().prefix("lipsync-").suffix(".mp4").tempfile();
        let file = file.context("no temporary file can be made for the recording");
        let file = file.map_err(Failure::ours)?.into_temp_path();
        let sound = Output::Mp4.sound().unwrap_or_default();
        let muxer = Output::Mp4.muxer().unwrap_or_default();
        let line = format!(
            "appsrc name=picture ! h264parse ! queue ! film. \
             appsrc name=sound ! audioconvert ! {sound} ! queue ! film. \
             {muxer} name=film ! filesink name=file sync=false async=false"
        );
        let pipeline = pipeline::launch(&line)?;
        pipeline::element::<gst::Element>(&pipeline, "file")?.set_property("location", &*file);
        let sources: Vec<gst_app::AppSrc> =
            vec![pipeline::element(&pipeline, "picture")?, pipeline::element(&pipeline, "sound")?];
        let start = Arc::<Start>::default();
        if let [Some(picture), Some(sound)] = [0, 1].map(|n: usize| sources[n].static_pad("src")) {
            start.watch(&picture);
            start.hold(&sound);
            picture.set_offset(Output::Mp4.picture_delay().nseconds() as i64);
        }
        streams.share_time(&pipeline);
        sources.iter().for_each(StreamProducer::configure_consumer);
        let began = Instant::now();
        let mut recording = Self { pipeline, links: Vec::new(), sources, file: Some(file), start, began };
        if recording.pipeline.set_state(gst::State::Playing).is_err() {
            let sentence = first_error(&recording.pipeline);
            return Err(Failure::ours(sentence.unwrap_or_else(|| "the recording cannot be started".into())));
        }
        // Only now: what comes before would be lost, and with it the key frame that everything else needs.
        for (source, producer) in recording.sources.iter().zip([&streams.picture, &streams.raw_sound]) {
            recording.links.push(producer.add_consumer(source).map_err(Failure::ours)?);
            // A disk that is slow for some seconds costs memory, not pictures.
            source.set_max_time(gst::ClockTime::from_seconds(10));
        }
        Ok(recording)
    }

    /// For how long it has been recorded.
    pub fn length(&self) -> Duration {
        self.began.elapsed()
    }

    /// Why it cannot go on, if so: a full disk.
    pub fn failure(&self) -> Option<String> {
        first_error(&self.pipeline)
    }

    /// Ends it; returns the file, which is removed when it is dropped.
    ///
    /// # Errors
    /// Where nothing was recorded, or the file cannot be written.
    pub fn finish(mut self) -> Outcome<TempPath> {
        self.links.clear();
        let has_picture = lock(&self.start.state).first_picture.is_some();
        self.start.end();
        for source in &self.sources {
            let _ = source.end_of_stream();
        }
        if !has_picture {
            return Err(Failure::conflict("nothing was recorded yet. Stop a moment later"));
        }
        let bus = self.pipeline.bus().ok_or_else(|| Failure::ours("no bus"))?;
        let ends = [gst::MessageType::Eos, gst::MessageType::Error];
        match bus.timed_pop_filtered(PATIENCE, &ends).as_ref().map(|message| message.view()) {
            Some(gst::MessageView::Eos(_)) => {}
            Some(gst::MessageView::Error(error)) => {
                return Err(Failure::ours(format!(
                    "the recording cannot be written: {}",
                    error.error().message()
                )));
            }
            _ => return Err(Failure::ours("the recording does not come to its end")),
        }
        let _ = self.pipeline.set_state(gst::State::Null);
        self.file.take().ok_or_else(|| Failure::ours("the recording has no file"))
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        self.links.clear();
        self.start.end();
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl Start {
    fn end(&self) {
        lock(&self.state).ended = true;
        self.changed.notify_all();
    }

    /// Notes the time of the first picture.
    fn watch(self: &Arc<Self>, picture: &gst::Pad) {
        let start = self.clone();
        picture.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            lock(&start.state).first_picture = running_time(pad, info);
            start.changed.notify_all();
            gst::PadProbeReturn::Remove
        });
    }

    /// Drops the sound from before the first picture.
    fn hold(self: &Arc<Self>, sound: &gst::Pad) {
        let start = self.clone();
        sound.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let waits = |state: &mut StartState| state.first_picture.is_none() && !state.ended;
            let state = start.changed.wait_timeout_while(lock(&start.state), FIRST_PICTURE, waits);
            let first = state.unwrap_or_else(std::sync::PoisonError::into_inner).0.first_picture;
            match (first, running_time(pad, info)) {
                (Some(first), Some(time)) if time >= first => gst::PadProbeReturn::Remove,
                _ => gst::PadProbeReturn::Drop,
            }
        });
    }
}

/// When a buffer is to be shown: an encoder's timestamps begin anywhere (those of x264enc at 1000 hours).
fn running_time(pad: &gst::Pad, info: &gst::PadProbeInfo) -> Option<gst::ClockTime> {
    let event = pad.sticky_event::<gst::event::Segment>(0)?;
    event.segment().downcast_ref::<gst::ClockTime>()?.to_running_time(info.buffer()?.pts()?)
}
