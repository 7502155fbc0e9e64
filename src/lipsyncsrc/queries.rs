// SPDX-License-Identifier: MPL-2.0
//! What the source pads answer when they are asked, and what they do with events from downstream.
//!
//! Nothing is asked of upstream: what comes in by the pad `sink` is another stream.

use gst::subclass::prelude::*;
use lipsync_core::rate::{FrameRate, SECOND, mul_div};

use super::queues::MOST_WAITING;
use super::state::LipsyncSrc;
use crate::{CAT, video_output};

/// Units per second of the format DEFAULT of a pad: frames, or samples.
type Rate = FrameRate;

/// Where a pad is, in both formats that it counts in.
struct Place {
    time: u64,
    units: u64,
}

fn convert(
    rate: Rate,
    value: gst::GenericFormattedValue,
    to: gst::Format,
) -> Option<gst::GenericFormattedValue> {
    let units = |n: u64| gst::format::Default::from_u64(n);
    match (value, to) {
        (value, to) if value.format() == to => Some(value),
        (gst::GenericFormattedValue::Time(Some(time)), gst::Format::Default) => {
            let second = u64::from(rate.den()) * SECOND;
            Some(units(mul_div(time.nseconds(), rate.num().into(), second)).into())
        }
        (gst::GenericFormattedValue::Default(Some(count)), gst::Format::Time) => {
            Some(gst::ClockTime::from_nseconds(rate.time_of(*count)).into())
        }
        _ => None,
    }
}

impl LipsyncSrc {
    /// What is done with an event from downstream.
    pub fn src_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        use gst::EventView;
        match event.view() {
            // What is played, and when, is not up to downstream; and none of it is upstream's concern.
            EventView::Seek(_) => false,
            EventView::Qos(_)
            | EventView::Latency(_)
            | EventView::Navigation(_)
            | EventView::Reconfigure(_) => true,
            _ => {
                gst::log!(CAT, obj = pad, "event {event:?} goes no further");
                false
            }
        }
    }

    /// Answers a query from downstream.
    pub fn src_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Latency(answer) => {
                let latency = self.latency();
                // What is not taken in time waits for so long before it is dropped.
                answer.set(true, latency, latency + gst::ClockTime::from_nseconds(MOST_WAITING));
                true
            }
            gst::QueryViewMut::Scheduling(answer) => {
                answer.set(gst::SchedulingFlags::SEQUENTIAL, 1, -1, 0);
                answer.add_scheduling_modes([gst::PadMode::Push]);
                true
            }
            gst::QueryViewMut::Position(answer) => {
                let place = self.place(pad);
                let position: gst::GenericFormattedValue = match answer.format() {
                    gst::Format::Time => gst::ClockTime::from_nseconds(place.time).into(),
                    gst::Format::Default => gst::format::Default::from_u64(place.units).into(),
                    _ => return false,
                };
                answer.set(position);
                true
            }
            gst::QueryViewMut::Convert(answer) => {
                let (value, to) = answer.get();
                let converted = self.unit_rate(pad).and_then(|rate| convert(rate, value, to));
                converted.map(|converted| answer.set(value, converted)).is_some()
            }
            gst::QueryViewMut::Formats(answer) => {
                answer.set([gst::Format::Time, gst::Format::Default]);
                true
            }
            gst::QueryViewMut::Seeking(answer) => {
                let format = answer.format();
                let none = gst::GenericFormattedValue::new(format, -1);
                answer.set(false, none, none);
                true
            }
            gst::QueryViewMut::Segment(answer) => {
                answer.set(1.0, gst::ClockTime::ZERO, gst::ClockTime::NONE);
                true
            }
            gst::QueryViewMut::Caps(answer) if *pad == self.srcpad => {
                let image = {
                    let avatars = &self.state().avatars;
                    let ready = avatars.ready.as_ref().map(|ready| &ready.loaded);
                    avatars.playing.as_ref().or(ready).map(|loaded| loaded.avatar.image)
                };
                video_output::answer_caps(answer, image);
                true
            }
            gst::QueryViewMut::Caps(_) | gst::QueryViewMut::AcceptCaps(_) => {
                gst::Pad::query_default(pad, Some(&*self.obj()), query)
            }
            // A live presenter has no duration, and nothing in bytes.
            _ => false,
        }
    }

    /// Where the last frame that went out begins, or where the last sound ends.
    fn place(&self, pad: &gst::Pad) -> Place {
        if *pad == self.srcpad {
            let (time, units) = self.state().video_task.place;
            return Place { time, units };
        }
        let time = self.state().sound_task.end.unwrap_or(0);
        let units = self.unit_rate(pad).map_or(0, |rate| mul_div(time, rate.num().into(), SECOND));
        Place { time, units }
    }

    fn unit_rate(&self, pad: &gst::Pad) -> Option<Rate> {
        if *pad == self.srcpad {
            return self.state().timing.map(|timing| timing.rate);
        }
        let info = self.state().sound_task.info.clone()?;
        FrameRate::new(info.rate(), 1)
    }
}
