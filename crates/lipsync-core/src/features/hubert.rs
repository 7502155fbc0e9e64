// SPDX-License-Identifier: MPL-2.0
//! Audio contexts from HuBERT: a network from the waveform to a row of 1024 values every 20 ms.
//!
//! Row `r` covers the samples from `320 r` to `320 r + 400`. A video frame has two rows. The context of frame
//! `i` is the rows of frames `i - 8` to `i + 7`, with zeros where there are none: 32 rows, viewed as [32, 32,
//! 32] (SyncTalk_2D); or those of frames `i - 4` to `i + 3`, viewed as [16, 32, 32]
//! (Ultralight-Digital-Human). An odd last row is dropped. At other frame rates the same rule is evaluated at
//! the frame's own time.
//!
//! HuBERT's attention spans its whole input. SyncTalk_2D's script gives it 20 s at a time; a stream cannot
//! wait for that, so rows are computed in blocks, each with some audio before and after it. As HuBERT's
//! feature extractor does, the audio is normalized to mean 0 and variance 1, here over all audio since the
//! start, which comes close to the statistics of the whole clip.

use std::collections::VecDeque;
use std::path::Path;

use super::mel_track::time_in_rows;
use super::{Context, FeatureTrack};
use crate::error::{Error, Result};
use crate::inference::encoder_thread::EncoderThread;
use crate::inference::network::{Interrupter, Network};
use crate::inference::runtime::Engine;
use crate::rate::FrameRate;

/// Values in a row.
const ROW_VALUES: usize = 1024;
/// Rows for each video frame.
const ROWS_PER_FRAME: i64 = 2;
/// Samples from row to row, and samples that a row covers.
const HOP: u64 = 320;
const RECEPTIVE_FIELD: u64 = 400;
/// Rows that are computed together.
const BLOCK_ROWS: u64 = 32;
/// Rows before and after a block that are computed with it and dropped.
const LEFT_CONTEXT: u64 = 100;
const RIGHT_CONTEXT: u64 = 8;

/// How many video frames a context spans, half of them before its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub enum HubertSpan {
    /// Four before and four from its own on: 16 rows, viewed as [16, 32, 32].
    Eight,
    /// Eight before and eight from its own on: 32 rows, viewed as [32, 32, 32].
    Sixteen,
}

impl HubertSpan {
    /// The span whose context has so many values.
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
        (self.frames() * ROWS_PER_FRAME) as usize * ROW_VALUES
    }

    /// Rows before the frame's time, and from it on.
    fn rows_each_way(self) -> i64 {
        self.frames() / 2 * ROWS_PER_FRAME
    }
}

/// A [`FeatureTrack`] that runs HuBERT.
pub struct HubertTrack {
    encoder: EncoderThread,
    span: HubertSpan,
    rate: FrameRate,
    /// Samples from `first_sample` on; older ones are no longer needed.
    samples: VecDeque<f32>,
    first_sample: u64,
    finished: bool,
    normalizer: Normalizer,
    /// Rows from `first_row` on.
    rows: VecDeque<Box<[f32]>>,
    first_row: u64,
}

/// Running mean and variance of the samples before `end`.
#[derive(Default)]
struct Normalizer {
    end: u64,
    sum: f64,
    squares: f64,
}

impl Normalizer {
    fn add(&mut self, sample: f32) {
        self.end += 1;
        self.sum += f64::from(sample);
        self.squares += f64::from(sample).powi(2);
    }

    fn normalize(&self, sample: f32) -> f32 {
        let mean = self.sum / self.end as f64;
        let variance = (self.squares / self.end as f64 - mean * mean).max(0.0);
        ((f64::from(sample) - mean) / (variance + 1e-7).sqrt()) as f32
    }
}

impl HubertTrack {
    /// Opens the encoder and checks that it maps a waveform to rows.
    pub fn open(path: &Path, span: HubertSpan, engine: &Engine) -> Result<Self> {
        // HuBERT is hundreds of times larger than the mel encoder: one core would not keep up.
        let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
        let encoder = Network::open(path, engine, threads)?;
        let fits = encoder.inputs().len() == 1
            && encoder.inputs().all(|port| port.is_dynamic(1))
            && encoder.output().is_some_and(|port| port.may_have_item_shape(&[usize::MAX, ROW_VALUES]));
        if !fits {
            return Err(Error::invalid(
                path,
                format!(
                    "is no HuBERT encoder: it maps {}, not [N, samples] to [N, T, {ROW_VALUES}]",
                    encoder.shapes()
                ),
                "Export HuBERT from the waveform to its last hidden state, for sounds of any length",
            ));
        }
        Ok(Self {
            encoder: EncoderThread::new(encoder)?,
            span,
            rate: FrameRate::NATIVE,
            samples: VecDeque::new(),
            first_sample: 0,
            finished: false,
            normalizer: Normalizer::default(),
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
        self.finished.then(|| (self.known() - RECEPTIVE_FIELD) / HOP + 1)
    }

    /// Computes the next block of rows; false where more audio is needed first.
    fn next_block(&mut self) -> Result<bool> {
        let start = self.first_row + self.rows.len() as u64;
        let first_input_row = start.saturating_sub(LEFT_CONTEXT);
        let wanted_end = HOP * (start + BLOCK_ROWS + RIGHT_CONTEXT - 1) + RECEPTIVE_FIELD;
        if wanted_end > self.known() && !self.finished {
            return Ok(false);
        }
        let end = wanted_end.min(self.known());
        let begin = HOP * first_input_row;
        self.samples.drain(..(begin - self.first_sample) as usize);
        self.first_sample = begin;
        let piece = self.samples.range(..(end - begin) as usize);
        for sample in piece.clone().skip((self.normalizer.end - begin) as usize) {
            self.normalizer.add(*sample);
        }
        let input = self.encoder.network()?.resize_input(0, &[(end - begin) as usize]);
        for (value, sample) in input.iter_mut().zip(piece) {
            *value = self.normalizer.normalize(*sample);
        }

        let expected = ((end - begin - RECEPTIVE_FIELD) / HOP + 1) as usize;
        let output = self.encoder.run()?;
        if output.len() != expected * ROW_VALUES || output.iter().any(|v| !v.is_finite()) {
            let problem = format!(
                "returned {} values for {} samples, not {expected} rows of {ROW_VALUES} finite values",
                output.len(),
                end - begin
            );
            return Err(Error::inference(self.encoder.path(), problem));
        }
        let rows = output
            .chunks_exact(ROW_VALUES)
            .skip((start - first_input_row) as usize)
            .take(BLOCK_ROWS as usize);
        self.rows.extend(rows.map(Box::from));
        Ok(true)
    }
}

impl FeatureTrack for HubertTrack {
    fn push(&mut self, mono: &[f32]) {
        self.samples.extend(mono);
    }

    fn finish(&mut self) {
        while self.known() < RECEPTIVE_FIELD {
            self.samples.push_back(0.0);
        }
        self.finished = true;
    }

    fn context(&mut self, n: u64) -> Result<Option<Context>> {
        let (time, den) = time_in_rows(n, self.rate);
        let own = time * ROWS_PER_FRAME / den;
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
        let pair = ROWS_PER_FRAME as usize;
        let pairs = (first..).step_by(pair).zip(context.chunks_exact_mut(pair * ROW_VALUES));
        for (row, values) in pairs {
            // A frame whose rows do not exist stays zero.
            let Some(index) = u64::try_from(row).ok().and_then(|row| row.checked_sub(self.first_row)) else {
                continue;
            };
            if index as usize + pair > self.rows.len() {
                break;
            }
            for (values, row) in values.chunks_exact_mut(ROW_VALUES).zip(self.rows.range(index as usize..)) {
                values.copy_from_slice(row);
            }
        }
        Ok(Some(context))
    }

    /// The worst case: the frame's last row is the first of a block. No option shortens it, since HuBERT
    /// itself needs the audio after a row.
    fn lookahead(&self) -> u64 {
        HOP * (self.span.rows_each_way() as u64 - 1 + BLOCK_ROWS - 1 + RIGHT_CONTEXT) + RECEPTIVE_FIELD
    }

    fn restart(&mut self, rate: FrameRate) {
        self.rate = rate;
        self.samples.clear();
        self.first_sample = 0;
        self.finished = false;
        self.normalizer = Normalizer::default();
        self.rows.clear();
        self.first_row = 0;
    }

    fn interrupter(&self) -> Option<Interrupter> {
        Some(self.encoder.interrupter())
    }
}
