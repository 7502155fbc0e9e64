// SPDX-License-Identifier: MPL-2.0
//! A part of a long film, in pieces from all of it: each time that more than enough frames are kept, every second piece goes.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};

use super::{RATE, sound};

/// Frames in a piece: long enough that what is lost at its ends, where the sound does not go on, is little.
const PIECE: usize = 10 * RATE;

/// Which frames are kept.
pub struct Thinning {
    /// Frames to keep at most; half as many at least, of a film that has more.
    most: usize,
    /// Every so many pieces one is kept.
    stride: usize,
}

impl Thinning {
    pub fn new(most: Option<usize>) -> Self {
        Self { most: most.unwrap_or(usize::MAX), stride: 1 }
    }

    pub fn keeps(&self, frame: usize) -> bool {
        (frame / PIECE).is_multiple_of(self.stride)
    }

    /// The pieces that are kept of `frames` frames.
    pub fn pieces(&self, frames: usize) -> Vec<Range<usize>> {
        if self.stride == 1 {
            return std::iter::once(0..frames).collect();
        }
        let starts = (0..frames).step_by(PIECE * self.stride);
        starts.map(|start| start..(start + PIECE).min(frames)).collect()
    }

    /// Drops pieces from a folder with N.jpg of the first `frames` frames, where these are too many.
    pub fn thin(&mut self, frames: usize, folder: &Path) -> Result<()> {
        let kept =
            |thinning: &Self| thinning.pieces(frames).iter().map(ExactSizeIterator::len).sum::<usize>();
        while kept(self) > self.most {
            let before: Vec<usize> = self.pieces(frames).into_iter().flatten().collect();
            self.stride *= 2;
            for frame in before.into_iter().filter(|frame| !self.keeps(*frame)) {
                let path = folder.join(format!("{frame}.jpg"));
                std::fs::remove_file(&path)
                    .with_context(|| format!("{}: cannot be removed", path.display()))?;
            }
        }
        Ok(())
    }

    /// Numbers what was kept of `frames` frames from 0, and cuts its sound out of that of the whole.
    pub fn close_gaps(&self, frames: usize, folder: &Path, whole: Vec<i16>) -> Result<Vec<i16>> {
        if self.stride == 1 {
            return Ok(whole);
        }
        let mut part = Vec::new();
        let mut next = 0;
        for piece in self.pieces(frames) {
            let end = sound::samples_of(piece.end).min(whole.len());
            part.extend_from_slice(whole.get(sound::samples_of(piece.start)..end).unwrap_or_default());
            for frame in piece {
                let (from, to) = (folder.join(format!("{frame}.jpg")), folder.join(format!("{next}.jpg")));
                std::fs::rename(&from, to)
                    .with_context(|| format!("{}: cannot be renamed", from.display()))?;
                next += 1;
            }
        }
        Ok(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_film_is_thinned_evenly() {
        let folder = tempfile::tempdir().unwrap();
        let file = |n: usize| folder.path().join(format!("{n}.jpg"));
        let mut thinning = Thinning::new(Some(4 * PIECE));
        let frames = 17 * PIECE + 30;
        for frame in 0..frames {
            if thinning.keeps(frame) {
                std::fs::write(file(frame), frame.to_string()).unwrap();
                thinning.thin(frame + 1, folder.path()).unwrap();
            }
        }
        let pieces = thinning.pieces(frames);
        assert_eq!(pieces, [0..PIECE, 8 * PIECE..9 * PIECE, 16 * PIECE..17 * PIECE]);
        let sound =
            (0..frames).flat_map(|frame| vec![(frame / PIECE) as i16; sound::samples_of(1)]).collect();
        let sound = thinning.close_gaps(frames, folder.path(), sound).unwrap();
        let kept: Vec<usize> = pieces.into_iter().flatten().collect();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), kept.len());
        for (n, frame) in kept.iter().enumerate() {
            assert_eq!(std::fs::read_to_string(file(n)).unwrap(), frame.to_string());
            assert_eq!(sound[sound::samples_of(n)], (frame / PIECE) as i16);
        }
        assert_eq!(sound.len(), sound::samples_of(kept.len()));
    }

    #[test]
    fn a_short_film_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let thinning = Thinning::new(Some(1000));
        assert_eq!(thinning.pieces(1000), std::slice::from_ref(&(0..1000)));
        assert_eq!(thinning.close_gaps(2, folder.path(), vec![1, 2]).unwrap(), [1, 2]);
    }
}
