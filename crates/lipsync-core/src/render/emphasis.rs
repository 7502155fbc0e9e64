// SPDX-License-Identifier: MPL-2.0
//! How lively the avatar speaks: which of the stressed syllables it underlines with a nod or its brows.

use std::collections::VecDeque;

use crate::audio::accents::Accent;
use crate::rate::SECOND;

/// How long before the syllable the gesture begins, in nanoseconds, so that it is at its height with it.
const LEAD: u64 = 200_000_000;

/// Chooses syllables to be underlined.
#[derive(Debug, Default)]
pub struct Emphasis {
    /// 0 for none, 1 for many.
    amount: f64,
    /// Time of the last gesture, in nanoseconds.
    last: Option<u64>,
}

impl Emphasis {
    /// Sets how many are chosen, from 0 to 1.
    pub fn set_amount(&mut self, amount: f64) {
        self.amount = amount.clamp(0.0, 1.0);
    }

    /// Whether any are chosen.
    pub fn is_on(&self) -> bool {
        self.amount > 0.0
    }

    /// Whether a gesture begins with the frame at a time, given the syllables that are known, of which those before it are dropped.
    pub fn begins(&mut self, accents: &mut VecDeque<Accent>, time: u64) -> bool {
        // A flush, or another presenter's time.
        if self.last.is_some_and(|last| last > time) {
            self.last = None;
        }
        let strength = 1.6 - 1.3 * self.amount;
        let pause = ((5.0 - 4.0 * self.amount) * SECOND as f64) as u64;
        let mut begins = false;
        while accents.front().is_some_and(|accent| accent.time <= time + LEAD) {
            let Some(accent) = accents.pop_front() else { break };
            let rested = self.last.is_none_or(|last| last + pause <= time);
            if accent.time >= time && f64::from(accent.strength) >= strength && rested && self.is_on() {
                self.last = Some(time);
                begins = true;
            }
        }
        begins
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames of 40 ms with which a gesture begins, in a minute of a syllable of rising strength every 400 ms.
    fn begun(amount: f64) -> Vec<u64> {
        let accent = |n: u64| Accent { time: n * 400_000_000, strength: n as f32 % 20.0 / 10.0 };
        let mut accents: VecDeque<Accent> = (0..150).map(accent).collect();
        let mut emphasis = Emphasis::default();
        emphasis.set_amount(amount);
        (0..1500).filter(|n| emphasis.begins(&mut accents, n * 40_000_000)).collect()
    }

    #[test]
    fn the_more_is_asked_for_the_more_is_underlined() {
        assert!(begun(0.0).is_empty());
        let (few, many) = (begun(0.3), begun(1.0));
        assert!((4..=12).contains(&few.len()), "{few:?}");
        assert!(many.len() > 2 * few.len(), "{many:?}");
        assert!(many.windows(2).all(|pair| pair[1] - pair[0] >= 25), "{many:?}");
    }

    #[test]
    fn it_begins_before_the_syllable() {
        let mut emphasis = Emphasis::default();
        emphasis.set_amount(1.0);
        let mut accents = VecDeque::from([Accent { time: SECOND, strength: 3.0 }]);
        let first = (0..100).find(|n| emphasis.begins(&mut accents, n * 40_000_000));
        assert_eq!(first, Some(20));
    }
}
