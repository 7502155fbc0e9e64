//! Contexts that are rows of HuBERT: a network from the waveform to a row of 1024 values every 20 ms.
//!
//! Row `r` stands for the samples from `320 r` to `320 r + 400`. A video frame has two rows; frame `i` hears those of
//! the frames `i - 8` to `i + 7`, and zeros where there are none: 32 rows, as [32, 32, 32] (SyncTalk_2D), or of the
//! frames `i - 4` to `i + 3`, as [16, 32, 32] (Ultralight-Digital-Human). An odd last row is left out. At other frame
//! rates the same is evaluated at the frame's own time.
//!
//! HuBERT looks at everything that it is given. SyncTalk_2D's script gives it 20 s at a time; a stream cannot wait
//! for that, so rows are made in blocks, each from the sound around it. As its feature extractor does, the sound is
//! brought to mean 0 and variance 1: by all the sound heard so far, which comes to the same as by the whole clip.

use std::collections::VecDeque;
use std::path::Path;

use super::mel_track::time_in_rows;
use super::{Context, FeatureTrack};
use crate::error::{Error, Result};
use crate::inference::aside::Aside;
use crate::inference::network::{Interrupter, Network};
use crate::inference::runtime::Engine;
use crate::rate::FrameRate;

/// Values in a row.
const ROW: usize = 1024;
/// Rows of a video frame.
const ROWS_A_FRAME: i64 = 2;
/// Samples from row to row, and samples that a row stands for.
const STEP: u64 = 320;
const LENGTH: u64 = 400;
/// Rows that are made together.
const BLOCK: u64 = 32;
/// Rows before and behind a block that are heard with it.
const HISTORY: u64 = 100;
const FUTURE: u64 = 8;

/// Of how many video frames a generator hears the rows, half of them before its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub enum HubertSpan {
    Eight,
    Sixteen,
}

impl HubertSpan {
    /// The span of a context of so many values.
    pub(super) fn of(values: usize) -> Option<Self> {
        [Self::Eight, Self::Sixteen].into_iter().find(|span| span.values() == values)
    }

    fn frames(self) -> i64 {
        match self {
            Self::Eight => 8,
            Self::Sixteen => 16,
        }
    }

    /// Values in a context.
    pub(super) fn values(self) -> usize {
        (self.frames() * ROWS_A_FRAME) as usize * ROW
    }

    /// Rows before the frame's own two, and from them on.
    fn rows_each_way(self) -> i64 {
        self.frames() / 2 * ROWS_A_FRAME
    }
}

/// A [`FeatureTrack`] with HuBERT.
pub struct HubertTrack {
    encoder: Aside,
    span: HubertSpan,
    rate: FrameRate,
    /// Samples from number `first_sample` on; older ones are no longer needed.
    samples: VecDeque<f32>,
    first_sample: u64,
    finished: bool,
    level: Level,
    /// Rows from number `first_row` on.
    rows: VecDeque<Box<[f32]>>,
    first_row: u64,
}

/// Mean and variance of the sound from its start to sample `end`.
#[derive(Default)]
struct Level {
    end: u64,
    sum: f64,
    squares: f64,
}

impl Level {
    fn add(&mut self, sample: f32) {
        self.end += 1;
        self.sum += f64::from(sample);
        self.squares += f64::from(sample).powi(2);
    }

    fn normalise(&self, sample: f32) -> f32 {
        let mean = self.sum / self.end as f64;
        let variance = (self.squares / self.end as f64 - mean * mean).max(0.0);
        ((f64::from(sample) - mean) / (variance + 1e-7).sqrt()) as f32
    }
}

impl HubertTrack {
    /// Opens the encoder and checks that it is one from a waveform to rows.
    pub fn open(path: &Path, span: HubertSpan, engine: &Engine) -> Result<Self> {
        // A network hundreds of times larger than the mel encoder: one core would not keep up.
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        let encoder = Network::open(path, engine, threads)?;
        let fits = encoder.inputs().len() == 1
            && encoder.inputs().all(|port| port.is_free(1))
            && encoder.output().is_some_and(|port| port.may_hold(&[usize::MAX, ROW]));
        if !fits {
            return Err(Error::invalid(
                path,
                format!(
                    "is no HuBERT encoder: it maps {}, not [N, samples] to [N, T, {ROW}]",
                    encoder.shapes()
                ),
                "Export HuBERT from the waveform to its last hidden state, for sounds of any length",
            ));
        }
        Ok(Self {
            encoder: Aside::new(encoder)?,
            span,
            rate: FrameRate::NATIVE,
            samples: VecDeque::new(),
            first_sample: 0,
            finished: false,
            level: Level::default(),
            rows: VecDeque::new(),
            first_row: 0,
        })
    }

    /// Samples so far.
    fn known(&self) -> u64 {
        self.first_sample + self.samples.len() as u64
    }

    /// Number of rows, once the sound has ended.
    fn total(&self) -> Option<u64> {
        self.finished.then(|| (self.known() - LENGTH) / STEP + 1)
    }

    /// Makes the next block of rows; false where it needs sound still to come.
    fn next_block(&mut self) -> Result<bool> {
        let start = self.first_row + self.rows.len() as u64;
        let heard_from = start.saturating_sub(HISTORY);
        let wanted_end = STEP * (start + BLOCK + FUTURE - 1) + LENGTH;
        if wanted_end > self.known() && !self.finished {
            return Ok(false);
        }
        let end = wanted_end.min(self.known());
        let begin = STEP * heard_from;
        self.samples.drain(..(begin - self.first_sample) as usize);
        self.first_sample = begin;
        let piece = self.samples.range(..(end - begin) as usize);
        for sample in piece.clone().skip((self.level.end - begin) as usize) {
            self.level.add(*sample);
        }
        let input = self.encoder.network()?.resize_input(0, &[(end - begin) as usize]);
        for (value, sample) in input.iter_mut().zip(piece) {
            *value = self.level.normalise(*sample);
        }

        let expected = ((end - begin - LENGTH) / STEP + 1) as usize;
        let output = self.encoder.run()?;
        if output.len() != expected * ROW || output.iter().any(|v| !v.is_finite()) {
            let problem = format!(
                "made {} values of {} samples, not {expected} rows of {ROW} numbers",
                output.len(),
                end - begin
            );
            return Err(Error::inference(self.encoder.path(), problem));
        }
        let rows = output.chunks_exact(ROW).skip((start - heard_from) as usize).take(BLOCK as usize);
        self.rows.extend(rows.map(Box::from));
        Ok(true)
    }
}

impl FeatureTrack for HubertTrack {
    fn push(&mut self, mono: &[f32]) {
        self.samples.extend(mono);
    }

    fn finish(&mut self) {
        while self.known() < LENGTH {
            self.samples.push_back(0.0);
        }
        self.finished = true;
    }

    fn context(&mut self, n: u64) -> Result<Option<Context>> {
        let (time, den) = time_in_rows(n, self.rate);
        let own = time * ROWS_A_FRAME / den;
        let first = own - self.span.rows_each_way();
        let end = (own + self.span.rows_each_way()) as u64;
        let needed = self.total().map_or(end, |total| end.min(total));
        while self.first_row + (self.rows.len() as u64) < needed {
            if !self.next_block()? {
                return Ok(None);
            }
        }
        let passed = (first.max(0) as u64).saturating_sub(self.first_row).min(self.rows.len() as u64);
        self.rows.drain(..passed as usize);
        self.first_row += passed;

        let mut context = Context::zeros(self.span.values());
        let pair = ROWS_A_FRAME as usize;
        let pairs = (first..).step_by(pair).zip(context.chunks_exact_mut(pair * ROW));
        for (row, values) in pairs {
            // A frame with a row that does not exist stays zero.
            let Some(index) = u64::try_from(row).ok().and_then(|row| row.checked_sub(self.first_row)) else {
                continue;
            };
            if index as usize + pair > self.rows.len() {
                break;
            }
            for (values, row) in values.chunks_exact_mut(ROW).zip(self.rows.range(index as usize..)) {
                values.copy_from_slice(row);
            }
        }
        Ok(Some(context))
    }

    /// Where a frame's last row is the first of a block. It is never less: HuBERT itself looks ahead.
    fn lookahead(&self) -> u64 {
        STEP * (self.span.rows_each_way() as u64 - 1 + BLOCK - 1 + FUTURE) + LENGTH
    }

    fn restart(&mut self, rate: FrameRate) {
        self.rate = rate;
        self.samples.clear();
        self.first_sample = 0;
        self.finished = false;
        self.level = Level::default();
        self.rows.clear();
        self.first_row = 0;
    }

    fn interrupter(&self) -> Option<Interrupter> {
        Some(self.encoder.interrupter())
    }
}
