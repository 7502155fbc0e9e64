// SPDX-License-Identifier: MPL-2.0
//! `join`: the parts of a video, one behind the other, with the sound.

use std::fmt::Write as _;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Result, bail};
use gst::prelude::*;

use super::output::Output;
use super::{Frames, REMEDY};
use crate::cli::Join;
use crate::media::Reader;
use crate::partial::PartialOutput;
use crate::{format, plugin, progress};

/// Seconds that are lost to rounding in files whose times are whole milliseconds.
const ROUNDING: f64 = 0.002;

/// Joins the parts, and prints what has been written.
pub fn run(options: &Join) -> Result<ExitCode> {
    let [parts @ .., video] = &options.files[..] else { bail!("there is nothing to join") };
    let output = Output::of(video)?;
    for part in parts {
        if Output::of(part)? != output {
            bail!(
                "{}: is another kind of file than {}. Render the parts with that ending",
                part.display(),
                video.display()
            );
        }
        if !part.is_file() {
            bail!("{}: no such file. Render that part first: lipsync render --frames", part.display());
        }
    }
    gst::init()?;
    for (element, package) in output.needs() {
        plugin::require(element, package)?;
    }
    let target = PartialOutput::begin(video, options.force)?;
    let mut reader = Reader::open(&line(output, parts.len())?, &options.speech, REMEDY)?;
    for (number, part) in parts.iter().enumerate() {
        reader.element(&format!("part{number}"))?.set_property("location", part);
    }
    reader.write_to(target.temporary(), video)?;
    let pictures =
        reader.element("parts")?.static_pad("src").ok_or_else(|| anyhow::anyhow!("no pictures"))?;
    pictures.set_offset(output.picture_delay().nseconds() as i64);
    let frames = Frames::of(&pictures);
    let convert = reader.element("convert")?;
    let sound = Frames::of(&convert.static_pad("src").ok_or_else(|| anyhow::anyhow!("no sound"))?);
    reader.link(&[("audio", convert)])?;
    reader.start();
    let bar = progress::time_bar("join");
    while !reader.has_ended()? {
        bar.set_length(reader.duration().map_or(0, gst::ClockTime::mseconds));
        bar.set_position(frames.reached().mseconds());
    }
    bar.finish_and_clear();
    drop(reader);
    check_length(&frames, &sound, &options.speech)?;
    target.finish()?;
    let (count, length) =
        (format::count(frames.count() as usize, "frame"), format::time(frames.reached().seconds_f64()));
    print_line!("{}: {length}, {count} of {}", video.display(), format::count(parts.len(), "part"));
    Ok(ExitCode::SUCCESS)
}

/// The last frame shows the end of the sound.
fn check_length(frames: &Frames, sound: &Frames, speech: &Path) -> Result<()> {
    let (seen, heard) = (frames.reached().seconds_f64(), sound.reached().seconds_f64());
    let frame = seen / frames.count().max(1) as f64;
    if heard > seen + ROUNDING || seen > heard + frame + ROUNDING {
        bail!(
            "the parts last {} together, and {} lasts {}. Give all parts, each once, in their order",
            format::time(seen),
            speech.display(),
            format::time(heard)
        );
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
