// SPDX-License-Identifier: MPL-2.0
//! The tool `lipsync` as users have it: `check`, `list` and the manual.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "../../lipsync-core/tests/common/mod.rs"]
mod common;
#[path = "common/tool.rs"]
mod tool;

use std::path::Path;
use std::process::Stdio;

use common::{copy_folder, fixture};
use tool::{copy, ends, path, run, start, tool, tool_at, truncate};

#[test]
fn every_layout_is_told_and_would_play() {
    let home = tempfile::tempdir().unwrap();
    for (avatar, words) in [
        ("synctalk", &["SyncTalk_2D data set", "5 of 480 x 360", "rows of a mel encoder"][..]),
        ("digital_clone", &["digital-clone package", "ready-made pictures", "2 of 2 as in"]),
        ("own", &["our own", "6 of 480 x 360", "\"mel\" [N, 1, 80, 16] float32", "float32 weights"]),
        ("own_160", &["picture       160 x 160"]),
        ("own_jpg", &["the frame's own row"]),
        ("own_int8", &["int8"]),
        ("own_views", &["parsing masks"]),
        ("alpha", &["with alpha"]),
        ("masks", &["5 of 256 x 192, with alpha"]),
        ("wav2lip", &["a window of the mel spectrogram"]),
        ("synctalk_hubert", &["rows of HuBERT"]),
    ] {
        let told = run(home.path(), &["check", path(&fixture(&format!("avatars/{avatar}")))]).succeeds();
        for word in words {
            assert!(told.contains(word), "no \"{word}\" in: {told}");
        }
        assert!(told.lines().last().unwrap().starts_with("verdict: would play"), "{told}");
    }
    let told = run(home.path(), &["check", "iris"]).succeeds();
    assert!(told.ends_with("verdict: would play: lipsync say \"Good morning.\" --avatar iris\n"), "{told}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let home = tempfile::tempdir().unwrap();
    let mut command = tool(home.path());
    let mut child =
        command.args(["check", "iris"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn nor_is_one_that_does_not_look_at_all() {
    let home = tempfile::tempdir().unwrap();
    for arguments in [&["--help"][..], &["help", "new"], &["list"], &["check", "nobody"], &["chekc"]] {
        let mut child = start(home.path(), arguments);
        drop((child.stdout.take(), child.stderr.take()));
        let ran = ends(child);
        let expected = match arguments {
            ["check", ..] => 1,
            ["chekc"] => 2,
            _ => 0,
        };
        assert_eq!(ran.code, Some(expected), "{arguments:?}");
    }
}

#[test]
fn common_mistakes_have_a_sentence_each() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("me.mp4");
    std::fs::write(&file, "a film").unwrap();
    for command in [&["check"][..], &["quantize"], &["import"]] {
        let name: &[&str] = if command == ["import"] { &["me"] } else { &[] };
        let run = |avatar: &str| run(home.path(), &[command, &[avatar], name].concat());
        let said = run("nobody").fails(&["nobody: no avatar of that name, and no folder", "lipsync list"]);
        assert_eq!(said.lines().count(), 1, "{said}");
        run("/no/where").fails(&["/no/where: no such folder", "lipsync list"]);
        run(path(&file)).fails(&["me.mp4: is a file", "lipsync train"]);
    }
    let sheet = |name: &str| run(home.path(), &["check", "iris", "--sheet", name]);
    sheet("iris.jpg").fails(&["iris.jpg: a sheet is a PNG file", ".png"]);
    sheet("/no/where/iris.png").fails(&["/no/where: no such folder"]);
    sheet(path(home.path())).fails(&["is a folder"]);
    for decibels in ["nan", "-3", "0", "much"] {
        assert_eq!(run(home.path(), &["quantize", "iris", "--psnr", decibels]).code, Some(2));
    }
}

#[test]
fn every_damage_to_a_data_set_is_named() {
    let (home, set) = (tempfile::tempdir().unwrap(), copy("synctalk"));
    let at = |name: &str| set.path().join(name);
    truncate(&at("full_body_img/0.jpg"));
    std::fs::write(at("landmarks/1.lms"), "1 2\n3 x\n").unwrap();
    std::fs::remove_file(at("full_body_img/2.jpg")).unwrap();
    image::RgbImage::new(20, 10).save(at("full_body_img/3.png")).unwrap();
    std::fs::remove_file(at("full_body_img/3.jpg")).unwrap();
    std::fs::remove_file(at("landmarks/4.lms")).unwrap();
    truncate(&at("models/generator.onnx"));
    std::fs::copy(fixture("models/encoder_wrong_shape.onnx"), at("models/audio_encoder.onnx")).unwrap();
    let told = run(home.path(), &["check", path(set.path())]).fails(&[
        "0.jpg: is no readable picture",
        "1.lms: has a line",
        "2.*: this frame is missing",
        "3.png: is 20 x 10, not 480 x 360",
        "4.lms: no such file",
        "generator.onnx: is no ONNX file",
    ]);
    assert!(told.ends_with("verdict: would not play; 6 problems\n"), "{told}");
    // What the encoder must look like, only the generator can tell.
    std::fs::copy(fixture("models/generator_320.onnx"), at("models/generator.onnx")).unwrap();
    run(home.path(), &["check", path(set.path())])
        .fails(&["audio_encoder.onnx: is no audio encoder", "0.jpg"]);
}

#[test]
fn every_damage_to_a_package_is_named() {
    let (home, set) = (tempfile::tempdir().unwrap(), copy("digital_clone"));
    let at = |name: &str| set.path().join(name);
    std::fs::remove_file(at("model_inputs/3.jpg")).unwrap();
    std::fs::copy(at("full_body_img/2.jpg"), at("rois_320/2.jpg")).unwrap();
    let rectangles = at("cache/crop_rectangles.json");
    let text = std::fs::read_to_string(&rectangles).unwrap();
    let text = text.replace("\"0\"", "\"7\"").replacen("83,", "8300,", 1);
    std::fs::write(&rectangles, text).unwrap();
    // As real packages have it, with one wrong sum and one network that is not there.
    let config = format!(
        r#"{{"dataset": "sanders", "asr": "ave", "format": "onnx", "flattened": true,
            "generator": {{"file": "models/generator.onnx", "sha256": "{}"}},
            "audio_encoder": {{"included": false, "file": "models/gone.onnx", "sha256": "00"}},
            "removed": {{"files": 3}}, "notes": "file"}}"#,
        "ab".repeat(32)
    );
    std::fs::write(at("onnx_dist_config.json"), config).unwrap();
    let told = run(home.path(), &["check", path(set.path())]).fails(&[
        "model_inputs/3.*: this frame is missing",
        "rois_320/2.jpg: is 480 x 360, not 320 x 320",
        "has no rectangle \"0\"",
        "3.jpg: its face rectangle",
        "generator.onnx: its SHA-256 is",
        "0 of 1 as in",
    ]);
    assert!(told.ends_with("; 5 problems\n"), "{told}");
}

#[test]
fn every_damage_to_our_own_layout_is_named() {
    let (home, set) = (tempfile::tempdir().unwrap(), copy("own"));
    let at = |name: &str| set.path().join(name);
    truncate(&at("frames/1.png"));
    std::fs::remove_file(at("frames/2.png")).unwrap();
    let crops = std::fs::read_to_string(at("crops.csv")).unwrap().replace("3,57,", "3,-57,");
    std::fs::write(at("crops.csv"), crops).unwrap();
    std::fs::remove_file(at("audio_encoder.onnx")).unwrap();
    std::fs::copy(fixture("models/generator_nan.onnx"), at("generator.onnx")).unwrap();
    let told = run(home.path(), &["check", path(set.path())]).fails(&[
        "1.png: is no readable picture",
        "2.*: this frame is missing",
        "3.png: its face rectangle, 300 x 300 at -57, 23, starts outside",
        "audio_encoder.onnx: no such model",
        "generator.onnx: painted values that are not numbers",
    ]);
    assert!(told.ends_with("; 5 problems\n"), "{told}");
    std::fs::write(at("avatar.toml"), "format = 1\ncolour = 3\n").unwrap();
    run(home.path(), &["check", path(set.path())]).fails(&["colour", "; 1 problem\n"]);
}

#[test]
fn every_damage_to_masks_is_named() {
    let (home, set) = (tempfile::tempdir().unwrap(), copy("masks"));
    let at = |name: &str| set.path().join(name);
    std::fs::remove_file(at("alpha/0.png")).unwrap();
    image::GrayImage::new(20, 10).save(at("alpha/1.png")).unwrap();
    truncate(&at("alpha/2.png"));
    std::fs::remove_file(at("frames/3.jpg")).unwrap();
    image::RgbaImage::new(256, 192).save(at("frames/3.png")).unwrap();
    image::RgbImage::new(20, 10).save(at("background.png")).unwrap();
    let told = run(home.path(), &["check", path(set.path()), "--sheet", path(&home.path().join("s.png"))]);
    let told = told.fails(&[
        "alpha/0.*: this frame is missing",
        "alpha/1.png: is 20 x 10, not 256 x 192 as the frame",
        "alpha/2.png: is no readable picture",
        "frames/3.png: has an alpha channel, and a mask",
        "background.png: is 20 x 10, not 256 x 192 as the frames",
    ]);
    assert!(told.ends_with("; 5 problems\n"), "{told}");
    run(home.path(), &["import", path(set.path()), "me"]).fails(&["2 problems", "lipsync check"]);
}

#[test]
fn a_sheet_shows_the_frames_and_their_rectangles() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("sheet.png");
    run(home.path(), &["check", "iris", "--sheet", path(&file)]).succeeds();
    let sheet = image::open(&file).unwrap().into_rgb8();
    assert_eq!(sheet.dimensions(), (4 * 408 + 8, 3 * (225 + 200 + 8) + 8));
    let green = sheet.pixels().filter(|pixel| pixel.0 == [0, 220, 0]).count();
    let red = sheet.pixels().filter(|pixel| pixel.0 == [240, 40, 40]).count();
    assert!(green > 12 * 4 * 100 && red > 12 * 4 * 100, "{green} green, {red} red");
    // No landmarks in that layout.
    assert!(sheet.pixels().all(|pixel| pixel.0 != YELLOW));
    // A broken avatar has a sheet, too.
    let set = copy("synctalk");
    truncate(&set.path().join("full_body_img/0.jpg"));
    std::fs::remove_file(set.path().join("models/generator.onnx")).unwrap();
    run(home.path(), &["check", path(set.path()), "--sheet", path(&file)]).fails(&["2 problems"]);
    assert!(image::open(&file).is_ok());
}

/// The colour of landmarks on a sheet.
const YELLOW: [u8; 3] = [255, 220, 0];

#[test]
fn a_data_set_has_a_sheet_with_landmarks_before_it_is_trained() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("sheet.png");
    let set = copy("synctalk");
    // The points of a nose in the middle of the face, beside those that bound it.
    for n in 0..5 {
        let landmarks = set.path().join(format!("landmarks/{n}.lms"));
        let text = std::fs::read_to_string(&landmarks).unwrap();
        let point = |n: usize| -> Vec<f64> {
            let line = text.lines().nth(n).unwrap();
            line.split_whitespace().map(|word| word.parse().unwrap()).collect()
        };
        let (left, right, top) = (point(1), point(31), point(52));
        let middle = ((left[0] + right[0]) / 2.0, top[1] + (right[0] - left[0]) / 2.0);
        let mut lines: Vec<String> = text.lines().map(Into::into).collect();
        lines.push(format!("{} {}", middle.0, middle.1));
        std::fs::write(&landmarks, lines.join("\n")).unwrap();
    }
    let pixels = |colour: [u8; 3]| {
        let sheet = image::open(&file).unwrap().into_rgb8();
        // Five frames of 480 x 360, each with what the network sees below it.
        assert_eq!(sheet.dimensions(), (4 * 408 + 8, 2 * (300 + 200 + 8) + 8));
        sheet.enumerate_pixels().filter(|pixel| pixel.2.0 == colour).map(|p| (p.0, p.1)).collect::<Vec<_>>()
    };
    run(home.path(), &["check", path(set.path()), "--sheet", path(&file)]).succeeds();
    let trained = pixels(YELLOW);
    // The middle of the face is the middle of what the network sees of the first frame: a dot of 2 x 2.
    assert!(trained.contains(&(8 + 100, 8 + 300 + 100)), "{trained:?}");
    std::fs::remove_dir_all(set.path().join("models")).unwrap();
    let told = run(home.path(), &["check", path(set.path()), "--sheet", path(&file)]).fails(&["2 problems"]);
    assert!(told.contains("would not play yet: its networks are to be trained"), "{told}");
    assert_eq!(pixels(YELLOW), trained);
    assert!(pixels([0, 220, 0]).len() > 5 * 4 * 100 && pixels([240, 40, 40]).len() > 5 * 4 * 100);
    // What else is wrong is not forgotten.
    truncate(&set.path().join("full_body_img/0.jpg"));
    let told = run(home.path(), &["check", path(set.path())]).fails(&["0.jpg"]);
    assert!(told.ends_with("verdict: would not play; 3 problems\n"), "{told}");
}

#[test]
fn the_list_tells_what_is_hidden_and_what_is_broken() {
    let home = tempfile::tempdir().unwrap();
    let place = home.path().join("lipsync/avatars");
    copy_folder(&fixture("avatars/own_jpg"), &place.join("iris"));
    copy_folder(&fixture("avatars/own_160"), &place.join("small"));
    copy_folder(&fixture("avatars/own_160"), &place.join("torn"));
    std::fs::remove_file(place.join("torn/crops.csv")).unwrap();
    let told = run(home.path(), &["list"]).succeeds();
    let lines: Vec<&str> = told.lines().collect();
    assert!(lines[0].starts_with("iris") && lines[0].contains("Iris, a rendered presenter"), "{told}");
    assert!(lines[1].contains("our own, ") && lines[1].contains(" of 1280 x 720"), "{told}");
    let second = lines.iter().skip(1).position(|line| line.starts_with("iris")).unwrap() + 1;
    assert!(
        lines[second..second + 4].iter().any(|line| line.contains("hidden: the name iris means")),
        "{told}"
    );
    assert!(told.contains("Small network"), "{told}");
    assert!(
        told.contains("torn            cannot be used") && told.contains("crops.csv: no such file"),
        "{told}"
    );
    // Nothing at all, also not beside the tool.
    let alone = home.path().join("bin/lipsync");
    std::fs::create_dir(home.path().join("bin")).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_lipsync"), &alone).unwrap();
    let mut list = tool_at(&alone, home.path());
    list.arg("list").env("LIPSYNC_AVATAR_PATH", "/nowhere").env("XDG_DATA_HOME", "/nowhere");
    let output = String::from_utf8(list.output().unwrap().stdout).unwrap();
    assert!(output.starts_with("no avatars in\n  /nowhere\n"), "{output}");
}

#[test]
fn the_manual_tells_every_command() {
    let home = tempfile::tempdir().unwrap();
    let manual = run(home.path(), &["--help"]).succeeds();
    for word in ["check", "import", "list", "new", "LIPSYNC_AVATAR_PATH", "Exit status"] {
        assert!(manual.contains(word), "no {word} in {manual}");
    }
    assert_eq!(run(home.path(), &["chekc"]).code, Some(2));
    assert_eq!(run(home.path(), &["import", "iris", "x", "--quality", "101"]).code, Some(2));
}

#[test]
fn prepared_graphs_are_kept_in_the_users_cache() {
    let home = tempfile::tempdir().unwrap();
    let cache = tempfile::tempdir().unwrap();
    let avatar = copy("own");
    let check = |cache: &Path| {
        let output =
            tool(home.path()).env("XDG_CACHE_HOME", cache).args(["check", path(avatar.path())]).output();
        let said = String::from_utf8(output.unwrap().stdout).unwrap();
        assert!(said.contains("verdict: would play"), "{said}");
    };
    let kept = || {
        check(cache.path());
        let files = std::fs::read_dir(cache.path().join("lipsync/graphs")).unwrap();
        let files = files.map(|file| file.unwrap()).map(|file| (file.file_name(), file.metadata().unwrap()));
        let mut files: Vec<_> = files.map(|(name, data)| (name, data.modified().unwrap())).collect();
        files.sort();
        files
    };
    let first = kept();
    assert_eq!(first.len(), 2, "{first:?}");
    assert_eq!(kept(), first, "they were made once more");

    // Another network in its place: the graphs of the old one go.
    let generator = avatar.path().join("generator.onnx");
    std::fs::copy(fixture("models/generator_320_names.onnx"), &generator).unwrap();
    let second = kept();
    assert_eq!(second.len(), 2, "{second:?}");
    assert!(second.iter().all(|file| !first.contains(file)), "{second:?}");

    // What was cut short is made again.
    let damaged = cache.path().join("lipsync/graphs").join(&second[0].0);
    std::fs::write(&damaged, "no graph").unwrap();
    check(cache.path());

    check(Path::new("/dev/null/no-cache"));
}
