// SPDX-License-Identifier: MPL-2.0
//! JSON files for programs and people.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use lipsync_core::file;
use serde::Serialize;

/// Prints a value as a line. Text that a terminal may not show as it is, of names that strangers gave, is escaped as JSON does.
pub fn print(value: &serde_json::Value) {
    let mut line = String::new();
    for character in value.to_string().chars() {
        if matches!(character, ' '..='~') {
            line.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _ = write!(line, "\\u{unit:04x}");
            }
        }
    }
    print_line!("{line}");
}

/// Writes a file in the place of one that may be there.
pub fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(file::replace(path, &text)?)
}
