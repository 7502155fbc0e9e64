// SPDX-License-Identifier: MPL-2.0
//! Why a job was not done, and whether another try may succeed.

use std::path::PathBuf;
use std::process::ExitCode;

use serde_json::{Value, json};

use crate::interrupt;
use crate::media::InputError;

pub enum Failure {
    /// The job is wrong: it would fail every time.
    Wrong(anyhow::Error),
    /// Another process is making that video.
    Busy(PathBuf),
    /// The machine is to blame, or nobody knows.
    Failed(anyhow::Error),
    Interrupted,
}

impl Failure {
    /// What was wrong while the job itself was looked at.
    pub fn of_job(error: anyhow::Error) -> Self {
        if is_of_machine(&error) { Self::Failed(error) } else { Self::Wrong(error) }
    }

    /// What went wrong while the job was done.
    pub fn of(error: anyhow::Error) -> Self {
        match error {
            _ if interrupt::requested() => Self::Interrupted,
            error if error.chain().any(|cause| cause.is::<InputError>()) => Self::Wrong(error),
            error => Self::Failed(error),
        }
    }

    pub fn code(&self) -> ExitCode {
        match self {
            Self::Wrong(_) => ExitCode::from(3),
            Self::Busy(_) | Self::Failed(_) => ExitCode::FAILURE,
            Self::Interrupted => ExitCode::from(130),
        }
    }

    /// The last line of the output.
    pub fn line(&self) -> Value {
        let (reason, retry) = match self {
            Self::Wrong(error) => (crate::message(error), false),
            Self::Failed(error) => (crate::message(error), true),
            Self::Busy(video) => (format!("{}: another process is making it", video.display()), true),
            Self::Interrupted => ("interrupted: the same job goes on where this one was".into(), true),
        };
        json!({ "error": reason, "retry": retry, "busy": matches!(self, Self::Busy(_)) })
    }
}

/// Whether an error is one that goes when the machine has room again.
fn is_of_machine(error: &anyhow::Error) -> bool {
    use std::io::ErrorKind::{
        Interrupted, OutOfMemory, QuotaExceeded, StaleNetworkFileHandle, StorageFull, TimedOut,
    };
    let passing = [Interrupted, OutOfMemory, QuotaExceeded, StaleNetworkFileHandle, StorageFull, TimedOut];
    let mut errors = error.chain().filter_map(|cause| cause.downcast_ref::<std::io::Error>());
    // A disk that fails has no kind of error of its own.
    let passes =
        |error: &std::io::Error| passing.contains(&error.kind()) || error.raw_os_error() == Some(libc::EIO);
    interrupt::requested() || errors.any(passes)
}
