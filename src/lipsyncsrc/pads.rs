//! Pads that come and go, in any state.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::conductor::SoundItem;
use super::imp::{Input, LipsyncSrc};
use super::pacer::Waiter;
use super::senders::SoundState;
use crate::{CAT, lock};

impl LipsyncSrc {
    /// Adds the pad of a template, if it is not there.
    pub(super) fn add_requested(&self, template: &gst::PadTemplate) -> Option<gst::Pad> {
        let (place, pad) = match template.name_template() {
            "sink" => (&self.sinkpad, self.new_sink_pad(template)),
            _ => (&self.audiopad, Self::source_pad(template, Self::send_sound)),
        };
        {
            let mut place = lock(place);
            if place.is_some() {
                gst::warning!(CAT, imp = self, "there is but one pad {}", template.name_template());
                return None;
            }
            *place = Some(pad.clone());
        }
        if pad.direction() == gst::PadDirection::Src {
            pad.set_offset(self.live_settings().audio_offset);
        }
        let running = self.is_running();
        if running {
            let _ = pad.set_active(true);
        }
        if self.obj().add_pad(&pad).is_err() {
            *lock(place) = None;
            return None;
        }
        // Its activation came before it had a parent that could do something about it.
        if running && pad.direction() == gst::PadDirection::Src {
            self.sound.open();
            if self.ended.load(Ordering::SeqCst) {
                self.sound.push(SoundItem::End, usize::MAX);
            }
            self.start_sending(&pad, Self::send_sound).ok()?;
        } else if running {
            self.backlog.set_flushing(false);
        }
        Some(pad)
    }

    /// Removes a requested pad, whatever its thread is doing. Only then another may be requested in its place.
    pub(super) fn remove_requested(&self, pad: &gst::Pad) {
        if pad.direction() == gst::PadDirection::Sink {
            // What has come in is spoken.
            let _ = pad.set_active(false);
            let _ = self.obj().remove_pad(pad);
            *lock(&self.input) = Input::default();
            *lock(&self.sinkpad) = None;
            return;
        }
        self.sound.close();
        self.pacer.send_away(Waiter::Sound);
        let flushed = self.free_from_downstream(pad);
        let _ = pad.set_active(false);
        if let Some(peer) = flushed {
            peer.send_event(gst::event::FlushStop::new(false));
        }
        let _ = self.obj().remove_pad(pad);
        self.sound.clear();
        *lock(&self.sound_state) = SoundState::default();
        *lock(&self.audiopad) = None;
        self.pacer.welcome(Waiter::Sound);
    }

    /// Sees to it that the pad's thread comes back from downstream, which may hold it for ever (a sink in PAUSED does): where it
    /// is not back soon, downstream is flushed. Returns what is to be told when that is over.
    fn free_from_downstream(&self, pad: &gst::Pad) -> Option<gst::Pad> {
        const PIECE: Duration = Duration::from_millis(2);
        const PIECES: usize = 100;
        for _ in 0..PIECES {
            // A probe that blocks lets go of it when the pad is deactivated.
            if !self.sending_sound.load(Ordering::SeqCst) || pad.is_blocking() {
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
