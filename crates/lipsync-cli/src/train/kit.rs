// SPDX-License-Identifier: MPL-2.0
//! The training kit in this program: its Python files, and the environment that they run in.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lipsync_core::file::sha256_hex;

use crate::film::environment::{Environment, cache};
use crate::partial::PartialOutput;

/// The program that trains.
pub const PROGRAM: &str = "train_film.py";

// `FILES`: what that program needs of the folder `training`, by name, as build.rs has found it.
include!(concat!(env!("OUT_DIR"), "/kit.rs"));

/// Everything that the kit installs, also what films need not be trained with.
const LOCK: &str = include_str!("../../../../training/requirements.lock");

/// Packages that make speech and write the frames of rendered people, and what only these need: beginnings of names.
const NOT_FOR_FILMS: [&str; 7] =
    ["cffi", "jaconv", "kokoro", "pillow", "pocketsphinx", "pycparser", "sounddevice"];

/// The environment with PyTorch.
pub fn environment() -> Environment {
    let packages = packages();
    Environment {
        name: "PyTorch",
        folder: format!("training-{}", &sha256_hex(packages.as_bytes())[..12]),
        packages: packages.into(),
        data: "",
        download: "3.2 GB to download, 6 GB on disk",
        modules: &["torch", "onnx", "onnxruntime", "cv2", "scipy", "tqdm"],
        // While pip is unpacking.
        room: 13_000_000_000,
        option: "--python",
    }
}

/// The lock file without what films need not be trained with.
fn packages() -> String {
    let mut wanted = true;
    let lines = LOCK.lines().filter(|line| {
        if line.starts_with(|first: char| first.is_ascii_alphanumeric()) {
            wanted = !NOT_FOR_FILMS.iter().any(|name| line.starts_with(name));
        }
        wanted
    });
    lines.flat_map(|line| [line, "\n"]).collect()
}

/// Writes the files to a folder of the cache that is named after what is in them, unless it is there.
pub fn unpack() -> Result<PathBuf> {
    let cache = cache()?;
    let sums: String = FILES.iter().map(|(name, bytes)| format!("{name} {}\n", sha256_hex(bytes))).collect();
    let folder = cache.join(format!("kit-{}", &sha256_hex(sums.as_bytes())[..12]));
    if folder.is_dir() {
        return Ok(folder);
    }
    std::fs::create_dir_all(&cache).with_context(|| format!("{}: cannot be made", cache.display()))?;
    let partial = PartialOutput::begin(&folder, false)?;
    let write = |name: &str, bytes: &[u8]| -> std::io::Result<()> {
        let path = partial.temporary().join(name);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        std::fs::write(path, bytes)
    };
    for (name, bytes) in FILES {
        write(name, bytes).with_context(|| format!("{}: cannot be written. Make room", folder.display()))?;
    }
    match partial.finish() {
        // Another run was faster.
        Err(_) if folder.is_dir() => Ok(folder),
        finished => finished.map(|()| folder),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_those_of_the_lock_that_films_need() {
        let packages = packages();
        let names: Vec<&str> = packages.lines().filter_map(|line| Some(line.split_once("==")?.0)).collect();
        for name in
            ["numpy", "scipy", "torch", "onnx", "onnxruntime", "opencv-python-headless", "tqdm", "sympy"]
        {
            assert!(names.contains(&name), "{name} is missing: {names:?}");
        }
        assert!(
            !names.iter().any(|name| NOT_FOR_FILMS.iter().any(|left_out| name.starts_with(left_out))),
            "{names:?}"
        );
        assert!(names.len() > 30 && packages.contains("--hash=sha256:"));
    }

    #[test]
    fn the_program_is_there_with_all_that_it_imports() {
        let names: Vec<&str> = FILES.iter().map(|(name, _)| *name).collect();
        assert!(names.contains(&PROGRAM), "{names:?}");
    }
}
