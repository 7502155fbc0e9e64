//! The tool `lipsync-avatar` as users have it.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{BGR, compare, copy_folder, fixture, render_on};
use gstlipsync::avatar::Avatar;
use gstlipsync::generator::Generator;
use gstlipsync::onnx::Model;
use gstlipsync::picture::Canvas;
use gstlipsync::precision::Precision;
use gstlipsync::rate::FrameRate;
use gstlipsync::runtime::Engine;

/// What came of running the tool.
struct Ran {
    code: Option<i32>,
    /// What it printed, complaints last.
    output: String,
}

/// The tool with a user's data folder of its own and the shipped avatars in the search path.
fn tool(home: &Path) -> Command {
    tool_at(Path::new(env!("CARGO_BIN_EXE_lipsync-avatar")), home)
}

fn tool_at(program: &Path, home: &Path) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(program);
    command
        .env("XDG_DATA_HOME", home)
        .env("XDG_DATA_DIRS", home.join("nowhere"))
        // Kept between runs: it is filled from the network.
        .env("XDG_CACHE_HOME", root.join("target/tool-cache"))
        .env("LIPSYNC_AVATAR_PATH", root.join("models"))
        .env("ORT_DYLIB_PATH", root.join("target/onnxruntime/libonnxruntime.so"))
        .env_remove("LIPSYNC_PYTHON")
        .stdin(Stdio::null());
    command
}

fn run(home: &Path, arguments: &[&str]) -> Ran {
    let output = tool(home).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    Ran { code: output.status.code(), output: String::from_utf8(text).unwrap() }
}

impl Ran {
    #[track_caller]
    fn succeeds(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.output);
        self.output
    }

    /// Checks that it failed and said all of `words`.
    #[track_caller]
    fn fails(self, words: &[&str]) -> String {
        assert_eq!(self.code, Some(1), "{}", self.output);
        assert!(!self.output.contains("panicked"), "{}", self.output);
        for word in words {
            assert!(self.output.contains(word), "no \"{word}\" in: {}", self.output);
        }
        self.output
    }
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A copy of an avatar of the fixtures, to be damaged.
fn copy(layout: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&fixture(&format!("avatars/{layout}")), folder.path());
    folder
}

fn truncate(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// Names of what is in a folder, hidden files too.
fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// A second of an avatar's speech, over a colour, so that alpha is seen.
fn speech(folder: &Path) -> Vec<Vec<u8>> {
    let sound = fixture("audio/speech.wav");
    let samples = hound::WavReader::open(sound).unwrap().into_samples::<i16>();
    let samples: Vec<f32> = samples.take(16_000).map(|s| f32::from(s.unwrap()) / 32768.0).collect();
    let canvas = Canvas { format: BGR, background: Some([0, 177, 64]) };
    render_on(canvas, Avatar::open(folder).unwrap(), &samples, 16_000, FrameRate::NATIVE)
}

#[test]
fn every_layout_is_told_and_would_play() {
    let home = tempfile::tempdir().unwrap();
    for (avatar, words) in [
        ("synctalk", &["SyncTalk_2D data set", "5 of 480 x 360", "rows of a mel encoder"][..]),
        ("digital_clone", &["digital-clone package", "ready-made pictures", "2 of 2 as in"]),
        ("own", &["our own", "6 of 480 x 360", "\"mel\" [N, 1, 80, 16] float32", "float32 weights"]),
        ("own_160", &["paints        160 x 160"]),
        ("own_jpg", &["the frame's own row"]),
        ("own_int8", &["int8"]),
        ("own_views", &["parsing masks"]),
        ("alpha", &["with alpha"]),
        ("masks", &["5 of 256 x 192, with alpha"]),
        ("wav2lip", &["the mel window itself"]),
        ("synctalk_hubert", &["rows of HuBERT"]),
    ] {
        let told = run(home.path(), &["check", path(&fixture(&format!("avatars/{avatar}")))]).succeeds();
        for word in words {
            assert!(told.contains(word), "no \"{word}\" in: {told}");
        }
        assert!(told.lines().last().unwrap().starts_with("verdict: would play"), "{told}");
    }
    let told = run(home.path(), &["check", "iris"]).succeeds();
    assert!(told.ends_with("verdict: would play: lipsync avatar=iris\n"), "{told}");
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
        "generator.onnx: its sha256 is",
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
    run(home.path(), &["import", path(set.path()), "me"]).fails(&["2 problems", "lipsync-avatar check"]);
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
    // A broken avatar has a sheet, too.
    let set = copy("synctalk");
    truncate(&set.path().join("full_body_img/0.jpg"));
    std::fs::remove_file(set.path().join("models/generator.onnx")).unwrap();
    run(home.path(), &["check", path(set.path()), "--sheet", path(&file)]).fails(&["2 problems"]);
    assert!(image::open(&file).is_ok());
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
        assert!(told.contains(&format!("use it: lipsync avatar={avatar}")), "{told}");
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

#[test]
fn networks_keep_everything_when_they_are_written_again() {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(fixture("models")).unwrap() {
        let file = entry.unwrap().path();
        if file.ends_with("truncated.onnx") || file.extension().is_none_or(|ending| ending != "onnx") {
            continue;
        }
        let copy = folder.path().join("copy.onnx");
        Model::read(&file).unwrap().write(&copy).unwrap();
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
    Model::read(&file).unwrap().write(&copy).unwrap();
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
    let script = "import onnx, sys; a, b = map(onnx.load, sys.argv[1:]); assert a == b";
    assert!(Command::new(python).args(["-c", script]).args([file, copy]).status().unwrap().success());
}

#[test]
fn weights_beside_a_network_are_taken_in() {
    let (home, set) = (tempfile::tempdir().unwrap(), copy("synctalk"));
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python");
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
    run(home.path(), &["import", path(broken.path()), "me"]).fails(&["2 problems", "lipsync-avatar check"]);
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

fn kill(child: &std::process::Child, signal: &str) {
    assert!(Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap().success());
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
    let alone = home.path().join("bin/lipsync-avatar");
    std::fs::create_dir(home.path().join("bin")).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_lipsync-avatar"), &alone).unwrap();
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

/// Makes a video with ffmpeg.
fn video(file: &Path, arguments: &[&str]) {
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-y"]).args(arguments).args(["-c:v", "libx264", "-pix_fmt", "yuv420p"]);
    assert!(command.arg(file).status().unwrap().success());
}

#[test]
fn videos_that_cannot_be_used_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let new = |file: &Path| run(home.path(), &["new", path(file), "me", "--into", path(home.path())]);
    new(Path::new("/nowhere.mp4")).fails(&["/nowhere.mp4", "no such file"]);
    let file = home.path().join("video.mp4");
    std::fs::write(&file, "not a video").unwrap();
    new(&file).fails(&["video.mp4", "picture and sound"]);
    video(&file, &["-f", "lavfi", "-i", "testsrc=s=320x240:d=0.4"]);
    new(&file).fails(&["video.mp4", "holds no sound"]);
    let sound = fixture("audio/speech.wav");
    new(&sound).fails(&["speech.wav", "holds no picture"]);
    assert_eq!(names(home.path()), ["video.mp4"]);
}

/// Needs the network the first time: MediaPipe is installed into target/tool-cache.
#[test]
fn a_video_becomes_a_data_set() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("video.mp4");
    let new = |name: &str| run(home.path(), &["new", path(&file), name, "--into", path(home.path())]);
    video(&file, &["-f", "lavfi", "-i", "testsrc=s=320x240:d=0.4", "-f", "lavfi", "-i", "sine=d=0.4"]);
    new("nobody").fails(&["no face is found in 10 frames (0-9)", "Cut the video"]);

    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (frames, sample) = (root.join("models/iris/frames/%d.jpg"), root.join("examples/sample.wav"));
    let iris = ["-framerate", "30", "-i", path(&frames), "-i", path(&sample), "-t", "1.2"];
    video(&file, &iris);
    let told = new("her").succeeds();
    assert!(told.contains("30 frames of 1280 x 720 at 25 a second"), "{told}");
    let set = home.path().join("her");
    assert_eq!(names(&set.join("full_body_img")).len(), 30);
    let wav = hound::WavReader::open(set.join("aud.wav")).unwrap();
    assert_eq!((wav.spec().sample_rate, wav.spec().channels), (16_000, 1));
    let seconds = f64::from(wav.duration()) / 16_000.0;
    assert!((1.1..1.3).contains(&seconds), "{seconds} s of sound");
    // With any networks it is an avatar.
    copy_folder(&fixture("avatars/synctalk/models"), &set.join("models"));
    run(home.path(), &["check", path(&set)]).succeeds();
    let avatar = Avatar::open(&set).unwrap();
    for frame in &avatar.frames {
        // Her face as it is in the pictures.
        assert!((520..540).contains(&frame.face.x) && (230..245).contains(&frame.face.y), "{:?}", frame.face);
        assert!((215..235).contains(&frame.face.width), "{:?}", frame.face);
    }
    assert_eq!(std::fs::read_to_string(set.join("landmarks/7.lms")).unwrap().lines().count(), 110);

    // Two of her, and one at the edge.
    video(&file, &[&iris[..], &["-vf", "split[a][b];[a][b]hstack"]].concat());
    new("two").fails(&["more than one face is found in"]);
    video(&file, &[&iris[..], &["-vf", "crop=400:230:440:160"]].concat());
    new("edge").fails(&["leaves the picture in"]);
    let mut left = names(home.path());
    left.sort();
    assert_eq!(left, ["her", "video.mp4"]);
}

#[test]
fn a_quantized_network_is_played_until_the_generator_changes() {
    let home = tempfile::tempdir().unwrap();
    let avatar = copy("own");
    let generator = avatar.path().join("generator.onnx");
    let int8 = avatar.path().join("generator.int8.onnx");
    let chosen = |precision| {
        let engine = Engine { precision, ..Engine::default() };
        Generator::prepare(&generator, &engine, None).map(|prepared| prepared.path)
    };
    let refused = |precision, words: &[&str]| {
        let error = chosen(precision).unwrap_err().to_string();
        words.iter().for_each(|word| assert!(error.contains(word), "no \"{word}\" in: {error}"));
    };
    assert_eq!(chosen(Precision::Auto).unwrap(), generator);
    refused(Precision::Int8, &["generator.int8.onnx", "no 8-bit network", "lipsync-avatar quantize"]);

    let sound = fixture("audio/speech.wav");
    let arguments = ["quantize", path(avatar.path()), "--sound", path(&sound), "--samples", "4"];
    let said = run(home.path(), &arguments).succeeds();
    assert!(said.contains(" dB") && said.contains("0 in float32"), "{said}");
    assert_eq!(chosen(Precision::Auto).unwrap(), int8);
    assert_eq!(chosen(Precision::Int8).unwrap(), int8);
    assert_eq!(chosen(Precision::Fp32).unwrap(), generator);

    std::fs::copy(fixture("models/generator_320_names.onnx"), &generator).unwrap();
    for precision in [Precision::Auto, Precision::Int8] {
        refused(precision, &["generator.int8.onnx", "was not made of", "quantize on the avatar again"]);
    }
    assert_eq!(chosen(Precision::Fp32).unwrap(), generator);
}

#[test]
fn layers_that_do_harm_stay_in_float32() {
    let home = tempfile::tempdir().unwrap();
    let avatar = copy("own_160");
    std::fs::copy(fixture("models/generator_half.onnx"), avatar.path().join("generator.onnx")).unwrap();
    let sound = fixture("audio/speech.wav");
    let quantize = |psnr: &str| {
        let arguments =
            ["quantize", path(avatar.path()), "--sound", path(&sound), "--samples", "3", "--psnr", psnr];
        run(home.path(), &arguments)
    };
    let figures = |said: &str, line: &str, word: usize| -> f64 {
        let line =
            said.lines().find(|l| l.trim_start().starts_with(line)).unwrap_or_else(|| panic!("{said}"));
        line.split_whitespace().nth(word).unwrap().parse().unwrap()
    };
    let all = quantize("5").succeeds();
    assert_eq!(figures(&all, "layers", 5), 0.0, "{all}");
    let wanted = figures(&all, "mouths", 1) + 6.0;
    let some = quantize(&wanted.to_string()).succeeds();
    assert!(figures(&some, "mouths", 1) >= wanted - 0.05 && figures(&some, "layers", 5) > 0.0, "{some}");
    assert!(figures(&some, "layers", 1) > 0.0, "{some}");
    quantize("200").fails(&["not even one layer", "--psnr"]);
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
