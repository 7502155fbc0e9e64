// SPDX-License-Identifier: MPL-2.0
//! What the tests of `lipsync` share: how it is run, and what is given to it.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use super::common::{copy_folder, fixture};

/// A run that takes longer hangs. It is generous: nothing is said about speed.
const LIMIT: Duration = Duration::from_secs(150);

/// What came of running the tool.
pub struct Ran {
    pub code: Option<i32>,
    /// What it printed, complaints last.
    pub output: String,
}

/// The tool with a user's data folder of its own and the shipped avatars in the search path.
pub fn tool(home: &Path) -> Command {
    tool_at(Path::new(env!("CARGO_BIN_EXE_lipsync")), home)
}

pub fn tool_at(program: &Path, home: &Path) -> Command {
    let root = super::common::root();
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

pub fn run(home: &Path, arguments: &[&str]) -> Ran {
    ends(start(home, arguments))
}

/// Puts what cargo built of the plugin in a command's reach, and catches what it prints.
pub fn with_plugin(command: &mut Command) -> &mut Command {
    // Kept between runs, with GStreamer's list of what all plugins have.
    let folder = super::common::root().join("target/tool-cache/plugin");
    std::fs::create_dir_all(&folder).unwrap();
    let built = std::env::current_exe().unwrap().with_file_name("libgstlipsync.so");
    assert!(built.exists(), "{} is missing: test the whole workspace", built.display());
    let link = folder.join("libgstlipsync.so");
    if std::fs::read_link(&link).ok().as_ref() != Some(&built) {
        // Tests that run beside this one may do the same, so that it is there at any time.
        let own = folder.join(format!("{}", std::process::id()));
        std::os::unix::fs::symlink(&built, &own).unwrap();
        std::fs::rename(own, link).unwrap();
    }
    command.env("GST_PLUGIN_PATH", folder).stdout(Stdio::piped()).stderr(Stdio::piped())
}

/// Starts the tool; [`ends`] waits for it.
pub fn start(home: &Path, arguments: &[&str]) -> Child {
    tool(home).args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for the end of a run, and fails where it does not come.
#[track_caller]
pub fn ends(child: Child) -> Ran {
    let process = child.id();
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || done.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(LIMIT) else {
        signal(process, "-KILL");
        panic!("it does not end");
    };
    let output = output.unwrap();
    let text = [output.stdout, output.stderr].concat();
    Ran { code: output.status.code(), output: String::from_utf8(text).unwrap() }
}

impl Ran {
    #[track_caller]
    pub fn succeeds(self) -> String {
        assert_eq!(self.code, Some(0), "{}", self.output);
        self.output
    }

    /// Checks that it failed and said all of `words`.
    #[track_caller]
    pub fn fails(self, words: &[&str]) -> String {
        assert_eq!(self.code, Some(1), "{}", self.output);
        assert!(!self.output.contains("panicked"), "{}", self.output);
        for word in words {
            assert!(self.output.contains(word), "no \"{word}\" in: {}", self.output);
        }
        self.output
    }
}

pub fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A copy of an avatar of the fixtures, to be damaged.
pub fn copy(layout: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&fixture(&format!("avatars/{layout}")), folder.path());
    folder
}

pub fn truncate(path: &Path) {
    let bytes = std::fs::read(path).unwrap();
    std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

/// Names of what is in a folder, hidden files too.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

pub fn kill(child: &Child, name: &str) {
    signal(child.id(), name);
}

fn signal(process: u32, name: &str) {
    assert!(Command::new("kill").args([name, &process.to_string()]).status().unwrap().success());
}

/// Makes a film or a sound with ffmpeg.
pub fn ffmpeg(arguments: &[&str], file: &Path) {
    let mut command = Command::new("ffmpeg");
    assert!(command.args(["-v", "error", "-y"]).args(arguments).arg(file).status().unwrap().success());
}
