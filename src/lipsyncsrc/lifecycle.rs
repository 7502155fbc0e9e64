// SPDX-License-Identifier: MPL-2.0
//! Starting and stopping.
//!
//! To stop, first everybody is woken (who waits for the state or the clock, the networks, the buffer pool), then the pads are
//! deactivated, then the scheduler is joined.

use gst::subclass::prelude::*;
use lipsync_core::error::Error;

use super::frame::SpeechEvent;
use super::state::{LipsyncSrc, State};
use crate::ledger::{Cut, Reason};

impl LipsyncSrc {
    /// Makes everything ready and starts the scheduler, which waits for an avatar that takes long to load.
    pub fn begin(&self) -> Result<(), Error> {
        self.load()?;
        let started = self.settings().live.clone();
        let ready = {
            let mut state = self.state();
            state.started = started;
            state.avatars.ready.take()
        };
        ready.map_or(Ok(()), |ready| self.start_with(ready))?;
        let old = self.change(State::start);
        drop(old);
        let element = self.obj().clone();
        let schedule = move || {
            // A panic becomes an element error.
            element.imp().catch_panic(|| (), Self::schedule);
        };
        let thread = std::thread::Builder::new()
            .name("lipsync-sched".into())
            .spawn(schedule)
            .map_err(Error::no_thread)?;
        self.state().scheduler = Some(thread);
        self.load_pending();
        Ok(())
    }

    /// Takes back what [`Self::begin`] has begun: no way down from PAUSED will do it.
    pub fn give_up_start(&self) {
        self.stop();
        self.clean_up();
    }

    /// Wakes whoever waits or runs a network, and lets nobody wait again.
    pub fn stop(&self) {
        self.stop_waiting();
        self.writer.set_flushing(true);
        self.interrupt_networks();
    }

    /// Waits for the scheduler and gives everything back, also the avatar.
    pub fn clean_up(&self) {
        let scheduler = self.state().scheduler.take();
        if let Some(scheduler) = scheduler {
            // It has caught its own panic.
            let _ = scheduler.join();
        }
        let queued = {
            let mut state = self.state();
            (std::mem::take(&mut state.video_queue), std::mem::take(&mut state.sound_queue))
        };
        drop(queued);
        self.clear_backlog();
        self.writer.stop();
        self.give_back_avatar();
        let task = {
            let mut state = self.state();
            state.timing = None;
            let dropped = std::mem::take(&mut state.dropped);
            let at = state.ledger.out_until;
            let _ = state.ledger.cut(Cut::Time(0), at, 0, &dropped, Reason::Stopped);
            (state.open, state.discards) = (None, false);
            std::mem::take(&mut state.video_task)
        };
        // In the midst of speech that ends with the last frame that has gone out.
        self.post_told(&[SpeechEvent::Ends(task.place.0, Reason::Stopped)], u64::MAX);
        drop(task);
    }
}
