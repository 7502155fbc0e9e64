// SPDX-License-Identifier: MPL-2.0
//! How fast workers paint, from what they have painted lately.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// How far back the load is measured.
const WINDOW: Duration = Duration::from_secs(1);
/// The median of so many frames is what a frame takes: one that was held up by something does not count.
const LATEST: usize = 3;

/// How fast workers are at the moment, as one painter of several sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Pace {
    /// What a worker takes for a frame; `None` while too few have been painted.
    pub cost: Option<Duration>,
    /// What it took at best.
    pub best: Option<Duration>,
    /// How many workers there are.
    pub workers: usize,
    /// How many of them the others leave to this painter: their work of the last second is taken off, down to a fair share.
    pub available: f64,
}

impl Pace {
    /// How many frames' time a worker would need for each frame, were this one's every frame painted: at 1 or less they
    /// all can be, at 3 one in three.
    pub fn load(&self, frame: Duration) -> Option<f64> {
        Some(self.cost?.as_secs_f64() / (self.available * frame.as_secs_f64()))
    }
}

/// A frame that the network painted.
struct Done {
    at: Instant,
    painter: u64,
    took: Duration,
}

/// Measures workers that several painters share.
pub struct Meter {
    workers: usize,
    /// Those of the last second, and [`LATEST`] at least.
    done: VecDeque<Done>,
    best: Option<Duration>,
}

impl Meter {
    /// A meter of that many workers, which have painted nothing so far.
    pub fn new(workers: usize) -> Self {
        Self { workers: workers.max(1), done: VecDeque::new(), best: None }
    }

    /// Takes note that a worker took that long for frames of these painters.
    pub fn note(&mut self, at: Instant, painters: &[u64], took: Duration) {
        let Some(took) = took.checked_div(painters.len() as u32) else { return };
        self.best = Some(self.best.map_or(took, |best| best.min(took)));
        self.done.extend(painters.iter().map(|painter| Done { at, painter: *painter, took }));
        while self.done.len() > LATEST && self.done[0].at + WINDOW < at {
            self.done.pop_front();
        }
    }

    /// The pace as that painter sees it.
    pub fn pace(&self, painter: u64, now: Instant) -> Pace {
        let mut latest: Vec<Duration> = self.done.iter().rev().take(LATEST).map(|done| done.took).collect();
        latest.sort_unstable();
        let cost = (latest.len() == LATEST).then(|| latest[LATEST / 2]);
        let others = self.done.iter().filter(|done| done.painter != painter && done.at + WINDOW >= now);
        let busy: Duration = others.clone().map(|done| done.took).sum();
        let mut names: Vec<u64> = others.map(|done| done.painter).collect();
        names.sort_unstable();
        names.dedup();
        let workers = self.workers as f64;
        let left = workers - busy.as_secs_f64() / WINDOW.as_secs_f64();
        let share = workers / (names.len() + 1) as f64;
        Pace { cost, best: self.best, workers: self.workers, available: left.max(share) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Duration = Duration::from_millis(40);

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn one_that_was_held_up_does_not_count() {
        let start = Instant::now();
        let mut meter = Meter::new(2);
        meter.note(start, &[1], ms(30));
        assert_eq!(meter.pace(1, start).load(FRAME), None, "of one frame nothing is known");
        meter.note(start + ms(40), &[1], ms(2000));
        meter.note(start + ms(80), &[1, 1], ms(56));
        let pace = meter.pace(1, start + ms(80));
        assert_eq!((pace.cost, pace.best), (Some(ms(28)), Some(ms(28))));
        assert_eq!((pace.workers, pace.available), (2, 2.0));
        assert!((pace.load(FRAME).unwrap() - 0.35).abs() < 1e-9);
    }

    #[test]
    fn others_leave_what_they_do_not_use() {
        let start = Instant::now();
        let mut meter = Meter::new(2);
        // 25 frames of 20 ms in a second: half a worker.
        (0..25).for_each(|n| meter.note(start + 40 * ms(n), &[7], ms(20)));
        let now = start + ms(960);
        assert_eq!(meter.pace(1, now).available, 1.5);
        assert_eq!(meter.pace(7, now).available, 2.0);
        assert_eq!(meter.pace(1, now + ms(3000)).available, 2.0, "that was long ago");
        // Those that take all are to share it.
        (0..25).for_each(|n| meter.note(start + 40 * ms(n), &[8], ms(200)));
        let third = 2.0 / 3.0;
        assert!((meter.pace(1, now).available - third).abs() < 1e-9);
    }

    #[test]
    fn it_keeps_what_is_recent() {
        let start = Instant::now();
        let mut meter = Meter::new(1);
        (0..100_000).for_each(|n| meter.note(start + 40 * ms(n), &[1], ms(20)));
        assert!(meter.done.len() < 30, "{}", meter.done.len());
    }
}
