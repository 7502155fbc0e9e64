// SPDX-License-Identifier: MPL-2.0
//! `render`: a video file of an avatar that speaks.

pub mod join;
mod look;
pub mod output;
mod stage;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use gst::prelude::*;
use lipsync_core::avatar::Avatar;

use crate::cli::{Look, Render};
use crate::media::{InputError, Reader};
use crate::partial::PartialOutput;
use crate::{format, plugin, progress, speech};
use output::Output;
pub use stage::Stage;

pub const REMEDY: &str = "Give a file with speech, in a format that GStreamer can play";

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
    render(file, video, &options.look, options.frames, options.force)
}

/// Renders a file of speech into `video`, or only those frames, without sound, and prints what has been written.
pub fn render(
    file: &Path,
    video: &Path,
    look: &Look,
    part: Option<(u64, u64)>,
    force: bool,
) -> Result<ExitCode> {
    let bar = progress::time_bar("render");
    let written = write(file, video, look, part, force, &mut progress::shown_by(&bar))?;
    bar.finish_and_clear();
    let length = format::time(written.length.seconds_f64());
    let count = format::count(written.frames as usize, "frame");
    let (width, height) = written.size;
    print_line!("{}: {length}, {count} of {width} x {height}", video.display());
    Ok(ExitCode::SUCCESS)
}

/// What has been written.
pub struct Written {
    pub frames: u64,
    pub length: gst::ClockTime,
    /// Width and height in pixels.
    pub size: (u32, u32),
}

/// Called while a video is written: with the end of the last frame, and that of the video as far as it is known.
pub type Report<'a> = dyn FnMut(gst::ClockTime, gst::ClockTime) + 'a;

/// Renders a file of speech into `video`, or only those frames, without sound.
///
/// # Errors
/// [`InputError`] where the speech is to blame.
pub fn write(
    file: &Path,
    video: &Path,
    look: &Look,
    part: Option<(u64, u64)>,
    force: bool,
    report: &mut Report,
) -> Result<Written> {
    let output = Output::of(video)?;
    plugin::load()?;
    output.require()?;
    let avatar = look.open_avatar()?;
    let stage = Stage::of(look, &avatar, output.has_alpha())?;
    let target = PartialOutput::begin(video, force)?;

    let mut reader = open(&line(output, &stage, look, part.is_some()), file, look, &avatar, &stage)?;
    if output == Output::Pngs {
        std::fs::create_dir(target.temporary())
            .with_context(|| format!("{}: cannot be made", target.temporary().display()))?;
        // The whole path is a format of printf.
        let folder = target.temporary().to_string_lossy().replace('%', "%%");
        reader.write_to(&Path::new(&folder).join("%05d.png"), video)?;
        reader.element("sink")?.set_property("index", part.map_or(0, |(first, _)| first as i32));
    } else {
        write_into(&target, output, &mut reader, video)?;
    }
    let painted = reader.element("painted")?.static_pad("src").context("the pipeline shows nothing")?;
    painted.set_offset(output.picture_delay().nseconds() as i64);
    let (mut begins, mut ends) = (gst::ClockTime::ZERO, gst::ClockTime::MAX);
    if let Some((first, last)) = part {
        let rate = look.frame_rate(&avatar);
        let face = reader.element("face")?;
        face.set_property("first-frame", first);
        face.set_property("last-frame", last);
        begins = gst::ClockTime::from_nseconds(rate.time_of(first));
        ends = gst::ClockTime::from_nseconds(rate.time_of(last.saturating_add(1)));
        // A part begins at 0, and its sound is added when it is joined.
        painted.set_offset(-(begins.nseconds() as i64));
    }
    let frames = Frames::of(&painted);
    reader.start();
    while !reader.has_ended()? {
        let end = reader.duration().map_or(begins, |whole| whole.min(ends));
        report(frames.reached().saturating_sub(begins), end.saturating_sub(begins));
    }
    if let (0, Some((first, _))) = (frames.count(), part) {
        let problem = format!("has no frame {first}: it is shorter");
        return Err(InputError::of(file, &problem, "Leave the part out").into());
    }
    if frames.count() == 0 {
        return Err(reader.file_error("holds no sound"));
    }
    drop(reader);
    target.finish()?;
    let length = frames.reached().saturating_sub(begins);
    Ok(Written { frames: frames.count(), length, size: stage.size() })
}

/// Has the muxer write a film. MP4 begins with an index, so that the rest waits in another file, for which there need not be room
/// where temporary files usually go.
fn write_into(target: &PartialOutput, output: Output, reader: &mut Reader, video: &Path) -> Result<()> {
    if output == Output::Mp4 {
        reader.element("film")?.set_property("faststart-file", target.scratch());
    }
    reader.write_to(target.temporary(), video)
}

/// A pipeline that begins with [`SPEECH`] and has the stage's line in it, ready to read `file`.
pub fn open(line: &str, file: &Path, look: &Look, avatar: &Avatar, stage: &Stage) -> Result<Reader> {
    let mut reader = Reader::open(line, file, REMEDY)?;
    look.apply(avatar, &reader.element("face")?);
    stage.apply(&reader)?;
    reader.link(&[("audio", reader.element("convert")?)])?;
    Ok(reader)
}

fn line(output: Output, stage: &Stage, look: &Look, is_part: bool) -> String {
    let video = format!(
        "{SPEECH} ! {} ! videoconvert name=painted ! video/x-raw,format={} ! {}",
        stage.line(&look.rate()),
        output.video_format(),
        output.video(),
    );
    match (output.muxer(), output.sound()) {
        (Some(muxer), Some(_)) if is_part => {
            format!("{video} ! {muxer} name=film ! filesink name=sink")
        }
        (None, _) if is_part => format!("{video} ! multifilesink name=sink"),
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
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let Some(buffer) = info.buffer() {
                counted.0.fetch_add(1, Ordering::Relaxed);
                let end = buffer.pts().map(|pts| pts + buffer.duration().unwrap_or_default());
                let segment = pad.sticky_event::<gst::event::Segment>(0);
                let running = segment.and_then(|event| {
                    event.segment().downcast_ref::<gst::ClockTime>()?.to_running_time(end?)
                });
                // Encoded frames that others are predicted from come before those.
                counted.1.fetch_max(running.unwrap_or_default().nseconds(), Ordering::Relaxed);
            }
            gst::PadProbeReturn::Ok
        });
        Self(counts)
    }

    fn count(&self) -> u64 {
        self.0.0.load(Ordering::Relaxed)
    }

    /// The end of the last frame, in running time.
    fn reached(&self) -> gst::ClockTime {
        gst::ClockTime::from_nseconds(self.0.1.load(Ordering::Relaxed))
    }
}
