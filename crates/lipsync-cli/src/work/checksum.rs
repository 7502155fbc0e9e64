// SPDX-License-Identifier: MPL-2.0
//! SHA-256 checksums of files of any length.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use lipsync_core::file::Sha256;

/// Bytes that are read at once.
const BLOCK: usize = 1 << 20;

/// Adds the content of a file, and returns how many bytes it has.
pub fn add_file(sum: &mut Sha256, path: &Path) -> Result<u64> {
    let unreadable = || format!("{}: cannot be read", path.display());
    let mut file = File::open(path).with_context(unreadable)?;
    let (mut bytes, mut block) = (0, vec![0; BLOCK]);
    loop {
        match file.read(&mut block).with_context(unreadable)? {
            0 => return Ok(bytes),
            count => {
                sum.update(&block[..count]);
                bytes += count as u64;
            }
        }
    }
}

/// Length and checksum of a file.
pub fn of_file(path: &Path) -> Result<(u64, String)> {
    let mut sum = Sha256::default();
    let bytes = add_file(&mut sum, path)?;
    Ok((bytes, sum.finish()))
}
