// SPDX-License-Identifier: MPL-2.0
//! JSON files for programs and people.

use std::path::Path;

use anyhow::Result;
use lipsync_core::file;
use serde::Serialize;

/// Writes a file in the place of one that may be there.
pub fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(file::replace(path, &text)?)
}
