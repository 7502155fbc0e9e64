// SPDX-License-Identifier: MPL-2.0
//! The tool `lipsync` as users have it: `import`.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "../../lipsync-core/tests/common/mod.rs"]
mod common;
#[path = "common/tool.rs"]
mod tool;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{BGR, compare, fixture, render_on};
use lipsync_core::avatar::Avatar;
use lipsync_core::onnx::Model;
use lipsync_core::picture::formats::Canvas;
use lipsync_core::rate::FrameRate;
use tool::{copy, kill, names, path, run, tool, truncate};

/// A second of an avatar's speech, over a colour, so that alpha is seen.
fn speech(folder: &Path) -> Vec<Vec<u8>> {
    let sound = fixture("audio/speech.wav");
    let samples = hound::WavReader::open(sound).unwrap().into_samples::<i16>();
    let samples: Vec<f32> = samples.take(16_000).map(|s| f32::from(s.unwrap()) / 32768.0).collect();
    let canvas = Canvas { format: BGR, background: Some([0, 177, 64]) };
    render_on(canvas, Avatar::open(folder).unwrap(), &samples, 16_000, FrameRate::NATIVE)
}

#[test]
fn a_lossless_import_plays_the_same() {
    let home = tempfile::tempdir().unwrap();
    for avatar in [
        "digital_clone",
        "synctalk",
        "synctalk_parsing",
        "own_jpg",
        "own",
        "own_views",
        "alpha",
        "masks",
        "wav2lip",
    ] {
        let source = fixture(&format!("avatars/{avatar}"));
        let told = run(home.path(), &["import", path(&source), avatar, "--lossless"]).succeeds();
        assert!(told.contains(&format!("lipsync say \"Good morning.\" --avatar {avatar}\n")), "{told}");
        let copy = home.path().join("lipsync/avatars").join(avatar);
        assert!(speech(&source) == speech(&copy), "{avatar} differs");
    }
}

#[test]
fn an_import_brings_masks_and_background() {
    let home = tempfile::tempdir().unwrap();
    let source = copy("masks");
    // Of any kind that can be read.
    let room = image::open(source.path().join("background.png")).unwrap();
    room.save(source.path().join("room.webp")).unwrap();
    let manifest = source.path().join("avatar.toml");
    let text = std::fs::read_to_string(&manifest).unwrap().replace("background.png", "room.webp");
    std::fs::write(&manifest, text).unwrap();
    run(home.path(), &["import", path(source.path()), "cutout"]).succeeds();
    let copy = home.path().join("lipsync/avatars/cutout");
    let manifest = std::fs::read_to_string(copy.join("avatar.toml")).unwrap();
    assert!(manifest.contains("alpha = \"alpha\"\nbackground = \"background.webp\""), "{manifest}");
    let same = |name: &str, original: &str| {
        std::fs::read(copy.join(name)).unwrap() == std::fs::read(source.path().join(original)).unwrap()
    };
    assert!(same("alpha/4.png", "alpha/4.png") && same("background.webp", "room.webp"));
    // Opaque frames stay JPEG.
    assert!(names(&copy.join("frames")).iter().all(|name| name.ends_with(".jpg")));
    run(home.path(), &["check", "cutout"]).succeeds();
}

/// Clips of a data set, from a file beside it and with frames of their own, are clips of the copy; `check` tells how they join.
#[test]
fn an_import_keeps_the_clips() {
    let home = tempfile::tempdir().unwrap();
    let source = copy("synctalk");
    let nod = source.path().join("nod");
    std::fs::create_dir(&nod).unwrap();
    for n in 0..3 {
        std::fs::copy(source.path().join(format!("full_body_img/{n}.jpg")), nod.join(format!("{n}.jpg")))
            .unwrap();
    }
    let clips = "[clips.nod]\nframes = \"nod\"\ncrop = [100, 50, 200, 200]\n\
                 [clips.listening]\nrange = [1, 4]\nuse = \"listening\"\nplay = \"loop\"\nmouth = \"own\"\n";
    std::fs::write(source.path().join("clips.toml"), clips).unwrap();
    run(home.path(), &["import", path(source.path()), "clips", "--lossless"]).succeeds();
    let copy = Avatar::open(&home.path().join("lipsync/avatars/clips")).unwrap();
    assert_eq!(copy.clips, Avatar::open(source.path()).unwrap().clips);
    let told = run(home.path(), &["check", "clips"]).succeeds();
    for line in [
        "clip            idle: idle, ",
        "listening: listening, 4 frames, loop, its own mouth; pictures between idle and it: ",
    ] {
        assert!(told.contains(line), "no \"{line}\" in: {told}");
    }
    assert!(told.contains("nod: gesture, 3 frames, once; pictures"), "{told}");
}

#[test]
fn an_import_is_small_and_plays_nearly_the_same() {
    let home = tempfile::tempdir().unwrap();
    let source = fixture("avatars/synctalk");
    let told =
        run(home.path(), &["import", path(&source), "small", "--fp16", "--license", "CC0-1.0"]).succeeds();
    let copy = home.path().join("lipsync/avatars/small");
    let manifest = std::fs::read_to_string(copy.join("avatar.toml")).unwrap();
    assert!(manifest.contains("license = \"CC0-1.0\"") && manifest.contains("first_frame = 1"), "{manifest}");
    assert!(told.contains("differs by 1 of 255 levels at most"), "{told}");
    for name in ["generator.onnx", "audio_encoder.onnx"] {
        let size = |path: PathBuf| std::fs::metadata(path).unwrap().len() as f64;
        let (before, after) = (size(source.join("models").join(name)), size(copy.join(name)));
        assert!(after < 0.52 * before, "{name}: {before} to {after}");
    }
    let (before, after) = (speech(&source), speech(&copy));
    assert_eq!(before.len(), after.len());
    let difference = compare(before.iter().flatten(), after.iter().flatten());
    // The frames have grain, which JPEG smooths.
    assert!(difference.mean < 4.0, "{difference:?}");
}

/// What a file says, whatever it may be.
fn decoded(file: &Path) -> Model {
    Model::decode_unchecked(file, &std::fs::read(file).unwrap()).unwrap()
}

#[test]
fn networks_keep_everything_when_they_are_written_again() {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture("models")).unwrap() {
        let file = entry.unwrap().path();
        if file.ends_with("truncated.onnx") || file.extension().is_none_or(|ending| ending != "onnx") {
            continue;
        }
        let copy = folder.path().join("copy.onnx");
        decoded(&file).write(&copy).unwrap();
        // Fields may stand in another order; none may be missing.
        let size = |path: &Path| std::fs::metadata(path).unwrap().len();
        assert_eq!(size(&file), size(&copy), "{}", file.display());
    }
    assert!(Model::read(&fixture("models/truncated.onnx")).is_err());
}

#[test]
fn every_field_of_the_format_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (file, copy) = (fixture("models/every_field.onnx"), folder.path().join("copy.onnx"));
    // No network says all that: some of it is refused where it would be run.
    decoded(&file).write(&copy).unwrap();
    assert!(Model::read(&file).is_err());
    let python = common::root().join("target/venv/bin/python");
    let script = "import onnx, sys; a, b = map(onnx.load, sys.argv[1:]); assert a == b";
    assert!(Command::new(python).args(["-c", script]).args([file, copy]).status().unwrap().success());
}

#[test]
fn weights_beside_a_network_are_taken_in() {
    let (home, set) = (tempfile::tempdir().unwrap(), copy("synctalk"));
    let python = common::root().join("target/venv/bin/python");
    let script = "import onnx, sys; f = sys.argv[1]; onnx.save_model(onnx.load(f), f, save_as_external_data=True, location='generator.weights')";
    let generator = set.path().join("models/generator.onnx");
    assert!(Command::new(python).args(["-c", script]).arg(&generator).status().unwrap().success());
    assert!(std::fs::metadata(&generator).unwrap().len() < 100_000, "the weights are not outside");
    run(home.path(), &["import", path(set.path()), "whole", "--lossless"]).succeeds();
    let whole = home.path().join("lipsync/avatars/whole");
    assert!(speech(&fixture("avatars/synctalk")) == speech(&whole));
    std::fs::remove_file(set.path().join("models/generator.weights")).unwrap();
    run(home.path(), &["check", path(set.path())]).fails(&["generator.weights: no such file"]);
}

#[test]
fn nothing_is_overwritten_and_nothing_broken_is_imported() {
    let home = tempfile::tempdir().unwrap();
    let source = fixture("avatars/own_jpg");
    let place = home.path().join("lipsync/avatars");
    std::fs::create_dir_all(place.join("taken")).unwrap();
    run(home.path(), &["import", path(&source), "taken"]).fails(&[
        "taken",
        "not overwritten",
        "another name",
    ]);
    assert!(names(&place.join("taken")).is_empty());
    run(home.path(), &["import", path(&source), "../out"]).fails(&["\"../out\" is no name"]);
    run(home.path(), &["import", "nobody", "me"]).fails(&["nobody", "no avatar of that name"]);
    run(home.path(), &["import", path(&source), "me", "--into", "/proc/no"]).fails(&["/proc/no", "--into"]);
    let broken = copy("own_jpg");
    truncate(&broken.path().join("frames/2.jpg"));
    run(home.path(), &["import", path(broken.path()), "me"]).fails(&["2.jpg"]);
    run(home.path(), &["import", path(broken.path()), "me", "--lossless"]).fails(&["2.jpg", "removed"]);
    truncate(&broken.path().join("generator.onnx"));
    std::fs::remove_file(broken.path().join("frames/1.jpg")).unwrap();
    run(home.path(), &["import", path(broken.path()), "me"]).fails(&["2 problems", "lipsync check"]);
    assert_eq!(names(&place), ["taken"]);
}

/// Starts an import of Iris and waits until it has begun to write.
fn begin_import(home: &Path) -> std::process::Child {
    let mut command = tool(home);
    command.args(["import", "iris", "her", "--quality", "50"]).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn().unwrap();
    let start = Instant::now();
    let begun = || names(&home.join("lipsync/avatars")).iter().any(|name| name.starts_with(".her.partial-"));
    while !begun() {
        assert!(start.elapsed() < Duration::from_secs(30), "it does not begin");
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

#[test]
fn an_interrupted_import_leaves_nothing_that_looks_finished() {
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("lipsync/avatars");
    let mut child = begin_import(home.path());
    kill(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert!(names(&place).is_empty(), "{:?}", names(&place));
    // Killed, it cannot tidy up; the next does.
    let mut child = begin_import(home.path());
    kill(&child, "-KILL");
    child.wait().unwrap();
    assert!(names(&place).iter().all(|name| name.starts_with(".her.partial-")), "{:?}", names(&place));
    assert!(!run(home.path(), &["list"]).succeeds().contains("her "));
    run(home.path(), &["import", "iris", "her"]).succeeds();
    assert_eq!(names(&place), ["her"]);
}
