// SPDX-License-Identifier: MPL-2.0
//! What goes through a pad, in order.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use gst::prelude::*;

/// Something that went through.
#[derive(Debug, Clone)]
pub enum Entry {
    /// A buffer with its timestamp and its end.
    Buffer(gst::ClockTime, gst::ClockTime),
    Event(gst::Event),
}

impl Entry {
    /// The event, if it is one of that type.
    pub fn event(&self, kind: gst::EventType) -> Option<&gst::Event> {
        match self {
            Self::Event(event) if event.type_() == kind => Some(event),
            _ => None,
        }
    }

    pub fn is_buffer(&self) -> bool {
        matches!(self, Self::Buffer(..))
    }
}

/// Everything that has gone through a pad since it was watched.
#[derive(Clone, Default)]
pub struct Record(Arc<Mutex<Vec<Entry>>>);

impl Record {
    /// Watches a pad.
    pub fn of(pad: &gst::Pad) -> Self {
        let record = Self::default();
        let entries = record.0.clone();
        let mask =
            gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM | gst::PadProbeType::EVENT_FLUSH;
        pad.add_probe(mask, move |_, info| {
            let entry = match &info.data {
                Some(gst::PadProbeData::Buffer(buffer)) => {
                    let start = buffer.pts().unwrap_or_default();
                    Entry::Buffer(start, start + buffer.duration().unwrap_or_default())
                }
                Some(gst::PadProbeData::Event(event)) => Entry::Event(event.clone()),
                _ => return gst::PadProbeReturn::Ok,
            };
            entries.lock().unwrap().push(entry);
            gst::PadProbeReturn::Ok
        });
        record
    }

    /// What has gone through so far.
    pub fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap().clone()
    }

    /// Takes away what has gone through so far.
    pub fn take(&self) -> Vec<Entry> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }

    /// Buffers so far.
    pub fn buffers(&self) -> usize {
        self.0.lock().unwrap().iter().filter(|entry| entry.is_buffer()).count()
    }

    /// Events of a type so far.
    pub fn events(&self, kind: gst::EventType) -> Vec<gst::Event> {
        self.0.lock().unwrap().iter().filter_map(|entry| entry.event(kind).cloned()).collect()
    }

    /// Waits until something is so.
    pub fn wait_for(&self, what: &str, done: impl Fn(&[Entry]) -> bool) {
        let start = Instant::now();
        while !done(&self.0.lock().unwrap()) {
            assert!(start.elapsed() < Duration::from_secs(60), "no {what} in {:#?}", self.entries());
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Messages of an ended pipeline: those of errors and warnings.
pub fn complaints(pipeline: &gst::Pipeline) -> Vec<String> {
    let kinds = [gst::MessageType::Error, gst::MessageType::Warning];
    let bus = pipeline.bus().unwrap();
    std::iter::from_fn(|| bus.pop_filtered(&kinds))
        .map(|message| match message.view() {
            gst::MessageView::Error(error) => format!("error: {}", error.error()),
            gst::MessageView::Warning(warning) => format!("warning: {}", warning.error()),
            _ => unreachable!("only these were asked for"),
        })
        .collect()
}

/// Waits for one of these messages, a minute at most.
pub fn wait_for_message(pipeline: &gst::Pipeline, kinds: &[gst::MessageType]) -> gst::Message {
    let message = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), kinds);
    message.unwrap_or_else(|| panic!("none of {kinds:?} in a minute"))
}
