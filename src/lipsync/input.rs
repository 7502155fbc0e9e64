// SPDX-License-Identifier: MPL-2.0
//! The sink pad's streaming thread: follows the sound and asks for the frames that it makes possible.

use std::sync::Arc;

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_audio::AudioInfo;
use lipsync_core::avatar::Avatar;
use lipsync_core::avatar::frames::{FrameStore, Shot};
use lipsync_core::error::Error;
use lipsync_core::limits::{GAP_SECONDS, LATEST};
use lipsync_core::picture::formats::Canvas;
use lipsync_core::rate::{FrameRate, SECOND, mul_div};
use lipsync_core::render::painter::MouthRequest;

use super::item::{Frame, Item};
use super::state::Lipsync;
use super::stream::{JITTER, Stream};
use crate::audio_input::{self, AudioInput};
use crate::clips::{Asked, Director};
use crate::ledger::{Reason, Stretch};
use crate::loaded::Loaded;
use crate::messages::{Late, Stop};
use crate::utterance::UtteranceEvent;
use crate::{CAT, video_output};

/// Longer gaps are an error, where an event says that there is one.
const LONGEST_SILENCE: gst::ClockTime = gst::ClockTime::from_seconds(GAP_SECONDS);
/// Longer gaps are not filled with silence: the video has the gap, too.
const LONGEST_GAP: gst::ClockTime = gst::ClockTime::from_seconds(60);
/// Silence is heard in pieces, so that its frames go out in between.
const PIECE: gst::ClockTime = gst::ClockTime::from_seconds(1);

/// A time, unless it is one that no sound has: it is left out, as if none had been given.
fn possible(time: Option<gst::ClockTime>) -> Option<gst::ClockTime> {
    if let Some(time) = time.filter(|time| time.nseconds() > LATEST) {
        gst::warning!(CAT, "no sound is as late as {time}");
        return None;
    }
    time
}

impl Lipsync {
    /// Runs `hear` on the stream and settles what comes of it.
    pub fn with_stream(
        &self,
        hear: impl FnOnce(&mut Stream) -> Result<(), Stop>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.wait_for_stream()?;
        let mut stream = self.stream();
        self.queue.flow()?;
        // Where it could not be loaded, that has been told.
        let stream = stream.as_mut().ok_or(gst::FlowError::Eos)?;
        let heard = hear(stream);
        self.settle(stream, heard)
    }

    /// Hears a buffer.
    pub fn hear_buffer(&self, stream: &mut Stream, buffer: gst::Buffer) -> Result<(), Stop> {
        if stream.failed {
            return Err(gst::FlowError::Eos.into());
        }
        let Some(info) = &stream.info else {
            return Err(Stop::message(audio_input::no_caps()));
        };
        let buffer = audio_input::interleave(buffer, info).map_err(Stop::message)?;
        let (rate, bpf) = (info.rate(), info.bpf());
        if self.srcpad.check_reconfigure() || stream.format.is_none() {
            self.negotiate(stream)?;
        }
        let discont = buffer.flags().contains(gst::BufferFlags::DISCONT);
        let Some(buffer) = gst_audio::audio_buffer_clip(buffer, stream.segment.upcast_ref(), rate, bpf)
        else {
            return Ok(());
        };
        let samples = (buffer.size() / bpf as usize) as u32;
        if samples == 0 {
            return Ok(());
        }
        let pts = possible(buffer.pts()).or(stream.end()).or(stream.drained);
        let pts = pts.or(possible(stream.segment.start())).unwrap_or_default();
        let (jumped, ..) = stream.align.process(discont, pts, samples);
        if jumped {
            self.follow_jump(stream, pts)?;
        }
        if stream.start.is_none() {
            gst::debug!(CAT, imp = self, "sound starts at {pts}");
            stream.start = Some(pts);
        }
        stream.heard = true;
        self.note_sound(stream, pts, samples.into(), rate);
        let map = buffer.map_readable().map_err(|_| {
            Stop::message(gst::error_msg!(gst::ResourceError::Read, ("audio buffer cannot be read")))
        })?;
        if let Some(input) = &mut stream.input {
            stream.listener.push(input.read(&map))?;
        }
        self.ask_for_frames(stream)?;
        if stream.shown > self.settings().last_frame {
            return Err(gst::FlowError::Eos.into());
        }
        Ok(())
    }

    /// Goes on at `pts`, which is not where the sound so far ends.
    fn follow_jump(&self, stream: &mut Stream, pts: gst::ClockTime) -> Result<(), Stop> {
        let Some(end) = stream.end() else { return Ok(()) };
        if pts.max(end) - pts.min(end) < JITTER {
            return Ok(());
        }
        if pts > end && pts - end <= LONGEST_GAP {
            gst::info!(CAT, imp = self, "gap from {end} to {pts} is filled with silence");
            return self.hear_silence(stream, pts);
        }
        gst::warning!(CAT, imp = self, "sound jumps from {end} to {pts}");
        self.drain(stream)
    }

    /// Takes note of sound that belongs to the utterance that comes in.
    fn note_sound(&self, stream: &Stream, pts: gst::ClockTime, samples: u64, rate: u32) {
        let Some(start) = stream.segment.to_running_time(pts) else { return };
        let pace = (f64::from(rate) * stream.segment.rate()).round() as u32;
        let stretch = Stretch { piece: start.nseconds(), offset: 0, samples, rate, pace };
        self.state().ledger.enter(stretch);
    }

    /// Hears silence until the time `until`.
    fn hear_silence(&self, stream: &mut Stream, until: gst::ClockTime) -> Result<(), Stop> {
        while let Some(missing) = stream.end().and_then(|end| until.checked_sub(end)) {
            let piece = missing.min(PIECE);
            stream.listener.push_silence(piece.nseconds())?;
            self.ask_for_frames(stream)?;
            if piece == missing {
                break;
            }
        }
        Ok(())
    }

    /// Hears a gap: silence, so that the video goes on.
    pub fn hear_gap(&self, stream: &mut Stream, gap: &gst::event::Gap) -> Result<(), Stop> {
        if stream.failed {
            return Err(gst::FlowError::Eos.into());
        }
        let (pts, duration) = gap.get();
        if let Some(duration) = duration.filter(|duration| *duration > LONGEST_SILENCE) {
            self.drain(stream)?;
            return Err(Error::audio(
                format!(
                    "a gap in it lasts {}, and at most {LONGEST_SILENCE} are painted",
                    duration.display()
                ),
                "Set the times of the sound right, or cut the gap out",
            )
            .into());
        }
        let Some(pts) = possible(Some(pts)) else { return Ok(()) };
        let stop = duration.map(|duration| pts.saturating_add(duration));
        let Some((pts, Some(stop))) = stream.segment.clip(pts, stop).map(|(a, b)| (a.unwrap_or(pts), b))
        else {
            return Ok(());
        };
        if stream.info.is_none() {
            // A stream may begin with a gap, before it says what its sound will be.
            let info = AudioInfo::builder(
                gst_audio::AUDIO_FORMAT_F32,
                lipsync_core::audio::resample::SAMPLE_RATE,
                1,
            )
            .build()
            .map_err(|_| gst::FlowError::NotNegotiated)?;
            self.set_input(stream, info)?;
        }
        if stream.format.is_none() {
            self.negotiate(stream)?;
        }
        self.follow_jump(stream, pts)?;
        stream.start.get_or_insert(pts);
        stream.heard = true;
        stream.align.mark_discont();
        if let Some(info) = &stream.info {
            let rate = info.rate();
            let samples = mul_div((stop.saturating_sub(pts)).nseconds(), rate.into(), SECOND);
            self.note_sound(stream, pts, samples, rate);
        }
        self.hear_silence(stream, stop)
    }

    /// Takes the format of the sound to come.
    pub fn set_input(&self, stream: &mut Stream, info: AudioInfo) -> Result<(), Stop> {
        if stream.failed {
            return Err(gst::FlowError::Eos.into());
        }
        gst::debug!(CAT, imp = self, "sound is {info:?}");
        let input = AudioInput::new(audio_input::interleaved(&info));
        let rate = info.rate();
        stream.listener.set_input(rate, input.mono_weights())?;
        stream.align.set_rate(rate as i32);
        stream.info = Some(info);
        stream.input = Some(input);
        self.ask_for_frames(stream)?;
        if stream.format.is_none() || self.srcpad.check_reconfigure() {
            self.negotiate(stream)?;
        }
        self.note_latency(&stream.listener, rate);
        Ok(())
    }

    /// Agrees with downstream on format and frame rate.
    fn negotiate(&self, stream: &mut Stream) -> Result<(), Stop> {
        let Loaded { avatar, painter, settings, .. } = self.loaded().ok_or(gst::FlowError::Flushing)?;
        let format = video_output::negotiate(&self.srcpad, &avatar)?;
        let rate = FrameRate::new(format.fps().numer() as u32, format.fps().denom() as u32)
            .ok_or(gst::FlowError::NotNegotiated)?;
        if rate != stream.listener.rate() {
            self.drain(stream)?;
            stream.listener.set_rate(rate)?;
        }
        let pixels = video_output::pixel_format(&format);
        if stream.frames.as_ref().is_none_or(|frames| frames.format() != pixels) {
            let canvas = Canvas { format: pixels, background: settings.background() };
            let store = FrameStore::shared(
                &avatar,
                settings.engine(),
                canvas,
                painter.framing(),
                settings.cache_bytes(),
            );
            stream.frames = Some(store);
        }
        // Also where it is the same as before: those who asked for it may be others, with buffers of their own.
        self.queue.push(Item::Format(format.clone()), 0)?;
        stream.format = Some(format);
        Ok(())
    }

    /// Takes the start of a stream: what was heard of another before is brought to its end first.
    pub fn set_stream(&self, stream: &mut Stream, start: &gst::event::StreamStart) -> Result<(), Stop> {
        let id = start.stream_id();
        if stream.id.as_ref().is_none_or(|before| before.as_str() != id) {
            self.end_utterance(stream, Reason::Eos);
            self.drain(stream)?;
            stream.id = Some(id.into());
        }
        self.pass(stream, video_stream_start(start))
    }

    /// Takes a new segment: what was heard before is brought to its end first.
    pub fn set_segment(&self, stream: &mut Stream, event: gst::Event) -> Result<(), Stop> {
        let gst::EventView::Segment(segment) = event.view() else { return Ok(()) };
        let segment = segment.segment();
        let Some(time) = segment.downcast_ref::<gst::ClockTime>() else {
            return Err(Stop::message(gst::error_msg!(
                gst::StreamError::Format,
                (
                    "what comes in has no timestamps but {:?}. Put a parser or decoder in front: wavparse for a WAV file, decodebin for any other, rawaudioparse for samples without a header",
                    segment.format()
                )
            )));
        };
        if time.rate() <= 0.0 {
            return Err(Stop::message(gst::error_msg!(
                gst::StreamError::NotImplemented,
                ("a face cannot speak backward (rate {}). Play forward", time.rate())
            )));
        }
        // The same once more, as some elements send it with new caps, changes nothing.
        if stream.segment != *time {
            self.drain(stream)?;
            stream.segment = time.clone();
            stream.drained = None;
        }
        // Before the segment, also after a flush, and where nothing but gaps comes.
        if stream.format.is_none() {
            self.negotiate(stream)?;
        }
        self.pass(stream, event)
    }

    /// Sends an event downstream in its place: behind the frames of the sound before it, some of which may wait for
    /// what follows that sound.
    pub fn pass(&self, stream: &mut Stream, event: gst::Event) -> Result<(), Stop> {
        let due = stream.listener.due();
        if stream.listener.told() < due {
            stream.held.push_back((due, event));
            return Ok(());
        }
        self.queue_event(event)
    }

    /// Sends an event that goes before the next frame.
    fn queue_event(&self, event: gst::Event) -> Result<(), Stop> {
        self.state().clips_asked.extend(Asked::by_event(&event));
        self.queue.push(Item::Event(event), 0)?;
        Ok(())
    }

    /// Sends the events that go before frame `number`.
    fn release(&self, stream: &mut Stream, number: u64) -> Result<(), Stop> {
        while let Some((_, event)) = stream.held.front().filter(|(before, _)| *before <= number) {
            // Where the queue is flushing, the flush takes what is still held.
            self.queue_event(event.clone())?;
            stream.held.pop_front();
        }
        Ok(())
    }

    /// Takes a mark in the sound.
    pub fn mark_utterance(
        &self,
        stream: &mut Stream,
        mark: UtteranceEvent,
        event: gst::Event,
    ) -> Result<(), Stop> {
        match mark {
            _ if stream.failed => return Err(gst::FlowError::Eos.into()),
            UtteranceEvent::Start(id) => {
                self.end_utterance(stream, Reason::Finished);
                let mut state = self.state();
                let rate = stream.info.as_ref().map_or(0, AudioInfo::rate);
                stream.utterance = state.ledger.open(id, rate);
                stream.utterance.into_iter().for_each(|number| state.ledger.begin(number));
            }
            UtteranceEvent::End(id) => {
                let open = stream.utterance;
                let is_other = id.is_some_and(|id| {
                    open.is_none_or(|open| self.state().ledger.id(open).is_none_or(|open| open != id))
                });
                if is_other {
                    gst::warning!(CAT, imp = self, "the end of an utterance that is not there is ignored");
                } else {
                    self.end_utterance(stream, Reason::Finished);
                    self.complete(stream)?;
                }
            }
        }
        self.pass(stream, event)
    }

    /// Ends the utterance that comes in, if there is one.
    fn end_utterance(&self, stream: &mut Stream, reason: Reason) {
        let time = stream.running_end().nseconds();
        if let Some(number) = stream.utterance.take() {
            self.state().ledger.end(number, reason, time);
        }
    }

    /// Asks for the frames of all sound heard so far, as if silence followed it: nothing waits for what does.
    fn complete(&self, stream: &mut Stream) -> Result<(), Stop> {
        if stream.start.is_none() || stream.frames.is_none() {
            return Ok(());
        }
        stream.listener.finish()?;
        self.ask_for_frames(stream)?;
        self.release(stream, u64::MAX)?;
        Ok(stream.begin_behind()?)
    }

    /// Brings the sound heard so far to its end: all its frames are asked for, and the next sample is a first one.
    pub fn drain(&self, stream: &mut Stream) -> Result<(), Stop> {
        if stream.start.is_none() || stream.failed {
            return Ok(());
        }
        stream.drained = stream.end();
        stream.listener.finish()?;
        self.ask_for_frames(stream)?;
        self.release(stream, u64::MAX)?;
        stream.listener.reset()?;
        stream.start = None;
        (stream.first, stream.before) = (0, 0);
        Ok(())
    }

    /// Takes the end of the stream.
    pub fn hear_end(&self, stream: &mut Stream, end: gst::Event) -> Result<(), Stop> {
        if stream.failed {
            // The failure on its way ends the stream itself.
            return Ok(());
        }
        self.end_utterance(stream, Reason::Eos);
        self.drain(stream)?;
        // Who begins further on may have gone beyond the end.
        let from_start = stream.segment.start().is_none_or(|start| start.is_zero());
        if !stream.heard && from_start {
            // As parsers and decoders do: otherwise an empty file would make an empty video without a word.
            return Err(Error::audio(
                "the stream ended without a single sample",
                "Check that the file holds sound (gst-discoverer-1.0 tells), or that there is a microphone (gst-device-monitor-1.0 Audio/Source lists them)",
            )
            .into());
        }
        self.queue.push(Item::Event(end), 0)?;
        Ok(())
    }

    /// Asks the painter for every frame whose sound is there, waiting where too many are in work.
    fn ask_for_frames(&self, stream: &mut Stream) -> Result<(), Stop> {
        let (Some(start), Some(frames)) = (stream.start, stream.frames.clone()) else {
            return Ok(());
        };
        let Loaded { avatar, painter, .. } = self.loaded().ok_or(gst::FlowError::Flushing)?;
        let rate = stream.listener.rate();
        let first = stream.first;
        let time_of = |n| start + gst::ClockTime::from_nseconds(rate.time_of(first + n));
        let (first_frame, last_frame) = {
            let settings = self.settings();
            (settings.first_frame, settings.last_frame)
        };
        while stream.shown <= last_frame {
            let is_shown = stream.shown >= first_frame;
            let Some((number, context)) = stream.listener.next(is_shown)? else { break };
            self.release(stream, number)?;
            let (pts, end) = (time_of(number), time_of(number + 1));
            let step = rate.convert_index(stream.shown, avatar.rate);
            stream.shown += 1;
            let Some(running_time) = stream.segment.to_running_time(pts) else {
                continue;
            };
            let late = is_shown && self.note_if_late(running_time, &stream.segment, pts, end - pts);
            let _ = self.obj().sync_values(stream.segment.to_stream_time(pts).unwrap_or_default());
            let shot = self.direct(stream, &avatar, step, number);
            let Some(context) = context else { continue };
            let pending = (!late).then(|| painter.submit(&frames, &shot, MouthRequest::Speech(context)));
            let until = stream.segment.to_running_time(end).unwrap_or(running_time + (end - pts));
            let frame = Frame { pts, duration: end - pts, until, number: first + number, pending };
            self.queue.push(Item::Frame(frame), painter.capacity())?;
        }
        Ok(())
    }

    /// What is shown of the avatar at a step, with the listener's frame of that number.
    fn direct(&self, stream: &mut Stream, avatar: &Arc<Avatar>, step: u64, number: u64) -> Shot {
        let director = stream.director.get_or_insert_with(|| Director::new(avatar.clone()));
        let asked = std::mem::take(&mut self.state().clips_asked);
        let warnings = {
            let settings = &self.settings().common;
            stream.listener.set_emphasis(director.emphasis(settings));
            director.follow(settings, asked)
        };
        if stream.listener.underlines(number) {
            director.emphasize();
        }
        for warning in warnings {
            gst::element_imp_warning!(self, gst::ResourceError::NotFound, ("{warning}"));
        }
        // Sound that comes in is what the avatar says.
        director.shot(step, true)
    }

    /// Whether a frame would come too late to be shown; then it is told on the bus.
    fn note_if_late(
        &self,
        running_time: gst::ClockTime,
        segment: &gst::FormattedSegment<gst::ClockTime>,
        pts: gst::ClockTime,
        duration: gst::ClockTime,
    ) -> bool {
        let (earliest, (processed, dropped)) = {
            let state = self.state();
            (state.earliest, state.stats.processed_and_dropped())
        };
        let Some(earliest) = earliest.filter(|earliest| running_time < *earliest) else { return false };
        if !self.settings().qos {
            return false;
        }
        let jitter = (earliest - running_time).nseconds() as i64;
        let stream_time = segment.to_stream_time(pts);
        Late { running_time, stream_time, pts, duration, jitter, processed, dropped: dropped + 1 }
            .post(&*self.obj());
        true
    }

    /// Turns what stopped the sound into a flow for upstream. A failure goes down the queue behind the frames that
    /// are still good; upstream sees an orderly end, so that one message tells what happened.
    fn settle(
        &self,
        stream: &mut Stream,
        heard: Result<(), Stop>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        match heard {
            Ok(()) => Ok(gst::FlowSuccess::Ok),
            Err(Stop::Flow(flow)) => Err(flow),
            Err(Stop::Failure(failure)) => {
                stream.failed = true;
                self.queue.push(Item::Failure(failure), 0)?;
                Err(gst::FlowError::Eos)
            }
        }
    }
}

/// The start of a video stream that belongs to that of a sound.
fn video_stream_start(sound: &gst::event::StreamStart) -> gst::Event {
    gst::event::StreamStart::builder(&format!("{}/lipsync", sound.stream_id()))
        .seqnum(sound.seqnum())
        .flags(sound.stream_flags())
        .group_id_if_some(sound.group_id())
        .build()
}
