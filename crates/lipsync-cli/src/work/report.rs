// SPDX-License-Identifier: MPL-2.0
//! The report of a job, a JSON file beside its video. It is written last: where it says so, the video is complete.

use std::path::{Path, PathBuf};

use anyhow::Result;
use lipsync_core::file;
use serde::{Deserialize, Serialize};

use super::{checksum, json};

/// Bytes of a report at most.
const MOST_BYTES: u64 = 1 << 16;

/// What has become of a job.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Report {
    Done(Done),
    Failed {
        reason: String,
        /// Whether another try may succeed.
        retry: bool,
        version: String,
    },
}

/// A video that is complete.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Done {
    /// Its file name.
    pub video: String,
    pub bytes: u64,
    pub sha256: String,
    pub frames: u64,
    pub seconds: f64,
    pub width: u32,
    pub height: u32,
    /// Seconds that the run took that completed it.
    pub took: f64,
    /// Frames that earlier runs had rendered.
    pub resumed: u64,
    /// Checksum of all that the video depends on.
    pub fingerprint: String,
    pub version: String,
}

impl Report {
    /// Where that of a video is.
    pub fn path(video: &Path) -> PathBuf {
        video.with_added_extension("json")
    }

    /// That of a video; `None` where there is none.
    pub fn read(video: &Path) -> Option<Self> {
        let text = file::read_text(&Self::path(video), MOST_BYTES, "").ok()?;
        serde_json::from_str(&text).ok()
    }

    /// Writes it beside the video.
    pub fn write(&self, video: &Path) -> Result<()> {
        json::write(&Self::path(video), self)
    }
}

impl Done {
    /// That of a video which is there, complete, and what a job with that fingerprint asks for.
    pub fn of(video: &Path, fingerprint: &str) -> Option<Self> {
        let Some(Report::Done(done)) = Report::read(video) else { return None };
        let is_same = done.fingerprint == fingerprint
            && checksum::of_file(video).ok()? == (done.bytes, done.sha256.clone());
        is_same.then_some(done)
    }
}
