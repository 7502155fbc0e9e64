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
    println!("{}", folder.display());
    println!("  {} frames of {width} x {height} at {} a second, aud.wav", taken.frames, video::RATE);
    println!("  one face in each, {smallest} to {largest} pixels wide");
    if smallest < SHARP {
        println!(
            "  note: a face narrower than {SHARP} pixels gives a soft mouth. Film closer, or in more pixels"
        );
    }
    println!("{}", remaining(&folder.display().to_string(), &options.name));
    Ok(ExitCode::SUCCESS)
}

fn remaining(folder: &str, name: &str) -> String {
    format!(
        "
What remains is the training, with SyncTalk_2D's own scripts (github.com/ZiqiaoPeng/SyncTalk_2D) and a GPU:
  1. In its folder: make the audio features of {folder}/aud.wav (aud_ave.npy, for asr=ave), then run syncnet_328.py and
     train_328.py on the data set. Its process.py would find frames and landmarks again: they are there.
  2. Export both networks to ONNX:
       {folder}/models/generator.onnx       the trained generator
       {folder}/models/audio_encoder.onnx   the audio encoder (its checkpoint comes with SyncTalk_2D)
  3. lipsync-avatar check {folder} --sheet {name}.png
     lipsync-avatar import {folder} {name}
     then play it: lipsync avatar={name}"
    )
}
