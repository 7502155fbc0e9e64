// SPDX-License-Identifier: MPL-2.0
//! A copy of ONNX Runtime that may be replaced or removed while it is in use.

use std::path::PathBuf;

/// A copy of ONNX Runtime that the process has loaded.
pub struct Library {
    folder: tempfile::TempDir,
    original: PathBuf,
}

impl Library {
    pub fn new() -> Self {
        let library = Self {
            folder: tempfile::tempdir().unwrap(),
            original: std::env::var_os("ORT_DYLIB_PATH").unwrap().into(),
        };
        std::fs::copy(&library.original, library.path()).unwrap();
        // SAFETY: each test runs in a process of its own under nextest, and no other thread exists yet.
        unsafe { std::env::set_var("ORT_DYLIB_PATH", library.path()) };
        library
    }

    pub fn path(&self) -> PathBuf {
        self.folder.path().join("libonnxruntime.so.1")
    }

    /// Puts something else in its place, as a package manager does it, or removes it.
    pub fn harm(&self, replace: bool) {
        let other = self.folder.path().join("other");
        std::fs::write(&other, b"another version").unwrap();
        std::fs::rename(&other, self.path()).unwrap();
        if !replace {
            std::fs::remove_file(self.path()).unwrap();
        }
    }

    pub fn repair(&self) {
        let other = self.folder.path().join("other");
        std::fs::copy(&self.original, &other).unwrap();
        std::fs::rename(&other, self.path()).unwrap();
    }
}
