// SPDX-License-Identifier: MPL-2.0
//! `precision=auto` on a processor without kernels. One test, since it sets variables of the process.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::fixture;
use image::RgbImage;
use lipsync_core::features::Context;
use lipsync_core::generator::face::{FaceOptions, FaceViews};
use lipsync_core::generator::{FaceInput, Generator};
use lipsync_core::inference::network::Graph;
use lipsync_core::inference::precision::{Precision, int8_file};
use lipsync_core::inference::prepare::GraphParts;
use lipsync_core::inference::runtime::Engine;
use lipsync_core::kernels;
use lipsync_core::onnx::Model;
use lipsync_core::quantizer::Quantizer;

fn open(generator: &Path, precision: Precision) -> Generator {
    let engine = Engine { precision, ..Engine::default() };
    Generator::open(generator, FaceOptions::default(), &engine, 1).unwrap()
}

#[test]
fn auto_plays_what_is_faster_and_measures_that_once() {
    let (home, avatar) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // SAFETY: no other thread runs yet.
    unsafe {
        std::env::set_var("XDG_CACHE_HOME", home.path());
        std::env::set_var(kernels::VARIABLE, "none");
    }
    assert_eq!(kernels::detect(), None);
    let generator = avatar.path().join("generator.onnx");
    std::fs::copy(fixture("models/generator_half.onnx"), &generator).unwrap();
    assert_eq!(open(&generator, Precision::Auto).arithmetic(), "float32");

    let mut quantizer = Quantizer::open(&generator, FaceOptions::default(), &Engine::default()).unwrap();
    let side = quantizer.framing().crop();
    let face = FaceInput::new(FaceViews::of(RgbImage::new(side, side)));
    let context = Context::zeros(quantizer.context_kind().values());
    quantizer.calibrate(&[(face, context)], || true).unwrap();
    let quantized = quantizer.quantized(quantizer.layers()).unwrap();
    assert!(quantized.op_types().contains(&"Clip"), "activations have 7 bits");
    quantizer.write(quantized, &int8_file(&generator)).unwrap();

    assert_eq!(open(&generator, Precision::Fp32).arithmetic(), "float32");
    // ONNX Runtime runs it without the limits of 7 bits, but with all ReLUs.
    let engine = Engine { precision: Precision::Int8, ..Engine::default() };
    let prepared = Generator::prepare(&generator, &engine).unwrap().with_fused_kernels().unwrap();
    let GraphParts::Split { image_branch: Graph::Memory(face), audio_branch: Graph::Memory(mouth) } =
        &prepared.graph
    else {
        panic!("no kernels are wanted: {:?}", prepared.graph)
    };
    for bytes in [face, mouth] {
        let part = Model::decode_unchecked(Path::new("memory"), bytes).unwrap();
        let names = part.op_types();
        assert!(!names.contains(&"Clip") && names.contains(&"Relu"), "{names:?}");
    }
    let mut int8 = open(&generator, Precision::Int8);
    int8.try_out().unwrap();
    assert_eq!(int8.arithmetic(), "int8");

    let measured = || {
        let files = std::fs::read_dir(home.path().join("lipsync/graphs")).unwrap();
        let files = files.map(|file| file.unwrap().path());
        files.filter(|file| file.to_str().unwrap().contains("faster-none")).collect::<Vec<_>>()
    };
    assert!(measured().is_empty(), "nothing was asked yet");
    let first = open(&generator, Precision::Auto).arithmetic().to_owned();
    assert!(["int8", "float32"].contains(&first.as_str()), "{first}");
    let [kept] = &measured()[..] else { panic!("{:?}", measured()) };
    let text = std::fs::read_to_string(kept).unwrap();
    assert!(text.ends_with(&first), "{text} but {first}");
    assert_eq!(open(&generator, Precision::Auto).arithmetic(), first);
    assert_eq!(std::fs::read_to_string(kept).unwrap(), text);
    // What is damaged is measured again.
    std::fs::write(kept, "float32").unwrap();
    open(&generator, Precision::Auto).try_out().unwrap();
    assert!(std::fs::read_to_string(kept).unwrap().len() > 64);
}
