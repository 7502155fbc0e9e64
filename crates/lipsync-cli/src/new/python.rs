// SPDX-License-Identifier: MPL-2.0
//! The Python for the landmarks: a virtual environment of our own, created on first use.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lipsync_core::inference::prepare::cache_folder;

use crate::{format, interrupt};

/// The packages to install, with the SHA-256 of every file that is allowed.
const PACKAGES: &str = include_str!("requirements.txt");

/// To be changed with the packages, so that an old environment is not used for new ones.
const FOLDER: &str = "landmarks-0.10.21-2";

/// Disk space in bytes for the download and for the unpacked files.
const ROOM: u64 = 1_000_000_000;

/// Isolated mode: Python and pip ignore the current folder and the PYTHON* variables, which could make them
/// run other code.
pub const ISOLATED: &str = "-I";

const NOT_THE_FILE: &str = "a package that was downloaded is not the file that this program knows (its SHA-256 differs), so \
                            nothing of it was run. Try again through another network or mirror, or give an interpreter that has \
                            MediaPipe 0.10.21 with --python";

const REMEDY: &str =
    "MediaPipe 0.10.21 exists for Python 3.9 to 3.12. Give an interpreter that has it with --python";

/// The given interpreter, else that of our environment.
pub fn interpreter(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(python) = given {
        return Ok(python.into());
    }
    let cache = cache_folder()
        .context("there is no home folder. Set XDG_CACHE_HOME to a folder that may be filled")?;
    let folder = cache.join(FOLDER);
    let python = folder.join("bin/python");
    // Written last, so that an incomplete installation is never used.
    let ready = folder.join("ready");
    let is_ready = || ready.exists() && python.exists();
    if is_ready() {
        return Ok(python);
    }
    check_room(&folder)?;
    // Held until the end, so that two processes do not install into it at the same time.
    let _lock = lock(&cache)?;
    if is_ready() {
        return Ok(python);
    }
    print_error!("==> installing MediaPipe into {} (once, about 320 MB)", folder.display());
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .with_context(|| format!("{}: cannot be removed", folder.display()))?;
    }
    finish(Command::new("python3").args([ISOLATED, "-m", "venv"]).arg(&folder)).with_context(|| {
        format!(
            "{}: no virtual environment could be made. Install python3-venv, or use --python",
            folder.display()
        )
    })?;
    install(&python, &folder.join("requirements.txt"))?;
    std::fs::write(&ready, "").with_context(|| format!("{}: cannot be written", ready.display()))?;
    Ok(python)
}

/// Installs the packages; only files with known hashes are accepted. Index and certificates are those of the
/// user's pip configuration.
fn install(python: &Path, list: &Path) -> Result<()> {
    std::fs::write(list, PACKAGES).with_context(|| format!("{}: cannot be written", list.display()))?;
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    let only = ["--no-deps", "--only-binary=:all:", "--require-hashes", "-r"];
    let mut command = Command::new(python);
    finish(command.arg(ISOLATED).args(pip).args(only).arg(list)).map_err(|error| {
        let is_other = error.to_string().contains("DO NOT MATCH THE HASHES");
        if is_other { anyhow::anyhow!(NOT_THE_FILE) } else { error.context(REMEDY) }
    })
}

/// Waits for another process that installs at the moment.
fn lock(cache: &Path) -> Result<File> {
    let path = cache.join(format!("{FOLDER}.lock"));
    let made = std::fs::create_dir_all(cache).and_then(|()| File::create(&path));
    let file = made.with_context(|| {
        format!("{}: cannot be written. Set XDG_CACHE_HOME to a folder that may be filled", path.display())
    })?;
    while let Err(TryLockError::WouldBlock) = file.try_lock() {
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(100));
    }
    // Where the file system has no locks, there is no waiting.
    Ok(file)
}

/// Fails where there is too little disk space; where that is unknown, the installation goes on.
fn check_room(folder: &Path) -> Result<()> {
    let place = folder.ancestors().find(|place| place.is_dir()).unwrap_or(folder);
    let script = "import shutil, sys; print(shutil.disk_usage(sys.argv[1]).free)";
    let output = Command::new("python3").args(["-I", "-c", script]).arg(place).output();
    let free = output.ok().and_then(|output| String::from_utf8(output.stdout).ok()?.trim().parse().ok());
    match free {
        Some(free) if free < ROOM => bail!(
            "{}: {} are free, and MediaPipe needs {}. Make room, or set XDG_CACHE_HOME to a folder that has it",
            place.display(),
            format::bytes(free),
            format::bytes(ROOM)
        ),
        _ => Ok(()),
    }
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
