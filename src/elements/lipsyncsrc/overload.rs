//! What to do while the machine paints more slowly than the video plays.

use std::time::{Duration, Instant};

/// A mouth is held for at most so many frames.
pub const LONGEST_INTERVAL: u32 = 25;
/// After so many frames in time, in a row, painting may become more frequent again.
const TRIAL: u32 = 100;
/// At most one warning in that time.
const WARN_EVERY: Duration = Duration::from_secs(10);

/// The interval between painted frames, as the machine allows.
pub struct Overload {
    interval: u32,
    in_time: u32,
    warned: Option<Instant>,
}

impl Default for Overload {
    fn default() -> Self {
        Self { interval: 1, in_time: 0, warned: None }
    }
}

impl Overload {
    /// The interval now, which is at least `least`.
    pub fn interval(&mut self, least: u32) -> u32 {
        self.interval = self.interval.max(least);
        self.interval
    }

    /// A painted frame was ready in time.
    pub fn in_time(&mut self, least: u32) {
        self.in_time += 1;
        if self.in_time >= TRIAL && self.interval > least {
            self.interval -= 1;
            self.in_time = 0;
        }
    }

    /// A painted frame was not ready in time. True where it is time for a warning.
    pub fn late(&mut self) -> bool {
        // One late frame after many in time is a hiccup of the machine.
        if self.in_time < TRIAL / 2 {
            self.interval = (self.interval + 1).min(LONGEST_INTERVAL);
        }
        self.in_time = 0;
        let warn = self.warned.is_none_or(|warned| warned.elapsed() >= WARN_EVERY);
        if warn {
            self.warned = Some(Instant::now());
        }
        warn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_grows_while_frames_are_late_and_shrinks_again() {
        let mut overload = Overload::default();
        assert!(overload.late());
        assert!(!overload.late(), "one warning is enough");
        assert_eq!(overload.interval(1), 3);
        for _ in 0..2 * TRIAL {
            overload.in_time(1);
        }
        assert_eq!(overload.interval(1), 1);
        overload.late();
        assert_eq!(overload.interval(1), 2);
        (0..TRIAL).for_each(|_| overload.in_time(1));
        (0..TRIAL).for_each(|_| overload.in_time(1));
        overload.late();
        assert_eq!(overload.interval(1), 1, "a hiccup after many frames in time changes nothing");
        assert_eq!(overload.interval(4), 4);
    }
}
