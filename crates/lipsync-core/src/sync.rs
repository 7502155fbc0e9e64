// SPDX-License-Identifier: MPL-2.0
//! Locks that are used on after a panic.
//!
//! A thread that panics while it holds a mutex poisons it, and every later `lock` returns an error. Here a panic becomes
//! an error of the element that met it, while others go on with what they share. Holders therefore keep what they lock
//! valid between any two statements, and the poison is ignored.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, WaitTimeoutResult};
use std::time::Duration;

/// Locks a mutex, poisoned or not.
pub fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the condition variable is notified.
pub fn wait<'a, T>(condvar: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condvar.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// Waits until the condition variable is notified, `timeout` at most.
pub(crate) fn wait_timeout<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    timeout: Duration,
) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
    condvar.wait_timeout(guard, timeout).unwrap_or_else(PoisonError::into_inner)
}

/// Waits while `condition` holds, `timeout` at most.
pub fn wait_timeout_while<'a, T>(
    condvar: &Condvar,
    guard: MutexGuard<'a, T>,
    timeout: Duration,
    condition: impl FnMut(&mut T) -> bool,
) -> (MutexGuard<'a, T>, WaitTimeoutResult) {
    condvar.wait_timeout_while(guard, timeout, condition).unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mutex_is_used_on_after_a_panic() {
        let (mutex, condvar) = (Mutex::new(1), Condvar::new());
        let panicked = std::thread::scope(|scope| {
            let holder = scope.spawn(|| {
                let _guard = lock(&mutex);
                panic!("with the lock held");
            });
            holder.join().is_err()
        });
        assert!(panicked && mutex.is_poisoned());
        let (guard, waited) = wait_timeout(&condvar, lock(&mutex), Duration::ZERO);
        assert!(waited.timed_out() && *guard == 1);
        let (guard, waited) = wait_timeout_while(&condvar, guard, Duration::ZERO, |value| *value == 1);
        assert!(waited.timed_out() && *guard == 1);
    }
}
