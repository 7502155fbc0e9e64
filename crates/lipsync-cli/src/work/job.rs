// SPDX-License-Identifier: MPL-2.0
//! A job of a queue, as JSON: what to render, and where to put it.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use lipsync_core::avatar::Avatar;
use lipsync_core::file::{self, Sha256};
use serde::{Deserialize, Serialize};

use super::checksum;
use crate::cli::Look;
use crate::format::parse_size;
use crate::media::check_file;
use crate::render::output::Output;
use crate::speech;

/// Bytes of a job at most; the longest part of one is its text.
const MOST_BYTES: u64 = 1 << 20;

/// A new version may paint other pictures.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

const REMEDY: &str = "lipsync work --help says what a job is";

/// What a user writes: see `lipsync work --help`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Job {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub speech: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub voice: Option<String>,
    pub video: PathBuf,
    #[serde(default = "iris")]
    pub avatar: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fps: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub background: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub emphasis: Option<f64>,
    /// The first and the last frame of a part.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames: Option<(u64, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parts: Option<Vec<PathBuf>>,
}

fn iris() -> String {
    "iris".into()
}

impl Job {
    /// Reads a job from a file, or from stdin (`-`); its paths become absolute.
    ///
    /// # Errors
    /// Where it is no job, or one that contradicts itself.
    pub fn read(path: &Path) -> Result<Self> {
        let (name, text, folder) = if path == Path::new("-") {
            let mut text = String::new();
            std::io::stdin().take(MOST_BYTES).read_to_string(&mut text).context("stdin cannot be read")?;
            ("stdin".into(), text, std::env::current_dir()?)
        } else {
            let text = file::read_text(path, MOST_BYTES, REMEDY)?;
            (
                path.display().to_string(),
                text,
                std::path::absolute(path)?.parent().unwrap_or(Path::new("/")).into(),
            )
        };
        let job: Self = serde_json::from_str(&text)
            .map_err(|error| anyhow::anyhow!("{name}: is no job: {error}. {REMEDY}"))?;
        let job = job.relative_to(&folder);
        job.check().context(name)?;
        Ok(job)
    }

    /// The same with absolute paths; those that were relative are relative to a folder.
    fn relative_to(mut self, folder: &Path) -> Self {
        let paths = self.speech.iter_mut().chain(self.parts.iter_mut().flatten());
        paths.chain([&mut self.video]).for_each(|path| *path = folder.join(&*path));
        // These may be names as well.
        for text in [Some(&mut self.avatar), self.background.as_mut()].into_iter().flatten() {
            let path = folder.join(&*text);
            if path.exists() && (path.is_file() || text.contains('/')) {
                *text = path.to_string_lossy().into_owned();
            }
        }
        self
    }

    fn check(&self) -> Result<()> {
        let is_split = self.frames.is_some() || self.parts.is_some();
        match (&self.speech, &self.text) {
            (None, None) => bail!("there is nothing to speak. Give \"speech\", a file, or \"text\""),
            (Some(_), Some(_)) => bail!("both \"speech\" and \"text\" are to be spoken. Give one of them"),
            (None, Some(_)) if is_split => {
                bail!("a text cannot be split. Speak it into a file first, and give that as \"speech\"")
            }
            (Some(_), None) if self.voice.is_some() => {
                bail!("\"voice\" is for \"text\" only. Leave it out")
            }
            (None, Some(text)) => speech::check(text)?,
            _ => {}
        }
        if self.frames.is_some() && self.parts.is_some() {
            bail!("\"frames\" and \"parts\" exclude each other. Give one of them");
        }
        if self.frames.is_some_and(|(first, last)| first > last) {
            bail!("\"frames\" are the first and the last one: the first is behind the last");
        }
        if self.parts.as_ref().is_some_and(Vec::is_empty) {
            bail!("\"parts\" names none. Give the files that are to be joined");
        }
        if self.fps.is_some_and(|fps| !(1..=240).contains(&fps)) {
            bail!("\"fps\" has to be from 1 to 240");
        }
        if self.emphasis.is_some_and(|share| !(0.0..=1.0).contains(&share)) {
            bail!("\"emphasis\" has to be from 0 to 1");
        }
        if Output::of(&self.video)? == Output::Pngs {
            bail!(
                "{}: a job writes a file. Give it the ending .mp4, .mkv, .webm or .mov",
                self.video.display()
            );
        }
        let sources = self.speech.iter().chain(self.parts.iter().flatten());
        if sources
            .filter_map(|path| path.canonicalize().ok())
            .any(|path| Some(path) == self.video.canonicalize().ok())
        {
            bail!("{}: would be read and written. Choose another \"video\"", self.video.display());
        }
        self.look().map(drop)
    }

    /// The options of what it shows.
    pub fn look(&self) -> Result<Look> {
        let size = self.size.as_deref().map(parse_size).transpose();
        let size = size.map_err(|problem| anyhow::anyhow!("\"size\": {problem}"))?;
        Ok(Look {
            avatar: self.avatar.clone(),
            size,
            fps: self.fps,
            background: self.background.clone(),
            clip: self.clip.clone(),
            emphasis: self.emphasis,
        })
    }

    /// The checksum of all that the video depends on; not of how it is split.
    ///
    /// # Errors
    /// Where the speech, the avatar or the background cannot be read.
    pub fn fingerprint(&self, avatar: &Avatar) -> Result<String> {
        let mut sum = Sha256::default();
        let own = Self {
            speech: None,
            parts: None,
            avatar: String::new(),
            video: self.video.extension().unwrap_or_default().into(),
            ..self.clone()
        };
        sum.update(VERSION.as_bytes());
        sum.update(&serde_json::to_vec(&own)?);
        if let Some(speech) = &self.speech {
            check_file(speech, crate::render::REMEDY)?;
            add(&mut sum, speech)?;
        }
        if let Some(picture) = self.background.as_deref().map(Path::new).filter(|path| path.is_file()) {
            add(&mut sum, picture)?;
        }
        add_folder(&mut sum, &avatar.folder)?;
        Ok(sum.finish())
    }
}

/// Adds a file's name and content.
fn add(sum: &mut Sha256, path: &Path) -> Result<()> {
    sum.update(path.file_name().unwrap_or_default().as_encoded_bytes());
    checksum::add_file(sum, path).map(drop)
}

/// Adds all files of an avatar: its folders are one or two levels deep.
fn add_folder(sum: &mut Sha256, folder: &Path) -> Result<()> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("{}: cannot be read", folder.display()))?;
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    paths.sort();
    paths.iter().try_for_each(|path| if path.is_dir() { add_folder(sum, path) } else { add(sum, path) })
}
