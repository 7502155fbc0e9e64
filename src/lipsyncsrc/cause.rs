// SPDX-License-Identifier: MPL-2.0
//! Why frames come late, or not at all, for the warnings that say so.

use std::collections::VecDeque;
use std::time::Duration;

use lipsync_core::error::Error;
use lipsync_core::rate::SECOND;
use lipsync_core::render::pace::Pace;

/// Lets a warning be given once in ten seconds.
#[derive(Default)]
pub struct Rarely(Option<u64>);

impl Rarely {
    /// Whether it is time for one.
    pub fn is_due(&mut self, time: u64) -> bool {
        let due = self.0.is_none_or(|last| time >= last + 10 * SECOND);
        if due {
            self.0 = Some(time);
        }
        due
    }
}

/// Lets what is wrong be told once, however often it is met.
#[derive(Default)]
pub struct Told(Vec<(String, u64)>);

impl Told {
    /// What has not been met for so long, in nanoseconds, is over: when it comes back it is told again.
    const OVER: u64 = 60 * SECOND;
    /// Causes that are known at a time. Beyond these nothing is told: there is something wrong enough.
    const MOST: usize = 16;

    /// Whether it is to be told that this is met, at that time.
    pub fn is_due(&mut self, cause: String, time: u64) -> bool {
        self.0.retain(|(_, last)| *last + Self::OVER >= time);
        if let Some((_, last)) = self.0.iter_mut().find(|(known, _)| *known == cause) {
            *last = time;
            return false;
        }
        let due = self.0.len() < Self::MOST;
        if due {
            self.0.push((cause, time));
        }
        due
    }
}

/// What errors have in common that are met for one reason: all files of a folder may be missing.
pub fn cause_of(error: &Error) -> String {
    match error {
        Error::NotFound { path, problem, .. } | Error::Invalid { path, problem, .. } => {
            format!("{}: {problem}", path.parent().unwrap_or(path).display())
        }
        error => error.to_string(),
    }
}

/// Decides when a warning about late frames is due: with the third one within a second.
#[derive(Default)]
pub struct Alarm {
    late: VecDeque<u64>,
    rarely: Rarely,
}

impl Alarm {
    /// Takes note that the frame of that time is late; true where it is time for a warning.
    pub fn late(&mut self, time: u64) -> bool {
        const MOST: usize = 2;
        self.late.retain(|earlier| *earlier + SECOND >= time);
        self.late.push_back(time);
        self.late.len() > MOST && self.rarely.is_due(time)
    }
}

/// What is known when frames come late.
pub struct Situation {
    pub pace: Pace,
    /// How long a frame is shown.
    pub frame: Duration,
    /// `processing-latency`.
    pub declared: Duration,
    /// `inference-interval` as the user has set it, and as it is in force.
    pub least: u32,
    pub interval: u32,
}

/// Why frames come late.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Even at its best, painting takes longer than the workers have time.
    Generator,
    /// The workers have time enough, but a frame takes longer than is declared.
    Declared,
    /// Both would do, had the machine nothing else to do.
    Busy,
}

fn ms(duration: Duration) -> String {
    format!("{:.0} ms", duration.as_secs_f64() * 1e3)
}

impl Situation {
    /// Time that the workers have for a mouth.
    fn time(&self) -> Duration {
        self.frame.mul_f64(self.pace.available * f64::from(self.least))
    }

    /// Why frames come late.
    pub fn cause(&self) -> Cause {
        match self.pace.best {
            Some(best) if best > self.time() => Cause::Generator,
            // Half a frame is waited for.
            Some(best) if best > self.declared + self.frame / 2 => Cause::Declared,
            _ => Cause::Busy,
        }
    }

    fn measured(&self) -> String {
        let worker = if self.pace.workers == 1 { "a worker" } else { "each of them" };
        match (self.pace.best, self.pace.cost) {
            (Some(best), Some(cost)) if cost > best.mul_f64(1.1) => {
                format!("{worker} takes {} for a mouth at best, {} now", ms(best), ms(cost))
            }
            (Some(best), _) => format!("{worker} takes {} for a mouth", ms(best)),
            _ => "no mouth has been painted yet".into(),
        }
    }

    fn workers(&self) -> String {
        let count = self.pace.workers;
        let all = if count == 1 { "1 worker".into() } else { format!("{count} workers (n-threads)") };
        if self.pace.available < 0.95 * count as f64 {
            format!("{all}, {:.1} of it beside other presenters", self.pace.available)
        } else {
            all
        }
    }

    /// What is done about it meanwhile.
    fn meanwhile(&self) -> String {
        match self.interval {
            1 => "the last picture is shown once more".into(),
            n => format!("a new mouth comes in every {n} frames only"),
        }
    }

    /// The warning: what is the matter, with what was measured, and the remedy.
    pub fn sentence(&self) -> String {
        let (measured, workers, meanwhile) = (self.measured(), self.workers(), self.meanwhile());
        let every = match self.least {
            1 => format!("every frame of {}", ms(self.frame)),
            n => format!("every {n} frames of {}", ms(self.frame)),
        };
        match self.cause() {
            Cause::Generator => format!(
                "frames come late because the generator is too slow: there are {workers}, {measured}, and a mouth in {every} leaves them {}. Meanwhile {meanwhile}. Raise inference-interval, lower the frame rate, set precision=int8, or use a smaller network or a GPU",
                ms(self.time())
            ),
            Cause::Declared => format!(
                "frames come late because processing-latency is too short: there are {workers}, {measured}, and {} are declared. Meanwhile {meanwhile}. Set processing-latency to {} at least, or use a smaller network or a GPU",
                ms(self.declared),
                self.enough()
            ),
            Cause::Busy => format!(
                "frames come late because the machine is busy with other things: there are {workers}, {measured}, and {} are declared as processing-latency. Meanwhile {meanwhile}. Leave the presenter more of the processor (a faster preset of the encoder, fewer programs beside it), or raise processing-latency or inference-interval",
                ms(self.declared)
            ),
        }
    }

    /// A processing latency that would do, in nanoseconds: half as much again as a mouth takes, in whole 10 ms.
    fn enough(&self) -> u128 {
        const STEP: u128 = 10_000_000;
        let cost = self.pace.cost.max(self.pace.best).unwrap_or_default();
        (cost.as_nanos() * 3 / 2).div_ceil(STEP) * STEP
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn situation(best: u64, cost: u64, workers: usize) -> Situation {
        let ms = Duration::from_millis;
        let pace = Pace { cost: Some(ms(cost)), best: Some(ms(best)), workers, available: workers as f64 };
        Situation { pace, frame: ms(40), declared: ms(100), least: 1, interval: 1 }
    }

    #[test]
    fn there_is_one_warning_in_ten_seconds() {
        let mut alarm = Alarm::default();
        let ms = |n: u64| n * 1_000_000;
        assert!(![0, 40, 3000, 3900, 5000].into_iter().any(|time| alarm.late(ms(time))), "hiccups");
        assert!(alarm.late(ms(5040)) || alarm.late(ms(5080)));
        let warnings = (130..630).filter(|n| alarm.late(ms(n * 40))).count();
        assert_eq!(warnings, 2);
    }

    #[test]
    fn a_cause_is_told_once_until_it_has_been_over_for_a_while() {
        let missing =
            |name: &str| cause_of(&Error::not_found(Path::new("a").join(name), "no such file", "Copy it"));
        let mut told = Told::default();
        assert!(told.is_due(missing("1.png"), 0));
        assert!(!(1..1000).any(|time| told.is_due(missing(&format!("{time}.png")), time * SECOND)));
        assert!(told.is_due(cause_of(&Error::invalid("a/1.png", "is no picture", "Save it")), 1000 * SECOND));
        assert!(told.is_due(missing("1.png"), 1060 * SECOND));
        let more = (0..1000).filter(|n| told.is_due(n.to_string(), 1060 * SECOND)).count();
        assert_eq!(more, Told::MOST - 2, "it is bounded");
    }

    #[test]
    fn a_slow_generator_is_named() {
        let mut slow = Situation { interval: 3, ..situation(118, 121, 1) };
        assert_eq!(slow.cause(), Cause::Generator);
        assert_eq!(
            slow.sentence(),
            "frames come late because the generator is too slow: there are 1 worker, a worker takes 118 ms for a mouth, and a mouth in every frame of 40 ms leaves them 40 ms. Meanwhile a new mouth comes in every 3 frames only. Raise inference-interval, lower the frame rate, set precision=int8, or use a smaller network or a GPU"
        );
        // With what the user has set it would be fast enough.
        slow.least = 3;
        assert_eq!(slow.cause(), Cause::Busy);
        // Two workers would do, did they not paint for others, too.
        let mut shared = situation(60, 62, 2);
        assert_eq!(shared.cause(), Cause::Busy);
        shared.pace.available = 0.7;
        assert_eq!(shared.cause(), Cause::Generator);
        assert!(shared.sentence().contains("2 workers (n-threads), 0.7 of it beside other presenters"));
    }

    #[test]
    fn a_short_processing_latency_is_named() {
        let short = situation(150, 153, 4);
        assert_eq!(short.cause(), Cause::Declared);
        assert_eq!(
            short.sentence(),
            "frames come late because processing-latency is too short: there are 4 workers (n-threads), each of them takes 150 ms for a mouth, and 100 ms are declared. Meanwhile the last picture is shown once more. Set processing-latency to 230000000 at least, or use a smaller network or a GPU"
        );
    }

    #[test]
    fn a_busy_machine_is_named() {
        let busy = situation(21, 95, 2);
        assert_eq!(busy.cause(), Cause::Busy);
        assert_eq!(
            busy.sentence(),
            "frames come late because the machine is busy with other things: there are 2 workers (n-threads), each of them takes 21 ms for a mouth at best, 95 ms now, and 100 ms are declared as processing-latency. Meanwhile the last picture is shown once more. Leave the presenter more of the processor (a faster preset of the encoder, fewer programs beside it), or raise processing-latency or inference-interval"
        );
        // Also where it paints fast, and its threads do not get their turn.
        assert_eq!(situation(21, 21, 2).cause(), Cause::Busy);
        let mut unknown = situation(1, 1, 1);
        (unknown.pace.best, unknown.pace.cost) = (None, None);
        assert!(unknown.sentence().contains("no mouth has been painted yet"));
    }
}
