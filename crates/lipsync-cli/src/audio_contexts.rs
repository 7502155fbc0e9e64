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
    let mut contexts = Vec::new();
    for_each_context(avatar, kind, audio, engine, &mut |context| {
        contexts.push(context);
        Ok(())
    })?;
    Ok(contexts)
}

/// Hands on these contexts one after the other: those of a long sound take a lot of memory.
pub fn for_each_context(
    avatar: &Avatar,
    kind: AudioContextKind,
    audio: &[f32],
    engine: &Engine,
    take: &mut dyn FnMut(Context) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let kind = kind.with_rows(avatar.context, &avatar.generator)?;
    let mut track = avatar.open_features(kind, features::NO_LIMIT, engine)?;
    track.restart(FrameRate::NATIVE);
    let mut frame = 0;
    // In chunks, so that the track can drop audio that it no longer needs.
    for piece in audio.chunks(16_000) {
        track.push(piece);
        while let Some(context) = track.context(frame)? {
            take(context)?;
            frame += 1;
        }
        interrupt::check()?;
    }
    Ok(())
}
