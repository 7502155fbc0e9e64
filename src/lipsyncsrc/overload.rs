// SPDX-License-Identifier: MPL-2.0
//! What to do while the machine paints more slowly than the video plays: a new mouth comes only in every second, third, ...
//! frame, and is held in between. That number is the interval.
//!
//! The load is what a mouth takes at the moment, divided by what the workers have time for in a frame
//! ([`lipsync_core::render::pace::Pace::load`]): the interval that can be kept up is the load, rounded up.
//!
//! * Only frames that are to have a new mouth count, and only those asked for since the interval last changed: the others
//!   repeat what is late, or were asked for before it was known.
//! * **Up**: with two of the last [`LATEST`] late, to the load at once if the interval is below it. Where the load does not
//!   explain it (the machine does other things, or painting takes longer than is declared), with half of them late, by one,
//!   and no further than one above the load: more would not help.
//! * **Down**: when no such frame has been late for the trial time, to the load at once, with a tenth to spare.
//! * The trial time is [`TRIAL`]. If the interval must go up within [`PROBATION`] after it went down, the machine was not
//!   free yet: the trial time doubles, up to [`LONGEST_TRIAL`]. When it stays down for longer, it is short again.
//!
//! All times are running times of frames, so that nothing depends on another clock than the pipeline's.

use std::collections::VecDeque;

use lipsync_core::rate::SECOND;

/// A mouth is held for at most so many frames.
pub const LONGEST_INTERVAL: u32 = 25;
/// Late frames are counted among this many of the latest frames with a new mouth.
const LATEST: usize = 8;
/// Without a late frame for that time, painting becomes more frequent again, in nanoseconds.
const TRIAL: u64 = 2 * SECOND;
const LONGEST_TRIAL: u64 = 32 * SECOND;
/// For so long after it has become more frequent a late frame says that it was too early.
const PROBATION: u64 = 5 * SECOND;
/// So many frames must have been in time before painting becomes more frequent.
const PROOF: u32 = 3;
/// Room to spare where painting becomes more frequent.
const SPARE: f64 = 1.1;

/// The interval between painted frames, as the machine allows.
pub struct Overload {
    /// What the machine allows; what the user wants at least is beside it.
    interval: u32,
    /// Of the latest frames with a new mouth, whether each was late.
    latest: VecDeque<bool>,
    in_time: u32,
    /// Since when no frame was late and the interval has not changed.
    calm_since: u64,
    trial: u64,
    /// When the interval last went down, while that is on probation.
    lowered: Option<u64>,
}

impl Default for Overload {
    fn default() -> Self {
        Self { interval: 1, latest: VecDeque::new(), in_time: 0, calm_since: 0, trial: TRIAL, lowered: None }
    }
}

fn whole(load: f64) -> u32 {
    (load.ceil() as u32).clamp(1, LONGEST_INTERVAL)
}

impl Overload {
    /// The interval now, which is at least `least`.
    pub fn interval(&self, least: u32) -> u32 {
        self.interval.max(least)
    }

    /// The interval for the frame of that time, lower than before if the machine has proved to be free.
    pub fn next(&mut self, now: u64, least: u32, load: Option<f64>) -> u32 {
        let target = load.map_or(self.interval, |load| whole(load * SPARE));
        if target < self.interval && self.in_time >= PROOF && now >= self.calm_since + self.trial {
            self.change(now, target);
            self.lowered = Some(now);
        }
        if self.lowered.is_some_and(|lowered| now > lowered + PROBATION) {
            self.lowered = None;
            self.trial = TRIAL;
        }
        self.interval(least)
    }

    /// A frame with a new mouth, asked for at that interval, was ready in time.
    pub fn in_time(&mut self, asked_at: u32, least: u32) {
        if asked_at == self.interval(least) {
            self.note(false);
            self.in_time += 1;
        }
    }

    /// A frame of that time with a new mouth, asked for at that interval, was not ready in time.
    pub fn late(&mut self, now: u64, asked_at: u32, least: u32, load: Option<f64>) {
        let interval = self.interval(least);
        if asked_at != interval {
            return;
        }
        self.note(true);
        self.in_time = 0;
        self.calm_since = self.calm_since.max(now);
        let late = self.latest.iter().filter(|late| **late).count();
        let sustainable = load.map_or(interval, whole);
        let needed = match late {
            2.. if sustainable > interval => sustainable,
            n if n >= LATEST / 2 && interval <= sustainable => (interval + 1).min(LONGEST_INTERVAL),
            _ => return,
        };
        if needed == interval {
            return;
        }
        if self.lowered.take().is_some() {
            self.trial = (2 * self.trial).min(LONGEST_TRIAL);
        }
        self.change(now, needed);
    }

    fn note(&mut self, late: bool) {
        self.latest.push_back(late);
        if self.latest.len() > LATEST {
            self.latest.pop_front();
        }
    }

    fn change(&mut self, now: u64, interval: u32) {
        self.interval = interval;
        self.latest.clear();
        self.in_time = 0;
        self.calm_since = self.calm_since.max(now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use lipsync_core::render::pace::Meter;

    const FRAME: u64 = 40_000_000;
    /// Declared for painting, and what is waited for a late picture beyond it.
    const PROCESSING: u64 = 100_000_000;
    const PATIENCE: u64 = FRAME / 2;

    /// What happened to a frame of the simulated time line.
    struct Shown {
        interval: u32,
        /// With a new mouth: whether it was in time.
        painted: Option<bool>,
    }

    /// Workers that take `cost(t)` nanoseconds for a mouth begun at `t`, first come, first served, for 25 frames a second.
    /// What is late and not begun is called off, as the element does.
    fn simulate(seconds: u64, workers: usize, least: u32, cost: impl Fn(u64) -> u64) -> Vec<Shown> {
        let start = Instant::now();
        let mut meter = Meter::new(workers);
        let mut overload = Overload::default();
        let mut free = vec![0u64; workers];
        let mut shown: Vec<Shown> = Vec::new();
        // Of the frames still under way: time, interval, when painted.
        let mut under_way: VecDeque<(u64, u32, Option<u64>)> = VecDeque::new();
        let mut finished: Vec<(u64, u64)> = Vec::new();
        let mut held = u32::MAX;
        for n in 0..seconds * 25 {
            let now = n * FRAME;
            finished.sort_unstable();
            while finished.first().is_some_and(|(end, _)| *end <= now) {
                let (end, took) = finished.remove(0);
                meter.note(start + Duration::from_nanos(end), &[1], Duration::from_nanos(took));
            }
            let pace = meter.pace(1, start + Duration::from_nanos(now));
            let load = pace.load(Duration::from_nanos(FRAME));
            while under_way.front().is_some_and(|(time, ..)| time + PROCESSING + PATIENCE <= now) {
                let Some((time, asked_at, end)) = under_way.pop_front() else { break };
                let in_time = end.is_some_and(|end| end <= time + PROCESSING + PATIENCE);
                if in_time {
                    overload.in_time(asked_at, least);
                } else {
                    overload.late(time, asked_at, least, load);
                }
                shown[(time / FRAME) as usize].painted = Some(in_time);
            }
            let interval = overload.next(now, least, load);
            held = held.saturating_add(1);
            if held >= interval {
                held = 0;
                let worker = free.iter_mut().min().unwrap();
                let begin = now.max(*worker);
                let end = (begin < now + PROCESSING + PATIENCE).then(|| begin + cost(begin));
                if let Some(end) = end {
                    *worker = end;
                    finished.push((end, end - begin));
                }
                under_way.push_back((now, interval, end));
            }
            shown.push(Shown { interval, painted: None });
        }
        shown
    }

    fn intervals(shown: &[Shown], from: u64, to: u64) -> Vec<u32> {
        shown[(from * 25) as usize..(to * 25) as usize].iter().map(|shown| shown.interval).collect()
    }

    #[test]
    fn a_machine_that_is_fast_enough_paints_every_frame() {
        // With a hiccup of 0.3 s in every ten.
        let shown =
            simulate(60, 2, 1, |t| if t / 1_000_000 % 10_000 < 40 { 300_000_000 } else { 25_000_000 });
        let often = shown.iter().filter(|shown| shown.interval == 1).count();
        assert!(often * 10 >= shown.len() * 8, "{often} of {}", shown.len());
        assert!(shown.iter().all(|shown| shown.interval <= 8));
    }

    #[test]
    fn a_burst_is_over_soon_after_it() {
        for (workers, slow) in [(1, 5), (2, 5), (2, 40), (4, 12)] {
            let quick = 25_000_000 * workers as u64;
            let shown = simulate(20, workers, 1, |t| {
                if (5 * SECOND..7 * SECOND).contains(&t) { slow * quick } else { quick }
            });
            assert!(intervals(&shown, 0, 5).iter().all(|interval| *interval == 1));
            assert!(intervals(&shown, 12, 20).iter().all(|interval| *interval == 1), "{workers} {slow}");
        }
    }

    #[test]
    fn a_permanent_overload_settles_at_what_it_needs() {
        for (workers, cost) in [(1, 120_000_000), (2, 240_000_000), (1, 118_000_000), (1, 110_000_000)] {
            let shown = simulate(60, workers, 1, |_| cost);
            let settled = intervals(&shown, 3, 60);
            assert!(settled.iter().all(|interval| (3..=4).contains(interval)), "{workers}: {settled:?}");
            let changes = settled.windows(2).filter(|pair| pair[0] != pair[1]).count();
            assert!(changes <= 1, "{workers}: {settled:?}");
        }
    }

    #[test]
    fn a_load_that_comes_and_goes_does_not_make_it_swing() {
        // A second busy, a second free.
        let shown =
            simulate(120, 1, 1, |t| if (t / SECOND).is_multiple_of(2) { 100_000_000 } else { 30_000_000 });
        let settled = intervals(&shown, 10, 120);
        let changes = settled.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert!(changes < 40, "{changes}");
        assert!(settled.iter().all(|interval| *interval <= 4));
    }

    #[test]
    fn where_painting_takes_longer_than_declared_a_longer_interval_is_no_remedy() {
        // Eight workers have time enough, but each frame takes 200 ms.
        let shown = simulate(30, 8, 1, |_| 200_000_000);
        assert!(intervals(&shown, 3, 30).iter().all(|interval| *interval == 2));
    }

    #[test]
    fn the_user_sets_the_least() {
        let shown = simulate(20, 1, 4, |t| if t < 5 * SECOND { 300_000_000 } else { 30_000_000 });
        assert_eq!(intervals(&shown, 0, 1)[0], 4);
        assert!(intervals(&shown, 3, 5).iter().all(|interval| (8..=9).contains(interval)));
        assert!(intervals(&shown, 12, 20).iter().all(|interval| *interval == 4));
        let painted = shown[300..400].iter().filter(|shown| shown.painted == Some(true)).count();
        assert_eq!(painted, 25, "in 100 frames");
        // And changes it at once.
        let mut overload = Overload::default();
        assert_eq!(overload.next(0, 6, None), 6);
        assert_eq!(overload.next(FRAME, 1, None), 1);
    }

    #[test]
    fn what_was_asked_for_before_a_change_does_not_count() {
        let mut overload = Overload::default();
        for n in 0..20 {
            overload.late(n * FRAME, 1, 1, Some(2.5));
        }
        assert_eq!(overload.interval(1), 3);
    }
}
