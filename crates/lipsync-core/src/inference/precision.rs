//! In which numbers the generator computes: its own, or whole numbers of 8 bits.
//!
//! The 8-bit network is a file of its own beside the generator, made by `lipsync-avatar quantize`. It says of which
//! generator it was made, so that one trained anew is not played with the numbers of the old.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::file::{self, sha256_hex};
use crate::limits::NETWORK_BYTES;
use crate::onnx::Model;

/// In which numbers the networks compute.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Precision {
    /// 8 bits where the avatar has such a network and the processor runs it, else what the network's file says.
    #[default]
    Auto,
    /// What the network's file says, to the last bit.
    Fp32,
    /// In bfloat16 or float16, which much hardware is faster at, where the file says float32.
    Half,
    /// 8 bits, or an error.
    Int8,
}

/// The entry of an 8-bit network that holds the SHA-256 sum of the generator of which it was made.
pub const SOURCE_SHA256: &str = "lipsync.made_of";

const REMEDY: &str = "Run lipsync-avatar quantize on the avatar";

/// The 8-bit network of a generator: `generator.int8.onnx` beside `generator.onnx`.
pub fn int8_file(generator: &Path) -> PathBuf {
    generator.with_extension("int8.onnx")
}

impl Precision {
    /// The file of the network to be run for a generator.
    ///
    /// # Errors
    /// [`Error::NotFound`] where there is no 8-bit network and one is asked for; [`Error::Invalid`] where it was made
    /// of another generator.
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
            let problem = format!("was not made of {}, as it is now", generator.display());
            return Err(Error::invalid(&file, problem, format!("{REMEDY} again, or delete the file")));
        }
        Ok(file)
    }
}
