//! Contexts that are the frame's mel window itself, as networks of the Wav2Lip family hear it.
//!
//! The window of frame `i` starts at mel frame `floor(3.2 i)`, clamped to the last 16. At other frame rates it
//! starts at the frame's own time.

use super::mel_track::{MelTrack, time_in_rows};
use super::{Context, FeatureTrack, WINDOW};
use crate::error::Result;
use crate::mel::BANDS;
use crate::network::Interrupter;
use crate::rate::FrameRate;

/// A [`FeatureTrack`] without an encoder.
pub struct WindowTrack {
    mel: MelTrack,
    rate: FrameRate,
}

impl Default for WindowTrack {
    fn default() -> Self {
        Self { mel: MelTrack::default(), rate: FrameRate::NATIVE }
    }
}

impl FeatureTrack for WindowTrack {
    fn push(&mut self, mono: &[f32]) {
        self.mel.push(mono);
    }

    fn finish(&mut self) {
        self.mel.finish();
    }

    fn context(&mut self, n: u64) -> Result<Option<Context>> {
        let (rows, den) = time_in_rows(n, self.rate);
        let start = self.mel.window_start(rows, den);
        if !self.mel.has_window(start) {
            return Ok(None);
        }
        self.mel.forget_before(start);
        let mut context = vec![0.0; BANDS * WINDOW].into_boxed_slice();
        self.mel.write_window(start, &mut context);
        Ok(Some(context))
    }

    fn restart(&mut self, rate: FrameRate) {
        self.rate = rate;
        self.mel.reset();
    }

    fn interrupter(&self) -> Option<Interrupter> {
        None
    }
}
