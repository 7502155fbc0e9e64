// SPDX-License-Identifier: MPL-2.0
//! An avatar that is quickly loaded and painted: a few small frames and tiny networks.

use std::path::{Path, PathBuf};

use crate::folder::{self, temporary};
use crate::networks::{encoder, generator};

const FILES: &str = "@@ text avatar.toml
format = 1
title = \"Ann\"
license = \"CC0-1.0\"
fps = 25
frames = \"frames\"
crop = [5, 3, 20, 20]
at_rest = true
[models]
audio_encoder = \"audio_encoder.onnx\"
generator = \"generator.onnx\"
@@ picture frames/0.png
33 25 30
@@ picture frames/1.png
33 25 90
@@ picture frames/2.png
33 25 150
";

/// Writes it into a folder of its own, which stays.
pub fn write() -> PathBuf {
    let folder = temporary().keep();
    folder::write(&folder, FILES.as_bytes());
    write_networks(&folder);
    folder
}

/// Writes its networks into a folder.
pub fn write_networks(folder: &Path) {
    std::fs::write(folder.join("generator.onnx"), generator()).expect("no place for the generator");
    std::fs::write(folder.join("audio_encoder.onnx"), encoder()).expect("no place for the encoder");
}
