//! An avatar's networks tried out: opened, and run once on a black face and on silence.
//!
//! A stranger's network may end the program that runs it, by a mistake in ONNX Runtime, or never come to an end. So what is
//! done is told step by step, in words that can be sent: `lipsync-avatar` does it in a process of its own.

use std::path::PathBuf;

use crate::audio::resample::SAMPLE_RATE;
use crate::avatar::{Avatar, Problems};
use crate::error::{Error, lossy};
use crate::features::{self, Hearing};
use crate::generator::Generator;
use crate::generator::face::Framing;
use crate::inference::precision::int8_file;
use crate::inference::runtime::Engine;
use crate::rate::FrameRate;

/// What is told of a trial.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
pub enum Step {
    /// This file is loaded now.
    Loads(#[serde(with = "lossy")] PathBuf),
    /// It runs now.
    Runs(#[serde(with = "lossy")] PathBuf),
    /// Something is wrong.
    Wrong(Error),
    /// What the generator hears, and how it sees.
    Paints(Hearing, Framing),
    /// All is told.
    Done,
}

/// Tries out the networks of an avatar that were not complained of.
pub fn run(avatar: &Avatar, problems: &Problems, engine: &Engine, tell: &mut dyn FnMut(Step)) {
    let is_named = problems.names(&avatar.generator) || problems.names(&int8_file(&avatar.generator));
    if !is_named && let Err(problem) = try_networks(avatar, problems, engine, tell) {
        tell(Step::Wrong(problem));
    }
    tell(Step::Done);
}

fn try_networks(
    avatar: &Avatar,
    problems: &Problems,
    engine: &Engine,
    tell: &mut dyn FnMut(Step),
) -> Result<(), Error> {
    let path = &avatar.generator;
    tell(Step::Loads(path.clone()));
    let mut generator = Generator::open(path, avatar.face, engine, 1)?;
    tell(Step::Runs(path.clone()));
    if let Err(problem) = generator.try_out() {
        tell(Step::Wrong(problem));
    }
    let hearing = generator.hearing().chosen(avatar.context, path)?;
    tell(Step::Paints(hearing, generator.framing()));
    let encoder = avatar.audio_encoder.as_ref();
    if encoder.is_some_and(|encoder| problems.names(encoder)) {
        return Ok(());
    }
    let encoder = encoder.unwrap_or(path);
    tell(Step::Loads(encoder.clone()));
    let mut track = avatar.open_features(hearing, features::NO_LIMIT, engine)?;
    tell(Step::Runs(encoder.clone()));
    // A second of silence.
    track.restart(FrameRate::NATIVE);
    track.push(&vec![0.0; SAMPLE_RATE as usize]);
    track.finish();
    track.context(0).map(drop)
}
