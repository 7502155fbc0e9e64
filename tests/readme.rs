// SPDX-License-Identifier: MPL-2.0
//! The launch lines of the README and of the pages behind it, taken from there.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{fixture, plugin_folder};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The commands in the blocks of shell of a page, each in one line.
fn commands(page: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(page)).unwrap().replace("\\\n", " ");
    let blocks = text.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap().to_owned());
    blocks.flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

/// The first launch line of the README, which reads `sound` instead of its file and writes `film`, in the shell.
fn speak(sound: &Path, film: &Path) {
    let plugin = plugin_folder(true);
    let lines = commands("README.md");
    let line = lines
        .iter()
        .find(|line| line.starts_with("gst-launch-1.0 "))
        .expect("there is a launch line")
        .replace("location=speech.wav", &format!("location={}", sound.display()))
        .replace("location=out.mp4", &format!("location={}", film.display()));
    assert!(line.contains(&film.display().to_string()), "{line}");
    let mut command = Command::new("timeout");
    command.args(["170", "sh", "-c", &line]).env("GST_PLUGIN_PATH", plugin.path());
    command.env("GST_REGISTRY", plugin.path().join("registry.bin"));
    command.env_remove("ORT_DYLIB_PATH").env_remove("LIPSYNC_AVATAR_PATH");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert_ne!(output.status.code(), Some(124), "it hangs with {}: {said}", sound.display());
    assert!(output.status.success(), "{}: {said}", sound.display());
}

/// Seconds of a stream of a file: `v` or `a`.
fn seconds(file: &Path, stream: &str) -> f64 {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-select_streams", stream, "-show_entries", "stream=duration"]);
    let output = command.args(["-of", "csv=p=0"]).arg(file).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.trim().parse().unwrap_or_else(|_| panic!("{}: {stream}: {text:?}", file.display()))
}

/// Cuts the sample recording, with ffmpeg's `options`.
fn cut(folder: &Path, name: &str, options: &[&str]) -> PathBuf {
    let file = folder.join(name);
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-i"]).arg(root().join("examples/sample.wav")).args(options).arg(&file);
    assert!(command.status().unwrap().success(), "{command:?}");
    file
}

#[test]
fn its_first_launch_line_makes_a_film_with_all_of_the_sound() {
    let folder = tempfile::tempdir().unwrap();
    let film = folder.path().join("out.mp4");
    let recording = cut(folder.path(), "speech.wav", &[]);
    let sounds = [
        (fixture("audio/speech.wav"), None),
        (recording, Some(11.236)),
        (cut(folder.path(), "short.wav", &["-t", "0.2", "-ac", "1", "-ar", "16000"]), Some(0.2)),
        (cut(folder.path(), "stereo.wav", &["-t", "4", "-ac", "2", "-ar", "48000"]), Some(4.0)),
        (cut(folder.path(), "speech.flac", &["-t", "4"]), Some(4.0)),
        (cut(folder.path(), "speech.ogg", &["-t", "4", "-ar", "48000"]), Some(4.0)),
    ];
    for (sound, length) in sounds {
        speak(&sound, &film);
        let (picture, heard) = (seconds(&film, "v"), seconds(&film, "a"));
        let length = length.unwrap_or_else(|| seconds(&sound, "a"));
        // A frame is whole; AAC has 1024 samples of its own in front, and is in pieces of as many.
        assert!((0.0..0.041).contains(&(picture - length)), "{}: {picture} of {length} s", sound.display());
        assert!((-0.001..0.05).contains(&(heard - length)), "{}: {heard} of {length} s", sound.display());
    }
}

#[test]
fn every_launch_line_can_be_parsed() {
    common::gst::init();
    let mut count = 0;
    for page in ["README.md", "docs/pipelines.md", "docs/live.md", "scripts/on_air/README.md"] {
        for line in commands(page) {
            let Some(line) = line.strip_prefix("gst-launch-1.0 ").filter(|line| !line.contains("...")) else {
                continue;
            };
            let line = line.split(" | ").next().unwrap().trim_start_matches("-e ").trim_start_matches("-q ");
            gst::parse::launch(line).unwrap_or_else(|error| panic!("{page}: {line}: {error}"));
            count += 1;
        }
    }
    assert!(count > 10, "only {count} lines");
}

/// What the links of a page point to, as the package `lipsync-doc` would have it: without anchors, addresses and mail.
fn targets(page: &str) -> Vec<String> {
    let text = fs::read_to_string(root().join(page)).unwrap();
    let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = links
        .map(|link| link.split('#').next().unwrap())
        .filter(|link| !link.is_empty() && !link.contains(':'));
    files.map(str::to_owned).collect()
}

#[test]
fn links_of_packaged_pages_point_to_what_is_packaged() {
    let patterns = fs::read_to_string(root().join("scripts/deb/doc-files")).unwrap();
    let output = Command::new("git")
        .arg("ls-files")
        .args(patterns.split_whitespace())
        .current_dir(root())
        .output()
        .unwrap();
    let packaged = String::from_utf8(output.stdout).unwrap();
    let packaged: Vec<&str> = packaged.lines().collect();
    let root = fs::canonicalize(root()).unwrap();
    assert!(packaged.contains(&"README.md") && packaged.contains(&"docs/presenters.jpg"), "{packaged:?}");
    for page in packaged.iter().filter(|file| file.ends_with(".md")) {
        let folder = root.join(page).parent().unwrap().to_owned();
        for link in targets(page) {
            let file = fs::canonicalize(folder.join(&link)).unwrap_or_else(|e| panic!("{page}: {link}: {e}"));
            let there = packaged.iter().any(|one| root.join(one).starts_with(&file));
            assert!(there, "{page}: {link} is not in lipsync-doc: see scripts/deb/doc-files");
        }
    }
}
