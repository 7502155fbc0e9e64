// SPDX-License-Identifier: MPL-2.0
//! Avatars as a malicious stranger would make them: each ends in one sentence that names file and remedy, and none in a
//! hang, a panic, a full memory, or a file read or copied that is not the avatar's.

#![allow(clippy::expect_used, clippy::unwrap_used)]
#![cfg(unix)]

mod clips;
#[path = "../../../lipsync-core/tests/common/mod.rs"]
mod common;
mod files;
mod names;
mod pictures;
mod place;
#[path = "../common/tool.rs"]
mod tool;
mod values;
