// SPDX-License-Identifier: MPL-2.0
//! The longest range of frames that can be used for training.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result};

use crate::film::{self, landmarks::Face};

/// The longest run of good frames, the first one where several are as long.
pub fn longest(verdicts: &[Face]) -> Range<usize> {
    let mut best = 0..0;
    let mut start = 0;
    for (n, verdict) in verdicts.iter().enumerate() {
        if !matches!(verdict, Face::Whole(_)) {
            start = n + 1;
        } else if n + 1 - start > best.len() {
            best = start..n + 1;
        }
    }
    best
}

/// What is wrong with the other frames, and at which times; `first` is the index of the first frame in the
/// video.
pub fn reasons(verdicts: &[Face], first: usize) -> Vec<String> {
    let bad = [
        (Face::None, "no face is found in"),
        (Face::Several, "more than one face is found in"),
        (Face::Outside, "the face's square leaves the picture in"),
    ];
    film::reasons(verdicts, bad, |n| first + n)
}

/// Smallest and largest side of the faces' squares, in pixels.
pub fn sides(verdicts: &[Face]) -> (i64, i64) {
    let sides = || {
        verdicts.iter().filter_map(|verdict| match verdict {
            Face::Whole(side) => Some(*side),
            _ => None,
        })
    };
    (sides().min().unwrap_or(0), sides().max().unwrap_or(0))
}

/// Keeps the files N.`ending` of a range of frames, renumbered from 0, and removes the others of `count`
/// frames.
pub fn keep(folder: &Path, ending: &str, range: &Range<usize>, count: usize) -> Result<()> {
    let file = |n: usize| folder.join(format!("{n}.{ending}"));
    for n in (0..count).filter(|n| !range.contains(n)) {
        let path = file(n);
        // Frames without a face have no landmarks.
        if path.exists() {
            std::fs::remove_file(&path).with_context(|| format!("{}: cannot be removed", path.display()))?;
        }
    }
    for n in range.clone().filter(|_| range.start > 0) {
        let path = file(n);
        std::fs::rename(&path, file(n - range.start))
            .with_context(|| format!("{}: cannot be renamed", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use Face::{None as NoFace, Outside, Several as SeveralFaces, Whole as Good};

    #[test]
    fn the_longest_stretch_is_between_bad_frames() {
        assert_eq!(longest(&[]), 0..0);
        assert_eq!(longest(&[NoFace, Outside]), 0..0);
        assert_eq!(longest(&[Good(1); 3]), 0..3);
        assert_eq!(longest(&[Good(1), NoFace, Good(2), Good(3), Outside, Good(4), Good(5)]), 2..4);
        assert_eq!(longest(&[NoFace, Good(2), Good(3), Good(4)]), 1..4);
    }

    #[test]
    fn every_kind_of_bad_frame_is_told_with_its_times() {
        let verdicts = [Good(1), NoFace, NoFace, Good(2), SeveralFaces];
        let told = reasons(&verdicts, 1500).join("; ");
        assert_eq!(
            told,
            "no face is found in 2 frames (1:00.04-1:00.08); more than one face is found in 1 frame (1:00.16)"
        );
        assert_eq!(sides(&verdicts), (1, 2));
    }

    #[test]
    fn files_of_the_stretch_are_numbered_from_0() {
        let folder = tempfile::tempdir().unwrap();
        let file = |n: usize| folder.path().join(format!("{n}.lms"));
        for n in [0, 2, 3, 4, 6] {
            std::fs::write(file(n), n.to_string()).unwrap();
        }
        keep(folder.path(), "lms", &(2..5), 7).unwrap();
        let kept: Vec<_> = (0..7).map(|n| std::fs::read_to_string(file(n)).ok()).collect();
        let kept: Vec<_> = kept.iter().map(Option::as_deref).collect();
        assert_eq!(kept, [Some("2"), Some("3"), Some("4"), None, None, None, None]);
    }
}
