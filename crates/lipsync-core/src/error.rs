// SPDX-License-Identifier: MPL-2.0
//! The one error type of the core. Every message names the file or value at fault and the remedy, and is one line: names
//! of files and of what is in them may be a stranger's ([`crate::text`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::text::plain;

/// The error behind one of ours; shared, so that ours can be cloned.
type Source = Option<Arc<dyn std::error::Error + Send + Sync>>;

/// What can go wrong between a folder, some audio and a frame.
///
/// The message names the file or value at fault and the remedy, and is one line. [`std::error::Error::source`] is the
/// error of the system or of a library behind it, where there is one: its words are part of the message already, so whoever
/// prints the message need not print the source as well.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder is missing.
    NotFound {
        /// It.
        #[serde(with = "lossy")]
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
        /// The error behind it.
        #[serde(skip)]
        source: Source,
    },
    /// A file is there, but is not what it should be.
    Invalid {
        /// It.
        #[serde(with = "lossy")]
        path: PathBuf,
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
        /// The error behind it.
        #[serde(skip)]
        source: Source,
    },
    /// ONNX Runtime, or what it needs, cannot be used.
    Runtime {
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
        /// The error behind it.
        #[serde(skip)]
        source: Source,
    },
    /// The machine or its operating system does not give what is needed, such as a thread.
    System {
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
        /// The error behind it.
        #[serde(skip)]
        source: Source,
    },
    /// A network failed while it ran.
    Inference {
        /// The file of the network.
        #[serde(with = "lossy")]
        model: PathBuf,
        /// What is wrong.
        problem: String,
        /// The error behind it.
        #[serde(skip)]
        source: Source,
    },
    /// The audio holds something that is not sound.
    Audio {
        /// What is wrong.
        problem: String,
        /// What to do about it.
        remedy: String,
    },
    /// The work was called off by a flush or a stop; nobody needs to be told.
    Interrupted,
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotFound { path, problem, remedy, .. } | Self::Invalid { path, problem, remedy, .. } => {
                write!(f, "{}: {}. {}", plain(path.display()), plain(problem), plain(remedy))
            }
            Self::Runtime { problem, remedy, .. } => {
                write!(f, "ONNX Runtime: {}. {}", plain(problem), plain(remedy))
            }
            Self::System { problem, remedy, .. } => write!(f, "{}. {}", plain(problem), plain(remedy)),
            Self::Inference { model, problem, .. } => {
                write!(f, "{}: {}", plain(model.display()), plain(problem))
            }
            Self::Audio { problem, remedy } => write!(f, "audio: {}. {}", plain(problem), plain(remedy)),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

// By hand: `thiserror` would give out the `Arc`, of which nobody can ask what error it holds.
impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NotFound { source, .. }
            | Self::Invalid { source, .. }
            | Self::Runtime { source, .. }
            | Self::System { source, .. }
            | Self::Inference { source, .. } => source.as_deref().map(|source| source as _),
            Self::Audio { .. } | Self::Interrupted => None,
        }
    }
}

impl Error {
    /// An error for what is not there.
    pub fn not_found(path: impl AsRef<Path>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (problem, remedy) = (problem.into(), remedy.into());
        Self::NotFound { path: path.as_ref().into(), problem, remedy, source: None }
    }

    /// An error for what is there, but is not what it should be.
    pub fn invalid(path: impl AsRef<Path>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (problem, remedy) = (problem.into(), remedy.into());
        Self::Invalid { path: path.as_ref().into(), problem, remedy, source: None }
    }

    /// An error of ONNX Runtime, or of the machine that it needs.
    pub fn runtime(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Runtime { problem: problem.into(), remedy: remedy.into(), source: None }
    }

    /// An error of the machine or of its operating system.
    pub fn system(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::System { problem: problem.into(), remedy: remedy.into(), source: None }
    }

    /// No thread can be started.
    pub fn no_thread(error: std::io::Error) -> Self {
        Self::system(format!("no thread could be started: {error}"), "Stop other programs").with_source(error)
    }

    /// An error of a network that ran.
    pub fn inference(model: impl AsRef<Path>, problem: impl Into<String>) -> Self {
        Self::Inference { model: model.as_ref().into(), problem: problem.into(), source: None }
    }

    /// An error of the sound.
    pub fn audio(problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::Audio { problem: problem.into(), remedy: remedy.into() }
    }

    /// The same, with the error behind it.
    #[must_use]
    pub fn with_source(mut self, error: impl std::error::Error + Send + Sync + 'static) -> Self {
        if let Self::NotFound { source, .. }
        | Self::Invalid { source, .. }
        | Self::Runtime { source, .. }
        | Self::System { source, .. }
        | Self::Inference { source, .. } = &mut self
        {
            *source = Some(Arc::new(error));
        }
        self
    }

    /// The file or folder at fault, where there is one.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::NotFound { path, .. }
            | Self::Invalid { path, .. }
            | Self::Inference { model: path, .. } => Some(path),
            Self::Runtime { .. } | Self::System { .. } | Self::Audio { .. } | Self::Interrupted => None,
        }
    }

    /// Does what a file asks for. A panic is a mistake of ours, but is the file's doing: an error, not the end of the program.
    pub(crate) fn guard<T>(path: &Path, work: impl FnOnce() -> Result<T>) -> Result<T> {
        caught(work).unwrap_or_else(|panic| {
            Err(Self::invalid(path, format!("is not understood: {panic}"), "Export the model to ONNX again"))
        })
    }

    /// The error for a file that cannot be read: missing and unreadable are told apart.
    pub fn io(path: impl AsRef<Path>, error: &std::io::Error, remedy: &str) -> Self {
        let this = if error.kind() == std::io::ErrorKind::NotFound {
            Self::not_found(path, "no such file", remedy)
        } else {
            Self::invalid(path, format!("cannot be read: {error}"), remedy)
        };
        // Errors of the system cannot be cloned, but made again.
        this.with_source(match error.raw_os_error() {
            Some(code) => std::io::Error::from_raw_os_error(code),
            None => std::io::Error::new(error.kind(), error.to_string()),
        })
    }
}

/// The result of what may panic, or what the panic says.
pub fn caught<T>(work: impl FnOnce() -> T) -> std::result::Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).map_err(|panic| {
        let text =
            panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
        format!("a panic, {}. This is a bug: please report it", text.unwrap_or("for no reason that it tells"))
    })
}

/// Result of everything in the core.
pub type Result<T> = std::result::Result<T, Error>;

/// Paths in messages between processes: what is no text in them is shown as such, as in messages to people.
pub(crate) mod lossy {
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(path: &Path, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&path.to_string_lossy())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        String::deserialize(from).map(PathBuf::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_an_error_can_be_asked_for() {
        let io = std::io::Error::from_raw_os_error(13);
        let error = Error::io("a.png", &io, "Change its permissions");
        let source = std::error::Error::source(&error).unwrap();
        assert_eq!(source.downcast_ref::<std::io::Error>().unwrap().kind(), io.kind());
        let copy: Error = serde_json::from_str(&serde_json::to_string(&error).unwrap()).unwrap();
        assert_eq!(copy.to_string(), error.to_string());
        assert!(std::error::Error::source(&copy).is_none(), "it stays in its process");
        assert!(std::error::Error::source(&Error::runtime("a", "b")).is_none());
    }

    #[test]
    fn a_panic_is_told() {
        assert_eq!(caught(|| 1), Ok(1));
        let problem = caught(|| panic!("index out of bounds")).unwrap_err();
        assert_eq!(problem, "a panic, index out of bounds. This is a bug: please report it");
    }
}
