// SPDX-License-Identifier: MPL-2.0
//! Audio encoders of both kinds from their file to the first contexts, ONNX Runtime included.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use fuzz::{avatar, fault, mutate, watchdog};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use lipsync_core::avatar::Avatar;
use lipsync_core::error::Result;
use lipsync_core::features::{self, AudioContextKind, HubertSpan, RowSelection};
use lipsync_core::inference::runtime::Engine;
use lipsync_core::rate::FrameRate;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(avatar::write);
static AVATAR: LazyLock<Avatar> = LazyLock::new(|| Avatar::open(&FOLDER).expect("the avatar is one"));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate::network(data, size, max_size, seed)
});

fuzz_target!(|input: &[u8]| {
    fault::tell();
    std::fs::write(FOLDER.join("audio_encoder.onnx"), input).expect("no place for the network");
    // Those of one kind are refused as the other.
    let kinds =
        [AudioContextKind::MelRows(RowSelection::Window), AudioContextKind::Hubert(HubertSpan::Sixteen)];
    for context_kind in kinds {
        if let Err(error) = hear(context_kind) {
            drop(error.to_string());
        }
    }
});

fn hear(context_kind: AudioContextKind) -> Result<()> {
    let mut track = AVATAR.open_features(context_kind, features::NO_LIMIT, &Engine::default())?;
    let interrupter = track.interrupter();
    let stop = || interrupter.iter().for_each(|interrupter| interrupter.interrupt());
    watchdog::guard(stop, || {
        track.restart(FrameRate::NATIVE);
        let tone: Vec<f32> = (0..8000).map(|n| (n as f32 * 0.1).sin() / 2.0).collect();
        track.push(&tone);
        track.finish();
        for n in 0..3 {
            let context = track.context(n)?;
            assert!(context.is_none_or(|context| context.len() == context_kind.values()));
        }
        Ok(())
    })
}
