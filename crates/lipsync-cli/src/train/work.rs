// SPDX-License-Identifier: MPL-2.0
//! The work folder of an avatar that is being made, in the user's cache: what a run leaves there, the next one goes on with.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use lipsync_core::file;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::film::environment::{cache, remove_folder};

/// Raised when what is in the folder changes its meaning, so that older ones are begun again.
const FORMAT: u32 = 1;

/// A work folder that no other process works in.
pub struct Work {
    folder: PathBuf,
    /// Held until the end. It lies beside the folder, which may be removed.
    _lock: File,
}

impl Work {
    /// Opens or makes the folder of an avatar; one that another film was only read into is begun again.
    pub fn open(name: &str, source: &str) -> Result<Self> {
        let place = cache()?.join("train");
        let remedy = || {
            format!(
                "{}: cannot be written. Set XDG_CACHE_HOME to a folder that may be filled",
                place.display()
            )
        };
        std::fs::create_dir_all(&place).with_context(remedy)?;
        let lock = File::create(place.join(format!("{name}.lock"))).with_context(remedy)?;
        if let Err(std::fs::TryLockError::WouldBlock) = lock.try_lock() {
            bail!("another lipsync train is making {name}. Wait for it, or choose another name");
        }
        let work = Self { folder: place.join(name), _lock: lock };
        let source = format!("{FORMAT}\n{source}");
        let known = std::fs::read_to_string(work.path(SOURCE)).unwrap_or_default();
        if known != source {
            work.check_unused(&known, name)?;
            work.remove()?;
            std::fs::create_dir(&work.folder).with_context(remedy)?;
            file::replace(&work.path(SOURCE), source.as_bytes())?;
        }
        Ok(work)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A folder in it.
    pub fn subfolder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.path(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
        Ok(folder)
    }

    /// An empty folder in it.
    pub fn fresh_subfolder(&self, name: &str) -> Result<PathBuf> {
        remove_folder(&self.path(name))?;
        self.subfolder(name)
    }

    /// What an earlier run has noted under that name.
    pub fn noted<T: DeserializeOwned>(&self, name: &str) -> Option<T> {
        serde_json::from_str(&std::fs::read_to_string(self.path(name)).ok()?).ok()
    }

    /// Notes what is finished: it is there whole, or not at all.
    pub fn note(&self, name: &str, what: &impl Serialize) -> Result<()> {
        Ok(file::replace(&self.path(name), &serde_json::to_vec(what)?)?)
    }

    /// The whole lines of a journal.
    pub fn lines<T: DeserializeOwned>(&self, name: &str) -> Vec<T> {
        let Ok(file) = File::open(self.path(name)) else { return Vec::new() };
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        lines.map_while(|line| serde_json::from_str(&line).ok()).collect()
    }

    /// A journal that begins with `lines`, to which more can be added.
    pub fn journal(&self, name: &str, lines: &[impl Serialize]) -> Result<Journal> {
        // A line that was cut off goes.
        let mut text = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut text, line)?;
            text.push(b'\n');
        }
        let path = self.path(name);
        file::replace(&path, &text)?;
        let file = File::options().append(true).open(&path);
        Ok(Journal { file: file.with_context(|| format!("{}: cannot be written", path.display()))?, path })
    }

    /// Fails where it holds what may have taken half an hour, from another film or another part of this one.
    fn check_unused(&self, known: &str, name: &str) -> Result<()> {
        let mut lines = known.lines();
        let (format, film) = (lines.next(), lines.next());
        if self.path(DATA_SET).exists() && format == Some(&FORMAT.to_string()) {
            bail!(
                "{name} is half made of another film, or of another part of it: {}. Go on with that, choose another name, or \
                 remove {} to begin again",
                film.unwrap_or_default(),
                self.folder.display()
            );
        }
        Ok(())
    }

    /// Removes the folder. Until the last file is gone, none of them is taken for whole.
    pub fn remove(&self) -> Result<()> {
        let source = self.path(SOURCE);
        if source.exists() {
            std::fs::remove_file(&source)
                .with_context(|| format!("{}: cannot be removed", source.display()))?;
        }
        remove_folder(&self.folder)
    }
}

/// What the folder was made from.
const SOURCE: &str = "source";

/// Noted once the data set of a film is complete, and the training begins.
pub const DATA_SET: &str = "set.json";

/// A file of lines of JSON.
pub struct Journal {
    file: File,
    path: PathBuf,
}

impl Journal {
    pub fn add(&mut self, line: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        self.file
            .write_all(&text)
            .with_context(|| format!("{}: cannot be written. Make room", self.path.display()))
    }
}
