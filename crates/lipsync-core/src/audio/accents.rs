// SPDX-License-Identifier: MPL-2.0
//! Stressed syllables: where a voice is louder and higher than it usually is.
//!
//! Loudness is that of 20 ms; pitch is the lag of the greatest normalized autocorrelation (Boersma, "Accurate short-term analysis
//! of the fundamental frequency", 1993, without its path finder: a pitch that is wrong now and then does no harm here).

use std::collections::VecDeque;

use crate::audio::resample::SAMPLE_RATE;
use crate::rate::{SECOND, mul_div};

/// Samples of a block: 20 ms.
const BLOCK: usize = SAMPLE_RATE as usize / 50;
/// Samples in which the pitch is looked for: 60 ms.
const WINDOW: usize = 3 * BLOCK;
/// Periods of voices, in samples: 400 to 70 Hz.
const PERIODS: std::ops::RangeInclusive<usize> = SAMPLE_RATE as usize / 400..=SAMPLE_RATE as usize / 70;
/// Autocorrelation from which sound has a pitch.
const VOICED: f32 = 0.6;
/// Below this, in dB of full scale, nothing is stressed.
const QUIET: f32 = -50.0;
/// Share of each voiced block in what is usual: about two seconds of voice.
const ADAPTATION: f32 = 0.01;
/// Blocks on either side among which a stressed one stands out: 160 ms.
const NEIGHBOURS: usize = 8;
/// dB above what is usual, and semitones above it, that count as much as each other.
const DECIBELS: f32 = 6.0;
const SEMITONES: f32 = 4.0;

/// A stressed syllable.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Accent {
    /// Nanoseconds after the first sample.
    pub time: u64,
    /// How much it stands out: about 1 for one of a few in a sentence, 2 for the main one.
    pub strength: f32,
}

/// Finds accents in 16 kHz mono as it comes.
#[derive(Default)]
pub struct Accents {
    samples: VecDeque<f32>,
    /// Samples that were not heard before the first.
    earlier: u64,
    /// Blocks so far.
    blocks: u64,
    /// How much each of the last blocks stands out.
    scores: VecDeque<f32>,
    /// Loudness in dB and pitch in semitones, as they usually are.
    usual: Option<(f32, f32)>,
}

impl Accents {
    /// One that begins to hear behind so many samples.
    pub fn behind(samples: u64) -> Self {
        Self { earlier: samples, ..Self::default() }
    }

    /// Hears samples, and adds the accents that they make known to `found`.
    pub fn push(&mut self, samples: &[f32], found: &mut VecDeque<Accent>) {
        for block in samples.chunks(BLOCK) {
            self.samples.extend(block);
            while self.samples.len() >= WINDOW {
                let score = self.score();
                self.samples.drain(..BLOCK);
                found.extend(self.note(score));
            }
        }
    }

    /// How much the sound at hand stands out, of which the middle block counts.
    fn score(&mut self) -> f32 {
        let window = &*self.samples.make_contiguous();
        let middle = &window[BLOCK..2 * BLOCK];
        let square = middle.iter().map(|sample| sample * sample).sum::<f32>() / BLOCK as f32;
        let loudness = 10.0 * square.max(1e-10).log10();
        if loudness < QUIET {
            return 0.0;
        }
        let Some(pitch) = pitch(&window[..WINDOW]) else { return 0.0 };
        let (usual_loudness, usual_pitch) = self.usual.get_or_insert((loudness, pitch));
        let score = (loudness - *usual_loudness) / DECIBELS + (pitch - *usual_pitch) / SEMITONES;
        *usual_loudness += ADAPTATION * (loudness - *usual_loudness);
        *usual_pitch += ADAPTATION * (pitch - *usual_pitch);
        score
    }

    /// Takes note of the score of the next block; the accent that is known by it.
    fn note(&mut self, score: f32) -> Option<Accent> {
        self.blocks += 1;
        self.scores.push_back(score);
        if self.scores.len() <= 2 * NEIGHBOURS {
            return None;
        }
        let strength = self.scores[NEIGHBOURS];
        // The first of several that are the same.
        let stands_out = self.scores.iter().enumerate().all(|(i, other)| match i.cmp(&NEIGHBOURS) {
            std::cmp::Ordering::Less => *other < strength,
            _ => *other <= strength,
        });
        self.scores.pop_front();
        // The middle of the block, which is the second of its window.
        let block = self.blocks - 1 - NEIGHBOURS as u64;
        let sample = self.earlier + block * BLOCK as u64 + (BLOCK + BLOCK / 2) as u64;
        let time = mul_div(sample, SECOND, SAMPLE_RATE.into());
        (stands_out && strength > 0.0).then_some(Accent { time, strength })
    }
}

/// The pitch of a sound in semitones above 1 Hz, if it has one.
fn pitch(window: &[f32]) -> Option<f32> {
    let length = window.len() - PERIODS.end();
    let energy = |from: usize| window[from..from + length].iter().map(|sample| sample * sample).sum::<f32>();
    let first = energy(0);
    let correlation = |period: usize| {
        let product: f32 = window[..length].iter().zip(&window[period..]).map(|(a, b)| a * b).sum();
        product / (first * energy(period)).sqrt().max(1e-9)
    };
    let correlations: Vec<(f32, usize)> = PERIODS.map(|period| (correlation(period), period)).collect();
    let best = correlations.iter().map(|(found, _)| *found).fold(0.0, f32::max);
    // Two periods are as like each other as one: of those nearly as good, the shortest.
    let (found, period) = correlations.into_iter().find(|(found, _)| *found >= 0.95 * best)?;
    (found >= VOICED).then(|| 12.0 * (SAMPLE_RATE as f32 / period as f32).log2())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A voice of that pitch in Hz and that amplitude, for so many blocks; `phase` goes on.
    fn voice(sound: &mut Vec<f32>, phase: &mut f32, pitch: f32, amplitude: f32, blocks: usize) {
        for _ in 0..blocks * BLOCK {
            *phase += pitch / SAMPLE_RATE as f32;
            // A few harmonics, as voices have.
            let wave: f32 =
                (1..6).map(|n| (std::f32::consts::TAU * *phase * n as f32).sin() / n as f32).sum();
            sound.push(amplitude * wave);
        }
    }

    fn accents(sound: &[f32], piece: usize) -> Vec<Accent> {
        let (mut accents, mut found) = (Accents::default(), VecDeque::new());
        sound.chunks(piece).for_each(|piece| accents.push(piece, &mut found));
        found.into()
    }

    #[test]
    fn a_louder_and_higher_syllable_is_stressed() {
        let (mut sound, mut phase) = (Vec::new(), 0.0);
        voice(&mut sound, &mut phase, 120.0, 0.1, 100);
        voice(&mut sound, &mut phase, 150.0, 0.2, 8);
        voice(&mut sound, &mut phase, 120.0, 0.1, 60);
        let strong = |piece| -> Vec<Accent> {
            accents(&sound, piece).into_iter().filter(|accent| accent.strength > 1.0).collect()
        };
        let found = strong(777);
        assert_eq!(found.len(), 1, "{found:?}");
        let (from, to) = (2 * SECOND, 2 * SECOND + 8 * SECOND / 50);
        assert!((from..to).contains(&found[0].time), "{found:?}");
        // However the sound comes.
        assert_eq!(found, strong(16_000));
        // And with one that begins to hear later.
        let (mut later, mut heard) = (Accents::behind(16_000), VecDeque::new());
        later.push(&sound[16_000..], &mut heard);
        assert!(heard.iter().any(|accent| accent.time == found[0].time), "{heard:?}");
    }

    #[test]
    fn nothing_stands_out_of_a_hum_silence_or_noise() {
        let (mut hum, mut phase) = (Vec::new(), 0.0);
        voice(&mut hum, &mut phase, 120.0, 0.1, 300);
        let mut state = 1u32;
        let noise: Vec<f32> = (0..48_000)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / (1 << 24) as f32 * 0.2 - 0.1
            })
            .collect();
        for sound in [hum, noise, vec![0.0; 48_000]] {
            let found = accents(&sound, 160);
            assert!(found.iter().all(|accent| accent.strength < 0.3), "{found:?}");
        }
    }

    #[test]
    fn pitch_is_that_of_the_voice() {
        for hertz in [80.0, 120.0, 210.0, 350.0] {
            let (mut sound, mut phase) = (Vec::new(), 0.0);
            voice(&mut sound, &mut phase, hertz, 0.1, 3);
            let found = pitch(&sound).unwrap();
            assert!((found - 12.0 * hertz.log2()).abs() < 0.5, "{hertz} {found}");
        }
    }
}
