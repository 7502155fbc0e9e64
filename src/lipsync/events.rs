// SPDX-License-Identifier: MPL-2.0
//! Events of both pads.

use std::collections::VecDeque;

use gst::EventView;
use gst::prelude::*;
use gst::subclass::prelude::*;
use lipsync_core::error::Error;

use super::item::Item;
use super::state::Lipsync;
use super::stream::Stream;
use crate::ledger::Reason;
use crate::messages::error_message;
use crate::utterance::UtteranceEvent;
use crate::{CAT, audio_input};

impl Lipsync {
    /// Forgets what is under way, but for events that hold until there is another of their kind.
    fn flush(&self, stop: gst::Event) -> Result<(), Error> {
        let held = self.stream().as_mut().map_or(Ok(VecDeque::new()), Stream::flush)?;
        let queued = self.queue.take().into_iter().filter_map(Item::into_event);
        let lost: Vec<gst::Event> = queued.chain(held.into_iter().map(|(_, event)| event)).collect();
        self.cut_utterances(Reason::Interrupted);
        // Only now the pad takes events again.
        self.srcpad.push_event(stop);
        self.keep_sticky(lost);
        self.resume();
        Ok(())
    }

    /// Keeps the sticky events of those that could not be sent: the pad sends them before the next buffer.
    fn keep_sticky(&self, events: impl IntoIterator<Item = gst::Event>) {
        let ends = [gst::EventType::Segment, gst::EventType::Eos];
        for event in events.into_iter().filter(|event| event.is_sticky() && !ends.contains(&event.type_())) {
            let _ = self.srcpad.store_sticky_event(&event);
        }
    }

    /// A new stream begins anew after an end: downstream had had enough, or the sound could not be followed. Whatever was queued
    /// at that point is discarded. (A new segment does not begin anew: it does not undo the EOS that downstream has been sent.)
    fn begin_anew(&self) -> Result<(), Error> {
        let Some(items) = self.queue.reopen_after_end() else { return Ok(()) };
        let held = self.stream().as_mut().map_or(Ok(VecDeque::new()), Stream::flush)?;
        let events = items.into_iter().filter_map(Item::into_event);
        self.keep_sticky(events.chain(held.into_iter().map(|(_, event)| event)));
        self.state().flow_told = false;
        let _ = self.start_task();
        // It may have been deactivated meanwhile, which stops the task that there was then.
        if !self.srcpad.is_active() {
            let _ = self.srcpad.stop_task();
        }
        Ok(())
    }

    pub fn sink_event(&self, event: gst::Event) -> Result<gst::FlowSuccess, gst::FlowError> {
        gst::log!(CAT, imp = self, "event {event:?}");
        if let Some(mark) = UtteranceEvent::of(&event) {
            return self.with_stream(|stream| self.mark_utterance(stream, mark, event));
        }
        let done = |done: bool| if done { Ok(gst::FlowSuccess::Ok) } else { Err(gst::FlowError::Error) };
        match event.view() {
            EventView::FlushStart(_) => {
                self.interrupt();
                let forwarded = self.srcpad.push_event(event);
                let _ = self.srcpad.pause_task();
                done(forwarded)
            }
            EventView::FlushStop(_) => {
                if let Err(error) = self.flush(event) {
                    self.post_error_message(error_message(&error));
                    return Err(gst::FlowError::Error);
                }
                done(self.start_task().is_ok())
            }
            EventView::StreamStart(start) => {
                self.state().has_ended = false;
                if let Err(error) = self.begin_anew() {
                    self.post_error_message(error_message(&error));
                    return Err(gst::FlowError::Error);
                }
                self.with_stream(|stream| self.set_stream(stream, start))
            }
            EventView::Caps(caps) => self.with_stream(|stream| {
                let info = audio_input::format(caps.caps())?;
                self.set_input(stream, info)
            }),
            EventView::Segment(_) => self.with_stream(|stream| self.set_segment(stream, event)),
            EventView::Gap(gap) => self.with_stream(|stream| self.hear_gap(stream, gap)),
            EventView::SegmentDone(_) => self.with_stream(|stream| {
                self.drain(stream)?;
                self.pass(stream, event)
            }),
            EventView::Eos(_) => {
                self.state().has_ended = true;
                match self.with_stream(|stream| self.hear_end(stream, event)) {
                    // The end has been told already, perhaps with what was wrong.
                    Err(gst::FlowError::Eos) => Ok(gst::FlowSuccess::Ok),
                    // Nothing comes after this that could tell upstream.
                    Err(flow) => {
                        self.tell_refusal(flow);
                        Err(flow)
                    }
                    heard => heard,
                }
            }
            // Tags of the sound (its codec, its bit rate) are not those of the video.
            EventView::Tag(tag) if tag.tag().scope() == gst::TagScope::Stream => Ok(gst::FlowSuccess::Ok),
            _ if event.is_serialized() => self.with_stream(|stream| self.pass(stream, event)),
            _ => done(gst::Pad::event_default(&self.sinkpad, Some(&*self.obj()), event)),
        }
    }

    pub fn src_event(&self, event: gst::Event) -> bool {
        match event.view() {
            EventView::Qos(qos) => {
                let (_, _, jitter, timestamp) = qos.get();
                let jitter = gst::ClockTime::from_nseconds(jitter.max(0) as u64);
                self.state().earliest = timestamp.map(|timestamp| timestamp.saturating_add(jitter));
                true
            }
            EventView::Seek(seek) => {
                let (rate, _, start_type, start, ..) = seek.get();
                if rate <= 0.0 {
                    gst::warning!(CAT, imp = self, "a face cannot speak backward");
                    return false;
                }
                // Upstream counts samples or bytes of sound, not frames of video.
                if start_type != gst::SeekType::None && start.format() != gst::Format::Time {
                    gst::warning!(CAT, imp = self, "seeks must be in time, not in {:?}", start.format());
                    return false;
                }
                gst::Pad::event_default(&self.srcpad, Some(&*self.obj()), event)
            }
            _ => gst::Pad::event_default(&self.srcpad, Some(&*self.obj()), event),
        }
    }
}
