// SPDX-License-Identifier: MPL-2.0
//! Folders and files that get their name only when they are complete.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// An incomplete folder beside its target, under a temporary name. It is removed on drop unless it was
/// finished.
pub struct Partial(PartialOutput);

impl Partial {
    /// Creates the temporary folder for `name` in `place`, which is created as well. Removes what killed runs
    /// have left for that name.
    pub fn begin(place: &Path, name: &str) -> Result<Self> {
        let target = free_target(place, name)?;
        std::fs::create_dir_all(place).with_context(|| {
            format!("{}: cannot be made. Choose another folder with --into", place.display())
        })?;
        remove_stale(place, name);
        let folder = place.join(format!("{}{}", prefix(name), std::process::id()));
        std::fs::create_dir(&folder).with_context(|| {
            format!("{}: cannot be made. Choose another folder with --into", folder.display())
        })?;
        Ok(Self(PartialOutput { temporary: folder, target, replace: false, finished: false }))
    }

    /// The temporary folder.
    pub fn folder(&self) -> &Path {
        self.0.temporary()
    }

    /// Creates a folder in it.
    pub fn subfolder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.folder().join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
        Ok(folder)
    }

    /// Renames it to its target.
    pub fn finish(self) -> Result<PathBuf> {
        let target = self.0.target.clone();
        self.0.finish()?;
        Ok(target)
    }
}

/// Where something of that name goes.
///
/// # Errors
/// Where it is no name, or taken.
pub fn free_target(place: &Path, name: &str) -> Result<PathBuf> {
    check_name(name)?;
    let target = place.join(name);
    if target.symlink_metadata().is_ok() {
        bail!(
            "{}: is there already and is not overwritten. Choose another name, or remove it first",
            target.display()
        );
    }
    Ok(target)
}

/// The extension of a scratch file.
const SCRATCH: &str = "scratch";

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

/// Removes what runs that were killed have left, not what running processes are writing.
fn remove_stale(place: &Path, name: &str) {
    let (prefix, scratch) = (prefix(name), format!(".{SCRATCH}"));
    for entry in std::fs::read_dir(place).into_iter().flatten().flatten() {
        let file_name = entry.file_name();
        let process = file_name.to_str().and_then(|name| name.strip_prefix(&prefix));
        let process =
            process.and_then(|process| process.strip_suffix(&scratch).unwrap_or(process).parse::<u32>().ok());
        if process.is_some_and(|process| !Path::new(&format!("/proc/{process}")).exists()) {
            // Best effort: what stays does no harm.
            let _ = std::fs::remove_dir_all(entry.path()).or_else(|_| std::fs::remove_file(entry.path()));
        }
    }
}

/// An incomplete file or folder of pictures beside its target, under a temporary name, which is removed on drop unless it was
/// finished.
pub struct PartialOutput {
    temporary: PathBuf,
    target: PathBuf,
    replace: bool,
    finished: bool,
}

impl PartialOutput {
    /// Chooses the temporary name. Removes what killed runs have left for that target; `replace` says whether a target that
    /// is there already is replaced in the end.
    pub fn begin(target: &Path, replace: bool) -> Result<Self> {
        let name =
            target.file_name().with_context(|| format!("{}: is no name for a file", target.display()))?;
        let name = name.to_string_lossy();
        if let Ok(there) = target.symlink_metadata() {
            if !replace {
                bail!(
                    "{}: is there already. Choose another name, or replace it with --force",
                    target.display()
                );
            }
            if there.is_dir() {
                bail!("{}: is a folder, and those are not replaced. Choose another name", target.display());
            }
        }
        let place = target.parent().filter(|place| !place.as_os_str().is_empty()).unwrap_or(Path::new("."));
        if !place.is_dir() {
            bail!("{}: there is no such folder to write to. Make it first", place.display());
        }
        remove_stale(place, &name);
        let temporary = place.join(format!("{}{}", prefix(&name), std::process::id()));
        Ok(Self { temporary, target: target.into(), replace, finished: false })
    }

    /// The temporary name, which nothing has yet.
    pub fn temporary(&self) -> &Path {
        &self.temporary
    }

    /// The name of a file for what is needed until then. Whoever makes it removes it.
    pub fn scratch(&self) -> PathBuf {
        self.temporary.with_added_extension(SCRATCH)
    }

    /// Renames it to its target.
    pub fn finish(mut self) -> Result<()> {
        // A rename would replace an empty folder.
        if !self.replace && self.target.symlink_metadata().is_ok() {
            bail!("{}: was made by someone else meanwhile. Choose another name", self.target.display());
        }
        let nameless = || format!("{}: cannot be given its name", self.target.display());
        // Or the name might outlive a power failure, and what is in the file not.
        std::fs::File::open(&self.temporary).and_then(|file| file.sync_all()).with_context(nameless)?;
        std::fs::rename(&self.temporary, &self.target).with_context(nameless)?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for PartialOutput {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let removed = match self.temporary.symlink_metadata() {
            Ok(data) if data.is_dir() => std::fs::remove_dir_all(&self.temporary),
            Ok(_) => std::fs::remove_file(&self.temporary),
            Err(_) => return,
        };
        if let Err(error) = removed {
            print_error!("{}: could not be removed ({error}); remove it", self.temporary.display());
        }
    }
}
