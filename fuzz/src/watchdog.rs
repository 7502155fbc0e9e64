// SPDX-License-Identifier: MPL-2.0
//! Ends what may go on for ever, as an application would.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// Does something, and calls `stop` from another thread if that takes long. It must end then; libFuzzer sees that it does.
pub fn guard<T>(stop: impl FnOnce() + Send, work: impl FnOnce() -> T) -> T {
    const LONG: Duration = Duration::from_secs(2);
    let (done, waits) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if waits.recv_timeout(LONG) == Err(RecvTimeoutError::Timeout) {
                stop();
            }
        });
        let result = work();
        drop(done);
        result
    })
}
