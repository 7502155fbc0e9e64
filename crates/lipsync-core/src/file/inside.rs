// SPDX-License-Identifier: MPL-2.0
//! What an avatar names lies in its folder: a stranger's must not have other files read, shown or copied.

use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};
use crate::text::short;

const REMEDY: &str = "Copy what is meant into the avatar's folder, and name it by its path from there";

/// An avatar's folder as the border of what it may name.
///
/// Where a path leads is asked of the file system only where a link may be in it: for each folder once, and for those
/// of its entries that are links.
pub struct Inside {
    folder: PathBuf,
    real: PathBuf,
}

impl Inside {
    /// That of a folder, which itself may be reached by links.
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Invalid`] where it cannot be found out where it is.
    pub fn new(folder: &Path) -> Result<Self> {
        let real =
            folder.canonicalize().map_err(|e| Error::io(folder, &e, "Give the folder of an avatar"))?;
        Ok(Self { folder: folder.into(), real })
    }

    /// The path in the folder that the file `by` names by what it calls `key`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for one that leads out of the folder, or may do so: absolute, or with `..` in it.
    pub fn named(&self, by: &Path, key: &str, path: &Path) -> Result<PathBuf> {
        let stays = |part| matches!(part, Component::Normal(_) | Component::CurDir);
        if path.components().all(stays) {
            return Ok(self.folder.join(path));
        }
        let path = short(path.display(), 200);
        let problem = format!("{key} is \"{path}\", which is no path inside the avatar's folder");
        Err(Error::invalid(by, problem, REMEDY))
    }

    /// Follows the links in a path of the folder; what is not there at all is left to whoever opens it.
    ///
    /// # Errors
    /// [`Error::Invalid`] where they lead out of the folder.
    pub fn check(&self, path: &Path) -> Result<()> {
        match path.canonicalize() {
            Ok(real) if !real.starts_with(&self.real) => Err(Error::invalid(
                path,
                format!("is a link out of the avatar's folder, to {}", real.display()),
                "Put a copy of the file itself in its place",
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn paths_stay_inside() {
        let folder = tempfile::tempdir().unwrap();
        let inside = Inside::new(folder.path()).unwrap();
        let by = Path::new("avatar.toml");
        for path in ["frames", "./a/b", ".", "a..b", "..."] {
            assert_eq!(inside.named(by, "frames", path.as_ref()).unwrap(), folder.path().join(path));
        }
        for path in ["..", "a/../../b", "a/..", "/etc", "/"] {
            let error = inside.named(by, "frames", path.as_ref()).unwrap_err().to_string();
            let expected = format!("avatar.toml: frames is \"{path}\", which is no path inside");
            assert!(error.contains(&expected) && error.contains("Copy what is meant"), "{error}");
        }
    }

    #[test]
    fn links_that_stay_inside_are_followed_and_no_others() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::fs::write(folder.path().join("file"), "").unwrap();
        std::fs::write(outside.path().join("secret"), "").unwrap();
        let link = |to: &Path, name: &str| {
            let path = folder.path().join(name);
            symlink(to, &path).unwrap();
            path
        };
        // The folder may be reached by a link.
        let other = outside.path().join("avatar");
        symlink(folder.path(), &other).unwrap();
        for folder in [folder.path(), &other] {
            let inside = Inside::new(folder).unwrap();
            inside.check(&folder.join("file")).unwrap();
            inside.check(&folder.join("nowhere")).unwrap();
        }
        let inside = Inside::new(folder.path()).unwrap();
        inside.check(&link(Path::new("file"), "a")).unwrap();
        inside.check(&link(Path::new("."), "b").join("b/b/file")).unwrap();
        inside.check(&link(Path::new("d"), "d")).unwrap();
        let out = link(outside.path(), "out").join("secret");
        for path in [link(&outside.path().join("secret"), "e"), out, link(Path::new("e"), "f")] {
            let error = inside.check(&path).unwrap_err().to_string();
            assert!(error.contains("is a link out of the avatar's folder, to "), "{error}");
        }
    }
}
