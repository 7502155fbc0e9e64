// SPDX-License-Identifier: MPL-2.0
//! `split`: the job of a long video as jobs for its parts, and one that joins them.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use lipsync_core::rate::SECOND;
use serde_json::Value;

use super::failure::Failure;
use super::job::Job;
use super::report::Done;
use super::{json, name, pieces};
use crate::cli::Split;
use crate::film::sound_file;
use crate::plugin;

/// Seconds of the shortest part.
const LEAST_SECONDS: u64 = 5;
/// The loudness is known so many times a second, as the mean square of this and the neighbours.
const SLOTS: u64 = 25;
const NEIGHBOURS: usize = 2;

/// Writes the jobs, and prints where they are, or why there are none, as `lipsync work` does.
pub fn run(options: &Split) -> ExitCode {
    match split(options) {
        Ok(written) => {
            json::print(&written);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let failure = Failure::of_job(error);
            json::print(&failure.line());
            failure.code()
        }
    }
}

fn split(options: &Split) -> Result<Value> {
    let job = Job::read(&options.job)?;
    let Some(speech) = job.speech.as_deref().filter(|_| job.frames.is_none() && job.parts.is_none()) else {
        bail!(
            "{}: only the job of a whole video from a file with speech can be split",
            options.job.display()
        );
    };
    plugin::load()?;
    let look = job.look()?;
    let avatar = look.open_avatar()?;
    let rate = look.frame_rate(&avatar);
    let (loudness, length) = measure(speech)?;
    let frames = rate.frames_covering(length);
    let loudness_at = |frame: u64| {
        let slot = (rate.time_of(frame) * SLOTS / SECOND) as usize;
        let near = slot.saturating_sub(NEIGHBOURS)..(slot + NEIGHBOURS + 1).min(loudness.len());
        loudness.get(near).into_iter().flatten().sum::<f32>()
    };
    let least = rate.frames_covering(LEAST_SECONDS * SECOND);
    let mut parts = pieces::side_by_side(frames, options.parts.into(), least, loudness_at);
    let is_done = Done::of(&job.video, &job.fingerprint(&avatar)?).is_some();
    if is_done {
        parts.clear();
    }

    let beside = || job.video.with_added_extension("parts");
    let folder = std::path::absolute(options.into.clone().unwrap_or_else(beside))?;
    std::fs::create_dir_all(&folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
    let mut files = Vec::new();
    let mut videos = Vec::new();
    for (number, part) in (1..).zip(parts) {
        let video = folder.join(name(&number.to_string(), &job.video));
        let file = folder.join(format!("{number}.json"));
        json::write(&file, &Job { video: video.clone(), frames: Some(part), ..job.clone() })?;
        files.push(file);
        videos.push(video);
    }
    let join = folder.join("join.json");
    json::write(&join, &Job { parts: (!is_done).then_some(videos), ..job })?;
    Ok(serde_json::json!({ "parts": files, "join": join, "frames": frames }))
}

/// The mean square of each 25th of a second, and the length in nanoseconds.
fn measure(speech: &Path) -> Result<(Vec<f32>, u64)> {
    let slot = (sound_file::RATE / SLOTS) as usize;
    let (mut loudness, mut samples) = (Vec::new(), 0);
    sound_file::for_each(speech, |block| {
        for sample in block {
            if samples % slot == 0 {
                loudness.push(0.0);
            }
            if let Some(last) = loudness.last_mut() {
                *last += sample * sample / slot as f32;
            }
            samples += 1;
        }
    })?;
    Ok((loudness, samples as u64 * SECOND / sound_file::RATE))
}
