// SPDX-License-Identifier: MPL-2.0
//! The tool `lipsync` as users have it: `quantize`.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "../../lipsync-core/tests/common/mod.rs"]
mod common;
#[path = "common/tool.rs"]
mod tool;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::fixture;
use lipsync_core::generator::Generator;
use lipsync_core::inference::precision::Precision;
use lipsync_core::inference::runtime::Engine;
use tool::{copy, ends, ffmpeg, kill, path, run, start, tool};

#[test]
fn a_quantized_network_is_played_until_the_generator_changes() {
    let home = tempfile::tempdir().unwrap();
    let avatar = copy("own");
    let generator = avatar.path().join("generator.onnx");
    let int8 = avatar.path().join("generator.int8.onnx");
    let chosen = |precision| {
        let engine = Engine { precision, ..Engine::default() };
        Generator::prepare(&generator, &engine).map(|prepared| prepared.path)
    };
    let refused = |precision, words: &[&str]| {
        let error = chosen(precision).unwrap_err().to_string();
        words.iter().for_each(|word| assert!(error.contains(word), "no \"{word}\" in: {error}"));
    };
    assert_eq!(chosen(Precision::Auto).unwrap(), generator);
    refused(Precision::Int8, &["generator.int8.onnx", "no 8-bit network", "lipsync quantize"]);

    let sound = fixture("audio/speech.wav");
    let arguments = ["quantize", path(avatar.path()), "--sound", path(&sound), "--samples", "4"];
    let said = run(home.path(), &arguments).succeeds();
    assert!(said.contains(" dB") && said.contains("0 in float32"), "{said}");
    assert_eq!(chosen(Precision::Auto).unwrap(), int8);
    assert_eq!(chosen(Precision::Int8).unwrap(), int8);
    assert_eq!(chosen(Precision::Fp32).unwrap(), generator);

    std::fs::copy(fixture("models/generator_320_names.onnx"), &generator).unwrap();
    for precision in [Precision::Auto, Precision::Int8] {
        refused(precision, &["generator.int8.onnx", "was not made from", "quantize on the avatar again"]);
    }
    assert_eq!(chosen(Precision::Fp32).unwrap(), generator);
}

/// Quantizes an avatar with few samples, so that its mouths are at least that close to those in float32, in dB.
fn quantize(home: &Path, avatar: &Path, psnr: &str) -> tool::Ran {
    let sound = fixture("audio/speech.wav");
    run(home, &["quantize", path(avatar), "--sound", path(&sound), "--samples", "3", "--psnr", psnr])
}

#[test]
fn layers_that_do_harm_stay_in_float32() {
    let home = tempfile::tempdir().unwrap();
    let avatar = copy("own_160");
    // As many layers as SyncTalk_2D's own network, and small ones.
    std::fs::copy(fixture("models/generator_eighth.onnx"), avatar.path().join("generator.onnx")).unwrap();
    let figures = |said: &str, line: &str, word: usize| -> f64 {
        let line =
            said.lines().find(|l| l.trim_start().starts_with(line)).unwrap_or_else(|| panic!("{said}"));
        line.split_whitespace().nth(word).unwrap().parse().unwrap()
    };
    let all = quantize(home.path(), avatar.path(), "5").succeeds();
    assert_eq!(figures(&all, "layers", 9), 0.0, "{all}");
    let with_7_bits = figures(&all, "mouths", 1);
    // A bit more is 6 dB: some layers need it for half of that, and for twice that some must stay as they are.
    for (decibels, more_bits, in_float) in [(3.0, true, false), (12.0, false, true)] {
        let wanted = with_7_bits + decibels;
        let some = quantize(home.path(), avatar.path(), &wanted.to_string()).succeeds();
        assert!(figures(&some, "mouths", 1) >= wanted - 0.05, "{some}");
        assert!(figures(&some, "layers", 5) > 0.0 || !more_bits, "{some}");
        assert!(figures(&some, "layers", 9) > 0.0 || !in_float, "{some}");
        assert!(figures(&some, "layers", 1) + figures(&some, "layers", 5) > 0.0, "{some}");
    }
}

#[test]
fn a_network_whose_every_layer_does_harm_is_left_alone() {
    let home = tempfile::tempdir().unwrap();
    // Of one layer, which is measured quickly.
    let avatar = copy("own_160");
    quantize(home.path(), avatar.path(), "200").fails(&["not even one layer", "--psnr"]);
    assert!(!avatar.path().join("generator.int8.onnx").exists());
}

/// A sparse WAV file of silence: hours of it cost nothing to make.
fn long_silence(file: &Path, seconds: u32) {
    let bytes = seconds * 16_000 * 2;
    let mut header = Vec::from(*b"RIFF");
    header.extend((36 + bytes).to_le_bytes());
    header.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    header.extend(16_000u32.to_le_bytes().into_iter().chain(32_000u32.to_le_bytes()));
    header.extend(b"\x02\0\x10\0data");
    header.extend(bytes.to_le_bytes());
    std::fs::write(file, header).unwrap();
    let file = std::fs::File::options().write(true).open(file).unwrap();
    file.set_len(44 + u64::from(bytes)).unwrap();
}

#[test]
fn what_holds_no_sound_is_named_and_ends() {
    let home = tempfile::tempdir().unwrap();
    let avatar = copy("own");
    let at = |name: &str| home.path().join(name);
    std::fs::create_dir(at("folder.mp3")).unwrap();
    std::fs::write(at("text.txt"), "Not a sound, but words.\n".repeat(100)).unwrap();
    std::fs::write(at("empty.wav"), "").unwrap();
    let mut state = 1u32;
    let mut noise = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    std::fs::write(at("noise.mp3"), (0..30_000).map(|_| noise()).collect::<Vec<u8>>()).unwrap();
    let picture = ["-f", "lavfi", "-i", "testsrc=s=64x48:d=1"];
    ffmpeg(&picture, &at("silent.mp4"));
    ffmpeg(&[&picture[..], &["-frames:v", "1"]].concat(), &at("still.jpg"));
    long_silence(&at("no_samples.wav"), 0);
    assert!(std::process::Command::new("mkfifo").arg(at("pipe.wav")).status().unwrap().success());
    for (name, words) in [
        ("nowhere.wav", "no such file"),
        ("folder.mp3", "is a folder"),
        ("pipe.wav", "is no regular file"),
        ("text.txt", "appears to be a text file"),
        ("empty.wav", "is empty"),
        ("noise.mp3", "cannot be read"),
        ("silent.mp4", "holds no sound"),
        ("still.jpg", "holds no sound"),
        ("no_samples.wav", "sound"),
    ] {
        let sound = at(name);
        let ran = run(home.path(), &["quantize", path(avatar.path()), "--sound", path(&sound)]);
        let said = ran.fails(&[path(&sound), words, "Give a"]);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(!said.contains(".."), "{said}");
    }
}

#[test]
fn a_sound_that_is_too_short_is_named() {
    let home = tempfile::tempdir().unwrap();
    let (avatar, sound) = (copy("own"), home.path().join("short.wav"));
    long_silence(&sound, 1);
    let ran = run(home.path(), &["quantize", path(avatar.path()), "--sound", path(&sound)]);
    ran.fails(&["short.wav: ", "Give a longer one", "--samples"]);
}

/// Every kind of sound that decoders read, with and without a picture beside it; it is heard, and found too short.
#[test]
fn every_kind_of_sound_is_heard() {
    let home = tempfile::tempdir().unwrap();
    let avatar = copy("own");
    let speech = fixture("audio/speech.wav");
    let sound = ["-i", path(&speech), "-t", "1"];
    let film = [&["-f", "lavfi", "-i", "testsrc=s=64x48:d=1"], &sound[..]].concat();
    let heard = |name: &str, arguments: &[&str]| {
        let file: PathBuf = home.path().join(name);
        ffmpeg(arguments, &file);
        let ran = run(home.path(), &["quantize", path(avatar.path()), "--sound", path(&file)]);
        ran.fails(&[path(&file), "its sound is only 1.", "Give a longer one"]);
    };
    for name in ["a.wav", "a.mp3", "a.m4a", "a.ogg", "a.opus", "a.flac", "a.aiff", "a.wma", "a.mka"] {
        heard(name, &sound);
    }
    for name in ["film.mp4", "film.mkv", "film.mov"] {
        heard(name, &film);
    }
    heard("film.webm", &[&film[..], &["-c:v", "libvpx", "-c:a", "libopus"]].concat());
    heard("stereo.mp3", &[&sound[..], &["-ac", "2", "-ar", "44100"]].concat());
}

#[test]
fn a_missing_decoder_is_named() {
    let home = tempfile::tempdir().unwrap();
    let (avatar, sound) = (copy("own"), home.path().join("speech.m4a"));
    ffmpeg(&["-i", path(&fixture("audio/speech.wav"))], &sound);
    let mut command = tool(home.path());
    // As if nothing were installed that decodes it.
    let decoders = ["avdec_aac", "avdec_aac_fixed", "avdec_aac_latm", "faad", "fdkaacdec"];
    command.env("GST_PLUGIN_FEATURE_RANK", decoders.map(|name| format!("{name}:NONE")).join(","));
    command.args(["quantize", path(avatar.path()), "--sound", path(&sound)]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    ends(child).fails(&["speech.m4a", "GStreamer lacks a MPEG-4 AAC decoder", "install"]);
}

#[test]
fn one_signal_ends_it_while_it_reads() {
    let home = tempfile::tempdir().unwrap();
    let (avatar, sound) = (copy("own"), home.path().join("long.wav"));
    long_silence(&sound, 60_000);
    for signal in ["-TERM", "-INT", "-HUP"] {
        let child = start(home.path(), &["quantize", path(avatar.path()), "--sound", path(&sound)]);
        // Long enough to be in the middle of it, if not, it ends all the sooner.
        std::thread::sleep(std::time::Duration::from_millis(1500));
        kill(&child, signal);
        let ran = ends(child);
        assert_eq!(ran.code, Some(130), "{}", ran.output);
        assert!(ran.output.contains("interrupted"), "{}", ran.output);
        assert!(!avatar.path().join("generator.int8.onnx").exists());
    }
}
