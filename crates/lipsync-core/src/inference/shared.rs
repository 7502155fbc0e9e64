// SPDX-License-Identifier: MPL-2.0
//! A cache of values that several users in a process share, for as long as one of them holds one.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::time::SystemTime;

use crate::error::Result;
use crate::inference::cancellation::{self, Canceller};
use crate::sync;

/// A cache that holds weak references by key.
///
/// No lock is held while a value is built. Others who want the same key wait for it, unless that build was
/// cancelled: it may never end.
pub struct Shared<K, T> {
    entries: Mutex<Vec<(K, Entry<T>)>>,
    changed: Condvar,
}

enum Entry<T> {
    /// Being built: the number of the attempt, and its canceller.
    Building(u64, Option<Canceller>),
    Ready(Weak<T>),
}

impl<T> Entry<T> {
    fn is_abandoned(&self) -> bool {
        match self {
            Self::Building(_, canceller) => canceller.as_ref().is_some_and(Canceller::is_cancelled),
            Self::Ready(value) => value.strong_count() == 0,
        }
    }
}

/// A build in progress; it has failed where this is dropped before [`Self::end`].
struct BuildGuard<'a, K, T> {
    shared: &'a Shared<K, T>,
    number: u64,
}

impl<K, T> BuildGuard<'_, K, T> {
    /// Stores the value where the entry still belongs to this build; without a value, removes the entry.
    fn end(&self, made: Option<Weak<T>>) {
        let mut entries = self.shared.lock();
        let own = |(_, entry): &(K, Entry<T>)| matches!(entry, Entry::Building(number, _) if *number == self.number);
        if let Some(index) = entries.iter().position(own) {
            match made {
                Some(value) => entries[index].1 = Entry::Ready(value),
                None => drop(entries.swap_remove(index)),
            }
        }
        drop(entries);
        self.shared.changed.notify_all();
    }
}

impl<K, T> Drop for BuildGuard<'_, K, T> {
    fn drop(&mut self) {
        self.end(None);
    }
}

impl<K: PartialEq, T> Default for Shared<K, T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, T> Shared<K, T> {
    fn lock(&self) -> MutexGuard<'_, Vec<(K, Entry<T>)>> {
        sync::lock(&self.entries)
    }
}

impl<K: PartialEq, T> Shared<K, T> {
    /// An empty cache.
    pub const fn new() -> Self {
        Self { entries: Mutex::new(Vec::new()), changed: Condvar::new() }
    }

    /// The value for a key, built now if nobody holds it.
    ///
    /// # Errors
    /// Those of `make`; [`crate::error::Error::Interrupted`] where the work on this thread is cancelled.
    pub fn get(&self, key: K, make: impl FnOnce() -> Result<T>) -> Result<Arc<T>> {
        static NEXT_ATTEMPT: AtomicU64 = AtomicU64::new(0);
        let mut entries = self.lock();
        loop {
            cancellation::check()?;
            entries.retain(|(_, entry)| !entry.is_abandoned());
            match entries.iter().find(|(other, _)| *other == key) {
                None => break,
                Some((_, Entry::Ready(value))) => {
                    if let Some(value) = value.upgrade() {
                        return Ok(value);
                    }
                }
                Some((_, Entry::Building(..))) => {
                    entries = sync::wait_timeout(&self.changed, entries, cancellation::POLL_INTERVAL).0;
                }
            }
        }
        let number = NEXT_ATTEMPT.fetch_add(1, Ordering::Relaxed);
        entries.push((key, Entry::Building(number, Canceller::current())));
        drop(entries);
        let guard = BuildGuard { shared: self, number };
        let value = Arc::new(make()?);
        guard.end(Some(Arc::downgrade(&value)));
        Ok(value)
    }
}

/// Identifies a version of a file: path, size and modification time.
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
        let values = Shared::<u8, u32>::new();
        let one = values.get(1, || Ok(10)).unwrap();
        assert_eq!(*values.get(1, || unreachable!("it is there")).unwrap(), 10);
        assert_eq!(*values.get(2, || Ok(20)).unwrap(), 20);
        drop(one);
        assert_eq!(*values.get(1, || Ok(11)).unwrap(), 11);
    }

    #[test]
    fn what_fails_or_panics_is_made_by_the_next() {
        let values = Shared::<u8, u32>::new();
        assert!(values.get(1, || Err(crate::error::Error::Interrupted)).is_err());
        let panics = std::panic::AssertUnwindSafe(|| values.get(1, || panic!("while it is made")));
        assert!(std::panic::catch_unwind(panics).is_err());
        assert_eq!(*values.get(1, || Ok(10)).unwrap(), 10);
    }

    #[test]
    fn nobody_waits_for_what_is_never_made() {
        static THINGS: Shared<u8, u32> = Shared::new();
        let canceller = Canceller::default();
        let (end, wait) = std::sync::mpsc::channel::<()>();
        let (begun, begins) = std::sync::mpsc::channel();
        let make = move || {
            begun.send(()).unwrap();
            let _ = wait.recv();
            Ok(10)
        };
        let theirs = canceller.clone();
        let hangs = std::thread::spawn(move || cancellation::run(&theirs, || THINGS.get(1, make)));
        begins.recv().unwrap();
        // Another key is built meanwhile; the same key is waited for until the first build is cancelled.
        assert_eq!(*THINGS.get(2, || Ok(20)).unwrap(), 20);
        let waits = std::thread::spawn(|| THINGS.get(1, || Ok(11)));
        canceller.cancel();
        let value = waits.join().unwrap().unwrap();
        assert_eq!(*value, 11);
        assert!(hangs.join().unwrap().is_err());
        // The late result of the cancelled build is not shared.
        drop(end);
        assert_eq!(*THINGS.get(1, || unreachable!("it is there")).unwrap(), 11);
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
