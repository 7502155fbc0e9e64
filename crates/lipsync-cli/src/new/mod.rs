// SPDX-License-Identifier: MPL-2.0
//! `new`: makes a data set for SyncTalk_2D from a video.

mod frame_range;

use std::ops::Range;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::cli::New;
use crate::film::environment::faces;
use crate::film::landmarks::{Face, Frames};
use crate::film::segment::Segment;
use crate::film::video::{Extracted, Wanted};
use crate::film::{
    MIN_SHARP_FACE, MIN_TRAINABLE_FRAMES, RATE, RECOMMENDED_FRAMES, landmarks, sound, time, video,
};
use crate::format::shell_word;
use crate::partial::Partial;
use crate::{format, progress};

/// The least number of frames for a data set.
const MIN_FRAMES: usize = RATE;

/// Extracts frames and audio, finds the faces, keeps the longest usable range and prints what to do next.
pub fn run(options: &New) -> Result<ExitCode> {
    let segment = Segment::new(options.from, options.to)?;
    let set = Partial::begin(&options.into, &options.name)?;
    let frames = set.subfolder("full_body_img")?;
    let bar = progress::bar(0, "frames");
    let wanted = Wanted { segment, most_frames: None, longest_side: None };
    let extracted = video::extract(&options.video, &wanted, &frames, &mut |done, length| {
        length.iter().for_each(|length| bar.set_length(*length as u64));
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    let name = options.video.display();
    if sound::is_silent(&extracted.sound) {
        bail!("{name}: its sound is silence. Film with a microphone that is on");
    }
    // Before the landmarks, which take long.
    too_short(extracted.frames).iter().for_each(|note| print_error!("note: {note}"));
    let frames_with_sound = sound::frames_with_sound(&extracted.sound, extracted.frames);

    let landmarks = set.subfolder("landmarks")?;
    let bar = progress::bar(frames_with_sound, "faces");
    let mut verdicts = Vec::with_capacity(frames_with_sound);
    let all = Frames { pictures: &frames, landmarks: &landmarks, first: 0, count: frames_with_sound };
    landmarks::find(&all, (&faces("--python"), options.python.as_deref()), &mut |report| {
        verdicts.push(report.face(extracted.size));
        bar.inc(1);
        Ok(())
    })?;
    bar.finish_and_clear();
    let kept = frame_range::longest(&verdicts);
    let reasons = reasons(&verdicts, segment.start, &extracted);
    if kept.len() < MIN_FRAMES {
        bail!(
            "{name}: nothing is left to train with; at least a second is needed, and its longest good stretch has {}: {}. \
             Film one whole face, from beginning to end",
            format::count(kept.len(), "frame"),
            if reasons.is_empty() { "it is no longer".into() } else { reasons.join("; ") },
        );
    }
    frame_range::keep(&frames, "jpg", &kept, extracted.frames)?;
    frame_range::keep(&landmarks, "lms", &kept, frames_with_sound)?;
    sound::write(&set.folder().join("aud.wav"), &extracted.sound, &kept)?;
    let folder = set.finish()?;

    let (width, height) = extracted.size;
    print_line!("{}", folder.display());
    print_line!(
        "  {} frames of {width} x {height} at {RATE} a second ({}), aud.wav",
        kept.len(),
        time(kept.len())
    );
    let (smallest, largest) = frame_range::sides(&verdicts[kept.clone()]);
    print_line!("  one face in each, {smallest} to {largest} pixels wide");
    if kept.len() < extracted.frames {
        print_left_out(&kept, segment.start, extracted.frames, &reasons);
    }
    if smallest < MIN_SHARP_FACE {
        print_line!(
            "  note: a face narrower than {MIN_SHARP_FACE} pixels gives a soft mouth. Film closer, or in more pixels"
        );
    }
    let late = too_short(kept.len()).filter(|_| kept.len() < extracted.frames);
    late.iter().for_each(|note| print_line!("  note: {note}"));
    print_line!("{}", remaining(&std::path::absolute(folder)?.display().to_string(), &options.name));
    Ok(ExitCode::SUCCESS)
}

/// Why not all frames are kept.
fn reasons(verdicts: &[Face], start: usize, extracted: &Extracted) -> Vec<String> {
    let mut reasons = frame_range::reasons(verdicts, start);
    if verdicts.len() < extracted.frames {
        reasons.push(format!("the sound ends at {}", time(start + verdicts.len())));
    }
    reasons
}

fn print_left_out(kept: &Range<usize>, start: usize, frames: usize, reasons: &[String]) {
    print_line!(
        "  kept: {} to {} of {} to {}, the longest stretch that can be trained with",
        time(start + kept.start),
        time(start + kept.end),
        time(start),
        time(start + frames)
    );
    reasons.iter().for_each(|reason| print_line!("        {reason}"));
    print_line!("        for another stretch: --from and --to");
}

/// What to expect from so few frames.
fn too_short(frames: usize) -> Option<String> {
    let length = time(frames);
    if frames < MIN_TRAINABLE_FRAMES {
        Some(format!(
            "{length} is hardly anything to learn from: the kit refuses to train with less than 10 seconds. \
             Film three to five minutes of speech"
        ))
    } else if frames < RECOMMENDED_FRAMES {
        Some(format!(
            "{length} is little to learn from: expect a soft mouth that errs in sounds it has not seen. \
             Three to five minutes of speech are recommended"
        ))
    } else {
        None
    }
}

fn remaining(folder: &str, name: &str) -> String {
    let sheet = format!("{name}.png");
    let [folder, name, sheet] = [folder, name, &sheet].map(shell_word);
    format!(
        "
What remains is the training. See first whether the landmarks fit: lipsync check {folder} --sheet {sheet}
In less than an hour on two cores (PyTorch is 3.2 GB to download, once):
  lipsync train {folder} {name}
Or, some hours with SyncTalk_2D (github.com/ZiqiaoPeng/SyncTalk_2D) on a GPU:
  1. Move {folder} to its folder dataset/ and do what its training_328.sh does, but for frames and landmarks, which are
     there: the audio features of aud.wav (the last step of its process.py), syncnet_328.py, train_328.py.
  2. Export both networks to dataset/{name}/models/: scripts/export_synctalk2d.py --name {name} (of lipsync's repository)
  3. lipsync check dataset/{name} --sheet {sheet}
     lipsync import dataset/{name} {name}
     lipsync say \"Good morning.\" --avatar {name}"
    )
}
