// SPDX-License-Identifier: MPL-2.0
//! Generators that are split into image branch and audio branch: the output is the same, and the image branch
//! runs once for a face.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::fixture;
use image::{Rgb, RgbImage};
use lipsync_core::features::Context;
use lipsync_core::generator::face::{FaceOptions, FaceViews};
use lipsync_core::generator::{FaceInput, Generator};
use lipsync_core::inference::network::Graph;
use lipsync_core::inference::prepare::{GraphParts, PreparedGraph};
use lipsync_core::inference::runtime::Engine;
use lipsync_core::onnx::{ActivationBits, Model};
use lipsync_core::quantizer::Quantizer;

const GENERATORS: [&str; 10] = [
    "generator_320",
    "generator_320_batch1",
    "generator_320_fp16_weights",
    "generator_320_int8",
    "generator_320_names",
    "generator_half",
    "generator_half_int8",
    "generator_half_padded",
    "generator_hubert",
    "generator_wav2lip",
];

fn model(name: &str) -> std::path::PathBuf {
    fixture(&format!("models/{name}.onnx"))
}

fn prepared(path: &Path) -> PreparedGraph {
    Generator::prepare(path, &Engine::default()).unwrap()
}

fn open(prepared: &PreparedGraph) -> Generator {
    Generator::open_prepared(prepared, FaceOptions::default(), &Engine::default(), 1).unwrap()
}

/// A picture of slopes and edges, another for each `seed`.
fn face_of(generator: &Generator, seed: u32) -> FaceInput {
    let side = generator.framing().crop();
    let crop = RgbImage::from_fn(side, side, |x, y| {
        let level = |a: u32, b: u32| ((x * a + y * b + seed * 40) % 256) as u8;
        Rgb([level(1, 2), level(3, 1), if (x / 9 + y / 7) % 2 == 0 { 200 } else { 30 }])
    });
    FaceInput::new(FaceViews::of(crop))
}

fn context(generator: &Generator, seed: u32) -> Context {
    let mut context = Context::zeros(generator.context_kind().values());
    for (n, value) in context.iter_mut().enumerate() {
        *value = ((n as u32 * 37 + seed * 101) % 97) as f32 / 48.0 - 1.0;
    }
    context
}

fn paint(generator: &mut Generator, face: &FaceInput, context: &Context) -> RgbImage {
    generator.paint([(face, context)].into_iter()).unwrap().pop().unwrap().clone()
}

#[test]
fn both_parts_paint_what_the_whole_paints() {
    for name in GENERATORS {
        let path = model(name);
        let whole = PreparedGraph::of(&path, GraphParts::Whole(Graph::read(&path).unwrap()));
        let apart = prepared(&path);
        assert!(matches!(apart.graph, GraphParts::Split { .. }), "{name} is not cut in two");
        let (mut whole, mut apart) = (open(&whole), open(&apart));
        for seed in 0..2 {
            let (seen, fresh) = (face_of(&apart, seed), face_of(&whole, seed));
            for sound in 0..3 {
                let context = context(&whole, sound);
                let pictures = [paint(&mut whole, &fresh, &context), paint(&mut apart, &seen, &context)];
                let [a, b] = pictures.each_ref().map(|picture| picture.iter());
                let worst = a.zip(b).map(|(a, b)| a.abs_diff(*b)).max();
                // Output is truncated to whole levels, so a value close to a level may fall to either side of
                // it.
                assert!(worst <= Some(1), "{name} differs by {worst:?}");
                let same = pictures[0].iter().zip(pictures[1].iter()).filter(|(a, b)| a == b).count();
                assert!(same as f64 > 0.999 * pictures[0].len() as f64, "{name}: only {same} are the same");
            }
        }
    }
}

#[test]
fn the_image_branch_runs_once_for_a_face() {
    let mut generator = open(&prepared(&model("generator_half")));
    let mut face = face_of(&generator, 1);
    let [first, second] = [1, 2].map(|seed| context(&generator, seed));
    let size = face.size();
    let painted = paint(&mut generator, &face, &first);
    let grown = face.size();
    // The skip connections of all five levels in float32: 16 to 256 channels, from 160 x 160 to 10 x 10.
    assert!(grown > size + 4 * 16 * 160 * 160, "{size} to {grown}");
    assert_ne!(paint(&mut generator, &face, &second), painted, "it does not hear");
    // The features are cached, so the picture is not read again.
    face.views.crop.fill(0);
    assert_eq!(paint(&mut generator, &face, &first), painted);
    assert_eq!(face.size(), grown);
}

/// The fused operators that are counted, and the convolutions that are left.
const FUSED_OPS: [&str; 6] = [
    "InvertedResidual",
    "ConcatInvertedResidual",
    "ConcatInvertedResidualFloat",
    "PlanarConv",
    "DenseConv",
    "Conv",
];

/// Checks that an 8-bit network is as close to `generator_half` in float32 with fused kernels as without;
/// returns how often each of [`FUSED_OPS`] occurs in the graph. `between` is how far both may be apart, compared with
/// their error.
fn check_blocks(plain: &PreparedGraph, between_share: f64) -> Option<[usize; 6]> {
    if !lipsync_core::kernels::are_supported() {
        eprintln!("there are no kernels for this processor: nothing is tested");
        return None;
    }
    let ours = plain.with_fused_kernels().unwrap();
    let GraphParts::Split {
        image_branch: Graph::WithFusedKernels(face, _),
        audio_branch: Graph::WithFusedKernels(mouth, _),
    } = &ours.graph
    else {
        panic!("no blocks are found in {:?}", ours.graph);
    };
    let left = [face, mouth].map(|bytes| Model::decode_unchecked(Path::new("memory"), bytes).unwrap());
    let count = |name: &str| left.iter().flat_map(Model::op_types).filter(|other| *other == name).count();

    let mut exact = open(&prepared(&model("generator_half")));
    let (mut plain, mut ours) = (open(plain), open(&ours));
    let mut errors = [0.0; 3];
    for seed in 0..4 {
        let context = context(&exact, seed);
        let [exact, plain, ours] = [&mut exact, &mut plain, &mut ours].map(|generator| {
            let face = face_of(generator, seed);
            paint(generator, &face, &context)
        });
        for (sum, (a, b)) in errors.iter_mut().zip([(&plain, &exact), (&ours, &exact), (&ours, &plain)]) {
            *sum += a.iter().zip(b.iter()).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum::<f64>();
        }
    }
    let [theirs, ours, between] = errors;
    // Both have the same error. If the kernels had errors of their own, they would add up between the two;
    // but most values are equal.
    assert!(ours < 1.1 * theirs && between < between_share * theirs, "{errors:?}");
    Some(FUSED_OPS.map(count))
}

#[test]
fn fused_kernels_paint_what_the_runtime_paints() {
    let plain = prepared(&model("generator_half_int8"));
    let counts = check_blocks(&plain, 0.7);
    // Image branch: one block, and two on each of four levels down. Audio branch: five, four where both meet,
    // and two on each of four levels up. The first block after a concatenation or upsampling takes the cached
    // face features. The output layer is planar. Two convolutions of the audio branch are in no block, one of
    // them of a kind that there is no kernel for.
    assert!(counts.is_none_or(|counts| counts == [9 + 5 + 12 - 5, 5, 0, 1, 1, 1]), "{counts:?}");
}

#[test]
fn a_block_before_float_layers_has_a_float_projection() {
    let path = model("generator_half");
    let mut quantizer = Quantizer::open(&path, FaceOptions::default(), &Engine::default()).unwrap();
    let generator = open(&prepared(&path));
    let samples: Vec<_> = (0..4).map(|seed| (face_of(&generator, seed), context(&generator, seed))).collect();
    quantizer.calibrate(&samples, || true).unwrap();
    // As in a trained network: the last block, the layers before it and its residual sum stay in float32, the
    // output layer does not.
    let mut layers = quantizer.layers().to_vec();
    layers.drain(layers.len() - 6..layers.len() - 1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("generator.int8.onnx");
    // In 7 bits what is rounded once by the kernels, and twice by ONNX Runtime, makes a larger difference.
    for (bits, between_share) in [(ActivationBits::Eight, 0.7), (ActivationBits::Seven, 0.9)] {
        layers.iter_mut().for_each(|layer| layer.bits = bits);
        quantizer.quantized(&layers).unwrap().write(&file).unwrap();
        let counts = check_blocks(&prepared(&file), between_share);
        // The output layer follows no block any more: it is a dense convolution.
        let expected = [9 + 5 + 12 - 5 - 1, 4, 1, 0, 1 + 1, 1 + 3];
        assert!(counts.is_none_or(|counts| counts == expected), "{bits:?}: {counts:?}");
    }
}

#[test]
fn graphs_are_free_of_sizes_and_paddings() {
    let operators = |name: &str| -> Vec<String> {
        let GraphParts::Split { image_branch: face, audio_branch: mouth } = prepared(&model(name)).graph
        else {
            panic!("{name} is whole")
        };
        let read = |graph: &Graph| match graph {
            Graph::Memory(bytes) | Graph::WithFusedKernels(bytes, _) => {
                Model::decode_unchecked(Path::new("memory"), bytes).unwrap()
            }
        };
        let models = [&face, &mouth].map(read);
        models.iter().flat_map(Model::op_types).map(str::to_owned).collect()
    };
    let padded = Model::read(&model("generator_half_padded")).unwrap();
    assert!(padded.op_types().contains(&"Pad") && padded.op_types().contains(&"Shape"));
    assert_eq!(operators("generator_half_padded"), operators("generator_half"));
}

#[test]
fn generators_of_fixed_batches_stay_whole() {
    assert!(matches!(prepared(&model("generator_320_batch4")).graph, GraphParts::Whole(_)));
}
