// SPDX-License-Identifier: MPL-2.0
//! The sink pad: the sound that comes in, and what upstream says and asks.

use std::sync::Arc;

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_audio::AudioInfo;
use lipsync_core::limits::GAP_SECONDS;
use lipsync_core::rate::{SECOND, mul_div};

use super::backlog::Sound;
use super::state::{Input, LipsyncSrc, State};
use crate::CAT;
use crate::audio_input::{self, AudioInput};
use crate::clips::Asked;
use crate::ledger::{Mark, Reason};
use crate::utterance::UtteranceEvent;

/// Sound from a live source that waits longer than this, in nanoseconds, is made good in its pauses.
const LIVE_BACKLOG: u64 = 200_000_000;

impl LipsyncSrc {
    /// Puts a buffer into the backlog, its channels interleaved.
    pub fn take_in(&self, pad: &gst::Pad, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let Input { arriving, info, segment, live, is_refused } = self.state().input.clone();
        if is_refused {
            return Ok(gst::FlowSuccess::Ok);
        }
        let fail = |message| {
            self.post_error_message(message);
            gst::FlowError::Error
        };
        let (arriving, info) = arriving.zip(info).ok_or_else(audio_input::no_caps).map_err(fail)?;
        let buffer = audio_input::interleave(buffer, &arriving).map_err(fail)?;
        let buffer = match &segment {
            Some(segment) => {
                gst_audio::audio_buffer_clip(buffer, segment.upcast_ref(), info.rate(), info.bpf())
            }
            None => Some(buffer),
        };
        let Some(buffer) = buffer.filter(|buffer| buffer.size() >= info.bpf() as usize) else {
            return Ok(gst::FlowSuccess::Ok);
        };
        let data = buffer.into_mapped_buffer_readable().map_err(|_| {
            gst::element_imp_error!(self, gst::ResourceError::Read, ("audio buffer cannot be read"));
            gst::FlowError::Error
        })?;
        // A live source with a faster clock than ours would pile up sound for ever.
        if live && self.is_piling_up() && self.is_silent(&info, &data) {
            gst::log!(CAT, obj = pad, "left out {} bytes of silence", data.size());
            return Ok(gst::FlowSuccess::Ok);
        }
        self.add_sound(&info, Sound::Samples(data))?;
        Ok(gst::FlowSuccess::Ok)
    }

    /// Whether more sound of a live source waits than is to.
    fn is_piling_up(&self) -> bool {
        self.state().backlog.length() > LIVE_BACKLOG
    }

    fn is_silent(&self, info: &AudioInfo, data: &[u8]) -> bool {
        let gate = 10f64.powf(self.state().started.silence_level / 20.0) as f32;
        AudioInput::new(info.clone()).read(data).iter().all(|sample| sample.abs() < gate)
    }

    pub fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        use gst::EventView;
        gst::log!(CAT, obj = pad, "event {event:?}");
        if let Some(mark) = UtteranceEvent::of(&event) {
            return self.mark_utterance(mark);
        }
        if let Some(clip) = Asked::by_event(&event) {
            return self.change(|state| state.refusal().is_none() && state.backlog.add_clip(clip));
        }
        match event.view() {
            EventView::FlushStart(_) => {
                self.change(|state| state.flushing.sink = true);
                let _ = self.interrupt_speech();
            }
            EventView::FlushStop(_) => self.change(|state| {
                state.flushing.sink = false;
                state.discards = false;
            }),
            EventView::StreamStart(_) => self.end_input(false),
            EventView::Eos(_) => self.end_input(true),
            EventView::Caps(caps) => match audio_input::format(caps.caps()) {
                Ok(info) => {
                    let live = upstream_is_live(pad);
                    let input = &mut self.state().input;
                    input.is_refused = false;
                    input.info = Some(Arc::new(audio_input::interleaved(&info)));
                    input.arriving = Some(info);
                    input.live = live;
                }
                // The presenter goes on without it. Were it turned away, upstream would end the show with an error.
                Err(error) => {
                    {
                        let input = &mut self.state().input;
                        input.is_refused = true;
                        (input.arriving, input.info) = (None, None);
                    }
                    gst::element_imp_warning!(
                        self,
                        gst::StreamError::Format,
                        ("this sound is not spoken: {error}")
                    );
                }
            },
            EventView::Segment(segment) => {
                self.state().input.segment = segment.segment().downcast_ref().cloned();
            }
            EventView::Gap(gap) => {
                // A gap this long is ignored: no sound after it would ever be played.
                let duration = gap.get().1.filter(|duration| duration.seconds() < GAP_SECONDS);
                return duration.is_none_or(|duration| self.take_in_gap(duration).is_ok());
            }
            // The presenter goes on; what was sent is spoken to its end.
            _ => {}
        }
        true
    }

    /// Takes a mark in the sound; false where no sound would be taken either.
    fn mark_utterance(&self, mark: UtteranceEvent) -> bool {
        let ignored = self.change(|state| {
            if state.refusal().is_some() {
                return Err(());
            }
            // The rest of one that was interrupted ends with it.
            let was_discarding = std::mem::take(&mut state.discards);
            match mark {
                UtteranceEvent::Start(id) => {
                    state.end_utterance(Reason::Finished);
                    let rate = state.input.info.as_ref().map_or(0, |info| info.rate());
                    state.open = state.ledger.open(id, rate);
                    let Some(number) = state.open else { return Ok(Some("there are too many")) };
                    state.backlog.mark(Mark::Start(number));
                }
                UtteranceEvent::End(_) if was_discarding => {}
                UtteranceEvent::End(id) => {
                    let open = state.open.and_then(|open| state.ledger.id(open));
                    if id.is_some_and(|id| open != Some(&id)) {
                        return Ok(Some("it is of one that is not open"));
                    }
                    state.end_utterance(Reason::Finished);
                    state.backlog.mark(Mark::Complete);
                }
            }
            Ok(None)
        });
        if let Ok(Some(reason)) = ignored {
            gst::warning!(CAT, imp = self, "the mark of an utterance is ignored: {reason}");
        }
        ignored.is_ok()
    }

    /// The sound that comes in has ended, and with it an utterance: what follows is another. After an end there is silence for now.
    pub fn end_input(&self, is_complete: bool) {
        self.change(|state| {
            state.discards = false;
            if state.is_stopped {
                return;
            }
            state.end_utterance(Reason::Eos);
            if is_complete {
                state.backlog.mark(Mark::Complete);
            }
        });
    }

    /// Puts a gap of the sound into the backlog: silence.
    fn take_in_gap(&self, duration: gst::ClockTime) -> Result<gst::FlowSuccess, gst::FlowError> {
        let Input { info, live, .. } = self.state().input.clone();
        let Some(info) = info else { return Ok(gst::FlowSuccess::Ok) };
        let frames = mul_div(duration.nseconds(), info.rate().into(), SECOND) as usize;
        // As in [`Self::take_in`].
        if frames == 0 || (live && self.is_piling_up()) {
            return Ok(gst::FlowSuccess::Ok);
        }
        self.add_sound(&info, Sound::Silence(frames))?;
        Ok(gst::FlowSuccess::Ok)
    }

    pub fn sink_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Caps(caps) => {
                let ours = audio_input::caps();
                let audio = self.state().requested.audio.clone();
                let possible = match audio.filter(|audio| audio.is_linked()) {
                    // It goes out as it comes in.
                    Some(audio) => audio_input::of_both_layouts(
                        audio.peer_query_caps(Some(&audio_input::interleaved_caps())),
                    ),
                    None => ours,
                };
                let filter = caps.filter_owned();
                let result = match filter {
                    Some(filter) => filter.intersect_with_mode(&possible, gst::CapsIntersectMode::First),
                    None => possible,
                };
                caps.set_result(&result);
                true
            }
            gst::QueryViewMut::AcceptCaps(accept) if audio_input::is_to_be_told(accept.caps()) => {
                accept.set_result(true);
                true
            }
            // Nothing that upstream sends passes through.
            gst::QueryViewMut::Allocation(_) => false,
            gst::QueryViewMut::Drain(_) => true,
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }
}

impl State {
    /// Ends the utterance that comes in, if there is one.
    fn end_utterance(&mut self, reason: Reason) {
        if let Some(open) = self.open.take() {
            self.backlog.mark(Mark::End(open, reason));
        }
    }
}

/// Whether sound comes in as it is made, by a clock.
fn upstream_is_live(pad: &gst::Pad) -> bool {
    let mut query = gst::query::Latency::new();
    pad.peer_query(&mut query) && query.result().0
}
