// SPDX-License-Identifier: MPL-2.0
//! The folder in which a job is done, beside its video: what a killed run leaves there, the next one goes on with.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use lipsync_core::file;

const LOCK: &str = "lock";
const FINGERPRINT: &str = "job";

/// A folder in which no other process works.
pub struct Folder {
    path: PathBuf,
    /// Whether an earlier run of the same job has been at it.
    pub was_begun: bool,
    /// Held until the end: the lock is the system's, and goes when the process does, however that ends.
    _lock: File,
}

impl Folder {
    /// Opens or makes that of a video; what another job has left there is removed. `None` where another process is at it.
    pub fn open(video: &Path, fingerprint: &str) -> Result<Option<Self>> {
        let name = video.file_name().context("the video has no name")?.to_string_lossy();
        let path = video.with_file_name(format!(".{name}.work"));
        let unwritable =
            || format!("{}: cannot be written. Make room, or choose another folder", path.display());
        let lock = loop {
            std::fs::create_dir_all(&path).with_context(unwritable)?;
            let place = path.join(LOCK);
            let lock = match File::create(&place) {
                // Removed by whoever has finished meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                other => other.with_context(unwritable)?,
            };
            match lock.try_lock() {
                Ok(()) => {}
                Err(std::fs::TryLockError::WouldBlock) => return Ok(None),
                Err(std::fs::TryLockError::Error(error)) => return Err(error).with_context(unwritable),
            }
            // Whoever held it may have removed the file: then the lock is that of no name, and others would get another.
            let held = lock.metadata()?.ino();
            if std::fs::metadata(&place).is_ok_and(|file| file.ino() == held) {
                break lock;
            }
        };
        let known = std::fs::read_to_string(path.join(FINGERPRINT)).unwrap_or_default();
        let folder = Self { path, was_begun: known == fingerprint, _lock: lock };
        if !folder.was_begun {
            folder.clear()?;
            file::replace(&folder.file(FINGERPRINT), fingerprint.as_bytes())?;
        }
        Ok(Some(folder))
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Removes it and what is in it. What cannot be removed stays: whatever has become of the job, that does not change it.
    pub fn remove(self) {
        let _ = self.clear();
        let _ = std::fs::remove_file(self.file(LOCK));
        let Self { path, _lock: lock, .. } = self;
        // NFS keeps a removed file that is open, and with it the folder.
        drop(lock);
        // It stays where another process has just come, which will find the job done.
        let _ = std::fs::remove_dir(path);
    }

    fn clear(&self) -> Result<()> {
        for entry in std::fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_name() != LOCK {
                std::fs::remove_file(entry.path())
                    .with_context(|| format!("{}: cannot be removed", entry.path().display()))?;
            }
        }
        Ok(())
    }
}
