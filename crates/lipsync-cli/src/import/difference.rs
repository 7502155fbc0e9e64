// SPDX-License-Identifier: MPL-2.0
//! Measures what storing weights as float16 changes: both avatars paint the same faces for the same audio.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use lipsync_core::avatar::Avatar;
use lipsync_core::avatar::frames::FrameStore;
use lipsync_core::features::Context as AudioContext;
use lipsync_core::generator::{FaceInput, Generator};
use lipsync_core::inference::precision::Precision;
use lipsync_core::inference::runtime::Engine;
use lipsync_core::picture::formats::{Canvas, Packed, PixelFormat};

use crate::audio_contexts::audio_contexts;

/// Number of frames to compare, and the first of them in the audio.
const FRAMES: usize = 4;
const FIRST: usize = 10;

/// The difference between the outputs of two avatars.
pub struct Difference {
    /// Maximum and mean absolute difference, in levels of 255.
    worst: u8,
    mean: f64,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "what they paint differs by {} of 255 levels at most, {:.3} on average",
            self.worst, self.mean
        )
    }
}

/// Paints some faces with both avatars.
pub fn measure(original: &Avatar, copy: &Avatar, library_dir: Option<&Path>) -> Result<Difference> {
    // In float32: otherwise both would use the 8-bit network, where there is one.
    let engine = Engine { precision: Precision::Fp32, ..Engine::default() }.with_library_dir(library_dir);
    let open = |avatar: &Avatar| Generator::open(&avatar.generator, avatar.face, &engine, 1);
    let (mut first, mut second) = (open(original)?, open(copy)?);
    let contexts = contexts(original, &first, &engine)?.into_iter().zip(contexts(copy, &second, &engine)?);
    let canvas = Canvas {
        format: PixelFormat::Packed(Packed { bytes: 3, order: [0, 1, 2], alpha: None }),
        background: None,
    };
    let store = FrameStore::new(Arc::new(original.clone()), canvas, first.framing(), 0);
    let (mut worst, mut sum, mut count) = (0, 0u64, 0u64);
    for (n, (one, other)) in contexts.enumerate() {
        let frame = store.get(n * (original.frames.len() - 1) / FRAMES)?;
        // One face for each network: the features that a network computes are only for that network.
        let [face, again] = [(); 2].map(|()| FaceInput::new(frame.seen.views.clone()));
        let one = first.paint([(&face, &one)].into_iter())?;
        let other = second.paint([(&again, &other)].into_iter())?;
        for (a, b) in one.iter().flat_map(|p| p.iter()).zip(other.iter().flat_map(|p| p.iter())) {
            worst = worst.max(a.abs_diff(*b));
            sum += u64::from(a.abs_diff(*b));
            count += 1;
        }
    }
    Ok(Difference { worst, mean: sum as f64 / count.max(1) as f64 })
}

/// Contexts for synthetic audio: two seconds of noise with the envelope of syllables.
fn contexts(avatar: &Avatar, generator: &Generator, engine: &Engine) -> Result<Vec<AudioContext>> {
    let mut state = 1u32;
    let audio: Vec<f32> = (0..32_000)
        .map(|n| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let noise = (state >> 8) as f32 / (1 << 23) as f32 - 1.0;
            noise * 0.3 * (n as f32 * 0.002).sin().abs()
        })
        .collect();
    let contexts = audio_contexts(avatar, generator.context_kind(), &audio, engine)?;
    Ok(contexts.into_iter().skip(FIRST).step_by(3).take(FRAMES).collect())
}
