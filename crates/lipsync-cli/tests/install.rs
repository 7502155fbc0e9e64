// SPDX-License-Identifier: MPL-2.0
//! `make install` and `make uninstall`, and GStreamer on what they leave, with none of our variables set.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "../../lipsync-core/tests/common/mod.rs"]
mod common;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{copy_folder, fixture, root};

/// What root has under sudo: no cargo in it.
const SYSTEM_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

/// A command in the environment of somebody with that home who has set nothing.
fn command(home: &Path, program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("timeout");
    command.arg("120").arg(program).args(arguments).env_clear().current_dir(root());
    command.env("PATH", SYSTEM_PATH).env("HOME", home).env("LC_ALL", "C");
    command
}

/// Whether it ended well, and what it said.
fn run(command: &mut Command) -> (bool, String) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

fn run_well(command: &mut Command) -> String {
    let (good, said) = run(command);
    assert!(good, "{command:?}: {said}");
    said
}

/// A temporary folder, which holds what cargo built for the tests as `make` has it in `target/release`.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let built = folder.path().join("built");
        fs::create_dir(&built).unwrap();
        let plugin = std::env::current_exe().unwrap().with_file_name("libgstlipsync.so");
        std::os::unix::fs::symlink(plugin, built.join("libgstlipsync.so")).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_lipsync"), built.join("lipsync")).unwrap();
        let place = Self { folder };
        let share = place.path("built/share");
        run_well(&mut command(
            &place.path("home"),
            env!("CARGO_BIN_EXE_lipsync"),
            &["share", share.to_str().unwrap()],
        ));
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn make(&self, target: &str, variables: &[(&str, &OsStr)]) -> Command {
        let mut make = command(&self.path("home"), "make", &[target]);
        let built = self.path("built");
        for (name, value) in [("BUILT", built.as_os_str())].iter().chain(variables) {
            let mut word = std::ffi::OsString::from(format!("{name}="));
            word.push(value);
            make.arg(word);
        }
        make
    }
}

/// Every file and folder in a folder, relative to it.
fn contents(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(next) = open.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            }
            found.push(entry.path().strip_prefix(folder).unwrap().to_path_buf());
        }
    }
    found.sort();
    found
}

/// A launch that paints a frame of a shipped avatar.
fn paint(home: &Path) -> Command {
    let sound = fixture("audio/one_sample.wav");
    let line = format!("filesrc location={} ! wavparse ! lipsync avatar=theo ! fakesink", sound.display());
    command(home, "gst-launch-1.0", &line.split(' ').collect::<Vec<_>>())
}

#[test]
fn for_oneself_it_is_found_with_no_variable_set() {
    let place = Place::new();
    let home = place.path("home");
    let prefix = home.join(".local");
    let variables: [(&str, &OsStr); 1] = [("PREFIX", prefix.as_os_str())];
    let said = run_well(&mut place.make("install", &variables));
    assert!(said.contains("/.local/share/gstreamer-1.0/plugins"), "{said}");

    let manual = run_well(&mut command(&home, "gst-inspect-1.0", &["lipsync"]));
    assert!(manual.contains(&format!("{}/share/gstreamer-1.0/plugins", prefix.display())), "{manual}");
    run_well(&mut paint(&home));
    let listed = run_well(&mut command(&home, prefix.join("bin/lipsync").to_str().unwrap(), &["list"]));
    assert!(listed.contains("iris") && listed.contains("theo"), "{listed}");
    let old_name = prefix.join("bin/lipsync-avatar");
    let said = run_well(&mut command(&home, old_name.to_str().unwrap(), &["check", "iris"]));
    assert!(said.ends_with("verdict: would play: lipsync say \"Good morning.\" --avatar iris\n"), "{said}");
    assert!(prefix.join("share/man/man1/lipsync-render.1").is_file());
    assert!(prefix.join("share/bash-completion/completions/lipsync").is_file());
    // Neither ONNX Runtime nor anything else there was taken for a plugin.
    let blacklist = run_well(&mut command(&home, "gst-inspect-1.0", &["--print-blacklist"]));
    assert!(!blacklist.contains("onnxruntime") && !blacklist.contains("lipsync"), "{blacklist}");

    // Once more, as after `git pull`; and a change of mind.
    run_well(&mut place.make("install", &variables));
    run_well(&mut place.make("uninstall", &variables));
    assert!(contents(&home).iter().all(|path| path.starts_with(".cache")), "{:?}", contents(&home));
    let (good, said) = run(&mut place.make("uninstall", &variables));
    assert!(!good && said.contains("nothing is installed") && said.contains("PREFIX"), "{said}");
}

#[test]
fn packagers_get_a_prefix_of_their_own_and_strangers_keep_their_avatars() {
    let place = Place::new();
    let (staged, home) = (place.path("staged"), place.path("home"));
    fs::create_dir(&home).unwrap();
    let variables: [(&str, &OsStr); 3] = [
        ("DESTDIR", staged.as_os_str()),
        ("PREFIX", "/opt/x y".as_ref()),
        ("PLUGINDIR", "/usr/lib/gst".as_ref()),
    ];
    run_well(&mut place.make("install", &variables));
    let plugins = staged.join("usr/lib/gst");
    assert_eq!(contents(&plugins), [Path::new("libgstlipsync.so")], "GStreamer scans all that is in there");

    // The system's plugins are named, too, because they are searched only where this is not set.
    let system = run_well(&mut command(&home, "pkg-config", &["--variable=pluginsdir", "gstreamer-1.0"]));
    let path = format!("{}:{}", plugins.display(), system.trim());
    run_well(command(&home, "gst-inspect-1.0", &["lipsync"]).env("GST_PLUGIN_SYSTEM_PATH", &path));
    run_well(paint(&home).env("GST_PLUGIN_SYSTEM_PATH", &path));

    let prefix = staged.join("opt/x y");
    copy_folder(&fixture("avatars/own_160"), &prefix.join("share/lipsync/avatars/me"));
    let before = contents(&prefix.join("share/lipsync/avatars/me"));
    run_well(&mut place.make("install", &variables));
    run_well(&mut place.make("uninstall", &variables));
    assert_eq!(contents(&prefix.join("share/lipsync/avatars/me")), before);
    let rest = contents(&staged);
    let way = Path::new("opt/x y/share/lipsync/avatars/me");
    assert!(rest.iter().all(|path| path.starts_with(way) || way.starts_with(path)), "{rest:?}");
}

#[test]
fn what_keeps_it_from_being_installed_is_said_in_a_sentence() {
    let place = Place::new();
    let prefix = place.path("prefix");
    let refused = |variables: &[(&str, &OsStr)], words: &[&str]| {
        let (good, said) = run(&mut place.make("install", variables));
        assert!(!good, "{said}");
        for word in words {
            assert!(said.contains(word), "no \"{word}\" in {said}");
        }
        // Nothing is half done.
        assert!(!prefix.exists(), "{said}");
    };
    refused(&[("PREFIX", "relative".as_ref())], &["PREFIX=relative", "slash"]);
    fs::remove_file(place.path("built/lipsync")).unwrap();
    refused(&[("PREFIX", prefix.as_os_str())], &["built/lipsync", "has not been built", "Run make first"]);
}
