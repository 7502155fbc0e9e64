// SPDX-License-Identifier: MPL-2.0
//! Queries of both pads.

use gst::QueryViewMut;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_video::VideoInfo;

use super::state::Lipsync;
use crate::{CAT, audio_input, video_output};

impl Lipsync {
    pub fn sink_query(&self, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            // Answered when all frames are out, so that it goes from this thread without overtaking them.
            QueryViewMut::Drain(_) => {
                let drained = self.with_stream(|stream| self.drain(stream));
                drained.and_then(|_| self.queue.wait_until_sent()).is_ok() && self.srcpad.peer_query(query)
            }
            QueryViewMut::AcceptCaps(accept) if audio_input::is_to_be_told(accept.caps()) => {
                accept.set_result(true);
                true
            }
            // Sound and pictures have no buffers in common.
            QueryViewMut::Allocation(_) => false,
            _ => gst::Pad::query_default(&self.sinkpad, Some(&*self.obj()), query),
        }
    }

    pub fn src_query(&self, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            QueryViewMut::Latency(latency) => {
                let mut upstream = gst::query::Latency::new();
                if !self.sinkpad.peer_query(&mut upstream) {
                    return false;
                }
                let (live, min, max) = upstream.result();
                let own = self.own_latency();
                gst::debug!(CAT, imp = self, "latency: upstream {live} {min} {max:?}, own {own}");
                latency.set(live, min + own, max.map(|max| max + own));
                true
            }
            QueryViewMut::Caps(query) => {
                video_output::answer_caps(query, self.loaded().map(|loaded| loaded.avatar.image));
                true
            }
            QueryViewMut::Position(position) => {
                let answer = self.position().and_then(|time| self.convert(time.into(), position.format()));
                answer.is_some_and(|answer| {
                    position.set(answer);
                    true
                })
            }
            QueryViewMut::Duration(duration) => {
                let time = self.sinkpad.peer_query_duration::<gst::ClockTime>();
                let answer = time.and_then(|time| self.convert(time.into(), duration.format()));
                answer.is_some_and(|answer| {
                    duration.set(answer);
                    true
                })
            }
            QueryViewMut::Convert(query) => {
                let (value, wanted) = query.get();
                self.convert(value, wanted).is_some_and(|converted| {
                    query.set(value, converted);
                    true
                })
            }
            QueryViewMut::Seeking(seeking) if seeking.format() != gst::Format::Time => {
                let unknown = gst::GenericFormattedValue::new(seeking.format(), -1);
                seeking.set(false, unknown, unknown);
                true
            }
            _ => gst::Pad::query_default(&self.srcpad, Some(&*self.obj()), query),
        }
    }

    /// How far the video is that went out, in stream time.
    pub fn position(&self) -> Option<gst::ClockTime> {
        let end = self.state().sent_until;
        let segment = self.srcpad.sticky_event::<gst::event::Segment>(0)?;
        segment.segment().downcast_ref::<gst::ClockTime>()?.to_stream_time(end?)
    }

    /// Times, frames and bytes of the video as each other, once its format is known.
    fn convert(
        &self,
        value: gst::GenericFormattedValue,
        wanted: gst::Format,
    ) -> Option<gst::GenericFormattedValue> {
        if value.format() == wanted {
            return Some(value);
        }
        let info = VideoInfo::from_caps(self.srcpad.current_caps()?.as_ref()).ok()?;
        info.convert_generic(value, wanted)
    }
}
