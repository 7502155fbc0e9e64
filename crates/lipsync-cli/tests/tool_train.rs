// SPDX-License-Identifier: MPL-2.0
//! The tool `lipsync` as users have it: `train`. The program that learns is stood in for (training/stand_in.py); MediaPipe is the
//! real one, installed into target/tool-cache the first time, as in tool_new.rs.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "../../lipsync-core/tests/common/mod.rs"]
mod common;
#[path = "common/tool.rs"]
mod tool;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use lipsync_core::avatar::Avatar;
use tool::{Ran, ffmpeg, names, path, run};

const H264: [&str; 6] = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-preset", "ultrafast"];
/// What a stage of reading a film prints.
const READING: &str = "==> reading the film";

/// A film of Iris who speaks before a green screen, for so long that the offset of its sound can be measured. It is made once.
fn speaking() -> PathBuf {
    let folder = common::root().join("target/tool-cache/films");
    let film = folder.join("iris-green.mp4");
    std::fs::create_dir_all(&folder).unwrap();
    // Tests run beside one another, each in a process of its own.
    let lock = std::fs::File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    if !film.exists() {
        let own = tempfile::tempdir_in(&folder).unwrap();
        let sound = own.path().join("speech.wav");
        let sample = common::root().join("examples/sample.wav");
        ffmpeg(&["-stream_loop", "2", "-i", path(&sample), "-t", "26"], &sound);
        let made = own.path().join("film.mp4");
        let mut command = tool::tool(own.path());
        command.args(["render", path(&sound), path(&made), "--background", "green", "--size", "960x540"]);
        tool::ends(tool::with_plugin(&mut command).spawn().unwrap()).succeeds();
        std::fs::rename(made, &film).unwrap();
    }
    film
}

/// A home with an interpreter for the training, and a film of Iris with a filter over its pictures and options for its sound.
struct Home {
    folder: tempfile::TempDir,
}

impl Home {
    fn new() -> Self {
        let home = Self { folder: tempfile::tempdir().unwrap() };
        let stand_in = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/training/stand_in.py");
        std::fs::create_dir(home.at("training")).unwrap();
        std::fs::copy(stand_in, home.python()).unwrap();
        std::fs::set_permissions(home.python(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::write(home.at("training/networks"), path(&common::root().join("models/iris"))).unwrap();
        home
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn python(&self) -> PathBuf {
        self.at("training/python")
    }

    /// Its first 12 s, unless `more` says how long.
    fn film(&self, picture: &str, more: &[&str]) -> PathBuf {
        let film = self.at("film.mp4");
        let speaking = speaking();
        let arguments = [&["-i", path(&speaking), "-vf", picture][..], &H264, &["-t", "12"], more].concat();
        ffmpeg(&arguments, &film);
        film
    }

    /// Nothing of its work is left to other tests: each has a cache of its own, in which what finds faces is the common one's.
    fn start(&self, film: &Path, more: &[&str]) -> Child {
        let cache = self.at("cache/lipsync");
        if !cache.exists() {
            std::fs::create_dir_all(&cache).unwrap();
            let common = common::root().join("target/tool-cache/lipsync");
            std::fs::create_dir_all(&common).unwrap();
            for name in ["faces-1", "faces-1.lock", "graphs"] {
                std::os::unix::fs::symlink(common.join(name), cache.join(name)).unwrap();
            }
        }
        let python = self.python();
        let mut command = tool::tool(self.folder.path());
        command.env("XDG_CACHE_HOME", self.at("cache"));
        command.args(["train", path(film), "her", "--python", path(&python)]).args(more);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn train(&self, film: &Path, more: &[&str]) -> Ran {
        tool::ends(self.start(film, more))
    }

    fn avatar(&self) -> PathBuf {
        self.at("lipsync/avatars/her")
    }

    /// Checks that no avatar is made of a film, what is said of it, and that nothing is left of it.
    #[track_caller]
    fn refuses(&self, film: &Path, words: &[&str]) {
        let said = self.train(film, &[]).fails(words);
        assert!(!self.avatar().exists() && !self.at("training/calls").exists(), "{said}");
        assert_eq!(names(&self.at("cache/lipsync/train")), ["her.lock"], "{said}");
        let last = said.trim().lines().last().unwrap();
        assert!(last.starts_with("lipsync: ") && last.contains("Film ") || last.contains("Look "), "{said}");
    }

    /// Waits until the training waits.
    fn wait_for_training(&self) {
        let start = Instant::now();
        while !self.at("training/waiting").exists() {
            assert!(start.elapsed() < Duration::from_secs(120), "the training does not begin");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[track_caller]
fn contains(text: &str, words: &[&str]) {
    words.iter().for_each(|word| assert!(text.contains(word), "no \"{word}\" in: {text}"));
}

/// Needs the network the first time, for what finds faces.
#[test]
fn a_film_becomes_an_avatar_that_has_a_name() {
    let home = Home::new();
    // The sound is late by 160 ms, and the screen is green.
    let film = home.film("null", &["-af", "adelay=160:all=1", "-t", "26"]);
    let told = home.train(&film, &["--minutes", "3", "--threads", "1"]).succeeds();
    contains(
        &told,
        &[
            "film.mp4: 0:26",
            " of 960 x 540",
            "the face is 16",
            "ms late, sure to",
            ": moved",
            "green: cut out",
            "is little to learn from",
            "33.5 dB PSNR, 62 % as sharp as the film",
            "rank correlation 0.75 (loudness alone: 0.30), closes in 90 %",
            "verdict: usable: the mouth is softer than the film. Film three to five minutes",
            "lipsync say \"Good morning.\" --avatar her",
        ],
    );
    let late: f64 = told.split("sound         ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    // Encoders of sound delay it as well; and it is a network that has listened.
    assert!((late - 160.0).abs() < 45.0 && !told.contains("by loudness alone"), "{told}");
    let calls = std::fs::read_to_string(home.at("training/calls")).unwrap();
    let teacher = common::root().join("models/iris/generator.onnx");
    let expected = serde_json::json!(["--threads", "1", "--begin-with", teacher, "--minutes", "3"]);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&calls).unwrap(), expected);
    let avatar = Avatar::open(&home.avatar()).unwrap();
    assert_eq!(avatar.frames.len(), 60);
    assert!(avatar.has_alpha() && avatar.background.is_some());
    // Her face is opaque, and the corner above is not.
    let mask = image::open(avatar.frames[5].alpha.as_ref().unwrap()).unwrap().to_luma8();
    assert_eq!((mask.get_pixel(480, 225).0, mask.get_pixel(30, 30).0), ([255], [0]));
    run(home.folder.path(), &["check", "her"]).succeeds();
    assert!(home.avatar().join("trained.json").exists() && home.avatar().join("trained.png").exists());
    // The work is done; the name is taken.
    assert_eq!(names(&home.at("cache/lipsync/train")), ["her.lock"]);
    home.train(&film, &[]).fails(&["her: is there already and is not overwritten"]);
}

#[test]
fn frames_that_cannot_be_used_are_left_out_and_counted() {
    let home = Home::new();
    // Nothing for half a second, another framing from 6 s on, a hand at 11 s.
    let faults = "drawbox=enable='between(n,50,62)':color=black:t=fill,\
                  crop=w=750:h=422:x='if(gte(t,6),190,105)':y='if(gte(t,6),75,45)',\
                  drawbox=enable='between(t,11,11.4)':x=230:y=190:w=200:h=125:color=0x302010:t=fill";
    let film = home.film(faults, &["-t", "15"]);
    let told = home.train(&film, &[]).succeeds();
    contains(
        &told,
        &[
            "no face is found in 13 frames (0:02",
            "something hides the mouth in 10 frames (0:11",
            "the film is cut in or beside",
            ", 0:05.",
        ],
    );
    assert!(!told.contains("more than one face") && !told.contains("turned"), "{told}");
}

#[test]
fn films_that_are_too_short_or_silent_are_refused_at_once() {
    let home = Home::new();
    home.refuses(
        &home.film("null", &["-t", "6"]),
        &["0:06 is too short", "10 seconds are the least", "Film longer"],
    );
    home.refuses(
        &home.film("null", &["-af", "volume=0"]),
        &["its sound is silence", "Film with a microphone"],
    );
    // The Python that makes the fixtures has no PyTorch.
    let python = common::root().join("target/venv/bin/python");
    let film = home.film("null", &[]);
    let said = run(home.folder.path(), &["train", path(&film), "her", "--python", path(&python)]).fails(&[
        "venv/bin/python: ",
        "No module named 'torch'. It needs torch, onnx",
        "leave out --python",
    ]);
    assert!(!said.contains(READING) && !said.contains("Traceback"), "{said}");
    home.train(Path::new("/nowhere.mp4"), &[]).fails(&["/nowhere.mp4: no such file. Give a video"]);
    home.train(&home.at("training"), &[]).fails(&["is a folder without full_body_img"]);
}

/// All of this is said before PyTorch is installed.
#[test]
fn films_that_nothing_can_be_learnt_from_are_refused_with_what_to_film_instead() {
    let home = Home::new();
    let refused = |picture: &str, words: &[&str]| home.refuses(&home.film(picture, &["-t", "10.4"]), words);
    refused("scale=480:270", &["pixels wide, and 96 are the least", "Film closer"]);
    refused(
        "crop=480:540,split[a][b];[a][b]hstack",
        &["more than one face is found in", "Film one person alone"],
    );
    refused("drawbox=color=gray:t=fill", &["no face is found in", "Film a face"]);
    // Black for a moment, again and again.
    let film = home.film("drawbox=color=black:t=fill:enable='lt(mod(t,2.6),0.1)'", &["-t", "24"]);
    home.refuses(
        &film,
        &["is the longest part that can be used", "three seconds are the least", "Film in one go"],
    );
    // A still with a voice.
    refused("loop=loop=400:size=1", &["the mouth does not move"]);
}

#[test]
fn an_interrupted_training_goes_on_where_it_stopped() {
    let home = Home::new();
    let film = home.film("null", &[]);
    std::fs::write(home.at("training/slow"), "").unwrap();
    let child = home.start(&film, &[]);
    home.wait_for_training();
    // Nobody else may work on it meanwhile.
    home.train(&film, &[]).fails(&["another lipsync train is making her"]);
    tool::kill(&child, "-TERM");
    let ran = tool::ends(child);
    assert_eq!(ran.code, Some(130), "{}", ran.output);
    contains(&ran.output, &[READING, "interrupted. The same command goes on where it stopped"]);
    assert!(!home.avatar().exists());

    // Killed outright.
    std::fs::remove_file(home.at("training/waiting")).unwrap();
    let mut child = home.start(&film, &[]);
    home.wait_for_training();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!home.avatar().exists());

    std::fs::remove_file(home.at("training/slow")).unwrap();
    let told = home.train(&film, &[]).succeeds();
    // From the checkpoint, and without reading the film again.
    contains(&told, &["closes in 87 %"]);
    assert!(!told.contains(READING) && !told.contains("==> finding the face"), "{told}");
    run(home.folder.path(), &["check", "her"]).succeeds();
}

#[test]
fn a_film_that_is_interrupted_while_faces_are_found_goes_on_there() {
    let home = Home::new();
    let film = home.film("null", &[]);
    let mut child = home.start(&film, &[]);
    let reports = home.at("cache/lipsync/train/her/faces.jsonl");
    let start = Instant::now();
    while std::fs::metadata(&reports).map_or(0, |data| data.len()) == 0 {
        assert!(start.elapsed() < Duration::from_secs(120), "no face is found");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // As if it had been cut off within a line.
    let text = std::fs::read(&reports).unwrap();
    std::fs::write(&reports, &text[..text.len() - 7]).unwrap();
    let told = home.train(&film, &[]).succeeds();
    assert!(!told.contains(READING), "{told}");
    contains(&told, &["used          0:12"]);
}

#[test]
fn what_the_training_says_is_wrong_is_told_as_it_is() {
    let home = Home::new();
    let film = home.film("null", &[]);
    std::fs::write(home.at("training/fails"), "me: the disk is full. Make room").unwrap();
    let said = home.train(&film, &[]).fails(&["lipsync: me: the disk is full. Make room"]);
    assert!(!said.contains("Traceback") && !home.avatar().exists(), "{said}");
    std::fs::remove_file(home.at("training/fails")).unwrap();
    std::fs::write(home.at("training/networks"), "/nowhere").unwrap();
    home.train(&film, &[]).fails(&["the training failed", "/nowhere", "what was learnt is kept"]);
    // What was learnt of a film is not thrown away for another.
    let said = home.train(&home.film("hflip", &[]), &[]).fails(&[
        "her is half made of another film",
        "film.mp4",
        "train/her",
    ]);
    assert!(!said.contains(READING), "{said}");
    // A folder that `new` has made serves as well.
    std::fs::write(home.at("training/networks"), path(&common::root().join("models/iris"))).unwrap();
    let set = home.at("cache/lipsync/train/her/set");
    let folder = home.at("made");
    std::fs::create_dir(&folder).unwrap();
    for name in ["full_body_img", "aud.wav"] {
        std::fs::rename(set.join(name), folder.join(name)).unwrap();
    }
    std::fs::remove_dir_all(home.at("cache/lipsync/train/her")).unwrap();
    let told = home.train(&folder, &[]).succeeds();
    contains(&told, &["made: 0:12", "used          0:12"]);
}
