// SPDX-License-Identifier: MPL-2.0
//! One progress bar over all stages, with the time that is left.

use std::time::Instant;

use indicatif::{ProgressBar, ProgressStyle};

/// The stages in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Film,
    Faces,
    Sound,
    Read,
    Train,
    Export,
    Judge,
    Quantize,
}

impl Stage {
    const ALL: [Self; 8] = [
        Self::Film,
        Self::Faces,
        Self::Sound,
        Self::Read,
        Self::Train,
        Self::Export,
        Self::Judge,
        Self::Quantize,
    ];

    /// The stage that the training program calls so.
    pub fn of_training(name: &str) -> Option<Self> {
        let names =
            [("read", Self::Read), ("train", Self::Train), ("export", Self::Export), ("judge", Self::Judge)];
        names.into_iter().find(|(own, _)| *own == name).map(|(_, stage)| stage)
    }

    /// Whether the training program does it, which tells the time that is left of all of these together.
    fn is_training(self) -> bool {
        matches!(self, Self::Read | Self::Train | Self::Export | Self::Judge)
    }

    fn work(self) -> &'static str {
        match self {
            Self::Film => "reading the film",
            Self::Faces => "finding the face",
            Self::Sound => "comparing lips and sound",
            Self::Read => "reading the face",
            Self::Train => "learning the mouth",
            Self::Export => "writing the networks",
            Self::Judge => "judging what was not shown",
            Self::Quantize => "making the 8-bit network",
        }
    }
}

/// The time that stages take, as far as it is known before they begin: from what there is to be done.
pub struct Guess {
    /// Seconds of film.
    pub film: f64,
    /// Minutes of training.
    pub minutes: f64,
}

impl Guess {
    /// Seconds of a stage, as on two cores.
    fn of(&self, stage: Stage) -> f64 {
        match stage {
            Stage::Film => 0.2 * self.film,
            Stage::Faces => 0.6 * self.film,
            Stage::Sound => 0.1 * self.film,
            Stage::Read => 0.3 * self.film,
            Stage::Train => 60.0 * self.minutes,
            Stage::Export => 30.0,
            Stage::Judge => 60.0,
            Stage::Quantize => 60.0,
        }
    }
}

/// The bar. Where there is no terminal, the beginning of each stage is printed.
pub struct Progress {
    bar: ProgressBar,
    guess: Guess,
    stage: Option<Stage>,
    /// When the stage began, and how much of it was done then: interrupted stages go on where they were.
    began: Instant,
    done_before: f64,
    /// Seconds that are left of it, or of all of the training.
    left: f64,
    /// Whether it is all of the training's.
    is_all: bool,
    /// Seconds that have gone by in all stages before.
    before: f64,
}

/// The bar's length, in thousandths.
const LENGTH: u64 = 1000;

impl Progress {
    pub fn new(guess: Guess) -> Self {
        let template = "{msg:>26} [{bar:30}] {percent:>3} %, {prefix} left";
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::new(LENGTH).with_style(style.progress_chars("=> "));
        Self {
            bar,
            guess,
            stage: None,
            began: Instant::now(),
            done_before: 0.0,
            left: 0.0,
            is_all: false,
            before: 0.0,
        }
    }

    /// What is to be done is known better now.
    pub fn guess(&mut self, change: impl FnOnce(&mut Guess)) {
        change(&mut self.guess);
    }

    /// So much of a stage is done, of so much; `left` are the seconds that are left of the training, where they are known.
    pub fn tell(&mut self, stage: Stage, done: f64, of: f64, left: Option<f64>) {
        let share = if of > 0.0 { (done / of).clamp(0.0, 1.0) } else { 0.0 };
        if self.stage != Some(stage) {
            if self.stage.is_some() {
                self.before += self.began.elapsed().as_secs_f64();
            }
            (self.stage, self.began, self.done_before) = (Some(stage), Instant::now(), share);
            self.bar.set_message(stage.work());
            if self.bar.is_hidden() {
                print_error!("==> {}", stage.work());
            }
        }
        let gone = self.began.elapsed().as_secs_f64();
        let in_this_run = share - self.done_before;
        self.is_all = left.is_some();
        self.left = left.unwrap_or(if in_this_run > 0.02 {
            gone * (1.0 - share) / in_this_run
        } else {
            self.guess.of(stage) * (1.0 - share)
        });
        self.show();
    }

    fn show(&self) {
        let Some(stage) = self.stage else { return };
        let later = Stage::ALL.iter().skip_while(|other| **other != stage).skip(1);
        let later = later.filter(|stage| !(self.is_all && stage.is_training()));
        let left = self.left + later.map(|stage| self.guess.of(*stage)).sum::<f64>();
        let gone = self.before + self.began.elapsed().as_secs_f64();
        self.bar.set_prefix(words(left));
        self.bar.set_position((LENGTH as f64 * gone / (gone + left).max(1e-3)) as u64);
    }

    /// Removes the bar while something else is printed, as what is installed.
    pub fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        self.bar.suspend(work)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// A time that is left, roughly.
fn words(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round();
    match seconds {
        ..50.0 => "less than a minute".into(),
        ..90.0 => "a minute".into(),
        _ if minutes < 120.0 => format!("{minutes} minutes"),
        _ => format!("{:.1} hours", minutes / 60.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_left_is_told_roughly() {
        let told = [10.0, 70.0, 1230.0, 9000.0].map(words);
        assert_eq!(told, ["less than a minute", "a minute", "21 minutes", "2.5 hours"]);
    }

    #[test]
    fn stages_of_the_training_are_known() {
        assert_eq!(Stage::of_training("train"), Some(Stage::Train));
        assert_eq!(Stage::of_training("quantize"), None);
    }
}
