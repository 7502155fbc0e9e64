// SPDX-License-Identifier: MPL-2.0

//! Generates the messages of an ONNX file from `src/onnx/onnx.proto`, by a compiler in Rust: no `protoc` is needed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=src/onnx/onnx.proto");
    let messages = protox::compile(["src/onnx/onnx.proto"], ["src/onnx"])?;
    prost_build::compile_fds(messages)?;
    Ok(())
}
