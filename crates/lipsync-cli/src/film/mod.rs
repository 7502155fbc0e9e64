// SPDX-License-Identifier: MPL-2.0
//! Films of people, read for training: frames at 25 a second, sound at 16 kHz, and where the face is in each frame.

pub mod environment;
pub mod landmarks;
pub mod script;
pub mod segment;
pub mod sound;
pub mod sound_file;
pub mod thinning;
pub mod video;

use crate::format;

/// Frames a second in data sets of SyncTalk_2D.
pub const RATE: usize = 25;

/// Narrower faces are upscaled for the network, which looks soft.
pub const MIN_SHARP_FACE: i64 = 160;

/// The least number of frames that the training kit accepts (training/footage.py), and the number recommended for a
/// good mouth.
pub const MIN_TRAINABLE_FRAMES: usize = 10 * RATE;
pub const RECOMMENDED_FRAMES: usize = 180 * RATE;

/// The time of a frame in the film.
pub fn time(frame: usize) -> String {
    format::time(frame as f64 / RATE as f64)
}

/// What is wrong with the frames that have one of the `bad` verdicts, each with what is said of it, and at which times of the film;
/// `film_frame` is where a frame is from.
pub fn reasons<Verdict: PartialEq>(
    verdicts: &[Verdict],
    bad: impl IntoIterator<Item = (Verdict, &'static str)>,
    film_frame: impl Fn(usize) -> usize,
) -> Vec<String> {
    let mut reasons = Vec::new();
    for (kind, what) in bad {
        let frames: Vec<usize> =
            (0..verdicts.len()).filter(|n| verdicts[*n] == kind).map(&film_frame).collect();
        if !frames.is_empty() {
            let times = format::runs(&frames, |frame| time(*frame));
            reasons.push(format!("{what} {} ({times})", format::count(frames.len(), "frame")));
        }
    }
    reasons
}
