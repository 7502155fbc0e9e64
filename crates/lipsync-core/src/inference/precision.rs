// SPDX-License-Identifier: MPL-2.0
//! The precision of the generator: that of its file, half precision, or 8-bit integers.
//!
//! The 8-bit network is a file of its own beside the generator, made by `lipsync quantize`. It holds
//! the checksum of the generator that it was made from, so that it is not used for a generator that was
//! trained again.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::file::{self, sha256_hex};
use crate::limits::NETWORK_BYTES;
use crate::onnx::Model;

/// The precision in which the networks compute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// 8 bits where the avatar has an 8-bit network and the processor is faster at it, else the precision of
    /// the file.
    #[default]
    Auto,
    /// The precision of the file, bit-exact.
    Fp32,
    /// bfloat16 or float16 where the file says float32; much hardware is faster at it.
    Half,
    /// 8 bits, or an error.
    Int8,
}

/// The metadata key in an 8-bit network for the SHA-256 of the generator that it was made from.
pub const SOURCE_SHA256: &str = "lipsync.made_of";

const REMEDY: &str = "Run lipsync quantize on the avatar";

/// The 8-bit network of a generator: `generator.int8.onnx` beside `generator.onnx`.
pub fn int8_file(generator: &Path) -> PathBuf {
    generator.with_extension("int8.onnx")
}

impl Precision {
    /// The file to run for a generator.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no 8-bit network and one is asked for; [`Error::Invalid`] where it
    /// was made from another generator.
    pub(crate) fn select_model(self, generator: &Path) -> Result<PathBuf> {
        let file = int8_file(generator);
        match self {
            Self::Fp32 | Self::Half => return Ok(generator.into()),
            Self::Auto if !file.exists() => return Ok(generator.into()),
            Self::Int8 if !file.exists() => {
                let remedy = format!("{REMEDY}, or set precision=auto");
                return Err(Error::not_found(&file, "there is no 8-bit network", remedy));
            }
            Self::Auto | Self::Int8 => {}
        }
        let bytes = file::read(generator, NETWORK_BYTES, REMEDY)?;
        if Model::read(&file)?.metadata(SOURCE_SHA256) != Some(&sha256_hex(&bytes)) {
            let problem = format!("was not made from {}, as it is now", generator.display());
            return Err(Error::invalid(&file, problem, format!("{REMEDY} again, or delete the file")));
        }
        Ok(file)
    }
}
