// SPDX-License-Identifier: MPL-2.0
//! How far lips are open by what is heard, without a picture.

use std::path::Path;

use anyhow::Result;
use lipsync_core::audio::resample::SAMPLE_RATE;
use lipsync_core::avatar::Avatar;
use lipsync_core::features::AudioContextKind;
use lipsync_core::generator::opening::LipOpening;
use lipsync_core::inference::runtime::Engine;

use super::offset::{FINE, loudness};
use crate::audio_contexts::for_each_context;
use crate::film::RATE;

/// The avatar whose networks listen, and from whose mouth others are learned.
pub const TEACHER: &str = "iris";

/// What was heard, [`FINE`] times a second.
pub struct Hearing {
    pub opening: Vec<f32>,
    /// Whether a network has listened; otherwise it is only how loud vowels are.
    pub by_network: bool,
}

/// Listens to 16 kHz mono. `progress` is told how many frames were heard.
pub fn hear(samples: &[f32], library_dir: Option<&Path>, progress: &mut dyn FnMut(usize)) -> Result<Hearing> {
    let engine = Engine::default().with_library_dir(library_dir);
    // Without the avatar the tool still works, less exactly.
    let Ok(avatar) = Avatar::find(TEACHER, library_dir) else { return Ok(by_loudness(samples)) };
    let Some(mut lips) = LipOpening::open(&avatar.generator, &engine)? else {
        return Ok(by_loudness(samples));
    };
    let mut openings: Vec<f32> = Vec::new();
    for_each_context(&avatar, AudioContextKind::default(), samples, &engine, &mut |context| {
        openings.push(lips.of(&context)?);
        progress(openings.len());
        Ok(())
    })?;
    Ok(Hearing { opening: between(&openings), by_network: true })
}

fn by_loudness(samples: &[f32]) -> Hearing {
    Hearing { opening: loudness(samples, SAMPLE_RATE as usize), by_network: false }
}

/// Values of frames, along lines between them.
fn between(frames: &[f32]) -> Vec<f32> {
    let steps = FINE / RATE;
    let at = |n: usize| {
        let (frame, part) = (n / steps, (n % steps) as f32 / steps as f32);
        let next = frames.get(frame + 1).unwrap_or(&frames[frame]);
        frames[frame] + part * (next - frames[frame])
    };
    (0..frames.len() * steps).map(at).collect()
}
