// SPDX-License-Identifier: MPL-2.0
//! Harm that may come to a presenter on air, until it is undone.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{copy_folder, fixture};

/// A copy of an avatar of the fixtures, which may come to harm.
pub struct Victim {
    folder: tempfile::TempDir,
    original: PathBuf,
}

impl Victim {
    /// A copy that is whole.
    pub fn new(name: &str) -> Self {
        let victim =
            Self { folder: tempfile::tempdir().unwrap(), original: fixture(&format!("avatars/{name}")) };
        copy_folder(&victim.original, &victim.path());
        victim
    }

    /// The same with another network from the fixtures.
    pub fn with_model(name: &str, file: &str, model: &str) -> Self {
        let victim = Self::new(name);
        std::fs::copy(fixture(&format!("models/{model}.onnx")), victim.path().join(file)).unwrap();
        victim
    }

    /// Its folder.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("avatar")
    }

    /// Its folder as the property `avatar` takes it.
    pub fn name(&self) -> String {
        self.path().to_str().unwrap().into()
    }

    /// Whether that is what a property names.
    pub fn is(&self, name: &str) -> bool {
        self.name() == name
    }

    /// A file in it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Cuts a file off in its middle.
    pub fn truncate(&self, name: &str) {
        truncate(&self.file(name));
    }

    /// Writes something else into a file.
    pub fn overwrite(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.file(name), bytes).unwrap();
    }

    /// Deletes the whole folder.
    pub fn delete(&self) {
        std::fs::remove_dir_all(self.path()).unwrap();
    }

    /// Makes it what it was.
    pub fn repair(&self) {
        copy_folder(&self.original, &self.path());
    }
}

/// Cuts a file off in its middle.
pub fn truncate(path: &Path) {
    let file = File::options().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    file.set_len(length / 2).unwrap();
}

/// A limit of this process, lower than it was for as long as this is there. The test must be alone in its process, as each is
/// under nextest.
pub struct Shortage {
    kind: libc::__rlimit_resource_t,
    before: libc::rlimit,
    /// Takes the descriptors that lie below the limit.
    plugs: Vec<File>,
}

impl Shortage {
    fn of(kind: libc::__rlimit_resource_t, most: u64) -> Self {
        let mut before = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: both calls get a valid structure.
        unsafe {
            assert_eq!(libc::getrlimit(kind, &raw mut before), 0);
            let lower = libc::rlimit { rlim_cur: most, ..before };
            assert_eq!(libc::setrlimit(kind, &raw const lower), 0);
        }
        Self { kind, before, plugs: Vec::new() }
    }

    /// No file can be opened.
    pub fn of_descriptors() -> Self {
        // What waits with poll() must not have more of them than it may, so those that there are stay within.
        let highest = descriptors().into_iter().max().unwrap_or(0);
        let mut shortage = Self::of(libc::RLIMIT_NOFILE, highest + 1);
        shortage.plugs = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        shortage
    }

    /// Nothing can be written to any file, not even to one in memory.
    pub fn of_disk() -> Self {
        // SAFETY: nobody else wants to know of this signal, which would end the process.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
        Self::of(libc::RLIMIT_FSIZE, 0)
    }

    /// No more than so many bytes of memory can be taken beyond what there is.
    pub fn of_memory(left: u64) -> Self {
        Self::of(libc::RLIMIT_AS, status("VmSize:") * 1024 + left)
    }
}

impl Drop for Shortage {
    fn drop(&mut self) {
        // SAFETY: it gets a valid structure.
        unsafe { libc::setrlimit(self.kind, &raw const self.before) };
    }
}

/// A folder on a disk that is full; where none can be mounted, one in which nothing can be written.
pub struct FullDisk(Option<tempfile::TempDir>);

impl FullDisk {
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        let mounted =
            mount.args(["-t", "tmpfs", "-o", "size=4k", "lipsync-test"]).arg(folder.path()).output();
        if !mounted.is_ok_and(|done| done.status.success()) {
            return Self(None);
        }
        let full = std::fs::write(folder.path().join("full"), vec![1; 1 << 20]);
        assert_eq!(full.unwrap_err().kind(), std::io::ErrorKind::StorageFull);
        Self(Some(folder))
    }

    pub fn path(&self) -> &Path {
        self.0.as_ref().map_or(Path::new("/proc"), |folder| folder.path())
    }

    /// Whether nothing but what fills it is there.
    pub fn is_empty(&self) -> bool {
        let bytes = |entry: std::fs::DirEntry| entry.metadata().unwrap().len();
        let holds = |path: &Path| -> u64 {
            let entries = std::fs::read_dir(path).unwrap().map(Result::unwrap);
            entries
                .filter(|entry| entry.file_name() != "full")
                .filter(|e| e.path().is_file())
                .map(bytes)
                .sum()
        };
        self.0.as_ref().is_none_or(|folder| holds(folder.path()) == 0)
    }
}

impl Drop for FullDisk {
    fn drop(&mut self) {
        if let Some(folder) = &self.0 {
            let _ = Command::new("umount").arg(folder.path()).status();
        }
    }
}

/// The descriptors that this process has open.
pub fn descriptors() -> Vec<u64> {
    let entries = std::fs::read_dir("/proc/self/fd").unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut all: Vec<u64> = names.map(|name| name.parse().unwrap()).collect();
    // One was open to read the list.
    all.retain(|descriptor| std::fs::read_link(format!("/proc/self/fd/{descriptor}")).is_ok());
    all
}

/// Names of the threads of this process, in order.
pub fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
    let mut names: Vec<String> = names.map(|name| name.trim().into()).collect();
    names.sort();
    names
}

/// A number of /proc/self/status.
pub fn status(key: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// Kilobytes that this process has been given by its allocator and has not given back.
pub fn memory_in_use() -> u64 {
    // SAFETY: it only counts.
    let counts = unsafe { libc::mallinfo2() };
    (counts.uordblks + counts.hblkhd) as u64 / 1024
}
