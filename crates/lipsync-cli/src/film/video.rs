// SPDX-License-Identifier: MPL-2.0
//! Extracts frames at 25 a second and audio at 16 kHz from a video.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use lipsync_core::sync::lock;

use super::segment::Segment;
use super::thinning::Thinning;
use super::{RATE, sound};
use crate::media::Reader;

/// JPEG quality of the frames.
const QUALITY: i32 = 95;

pub const REMEDY: &str =
    "Give a video with picture and sound of a person who speaks, in a format that GStreamer can play";

// Phones record sideways with an orientation tag, hence videoflip; pixels must be square for the networks.
const PIPELINE: &str = "uridecodebin name=source \
    videoconvert name=picture ! videoflip video-direction=auto ! deinterlace ! videoscale ! videorate \
    ! videoconvert ! appsink name=frames sync=false max-buffers=4 \
    audioconvert name=convert ! audioresample ! audiorate ! audio/x-raw,format=S16LE,rate=16000,channels=1 \
    ! appsink name=sound sync=false";

/// How much of a film is read.
pub struct Wanted {
    pub segment: Segment,
    /// Frames to keep at most: of longer segments, pieces that are spread over them.
    pub most_frames: Option<usize>,
    /// The longest side of the frames: larger ones are scaled down.
    pub longest_side: Option<i32>,
}

/// The frames and audio of a segment.
pub struct Extracted {
    /// How many were written.
    pub frames: usize,
    /// Which of the segment's frames these are: one range, unless it was too long.
    pub pieces: Vec<Range<usize>>,
    pub size: (u32, u32),
    /// The audio of the frames that were written, from the first one on. It may end early.
    pub sound: Vec<i16>,
}

/// Writes the frames of a segment to `folder` as N.jpg, from 0. `progress` is told how many frames were read, and of how many
/// where that is known.
pub fn extract(
    video: &Path,
    wanted: &Wanted,
    folder: &Path,
    progress: &mut dyn FnMut(usize, Option<usize>),
) -> Result<Extracted> {
    let segment = wanted.segment;
    let mut reader = Reader::open(PIPELINE, video, REMEDY)?;
    reader.link(&[("video", reader.element("picture")?), ("audio", reader.element("convert")?)])?;
    let writer = Arc::new(Mutex::new(Writer {
        folder: folder.to_path_buf(),
        segment,
        thinning: Thinning::new(wanted.most_frames),
        frame_count: 0,
        size: (0, 0),
    }));
    collect_frames(&reader.sink("frames")?, wanted.longest_side, writer.clone());
    let collected = Arc::new(Mutex::new(Vec::new()));
    collect_sound(&reader.sink("sound")?, collected.clone());
    reader.start();
    while !reader.has_ended()? {
        let frame_count = lock(&writer).frame_count;
        let length = reader.duration().map(|duration| duration.mseconds() as usize * RATE / 1000);
        progress(frame_count, length.map(|length| segment.end.map_or(length, |end| end.min(length))));
        let enough = |end: usize| frame_count >= end && lock(&collected).len() >= sound::samples_of(end);
        if segment.end.is_some_and(enough) {
            break;
        }
    }
    let samples = std::mem::take(&mut *lock(&collected));
    let writer = lock(&writer);
    let frame_count = writer.frame_count;
    if frame_count == 0 || samples.is_empty() {
        return Err(reader.file_error(if frame_count == 0 { "holds no picture" } else { "holds no sound" }));
    }
    segment.check(frame_count, video)?;
    let frames = segment.end.unwrap_or(frame_count).min(frame_count) - segment.start;
    let samples = samples.get(sound::samples_of(segment.start)..).unwrap_or_default().to_vec();
    let pieces = writer.thinning.pieces(frames);
    Ok(Extracted {
        frames: pieces.iter().map(ExactSizeIterator::len).sum(),
        pieces,
        size: writer.size,
        sound: writer.thinning.close_gaps(frames, folder, samples)?,
    })
}

/// Writes each frame of a segment as a JPEG file.
struct Writer {
    folder: PathBuf,
    segment: Segment,
    thinning: Thinning,
    /// Frames of the video so far, including those before the segment.
    frame_count: usize,
    size: (u32, u32),
}

impl Writer {
    /// Takes a frame. Streams of a file may begin at different times: the first frame stands for what is before it.
    fn take(&mut self, sample: &gst::Sample) -> Result<()> {
        let time = running_time(sample).map(|time| (time * RATE as f64).round() as usize);
        let next = time.map_or(self.frame_count, |time| time.min(self.frame_count + MAX_GAP)) + 1;
        for frame in self.frame_count..next {
            self.write(sample, frame)?;
        }
        self.frame_count = self.frame_count.max(next);
        Ok(())
    }

    fn write(&mut self, sample: &gst::Sample, frame: usize) -> Result<()> {
        if !self.segment.contains(frame) {
            return Ok(());
        }
        let frame = frame - self.segment.start;
        if self.thinning.keeps(frame) {
            self.size = write_frame(sample, &self.folder.join(format!("{frame}.jpg")))?;
            self.thinning.thin(frame + 1, &self.folder)?;
        }
        Ok(())
    }
}

/// Frames that may be missing between two: what damaged files say is no reason to fill a disk.
const MAX_GAP: usize = 60 * RATE;

/// When a buffer is shown or heard, in seconds from the beginning of the film. Its timestamp alone does not tell: each stream has
/// its own segment.
fn running_time(sample: &gst::Sample) -> Option<f64> {
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let time = segment.to_running_time(sample.buffer()?.pts()?)?;
    Some(time.nseconds() as f64 / 1e9)
}

/// Collects samples, from the beginning of the film on.
fn collect_sound(sink: &gst_app::AppSink, collected: Arc<Mutex<Vec<i16>>>) {
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let buffer = sample.buffer().ok_or(gst::FlowError::Error)?;
        let bytes = buffer.map_readable().map_err(|_| gst::FlowError::Error)?;
        let mut collected = lock(&collected);
        if let Some(time) = running_time(&sample) {
            let missing = sound::samples_of(1) as f64 * RATE as f64 * time - collected.len() as f64;
            // Between buffers of a stream, timestamps are rounded.
            if missing >= sound::samples_of(1) as f64 / 4.0 && missing < sound::samples_of(MAX_GAP) as f64 {
                let length = collected.len() + missing.round() as usize;
                collected.resize(length, 0);
            }
        }
        collected.extend(sound::samples(&bytes));
        Ok(gst::FlowSuccess::Ok)
    });
    sink.set_callbacks(callbacks.build());
}

fn collect_frames(sink: &gst_app::AppSink, longest_side: Option<i32>, writer: Arc<Mutex<Writer>>) {
    let mut caps = gst_video::VideoCapsBuilder::new()
        .format(gst_video::VideoFormat::Rgb)
        .framerate(gst::Fraction::new(RATE as i32, 1))
        .pixel_aspect_ratio(gst::Fraction::new(1, 1));
    if let Some(side) = longest_side {
        caps = caps.width_range(16..=side).height_range(16..=side);
    }
    sink.set_caps(Some(&caps.build()));
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let taken = lock(&writer).take(&sample);
        taken.map(|()| gst::FlowSuccess::Ok).map_err(|error| {
            gst::element_error!(sink, gst::ResourceError::Write, ("{}", crate::message(&error)));
            gst::FlowError::Error
        })
    });
    sink.set_callbacks(callbacks.build());
}

/// Writes a frame as JPEG and returns its size.
fn write_frame(sample: &gst::Sample, path: &Path) -> Result<(u32, u32)> {
    let (buffer, caps) = sample.buffer().zip(sample.caps()).context("a frame without a picture")?;
    let info = gst_video::VideoInfo::from_caps(caps)?;
    let frame = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info)?;
    let image = turbojpeg::Image {
        pixels: frame.plane_data(0)?,
        width: info.width() as usize,
        pitch: info.stride()[0] as usize,
        height: info.height() as usize,
        format: turbojpeg::PixelFormat::RGB,
    };
    let jpeg = turbojpeg::compress(image, QUALITY, turbojpeg::Subsamp::Sub2x2)?;
    std::fs::write(path, &jpeg)
        .with_context(|| format!("{}: cannot be written. Make room", path.display()))?;
    Ok((info.width(), info.height()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use lipsync_core::picture::image_file;

    use super::*;

    /// Seconds between flashes, each with a beep.
    const EVERY: usize = 2;
    const SECONDS: usize = 7;
    /// What formats round times to, on both sides: half a frame, and the delay of encoders of sound that not all of them tell.
    const TOLERANCE: f64 = 0.045;

    /// Makes a film of flashes and beeps: what is done to the picture, how late picture and sound begin, and how they are encoded.
    fn film(
        folder: &Path,
        name: &str,
        rate: &str,
        picture: &str,
        late: &[&str; 2],
        output: &[&str],
    ) -> PathBuf {
        let file = folder.join(name);
        let flash = format!(
            "color=black:size=160x120:rate={rate}:duration={SECONDS},drawbox=enable='lt(mod(t,{EVERY}),0.2)':color=white:t=fill{picture}"
        );
        let beep = format!(
            "aevalsrc=0.7*sin(6283*t)*lt(mod(t\\,{EVERY})\\,0.2):sample_rate=48000:duration={SECONDS}"
        );
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-y", "-itsoffset", late[0], "-f", "lavfi", "-i", &flash]);
        command.args(["-itsoffset", late[1], "-f", "lavfi", "-i", &beep]).args(output).arg(&file);
        assert!(command.status().unwrap().success(), "{name}");
        file
    }

    fn read(file: &Path) -> (Extracted, Vec<f64>, Vec<f64>) {
        let folder = tempfile::tempdir().unwrap();
        let wanted =
            Wanted { segment: Segment::new(None, None).unwrap(), most_frames: None, longest_side: Some(320) };
        let extracted = extract(file, &wanted, folder.path(), &mut |_, _| {}).unwrap();
        let bright = |n: usize| {
            let picture = image_file::read(&folder.path().join(format!("{n}.jpg"))).unwrap().colours;
            picture.get_pixel(picture.width() / 2, picture.height() / 2).0[0] > 128
        };
        let bright: Vec<bool> = (0..extracted.frames).map(bright).collect();
        let flashes = onsets(&bright, RATE).into_iter().map(|frame| frame as f64 / RATE as f64).collect();
        let step = sound::samples_of(1) / 40;
        let loud: Vec<bool> = (extracted.sound.chunks(step))
            .map(|part| part.iter().any(|sample| sample.unsigned_abs() > 3000))
            .collect();
        let beeps = onsets(&loud, 40 * RATE).into_iter().map(|n| n as f64 / (40 * RATE) as f64).collect();
        (extracted, flashes, beeps)
    }

    /// Where something begins that was not there for a while.
    fn onsets(there: &[bool], for_a_while: usize) -> Vec<usize> {
        let is_new = |n: usize| !there[n.saturating_sub(for_a_while)..n].contains(&true);
        (1..there.len()).filter(|n| there[*n] && is_new(*n)).collect()
    }

    /// Checks that each beep is `late` seconds behind its flash, over the whole film.
    #[track_caller]
    fn assert_in_step(file: &Path, late: f64) -> Extracted {
        let (extracted, flashes, beeps) = read(file);
        // A flash at the very beginning has no onset where nothing is before it.
        let flashes: Vec<f64> = flashes.into_iter().filter(|time| *time > 1.0).collect();
        let beeps: Vec<f64> = beeps.into_iter().filter(|time| *time > 1.0).collect();
        assert!(flashes.len() >= 2 && flashes.len() == beeps.len(), "{flashes:?} {beeps:?}");
        for (flash, beep) in flashes.iter().zip(&beeps) {
            assert!((beep - flash - late).abs() < TOLERANCE, "{}: {flashes:?} {beeps:?}", file.display());
        }
        extracted
    }

    const IN_STEP: [&str; 2] = ["0", "0"];
    const H264: [&str; 4] = ["-c:v", "libx264", "-pix_fmt", "yuv420p"];

    #[test]
    fn sound_and_picture_stay_together_at_any_rate() {
        let folder = tempfile::tempdir().unwrap();
        for rate in ["24", "25", "30000/1001", "30", "50", "60"] {
            let file = film(folder.path(), "film.mp4", rate, "", &IN_STEP, &H264);
            let extracted = assert_in_step(&file, 0.0);
            assert!(extracted.frames.abs_diff(SECONDS * RATE) <= 2, "{rate}: {}", extracted.frames);
        }
    }

    #[test]
    fn sound_and_picture_stay_together_at_variable_rates() {
        let folder = tempfile::tempdir().unwrap();
        // Of 60 frames a second all, then every third, then some.
        let uneven =
            ",select='lt(t,2)+gte(t,2)*lt(t,4)*not(mod(n,3))+gte(t,4)*(not(mod(n,7))+not(mod(n,4)))'";
        let vfr = [&H264[..], &["-fps_mode", "vfr"]].concat();
        for name in ["film.mp4", "film.mkv"] {
            let extracted = assert_in_step(&film(folder.path(), name, "60", uneven, &IN_STEP, &vfr), 0.0);
            assert!(extracted.frames.abs_diff(SECONDS * RATE) <= 4, "{}", extracted.frames);
        }
    }

    #[test]
    fn streams_that_begin_at_different_times_stay_where_they_are() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["film.mp4", "film.mkv", "film.ts"] {
            let late = film(folder.path(), name, "30", "", &["0", "0.3"], &H264);
            assert_in_step(&late, 0.3);
            // The picture begins later: what is there before it is its first frame.
            let early = film(folder.path(), name, "30", "", &["0.4", "0"], &H264);
            assert_in_step(&early, -0.4);
        }
    }

    #[test]
    fn the_formats_of_phones_and_the_web_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let formats: [(&str, &[&str]); 5] = [
            (
                "hevc.mp4",
                &[
                    "-c:v",
                    "libx265",
                    "-x265-params",
                    "log-level=none",
                    "-tag:v",
                    "hvc1",
                    "-ac",
                    "2",
                    "-ar",
                    "44100",
                ],
            ),
            (
                "vp9.webm",
                &["-c:v", "libvpx-vp9", "-cpu-used", "8", "-deadline", "realtime", "-c:a", "libopus"],
            ),
            ("av1.mkv", &["-c:v", "libsvtav1", "-preset", "12", "-c:a", "libvorbis"]),
            ("mpeg4.avi", &["-c:v", "mpeg4", "-c:a", "mp3", "-ar", "22050", "-ac", "1"]),
            ("prores.mov", &["-c:v", "prores", "-c:a", "pcm_s16le"]),
        ];
        for (name, output) in formats {
            assert_in_step(&film(folder.path(), name, "30", "", &IN_STEP, output), 0.0);
        }
    }

    #[test]
    fn portraits_stand_upright_and_large_frames_are_scaled_down() {
        let folder = tempfile::tempdir().unwrap();
        let film = |name: &str, picture: &str| film(folder.path(), name, "25", picture, &IN_STEP, &H264);
        assert_eq!(read(&film("upright.mp4", ",scale=120:160,setsar=1")).0.size, (120, 160));
        // As phones do: lying, with a note that it is to be turned.
        let lying = film("lying.mp4", "");
        let turned = folder.path().join("turned.mp4");
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-y", "-i"]).arg(&lying).args(["-metadata:s:v", "rotate=90"]);
        assert!(command.args(["-c", "copy"]).arg(&turned).status().unwrap().success());
        assert_eq!(read(&turned).0.size, (120, 160));
        assert_eq!(read(&film("large.mp4", ",scale=480:640,setsar=1")).0.size, (240, 320));
    }
}
