//! The Python that finds landmarks: a virtual environment of our own, made on first use.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use gstlipsync::prepare::cache_folder;

use crate::{interrupt, words};

/// What is installed, without what these packages only ask for on paper. Newer versions of mediapipe do not bring their
/// models along.
const PACKAGES: [&str; 7] = [
    "mediapipe==0.10.21",
    "numpy==1.26.4",
    "opencv-python-headless==4.11.0.86",
    "protobuf==4.25.9",
    "absl-py==2.5.1",
    "attrs==26.1.0",
    "flatbuffers==25.12.19",
];

/// Changes where the packages do, so that an old environment is not taken for a new one.
const FOLDER: &str = "landmarks-0.10.21-1";

/// Bytes that are needed for it: what is downloaded, and what it is unpacked to.
const ROOM: u64 = 1_000_000_000;

const REMEDY: &str =
    "MediaPipe 0.10.21 exists for Python 3.9 to 3.12. Give an interpreter that has it with --python";

/// The interpreter: the one given, else that of our environment.
pub fn interpreter(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(python) = given {
        return Ok(python.into());
    }
    let cache = cache_folder()
        .context("there is no home folder. Set XDG_CACHE_HOME to a folder that may be filled")?;
    let folder = cache.join(FOLDER);
    let python = folder.join("bin/python");
    // Written last, so that an interrupted installation is never used.
    let ready = folder.join("ready");
    let is_ready = || ready.exists() && python.exists();
    if is_ready() {
        return Ok(python);
    }
    check_room(&folder)?;
    // Held to the end, so that two that are started together do not both install into it.
    let _lock = lock(&cache)?;
    if is_ready() {
        return Ok(python);
    }
    complain!("==> installing MediaPipe into {} (once, about 320 MB)", folder.display());
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .with_context(|| format!("{}: cannot be removed", folder.display()))?;
    }
    finish(Command::new("python3").args(["-m", "venv"]).arg(&folder)).with_context(|| {
        format!(
            "{}: no virtual environment could be made. Install python3-venv, or use --python",
            folder.display()
        )
    })?;
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--no-deps",
        "--only-binary=:all:",
    ];
    finish(Command::new(&python).args(pip).args(PACKAGES)).context(REMEDY)?;
    std::fs::write(&ready, "").with_context(|| format!("{}: cannot be written", ready.display()))?;
    Ok(python)
}

/// Waits for whoever else installs just now.
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
    // Where files cannot be locked at all, nobody is waited for.
    Ok(file)
}

/// Fails where the disk is too full; where that cannot be found out, the installation tries.
fn check_room(folder: &Path) -> Result<()> {
    let place = folder.ancestors().find(|place| place.is_dir()).unwrap_or(folder);
    let script = "import shutil, sys; print(shutil.disk_usage(sys.argv[1]).free)";
    let output = Command::new("python3").args(["-I", "-c", script]).arg(place).output();
    let free = output.ok().and_then(|output| String::from_utf8(output.stdout).ok()?.trim().parse().ok());
    match free {
        Some(free) if free < ROOM => bail!(
            "{}: {} are free, and MediaPipe needs {}. Make room, or set XDG_CACHE_HOME to a folder that has it",
            place.display(),
            words::bytes(free),
            words::bytes(ROOM)
        ),
        _ => Ok(()),
    }
}

/// Runs a program to its end, or to Ctrl-C.
fn finish(command: &mut Command) -> Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("{program} cannot be started"))?;
    loop {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                bail!("{program} failed ({status})");
            }
            return Ok(());
        }
        if interrupt::asked() {
            // It may have ended by itself meanwhile.
            let _ = child.kill();
            child.wait()?;
        }
        interrupt::check()?;
        std::thread::sleep(Duration::from_millis(50));
    }
}
