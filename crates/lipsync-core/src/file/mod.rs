// SPDX-License-Identifier: MPL-2.0
//! Files that may come from strangers: only regular ones are read, and no more of them than is allowed.

mod inside;
mod sha256;

use std::fs::{File, OpenOptions};
use std::io::{Read, Write as _};
use std::path::Path;

use crate::error::{Error, Result};

pub use inside::Inside;
pub use sha256::{Sha256, sha256_hex};

/// Reads a file of at most `most` bytes.
///
/// # Errors
/// [`Error::NotFound`]; [`Error::Invalid`] where it is no regular file, or larger.
pub fn read(path: &Path, most: u64, remedy: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let file = open(path, most, remedy)?;
    // It may grow while it is read.
    file.take(most + 1).read_to_end(&mut bytes).map_err(|e| Error::io(path, &e, remedy))?;
    if bytes.len() as u64 > most { Err(too_large(path, bytes.len() as u64, most)) } else { Ok(bytes) }
}

/// Reads a text file of at most `most` bytes.
///
/// # Errors
/// As [`read`]; [`Error::Invalid`] where it is no UTF-8.
pub fn read_text(path: &Path, most: u64, remedy: &str) -> Result<String> {
    String::from_utf8(read(path, most, remedy)?)
        .map_err(|e| Error::invalid(path, format!("cannot be read: {e}"), remedy).with_source(e))
}

/// Opens a file of at most `most` bytes for reading.
///
/// # Errors
/// As [`read`].
pub fn open(path: &Path, most: u64, remedy: &str) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        // A pipe that nobody writes to would be waited for.
        options.custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    }
    let file = options.open(path).map_err(|e| Error::io(path, &e, remedy))?;
    let data = file.metadata().map_err(|e| Error::io(path, &e, remedy))?;
    if !data.is_file() {
        return Err(no_file(path, data.is_dir(), remedy));
    }
    if data.len() > most { Err(too_large(path, data.len(), most)) } else { Ok(file) }
}

/// Copies a file of at most `most` bytes to one that is not there yet. Its permissions stay behind.
///
/// # Errors
/// As [`read`]; [`Error::Invalid`] where the copy cannot be written.
pub fn copy(from: &Path, to: &Path, most: u64, remedy: &str) -> Result<()> {
    let mut source = open(from, most, remedy)?.take(most);
    let copied = File::create_new(to).and_then(|mut target| std::io::copy(&mut source, &mut target));
    copied.map(drop).map_err(|e| {
        let problem = format!("cannot be copied to {}: {e}", to.display());
        Error::invalid(from, problem, "Make room or choose another folder")
    })
}

/// The error for what is there, but no file.
pub(crate) fn no_file(path: &Path, is_folder: bool, remedy: &str) -> Error {
    let kind = if is_folder { "is a folder" } else { "is a pipe, a device or the like" };
    Error::invalid(path, format!("{kind}, not a file"), remedy)
}

/// Writes a file in the place of one that may be there: beside it, to the disk, and then under its name. Whatever happens
/// meanwhile, the old file or the new one is there, and never a part of it.
///
/// # Errors
/// [`Error::Invalid`]; nothing is left behind then.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        let mut file = beside(path)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        // The file is whole, whether or not the folder can be told to the disk, too.
        let _ = File::open(folder_of(path)).and_then(|folder| folder.sync_all());
        Ok(())
    };
    write().map_err(|e: std::io::Error| unwritable(path, &e, "Make room or choose another place"))
}

/// Finds out whether [`replace`] may write there, before the work that makes what is written.
///
/// # Errors
/// [`Error::Invalid`] with the remedy.
pub fn check_replaceable(path: &Path, remedy: &str) -> Result<()> {
    beside(path).map(drop).map_err(|e| unwritable(path, &e, remedy))
}

fn beside(path: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    builder.permissions(permissions(path));
    builder.prefix(".lipsync-").tempfile_in(folder_of(path))
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn unwritable(path: &Path, error: &std::io::Error, remedy: &str) -> Error {
    Error::invalid(path, format!("cannot be written: {error}"), remedy)
}

/// Permissions of the file being replaced, or the default for new files.
#[cfg(unix)]
fn permissions(path: &Path) -> std::fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    let kept = std::fs::metadata(path).map(|file| file.permissions());
    kept.unwrap_or_else(|_| std::fs::Permissions::from_mode(0o666))
}

fn too_large(path: &Path, bytes: u64, most: u64) -> Error {
    Error::invalid(
        path,
        format!("has {bytes} bytes, more than the {most} that such a file may have"),
        "models/README.md states the bounds",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_cannot_be_written_to_are_known_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        check_replaceable(&folder.path().join("a"), "").unwrap();
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
        let error = check_replaceable(&folder.path().join("missing/a"), "Copy it").unwrap_err().to_string();
        assert!(error.contains("missing/a: cannot be written: ") && error.ends_with("Copy it"), "{error}");
    }

    #[test]
    fn files_up_to_the_bound_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "abc").unwrap();
        assert_eq!(read(&path, 3, "").unwrap(), b"abc");
        let error = read(&path, 2, "").unwrap_err().to_string();
        assert!(error.contains("has 3 bytes, more than the 2"), "{error}");
    }

    #[test]
    fn copies_are_bounded_and_replace_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = ["a", "b"].map(|name| folder.path().join(name));
        std::fs::write(&from, "abc").unwrap();
        copy(&from, &to, 3, "").unwrap();
        assert_eq!(std::fs::read(&to).unwrap(), b"abc");
        let error = copy(&from, &to, 3, "").unwrap_err().to_string();
        assert!(error.contains("cannot be copied to"), "{error}");
        assert!(copy(&from, &folder.path().join("c"), 2, "").is_err());
    }

    #[cfg(unix)]
    #[test]
    fn what_is_no_regular_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in [&pipe, Path::new("/dev/zero"), folder.path()] {
            let error = read(path, 1000, "Copy it").unwrap_err().to_string();
            assert!(error.contains(", not a file. Copy it"), "{error}");
        }
    }
}
