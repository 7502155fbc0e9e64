// SPDX-License-Identifier: MPL-2.0
//! Folders that get their name only when they are complete.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// An incomplete folder beside its target, under a temporary name. It is removed on drop unless it was
/// finished.
pub struct Partial {
    folder: PathBuf,
    target: PathBuf,
    finished: bool,
}

impl Partial {
    /// Creates the temporary folder for `name` in `place`, which is created as well. Removes what killed runs
    /// have left for that name.
    pub fn begin(place: &Path, name: &str) -> Result<Self> {
        check_name(name)?;
        let target = place.join(name);
        if target.symlink_metadata().is_ok() {
            bail!(
                "{}: is there already and is not overwritten. Choose another name, or remove it first",
                target.display()
            );
        }
        std::fs::create_dir_all(place).with_context(|| {
            format!("{}: cannot be made. Choose another folder with --into", place.display())
        })?;
        remove_stale(place, name);
        let folder = place.join(format!("{}{}", prefix(name), std::process::id()));
        std::fs::create_dir(&folder).with_context(|| {
            format!("{}: cannot be made. Choose another folder with --into", folder.display())
        })?;
        Ok(Self { folder, target, finished: false })
    }

    /// The temporary folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Creates a folder in it.
    pub fn subfolder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
        Ok(folder)
    }

    /// Renames it to its target.
    pub fn finish(mut self) -> Result<PathBuf> {
        // A rename would replace an empty folder.
        if self.target.symlink_metadata().is_ok() {
            bail!("{}: was made by someone else meanwhile. Choose another name", self.target.display());
        }
        std::fs::rename(&self.folder, &self.target)
            .with_context(|| format!("{}: cannot be given its name", self.target.display()))?;
        self.finished = true;
        Ok(self.target.clone())
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = std::fs::remove_dir_all(&self.folder)
        {
            print_error!("{}: could not be removed ({error}); remove it", self.folder.display());
        }
    }
}

fn prefix(name: &str) -> String {
    format!(".{name}.partial-")
}

/// A name is a single path component; hidden folders are not listed.
fn check_name(name: &str) -> Result<()> {
    if name.is_empty() || name.starts_with('.') || name.contains(std::path::is_separator) {
        bail!(
            "\"{name}\" is no name for an avatar. Use letters, digits, - and _; --into says in which folder"
        );
    }
    Ok(())
}

/// Removes the folders of runs that were killed, not those of running processes.
fn remove_stale(place: &Path, name: &str) {
    let prefix = prefix(name);
    for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
        let file_name = entry.file_name();
        let process = file_name.to_str().and_then(|name| name.strip_prefix(&prefix)?.parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            // Best effort: a folder that stays does no harm.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}
