// SPDX-License-Identifier: MPL-2.0
//! Problems found while a folder is read: reading goes on, so that all of them can be told at once.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// What is wrong with a folder so far.
#[derive(Debug, Default)]
pub struct Problems {
    found: Vec<Error>,
    /// Files that were already complained of.
    named: HashSet<PathBuf>,
    /// Pictures of frames whose face nobody knows: they are in no avatar, but can be looked at.
    unplaced: Vec<PathBuf>,
}

impl Problems {
    /// Adds a problem.
    pub fn add(&mut self, problem: Error) {
        self.named.extend(problem.path().map(Path::to_path_buf));
        self.found.push(problem);
    }

    /// What is good of a result; what is not is added.
    pub fn note<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|problem| self.add(problem)).ok()
    }

    /// Says that a file need not be complained of again.
    pub fn name(&mut self, path: PathBuf) {
        self.named.insert(path);
    }

    /// Whether a file was complained of.
    pub fn names(&self, path: &Path) -> bool {
        self.named.contains(path)
    }

    /// Takes a frame out that has no face rectangle.
    pub(crate) fn set_aside(&mut self, picture: PathBuf) {
        self.unplaced.push(picture);
    }

    /// The pictures taken out.
    pub fn unplaced(&self) -> &[PathBuf] {
        &self.unplaced
    }

    /// All problems, in the order in which they were met.
    pub fn all(&self) -> &[Error] {
        &self.found
    }

    /// Fails with the first problem, if there is one.
    pub(super) fn first(self) -> Result<()> {
        self.found.into_iter().next().map_or(Ok(()), Err)
    }
}
