// SPDX-License-Identifier: MPL-2.0
//! What is downloaded is known by its SHA-256 before it is used, and Python runs nothing from the current folder.

#![allow(clippy::expect_used, clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Wheels of which nothing is right but their names, in a folder whose modules leave a file behind when they are run.
struct Mirror {
    folder: tempfile::TempDir,
}

impl Mirror {
    fn new(wheels: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for name in ["pip", "zipfile", "json", "typing", "shutil"] {
            let script = format!("open({:?}, 'w').write(__name__)\n", folder.path().join("sprung"));
            std::fs::write(folder.path().join(format!("{name}.py")), script).unwrap();
        }
        wheels.iter().for_each(|wheel| std::fs::write(folder.path().join(wheel), "another").unwrap());
        Self { folder }
    }

    /// Runs scripts/fetch-onnxruntime.sh there: whether it succeeded, and what it complained of.
    fn fetch(&self, version: &str) -> (bool, String) {
        let output = Command::new(root().join("scripts/fetch-onnxruntime.sh"))
            .args(["library", version])
            .current_dir(self.folder.path())
            .env("PIP_NO_INDEX", "1")
            .env("PIP_FIND_LINKS", self.folder.path())
            .env("PYTHONPATH", self.folder.path())
            .output()
            .unwrap();
        assert!(!self.folder.path().join("sprung").exists(), "something was run");
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    }

    fn library(&self) -> PathBuf {
        self.folder.path().join("library/libonnxruntime.so")
    }
}

#[test]
fn another_onnx_runtime_than_the_known_one_is_refused() {
    let mirror = Mirror::new(&["onnxruntime-1.32.0-py3-none-any.whl"]);
    let (good, said) = mirror.fetch("1.32.0");
    assert!(!good && said.starts_with("onnxruntime 1.32.0: ") && said.lines().count() == 1, "{said}");
    assert!(said.contains("its SHA-256 differs"), "{said}");
    assert!(!mirror.library().exists());
}

#[test]
fn an_onnx_runtime_that_is_not_known_is_not_fetched() {
    let mirror = Mirror::new(&["onnxruntime-1.0.1-py3-none-any.whl"]);
    let (good, said) = mirror.fetch("1.0.1");
    assert!(!good && said.contains("onnxruntime 1.0.1: its SHA-256 is not known. Add it to"), "{said}");
    assert!(!mirror.library().exists());
}

/// A package as lock files name it, without its extras in brackets: what these need has lines of its own.
fn without_extras(package: &str) -> String {
    let (name, rest) = package.split_once('[').unwrap_or((package, ""));
    format!("{name}{}", rest.split_once(']').map_or(rest, |(_, version)| version))
}

/// The packages that a list pins, with the number of hashes that follow each.
fn pinned(list: &Path) -> Vec<(String, usize)> {
    let mut packages: Vec<(String, usize)> = Vec::new();
    for line in std::fs::read_to_string(list).unwrap().lines() {
        match line.trim().strip_prefix("--hash=sha256:") {
            Some(_) => packages.last_mut().expect("a hash belongs to a package").1 += 1,
            None if line.starts_with('#') || line.is_empty() => {}
            None => packages.push((without_extras(line.trim_end_matches('\\').trim()), 0)),
        }
    }
    packages
}

#[test]
fn every_package_that_is_installed_is_known_by_its_files() {
    let lists = [
        "tests/python/requirements",
        "benches/python/requirements",
        "training/requirements",
        "training/requirements-render",
        "batch/requirements",
        "scripts/deb/requirements",
    ];
    for list in lists {
        let locked = pinned(&root().join(format!("{list}.lock")));
        for (package, _) in pinned(&root().join(format!("{list}.txt"))) {
            let starts = |(locked, _): &(String, usize)| {
                *locked == package || locked.starts_with(&format!("{package}=="))
            };
            assert!(locked.iter().any(starts), "{list}.lock is not made of {list}.txt: {package}");
        }
    }
    let more = [
        "scripts/onnxruntime.lock",
        "training/anny.lock",
        "training/ears.lock",
        "crates/lipsync-cli/src/film/faces.lock",
        "crates/lipsync-cli/src/film/mediapipe.lock",
    ];
    for lock in lists.map(|list| format!("{list}.lock")).into_iter().chain(more.map(str::to_owned)) {
        let locked = pinned(&root().join(&lock));
        let unknown: Vec<_> =
            locked.iter().filter(|(name, hashes)| *hashes == 0 || !name.contains("==")).collect();
        assert!(!locked.is_empty() && unknown.is_empty(), "{lock}: {unknown:?}");
    }
    // What makefiles fetch is in there.
    let makefile = std::fs::read_to_string(root().join("Makefile")).unwrap();
    let known = std::fs::read_to_string(root().join("scripts/onnxruntime.lock")).unwrap();
    for (variable, package) in [("ONNXRUNTIME", "onnxruntime"), ("OPENVINO", "onnxruntime-openvino")] {
        let line = makefile.lines().find_map(|line| line.strip_prefix(&format!("{variable} := "))).unwrap();
        assert!(
            known.contains(&format!("\n{package}=={line} ")),
            "{package} {line} is not in onnxruntime.lock"
        );
    }
}
