//! `new`: a data set for SyncTalk_2D from a video.

mod landmarks;
mod python;
mod video;

use std::process::ExitCode;

use anyhow::Result;

use crate::cli::New;
use crate::partial::Partial;

/// Faces narrower than this are blown up by the network, which shows.
const SHARP: i64 = 160;

/// Takes the video apart, finds the faces and says what remains.
pub fn run(options: &New) -> Result<ExitCode> {
    let set = Partial::begin(&options.into, &options.name)?;
    let frames = set.subfolder("full_body_img")?;
    let taken = video::take_apart(&options.video, &frames, &set.folder().join("aud.wav"))?;
    let landmarks = set.subfolder("landmarks")?;
    let faces = landmarks::find(&frames, &landmarks, taken.frames, taken.size, options.python.as_deref())?;
    faces.check()?;
    let folder = set.finish()?;
    let (smallest, largest) = faces.sides();
    let (width, height) = taken.size;
    say!("{}", folder.display());
    say!("  {} frames of {width} x {height} at {} a second, aud.wav", taken.frames, video::RATE);
    say!("  one face in each, {smallest} to {largest} pixels wide");
    if smallest < SHARP {
        say!(
            "  note: a face narrower than {SHARP} pixels gives a soft mouth. Film closer, or in more pixels"
        );
    }
    say!("{}", remaining(&folder.display().to_string(), &options.name));
    Ok(ExitCode::SUCCESS)
}

fn remaining(folder: &str, name: &str) -> String {
    format!(
        "
What remains is the training. In an hour on two cores, with the kit in lipsync's own sources (training/README.md):
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
