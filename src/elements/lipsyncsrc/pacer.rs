//! Waiting for moments on the pipeline's clock.

use std::sync::{Condvar, Mutex};

use gst::prelude::*;

use crate::elements::lock;

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
    /// The clock and the time on it that is running time 0, while playing.
    playing: Option<(gst::Clock, gst::ClockTime)>,
    waiting: Vec<gst::SingleShotClockId>,
}

/// The pacer has been stopped.
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
        state.waiting.drain(..).for_each(|id| id.unschedule());
    }

    /// Wakes everybody for good.
    pub fn stop(&self) {
        let mut state = lock(&self.state);
        state.stopped = true;
        state.playing = None;
        state.waiting.drain(..).for_each(|id| id.unschedule());
        drop(state);
        self.changed.notify_all();
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
    pub fn wait_for_play(&self) -> Result<gst::ClockTime, Stopped> {
        let mut state = lock(&self.state);
        loop {
            if state.stopped {
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
    pub fn wait_until(&self, running_time: gst::ClockTime) -> Result<(), Stopped> {
        loop {
            self.wait_for_play()?;
            let id = {
                let mut state = lock(&self.state);
                let Some((clock, base_time)) = &state.playing else { continue };
                let id = clock.new_single_shot_id(*base_time + running_time);
                state.waiting.push(id.clone());
                id
            };
            let (result, _) = id.wait();
            lock(&self.state).waiting.retain(|other| *other != id);
            if result != Err(gst::ClockError::Unscheduled) {
                return Ok(());
            }
        }
    }
}
