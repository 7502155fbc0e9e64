// SPDX-License-Identifier: MPL-2.0
//! How much the sound of a film is late against its picture, by when lips are seen to open and when they are heard to.

use serde::{Deserialize, Serialize};

use crate::film::RATE;

use super::frames::median;

/// Samples of both per second: steps of 4 ms.
pub const FINE: usize = 10 * RATE;
/// Milliseconds in a step.
const STEP: f32 = 1000.0 / FINE as f32;
/// Lags that are tried, in steps: half a second on each side.
const REACH: isize = 125;
/// Frames that a lag is measured on.
const WINDOW: usize = 10 * RATE;
/// Share of a window's frames in which a face has to be seen.
const SEEN_SHARE: f32 = 0.8;
/// Correlation that a window must reach to count.
const RELATED: f32 = 0.3;
/// Windows needed.
const MIN_WINDOWS: usize = 3;
/// Lags of windows that differ by more, in milliseconds, say nothing.
const MAX_SPREAD: f32 = 60.0;
/// Doubt with which an offset is mended, and the least that is: nobody sees less.
const MAX_DOUBT: f32 = 40.0;
const MIN_MENDED: f32 = 20.0;
/// Milliseconds over the whole film by which clocks of sound and picture may go apart unmentioned.
const MIN_DRIFT: f32 = 60.0;

/// The result of a measurement.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
pub struct Offset {
    /// Milliseconds by which the sound is late, negative where it is early.
    pub late: f32,
    /// Milliseconds by which this may be wrong.
    pub doubt: f32,
    /// Whether it is known well enough to be mended.
    pub is_sure: bool,
    /// How far `late` changes from the beginning of the film to its end, where it clearly does.
    pub drift: Option<f32>,
    /// Correlation of what is seen and heard in all windows, at the lag that is best for all together.
    pub correlation: f32,
    /// Windows in which anything could be measured.
    pub windows: usize,
}

impl Offset {
    /// Milliseconds by which the sound is to be moved to earlier.
    pub fn to_mend(&self) -> f32 {
        let is_worth_it = self.is_sure && self.late.abs() >= MIN_MENDED.max(self.doubt);
        if is_worth_it { self.late } else { 0.0 }
    }
}

/// Measures it: `seen` is the opening of the lips in each frame that shows them, `heard` what was heard [`FINE`] times a second.
pub fn measure(seen: &[Option<f32>], heard: &[f32]) -> Offset {
    let mut lags: Vec<(f32, f32)> = Vec::new();
    let mut windows = 0;
    let mut sums = vec![0.0; 2 * REACH as usize + 1];
    for start in (0..seen.len().saturating_sub(WINDOW / 2)).step_by(WINDOW) {
        let end = (start + WINDOW).min(seen.len());
        let lips = fine(&seen[start..end]);
        let known = lips.iter().flatten().count() as f32;
        if known < SEEN_SHARE * lips.len() as f32 {
            continue;
        }
        windows += 1;
        let curve: Vec<f32> = (-REACH..=REACH)
            .map(|lag| correlation(&lips, heard, (start * FINE / RATE) as isize + lag))
            .collect();
        sums.iter_mut().zip(&curve).for_each(|(sum, one)| *sum += one);
        let Some(best) = (0..curve.len()).max_by(|a, b| curve[*a].total_cmp(&curve[*b])) else { continue };
        // A maximum at the end of what was tried is none.
        if curve[best] >= RELATED && best > 0 && best + 1 < curve.len() {
            let (before, after) = (curve[best - 1], curve[best + 1]);
            let bend = before - 2.0 * curve[best] + after;
            let part = if bend < 0.0 { 0.5 * (before - after) / bend } else { 0.0 };
            let lag = (best as isize - REACH) as f32 + part;
            lags.push((start as f32 / RATE as f32, STEP * lag));
        }
    }
    let late = median(lags.iter().map(|(_, lag)| *lag).collect());
    // The standard deviation of a normal distribution with that median of absolute differences.
    let spread = 1.48 * median(lags.iter().map(|(_, lag)| (lag - late).abs()).collect());
    let doubt = (2.0 * spread / (lags.len().max(1) as f32).sqrt()).max(5.0);
    Offset {
        late,
        doubt,
        is_sure: lags.len() >= MIN_WINDOWS
            && 2 * lags.len() > windows
            && spread <= MAX_SPREAD
            && doubt <= MAX_DOUBT,
        drift: drift(&lags, spread),
        correlation: sums.into_iter().fold(0.0, f32::max) / windows.max(1) as f32,
        windows,
    }
}

/// The film's opening at [`FINE`] steps, along lines between its frames.
fn fine(seen: &[Option<f32>]) -> Vec<Option<f32>> {
    let per_frame = FINE / RATE;
    let step = |n: usize| {
        let (frame, part) = (n / per_frame, (n % per_frame) as f32 / per_frame as f32);
        let here = seen[frame]?;
        let next = seen.get(frame + 1).copied().unwrap_or(Some(here))?;
        Some(here + part * (next - here))
    };
    (0..seen.len() * per_frame).map(step).collect()
}

/// The correlation of what is seen with what is heard from step `start` on; 0 where there is nothing to compare.
fn correlation(seen: &[Option<f32>], heard: &[f32], start: isize) -> f32 {
    let pairs = || {
        seen.iter().enumerate().filter_map(move |(n, seen)| {
            let at = usize::try_from(start + n as isize).ok()?;
            Some(((*seen)?, *heard.get(at)?))
        })
    };
    let count = pairs().count() as f32;
    if count < SEEN_SHARE * seen.len() as f32 {
        return 0.0;
    }
    let (sum_seen, sum_heard) = pairs().fold((0.0, 0.0), |(a, b), (seen, heard)| (a + seen, b + heard));
    let (mean_seen, mean_heard) = (sum_seen / count, sum_heard / count);
    let (mut both, mut of_seen, mut of_heard) = (0.0, 0.0, 0.0);
    for (seen, heard) in pairs() {
        let (seen, heard) = (seen - mean_seen, heard - mean_heard);
        both += seen * heard;
        of_seen += seen * seen;
        of_heard += heard * heard;
    }
    let scale = (of_seen * of_heard).sqrt();
    if scale > 0.0 { both / scale } else { 0.0 }
}

/// The change of the lag from the first to the last window, by the median of all slopes between two.
fn drift(lags: &[(f32, f32)], spread: f32) -> Option<f32> {
    let (first, last) = (lags.first()?.0, lags.last()?.0);
    let slopes = lags
        .iter()
        .enumerate()
        .flat_map(|(n, one)| lags[n + 1..].iter().map(move |other| (other.1 - one.1) / (other.0 - one.0)));
    let drift = median(slopes.collect()) * (last - first);
    let rest = lags.iter().map(|(time, lag)| lag - drift * (time - first) / (last - first).max(1.0));
    let middle = median(rest.clone().collect());
    let unexplained = 1.48 * median(rest.map(|lag| (lag - middle).abs()).collect());
    // Lags that a line does not explain better are no drift.
    (lags.len() >= 2 * MIN_WINDOWS && drift.abs() >= MIN_DRIFT && unexplained < 0.5 * spread).then_some(drift)
}

/// How loud vowels are, [`FINE`] times a second, in logarithms: where no network can be asked, lips are heard to open by this.
pub fn loudness(samples: &[f32], rate: usize) -> Vec<f32> {
    // Two poles each for what lies between 300 and 3000 Hz, where vowels are.
    let mut filtered = samples.to_vec();
    for _ in 0..2 {
        low_pass(&mut filtered, 3000.0, rate);
        let mut low = filtered.clone();
        low_pass(&mut low, 300.0, rate);
        filtered.iter_mut().zip(low).for_each(|(value, low)| *value -= low);
    }
    let step = rate / FINE;
    // A syllable is ten times as long.
    let reach = 5 * step;
    (0..samples.len() / step)
        .map(|n| {
            let around = &filtered[(n * step).saturating_sub(reach)..(n * step + reach).min(filtered.len())];
            let power = around.iter().map(|value| value * value).sum::<f32>() / around.len().max(1) as f32;
            (power.sqrt() + 1e-3).ln()
        })
        .collect()
}

fn low_pass(samples: &mut [f32], hertz: f32, rate: usize) {
    let keep = (-std::f32::consts::TAU * hertz / rate as f32).exp();
    let mut state = 0.0;
    for sample in samples {
        state = keep * state + (1.0 - keep) * *sample;
        *sample = state;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Something like speech: steps of a random walk, smoothed, so many times a second.
    fn lips(seconds: usize, seed: u32) -> Vec<f32> {
        let mut state = seed;
        let mut next = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        };
        let syllables: Vec<f32> = (0..8 * seconds + 8).map(|_| next()).collect();
        let at = |n: usize| {
            let time = n as f32 * 7.3 / FINE as f32;
            let (here, part) = (time as usize, time.fract());
            let part = part * part * (3.0 - 2.0 * part);
            syllables[here] * (1.0 - part) + syllables[here + 1] * part
        };
        (0..seconds * FINE).map(at).collect()
    }

    fn frames(lips: &[f32]) -> Vec<Option<f32>> {
        lips.iter().step_by(FINE / RATE).map(|lips| Some(*lips)).collect()
    }

    #[test]
    fn the_offset_is_found_to_some_milliseconds() {
        let lips = lips(60, 1);
        for late in [-300, -52, 0, 12, 120, 400] {
            let steps = late / STEP as i32;
            let heard: Vec<f32> = (0..lips.len() as i32)
                .map(|n| lips[(n - steps).clamp(0, lips.len() as i32 - 1) as usize])
                .collect();
            let offset = measure(&frames(&lips), &heard);
            assert!((offset.late - late as f32).abs() < 4.0 && offset.is_sure, "{late}: {offset:?}");
            assert_eq!(offset.drift, None);
            assert_eq!(offset.to_mend() != 0.0, late.abs() >= 20);
        }
    }

    #[test]
    fn what_does_not_belong_together_is_not_mended() {
        let offset = measure(&frames(&lips(60, 1)), &lips(60, 2));
        assert!(!offset.is_sure && offset.to_mend() == 0.0 && offset.correlation < 0.2, "{offset:?}");
        let nothing = measure(&[None; 500], &lips(20, 2));
        assert!(!nothing.is_sure && nothing.windows == 0, "{nothing:?}");
    }

    #[test]
    fn clocks_that_go_apart_are_noticed() {
        let lips = lips(120, 3);
        // A tenth of a percent.
        let heard: Vec<f32> = (0..lips.len()).map(|n| lips[(n as f32 * 0.999) as usize]).collect();
        let drift = measure(&frames(&lips), &heard).drift.unwrap();
        assert!((drift - 110.0).abs() < 15.0, "{drift}");
    }

    #[test]
    fn vowels_are_loud() {
        let tone = |hertz: f32| {
            (0..16_000).map(move |n| (n as f32 * hertz * std::f32::consts::TAU / 16_000.0).sin())
        };
        let level = |hertz: f32| median(loudness(&tone(hertz).collect::<Vec<_>>(), 16_000));
        assert!(level(800.0) > level(60.0) + 1.0 && level(800.0) > level(7000.0) + 1.0);
    }
}
