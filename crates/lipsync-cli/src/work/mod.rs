// SPDX-License-Identifier: MPL-2.0
//! `work`: one job of a queue, whichever runs it. Done twice it is done once, and a killed run is resumed.

mod checksum;
mod failure;
mod folder;
mod job;
mod json;
mod pieces;
mod progress;
mod report;
pub mod split;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use lipsync_core::avatar::Avatar;
use lipsync_core::rate::FrameRate;
use serde_json::json;

use crate::cli::{Look, Work};
use crate::film::sound_file;
use crate::render::output::Output;
use crate::render::{self, Stage, Written, join};
use crate::{plugin, speech};
use failure::Failure;
use folder::Folder;
use job::{Job, VERSION};
use pieces::Piece;
use progress::Progress;
use report::{Done, Report};

/// Seconds of video that are rendered before any of it is kept for the next run.
const LEAST_SECONDS: u64 = 60;

/// Does the job, and prints how far it is and how it ends, as `lipsync work --help` says.
pub fn run(options: &Work) -> ExitCode {
    if options.with_parent {
        end_with_parent();
    }
    match attempt(&options.job) {
        Ok((done, already)) => {
            let mut result = serde_json::to_value(Report::Done(done)).unwrap_or_default();
            result["already"] = already.into();
            json::print(&json!({ "result": result }));
            ExitCode::SUCCESS
        }
        Err(failure) => {
            json::print(&failure.line());
            failure.code()
        }
    }
}

/// Has the system interrupt this process when the one that started it ends, in whatever way.
fn end_with_parent() {
    // SAFETY: the call takes integers, and changes only this process.
    #[cfg(target_os = "linux")]
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM);
    }
}

/// Does the job, or finds that it is done already.
fn attempt(file: &Path) -> Result<(Done, bool), Failure> {
    let job = Job::read(file).map_err(Failure::of_job)?;
    let result = complete(&job);
    if let Err(Failure::Wrong(reason) | Failure::Failed(reason)) = &result
        && of_no_job(&job.video).is_none()
        && !is_done(&job.video)
    {
        let retry = matches!(result, Err(Failure::Failed(_)));
        let report = Report::Failed { reason: crate::message(reason), retry, version: VERSION.into() };
        // Where the disk is full, or the folder is missing, what is printed has to do.
        let _ = report.write(&job.video);
    }
    result
}

fn complete(job: &Job) -> Result<(Done, bool), Failure> {
    let output = Output::of(&job.video).map_err(Failure::of_job)?;
    plugin::load().map_err(Failure::Failed)?;
    output.require().map_err(Failure::Failed)?;
    let (look, avatar, fingerprint) = prepare(job, output).map_err(Failure::of_job)?;
    if let Some(done) = Done::of(&job.video, &fingerprint) {
        return Ok((done, true));
    }
    if let Some(place) = job.video.parent() {
        std::fs::create_dir_all(place).map_err(|error| {
            Failure::Failed(anyhow::anyhow!("{}: cannot be made: {error}", place.display()))
        })?;
    }
    let folder = Folder::open(&job.video, &fingerprint).map_err(Failure::of)?;
    let Some(folder) = folder else { return Err(Failure::Busy(job.video.clone())) };
    // Another process may have done it while this one got here.
    if let Some(done) = Done::of(&job.video, &fingerprint) {
        folder.remove();
        return Ok((done, true));
    }
    if let Some(there) = of_no_job(&job.video).filter(|_| !folder.was_begun) {
        folder.remove();
        return Err(Failure::Wrong(anyhow::anyhow!(
            "{}: is there already, and no job has made it. Choose another \"video\", or remove it",
            there.display()
        )));
    }
    let result = make(job, &look, &avatar, &folder, fingerprint).map_err(Failure::of);
    if let Ok(_) | Err(Failure::Wrong(_)) = result {
        folder.remove();
    }
    Ok((result?, false))
}

/// What has the name of the video, or of its report, and no job has made: it is not replaced, and nothing is said of it.
fn of_no_job(video: &Path) -> Option<PathBuf> {
    let there = [video.to_path_buf(), Report::path(video)].into_iter().find(|path| path.exists());
    there.filter(|_| Report::read(video).is_none())
}

/// Whether a complete video is there, made by this job or another: what fails after that leaves its report alone.
fn is_done(video: &Path) -> bool {
    video.exists() && matches!(Report::read(video), Some(Report::Done(_)))
}

/// What the job shows, and the checksum of all that it depends on.
fn prepare(job: &Job, output: Output) -> Result<(Look, Avatar, String)> {
    let look = job.look()?;
    let avatar = look.open_avatar()?;
    Stage::of(&look, &avatar, output.has_alpha())?;
    let fingerprint = job.fingerprint(&avatar)?;
    Ok((look, avatar, fingerprint))
}

/// Makes the video in the folder, moves it to its place, and reports it.
fn make(job: &Job, look: &Look, avatar: &Avatar, folder: &Folder, fingerprint: String) -> Result<Done> {
    let begun = Instant::now();
    let speech = spoken(job, folder)?;
    let rate = look.frame_rate(avatar);
    let mut progress = Progress::new(rate);
    let whole = folder.file(&name("whole", &job.video));
    let written = match (&job.parts, job.frames) {
        (Some(parts), _) => {
            join::write(&speech, parts, &whole, true, &mut |reached, of| progress.show("join", reached, of))?
        }
        (None, Some(_)) => {
            let mut show = |reached, of| progress.show("render", reached, of);
            render::write(&speech, &whole, look, job.frames, true, &mut show)?
        }
        (None, None) => in_pieces(&speech, &whole, look, rate, folder, &mut progress)?,
    };
    let (bytes, sha256) = checksum::of_file(&whole)?;
    std::fs::rename(&whole, &job.video)?;
    let done = Done {
        video: job.video.file_name().unwrap_or_default().to_string_lossy().into_owned(),
        bytes,
        sha256,
        frames: written.frames,
        seconds: written.length.seconds_f64(),
        width: written.size.0,
        height: written.size.1,
        took: (begun.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
        resumed: progress.resumed(),
        fingerprint,
        version: VERSION.into(),
    };
    Report::Done(done.clone()).write(&job.video)?;
    Ok(done)
}

/// A file name with the video's ending.
fn name(stem: &str, video: &Path) -> String {
    format!("{stem}.{}", video.extension().unwrap_or_default().to_string_lossy())
}

/// The file to speak. A text is spoken into the folder, once: another run goes on with the same sound.
fn spoken(job: &Job, folder: &Folder) -> Result<PathBuf> {
    let Some(text) = &job.text else { return Ok(job.speech.clone().unwrap_or_default()) };
    let file = folder.file("speech.wav");
    if !file.exists() {
        let spoken = speech::speak(text, job.voice.as_deref())?;
        let part = folder.file("speech.part");
        std::fs::copy(&spoken, &part)?;
        std::fs::rename(&part, &file)?;
    }
    Ok(file)
}

/// Renders a video, of which a long one in pieces that are kept for the next run.
fn in_pieces(
    speech: &Path,
    whole: &Path,
    look: &Look,
    rate: FrameRate,
    folder: &Folder,
    progress: &mut Progress,
) -> Result<Written> {
    let mut samples = 0;
    sound_file::for_each(speech, |block| samples += block.count() as u64)?;
    let frames = rate.frames_covering(samples * lipsync_core::rate::SECOND / sound_file::RATE);
    progress.set_frames(frames);
    let pieces = pieces::in_turn(frames, rate.frames_covering(LEAST_SECONDS * lipsync_core::rate::SECOND));
    if let [_] = pieces[..] {
        let mut show = |reached, of| progress.show("render", reached, of);
        return render::write(speech, whole, look, None, true, &mut show);
    }
    let length = |piece: Piece| (piece.1 + 1).min(frames) - piece.0;
    let mut files = Vec::new();
    for piece in pieces {
        let file = folder.file(&name(&format!("{}-{}", piece.0, piece.1), whole));
        if file.exists() {
            progress.add_resumed(length(piece));
        } else {
            let mut show = |reached, of| progress.show("render", reached, of);
            render::write(speech, &file, look, Some(piece), true, &mut show)?;
            progress.add(length(piece));
        }
        files.push(file);
    }
    let mut show = |reached, of| progress.show("join", reached, of);
    join::write(speech, &files, whole, true, &mut show)
}
