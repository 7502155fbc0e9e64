// SPDX-License-Identifier: MPL-2.0
//! `join`: the parts of a video, one behind the other, with the sound.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use gst::prelude::*;

use super::output::Output;
use super::{Frames, REMEDY, Report, Written, write_into};
use crate::cli::Join;
use crate::media::{InputError, Reader};
use crate::partial::PartialOutput;
use crate::{format, progress};

/// Seconds that are lost to rounding in files whose times are whole milliseconds.
const ROUNDING: f64 = 0.002;

/// Joins the parts, and prints what has been written.
pub fn run(options: &Join) -> Result<ExitCode> {
    let [parts @ .., video] = &options.files[..] else { bail!("there is nothing to join") };
    let bar = progress::time_bar("join");
    let written = write(&options.speech, parts, video, options.force, &mut progress::shown_by(&bar))?;
    bar.finish_and_clear();
    let length = format::time(written.length.seconds_f64());
    let count = format::count(written.frames as usize, "frame");
    print_line!("{}: {length}, {count} of {}", video.display(), format::count(parts.len(), "part"));
    Ok(ExitCode::SUCCESS)
}

/// Joins the parts into `video`, with the sound of the speech.
///
/// # Errors
/// [`InputError`] where the parts or the speech are to blame.
pub fn write(
    speech: &Path,
    parts: &[PathBuf],
    video: &Path,
    force: bool,
    report: &mut Report,
) -> Result<Written> {
    let output = Output::of(video)?;
    for part in parts {
        let wrong = |problem: &str, remedy: &str| InputError::of(part, problem, remedy);
        if Output::of(part)? != output {
            let problem = format!("is another kind of file than {}", video.display());
            return Err(wrong(&problem, "Render the parts with that ending").into());
        }
        if !part.is_file() {
            return Err(wrong("no such file", "Render that part first: lipsync render --frames").into());
        }
    }
    gst::init()?;
    output.require()?;
    let target = PartialOutput::begin(video, force)?;
    let mut reader = Reader::open(&line(output, parts.len())?, speech, REMEDY)?;
    for (number, part) in parts.iter().enumerate() {
        reader.element(&format!("part{number}"))?.set_property("location", part);
    }
    write_into(&target, output, &mut reader, video)?;
    let pictures = reader.element("parts")?.static_pad("src").context("there are no pictures")?;
    pictures.set_offset(output.picture_delay().nseconds() as i64);
    let frames = Frames::of(&pictures);
    let convert = reader.element("convert")?;
    let sound = Frames::of(&convert.static_pad("src").context("there is no sound")?);
    reader.link(&[("audio", convert)])?;
    reader.start();
    while !reader.has_ended()? {
        report(frames.reached(), reader.duration().unwrap_or_default());
    }
    let size = size_of(&pictures).unwrap_or_default();
    drop(reader);
    check_length(&frames, &sound, speech)?;
    target.finish()?;
    Ok(Written { frames: frames.count(), length: frames.reached(), size })
}

/// Width and height of the pictures that have passed a pad.
fn size_of(pad: &gst::Pad) -> Option<(u32, u32)> {
    let caps = pad.current_caps()?;
    let side = |name| caps.structure(0)?.get::<i32>(name).ok()?.try_into().ok();
    Some((side("width")?, side("height")?))
}

/// The last frame shows the end of the sound.
fn check_length(frames: &Frames, sound: &Frames, speech: &Path) -> Result<()> {
    let (seen, heard) = (frames.reached().seconds_f64(), sound.reached().seconds_f64());
    let frame = seen / frames.count().max(1) as f64;
    if heard > seen + ROUNDING || seen > heard + frame + ROUNDING {
        let (seen, heard) = (format::time(seen), format::time(heard));
        let problem = format!("lasts {heard}, and the parts {seen} together");
        return Err(InputError::of(speech, &problem, "Give all parts, each once, in their order").into());
    }
    Ok(())
}

fn line(output: Output, parts: usize) -> Result<String> {
    let (Some(muxer), Some(sound), Some((demuxed, caps))) =
        (output.muxer(), output.sound(), output.demuxed())
    else {
        bail!("pictures are files of their own: the parts need not be joined. Render all into folders");
    };
    let mut line = format!(
        "uridecodebin name=source caps=audio/x-raw expose-all-streams=false \
         audioconvert name=convert ! audioresample ! {sound} ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 ! film. \
         concat name=parts ! {caps} ! queue ! film. {muxer} name=film ! filesink name=sink"
    );
    for number in 0..parts {
        let _ = write!(line, " filesrc name=part{number} ! {demuxed} ! queue ! parts.");
    }
    Ok(line)
}
