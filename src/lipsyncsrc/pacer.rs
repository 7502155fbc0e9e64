//! Waiting for moments on the pipeline's clock.

use std::sync::{Condvar, Mutex};

use gst::prelude::*;

use crate::lock;

/// Who waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiter {
    Conductor,
    Video,
    Sound,
}

/// The clock while the pipeline plays, and how to wake those who wait for it.
///
/// Times are running times: they stand still while the pipeline is paused, and so do those who wait.
#[derive(Default)]
pub struct Pacer {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    stopped: bool,
    /// Those who are not to wait.
    away: Vec<Waiter>,
    /// The clock and the time on it that is running time 0, while playing.
    playing: Option<(gst::Clock, gst::ClockTime)>,
    waiting: Vec<(Waiter, gst::SingleShotClockId)>,
}

impl State {
    /// Wakes those who wait for a moment.
    fn wake(&mut self, whom: impl Fn(Waiter) -> bool) {
        let (woken, kept) = self.waiting.drain(..).partition(|(waiter, _)| whom(*waiter));
        self.waiting = kept;
        let woken: Vec<(Waiter, gst::SingleShotClockId)> = woken;
        woken.into_iter().for_each(|(_, id)| id.unschedule());
    }
}

/// The pacer has been stopped, or the waiter sent away.
#[derive(Debug)]
pub struct Stopped;

impl Pacer {
    /// Lets waiting be possible again.
    pub fn open(&self) {
        *lock(&self.state) = State::default();
    }

    /// The pipeline plays.
    pub fn play(&self, clock: gst::Clock, base_time: gst::ClockTime) {
        lock(&self.state).playing = Some((clock, base_time));
        self.changed.notify_all();
    }

    /// The pipeline is paused: who waits goes on waiting when it plays again.
    pub fn pause(&self) {
        let mut state = lock(&self.state);
        state.playing = None;
        state.wake(|_| true);
    }

    /// Wakes everybody for good.
    pub fn stop(&self) {
        let mut state = lock(&self.state);
        state.stopped = true;
        state.playing = None;
        state.wake(|_| true);
        drop(state);
        self.changed.notify_all();
    }

    /// Wakes one, in whatever state, and does not let it wait until it is welcome again.
    pub fn send_away(&self, waiter: Waiter) {
        let mut state = lock(&self.state);
        state.away.push(waiter);
        state.wake(|other| other == waiter);
        drop(state);
        self.changed.notify_all();
    }

    /// Lets one wait again.
    pub fn welcome(&self, waiter: Waiter) {
        lock(&self.state).away.retain(|other| *other != waiter);
    }

    /// Whether everybody has been woken for good.
    pub fn is_stopped(&self) -> bool {
        lock(&self.state).stopped
    }

    /// The running time, while playing.
    pub fn now(&self) -> Option<gst::ClockTime> {
        let playing = lock(&self.state).playing.clone();
        playing.map(|(clock, base_time)| clock.time().saturating_sub(base_time))
    }

    /// Waits until the pipeline plays, and returns the running time.
    pub fn wait_for_play(&self, waiter: Waiter) -> Result<gst::ClockTime, Stopped> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped || state.away.contains(&waiter) {
                return Err(Stopped);
            }
            if let Some((clock, base_time)) = state.playing.clone() {
                drop(state);
                return Ok(clock.time().saturating_sub(base_time));
            }
            state = self.changed.wait(state).unwrap_or_else(|e| e.into_inner());
        }
    }

    /// Waits until that running time.
    pub fn wait_until(&self, waiter: Waiter, running_time: gst::ClockTime) -> Result<(), Stopped> {
        loop {
            self.wait_for_play(waiter)?;
            let id = {
                let mut state = lock(&self.state);
                let Some((clock, base_time)) = &state.playing else { continue };
                if state.away.contains(&waiter) {
                    continue;
                }
                let id = clock.new_single_shot_id(*base_time + running_time);
                state.waiting.push((waiter, id.clone()));
                id
            };
            let (result, _) = id.wait();
            lock(&self.state).waiting.retain(|(_, other)| *other != id);
            if result != Err(gst::ClockError::Unscheduled) {
                return Ok(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_sent_away_and_the_others_go_on_waiting() {
        gst::init().unwrap();
        for playing in [false, true] {
            let pacer = Pacer::default();
            let clock = gst::SystemClock::obtain();
            if playing {
                pacer.play(clock.clone(), clock.time());
            }
            let day = gst::ClockTime::from_seconds(86_400);
            std::thread::scope(|scope| {
                let sound = scope.spawn(|| pacer.wait_until(Waiter::Sound, day));
                let video = scope.spawn(|| pacer.wait_until(Waiter::Video, day));
                pacer.send_away(Waiter::Sound);
                assert!(sound.join().unwrap().is_err());
                assert!(pacer.wait_until(Waiter::Sound, day).is_err(), "it is still away");
                pacer.welcome(Waiter::Sound);
                assert!(!video.is_finished());
                pacer.stop();
                assert!(video.join().unwrap().is_err());
            });
        }
    }
}
