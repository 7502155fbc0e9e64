// SPDX-License-Identifier: MPL-2.0
//! The examples, run as a newcomer runs them: built by their own tools, with the plugin as it is installed.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::{fixture, plugin_folder, root};

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program of a Rust example, built where the tests are built.
fn rust_example(name: &str) -> PathBuf {
    // target/debug/deps/examples-...
    let profile = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_path_buf();
    let mut command = Command::new(env!("CARGO"));
    // The whole workspace, so that nothing is built anew with other features than for the tests.
    command
        .args(["build", "--quiet", "--locked", "--offline", "--workspace", "--example", name])
        .current_dir(root());
    if profile.ends_with("release") {
        command.arg("--release");
    }
    assert!(command.status().unwrap().success(), "{name} cannot be built");
    profile.join("examples").join(name)
}

/// The program in C, built by its own Makefile into that folder.
fn c_example(folder: &Path) -> PathBuf {
    let program = folder.join("presenter");
    let mut command = Command::new("make");
    command.args(["--silent", "-C"]).arg(root().join("examples/c"));
    command.arg(format!("PROGRAM={}", program.display())).arg("CFLAGS=-Wall -Wextra -Wpedantic -Werror");
    // Nothing of a make that runs the tests.
    command.env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    assert!(command.status().unwrap().success(), "the example in C cannot be built");
    program
}

fn python_example() -> Command {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(root().join("examples/python/presenter.py")).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Lets a program find the plugin in `folder`, and nothing else of ours.
fn with_plugin(mut command: Command, folder: &Path) -> Command {
    command.env("GST_PLUGIN_PATH", folder).env("GST_REGISTRY", folder.join("registry.bin"));
    command.env_remove("ORT_DYLIB_PATH").env_remove("LIPSYNC_AVATAR_PATH").env("LC_ALL", "C.UTF-8");
    command
}

/// What a program says on both channels.
fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr].map(String::from_utf8_lossy).concat()
}

/// A small avatar, of 320 x 240.
fn avatar() -> String {
    fixture("avatars/own_160").display().to_string()
}

/// Entries of the streams of a file, one line for each, or of its container.
fn probe(file: &Path, entries: &str) -> String {
    let mut command = Command::new("ffprobe");
    command.args(["-v", "error", "-show_entries", entries, "-of", "csv=p=0"]).arg(file);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}: {}", file.display(), said(&output));
    String::from_utf8(output.stdout).unwrap().trim().into()
}

#[test]
fn rust_with_the_installed_plugin_makes_an_mp4() {
    let folder = plugin_folder(true);
    let program = rust_example("rust_dynamic");
    let film = folder.path().join("a film.mp4");
    let sound = fixture("audio/speech.wav");
    let run = |arguments: &[&str]| {
        with_plugin(Command::new(&program), folder.path()).args(arguments).output().unwrap()
    };

    let output = run(&[sound.to_str().unwrap(), film.to_str().unwrap(), &avatar()]);
    let told = said(&output);
    assert!(output.status.success() && told.contains("100 %") && told.contains("wrote "), "{told}");
    assert_eq!(
        probe(&film, "stream=codec_name,width,height,r_frame_rate,nb_frames")
            .lines()
            .filter(|line| line.starts_with("h264"))
            .collect::<Vec<_>>(),
        ["h264,320,240,25/1,83"]
    );
    assert!(probe(&film, "stream=codec_name").contains("aac"));

    let refusals: [(&[&str], &str); 3] = [
        (&[sound.to_str().unwrap(), film.to_str().unwrap(), "nobody"], "LIPSYNC_AVATAR_PATH"),
        (&["/nowhere.wav", film.to_str().unwrap()], "/nowhere.wav: there is no such file"),
        (&[], "usage: "),
    ];
    for (arguments, word) in refusals {
        let output = run(arguments);
        assert!(!output.status.success() && said(&output).contains(word), "{}", said(&output));
    }
    // Without the plugin.
    let empty = tempfile::tempdir().unwrap();
    let mut command = with_plugin(Command::new(&program), empty.path());
    command.env("GST_PLUGIN_SYSTEM_PATH", empty.path());
    let output = command.arg(&sound).output().unwrap();
    assert!(!output.status.success() && said(&output).contains("Install the plugin"), "{}", said(&output));
}

#[test]
fn rust_with_the_elements_built_in_writes_pictures() {
    let empty = tempfile::tempdir().unwrap();
    let program = rust_example("rust_static");
    let pictures = empty.path().join("pictures");
    let run = |avatar: &str| {
        let mut command = with_plugin(Command::new(&program), empty.path());
        command.env("ORT_DYLIB_PATH", root().join("target/onnxruntime/libonnxruntime.so"));
        command.arg(avatar).arg(fixture("audio/speech.wav")).arg(&pictures).output().unwrap()
    };
    let output = run(&avatar());
    assert!(output.status.success() && said(&output).contains("83 pictures"), "{}", said(&output));
    let names = ["000.png", "001.png", "002.png", "003.png"];
    let sizes = names.map(|name| image::image_dimensions(pictures.join(name)).unwrap());
    assert_eq!(sizes, [(320, 240); 4]);
    assert_eq!(std::fs::read_dir(&pictures).unwrap().count(), 4);

    let output = run("/nowhere");
    assert!(!output.status.success() && said(&output).contains("/nowhere"), "{}", said(&output));
}

/// A program that is talked to line by line.
struct Conversation {
    program: Child,
    keyboard: Option<ChildStdin>,
    screen: Receiver<String>,
    seen: Vec<String>,
}

impl Conversation {
    fn with(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut program = command.spawn().unwrap();
        let (show, screen) = channel();
        let lines = BufReader::new(program.stdout.take().unwrap()).lines();
        // Ends with the program.
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| show.send(line)));
        Self { keyboard: program.stdin.take(), program, screen, seen: Vec::new() }
    }

    fn type_line(&mut self, line: &str) {
        writeln!(self.keyboard.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Waits for a line that begins so, and returns the rest of it.
    fn wait_for(&mut self, beginning: &str) -> String {
        loop {
            let line = self.screen.recv_timeout(PATIENCE);
            let line =
                line.unwrap_or_else(|error| panic!("no {beginning:?} ({error}) after {:?}", self.seen));
            self.seen.push(line.clone());
            if let Some(rest) = line.strip_prefix(beginning) {
                return rest.into();
            }
        }
    }

    /// Ends the input, and waits for the end of the program.
    fn end(&mut self) -> ExitStatus {
        self.keyboard = None;
        // Its output ends with it.
        while let Ok(line) = self.screen.recv_timeout(PATIENCE) {
            self.seen.push(line);
        }
        self.program.wait().unwrap()
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        // It has ended, unless the test has failed.
        let _ = self.program.kill();
        let _ = self.program.wait();
    }
}

/// Talks to a presenter: interrupts the first of two utterances, and lets a third one end. `lines` are a long one and a short one.
fn converse(command: Command, film: &Path, [long, short]: [&str; 2]) {
    let mut talk = Conversation::with(command);
    talk.type_line(long);
    talk.type_line(long);
    talk.wait_for("start: answer-1");
    talk.type_line("");
    // In samples and seconds; the end of the utterance must say the same.
    let cut = talk.wait_for("interrupt: answer-1 after ");
    let (samples, seconds) = cut.split_once(" samples, ").unwrap();
    samples.parse::<u64>().unwrap();
    assert_eq!(talk.wait_for("end: answer-1 "), format!("interrupted after {seconds}"));
    talk.type_line(short);
    talk.wait_for("start: answer-3");
    assert!(talk.wait_for("end: answer-3 ").starts_with("finished after "), "{:?}", talk.seen);
    assert!(talk.end().success(), "{:?}", talk.seen);
    // The second never began, or was cut off before its first sample.
    let second: Vec<&String> = talk.seen.iter().filter(|line| line.contains("answer-2 ")).collect();
    assert!(second.iter().all(|line| line.contains("interrupted after 0.00 s")), "{:?}", talk.seen);
    println!("{:#?}", talk.seen);

    let streams = probe(film, "stream=codec_name,width,height");
    assert_eq!(
        streams.lines().map(|line| line.trim_end_matches(',')).collect::<Vec<_>>(),
        ["h264,320,240", "opus"]
    );
    let length: f64 = probe(film, "format=duration").parse().unwrap();
    assert!(length > 0.0, "{length}");
}

/// Checks that a presenter says why it cannot start.
fn assert_refused(mut command: Command, word: &str) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains(word), "no {word:?} in {}", said(&output));
}

#[test]
fn python_speaks_what_is_typed_and_is_interrupted() {
    let folder = plugin_folder(true);
    let film = folder.path().join("a film.mkv");
    let command = |avatar: &str| {
        let mut command = with_plugin(python_example(), folder.path());
        command.arg("--avatar").arg(avatar).arg("--out").arg(&film);
        command
    };
    let long = "This is a sentence of some length, and many of the same kind follow. ".repeat(8);
    converse(command(&avatar()), &film, [&long, "All right."]);

    assert_refused(command("nobody"), "LIPSYNC_AVATAR_PATH");
    let empty = tempfile::tempdir().unwrap();
    let mut without = with_plugin(python_example(), empty.path());
    without.env("GST_PLUGIN_SYSTEM_PATH", empty.path());
    assert_refused(without, "Install the plugin");
}

#[test]
fn c_speaks_sound_files_and_is_interrupted() {
    let folder = plugin_folder(true);
    let film = folder.path().join("a film.mkv");
    let program = c_example(folder.path());
    let command = |avatar: &str| {
        let mut command = with_plugin(Command::new(&program), folder.path());
        command.arg("--avatar").arg(avatar).arg("--out").arg(&film);
        command
    };
    let (long, short) = (root().join("examples/sample.wav"), fixture("audio/speech.wav"));
    converse(command(&avatar()), &film, [long.to_str().unwrap(), short.to_str().unwrap()]);

    assert_refused(command("nobody"), "LIPSYNC_AVATAR_PATH");
    let empty = tempfile::tempdir().unwrap();
    let mut without = with_plugin(Command::new(&program), empty.path());
    without.env("GST_PLUGIN_SYSTEM_PATH", empty.path());
    assert_refused(without, "GST_PLUGIN_PATH");
    let mut misspelt = with_plugin(Command::new(&program), folder.path());
    misspelt.arg("--avatr");
    assert_refused(misspelt, "--avatr");
}
