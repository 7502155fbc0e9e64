// SPDX-License-Identifier: MPL-2.0
//! What a generator is given for the frames of some audio.

use lipsync_core::avatar::Avatar;
use lipsync_core::features::{self, AudioContextKind, Context};
use lipsync_core::inference::runtime::Engine;
use lipsync_core::rate::FrameRate;

use crate::interrupt;

/// The audio context of every frame whose audio is complete. `audio` is 16 kHz mono, `kind` that of the avatar's generator.
pub fn audio_contexts(
    avatar: &Avatar,
    kind: AudioContextKind,
    audio: &[f32],
    engine: &Engine,
) -> anyhow::Result<Vec<Context>> {
    let kind = kind.with_rows(avatar.context, &avatar.generator)?;
    let mut track = avatar.open_features(kind, features::NO_LIMIT, engine)?;
    track.restart(FrameRate::NATIVE);
    let mut contexts = Vec::new();
    // In chunks, so that the track can drop audio that it no longer needs.
    for piece in audio.chunks(16_000) {
        track.push(piece);
        while let Some(context) = track.context(contexts.len() as u64)? {
            contexts.push(context);
        }
        interrupt::check()?;
    }
    Ok(contexts)
}
