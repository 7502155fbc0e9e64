// SPDX-License-Identifier: MPL-2.0
//! A trial run of an avatar's networks: opened, and run once on a black face and silence.
//!
//! An untrusted network may crash the process through a bug in ONNX Runtime, or never end. So progress is
//! reported as events that can be serialized: `lipsync` makes the trial run in a process of its own.

use std::path::PathBuf;

use crate::audio::resample::SAMPLE_RATE;
use crate::avatar::{Avatar, Problems};
use crate::error::{Error, lossy};
use crate::features::{self, AudioContextKind};
use crate::generator::Generator;
use crate::generator::face::Framing;
use crate::inference::precision::int8_file;
use crate::inference::runtime::Engine;
use crate::rate::FrameRate;

/// An event of a trial run.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize)]
pub enum TrialEvent {
    /// This file is being loaded.
    Loading(#[serde(with = "lossy")] PathBuf),
    /// It is being run.
    Running(#[serde(with = "lossy")] PathBuf),
    /// A problem was found.
    Problem(Error),
    /// The generator's kind of audio context, and its framing.
    Generator(AudioContextKind, Framing),
    /// The trial run is complete.
    Finished,
}

/// Tries out the networks of an avatar that have no problem yet.
pub fn run(avatar: &Avatar, problems: &Problems, engine: &Engine, report: &mut dyn FnMut(TrialEvent)) {
    let is_named = problems.names(&avatar.generator) || problems.names(&int8_file(&avatar.generator));
    if !is_named && let Err(problem) = try_networks(avatar, problems, engine, report) {
        report(TrialEvent::Problem(problem));
    }
    report(TrialEvent::Finished);
}

fn try_networks(
    avatar: &Avatar,
    problems: &Problems,
    engine: &Engine,
    report: &mut dyn FnMut(TrialEvent),
) -> Result<(), Error> {
    let path = &avatar.generator;
    report(TrialEvent::Loading(path.clone()));
    let mut generator = Generator::open(path, avatar.face, engine, 1)?;
    report(TrialEvent::Running(path.clone()));
    if let Err(problem) = generator.try_out() {
        report(TrialEvent::Problem(problem));
    }
    let context_kind = generator.context_kind().with_rows(avatar.context, path)?;
    report(TrialEvent::Generator(context_kind, generator.framing()));
    let encoder = avatar.audio_encoder.as_ref();
    if encoder.is_some_and(|encoder| problems.names(encoder)) {
        return Ok(());
    }
    let encoder = encoder.unwrap_or(path);
    report(TrialEvent::Loading(encoder.clone()));
    let mut track = avatar.open_features(context_kind, features::NO_LIMIT, engine)?;
    report(TrialEvent::Running(encoder.clone()));
    // A second of silence.
    track.restart(FrameRate::NATIVE);
    track.push(&vec![0.0; SAMPLE_RATE as usize]);
    track.finish();
    track.context(0).map(drop)
}
