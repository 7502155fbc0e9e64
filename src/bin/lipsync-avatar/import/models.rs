//! The networks of an avatar, each as one file.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use gstlipsync::avatar::{Avatar, names};
use gstlipsync::onnx::{Halved, Model};

use crate::interrupt;

/// Copies both networks, with float16 weights if `halve`.
pub fn copy(avatar: &Avatar, folder: &Path, halve: bool) -> Result<Halved> {
    let mut halved = Halved::default();
    let encoder = avatar.audio_encoder.as_ref().map(|encoder| (encoder, names::AUDIO_ENCODER));
    for (path, name) in encoder.into_iter().chain([(&avatar.generator, names::GENERATOR)]) {
        interrupt::check()?;
        let target = folder.join(name);
        let mut model = Model::read(path)?;
        if halve {
            let more = model.halve_weights()?;
            halved.values += more.values;
            halved.too_large += more.too_large;
        }
        if halve || model.is_scattered() {
            model.write(&target)?;
        } else {
            std::fs::copy(path, &target)
                .with_context(|| format!("{}: cannot be copied to {}", path.display(), target.display()))?;
        }
    }
    Ok(halved)
}

/// The files of an avatar's networks.
pub fn files(avatar: &Avatar) -> Vec<PathBuf> {
    avatar.audio_encoder.iter().chain([&avatar.generator]).cloned().collect()
}

/// Their names in our own layout.
pub fn names() -> [&'static str; 2] {
    [names::AUDIO_ENCODER, names::GENERATOR]
}
