// SPDX-License-Identifier: MPL-2.0
//! The messages of an ONNX file, generated from `onnx.proto` by `build.rs`.

#![allow(missing_docs, clippy::all, clippy::pedantic, rustdoc::all)]

include!(concat!(env!("OUT_DIR"), "/onnx.rs"));
