// SPDX-License-Identifier: MPL-2.0
//! Speech on air: whether, and with which context, each frame speaks, while sound comes and goes in real time.

use std::collections::VecDeque;
use std::ops::Range;

use crate::error::Result;
use crate::features::Context;
use crate::rate::{FrameRate, SECOND, mul_div, mul_div_nearest};
use crate::render::listener::Listener;

/// How long before a frame its sound may still move the mouth, in nanoseconds: more than any network's context.
const MEMORY: u64 = 500_000_000;
/// Pauses up to this length, in nanoseconds, are part of what is being said.
const PAUSE: u64 = 400_000_000;
/// A listener begins at a multiple of so many frames: at the usual frame rates, where a mel frame begins, so that its
/// frames hear the same as those of one that has listened from the start.
const GRID: u64 = 15;
/// Blocks in a second by which loudness is measured.
const BLOCKS: u64 = 100;

/// The beginning or the end of something said, at a time in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speech {
    /// Somebody begins to speak.
    Starts(u64),
    /// Nobody speaks any more.
    Ends(u64),
}

/// A piece of the sound, gapless behind the one before.
pub struct Sound<'a> {
    /// Time of the first sample, in nanoseconds.
    pub start: u64,
    /// Interleaved samples.
    pub samples: &'a [f32],
}

/// Follows the sound and decides for each frame whether it speaks, and with which audio context.
///
/// Whether somebody speaks is decided by the sound alone: silence that is sent counts as much as none sent. All times
/// are those of the video, in nanoseconds: frame `n` is shown at `n / rate` seconds, with the sound of that time.
pub struct Live {
    listener: Listener,
    sample_rate: u32,
    weights: Vec<f32>,
    /// Mean square from which sound counts as said.
    gate: f32,
    /// The frame that is the listener's first; `None` while it is not listening.
    origin: Option<u64>,
    /// The sound of the last [`MEMORY`], for a listener that begins.
    recent: VecDeque<(u64, Box<[f32]>)>,
    heard_until: u64,
    last_loud: Option<u64>,
    /// What is said, from when until when, as far as it is not yet over.
    said: VecDeque<(u64, u64)>,
    /// Ends of speech in the sound to come, as told by [`Self::end_speech`].
    ends: Vec<u64>,
    /// What was said until then is over, however soon something follows.
    over_until: u64,
    speaking: bool,
}

impl Live {
    /// One with this listener, for video of `rate`. Sound of that level in dB of full scale, or more, is speech.
    ///
    /// # Errors
    /// As [`Listener::set_rate`].
    pub fn new(mut listener: Listener, rate: FrameRate, level: f64) -> Result<Self> {
        listener.set_rate(rate)?;
        Ok(Self {
            listener,
            sample_rate: 0,
            weights: Vec::new(),
            gate: 10f64.powf(level / 10.0) as f32,
            origin: None,
            recent: VecDeque::new(),
            heard_until: 0,
            last_loud: None,
            said: VecDeque::new(),
            ends: Vec::new(),
            over_until: 0,
            speaking: false,
        })
    }

    /// Goes on with another listener, which hears the last of the sound as well, for video of `rate`. Where that fails, nothing
    /// has changed.
    ///
    /// # Errors
    /// As [`Listener::set_rate`] and [`Listener::set_input`].
    pub fn replace(&mut self, mut listener: Listener, rate: FrameRate) -> Result<()> {
        listener.set_rate(rate)?;
        if self.sample_rate > 0 {
            listener.set_input(self.sample_rate, self.weights.clone())?;
        }
        listener.inherit_emphasis(&mut self.listener);
        self.listener = listener;
        self.origin = None;
        Ok(())
    }

    /// Changes the frame rate of the video.
    ///
    /// # Errors
    /// As [`Listener::set_rate`].
    pub fn set_rate(&mut self, rate: FrameRate) -> Result<()> {
        self.origin = None;
        self.listener.set_rate(rate)
    }

    /// How much sound behind its own time a frame needs, in nanoseconds.
    pub fn lookahead(&self, sample_rate: u32) -> u64 {
        self.listener.lookahead(sample_rate)
    }

    /// The frame rate of the video.
    pub fn rate(&self) -> FrameRate {
        self.listener.rate()
    }

    /// Sets the format of the sound to come; mono is the sum of the channels by their weights.
    ///
    /// # Errors
    /// As [`Listener::set_input`].
    pub fn set_input(&mut self, sample_rate: u32, weights: Vec<f32>) -> Result<()> {
        self.listener.set_input(sample_rate, weights.clone())?;
        self.recent.clear();
        (self.sample_rate, self.weights) = (sample_rate, weights);
        Ok(())
    }

    /// Adds a piece of sound, up to what frame `n` needs, and returns the context of frame `n`; `None` while nobody speaks.
    ///
    /// # Errors
    /// As [`Listener::push`] and [`Listener::next_context`]. With the next frame it begins to listen anew.
    pub fn step(&mut self, n: u64, sound: Sound<'_>) -> Result<Option<Context>> {
        self.note_loudness(&sound);
        let heard = self.hear(n, &sound);
        if heard.is_err() {
            self.origin = None;
        }
        self.remember(&sound);
        heard
    }

    /// The context of frame `n`, if it speaks.
    fn hear(&mut self, n: u64, sound: &Sound<'_>) -> Result<Option<Context>> {
        let time = self.rate().time_of(n);
        if self.last_loud.is_none_or(|last| last + MEMORY < time) {
            self.origin = None;
            return Ok(None);
        }
        match self.origin {
            Some(_) => self.listener.push(sound.samples)?,
            None => self.begin(n, sound)?,
        }
        Ok(self.listener.next_context()?.map(|(_, context)| context))
    }

    /// Begins to listen, so that frame `n` is the next: first to silence, then to what was heard lately.
    fn begin(&mut self, n: u64, sound: &Sound<'_>) -> Result<()> {
        let rate = self.rate();
        let before = rate.frames_covering(MEMORY + SECOND / BLOCKS);
        let origin = n.saturating_sub(before) / GRID * GRID;
        self.listener.reset()?;
        let start = self.recent.front().map_or(sound.start, |(start, _)| *start);
        let mut skip = rate.time_of(origin).saturating_sub(start);
        self.listener.push_silence(start.saturating_sub(rate.time_of(origin)))?;
        for samples in self.recent.iter().map(|(_, samples)| &**samples).chain([sound.samples]) {
            let frames = (samples.len() / self.channels()) as u64;
            let skipped = mul_div(skip, self.sample_rate.into(), SECOND).min(frames);
            skip -= mul_div(skipped, SECOND, self.sample_rate.max(1).into()).min(skip);
            self.listener.push(&samples[skipped as usize * self.channels()..])?;
        }
        self.listener.skip_to(n - origin);
        self.origin = Some(origin);
        Ok(())
    }

    fn remember(&mut self, sound: &Sound<'_>) {
        self.heard_until = sound.start + self.length(sound.samples.len());
        self.recent.push_back((sound.start, sound.samples.into()));
        while self.recent.get(1).is_some_and(|(next, _)| *next + MEMORY < self.heard_until) {
            self.recent.pop_front();
        }
    }

    fn channels(&self) -> usize {
        self.weights.len().max(1)
    }

    fn length(&self, samples: usize) -> u64 {
        mul_div((samples / self.channels()) as u64, SECOND, self.sample_rate.max(1).into())
    }

    /// Says that whoever speaks is done at that time, and that what follows, however soon, is something new. It is taken note of with
    /// the next sound, which may contain that time.
    pub fn end_speech(&mut self, time: u64) {
        self.ends.push(time);
    }

    fn note_loudness(&mut self, sound: &Sound<'_>) {
        let mut from = 0;
        for end in std::mem::take(&mut self.ends) {
            // As times are rounded.
            let samples = mul_div_nearest(end.saturating_sub(sound.start), self.sample_rate.into(), SECOND);
            let until = (samples as usize * self.channels()).clamp(from, sound.samples.len());
            self.note_loud_blocks(sound, from..until);
            self.over_until = self.over_until.max(end);
            from = until;
        }
        self.note_loud_blocks(sound, from..sound.samples.len());
    }

    fn note_loud_blocks(&mut self, sound: &Sound<'_>, range: Range<usize>) {
        let channels = self.channels();
        let block = (u64::from(self.sample_rate) / BLOCKS).max(1) as usize * channels;
        for (i, samples) in sound.samples[range.clone()].chunks(block).enumerate() {
            let square = samples.iter().map(|sample| sample * sample).sum::<f32>() / samples.len() as f32;
            if square < self.gate {
                continue;
            }
            let first = range.start + i * block;
            self.last_loud = Some(sound.start + self.length(first + samples.len()));
            // A loud block has loud samples, but for the rounding of a sum.
            let is_loud = |sample: &f32| sample * sample >= self.gate;
            let start = samples.iter().position(is_loud).unwrap_or(0) / channels * channels;
            let end = samples.iter().rposition(is_loud).unwrap_or(samples.len() - 1);
            let end = (end / channels + 1) * channels;
            let start = sound.start + self.length(first + start);
            let end = sound.start + self.length(first + end);
            match self.said.back_mut() {
                Some((_, last)) if start <= *last + PAUSE && *last > self.over_until => *last = end,
                _ => self.said.push_back((start, end)),
            }
        }
    }

    /// What begins or ends with frame `n`, the last frame that [`Self::step`] was asked for.
    pub fn speech_events(&mut self, n: u64) -> Vec<Speech> {
        let until = self.rate().time_of(n + 1);
        let mut events = Vec::new();
        while let Some((start, end)) = self.said.front().copied() {
            if !self.speaking && start < until {
                self.speaking = true;
                events.push(Speech::Starts(start));
            }
            // It may go on after a pause that has not been heard to its end.
            let over = self.said.len() > 1 || end <= self.over_until || self.heard_until >= end + PAUSE;
            if !(self.speaking && end <= until && over) {
                break;
            }
            self.speaking = false;
            events.push(Speech::Ends(end));
            self.said.pop_front();
        }
        events
    }

    /// Sets how many stressed syllables are underlined by a gesture, from 0, none, to 1.
    pub fn set_emphasis(&mut self, amount: f64) {
        self.listener.set_emphasis(amount);
    }

    /// Whether a gesture that underlines a syllable begins with frame `n`, the last frame that [`Self::step`] was asked for.
    pub fn underlines(&mut self, n: u64) -> bool {
        self.origin.is_some_and(|origin| self.listener.underlines(n - origin))
    }

    /// Whether something is being said, as [`Self::speech_events`] has told it.
    pub fn is_speaking(&self) -> bool {
        self.speaking
    }

    /// Forgets all sound, in the midst of a word: the next frame is at rest.
    pub fn interrupt(&mut self) {
        self.origin = None;
        self.recent.clear();
        self.last_loud = None;
        self.said.clear();
        self.ends.clear();
        self.speaking = false;
    }
}
