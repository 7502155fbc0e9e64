// SPDX-License-Identifier: MPL-2.0
//! Audio contexts from a mel encoder.
//!
//! The encoder maps a *window* of 16 mel frames to a *row* of 512 values. A context is the 16 rows around the
//! frame's time, one every 40 ms, viewed as [32, 16, 16].
//!
//! SyncTalk_2D numbers rows as follows: window `j` starts at mel frame `floor(3.2 j)`, clamped to the last
//! 16; the sequence of rows is window 0, all windows, the last window; frame `i` takes rows `i - 8` to `i +
//! 7` of it, and rows that do not exist are zeros. At other frame rates the same rule is evaluated at the
//! frame's own time. With exact [`MelWindows`], window `j` starts at `3.2 j`; with averaged ones, its row is the mean of this window
//! and of those 20 ms earlier and later, as far as they exist and do not start after the last window of the context.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use super::mel_track::{self, MelTrack, time_in_rows};
use super::{Context, FeatureTrack, MelWindows, WINDOW};
use crate::audio::mel::{BANDS, HOP};
use crate::audio::resample::SAMPLE_RATE;
use crate::error::{Error, Result};
use crate::inference::encoder_thread::EncoderThread;
use crate::inference::network::{Interrupter, Network};
use crate::inference::runtime::Engine;
use crate::picture::pool::Floats;
use crate::rate::FrameRate;

/// Values in a row.
const ROW_VALUES: usize = 512;
/// Rows in a context.
const ROWS: usize = 16;
/// Values in a context: what the generator's audio input takes.
pub const CONTEXT: usize = ROWS * ROW_VALUES;

/// Rows before the frame's own.
const ROWS_BEFORE: i64 = 8;
/// The first window occurs twice, so row `r` is window `r - 1`.
const REPEATED_ROWS: i64 = 1;
/// Samples at 16 kHz from row to row.
const ROW_STEP: i64 = 16 * HOP as i64 / 5;
/// Samples at 16 kHz between the windows whose rows are averaged.
const AVERAGED_STEP: usize = ROW_STEP as usize / 2;

/// How the 16 rows of a context are chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RowSelection {
    /// The 16 rows around the frame: what SyncTalk_2D trains with.
    #[default]
    Window,
    /// The frame's own row 16 times: what digital-clone's demonstration does.
    Tile,
}

impl RowSelection {
    /// The last row of a context, relative to the frame's own.
    const fn last_row(self) -> i64 {
        match self {
            Self::Window => ROWS as i64 - 1 - ROWS_BEFORE,
            Self::Tile => 0,
        }
    }
}

/// Audio that the row at offset `row` needs after the frame's time, in samples at 16 kHz.
const fn lookahead(row: i64) -> u64 {
    mel_track::LOOKAHEAD.saturating_add_signed((row - REPEATED_ROWS) * ROW_STEP)
}

/// The longest lookahead of networks with a mel encoder, in nanoseconds.
pub const MAX_MEL_LOOKAHEAD: u64 =
    lookahead(RowSelection::Window.last_row()) * 1_000_000_000 / SAMPLE_RATE as u64;

/// The last row to wait for, relative to the frame's own; later rows repeat it.
///
/// The lower bound is two rows before the frame's own: 92.5 ms of lookahead.
fn last_known_row(kind: RowSelection, limit: u64) -> i64 {
    const EARLIEST: i64 = -2;
    let rows = (limit as i64 - mel_track::LOOKAHEAD as i64).div_euclid(ROW_STEP) + REPEATED_ROWS;
    rows.clamp(EARLIEST, kind.last_row())
}

/// A [`FeatureTrack`] that runs a mel encoder.
pub struct MelRowTrack {
    encoder: EncoderThread,
    kind: RowSelection,
    /// The last row to wait for, relative to the frame's own.
    last_row: i64,
    rate: FrameRate,
    mel: MelTrack,
    /// Steps of the grid to the other windows of a row; 0 where a row is one window.
    apart: u64,
    /// Encoded windows by their start: neighbouring video frames share most of them.
    rows: BTreeMap<u64, Floats>,
}

impl MelRowTrack {
    /// Opens the encoder and checks its shapes.
    pub fn open(
        path: &Path,
        kind: RowSelection,
        windows: MelWindows,
        limit: u64,
        engine: &Engine,
    ) -> Result<Self> {
        let encoder = Network::open(path, engine, 1)?;
        let fits = encoder.inputs().len() == 1
            && encoder.inputs().all(|port| port.has_item_shape(&[1, BANDS, WINDOW]))
            && encoder.output().is_some_and(|port| port.may_have_item_shape(&[ROW_VALUES]));
        if !fits {
            return Err(Error::invalid(
                path,
                format!(
                    "is no audio encoder for mel windows: it maps {}, not [N, 1, {BANDS}, {WINDOW}] to [N, {ROW_VALUES}]",
                    encoder.shapes()
                ),
                "Give the mel encoder that the generator was trained with",
            ));
        }
        Ok(Self {
            encoder: EncoderThread::new(encoder)?,
            kind,
            last_row: last_known_row(kind, limit),
            rate: FrameRate::NATIVE,
            mel: MelTrack::new(windows),
            apart: match windows {
                MelWindows::MelFrames | MelWindows::Exact => 0,
                MelWindows::Averaged => (AVERAGED_STEP * windows.steps() / HOP) as u64,
            },
            rows: BTreeMap::new(),
        })
    }

    /// The start of the window for row `offset` of frame `n`, or `None` where there is no such row.
    fn row_start(&self, n: u64, offset: i64) -> Option<u64> {
        let (time, den) = time_in_rows(n, self.rate);
        let row = time + offset * den;
        // The repeated first row needs audio later than its position: with a short lookahead it is left out.
        let repeated = row < REPEATED_ROWS * den;
        let shortened = self.last_row < REPEATED_ROWS.min(self.kind.last_row());
        if row < 0 || (repeated && shortened) {
            return None;
        }
        let mut window = (row - REPEATED_ROWS * den).max(0);
        if let Some(mel_frames) = self.mel.mel_frames() {
            let windows = window_count(mel_frames) as i64;
            if row > (windows + REPEATED_ROWS) * den {
                return None;
            }
            window = window.min((windows - 1) * den);
        }
        Some(self.mel.window_start(window, den))
    }

    /// The starts of the windows for the rows of frame `n`, or `None` where they need more audio first; what only earlier frames need is
    /// dropped.
    fn starts(&mut self, n: u64) -> Option<Vec<Option<u64>>> {
        let offsets = match self.kind {
            RowSelection::Window => -ROWS_BEFORE..ROWS as i64 - ROWS_BEFORE,
            RowSelection::Tile => 0..1,
        };
        let starts: Vec<Option<u64>> =
            offsets.map(|offset| self.row_start(n, offset.min(self.last_row))).collect();
        if !starts.iter().flatten().all(|start| self.mel.has(*start, WINDOW)) {
            return None;
        }
        // The first row of every later frame starts here or later, so what is older can be dropped. Where the
        // first row does not exist, as near the beginning, nothing is dropped: a later frame may start
        // earlier than this one's other rows, since positions between two rows round either way.
        if let Some(oldest) = starts[0] {
            let oldest = oldest.saturating_sub(self.apart);
            self.mel.forget_before(oldest);
            self.rows = self.rows.split_off(&oldest);
        }
        Some(starts)
    }

    /// Writes the row of the window at `start`; windows averaged with it start at `latest` at the latest.
    fn write_row(&mut self, start: u64, latest: u64, row: &mut [f32]) -> Result<()> {
        if self.apart == 0 {
            row.copy_from_slice(self.encoded(start)?);
            return Ok(());
        }
        let earlier = start.saturating_sub(self.apart);
        let later = (start + self.apart).min(latest);
        for (start, weight) in [(earlier, 0.25), (start, 0.5), (later, 0.25)] {
            for (sum, value) in row.iter_mut().zip(self.encoded(start)?) {
                *sum += weight * value;
            }
        }
        Ok(())
    }

    /// The encoded window at `start`.
    fn encoded(&mut self, start: u64) -> Result<&[f32]> {
        Ok(match self.rows.entry(start) {
            Entry::Occupied(row) => row.into_mut(),
            Entry::Vacant(slot) => {
                self.mel.write_window(start, WINDOW, self.encoder.network()?.item_mut(0, 0));
                slot.insert(encode(&mut self.encoder)?)
            }
        })
    }
}

impl FeatureTrack for MelRowTrack {
    fn push(&mut self, mono: &[f32]) {
        self.mel.push(mono);
    }

    fn finish(&mut self) {
        self.mel.finish();
    }

    fn context(&mut self, n: u64) -> Result<Option<Context>> {
        let Some(starts) = self.starts(n) else { return Ok(None) };
        let mut context = Context::zeros(CONTEXT);
        let repeat = ROWS / starts.len();
        // What starts later would need a longer lookahead.
        let latest = starts.iter().flatten().max().copied().unwrap_or_default();
        for (start, rows) in starts.iter().zip(context.chunks_exact_mut(ROW_VALUES * repeat)) {
            // Rows that do not exist stay zero.
            let Some(start) = *start else { continue };
            let (row, copies) = rows.split_at_mut(ROW_VALUES);
            self.write_row(start, latest, row)?;
            for copy in copies.chunks_exact_mut(ROW_VALUES) {
                copy.copy_from_slice(row);
            }
        }
        Ok(Some(context))
    }

    fn pass(&mut self, n: u64) -> Result<bool> {
        Ok(self.starts(n).is_some())
    }

    fn lookahead(&self) -> u64 {
        lookahead(self.last_row)
    }

    fn restart(&mut self, rate: FrameRate) {
        self.rate = rate;
        self.mel.reset();
        self.rows.clear();
    }

    fn interrupter(&self) -> Option<Interrupter> {
        Some(self.encoder.interrupter())
    }
}

/// Runs the encoder; of a fixed batch only the first item is used.
fn encode(encoder: &mut EncoderThread) -> Result<Floats> {
    let rows = encoder.run()?;
    let row = rows.get(..ROW_VALUES).filter(|row| row.iter().all(|v| v.is_finite()));
    if let Some(row) = row {
        return Ok(row.into());
    }
    let problem =
        format!("returned a row of {} values that contains NaN or infinity, or is too short", rows.len());
    Err(Error::inference(encoder.path(), problem))
}

/// Number of windows for `mel_frames` (at least 16), with the rounding of SyncTalk_2D's data set.
fn window_count(mel_frames: u64) -> u64 {
    ((mel_frames - WINDOW as u64) as f64 / 80.0 * 25.0) as u64 + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookahead_is_that_of_the_last_row() {
        let whole = |kind| lookahead(last_known_row(kind, u64::MAX >> 1));
        // 452.5 ms: six windows of 40 ms, 15 mel frames of 12.5 ms, and half an FFT window.
        assert_eq!(whole(RowSelection::Window), 7240);
        assert_eq!(whole(RowSelection::Tile), 2760);
        assert_eq!(MAX_MEL_LOOKAHEAD, 452_500_000);
    }

    #[test]
    fn lookahead_keeps_to_its_limit_in_whole_rows() {
        let limited = |limit| lookahead(last_known_row(RowSelection::Window, limit));
        assert_eq!(limited(7239), 7240 - 640);
        assert_eq!(limited(3400), 3400);
        assert_eq!(limited(1600), 1480);
        assert_eq!(limited(0), 1480);
    }
}
