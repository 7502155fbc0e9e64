// SPDX-License-Identifier: MPL-2.0
//! The pads: how they are made, and those that come and go, in any state.

use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::frame::SoundItem;
use super::state::{Input, LipsyncSrc, SoundTask};
use crate::CAT;

impl LipsyncSrc {
    /// The pad of the video.
    pub fn new_video_pad(template: &gst::PadTemplate) -> gst::Pad {
        Self::new_source_pad(template, |this, _| this.send_video())
    }

    /// A source pad that sends by a task of its own.
    fn new_source_pad(template: &gst::PadTemplate, send: fn(&Self, &gst::Pad)) -> gst::Pad {
        gst::Pad::builder_from_template(template)
            .activatemode_function(move |pad, parent, mode, active| {
                if parent.is_none() {
                    return Ok(());
                }
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::loggable_error!(CAT, "panic while a source pad was activated")),
                    |this| this.activate(pad, mode, active, send),
                )
            })
            .event_function(|pad, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |this| this.src_event(pad, event))
            })
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |this| this.src_query(pad, query))
            })
            .build()
    }

    fn new_sink_pad(template: &gst::PadTemplate) -> gst::Pad {
        gst::Pad::builder_from_template(template)
            .activatemode_function(|_, parent, _, active| {
                // Where it is not active nothing comes in; whoever waits already is sent away.
                if let Some(element) = parent.and_then(|parent| parent.downcast_ref::<super::LipsyncSrc>()) {
                    element.imp().change(|state| state.flushing.sink = !active);
                }
                Ok(())
            })
            .chain_function(|pad, parent, buffer| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |this| this.take_in(pad, buffer),
                )
            })
            .event_function(|pad, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |this| this.sink_event(pad, event))
            })
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |this| this.sink_query(pad, query))
            })
            .build()
    }

    fn activate(
        &self,
        pad: &gst::Pad,
        mode: gst::PadMode,
        active: bool,
        send: fn(&Self, &gst::Pad),
    ) -> Result<(), gst::LoggableError> {
        if mode != gst::PadMode::Push {
            return Err(gst::loggable_error!(CAT, "only push mode is possible"));
        }
        if active {
            self.start_sending(pad, send)
                .map_err(|_| gst::loggable_error!(CAT, "the task of {} cannot be started", pad.name()))
        } else {
            pad.stop_task()
                .map_err(|_| gst::loggable_error!(CAT, "the task of {} cannot be stopped", pad.name()))
        }
    }

    /// Starts a source pad's task; a panic in it becomes an element error.
    fn start_sending(&self, pad: &gst::Pad, send: fn(&Self, &gst::Pad)) -> Result<(), glib::BoolError> {
        let element = self.obj().downgrade();
        let pad_weak = pad.downgrade();
        pad.start_task(move || {
            let (Some(element), Some(pad)) = (element.upgrade(), pad_weak.upgrade()) else { return };
            let sent = element.imp().catch_panic(
                || false,
                |this| {
                    send(this, &pad);
                    true
                },
            );
            if !sent {
                let _ = pad.pause_task();
            }
        })
    }

    /// Adds the pad of a template, if it is not there.
    pub fn add_requested(&self, template: &gst::PadTemplate) -> Option<gst::Pad> {
        let is_sink = template.direction() == gst::PadDirection::Sink;
        let pad = if is_sink {
            Self::new_sink_pad(template)
        } else {
            Self::new_source_pad(template, Self::send_sound)
        };
        let taken = {
            let mut state = self.state();
            let place = if is_sink { &mut state.requested.sink } else { &mut state.requested.audio };
            let taken = place.is_some();
            if !taken {
                *place = Some(pad.clone());
            }
            taken
        };
        if taken {
            gst::warning!(CAT, imp = self, "there is but one pad {}", template.name_template());
            return None;
        }
        if !is_sink {
            let offset = self.settings().live.audio_offset;
            pad.set_offset(offset);
        }
        // Else GStreamer would activate it where the element is about to start, and its task would find that stopped.
        let _ = pad.set_active(true);
        if self.obj().add_pad(&pad).is_err() {
            self.forget_requested(is_sink);
            return None;
        }
        if let Err(error) = self.adjust_activity(&pad) {
            gst::error!(CAT, imp = self, "there is no pad {}: {error}", template.name_template());
            self.remove_requested(&pad);
            return None;
        }
        Some(pad)
    }

    /// Sees to it that a new pad is active exactly while the element runs: where that starts or stops at the same time, it may miss
    /// the pad.
    fn adjust_activity(&self, pad: &gst::Pad) -> Result<(), glib::BoolError> {
        loop {
            let is_running = !self.is_stopped();
            pad.set_active(is_running)?;
            // The first time, it was active before it had a parent that could do something about it.
            if pad.direction() == gst::PadDirection::Sink {
                self.change(|state| state.flushing.sink = !is_running);
            } else if is_running {
                self.open_sound();
                self.start_sending(pad, Self::send_sound)?;
            } else {
                pad.stop_task()?;
            }
            if is_running != self.is_stopped() {
                return Ok(());
            }
        }
    }

    fn forget_requested(&self, is_sink: bool) {
        let pad = {
            let requested = &mut self.state().requested;
            if is_sink { requested.sink.take() } else { requested.audio.take() }
        };
        drop(pad);
    }

    /// Lets sound be queued for its pad, which is new, while the element runs: a start does that by itself.
    fn open_sound(&self) {
        let old = self.change(|state| {
            if state.is_stopped {
                return None;
            }
            let old = std::mem::take(&mut state.sound_queue);
            state.flushing.sound = false;
            if state.has_ended {
                // Nothing is dropped for an end.
                let _ = state.sound_queue.push(SoundItem::End, usize::MAX);
            }
            Some(old)
        });
        drop(old);
    }

    /// Removes a requested pad, whatever its thread is doing. Only then another may be requested in its place.
    pub fn remove_requested(&self, pad: &gst::Pad) {
        let is_sink = pad.direction() == gst::PadDirection::Sink;
        if is_sink {
            // What has come in is spoken.
            let _ = pad.set_active(false);
            let _ = self.obj().remove_pad(pad);
            self.end_input(true);
            self.state().input = Input::default();
        } else {
            self.stop_sound();
            let flushed = self.free_from_downstream(pad);
            let _ = pad.set_active(false);
            if let Some(peer) = flushed {
                peer.send_event(gst::event::FlushStop::new(false));
            }
            let _ = self.obj().remove_pad(pad);
            let old = {
                let mut state = self.state();
                state.sound_task = SoundTask::default();
                std::mem::take(&mut state.sound_queue)
            };
            drop(old);
        }
        self.forget_requested(is_sink);
    }

    /// Sees to it that the pad's thread comes back from downstream, which may hold it for ever (a sink in PAUSED does): where it
    /// is not back soon, downstream is flushed. Returns what is to be told when that is over.
    fn free_from_downstream(&self, pad: &gst::Pad) -> Option<gst::Pad> {
        const PIECE: Duration = Duration::from_millis(2);
        const PIECES: usize = 100;
        for _ in 0..PIECES {
            // A probe that blocks lets go of it when the pad is deactivated.
            if !self.state().is_sending_sound || pad.is_blocking() {
                return None;
            }
            std::thread::sleep(PIECE);
        }
        gst::info!(CAT, obj = pad, "downstream does not let go of the sound: it is flushed");
        let peer = pad.peer()?;
        peer.send_event(gst::event::FlushStart::new());
        Some(peer)
    }
}
