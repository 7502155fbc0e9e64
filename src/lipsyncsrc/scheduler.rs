// SPDX-License-Identifier: MPL-2.0
//! The scheduler's thread: at each frame's moment it hears what is to be spoken, asks for the picture, and queues picture
//! and sound for the tasks of the source pads.
//!
//! Frame `n` is shown at `t = n / rate` of running time and needs the sound up to `t + lookahead`. Sound may come a frame
//! late, so frame `n` is scheduled at `t + lookahead + 1 frame`; it goes out when it had the processing latency
//! to be painted. Between these two moments it waits in the queue, where an interruption can still change it.

use std::collections::VecDeque;
use std::time::Duration;

use gst::prelude::*;
use gst::subclass::prelude::*;
use lipsync_core::avatar::frames::Shot;
use lipsync_core::error::{Error, caught};
use lipsync_core::features::Context;
use lipsync_core::render::live::Sound;
use lipsync_core::render::painter::{MouthRequest, PendingFrame};

use super::backlog::Piece;
use super::frame::{Frame, SoundItem, SpeechEvent, VideoItem};
use super::queues::{MOST_WAITING, TakenSound};
use super::render_state::{RenderState, Timing};
use super::sound::Position;
use super::state::{LipsyncSrc, Waiter};
use crate::CAT;
use crate::ledger::{Cut, Reason};
use crate::messages::{Interrupted, Stop, post_element};

/// If the scheduler is later than this, it skips frames instead of catching up.
const LOST: u64 = MOST_WAITING;

/// What is wrong with a frame that goes out all the same.
#[derive(Default)]
struct Wrong {
    /// The first sample that is no number.
    sample: Option<f32>,
    /// Why it is at rest, though somebody speaks.
    unheard: Option<(u64, Error)>,
    /// What was asked of the avatar's clips in vain.
    clips: Vec<String>,
}

/// Keeps the audio encoder from running, also where an interruption panics.
struct Interruption<'a>(&'a LipsyncSrc);

impl<'a> Interruption<'a> {
    fn begin(element: &'a LipsyncSrc) -> Self {
        element.state().begin_interruption();
        Self(element)
    }
}

impl Drop for Interruption<'_> {
    fn drop(&mut self) {
        self.0.state().end_interruption();
    }
}

impl LipsyncSrc {
    /// The life of the scheduler's thread.
    pub fn schedule(&self) {
        let is_end = match self.schedule_all() {
            Ok(()) => true,
            Err(Stop::Flow(gst::FlowError::Flushing)) => {
                gst::debug!(CAT, imp = self, "the scheduler stops");
                false
            }
            Err(Stop::Flow(flow)) => {
                gst::element_imp_error!(self, gst::StreamError::Failed, ("the video stopped: {flow}"));
                true
            }
            // A stop interrupts the networks, which is no failure.
            Err(Stop::Failure(_)) if self.is_stopped() => false,
            Err(Stop::Failure(failure)) => {
                self.post_error_message(failure.into_message(None));
                true
            }
        };
        if is_end {
            self.end();
            let render = self.render_state();
            let time = render.as_ref().map_or(0, |render| render.live.rate().time_of(render.next));
            drop(render);
            self.queue_end(time);
        }
    }

    /// Schedules frame after frame until the end of the stream.
    fn schedule_all(&self) -> Result<(), Stop> {
        if self.wait_for_render_state()? {
            while self.schedule_next()? {}
        }
        Ok(())
    }

    /// Waits for an avatar that takes long to load; false at the end of the stream.
    fn wait_for_render_state(&self) -> Result<bool, Stop> {
        if self.render_state().is_some() {
            return Ok(true);
        }
        let ready = self.wait_for_avatar()?;
        if self.is_stopped() {
            return Err(gst::FlowError::Flushing.into());
        }
        let Some(ready) = ready else { return Ok(false) };
        self.change_latency(|| self.start_with(ready))?;
        self.load_pending();
        Ok(true)
    }

    /// Waits for the next frame's moment and schedules it; false at the end of the stream.
    fn schedule_next(&self) -> Result<bool, Stop> {
        let now = self.wait_for_play(Waiter::Scheduler)?.nseconds();
        self.adopt_next_avatar()?;
        self.negotiate()?;
        let (time, timing) = {
            let mut render = self.render_state();
            let render = render.as_mut().ok_or(gst::FlowError::Flushing)?;
            let timing = render.timing();
            self.catch_up(render, timing, now);
            (timing.rate.time_of(render.next), timing)
        };
        self.note_timing(timing);
        let moment = gst::ClockTime::from_nseconds(time + timing.until_scheduled());
        self.wait_until(Waiter::Scheduler, moment)?;
        if self.has_ended() {
            return Ok(false);
        }
        // Dropped where no lock is held.
        let mut spent = Vec::new();
        let _ = self.obj().sync_values(gst::ClockTime::from_nseconds(time));
        let Wrong { sample, unheard, clips } = {
            let mut render = self.render_state();
            let render = render.as_mut().ok_or(gst::FlowError::Flushing)?;
            self.schedule_frame(render, timing, &mut spent)?
        };
        drop(spent);
        if let Some(sample) = sample {
            self.warn_of_sample(sample);
        }
        if let Some((time, error)) = unheard {
            self.note_unheard(time, &error);
        }
        for warning in clips {
            gst::element_imp_warning!(self, gst::ResourceError::NotFound, ("{warning}"));
        }
        self.note_backlog();
        Ok(true)
    }

    /// Goes to the present, where the element comes late to a pipeline that plays or the machine has stood still. Else
    /// the first frame is number 0, also where the start has taken a while: what is within the latency is not late.
    fn catch_up(&self, render: &mut RenderState, timing: Timing, now: u64) {
        let time = timing.rate.time_of(render.next);
        let begun = render.scheduled > 0;
        let due = if begun { timing.until_scheduled() + LOST } else { self.latency().nseconds() };
        if now <= time + due {
            return;
        }
        let lost = timing.rate.frames_covering(now - time);
        if begun {
            gst::warning!(CAT, imp = self, "{lost} frames late: they are left out");
            (0..lost).for_each(|_| self.state().stats.skipped());
        }
        render.next += lost;
        render.discont = true;
        render.live.interrupt();
        render.speech_events.push(SpeechEvent::Ends(time, Reason::Lost));
        render.position = Position::new(render.position.info.clone(), timing.rate.time_of(render.next));
    }

    /// Hears the sound up to what frame `n` needs; a panic is an error, behind which it begins to listen anew.
    fn hear(render: &mut RenderState, n: u64, sound: Sound<'_>) -> Result<Option<Context>, Error> {
        caught(|| render.live.step(n, sound)).unwrap_or_else(|panic| {
            render.live.interrupt();
            render.speech_events.push(SpeechEvent::Ends(render.live.rate().time_of(n), Reason::Lost));
            let avatar = &render.loaded.avatar;
            let model = avatar.audio_encoder.clone().unwrap_or_else(|| avatar.generator.clone());
            Err(Error::inference(model, format!("the sound is not heard: {panic}")))
        })
    }

    /// Hears what frame `next` needs, and asks for its picture. Returns what is wrong with it. What is used up of the backlog
    /// goes into `spent`.
    fn schedule_frame(
        &self,
        render: &mut RenderState,
        timing: Timing,
        spent: &mut Vec<Piece>,
    ) -> Result<Wrong, Stop> {
        let Some(frames) = render.frames.clone() else { return Err(gst::FlowError::NotNegotiated.into()) };
        let n = render.next;
        let (pts, end) = (timing.rate.time_of(n), timing.rate.time_of(n + 1));
        if render.scheduled == 0
            && let Some(info) = self.input_format()
        {
            // So early the sound that comes in may still say of what format the silence before it is to be.
            render.position.info = info;
        }
        let TakenSound { chunk, ends, clips } =
            self.take_sound(&mut render.position, pts + timing.lookahead, spent);
        render.clips.extend(clips);
        if chunk.info.as_ref() != render.input.info() {
            gst::debug!(CAT, imp = self, "sound is {:?}", chunk.info);
            render.set_input(chunk.info.clone())?;
        }
        let mut samples = render.input.read(&chunk.bytes).to_vec();
        let broken = samples.iter().copied().find(|sample| !sample.is_finite());
        let broken = broken.filter(|_| !std::mem::replace(&mut render.warned, true));
        samples.iter_mut().filter(|sample| !sample.is_finite()).for_each(|sample| *sample = 0.0);
        ends.into_iter().for_each(|end| render.live.end_speech(end));
        let mut unheard = None;
        let heard = Self::hear(render, n, Sound { start: chunk.start, samples: &samples });
        let context = heard.unwrap_or_else(|error| {
            // Who interrupts waits for this frame to be scheduled, and silences it then.
            if !matches!(error, Error::Interrupted) {
                unheard = Some((pts, error));
            }
            None
        });
        if self.is_stopped() {
            // Which interrupts the encoder.
            return Err(gst::FlowError::Flushing.into());
        }
        if !chunk.bytes.is_empty() {
            self.queue_sound(chunk, timing.rate);
        }
        let mut speech_events = std::mem::take(&mut render.speech_events);
        speech_events.extend(render.live.speech_events(n).into_iter().map(SpeechEvent::from));
        let painter = render.loaded.painter.clone();
        let step = timing.rate.convert_index(render.shown, render.loaded.avatar.rate);
        let interval = self.next_interval(pts, painter.pace().load(Duration::from_nanos(end - pts)));
        let due = render.held.is_none_or(|held| held + 1 >= interval);
        let (request, asked_at, held) = match context {
            Some(context) if due => (MouthRequest::Speech(context), Some(interval), Some(0)),
            Some(_) => (MouthRequest::Repeat, None, render.held.map(|held| held + 1)),
            // Once painted, or not at all.
            None => (MouthRequest::Rest, None, None),
        };
        render.held = held;
        let (shot, clips) = self.direct(render, n, step);
        let pending = painter.submit(&frames, &shot, request);
        let frame = Frame {
            pts,
            duration: end - pts,
            number: n,
            discont: std::mem::replace(&mut render.discont, false),
            pending,
            asked_at,
            shot,
            frames,
            painter,
            speech_events,
        };
        render.next += 1;
        render.shown += 1;
        render.scheduled += 1;
        self.queue_frame(render, frame, timing.rate);
        Ok(Wrong { sample: broken, unheard, clips })
    }

    /// What is shown of the avatar with frame `n`, which is at that step of its own, and warnings about clips that it does not have.
    fn direct(&self, render: &mut RenderState, n: u64, step: u64) -> (Shot, Vec<String>) {
        let RenderState { director, live, clips, .. } = render;
        let mut asked = std::mem::take(&mut self.state().clips_asked);
        let time = live.rate().time_of(n);
        while clips.front().is_some_and(|(begins, _)| *begins <= time) {
            asked.extend(clips.pop_front().map(|(_, clip)| clip));
        }
        let warnings = {
            let settings = &self.settings().common;
            live.set_emphasis(director.emphasis(settings));
            director.follow(settings, asked)
        };
        if live.underlines(n) {
            director.emphasize();
        }
        (director.shot(step, live.is_speaking()), warnings)
    }

    /// Drops everything queued and in flight: the mouth closes, the sound falls silent. Tells, and returns, how much has come out. Does
    /// not wait for the audio encoder, which may take long or hang: its run is cancelled.
    pub fn interrupt_speech(&self) -> gst::Structure {
        let interruption = Interruption::begin(self);
        let mut render = self.render_state();
        let (interrupted, pieces, called_off) = self.silence_queues(render.as_mut());
        // Before the next frame is scheduled, which is to be heard.
        drop(interruption);
        drop(render);
        drop((pieces, called_off));
        self.note_backlog();
        let structure = interrupted.into_structure();
        post_element(&*self.obj(), structure.clone());
        structure
    }

    /// Silences all that has not gone out, at one moment for both pads, and returns what has been said until then, and what is to be
    /// dropped without locks.
    fn silence_queues(
        &self,
        render: Option<&mut RenderState>,
    ) -> (Interrupted, VecDeque<Piece>, Vec<PendingFrame>) {
        let mut called_off = Vec::new();
        let mut guard = self.state();
        let state = &mut *guard;
        let pieces = state.clear_backlog();
        // What is still on its way of an utterance that is cut off is not said either.
        state.discards = state.discards || state.open.take().is_some();

        let mut cut = None;
        // What the frames that went out have told to be over comes out.
        let promised = state.ledger.promised;
        for chunk in state.sound_queue.items_mut().iter_mut().filter_map(SoundItem::chunk_mut) {
            if cut.is_some() {
                chunk.silence();
            } else if chunk.end() > promised {
                let heard = chunk.fade_out(promised);
                cut = Some((Cut::Piece(chunk.start, heard), chunk.time_of(heard)));
            }
        }
        let first_frame = state.video_queue.items().iter().find_map(VideoItem::frame).map(|frame| frame.pts);
        let (cut, time) = match cut {
            Some(cut) => cut,
            // Nothing that has been taken up is still to come.
            None if !state.is_flushing(Waiter::Sound) => {
                (Cut::Time(promised), state.ledger.out_until.max(promised))
            }
            // Nobody listens: what is heard is what is shown.
            None => {
                let time = first_frame.unwrap_or(state.ledger.out_until);
                (Cut::Time(time), time)
            }
        };

        // What has begun or ended until then is told all the same.
        let mut speaking = None;
        let mut events = Vec::new();
        for frame in state.video_queue.items_mut().iter_mut().filter_map(VideoItem::frame_mut) {
            let request = if called_off.is_empty() { MouthRequest::Closing } else { MouthRequest::Rest };
            let pending = frame.painter.resubmit(&frame.pending, &frame.frames, &frame.shot, request);
            called_off.push(std::mem::replace(&mut frame.pending, pending));
            frame.asked_at = None;
            events.append(&mut frame.speech_events);
        }
        if let Some(render) = render {
            render.live.interrupt();
            render.held = None;
            render.clips.clear();
            events.append(&mut render.speech_events);
            events.retain(|event| event.time() < time);
            speaking = events.iter().fold(state.speaking, |since, event| match event {
                SpeechEvent::Starts(time) => since.or(Some(*time)),
                SpeechEvent::Ends(..) => None,
            });
            events.push(SpeechEvent::Ends(time, Reason::Interrupted));
            let first = state.video_queue.items_mut().iter_mut().find_map(VideoItem::frame_mut);
            *first.map_or(&mut render.speech_events, |frame| &mut frame.speech_events) = events;
        }
        let dropped = std::mem::take(&mut state.dropped);
        let (utterance, played) = state.ledger.cut(cut, time, 0, &dropped, Reason::Interrupted);
        let speech = Some(speaking.map_or(0, |since| time.saturating_sub(since)));
        drop(guard);
        // Who waits to add sound waits no longer.
        self.notify_changed();
        (Interrupted { utterance, played, time, speech }, pieces, called_off)
    }
}
