// SPDX-License-Identifier: MPL-2.0
//! Waiting for moments on the pipeline's clock.
//!
//! Times are running times: they stand still while the pipeline is paused, and so do those who wait.

use super::state::{LipsyncSrc, State, Waiter};
use gst::prelude::*;

impl State {
    /// Takes out the clock ids of some who wait. They wait no longer when these are unscheduled, which takes the clock's locks.
    #[must_use = "they are to be unscheduled without the lock"]
    fn take_clock_waits(&mut self, whose: impl Fn(Waiter) -> bool) -> Vec<gst::SingleShotClockId> {
        let taken = self.clock_waits.extract_if(.., |(waiter, _)| whose(*waiter));
        taken.map(|(_, id)| id).collect()
    }
}

fn unschedule(ids: Vec<gst::SingleShotClockId>) {
    ids.into_iter().for_each(|id| id.unschedule());
}

impl LipsyncSrc {
    /// The pipeline plays.
    pub fn play(&self, clock: gst::Clock, base_time: gst::ClockTime) {
        let old = self.change(|state| state.playing.replace((clock, base_time)));
        drop(old);
    }

    /// The pipeline is paused: who waits goes on waiting when it plays again.
    pub fn pause(&self) {
        let (old, ids) = self.change(|state| (state.playing.take(), state.take_clock_waits(|_| true)));
        unschedule(ids);
        drop(old);
    }

    /// Wakes everybody, and lets nobody wait until the next start.
    pub fn stop_waiting(&self) {
        let (old, ids) = self.change(|state| {
            state.is_stopped = true;
            (state.playing.take(), state.take_clock_waits(|_| true))
        });
        unschedule(ids);
        drop(old);
    }

    /// Wakes the task of the sound's pad, in whatever state, and lets it neither wait nor send until there is another pad.
    pub fn stop_sound(&self) {
        let ids = self.change(|state| {
            state.flushing.sound = true;
            state.take_clock_waits(|waiter| waiter == Waiter::Sound)
        });
        unschedule(ids);
    }

    /// The running time, while playing.
    pub fn now(&self) -> Option<gst::ClockTime> {
        let playing = self.state().playing.clone();
        playing.map(|(clock, base_time)| clock.time().saturating_sub(base_time))
    }

    /// Waits until the pipeline plays, and returns the running time.
    ///
    /// # Errors
    /// [`gst::FlowError::Flushing`] where one is to wait no longer.
    pub fn wait_for_play(&self, waiter: Waiter) -> Result<gst::ClockTime, gst::FlowError> {
        let mut state = self.state();
        loop {
            if state.is_flushing(waiter) {
                return Err(gst::FlowError::Flushing);
            }
            if let Some((clock, base_time)) = state.playing.clone() {
                drop(state);
                return Ok(clock.time().saturating_sub(base_time));
            }
            state = self.wait(state);
        }
    }

    /// Waits until that running time.
    ///
    /// # Errors
    /// As [`Self::wait_for_play`].
    pub fn wait_until(&self, waiter: Waiter, running_time: gst::ClockTime) -> Result<(), gst::FlowError> {
        loop {
            self.wait_for_play(waiter)?;
            let id = {
                let mut state = self.state();
                // It may have changed meanwhile.
                let Some((clock, base_time)) = &state.playing else { continue };
                if state.is_flushing(waiter) {
                    continue;
                }
                let id = clock.new_single_shot_id(*base_time + running_time);
                state.clock_waits.push((waiter, id.clone()));
                id
            };
            let (result, _) = id.wait();
            self.state().clock_waits.retain(|(_, other)| *other != id);
            if result != Err(gst::ClockError::Unscheduled) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use gst::glib;
    use gst::subclass::prelude::*;

    use super::super::LipsyncSrc;
    use super::*;

    #[test]
    fn one_is_sent_away_and_the_others_go_on_waiting() {
        gst::init().unwrap();
        for playing in [false, true] {
            let element = glib::Object::new::<LipsyncSrc>();
            let this = element.imp();
            drop(this.state().start());
            this.state().flushing.sound = false;
            let clock = gst::SystemClock::obtain();
            if playing {
                this.play(clock.clone(), clock.time());
            }
            let day = gst::ClockTime::from_seconds(86_400);
            std::thread::scope(|scope| {
                let sound = scope.spawn(|| this.wait_until(Waiter::Sound, day));
                let video = scope.spawn(|| this.wait_until(Waiter::Video, day));
                this.stop_sound();
                assert!(sound.join().unwrap().is_err());
                assert!(this.wait_until(Waiter::Sound, day).is_err(), "it is still away");
                this.change(|state| state.flushing.sound = false);
                assert!(!video.is_finished());
                this.stop_waiting();
                assert!(video.join().unwrap().is_err());
            });
        }
    }
}
