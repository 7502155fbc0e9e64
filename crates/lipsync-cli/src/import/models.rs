// SPDX-License-Identifier: MPL-2.0
//! The networks of an avatar, each as one file.

use std::path::{Path, PathBuf};

use anyhow::Result;
use lipsync_core::avatar::{Avatar, names};
use lipsync_core::file::{self, sha256_hex};
use lipsync_core::inference::precision::{SOURCE_SHA256, int8_file};
use lipsync_core::limits::NETWORK_BYTES;
use lipsync_core::onnx::{Float16Conversion, Model};

use crate::interrupt;

/// Copies both networks, with float16 weights if `halve`.
pub fn copy(avatar: &Avatar, folder: &Path, halve: bool) -> Result<Float16Conversion> {
    let mut halved = Float16Conversion::default();
    let encoder = avatar.audio_encoder.as_ref().map(|encoder| (encoder, names::AUDIO_ENCODER));
    for (path, name) in encoder.into_iter().chain([(&avatar.generator, names::GENERATOR)]) {
        interrupt::check()?;
        let target = folder.join(name);
        let mut model = Model::read(path)?;
        if halve {
            let more = model.convert_weights_to_float16()?;
            halved.values += more.values;
            halved.too_large += more.too_large;
        }
        if halve || model.has_external_data() {
            model.write(&target)?;
        } else {
            file::copy(path, &target, NETWORK_BYTES, "Copy the avatar's models again")?;
        }
    }
    copy_int8(avatar, &folder.join(names::GENERATOR))?;
    Ok(halved)
}

/// Copies the 8-bit network, if there is one, with the checksum of the copied generator.
fn copy_int8(avatar: &Avatar, generator: &Path) -> Result<()> {
    let source = int8_file(&avatar.generator);
    if !source.exists() {
        return Ok(());
    }
    let mut model = Model::read(&source)?;
    let bytes = file::read(generator, NETWORK_BYTES, "Copy the avatar's models again")?;
    model.set_metadata(SOURCE_SHA256, sha256_hex(&bytes));
    model.write(&int8_file(generator))?;
    Ok(())
}

/// The files of an avatar's networks.
pub fn files(avatar: &Avatar) -> Vec<PathBuf> {
    let int8 = Some(int8_file(&avatar.generator)).filter(|file| file.exists());
    avatar.audio_encoder.iter().chain([&avatar.generator]).cloned().chain(int8).collect()
}

/// Their names in our own layout.
pub fn names() -> [PathBuf; 3] {
    let generator = PathBuf::from(names::GENERATOR);
    [names::AUDIO_ENCODER.into(), int8_file(&generator), generator]
}
