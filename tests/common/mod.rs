// SPDX-License-Identifier: MPL-2.0
//! What the tests of the elements share.
#![allow(dead_code, unused_imports)] // Each test binary uses a part of it.

#[path = "../../crates/lipsync-core/tests/common/mod.rs"]
mod shared;

pub mod gst;
pub mod harm;
pub mod record;
pub mod stress;
pub mod studio;

pub use shared::*;
