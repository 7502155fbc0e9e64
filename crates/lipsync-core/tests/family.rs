// SPDX-License-Identifier: MPL-2.0
//! The networks of the family beside SyncTalk_2D's usual one, against the independent implementation in Python.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::{
    BGR, BGRA, array, assert_close, avatar, clip, compare, contexts, fixture, picture, render, render_on,
};
use lipsync_core::features::{AudioContextKind, HubertSpan};
use lipsync_core::generator::face::{FaceOptions, FaceViews, Framing, INPUT_CHANNELS, Style};
use lipsync_core::inference::network::Network;
use lipsync_core::inference::runtime::Engine;
use lipsync_core::picture::formats::Canvas;
use lipsync_core::picture::geometry::Rect;
use lipsync_core::picture::resize::{Kernel, resize};
use lipsync_core::rate::FrameRate;
use ndarray::{Array1, Array2, Array3, ArrayD};

fn speech() -> Vec<f32> {
    array::<f32, ndarray::Ix1>("golden/audio_16k").to_vec()
}

#[test]
fn hubert_is_heard_as_by_the_reference() {
    let golden: Array2<f32> = array("golden/contexts_hubert");
    let frames: Array1<i64> = array("golden/contexts_hubert_frames");
    let contexts = contexts(
        &avatar("synctalk_hubert"),
        AudioContextKind::Hubert(HubertSpan::Sixteen),
        FrameRate::NATIVE,
    );
    assert!(frames.iter().max() == Some(&(contexts.len() as i64 - 1)), "the last frame is compared");
    for (frame, golden) in frames.iter().zip(golden.rows()) {
        assert_close(&contexts[*frame as usize], golden.as_slice().unwrap(), 1e-3, &format!("frame {frame}"));
    }
}

#[test]
fn hubert_contexts_at_other_rates_are_the_same_at_the_same_time() {
    let avatar = avatar("synctalk_hubert");
    let native = contexts(&avatar, AudioContextKind::Hubert(HubertSpan::Sixteen), FrameRate::NATIVE);
    let double =
        contexts(&avatar, AudioContextKind::Hubert(HubertSpan::Sixteen), FrameRate::new(50, 1).unwrap());
    for (i, context) in native.iter().enumerate() {
        assert!(*context == double[2 * i], "frame {i}");
    }
    assert!(double[41] != double[40] && double[41] != double[42]);
}

#[test]
fn mel_windows_are_heard_as_by_the_reference() {
    let golden: ArrayD<f32> = array("golden/mel_heard");
    let contexts = contexts(&avatar("wav2lip"), AudioContextKind::MelWindow, FrameRate::NATIVE);
    assert_close(&contexts.concat(), golden.as_slice().unwrap(), 1e-3, "mel windows");
}

#[test]
fn bilinear_scaling_is_that_of_opencv() {
    let mut cases = 0;
    for entry in std::fs::read_dir(fixture("golden")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let Some(name) = name.strip_prefix("resize_linear_").and_then(|name| name.strip_suffix("_in.npy"))
        else {
            continue;
        };
        let golden = picture(&format!("golden/resize_linear_{name}_out"));
        let original = picture(&format!("golden/resize_linear_{name}_in"));
        let scaled = resize(&original, golden.width(), golden.height(), Kernel::Bilinear);
        let difference = compare(scaled.iter(), golden.iter());
        assert!(difference.worst == 0, "{name}: {difference:?}");
        cases += 1;
    }
    assert!(cases > 15, "only {cases} cases");
}

#[test]
fn wav2lip_networks_see_what_opencv_would_show_them() {
    let values: Array1<i64> = array("golden/crop_rect");
    let [x, y, width, height] = [0, 1, 2, 3].map(|i| values[i] as u32);
    let face = Rect { x, y, width, height }.cut(&picture("golden/crop_frame"));
    let golden: Array3<f32> = array("golden/crop_input_96_wav2lip");
    let framing = Framing::new(96, Style::Wav2Lip, FaceOptions::default());
    let mut input = vec![0.0; INPUT_CHANNELS * 96 * 96];
    framing.write(&FaceViews::of(framing.crop_of(&face)), &mut input);
    assert_close(&input, golden.as_slice().unwrap(), 1e-6, "input");
}

#[test]
fn clips_of_the_family_are_those_of_the_reference() {
    for name in ["synctalk_parsing", "synctalk_hubert", "ultralight", "wav2lip", "own_views", "own_int8"] {
        let golden = clip(name);
        let frames = render(avatar(name), &speech(), 1000, FrameRate::NATIVE);
        assert_eq!(frames.len(), golden.len(), "{name}");
        let difference = compare(frames.iter().flatten(), golden.iter().flatten());
        println!("{name}: {difference:?}");
        // A network in 8 bits rounds a sum the one way or the other, and then differs by a step.
        let (mean, worst) = if name == "own_int8" { (0.02, 3) } else { (0.001, 1) };
        assert!(difference.mean < mean && difference.worst <= worst, "{name}: {difference:?}");
    }
}

#[test]
fn alpha_comes_through_and_the_mouth_lies_inside_it() {
    // Where the background is taken out, a level of difference is divided by alpha, 16 of 255 at least; laid over a
    // colour it is multiplied again.
    for (folder, name, format, worst) in [
        ("alpha", "alpha", BGRA, 1),
        ("alpha", "alpha_over", BGR, 1),
        ("masks", "masks", BGRA, 16),
        ("masks", "masks_over", BGR, 2),
    ] {
        let avatar = avatar(folder);
        assert!(avatar.has_alpha());
        let golden = clip(name);
        let canvas = Canvas { format, background: Some([0x20, 0x40, 0x60]) };
        let frames = render_on(canvas, avatar, &speech(), 1000, FrameRate::NATIVE);
        assert_eq!(frames.len(), golden.len(), "{name}");
        let difference = compare(frames.iter().flatten(), golden.iter().flatten());
        println!("{name}: {difference:?}");
        assert!(difference.mean < 0.001 && difference.worst <= worst, "{name}: {difference:?}");
    }
}

#[test]
fn the_mobile_network_gives_what_it_gives_in_python() {
    let picture: ArrayD<f32> = array("golden/half_picture");
    let context: ArrayD<f32> = array("golden/half_context");
    let golden: ArrayD<f32> = array("golden/half_output");
    let mut network = Network::open(&fixture("models/generator_half.onnx"), &Engine::default(), 1).unwrap();
    network.item_mut(0, 0).copy_from_slice(picture.as_slice().unwrap());
    network.item_mut(1, 0).copy_from_slice(context.as_slice().unwrap());
    assert_close(network.run(None).unwrap(), golden.as_slice().unwrap(), 1e-4, "half width");
}
