// SPDX-License-Identifier: MPL-2.0
//! The source pad's streaming thread: takes items from the queue, in order, and sends them downstream.

use std::time::{Duration, Instant};

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_video::VideoInfo;

use super::item::{Frame, Item};
use super::state::Lipsync;
use crate::CAT;
use crate::ledger::{Cut, Reason};
use crate::messages::{Interrupted, Stop, post_element, told_structure};
use crate::video_writer::stamp;

/// A pipeline that gets no sound of a file for that long has stalled.
const STALL: Duration = Duration::from_secs(5);

impl Lipsync {
    /// Wakes whoever waits or runs a network, and lets nobody wait again.
    pub fn interrupt(&self) {
        self.queue.stop(gst::FlowError::Flushing);
        if let Some(loaded) = self.loaded() {
            loaded.painter.interrupt();
            if let Some(encoder) = loaded.encoder {
                encoder.interrupt();
            }
        }
        self.writer.set_flushing(true);
    }

    /// Lets work begin again after [`Self::interrupt`].
    pub fn resume(&self) {
        self.writer.set_flushing(false);
        if let Some(encoder) = self.loaded().and_then(|loaded| loaded.encoder) {
            encoder.rearm();
        }
        {
            let mut state = self.state();
            state.has_ended = false;
            state.flow_told = false;
            state.earliest = None;
            state.sent_until = None;
        }
        self.queue.open();
    }

    /// Starts the source pad's task.
    pub fn start_task(&self) -> Result<(), gst::LoggableError> {
        let element = self.obj().downgrade();
        self.srcpad
            .start_task(move || {
                if let Some(element) = element.upgrade() {
                    // A panic becomes an element error; the queue is closed so that upstream sees it.
                    let this = element.imp();
                    let sent = this.catch_panic(
                        || false,
                        |this| {
                            this.send_next();
                            true
                        },
                    );
                    if !sent {
                        this.state().flow_told = true;
                        this.stop_sending(gst::FlowError::Error);
                    }
                }
            })
            .map_err(|_| gst::loggable_error!(CAT, "the source pad's task cannot be started"))
    }

    /// One turn of the source pad's task.
    fn send_next(&self) {
        let item = match self.queue.pop(STALL) {
            Ok(Some(item)) => item,
            Ok(None) => return self.note_stall(),
            Err(_) => {
                let _ = self.srcpad.pause_task();
                // Who has opened the queue meanwhile started a task that was not paused yet.
                if self.queue.flow().is_ok() {
                    let _ = self.start_task();
                }
                return;
            }
        };
        match self.send(item) {
            Ok(()) => {}
            Err(Stop::Flow(flow)) => {
                gst::debug!(CAT, imp = self, "stopping: {flow}");
                if flow == gst::FlowError::Eos {
                    // A sink that has had enough waits for the event.
                    self.send_end();
                }
                self.stop_sending(flow);
                // Upstream gets the flow with its next buffer; after its last one nobody else would tell.
                if self.state().has_ended {
                    self.tell_refusal(flow);
                }
            }
            Err(Stop::Failure(failure)) => {
                self.post_error_message(failure.into_message(self.source().as_deref()));
                self.send_end();
                // To upstream this is an orderly end, so that this message stays the only one.
                self.stop_sending(gst::FlowError::Eos);
            }
        }
    }

    /// Lets nothing through any more. The task is paused first: whoever opens the queue again starts it behind that.
    fn stop_sending(&self, flow: gst::FlowError) {
        let _ = self.srcpad.pause_task();
        self.queue.stop(flow);
    }

    /// Tells the application, once, that downstream refused the video, where upstream has not been told so, and ends it.
    pub fn tell_refusal(&self, flow: gst::FlowError) {
        let fatal = !matches!(flow, gst::FlowError::Flushing | gst::FlowError::Eos);
        if fatal && !std::mem::replace(&mut self.state().flow_told, true) {
            gst::element_imp_error!(self, gst::StreamError::Failed, ("downstream refused the video: {flow}"));
            self.send_end();
        }
    }

    /// Sends an end of our own, as part of what the current segment belongs to.
    fn send_end(&self) {
        self.cut_utterances(Reason::Eos);
        let segment = self.srcpad.sticky_event::<gst::event::Segment>(0);
        let end = gst::event::Eos::builder().seqnum_if_some(segment.map(|segment| segment.seqnum()));
        self.srcpad.push_event(end.build());
    }

    /// Warns, once, where the pipeline stands still because the sound stays away: the other way of a tee is full.
    fn note_stall(&self) {
        if !self.is_starving() || std::mem::replace(&mut self.state().stall_told, true) {
            return;
        }
        gst::element_imp_warning!(
            self,
            gst::StreamError::Failed,
            ("the pipeline stands still: no more sound comes in, and downstream waits for more video. If the sound also goes another way, behind a tee, the queue of that way is full: give it max-size-time=0 max-size-bytes=0 max-size-buffers=0, because a frame waits for sound that comes after it, and encoders of video look further ahead than the queue holds")
        );
    }

    /// Whether the sound should come, but does not. Not so while the application lets the pipeline pause, and not where
    /// sound comes as it is made or sent, by a clock or without a known end.
    fn is_starving(&self) -> bool {
        let runs = match self.obj().current_state() {
            gst::State::Playing => true,
            gst::State::Paused => !self.state().has_played,
            _ => false,
        };
        let mut latency = gst::query::Latency::new();
        let live = self.sinkpad.peer_query(&mut latency) && latency.result().0;
        let has_end = self.sinkpad.peer_query_duration::<gst::ClockTime>().is_some();
        runs && !live && has_end && self.sinkpad.has_current_caps() && !self.state().has_ended
    }

    /// The address of the file that the sound comes from, if upstream knows one.
    fn source(&self) -> Option<String> {
        let mut query = gst::query::Uri::new();
        let answered = self.sinkpad.peer_query(&mut query);
        query.uri().filter(|_| answered).map(Into::into)
    }

    fn send(&self, item: Item) -> Result<(), Stop> {
        match item {
            Item::Event(event) => {
                gst::log!(CAT, imp = self, "sending {event:?}");
                if event.type_() == gst::EventType::Eos {
                    self.post_told(u64::MAX);
                    self.post_progress(true);
                }
                if !self.srcpad.push_event(event.clone())
                    && self.queue.flow() == Err(gst::FlowError::Flushing)
                {
                    // A flush keeps those that are sticky.
                    self.queue.put_back(Item::Event(event));
                }
                Ok(())
            }
            Item::Format(info) => self.send_format(info),
            Item::Frame(frame) => self.send_frame(frame),
            Item::Failure(failure) => Err(Stop::Failure(failure)),
        }
    }

    fn send_format(&self, info: VideoInfo) -> Result<(), Stop> {
        if self.writer.set_format(&self.srcpad, info)? {
            self.forget_picture();
        }
        Ok(())
    }

    /// Forgets the last picture.
    pub fn forget_picture(&self) {
        let last = self.state().last.take();
        drop(last);
    }

    fn send_frame(&self, frame: Frame) -> Result<(), Stop> {
        let mut buffer = match frame.pending {
            Some(pending) => {
                let painted = pending.wait()?;
                let buffer = self.writer.draw(&painted)?;
                self.state().stats.painted(painted.inference);
                buffer
            }
            None => {
                let mut state = self.state();
                let Some(last) = state.last.clone() else {
                    state.stats.skipped();
                    return Ok(());
                };
                state.stats.repeated();
                last
            }
        };
        stamp(&mut buffer, frame.pts, frame.duration, frame.number, frame.number == 0);
        let before = {
            let mut state = self.state();
            state.sent_until = Some(frame.pts + frame.duration);
            state.ledger.play_until(frame.until.nseconds());
            state.progress.add(frame.until.nseconds(), Instant::now());
            state.last.replace(buffer.clone())
        };
        drop(before);
        self.post_told(frame.until.nseconds());
        self.srcpad.push(buffer)?;
        self.post_progress(false);
        Ok(())
    }

    /// Tells what begins or ends with the frame that is shown until that running time.
    fn post_told(&self, until: u64) {
        let told = self.state().ledger.take_told(until, true);
        told.iter().for_each(|told| post_element(&*self.obj(), told_structure(told)));
    }

    /// Ends all utterances with what has been shown, for that reason, and tells so.
    pub fn cut_utterances(&self, reason: Reason) {
        let interrupted = {
            let ledger = &mut self.state().ledger;
            let time = ledger.out_until;
            let had = ledger.has_utterances();
            let (utterance, played) = ledger.cut(Cut::Time(time), time, 0, &[], reason);
            if reason == Reason::Interrupted {
                // A flush: the time begins anew.
                ledger.out_until = 0;
            }
            (had && reason == Reason::Interrupted).then_some(Interrupted {
                utterance,
                played,
                time,
                speech: None,
            })
        };
        if let Some(interrupted) = interrupted {
            post_element(&*self.obj(), interrupted.into_structure());
        }
        self.post_told(u64::MAX);
    }

    /// Tells how far the video is, where that is due, or the last.
    fn post_progress(&self, is_last: bool) {
        if !self.state().progress.is_due(Instant::now(), is_last) {
            return;
        }
        let mut latency = gst::query::Latency::new();
        let Some(position) = self.position() else { return };
        // Who watches that knows how far it is.
        if self.sinkpad.peer_query(&mut latency) && latency.result().0 {
            return;
        }
        let duration = self.sinkpad.peer_query_duration::<gst::ClockTime>();
        let structure = {
            let state = self.state();
            state.progress.structure(position, duration, is_last, state.stats.frames())
        };
        post_element(&*self.obj(), structure);
    }
}
