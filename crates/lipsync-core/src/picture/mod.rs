// SPDX-License-Identifier: MPL-2.0
//! Pictures: their files, formats and sizes, and the memory that they are kept in.

pub mod formats;
pub mod geometry;
pub mod image_file;
pub mod morph;
pub mod pool;
pub mod resize;
