//! Step 3: mel frames to the audio context of a video frame.
//!
//! The audio encoder turns a *window* of 16 mel frames into a *row* of 512 values. The generator sees 16
//! rows around the frame's time, one every 40 ms, as [32, 16, 16].
//!
//! SyncTalk_2D numbers them so: window `j` starts at mel frame `floor(3.2 j)`, clamped to the last 16; the
//! row sequence is window 0, all windows, the last window; frame `i` takes rows `i - 8` to `i + 7` of it, and
//! rows that do not exist are zeros. At other frame rates the same is evaluated at the frame's own time.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use crate::error::{Error, Result};
use crate::mel::{BANDS, HOP, MAX_VALUE, MelFrame, N_FFT};
use crate::network::{Interrupter, Network};
use crate::rate::FrameRate;
use crate::runtime::Engine;

/// Mel frames in a window.
pub const WINDOW: usize = 16;
/// Values in a row.
pub const ROW: usize = 512;
/// Rows in a context.
pub const ROWS: usize = 16;
/// Values in a context: what the generator's audio input takes.
pub const CONTEXT: usize = ROWS * ROW;

/// Rows before the frame's own.
const ROWS_BEFORE: i64 = 8;
/// The first row is a repetition, so row `r` is window `r - 1`.
const REPEATED_ROWS: i64 = 1;
/// Mel frames in a second, over the rows in a second: 80 / 25.
const MEL_PER_ROW: (i64, i64) = (16, 5);

/// The audio context of one video frame, row-major.
pub type Context = Box<[f32]>;

/// How the 16 rows of a context are chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ContextKind {
    /// The 16 rows around the frame: what SyncTalk_2D trains with.
    #[default]
    Window,
    /// The frame's own row 16 times: how digital-clone was demonstrated.
    Tile,
}

impl ContextKind {
    /// Sound that a frame needs from behind its own time, in samples at 16 kHz.
    pub fn lookahead(self) -> u64 {
        let last_row = match self {
            Self::Window => ROWS as i64 - 1 - ROWS_BEFORE,
            Self::Tile => 0,
        };
        let window = (last_row - REPEATED_ROWS) * HOP as i64 * MEL_PER_ROW.0 / MEL_PER_ROW.1;
        let last_mel = (WINDOW - 1) * HOP + N_FFT / 2;
        (window + last_mel as i64) as u64
    }
}

/// The audio encoder network: a window in, a row out.
pub struct AudioEncoder {
    network: Network,
}

impl AudioEncoder {
    /// Opens the encoder and checks that it has the shape of the method.
    ///
    /// # Errors
    /// As [`Network::open`]; [`Error::Invalid`] with the shapes where they do not fit.
    pub fn open(path: &Path, engine: &Engine, beside: Option<&Path>) -> Result<Self> {
        let network = Network::open(path, engine, 1, beside)?;
        let fits = network.inputs().len() == 1
            && network.inputs().all(|port| port.holds(&[1, BANDS, WINDOW]))
            && network.output().may_hold(&[ROW]);
        if !fits {
            let inputs: Vec<String> = network.inputs().map(|port| port.to_string()).collect();
            return Err(Error::invalid(
                path,
                format!(
                    "is no audio encoder of the method: it maps {} to {}, not [N, 1, {BANDS}, {WINDOW}] to [N, {ROW}]",
                    inputs.join(", "),
                    network.output()
                ),
                "Give the mel encoder that the generator was trained with",
            ));
        }
        Ok(Self { network })
    }

    /// A handle that stops its runs.
    pub fn interrupter(&self) -> Interrupter {
        self.network.interrupter()
    }

    /// Encodes the window of mel frames that starts at `start`.
    fn encode(&mut self, mel: &VecDeque<MelFrame>, start: usize) -> Result<Box<[f32]>> {
        let input = self.network.input_mut(0);
        for (t, frame) in mel.range(start..start + WINDOW).enumerate() {
            for (band, value) in frame.iter().enumerate() {
                input[band * WINDOW + t] = *value;
            }
        }
        let row: Box<[f32]> = self.network.run()?.into();
        if row.len() != ROW || row.iter().any(|v| !v.is_finite()) {
            return Err(Error::Inference {
                model: self.network.path().into(),
                problem: format!("made a row of {} values with NaN or infinity among them", row.len()),
            });
        }
        Ok(row)
    }
}

/// The mel frames of a stream and the contexts that can be made of them.
pub struct FeatureTrack {
    encoder: AudioEncoder,
    kind: ContextKind,
    rate: FrameRate,
    /// Mel frames from number `first_mel` on; older ones are no longer needed.
    mel: VecDeque<MelFrame>,
    first_mel: u64,
    /// Number of mel frames, once the sound has ended.
    total_mel: Option<u64>,
    /// Encoded rows by the mel frame that their window starts at: neighbouring frames share most of them.
    rows: BTreeMap<u64, Box<[f32]>>,
}

impl FeatureTrack {
    /// A track of contexts for video of `rate`.
    pub fn new(encoder: AudioEncoder, kind: ContextKind, rate: FrameRate) -> Self {
        Self {
            encoder,
            kind,
            rate,
            mel: VecDeque::new(),
            first_mel: 0,
            total_mel: None,
            rows: BTreeMap::new(),
        }
    }

    /// A handle that stops the encoder.
    pub fn interrupter(&self) -> Interrupter {
        self.encoder.interrupter()
    }

    /// Changes the frame rate; frames told so far keep their numbers, so [`Self::reset`] must follow.
    pub fn set_rate(&mut self, rate: FrameRate) {
        self.rate = rate;
    }

    /// Forgets all sound.
    pub fn reset(&mut self) {
        self.mel.clear();
        self.first_mel = 0;
        self.total_mel = None;
        self.rows.clear();
    }

    /// Adds the next mel frame.
    pub fn push(&mut self, frame: MelFrame) {
        self.mel.push_back(frame);
    }

    /// Says that no more mel frames come.
    pub fn finish(&mut self) {
        // A sound shorter than a window is filled up with silence.
        while self.first_mel == 0 && self.mel.len() < WINDOW {
            self.mel.push_back([-MAX_VALUE; BANDS]);
        }
        self.total_mel = Some(self.first_mel + self.mel.len() as u64);
    }

    /// The context of video frame `n`, or `None` while it needs mel frames still to come.
    ///
    /// Frames must be asked for in rising order: what only earlier ones need is dropped.
    ///
    /// # Errors
    /// [`Error::Inference`] from the encoder.
    pub fn context(&mut self, n: u64) -> Result<Option<Context>> {
        let offsets = match self.kind {
            ContextKind::Window => -ROWS_BEFORE..ROWS as i64 - ROWS_BEFORE,
            ContextKind::Tile => 0..1,
        };
        let starts: Vec<Option<u64>> = offsets.map(|offset| self.row_start(n, offset)).collect();
        let known = self.first_mel + self.mel.len() as u64;
        if starts.iter().flatten().any(|start| start + WINDOW as u64 > known) {
            return Ok(None);
        }
        // Every later frame starts its rows here or later, but the end may clamp to the last window.
        if let Some(oldest) = starts.iter().flatten().min().copied() {
            let oldest = oldest.min(known.saturating_sub(WINDOW as u64));
            let passed = oldest.saturating_sub(self.first_mel) as usize;
            self.mel.drain(..passed);
            self.first_mel += passed as u64;
            self.rows = self.rows.split_off(&oldest);
        }

        let mut context = vec![0.0; CONTEXT].into_boxed_slice();
        let repeat = ROWS / starts.len();
        for (start, rows) in starts.iter().zip(context.chunks_exact_mut(ROW * repeat)) {
            // Rows that do not exist stay zero.
            let Some(start) = *start else { continue };
            let row = match self.rows.entry(start) {
                std::collections::btree_map::Entry::Occupied(row) => row.into_mut(),
                std::collections::btree_map::Entry::Vacant(slot) => {
                    let index = (start - self.first_mel) as usize;
                    slot.insert(self.encoder.encode(&self.mel, index)?)
                }
            };
            for copy in rows.chunks_exact_mut(ROW) {
                copy.copy_from_slice(row);
            }
        }
        Ok(Some(context))
    }

    /// The mel frame at which the window of frame `n`'s row `offset` starts, or `None` if there is no such row.
    ///
    /// Time is counted in rows of 40 ms, as a fraction with denominator `den`: exact at any frame rate.
    fn row_start(&self, n: u64, offset: i64) -> Option<u64> {
        let native = FrameRate::NATIVE;
        let num = i64::from(native.num()) * i64::from(self.rate.den());
        let den = i64::from(native.den()) * i64::from(self.rate.num());
        let row = n as i64 * num + offset * den;
        if row < 0 {
            return None;
        }
        let mut window = (row - REPEATED_ROWS * den).max(0);
        if let Some(total) = self.total_mel {
            let windows = window_count(total) as i64;
            if row > (windows + REPEATED_ROWS) * den {
                return None;
            }
            window = window.min((windows - 1) * den);
        }
        let start = (window * MEL_PER_ROW.0 / (den * MEL_PER_ROW.1)) as u64;
        Some(match self.total_mel {
            Some(total) => start.min(total - WINDOW as u64),
            None => start,
        })
    }
}

/// Windows in a sound of `mel_frames` (at least 16): the count of SyncTalk_2D's data set, with its rounding.
fn window_count(mel_frames: u64) -> u64 {
    ((mel_frames - WINDOW as u64) as f64 / 80.0 * 25.0) as u64 + 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookahead_is_what_the_last_row_hears() {
        // 452.5 ms: six windows of 40 ms on, 15 mel frames of 12.5 ms, half an FFT window.
        assert_eq!(ContextKind::Window.lookahead(), 7240);
        assert_eq!(ContextKind::Tile.lookahead(), 2760);
    }
}
