// SPDX-License-Identifier: MPL-2.0
//! What is being said in a session: whose turn it is, and what an interruption takes away.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Asked for and not yet begun: more are forgotten, and only their latency is not told.
const MAX_WAITING: usize = 1000;

/// Counts utterances and interruptions.
#[derive(Default)]
pub struct Utterances {
    next: u64,
    /// Interruptions so far. What was asked for before the last of them is not said any more.
    interruptions: u64,
    asked: HashMap<String, Instant>,
}

/// What was asked for to be said.
#[derive(Debug, Clone)]
pub struct Utterance {
    pub id: String,
    interruptions: u64,
    began: bool,
}

impl Utterances {
    pub fn ask(&mut self) -> Utterance {
        self.next += 1;
        let id = format!("u{}", self.next);
        if self.asked.len() < MAX_WAITING {
            self.asked.insert(id.clone(), Instant::now());
        }
        Utterance { id, interruptions: self.interruptions, began: false }
    }

    /// Drops everything that was asked for.
    pub fn interrupt(&mut self) {
        self.interruptions += 1;
        self.asked.clear();
    }

    /// Whether it is still to be said.
    pub fn is_wanted(&self, utterance: &Utterance) -> bool {
        self.interruptions == utterance.interruptions
    }

    /// How long ago one was asked for that is heard now.
    pub fn heard(&mut self, id: &str) -> Option<Duration> {
        self.asked.remove(id).map(|asked| asked.elapsed())
    }
}

impl Utterance {
    /// True the first time.
    pub fn begins(&mut self) -> bool {
        !std::mem::replace(&mut self.began, true)
    }

    /// Whether something of it was given to the presenter.
    pub fn has_begun(&self) -> bool {
        self.began
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interruption_takes_away_what_was_asked_for() {
        let mut all = Utterances::default();
        let (first, second) = (all.ask(), all.ask());
        assert!(all.is_wanted(&first) && all.heard("u1").is_some() && all.heard("u1").is_none());
        all.interrupt();
        assert!(!all.is_wanted(&first) && !all.is_wanted(&second) && all.heard("u2").is_none());
        let third = all.ask();
        assert!(all.is_wanted(&third) && third.id == "u3");
    }
}
