// SPDX-License-Identifier: MPL-2.0
//! The core against an independent implementation in Python (librosa, OpenCV, ONNX Runtime): `tests/python`.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::{array, assert_close, avatar, clip, compare, contexts, fixture, picture, render, track};
use lipsync_core::audio::mel::{BANDS, MelSpectrogram};
use lipsync_core::avatar::Avatar;
use lipsync_core::features::{AudioContextKind, MelWindows, RowSelection};
use lipsync_core::generator::face::{
    FaceOptions, FaceViews, Framing, INPUT_CHANNELS, Paste, Style, decode_output,
};
use lipsync_core::inference::runtime::Engine;
use lipsync_core::picture::geometry::Rect;
use lipsync_core::picture::resize::{Kernel, resize};
use lipsync_core::rate::FrameRate;
use ndarray::{Array1, Array2, Array3};

/// The mel frames of samples that come in blocks.
fn mel(samples: &[f32], block: usize) -> Vec<[f32; BANDS]> {
    let mut mel = MelSpectrogram::default();
    let mut frames = Vec::new();
    for block in samples.chunks(block) {
        mel.push(block, |frame| frames.push(frame));
    }
    mel.finish(|frame| frames.push(frame));
    frames
}

#[test]
fn mel_frames_are_those_of_librosa() {
    for (sound, golden) in [("golden/audio_16k", "golden/mel"), ("golden/audio_short", "golden/mel_short")] {
        let samples: Array1<f32> = array(sound);
        let golden: Array2<f32> = array(golden);
        let samples = samples.as_slice().unwrap();
        let whole = mel(samples, samples.len());
        assert_close(&whole.concat(), golden.as_slice().unwrap(), 1e-3, sound);
        for block in [1, 7, 199, 200, 800, 8192] {
            assert_eq!(mel(samples, block), whole, "{sound} in blocks of {block}");
        }
    }
}

#[test]
fn contexts_are_those_of_the_reference() {
    for (kind, golden) in
        [(RowSelection::Window, "golden/contexts"), (RowSelection::Tile, "golden/contexts_tile")]
    {
        let golden: Array2<f32> = array(golden);
        let contexts = contexts(&avatar("own"), AudioContextKind::MelRows(kind), FrameRate::NATIVE);
        assert_eq!(contexts.len(), golden.nrows());
        // First, middle and last frames are among them: rows before the start and past the end are zeros.
        for (i, (context, golden)) in contexts.iter().zip(golden.rows()).enumerate() {
            assert_eq!(context.len(), AudioContextKind::MelRows(kind).values());
            assert_close(context, golden.as_slice().unwrap(), 1e-3, &format!("{kind:?}, frame {i}"));
        }
    }
}

#[test]
fn exact_and_averaged_windows_are_those_of_the_reference() {
    for (windows, golden) in
        [(MelWindows::Exact, "golden/contexts_exact"), (MelWindows::Averaged, "golden/contexts_averaged")]
    {
        let golden: Array2<f32> = array(golden);
        let avatar = Avatar { windows, ..avatar("own") };
        let contexts_at = |rate| contexts(&avatar, AudioContextKind::default(), rate);
        let native = contexts_at(FrameRate::NATIVE);
        assert_eq!(native.len(), golden.nrows());
        for (i, (context, golden)) in native.iter().zip(golden.rows()).enumerate() {
            assert_close(context, golden.as_slice().unwrap(), 1e-3, &format!("{windows:?}, frame {i}"));
        }
        let double = contexts_at(FrameRate::new(50, 1).unwrap());
        for (i, context) in native.iter().enumerate() {
            assert_eq!(*context, double[2 * i], "{windows:?}, frame {i}");
        }
    }
}

#[test]
fn other_rates_hear_at_their_own_times() {
    let native = contexts(&avatar("own"), AudioContextKind::default(), FrameRate::NATIVE);
    let double = contexts(&avatar("own"), AudioContextKind::default(), FrameRate::new(50, 1).unwrap());
    assert!(double.len().abs_diff(2 * native.len()) <= 1);
    for (i, context) in native.iter().enumerate() {
        assert_eq!(*context, double[2 * i], "frame {i}");
    }
    // In between they hear something else than either neighbour: nothing is doubled.
    let between =
        (10..60).filter(|&i| double[2 * i + 1] != double[2 * i] && double[2 * i + 1] != double[2 * i + 2]);
    assert_eq!(between.count(), 50);
}

#[test]
fn a_shorter_lookahead_holds_the_last_known_row() {
    const ROW: usize = 512;
    let samples: Array1<f32> = array("golden/audio_16k");
    let whole = contexts(&avatar("own"), AudioContextKind::default(), FrameRate::NATIVE);
    // Samples of sound that a frame waits for, and the row of its context that is the last it knows.
    for (limit, last) in [(7240, 15), (3400, 9), (1480, 6)] {
        let mut track =
            avatar("own").open_features(AudioContextKind::default(), limit, &Engine::default()).unwrap();
        assert_eq!(track.lookahead(), limit);
        for n in 0..70 {
            // All that the frame needs, and not a sample more.
            let end = (n * 640 + limit) as usize;
            let start = if n == 0 { 0 } else { end - 640 };
            track.push(&samples.as_slice().unwrap()[start..end]);
            let context = track.context(n).unwrap().expect("it has all that it needs");
            for (row, values) in context.chunks_exact(ROW).enumerate() {
                // The repeated first row would have to wait for later sound.
                let missing = last < 9 && n as usize + row.min(last) <= 8;
                let expected = &whole[n as usize][row.min(last) * ROW..][..ROW];
                let expected = if missing { &[0.0; ROW] } else { expected };
                assert_close(values, expected, 1e-5, &format!("frame {n}, row {row}"));
            }
        }
    }
}

#[test]
fn sounds_shorter_than_a_window_are_filled_with_silence() {
    let golden: Array2<f32> = array("golden/embeddings_short");
    let mut track = track(&avatar("own"), AudioContextKind::default(), FrameRate::NATIVE);
    // The reference pads the sound with zeros to 3000 samples.
    let mut samples = array::<f32, ndarray::Ix1>("golden/audio_short").to_vec();
    samples.resize(3000, 0.0);
    track.push(&samples);
    track.finish();
    let context = track.context(0).unwrap().unwrap();
    // Frame 0 starts with eight rows that do not exist.
    assert_close(&context[..8 * 512], &[0.0; 8 * 512], 0.0, "rows before the start");
    let rows = golden.as_slice().unwrap();
    assert_close(&context[8 * 512..][..rows.len()], rows, 1e-3, "rows");
}

fn rectangle(name: &str) -> Rect {
    let values: Array1<i64> = array(name);
    let [x, y, width, height] = [0, 1, 2, 3].map(|i| values[i] as u32);
    Rect { x, y, width, height }
}

#[test]
fn scaling_is_that_of_opencv() {
    for name in [
        "300x300_328x328",
        "328x328_328x328",
        "417x417_328x328",
        "328x328_251x251",
        "200x173_328x328",
        "328x328_611x611",
    ] {
        let golden = picture(&format!("golden/resize_{name}_out"));
        let original = picture(&format!("golden/resize_{name}_in"));
        let scaled = resize(&original, golden.width(), golden.height(), Kernel::Bicubic);
        let difference = compare(scaled.iter(), golden.iter());
        // OpenCV's vector code rounds ties another way.
        assert!(difference.worst <= 1 && difference.mean < 0.001, "{name}: {difference:?}");
    }
}

fn framing(network: u32, paste: Option<Paste>) -> Framing {
    Framing::new(network, Style::SyncTalk, FaceOptions { paste, ..FaceOptions::default() })
}

#[test]
fn the_network_sees_what_opencv_would_show_it() {
    let face = rectangle("golden/crop_rect").cut(&picture("golden/crop_frame"));
    for network in [320, 160] {
        let framing = framing(network, None);
        let golden: Array3<f32> = array(&format!("golden/crop_input_{network}"));
        let mut input = vec![0.0; INPUT_CHANNELS * (network * network) as usize];
        framing.write(&FaceViews::of(framing.crop_of(&face)), &mut input);
        assert_close(&input, golden.as_slice().unwrap(), 1.01 / 255.0, &format!("network of {network}"));
        let exact = input.iter().zip(&golden).filter(|(a, b)| a == b).count();
        assert!(exact as f64 > 0.999 * input.len() as f64, "only {exact} of {} are exact", input.len());
    }
}

#[test]
fn mouths_are_put_back_where_opencv_would() {
    let frame = picture("golden/paste_frame");
    for side in [328, 251, 300, 345] {
        let rect = rectangle(&format!("golden/paste_{side}_rect"));
        let output: Array3<f32> = array(&format!("golden/paste_{side}_output"));
        let mouth = decode_output(output.as_slice().unwrap(), 320).unwrap();
        for (how, name) in [(Paste::Inner, "inner"), (Paste::Full, "full")] {
            let mut ours = frame.clone();
            let framing = framing(320, Some(how));
            let crop = framing.crop_of(&rect.cut(&frame));
            framing.paste(&crop, &mouth, &mut ours, rect);
            let golden = picture(&format!("golden/paste_{side}_{name}"));
            let difference = compare(ours.iter(), golden.iter());
            assert!(difference.worst <= 1 && difference.mean < 0.002, "{name} at {side}: {difference:?}");
        }
    }
}

#[test]
fn whole_clips_are_those_of_the_reference() {
    let samples: Array1<f32> = array("golden/audio_16k");
    for name in ["own", "own_160", "own_jpg", "synctalk"] {
        let golden = clip(name);
        let frames = render(avatar(name), samples.as_slice().unwrap(), 1000, FrameRate::NATIVE);
        assert_eq!(frames.len(), golden.len(), "{name}");
        let difference = compare(frames.iter().flatten(), golden.iter().flatten());
        println!("{name}: {difference:?}");
        assert!(difference.mean < 0.001 && difference.worst <= 1, "{name}: {difference:?}");
    }
}

#[test]
fn digital_clone_packages_give_their_faces_in_both_ways() {
    let samples: Array1<f32> = array("golden/audio_16k");
    let package = avatar("digital_clone");
    let historic = {
        let mut avatar = package.clone();
        avatar.context = RowSelection::Tile;
        avatar.face.paste = Some(Paste::Full);
        avatar
    };
    let shown = package.frames.len();
    for (name, avatar) in [("digital_clone", package), ("digital_clone_tile_full", historic)] {
        let frames = render(avatar, samples.as_slice().unwrap(), 8192, FrameRate::NATIVE);
        // The package's own programs stop moving at its last frame; here it plays backward from there.
        let golden = clip(name);
        let difference = compare(frames[..shown].iter().flatten(), golden[..shown].iter().flatten());
        println!("{name}: {difference:?}");
        assert!(difference.mean < 0.001 && difference.worst <= 1, "{name}: {difference:?}");
    }
}

#[test]
fn frames_do_not_depend_on_how_the_sound_is_cut() {
    let samples: Array1<f32> = array("golden/audio_16k");
    let samples = &samples.as_slice().unwrap()[..20_000];
    let by_one = render(avatar("own_160"), samples, 1, FrameRate::NATIVE);
    assert_eq!(by_one.len(), 32);
    assert!(by_one == render(avatar("own_160"), samples, 8192, FrameRate::NATIVE));
}

#[test]
fn half_precision_batches_and_other_names_paint_the_same() {
    let samples: Array1<f32> = array("golden/audio_16k");
    let samples = &samples.as_slice().unwrap()[..16_000];
    let plain = render(avatar("own"), samples, 4000, FrameRate::NATIVE);
    for (model, encoder) in [
        ("generator_320_fp16", "encoder_fp16"),
        ("generator_320_fp16_weights", "encoder"),
        ("generator_320_batch1", "encoder"),
        ("generator_320_batch4", "encoder_batch4"),
        ("generator_320_names", "encoder"),
    ] {
        let mut other = avatar("own");
        other.generator = fixture(&format!("models/{model}.onnx"));
        other.audio_encoder = Some(fixture(&format!("models/{encoder}.onnx")));
        let frames = render(other, samples, 4000, FrameRate::NATIVE);
        let difference = compare(frames.iter().flatten(), plain.iter().flatten());
        println!("{model}: {difference:?}");
        let exact = matches!(model, "generator_320_batch1" | "generator_320_batch4" | "generator_320_names");
        let bound = if exact { 1e-9 } else { 0.05 };
        assert!(difference.mean < bound, "{model}: {difference:?}");
    }
}
