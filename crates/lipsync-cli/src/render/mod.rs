// SPDX-License-Identifier: MPL-2.0
//! `render`: a video file of an avatar that speaks.

mod look;
pub mod output;
mod stage;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result, bail};
use gst::prelude::*;
use lipsync_core::avatar::Avatar;

use crate::cli::{Look, Render};
use crate::media::Reader;
use crate::partial::PartialOutput;
use crate::{format, plugin, progress, speech};
use output::Output;
pub use stage::Stage;

const REMEDY: &str = "Give a file with speech, in a format that GStreamer can play";

/// The launch line that decodes speech and gives it to `sound`, once to be painted and once to be heard. The second queue
/// has no bounds: the picture comes as much later as the avatar and the encoder look ahead.
pub const SPEECH: &str = "uridecodebin name=source caps=audio/x-raw expose-all-streams=false \
                          audioconvert name=convert ! audioresample ! tee name=sound sound. ! queue";
pub const HEARD: &str =
    "sound. ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 ! audioconvert ! audioresample";

/// Renders what the options say, and prints what has been written.
pub fn run(options: &Render) -> Result<ExitCode> {
    let (file, video) = options.files().map_err(anyhow::Error::msg)?;
    let spoken =
        options.text.as_deref().map(|text| speech::speak(text, options.voice.as_deref())).transpose()?;
    let file = spoken.as_deref().or(file).context("there is nothing to speak")?;
    render(file, video, &options.look, options.force)
}

/// Renders a file of speech into `video`, and prints what has been written.
pub fn render(file: &Path, video: &Path, look: &Look, force: bool) -> Result<ExitCode> {
    let output = Output::of(video)?;
    plugin::load()?;
    for (element, package) in output.needs() {
        plugin::require(element, package)?;
    }
    let avatar = look.open_avatar()?;
    let stage = Stage::of(look, &avatar, output.has_alpha())?;
    let target = PartialOutput::begin(video, force)?;

    let mut reader = open(&line(output, &stage, look), file, look, &avatar, &stage)?;
    if output == Output::Pngs {
        std::fs::create_dir(target.temporary())
            .with_context(|| format!("{}: cannot be made", target.temporary().display()))?;
        reader.write_to(&target.temporary().join("%05d.png"), video)?;
    } else {
        reader.write_to(target.temporary(), video)?;
    }
    let painted = reader.element("painted")?.static_pad("src").context("the pipeline shows nothing")?;
    painted.set_offset(output.picture_delay().nseconds() as i64);
    let frames = Frames::of(&painted);
    reader.start();
    let bar = progress::time_bar("render");
    while !reader.has_ended()? {
        let length = reader.duration().map_or(0, gst::ClockTime::mseconds);
        bar.set_length(length);
        bar.set_position(frames.reached().mseconds());
    }
    bar.finish_and_clear();
    drop(reader);
    if frames.count() == 0 {
        bail!("{}: holds no sound. {REMEDY}", file.display());
    }
    target.finish()?;
    let (count, length) =
        (format::count(frames.count() as usize, "frame"), format::time(frames.reached().seconds_f64()));
    let (width, height) = stage.size();
    print_line!("{}: {length}, {count} of {width} x {height}", video.display());
    Ok(ExitCode::SUCCESS)
}

/// A pipeline that begins with [`SPEECH`] and has the stage's line in it, ready to read `file`.
pub fn open(line: &str, file: &Path, look: &Look, avatar: &Avatar, stage: &Stage) -> Result<Reader> {
    let mut reader = Reader::open(line, file, REMEDY)?;
    look.apply(avatar, &reader.element("face")?);
    stage.apply(&reader)?;
    reader.link(&[("audio", reader.element("convert")?)])?;
    Ok(reader)
}

fn line(output: Output, stage: &Stage, look: &Look) -> String {
    let video = format!(
        "{SPEECH} ! {} ! videoconvert name=painted ! video/x-raw,format={} ! {}",
        stage.line(&look.rate()),
        output.video_format(),
        output.video(),
    );
    match (output.muxer(), output.sound()) {
        (Some(muxer), Some(sound)) => {
            format!(
                "{video} ! queue ! film. {HEARD} ! {sound} ! queue ! film. {muxer} name=film ! filesink name=sink"
            )
        }
        _ => format!("{video} ! multifilesink name=sink {HEARD} ! fakesink"),
    }
}

/// Counts the frames that pass a pad.
struct Frames(Arc<(AtomicU64, AtomicU64)>);

impl Frames {
    fn of(pad: &gst::Pad) -> Self {
        let counts = Arc::new((AtomicU64::new(0), AtomicU64::new(0)));
        let counted = counts.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let Some(buffer) = info.buffer() {
                counted.0.fetch_add(1, Ordering::Relaxed);
                let end = buffer.pts().map(|pts| pts + buffer.duration().unwrap_or_default());
                counted.1.store(end.unwrap_or_default().nseconds(), Ordering::Relaxed);
            }
            gst::PadProbeReturn::Ok
        });
        Self(counts)
    }

    fn count(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    /// The end of the last frame.
    fn reached(&self) -> gst::ClockTime {
        gst::ClockTime::from_nseconds(self.0.1.load(Ordering::Relaxed))
    }
}
