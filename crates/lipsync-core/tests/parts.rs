//! Generators in two parts: what they paint is what the whole paints, and what does not hear is computed once.

mod common;

use std::path::Path;

use common::fixture;
use image::{Rgb, RgbImage};
use lipsync_core::features::Context;
use lipsync_core::generator::face::{FaceOptions, FaceViews};
use lipsync_core::generator::{Face, Generator};
use lipsync_core::inference::network::Graph;
use lipsync_core::inference::prepare::{Parts, Prepared};
use lipsync_core::inference::runtime::Engine;
use lipsync_core::onnx::Model;
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

fn prepared(path: &Path) -> Prepared {
    Generator::prepare(path, &Engine::default()).unwrap()
}

fn open(prepared: &Prepared) -> Generator {
    Generator::open_prepared(prepared, FaceOptions::default(), &Engine::default(), 1).unwrap()
}

/// A picture of slopes and edges, another for each `seed`.
fn face_of(generator: &Generator, seed: u32) -> Face {
    let side = generator.framing().crop();
    let crop = RgbImage::from_fn(side, side, |x, y| {
        let level = |a: u32, b: u32| ((x * a + y * b + seed * 40) % 256) as u8;
        Rgb([level(1, 2), level(3, 1), if (x / 9 + y / 7) % 2 == 0 { 200 } else { 30 }])
    });
    Face::new(FaceViews::of(crop))
}

fn context(generator: &Generator, seed: u32) -> Context {
    let mut context = Context::zeros(generator.hearing().values());
    for (n, value) in context.iter_mut().enumerate() {
        *value = ((n as u32 * 37 + seed * 101) % 97) as f32 / 48.0 - 1.0;
    }
    context
}

fn paint(generator: &mut Generator, face: &Face, context: &Context) -> RgbImage {
    generator.paint([(face, context)].into_iter()).unwrap().pop().unwrap().clone()
}

#[test]
fn both_parts_paint_what_the_whole_paints() {
    for name in GENERATORS {
        let path = model(name);
        let whole = Prepared::of(&path, Parts::Whole(Graph::read(&path).unwrap()));
        let apart = prepared(&path);
        assert!(matches!(apart.graph, Parts::Apart { .. }), "{name} is not cut in two");
        let (mut whole, mut apart) = (open(&whole), open(&apart));
        for seed in 0..2 {
            let (seen, fresh) = (face_of(&apart, seed), face_of(&whole, seed));
            for sound in 0..3 {
                let context = context(&whole, sound);
                let pictures = [paint(&mut whole, &fresh, &context), paint(&mut apart, &seen, &context)];
                let [a, b] = pictures.each_ref().map(|picture| picture.iter());
                let worst = a.zip(b).map(|(a, b)| a.abs_diff(*b)).max();
                // Cut off to whole levels, a value beside one may fall to either side of it.
                assert!(worst <= Some(1), "{name} differs by {worst:?}");
                let same = pictures[0].iter().zip(pictures[1].iter()).filter(|(a, b)| a == b).count();
                assert!(same as f64 > 0.999 * pictures[0].len() as f64, "{name}: only {same} are the same");
            }
        }
    }
}

#[test]
fn what_does_not_hear_is_computed_once() {
    let mut generator = open(&prepared(&model("generator_half")));
    let mut face = face_of(&generator, 1);
    let [first, second] = [1, 2].map(|seed| context(&generator, seed));
    let size = face.size();
    let painted = paint(&mut generator, &face, &first);
    let grown = face.size();
    // The skips of all five levels, of real numbers: 16 to 256 channels from 160 x 160 to 10 x 10.
    assert!(grown > size + 4 * 16 * 160 * 160, "{size} to {grown}");
    assert_ne!(paint(&mut generator, &face, &second), painted, "it does not hear");
    // What the picture shows is no longer looked at.
    face.views.crop.fill(0);
    assert_eq!(paint(&mut generator, &face, &first), painted);
    assert_eq!(face.size(), grown);
}

/// Checks that a network in 8 bits paints as well with blocks of our own as without, beside `generator_half` in real
/// numbers; returns the operators of our own and the convolutions that are left, counted.
fn check_blocks(plain: &Prepared, names: [&str; 5]) -> Option<[usize; 5]> {
    if !lipsync_core::kernels::are_supported() {
        eprintln!("this processor has no AVX-512 VNNI: nothing is tested");
        return None;
    }
    let ours = plain.with_blocks().unwrap();
    let Parts::Apart { face: Graph::WithBlocks(face, _), mouth: Graph::WithBlocks(mouth, _) } = &ours.graph
    else {
        panic!("no blocks are found in {:?}", ours.graph);
    };
    let left = [face, mouth].map(|bytes| Model::decode_unchecked(Path::new("memory"), bytes).unwrap());
    let count = |name: &str| left.iter().flat_map(Model::operators).filter(|other| *other == name).count();

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
    // Both are as far from it. Errors of their own would add up between the two; but most are the same.
    assert!(ours < 1.1 * theirs && between < 0.7 * theirs, "{errors:?}");
    Some(names.map(count))
}

#[test]
fn blocks_of_our_own_paint_what_the_runtime_paints() {
    let plain = prepared(&model("generator_half_int8"));
    let counts = check_blocks(&plain, ["Block", "JoiningBlock", "JoiningRealBlock", "Planes", "Conv"]);
    // See: one, and two on each of four levels down. Hear: five. Paint: four where both meet, and two on each of four
    // levels up. Meeting and going up begin with what has been seen. The last layer paints planes. Convolutions of other
    // kinds: two that hear.
    assert!(counts.is_none_or(|counts| counts == [9 + 5 + 12 - 5, 5, 0, 1, 2]), "{counts:?}");
}

#[test]
fn a_block_before_layers_in_real_numbers_ends_in_these() {
    let path = model("generator_half");
    let mut quantizer = Quantizer::open(&path, FaceOptions::default(), &Engine::default()).unwrap();
    let generator = open(&prepared(&path));
    let samples: Vec<_> = (0..4).map(|seed| (face_of(&generator, seed), context(&generator, seed))).collect();
    quantizer.calibrate(&samples, || true).unwrap();
    // As in a trained network: the last block, what leads to it, and its sum are left out, the last layer is not.
    let mut layers = quantizer.layers().to_vec();
    layers.drain(layers.len() - 6..layers.len() - 1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("generator.int8.onnx");
    quantizer.quantized(&layers).unwrap().write(&file).unwrap();
    let counts =
        check_blocks(&prepared(&file), ["Block", "JoiningBlock", "JoiningRealBlock", "Planes", "Conv"]);
    assert!(counts.is_none_or(|counts| counts == [9 + 5 + 12 - 5 - 1, 4, 1, 0, 2 + 3 + 1]), "{counts:?}");
}

#[test]
fn graphs_are_free_of_sizes_and_paddings() {
    let operators = |name: &str| -> Vec<String> {
        let Parts::Apart { face, mouth } = prepared(&model(name)).graph else { panic!("{name} is whole") };
        let read = |graph: &Graph| match graph {
            Graph::Memory(bytes) | Graph::WithBlocks(bytes, _) => {
                Model::decode_unchecked(Path::new("memory"), bytes).unwrap()
            }
        };
        let models = [&face, &mouth].map(read);
        models.iter().flat_map(Model::operators).map(str::to_owned).collect()
    };
    let padded = Model::read(&model("generator_half_padded")).unwrap();
    assert!(padded.operators().contains(&"Pad") && padded.operators().contains(&"Shape"));
    assert_eq!(operators("generator_half_padded"), operators("generator_half"));
}

#[test]
fn generators_of_fixed_batches_stay_whole() {
    assert!(matches!(prepared(&model("generator_320_batch4")).graph, Parts::Whole(_)));
}
