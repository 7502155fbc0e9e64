// SPDX-License-Identifier: MPL-2.0
//! How far a video is that is made of a file, for a program that shows a bar.

use std::time::{Duration, Instant};

use lipsync_core::rate::mul_div;

/// It is told no more often than this.
const PERIOD: Duration = Duration::from_secs(1);

/// How far the video is.
#[derive(Debug, Default)]
pub struct Progress {
    /// Running time of the video so far, in nanoseconds.
    until: u64,
    /// When the first frame was made, and until when that was shown.
    first: Option<(Instant, u64)>,
    /// When the last one was made.
    last: Option<Instant>,
    /// When it was told.
    told: Option<Instant>,
}

impl Progress {
    /// A frame has been made that is shown until that running time.
    pub fn add(&mut self, until: u64, now: Instant) {
        self.until = until;
        self.first.get_or_insert((now, until));
        self.last = Some(now);
    }

    /// Running time of the video so far, in nanoseconds.
    pub fn until(&self) -> u64 {
        self.until
    }

    /// Seconds of video made in a second.
    pub fn speed(&self) -> f64 {
        let Some(((first, from), last)) = self.first.zip(self.last) else { return 0.0 };
        let took = last.duration_since(first).as_nanos() as f64;
        if took > 0.0 { self.until.saturating_sub(from) as f64 / took } else { 0.0 }
    }

    /// Whether it is to be told now: a second after the last time, or after the first frame; and at the end.
    pub fn is_due(&mut self, now: Instant, is_last: bool) -> bool {
        let Some((first, _)) = self.first else { return false };
        let is_due = is_last || now.duration_since(self.told.unwrap_or(first)) >= PERIOD;
        if is_due {
            self.told = Some(now);
        }
        is_due
    }

    /// The message that tells it: where the video is in its stream, and how long that is, where that is known.
    pub fn structure(
        &self,
        position: gst::ClockTime,
        duration: Option<gst::ClockTime>,
        is_last: bool,
        frames: u64,
    ) -> gst::Structure {
        let part = duration.filter(|duration| !duration.is_zero());
        let part =
            part.map(|duration| mul_div(position.nseconds(), 100, duration.nseconds()).min(100) as i32);
        let percent = if is_last { Some(100) } else { part };
        gst::Structure::builder("lipsync-progress")
            .field("position", position)
            .field_if_some("duration", duration)
            .field_if_some("percent", percent)
            .field("frames", frames)
            .field("running-time", gst::ClockTime::from_nseconds(self.until))
            .field("speed", self.speed())
            .build()
    }
}

#[cfg(test)]
mod tests {
    use lipsync_core::rate::SECOND;

    use super::*;

    #[test]
    fn it_is_told_once_a_second_and_at_the_end() {
        let mut progress = Progress::default();
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert!(!progress.is_due(at(5000), true), "nothing has been made");
        let told: Vec<u64> = (0..35)
            .map(|i| i * 100)
            .filter(|ms| {
                progress.add((ms / 100 + 1) * 40_000_000, at(*ms));
                progress.is_due(at(*ms), *ms == 3400)
            })
            .collect();
        assert_eq!(told, [1000, 2000, 3000, 3400]);
        assert!((progress.speed() - 0.4).abs() < 1e-9, "{}", progress.speed());
        gst::init().unwrap();
        let second = gst::ClockTime::SECOND;
        let percent = |position, duration, is_last| {
            progress.structure(position, duration, is_last, 35).get::<i32>("percent").ok()
        };
        assert_eq!(percent(second, Some(3 * second), false), Some(33));
        assert_eq!(percent(4 * second, Some(3 * second), false), Some(100));
        assert_eq!(percent(second, None, false), None);
        assert_eq!(percent(second, None, true), Some(100));
        assert_eq!(progress.until(), 35 * SECOND / 25);
    }
}
