//! What several users of the same thing in one process share, for as long as one of them has it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};
use std::time::SystemTime;

use crate::error::Result;

/// Things that are there already, by what they were made of.
///
/// Its lock is held while a thing is made: whoever wants the same waits for it.
pub struct Shared<K, T>(Mutex<Vec<(K, Weak<T>)>>);

impl<K: PartialEq, T> Default for Shared<K, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: PartialEq, T> Shared<K, T> {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    /// The thing of that key, made now if nobody has it.
    ///
    /// # Errors
    /// That of `make`.
    pub fn get(&self, key: K, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        let mut things = self.0.lock().unwrap_or_else(|e| e.into_inner());
        things.retain(|(_, thing)| thing.strong_count() > 0);
        if let Some(thing) =
            things.iter().find(|(other, _)| *other == key).and_then(|(_, thing)| thing.upgrade())
        {
            return Ok(thing);
        }
        let thing = Arc::new(make()?);
        things.push((key, Arc::downgrade(&thing)));
        Ok(thing)
    }
}

/// A file as it is now: another one under its name, or a newer version, is not the same.
#[derive(Debug, Clone, PartialEq)]
pub struct FileStamp {
    path: PathBuf,
    state: Option<(u64, SystemTime)>,
}

impl FileStamp {
    /// The stamp of a file, which need not exist.
    pub fn of(path: &Path) -> Self {
        let state = path.metadata().ok().and_then(|data| Some((data.len(), data.modified().ok()?)));
        Self { path: path.canonicalize().unwrap_or_else(|_| path.into()), state }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thing_lives_as_long_as_somebody_has_it() {
        let things = Shared::<u8, u32>::new();
        let one = things.get(1, || Ok(10)).unwrap();
        assert_eq!(*things.get(1, || unreachable!("it is there")).unwrap(), 10);
        assert_eq!(*things.get(2, || Ok(20)).unwrap(), 20);
        drop(one);
        assert_eq!(*things.get(1, || Ok(11)).unwrap(), 11);
    }

    #[test]
    fn a_file_that_changes_is_another() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let missing = FileStamp::of(&path);
        std::fs::write(&path, "1").unwrap();
        let one = FileStamp::of(&path);
        assert_ne!(missing, one);
        assert_eq!(one, FileStamp::of(&path));
        std::fs::write(&path, "22").unwrap();
        assert_ne!(one, FileStamp::of(&path));
    }
}
