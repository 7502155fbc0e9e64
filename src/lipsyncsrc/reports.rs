// SPDX-License-Identifier: MPL-2.0
//! What the application is told: by messages on the bus, and by properties that change.

use std::time::Duration;

use gst::prelude::*;
use gst::subclass::prelude::*;
use lipsync_core::error::Error;

use super::cause::{Situation, cause_of};
use super::frame::{Frame, SpeechEvent};
use super::render_state::Timing;
use super::state::LipsyncSrc;
use crate::CAT;
use crate::ledger::{Told, What};
use crate::messages::{Late, post_element, post_latency, speech_end, speech_start, told_structure};

impl LipsyncSrc {
    /// Tells of the backlog, if it has changed.
    pub fn note_backlog(&self) {
        let changed = {
            let mut state = self.state();
            let length = state.backlog.length();
            std::mem::replace(&mut state.told_backlog, length) != length
        };
        if changed {
            self.obj().notify("backlog");
        }
    }

    /// Takes note of what the latency depends on and tells the pipeline if it has changed.
    pub fn note_timing(&self, timing: Timing) {
        self.change_latency(|| self.state().timing = Some(timing));
    }

    /// Makes a change on which the latency may depend, and tells the pipeline if it has changed.
    pub fn change_latency<T>(&self, change: impl FnOnce() -> T) -> T {
        let before = self.latency();
        let changed = change();
        if self.latency() != before {
            post_latency(&*self.obj());
        }
        changed
    }

    /// Tells what begins or ends with the frame that goes out now, which is shown until that time, in the order in which it happens:
    /// speech begins and ends within its utterance.
    pub fn post_told(&self, speech: &[SpeechEvent], until: u64) {
        let told = {
            let mut state = self.state();
            let is_waiting = state.backlog.has_sound();
            state.ledger.take_told(until, is_waiting)
        };
        let mut told = told.into_iter().peekable();
        for event in speech {
            let is_before = |told: &Told| match *event {
                SpeechEvent::Starts(time) => told.time <= time,
                SpeechEvent::Ends(time, _) => told.time < time,
            };
            while let Some(told) = told.next_if(is_before) {
                self.post_one(&told);
            }
            self.post_speech(*event);
        }
        told.for_each(|told| self.post_one(&told));
    }

    fn post_one(&self, told: &Told) {
        match &told.what {
            What::Start { id } => self.state().shown = Some(id.clone()),
            What::End { id, .. } => {
                self.state().shown.take_if(|shown| shown == id);
            }
            What::Drained | What::Avatar { .. } => {}
        }
        post_element(&*self.obj(), told_structure(told));
    }

    fn post_speech(&self, event: SpeechEvent) {
        let structure = {
            let state = &mut *self.state();
            let utterance = state.shown.as_deref();
            // An interruption ends what may not have begun.
            match (event, state.speaking) {
                (SpeechEvent::Starts(time), None) => {
                    state.speaking = Some(time);
                    speech_start(time, utterance)
                }
                (SpeechEvent::Ends(time, reason), Some(since)) => {
                    state.speaking = None;
                    speech_end(time, since, utterance, reason, state.ledger.rate())
                }
                _ => return,
            }
        };
        let element = self.obj();
        post_element(&*element, structure);
        element.notify("speaking");
    }

    /// Warns of a sample that is no number.
    pub fn warn_of_sample(&self, sample: f32) {
        gst::element_imp_warning!(
            self,
            gst::StreamError::Decode,
            ("the sound has samples that are no finite numbers ({sample}): they are taken for silence. Repair the source, or convert it to an integer format first")
        );
    }

    /// Takes note that the frame of that time is at rest, though somebody speaks.
    pub fn note_unheard(&self, time: u64, error: &Error) {
        gst::debug!(CAT, imp = self, "the sound is not heard: {error}");
        if self.state().told.is_due(cause_of(error), time) {
            gst::element_imp_warning!(
                self,
                gst::StreamError::Failed,
                ("the sound cannot be heard, and the mouth is at rest meanwhile: {error}")
            );
        }
    }

    /// Takes note that the last picture goes out once more because this one cannot be painted.
    pub fn note_failed(&self, frame: &Frame, error: &Error) {
        gst::debug!(CAT, imp = self, "frame {} cannot be painted: {error}", frame.number);
        let is_due = {
            let mut state = self.state();
            state.stats.repeated();
            state.told.is_due(cause_of(error), frame.pts)
        };
        if is_due {
            gst::element_imp_warning!(
                self,
                gst::StreamError::Failed,
                (
                    "frame {} cannot be painted, and the last picture is shown once more: {error}",
                    frame.number
                )
            );
        }
    }

    /// Takes note that the last picture goes out once more because the next one is not ready.
    pub fn note_late(&self, frame: &Frame) {
        let (painted, repeated) = {
            let mut state = self.state();
            state.stats.repeated();
            state.stats.processed_and_dropped()
        };
        let time = gst::ClockTime::from_nseconds(frame.pts);
        Late {
            running_time: time,
            stream_time: Some(time),
            pts: time,
            duration: gst::ClockTime::from_nseconds(frame.duration),
            jitter: frame.duration as i64,
            processed: painted,
            dropped: repeated,
        }
        .post(&*self.obj());
        let pace = frame.painter.pace();
        let duration = Duration::from_nanos(frame.duration);
        let load = pace.load(duration);
        let (declared, least) = {
            let settings = self.settings();
            (settings.common.processing_latency.into(), settings.live.inference_interval)
        };
        let (interval, is_due) = {
            let mut state = self.state();
            if let Some(asked_at) = frame.asked_at {
                state.overload.late(frame.pts, asked_at, least, load);
            }
            (state.overload.interval(least), state.alarm.late(frame.pts))
        };
        if is_due {
            let situation = Situation { pace, frame: duration, declared, least, interval };
            gst::element_imp_warning!(self, gst::ResourceError::Busy, ("{}", situation.sentence()));
        }
    }
}
