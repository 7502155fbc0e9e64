// SPDX-License-Identifier: MPL-2.0
//! Steps 1 to 3 together: sound in, one audio context per video frame out.

use std::collections::VecDeque;

use crate::audio::accents::{Accent, Accents};
use crate::audio::resample::{SAMPLE_RATE, ToMono16k};
use crate::error::Result;
use crate::features::{self, Context, FeatureTrack};
use crate::inference::network::Interrupter;
use crate::rate::{FrameRate, SECOND, mul_div};
use crate::render::emphasis::Emphasis;

/// Turns a stream of sound into the audio context of each video frame.
///
/// Frame `n` shows the sound at `n / rate` seconds after the first sample. Its context is ready as soon as
/// [`Self::lookahead`] of sound behind that is there, or the sound has ended; then
/// `ceil(duration * rate)` frames have come in all.
pub struct Listener {
    track: Box<dyn FeatureTrack>,
    rate: FrameRate,
    input: Option<ToMono16k>,
    /// Length of the sound from inputs before the current one, in nanoseconds.
    earlier: u64,
    next: u64,
    finished: bool,
    mono: Vec<f32>,
    /// Samples at 16 kHz so far.
    analysed: u64,
    /// Looks for stressed syllables, where some are to be underlined.
    accents: Option<Accents>,
    stressed: VecDeque<Accent>,
    emphasis: Emphasis,
}

impl Listener {
    /// A listener with a fresh track for video of `rate`.
    pub fn new(mut track: Box<dyn FeatureTrack>, rate: FrameRate) -> Self {
        track.restart(rate);
        Self {
            track,
            rate,
            input: None,
            earlier: 0,
            next: 0,
            finished: false,
            mono: Vec::new(),
            analysed: 0,
            accents: None,
            stressed: VecDeque::new(),
            emphasis: Emphasis::default(),
        }
    }

    /// How much sound behind its own time a frame needs, in nanoseconds, for input of `sample_rate` Hz.
    pub fn lookahead(&self, sample_rate: u32) -> u64 {
        mul_div(self.track.lookahead(), SECOND, u64::from(SAMPLE_RATE)) + ToMono16k::delay(sample_rate)
    }

    /// The context in the middle of a long silence. All sound is forgotten.
    ///
    /// # Errors
    /// As [`features::silence`] and [`Self::reset`].
    pub fn silence(&mut self) -> Result<Context> {
        let context = features::silence(&mut *self.track)?;
        self.reset()?;
        Ok(context)
    }

    /// A handle that stops the encoder, where there is one.
    pub fn interrupter(&self) -> Option<Interrupter> {
        self.track.interrupter()
    }

    /// The frame rate of the video.
    pub fn rate(&self) -> FrameRate {
        self.rate
    }

    /// Changes the frame rate of the video, forgetting all sound.
    ///
    /// # Errors
    /// As [`Self::reset`].
    pub fn set_rate(&mut self, rate: FrameRate) -> Result<()> {
        self.rate = rate;
        self.reset()
    }

    /// Forgets all sound: the next sample is the first one.
    ///
    /// The input format stays as it is.
    ///
    /// # Errors
    /// [`crate::error::Error::Audio`] where the resampler cannot be made again.
    pub fn reset(&mut self) -> Result<()> {
        self.track.restart(self.rate);
        self.earlier = 0;
        self.next = 0;
        self.finished = false;
        self.analysed = 0;
        self.accents = self.accents.take().map(|_| Accents::default());
        self.stressed.clear();
        if let Some(input) = self.input.take() {
            self.input = Some(input.restarted()?);
        }
        Ok(())
    }

    /// Sets the format of the samples to come. In mid-stream the sound goes on without a break.
    ///
    /// # Errors
    /// As [`ToMono16k::new`].
    pub fn set_input(&mut self, sample_rate: u32, weights: Vec<f32>) -> Result<()> {
        let input = ToMono16k::new(sample_rate, weights)?;
        self.flush_input()?;
        self.earlier = self.duration();
        self.input = Some(input);
        Ok(())
    }

    /// Length of the sound so far, in nanoseconds.
    pub fn duration(&self) -> u64 {
        let current = self
            .input
            .as_ref()
            .map_or(0, |input| mul_div(input.samples_in(), SECOND, u64::from(input.rate())));
        self.earlier + current
    }

    /// Adds interleaved samples in the format of [`Self::set_input`].
    ///
    /// # Errors
    /// As [`ToMono16k::push`].
    pub fn push(&mut self, interleaved: &[f32]) -> Result<()> {
        if let Some(input) = &mut self.input {
            input.push(interleaved, &mut self.mono)?;
        }
        self.analyse();
        Ok(())
    }

    /// Adds silence of that many nanoseconds, to the nearest sample.
    ///
    /// # Errors
    /// As [`ToMono16k::push_silence`].
    pub fn push_silence(&mut self, duration: u64) -> Result<()> {
        if let Some(input) = &mut self.input {
            let rate = u64::from(input.rate());
            let frames = mul_div(duration + SECOND / rate / 2, rate, SECOND);
            input.push_silence(frames, &mut self.mono)?;
        }
        self.analyse();
        Ok(())
    }

    /// Ends the sound: the contexts of the frames still due are now ready.
    ///
    /// # Errors
    /// As [`ToMono16k::finish`].
    pub fn finish(&mut self) -> Result<()> {
        if self.finished {
            return Ok(());
        }
        self.flush_input()?;
        self.track.finish();
        self.finished = true;
        Ok(())
    }

    /// Number and context of the next frame, or `None` where it needs more sound, or there is none left.
    ///
    /// # Errors
    /// As [`FeatureTrack::context`].
    pub fn next_context(&mut self) -> Result<Option<(u64, Context)>> {
        Ok(self.next(true)?.and_then(|(n, context)| Some((n, context?))))
    }

    /// The same; where the context is not wanted, it is not made, which saves most of the time.
    ///
    /// # Errors
    /// As [`FeatureTrack::context`].
    pub fn next(&mut self, is_wanted: bool) -> Result<Option<(u64, Option<Context>)>> {
        if self.next >= self.due() {
            return Ok(None);
        }
        let context = match is_wanted {
            true => self.track.context(self.next)?.map(Some),
            false => self.track.pass(self.next)?.then_some(None),
        };
        let Some(context) = context else { return Ok(None) };
        self.next += 1;
        Ok(Some((self.next - 1, context)))
    }

    /// Frames that the sound so far has in all, also those that wait for what follows it.
    pub fn due(&self) -> u64 {
        self.rate.frames_covering(self.duration())
    }

    /// Frames whose contexts have been taken.
    pub fn told(&self) -> u64 {
        self.next
    }

    /// Goes on with frame `n`, leaving out those before it.
    pub fn skip_to(&mut self, n: u64) {
        self.next = self.next.max(n);
    }

    /// Sets how many stressed syllables are underlined by a gesture, from 0, none, to 1.
    pub fn set_emphasis(&mut self, amount: f64) {
        self.emphasis.set_amount(amount);
        match self.emphasis.is_on() {
            true => _ = self.accents.get_or_insert_with(|| Accents::behind(self.analysed)),
            false => self.accents = None,
        }
    }

    /// Underlines as much as the listener before.
    pub fn inherit_emphasis(&mut self, before: &mut Self) {
        self.emphasis = std::mem::take(&mut before.emphasis);
        self.accents = self.emphasis.is_on().then(|| Accents::behind(self.analysed));
    }

    /// Whether a gesture that underlines a syllable begins with frame `n`.
    pub fn underlines(&mut self, n: u64) -> bool {
        self.emphasis.begins(&mut self.stressed, self.rate.time_of(n))
    }

    fn flush_input(&mut self) -> Result<()> {
        if let Some(input) = &mut self.input {
            input.finish(&mut self.mono)?;
        }
        self.analyse();
        Ok(())
    }

    fn analyse(&mut self) {
        self.track.push(&self.mono);
        if let Some(accents) = &mut self.accents {
            accents.push(&self.mono, &mut self.stressed);
        }
        self.analysed += self.mono.len() as u64;
        self.mono.clear();
    }
}
