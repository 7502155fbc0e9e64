//! `new`: a data set for SyncTalk_2D from a video.

mod landmarks;
mod part;
mod python;
mod sound;
mod stretch;
mod video;

use std::ops::Range;
use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::cli::New;
use crate::partial::Partial;
use crate::words;
use part::{Part, RATE};
use stretch::{Verdict, time};
use video::Taken;

/// Faces narrower than this are blown up by the network, which shows.
const SHARP: i64 = 160;

/// Frames without which a data set is refused, ...
const LEAST: usize = RATE;
/// ... below which the kit refuses to train (training/footage.py), and which a good mouth needs.
const TRAINABLE: usize = 10 * RATE;
const GOOD: usize = 180 * RATE;

/// Takes the video apart, finds the faces, keeps what can be trained with and says what remains.
pub fn run(options: &New) -> Result<ExitCode> {
    let part = Part::of(options)?;
    let set = Partial::begin(&options.into, &options.name)?;
    let frames = set.subfolder("full_body_img")?;
    let taken = video::take_apart(&options.video, part, &frames)?;
    let name = options.video.display();
    if sound::is_silent(&taken.sound) {
        bail!("{name}: its sound is silence. Film with a microphone that is on");
    }
    // Before the long search for faces.
    too_short(taken.frames).iter().for_each(|note| complain!("note: {note}"));
    let heard = sound::heard(&taken.sound, taken.frames);

    let landmarks = set.subfolder("landmarks")?;
    let verdicts = landmarks::find(&frames, &landmarks, heard, taken.size, options.python.as_deref())?;
    let kept = stretch::longest(&verdicts);
    let reasons = reasons(&verdicts, part.start, &taken);
    if kept.len() < LEAST {
        bail!(
            "{name}: nothing is left to train with; at least a second is needed, and its longest good stretch has {}: {}. \
             Film one whole face, from beginning to end",
            words::count(kept.len(), "frame"),
            if reasons.is_empty() { "it is no longer".into() } else { reasons.join("; ") },
        );
    }
    stretch::keep(&frames, "jpg", &kept, taken.frames)?;
    stretch::keep(&landmarks, "lms", &kept, heard)?;
    sound::write(&set.folder().join("aud.wav"), &taken.sound, &kept)?;
    let folder = set.finish()?;

    let (width, height) = taken.size;
    say!("{}", folder.display());
    say!("  {} frames of {width} x {height} at {RATE} a second ({}), aud.wav", kept.len(), time(kept.len()));
    let (smallest, largest) = stretch::sides(&verdicts[kept.clone()]);
    say!("  one face in each, {smallest} to {largest} pixels wide");
    if kept.len() < taken.frames {
        tell_left_out(&kept, part.start, taken.frames, &reasons);
    }
    if smallest < SHARP {
        say!(
            "  note: a face narrower than {SHARP} pixels gives a soft mouth. Film closer, or in more pixels"
        );
    }
    let late = too_short(kept.len()).filter(|_| kept.len() < taken.frames);
    late.iter().for_each(|note| say!("  note: {note}"));
    say!("{}", remaining(&std::path::absolute(folder)?.display().to_string(), &options.name));
    Ok(ExitCode::SUCCESS)
}

/// Why not all of the frames can be kept.
fn reasons(verdicts: &[Verdict], start: usize, taken: &Taken) -> Vec<String> {
    let mut reasons = stretch::reasons(verdicts, start);
    if verdicts.len() < taken.frames {
        reasons.push(format!("the sound ends at {}", time(start + verdicts.len())));
    }
    reasons
}

fn tell_left_out(kept: &Range<usize>, start: usize, frames: usize, reasons: &[String]) {
    say!(
        "  kept: {} to {} of {} to {}, the longest stretch that can be trained with",
        time(start + kept.start),
        time(start + kept.end),
        time(start),
        time(start + frames)
    );
    reasons.iter().for_each(|reason| say!("        {reason}"));
    say!("        for another stretch: --from and --to");
}

/// What to expect of so few frames.
fn too_short(frames: usize) -> Option<String> {
    let length = time(frames);
    if frames < TRAINABLE {
        Some(format!(
            "{length} is hardly anything to learn from: the kit refuses to train with less than 10 seconds. \
             Film three to five minutes of speech"
        ))
    } else if frames < GOOD {
        Some(format!(
            "{length} is little to learn from: expect a soft mouth that errs in sounds it has not seen. \
             Three to five minutes of speech are recommended"
        ))
    } else {
        None
    }
}

fn remaining(folder: &str, name: &str) -> String {
    format!(
        "
What remains is the training. See first whether the landmarks fit: lipsync-avatar check {folder} --sheet {name}.png
In an hour on two cores, with the kit in lipsync's own sources (training/README.md; PyTorch is 3.2 GB to download):
  make -C training footage FOOTAGE={folder} AVATAR=(where to)
Or, some hours with SyncTalk_2D (github.com/ZiqiaoPeng/SyncTalk_2D) on a GPU:
  1. Move {folder} to its folder dataset/ and do what its training_328.sh does, but for frames and landmarks, which are
     there: the audio features of aud.wav (the last step of its process.py), syncnet_328.py, train_328.py.
  2. Export both networks to dataset/{name}/models/: scripts/export_synctalk2d.py --name {name} (it comes with lipsync)
  3. lipsync-avatar check dataset/{name} --sheet {name}.png
     lipsync-avatar import dataset/{name} {name}
     and speak: lipsync avatar={name}"
    )
}
