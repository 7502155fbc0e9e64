// SPDX-License-Identifier: MPL-2.0
//! What is learnt from: a film, or a folder with frames and sound as `new` makes it.

use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, bail};
use lipsync_core::picture::image_file;

use crate::cli::Train;
use crate::film::segment::Segment;
use crate::film::thinning::Thinning;
use crate::film::video::{self, Extracted, Wanted};
use crate::film::{sound, sound_file};
use crate::interrupt;

/// Frames that are looked at of a longer film: what is trained on at most, and what is left out.
const MOST_FRAMES: usize = 9000;
/// The longest side of the frames: more does not make the mouth sharper.
const LONGEST_SIDE: i32 = 1920;

/// A film or a folder, from a time to another.
pub struct Source {
    path: PathBuf,
    segment: Segment,
}

impl Source {
    pub fn of(options: &Train) -> Result<Self> {
        let segment = Segment::new(options.from, options.to)?;
        if !options.film.exists() {
            bail!("{}: no such file. {}", options.film.display(), video::REMEDY);
        }
        if options.film.is_dir() && !options.film.join(FRAMES).is_dir() {
            bail!("{}: is a folder without {FRAMES}. {}", options.film.display(), video::REMEDY);
        }
        Ok(Self { path: options.film.clone(), segment })
    }

    pub fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// What tells it apart from others, and from itself before a change.
    pub fn identity(&self) -> String {
        let sound = if self.path.is_dir() { self.path.join(SOUND) } else { self.path.clone() };
        let path = self.path.canonicalize().unwrap_or_else(|_| self.path.clone());
        let data = sound.metadata().ok();
        let size = data.as_ref().map_or(0, std::fs::Metadata::len);
        let time = data.and_then(|data| data.modified().ok()?.duration_since(UNIX_EPOCH).ok());
        let Segment { start, end } = self.segment;
        format!("{}\n{size} {} {start} {end:?}", path.display(), time.unwrap_or_default().as_nanos())
    }

    /// Writes its frames to a folder as N.jpg, and returns them with their sound, and which frame of the film the first one is.
    pub fn extract(
        &self,
        folder: &Path,
        progress: &mut dyn FnMut(usize, Option<usize>),
    ) -> Result<(Extracted, usize)> {
        let extracted = if self.path.is_dir() {
            self.copy(folder, progress)?
        } else {
            let wanted = Wanted {
                segment: self.segment,
                most_frames: Some(MOST_FRAMES),
                longest_side: Some(LONGEST_SIDE),
            };
            video::extract(&self.path, &wanted, folder, progress)?
        };
        Ok((extracted, self.segment.start))
    }

    /// The same of a folder: frames are linked where that is possible.
    fn copy(&self, folder: &Path, progress: &mut dyn FnMut(usize, Option<usize>)) -> Result<Extracted> {
        let frame = |n: usize| self.path.join(FRAMES).join(format!("{n}.jpg"));
        let whole = (0..).take_while(|n| frame(*n).exists()).count();
        if whole == 0 {
            bail!("{}: no such file. Make the folder of a film with lipsync new", frame(0).display());
        }
        self.segment.check(whole, &self.path)?;
        let start = self.segment.start;
        let frames = self.segment.end.unwrap_or(whole).min(whole) - start;
        let mut thinning = Thinning::new(Some(MOST_FRAMES));
        for n in 0..frames {
            interrupt::check()?;
            if thinning.keeps(n) {
                let (from, to) = (frame(start + n), folder.join(format!("{n}.jpg")));
                std::fs::hard_link(&from, &to)
                    .or_else(|_| std::fs::copy(&from, &to).map(drop))
                    .with_context(|| format!("{}: cannot be copied", from.display()))?;
                thinning.thin(n + 1, folder)?;
            }
            progress(n + 1, Some(frames));
        }
        let size = image_file::read(&frame(start))?.colours.dimensions();
        let samples = sound_file::read(&self.path.join(SOUND))?;
        let samples: Vec<i16> = samples
            .into_iter()
            .skip(sound::samples_of(start))
            .map(|sample| (32768.0 * sample).round().clamp(-32768.0, 32767.0) as i16)
            .collect();
        let pieces = thinning.pieces(frames);
        Ok(Extracted {
            frames: pieces.iter().map(ExactSizeIterator::len).sum(),
            pieces,
            size,
            sound: thinning.close_gaps(frames, folder, samples)?,
        })
    }
}

/// The folder of frames, and the sound, in what `new` makes.
const FRAMES: &str = "full_body_img";
const SOUND: &str = "aud.wav";
