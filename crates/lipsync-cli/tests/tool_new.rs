// SPDX-License-Identifier: MPL-2.0
//! The tool `lipsync` as users have it: `new`.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "../../lipsync-core/tests/common/mod.rs"]
mod common;
#[path = "common/tool.rs"]
mod tool;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::{copy_folder, fixture};
use lipsync_core::avatar::Avatar;
use tool::{Ran, ffmpeg, names, path, run};

const H264: [&str; 4] = ["-c:v", "libx264", "-pix_fmt", "yuv420p"];

/// Makes a film: ffmpeg's arguments for its inputs, and what is done with them.
fn film(file: &Path, arguments: &[&str]) {
    ffmpeg(&[arguments, &H264].concat(), file);
}

/// A film of Iris, 25 frames a second, so long and with a filter over its pictures.
fn film_iris(file: &Path, seconds: &str, filter: &str) {
    let root = common::root();
    let (frames, sample) = (root.join("models/iris/frames/%d.jpg"), root.join("examples/sample.wav"));
    let inputs = ["-framerate", "25", "-i", path(&frames), "-i", path(&sample)];
    film(file, &[&inputs[..], &["-t", seconds, "-vf", filter]].concat());
}

fn new(home: &Path, film: &Path, name: &str, more: &[&str]) -> Ran {
    run(home, &[&["new", path(film), name, "--into", path(home)], more].concat())
}

/// All of this is said before anything is installed, so that it is said at once.
#[test]
fn videos_that_cannot_be_used_are_refused_early() {
    let home = tempfile::tempdir().unwrap();
    // Where nothing can be installed.
    let refused = |file: &Path, words: &[&str]| {
        let mut command = tool::tool(home.path());
        command.env("XDG_CACHE_HOME", "/proc/nowhere").args(["new", path(file), "me"]);
        let output = command.args(["--into", path(home.path())]).output().unwrap();
        let output_text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let said = Ran { code: output.status.code(), output: output_text }.fails(&[path(file)]);
        words.iter().for_each(|word| assert!(said.contains(word), "no \"{word}\" in: {said}"));
        assert!(!said.contains("installing") && said.lines().count() <= 2, "{said}");
    };
    let at = |name: &str| -> PathBuf { home.path().join(name) };
    refused(Path::new("/nowhere.mp4"), &["no such file", "Give a video"]);
    std::fs::create_dir(at("folder")).unwrap();
    refused(&at("folder"), &["is a folder", "Give a video"]);
    std::fs::write(at("words.mp4"), "not a video").unwrap();
    refused(&at("words.mp4"), &["picture and sound"]);
    std::fs::write(at("empty.mp4"), "").unwrap();
    refused(&at("empty.mp4"), &["is empty"]);
    let picture = ["-f", "lavfi", "-i", "testsrc=s=320x240:d=0.4"];
    film(&at("silent.mp4"), &picture);
    refused(&at("silent.mp4"), &["holds no sound", "Give a video"]);
    film(&at("muted.mp4"), &[&picture[..], &["-f", "lavfi", "-i", "anullsrc", "-t", "0.4"]].concat());
    refused(&at("muted.mp4"), &["its sound is silence", "microphone"]);
    refused(&fixture("audio/speech.wav"), &["holds no picture", "Give a video"]);
    ffmpeg(&["-i", path(&fixture("audio/speech.wav"))], &at("speech.mp3"));
    refused(&at("speech.mp3"), &["holds no picture", "Give a video"]);
    ffmpeg(&[&picture[..], &["-frames:v", "1"]].concat(), &at("still.jpg"));
    refused(&at("still.jpg"), &["holds no sound", "Give a video"]);
    assert!(names(home.path()).iter().all(|name| !name.contains("partial") && name != "me"));
}

#[test]
fn what_is_installed_needs_room() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("film.mp4");
    film(&file, &["-f", "lavfi", "-i", "testsrc=s=320x240:d=1", "-f", "lavfi", "-i", "sine=d=1"]);
    let mut command = tool::tool(home.path());
    // /proc has no room at all.
    command.env("XDG_CACHE_HOME", "/proc/nowhere").args(["new", path(&file), "me"]);
    let output = command.args(["--into", path(home.path())]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("/proc") && said.contains("free") && said.contains("XDG_CACHE_HOME"), "{said}");
    assert!(!said.contains("installing"), "{said}");
}

/// A folder with modules that leave a file behind when they are run, and are named like those that Python imports.
fn trap(home: &Path) -> (PathBuf, PathBuf) {
    let (folder, sprung) = (home.join("films"), home.join("sprung"));
    std::fs::create_dir(&folder).unwrap();
    for name in ["json", "venv", "pip", "shutil", "sitecustomize", "usercustomize", "typing", "cv2", "numpy"]
    {
        let script = format!("open({sprung:?}, 'w').write(__name__)\nraise SystemExit(3)\n");
        std::fs::write(folder.join(format!("{name}.py")), script).unwrap();
    }
    film_iris(&folder.join("film.mp4"), "1.2", "null");
    (folder, sprung)
}

/// Run from a folder that a stranger filled, with an environment that points there.
fn new_in(folder: &Path, home: &Path, more: &[&str], set: &[(&str, &str)]) -> Ran {
    let mut command = tool::tool(home);
    command.current_dir(folder).env("XDG_CACHE_HOME", home.join("cache")).env("PYTHONPATH", folder);
    command.env("PYTHONSTARTUP", folder.join("json.py")).env("PYTHONUSERBASE", folder);
    command.envs(set.iter().copied()).args(["new", "film.mp4", "her", "--into", path(home)]).args(more);
    tool::ends(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

#[test]
fn nothing_is_run_from_the_current_folder() {
    let home = tempfile::tempdir().unwrap();
    let (folder, sprung) = trap(home.path());
    let spring = || std::fs::read_to_string(&sprung).ok();
    // This interpreter has no LiteRT.
    let said = new_in(&folder, home.path(), &["--python", "/usr/bin/python3"], &[]);
    assert_eq!(spring(), None, "{}", said.output);
    said.fails(&["the landmark script failed", "No module named", "It needs ai-edge-litert"]);
    // Pip, in an environment of our own that has just been made, finds no packages.
    let nowhere = [("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", "")];
    let said = new_in(&folder, home.path(), &[], &nowhere);
    assert_eq!(spring(), None, "{}", said.output);
    said.fails(&["could not be installed", "No matching distribution"]);
}

#[test]
fn packages_that_are_others_than_were_known_are_not_installed() {
    let home = tempfile::tempdir().unwrap();
    let (folder, sprung) = trap(home.path());
    let wheels = home.path().join("wheels");
    std::fs::create_dir(&wheels).unwrap();
    // The first of the list.
    std::fs::write(wheels.join("ai_edge_litert-2.3.0-py3-none-any.whl"), "something else").unwrap();
    let mirror = [("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", path(&wheels))];
    let said = new_in(&folder, home.path(), &[], &mirror).fails(&["its SHA-256 differs", "--python"]);
    // Nothing of what pip says.
    assert!(said.trim().lines().last().unwrap().starts_with("lipsync: a package"), "{said}");
    assert!(!sprung.exists());
}

#[test]
fn wrong_times_are_refused() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("film.mp4");
    film(&file, &["-f", "lavfi", "-i", "testsrc=s=320x240:d=1", "-f", "lavfi", "-i", "sine=d=1"]);
    let wrong = |more: &[&str]| new(home.path(), &file, "me", more);
    assert_eq!(wrong(&["--from", "soon"]).code, Some(2));
    assert_eq!(wrong(&["--to", "-1"]).code, Some(2));
    wrong(&["--from", "1:00", "--to", "30"]).fails(&["--from 1:00 is not before --to 0:30"]);
    wrong(&["--from", "1:00"]).fails(&["film.mp4: ends at 0:01", "before --from 1:00"]);
}

/// Needs the network the first time: what finds faces is installed into target/tool-cache.
#[test]
fn a_video_becomes_a_data_set() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("video.mp4");
    film_iris(&file, "1.2", "null");
    let told = new(home.path(), &file, "her", &[]).succeeds();
    for words in ["30 frames of 1280 x 720 at 25 a second (0:01.20)", "hardly anything", "lipsync train"] {
        assert!(told.contains(words), "no \"{words}\" in: {told}");
    }
    assert!(!told.contains("kept"), "{told}");
    let set = home.path().join("her");
    assert_eq!(names(&set.join("full_body_img")).len(), 30);
    let wav = hound::WavReader::open(set.join("aud.wav")).unwrap();
    assert_eq!((wav.spec().sample_rate, wav.spec().channels), (16_000, 1));
    assert_eq!(wav.duration(), 30 * 640);
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
    assert_eq!(sorted_names(home.path()), ["her", "video.mp4"]);
}

/// Checks that no data set is made of a video, what is said of it, and that nothing is left behind.
fn assert_no_data_set(home: &Path, file: &Path, words: &[&str]) {
    new(home, file, "nobody", &[]).fails(words);
    assert_eq!(sorted_names(home), ["video.mp4"]);
}

#[test]
fn a_video_without_a_face_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("video.mp4");
    film(&file, &["-f", "lavfi", "-i", "testsrc=s=320x240:d=0.4", "-f", "lavfi", "-i", "sine=d=0.4"]);
    let words = ["no face is found in 10 frames (0:00-0:00.36)", "Film one"];
    assert_no_data_set(home.path(), &file, &words);
}

#[test]
fn a_video_of_two_faces_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("video.mp4");
    film_iris(&file, "0.4", "split[a][b];[a][b]hstack");
    assert_no_data_set(home.path(), &file, &["more than one face is found in"]);
}

#[test]
fn a_video_of_a_face_at_the_edge_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("video.mp4");
    film_iris(&file, "0.4", "crop=400:230:440:160");
    assert_no_data_set(home.path(), &file, &["nothing is left", "leaves the picture in"]);
}

/// Names of what is in a folder, in order.
fn sorted_names(folder: &Path) -> Vec<String> {
    let mut names = names(folder);
    names.sort();
    names
}

/// The files of a folder with their bytes, in order.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let names = sorted_names(folder).into_iter();
    names.map(|name| (name.clone(), std::fs::read(folder.join(name)).unwrap())).collect()
}

#[test]
fn the_longest_good_stretch_is_kept() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("film.mp4");
    film_iris(&file, "2.8", "drawbox=enable='between(n,30,31)':color=black:t=fill");
    let told = new(home.path(), &file, "longest", &[]).succeeds();
    for words in [
        "38 frames of 1280 x 720",
        "kept: 0:01.28 to 0:02.80 of 0:00 to 0:02.80",
        "no face is found in 2 frames (0:01.20-0:01.24)",
        "--from and --to",
    ] {
        assert!(told.contains(words), "no \"{words}\" in: {told}");
    }
    // The same by hand: frames and sound belong to the same moments.
    let told = new(home.path(), &file, "by_hand", &["--from", "1.28", "--to", "0:02.8"]).succeeds();
    assert!(told.contains("38 frames") && !told.contains("kept"), "{told}");
    let of = |name: &str| home.path().join(name);
    let pictures = files(&of("longest/full_body_img"));
    assert!(pictures.len() == 38 && pictures == files(&of("by_hand/full_body_img")));
    assert_eq!(names(&of("longest/landmarks")).len(), 38);
    let sound = |set: &str| {
        let wav = hound::WavReader::open(of(set).join("aud.wav")).unwrap();
        wav.into_samples::<i16>().map(Result::unwrap).collect::<Vec<i16>>()
    };
    new(home.path(), &file, "first", &["--to", "1.2"]).succeeds();
    let (longest, first) = (sound("longest"), sound("first"));
    assert!(longest.len() == 38 * 640 && longest == sound("by_hand"));
    assert_eq!(first.len(), 30 * 640);
    // As ffmpeg reads it.
    let whole = of("whole.wav");
    ffmpeg(&["-i", path(&file), "-ac", "1", "-ar", "16000"], &whole);
    let whole = hound::WavReader::open(whole).unwrap().into_samples::<i16>();
    let whole: Vec<i16> = whole.map(Result::unwrap).collect();
    for (at, part) in [(0, &first), (32 * 640, &longest)] {
        let pairs = part.iter().zip(&whole[at..]);
        let difference = pairs.map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / part.len() as f64;
        let loudness = part.iter().map(|a| f64::from(a.unsigned_abs())).sum::<f64>() / part.len() as f64;
        // Resamplers differ by less than a sample; two samples would be more than this.
        assert!(difference < 0.25 * loudness, "{difference} of {loudness} from sample {at}");
    }
}

#[test]
fn frames_after_the_end_of_the_sound_are_left_out() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("film.mp4");
    // 2.8 s of pictures with a second of sound.
    let short = home.path().join("short.wav");
    let sample = common::root().join("examples/sample.wav");
    ffmpeg(&["-i", path(&sample), "-t", "1"], &short);
    let frames = common::root().join("models/iris/frames/%d.jpg");
    film(&file, &["-framerate", "25", "-i", path(&frames), "-i", path(&short), "-t", "2.8"]);
    let told = new(home.path(), &file, "her", &[]).succeeds();
    assert!(told.contains("kept: 0:00 to 0:01") && told.contains("the sound ends at 0:01"), "{told}");
}

#[test]
fn one_signal_ends_it_while_the_landmark_script_is_silent() {
    let home = tempfile::tempdir().unwrap();
    let (file, python) = (home.path().join("film.mp4"), home.path().join("python"));
    film_iris(&file, "1.2", "null");
    std::fs::write(&python, "#!/bin/sh\ntouch \"$0.begun\"\nexec sleep 600\n").unwrap();
    std::fs::set_permissions(&python, std::fs::Permissions::from_mode(0o755)).unwrap();
    let arguments = ["new", path(&file), "her", "--into", path(home.path()), "--python", path(&python)];
    let child = tool::start(home.path(), &arguments);
    let start = Instant::now();
    while !home.path().join("python.begun").exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "the script does not begin");
        std::thread::sleep(Duration::from_millis(20));
    }
    tool::kill(&child, "-TERM");
    let ran = tool::ends(child);
    assert_eq!(ran.code, Some(130), "{}", ran.output);
    assert!(names(home.path()).iter().all(|name| !name.contains("her")), "{:?}", names(home.path()));
}
