// SPDX-License-Identifier: MPL-2.0
//! Generators from their file to the first painted mouth, ONNX Runtime and our kernels included.

#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use fuzz::{fault, folder, mutate, watchdog};
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use lipsync_core::error::Result;
use lipsync_core::generator::Generator;
use lipsync_core::generator::face::FaceOptions;
use lipsync_core::inference::runtime::Engine;

static FILE: LazyLock<PathBuf> = LazyLock::new(|| folder::temporary().keep().join("generator.onnx"));

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate::network(data, size, max_size, seed)
});

fuzz_target!(|input: &[u8]| {
    fault::tell();
    std::fs::write(&*FILE, input).expect("no place for the network");
    if let Err(error) = try_out() {
        drop(error.to_string());
    }
});

fn try_out() -> Result<()> {
    let engine = Engine::default();
    // As if it were the network of 8 bits: others have no blocks to be taken out.
    let prepared = Generator::prepare(&FILE, &engine)?.with_fused_kernels()?;
    let mut generator = Generator::open_prepared(&prepared, FaceOptions::default(), &engine, 1)?;
    let interrupter = generator.interrupter();
    watchdog::guard(|| interrupter.interrupt(), || generator.try_out())
}
