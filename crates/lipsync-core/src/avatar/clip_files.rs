// SPDX-License-Identifier: MPL-2.0
//! Clips as a manifest names them: ranges of the avatar's own frames, or folders with frames of their own, which are
//! added behind those.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use super::clips::{Clip, ClipUse, IDLE, Play};
use super::files::read_text;
use super::frame_set::FrameSet;
use super::manifest::{ClipKeys, ClipsFile, REMEDY, unreadable};
use super::{AvatarFrameFiles, Problems};
use crate::error::Error;
use crate::file::Inside;
use crate::limits::{CLIP_NAME_CHARS, CLIPS, FRAMES, MANIFEST_BYTES};
use crate::text::short;

/// The file with the clips of a folder that has no manifest.
pub const CLIPS_FILE: &str = "clips.toml";

/// The clips of `own` frames, the clip [`IDLE`] first, which starts at frame `first_frame`. Frames from folders of their own are
/// added to `frames`.
pub fn read(
    (folder, manifest): (&Path, &Path),
    keys: &BTreeMap<String, ClipKeys>,
    first_frame: usize,
    frames: &mut Vec<AvatarFrameFiles>,
    inside: &Inside,
    problems: &mut Problems,
) -> Vec<Clip> {
    let own = frames.len();
    let mut clips = vec![Clip::idle(own, first_frame)];
    if keys.len() > CLIPS {
        let problem = format!("has {} clips, more than {CLIPS}", keys.len());
        problems.add(Error::invalid(manifest, problem, "Delete the clips that are never played"));
        return clips;
    }
    for (name, keys) in keys {
        let outside: Vec<Error> =
            keys.paths().filter_map(|(key, named)| inside.named(manifest, key, named).err()).collect();
        if !outside.is_empty() {
            outside.into_iter().for_each(|problem| problems.add(problem));
            continue;
        }
        let found = check(name, keys).and_then(|()| match keys.range {
            Some(range) => range_of(range, own),
            None => Ok(add_frames((folder, manifest), keys, frames, inside, problems)),
        });
        let found = found.map_err(|problem| {
            let name = short(name, CLIP_NAME_CHARS);
            Error::invalid(manifest, format!("clip \"{name}\" {problem}"), REMEDY)
        });
        let Some(range) = problems.note(found).filter(|range| !range.is_empty()) else { continue };
        let is_idle = name == IDLE;
        let clip = Clip {
            name: name.clone(),
            used_for: if is_idle { ClipUse::Idle } else { keys.used_for },
            // What is idled in goes on.
            play: if is_idle && keys.play == Play::Once { Play::ThereAndBack } else { keys.play },
            mouth: keys.mouth,
            start: if is_idle { first_frame.saturating_sub(range.start) % range.len() } else { 0 },
            frames: range,
        };
        if is_idle { clips[0] = clip } else { clips.push(clip) }
    }
    clips
}

/// What is wrong with a clip's keys by themselves, in words that follow its name.
fn check(name: &str, keys: &ClipKeys) -> std::result::Result<(), String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > CLIP_NAME_CHARS || !name.chars().all(plain) {
        return Err(format!("must have a name of letters, digits, - and _, {CLIP_NAME_CHARS} at most"));
    }
    if keys.range.is_some() == keys.frames.is_some() {
        return Err("must have either range or frames".into());
    }
    let beside = [
        ("crops", keys.crops.is_some()),
        ("parsing", keys.parsing.is_some()),
        ("alpha", keys.alpha.is_some()),
    ];
    match beside.into_iter().find(|(_, given)| *given && keys.range.is_some()) {
        Some((key, _)) => Err(format!("has {key}, which frames of a range have already")),
        None if keys.used_for != ClipUse::Gesture
            && keys.used_for != ClipUse::Emphasis
            && keys.play == Play::Once =>
        {
            Err("is played once, so that it can be a gesture or an emphasis only".into())
        }
        None => Ok(()),
    }
}

fn range_of([first, last]: [usize; 2], own: usize) -> std::result::Result<Range<usize>, String> {
    if first > last || last >= own {
        return Err(format!(
            "has the range {first} to {last}, and the avatar has frames 0 to {}",
            own.saturating_sub(1)
        ));
    }
    Ok(first..last + 1)
}

/// Adds the frames of a clip's own folder.
fn add_frames(
    (folder, manifest): (&Path, &Path),
    keys: &ClipKeys,
    frames: &mut Vec<AvatarFrameFiles>,
    inside: &Inside,
    problems: &mut Problems,
) -> Range<usize> {
    let start = frames.len();
    let Some(pictures) = &keys.frames else { return start..start };
    let set = FrameSet {
        manifest,
        frames: &folder.join(pictures),
        crop: keys.crop,
        crops: keys.crops.as_deref(),
        views: [None, None],
        parsing: keys.parsing.as_deref(),
        alpha: keys.alpha.as_deref(),
    };
    let pictures = set.pictures(inside, problems);
    if start + pictures.len() > FRAMES {
        let problem = format!("has more than {FRAMES} frames with those of its clips");
        problems.add(Error::invalid(manifest, problem, "models/README.md states the bounds"));
        return start..start;
    }
    let masks = frames.first().is_some_and(|frame| frame.alpha.is_some());
    if masks != keys.alpha.is_some() {
        let problem = if masks {
            "no masks, and the avatar's frames have"
        } else {
            "masks, and the avatar's frames have none"
        };
        problems.add(Error::invalid(
            set.frames,
            format!("has {problem}"),
            "Give alpha to both or to neither",
        ));
    }
    frames.extend(set.read(folder, pictures, inside, problems));
    start..frames.len()
}

/// The clips in [`CLIPS_FILE`] of a folder that has no manifest, if it has that.
pub fn read_beside(
    folder: &Path,
    first_frame: usize,
    frames: &mut Vec<AvatarFrameFiles>,
    inside: &Inside,
    problems: &mut Problems,
) -> Vec<Clip> {
    let path = folder.join(CLIPS_FILE);
    let mut keys = BTreeMap::new();
    if path.symlink_metadata().is_ok() {
        let file = read_text(inside, &path, MANIFEST_BYTES, REMEDY)
            .and_then(|text| toml::from_str::<ClipsFile>(&text).map_err(|e| unreadable(&path, &text, &e)));
        keys = problems.note(file).unwrap_or_default().clips;
    }
    read((folder, &path), &keys, first_frame, frames, inside, problems)
}
