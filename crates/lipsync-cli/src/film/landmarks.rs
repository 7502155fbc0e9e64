// SPDX-License-Identifier: MPL-2.0
//! Runs the Python script that finds the landmarks of every frame, and parses its output.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::environment::{Environment, ISOLATED};
use super::script::{Heard, Script};
use crate::interrupt;

/// Run as one program: it has no folder to import from.
const SCRIPTS: [&str; 2] = [include_str!("faces.py"), include_str!("landmarks.py")];

/// The script's report about a frame; reports come in the order of the frames. What it measures is described there.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Report {
    pub faces: usize,
    pub picture: String,
    pub left: Option<i64>,
    pub right: Option<i64>,
    pub top: Option<i64>,
    pub yaw: f32,
    pub opening: f32,
    pub sharpness: f32,
    pub mouth: String,
}

/// What a frame shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Face {
    /// One whole face; the side of its square in pixels.
    Whole(i64),
    None,
    Several,
    /// Its square leaves the picture.
    Outside,
}

/// What there is to be looked at.
pub struct Frames<'a> {
    /// The folder with N.jpg.
    pub pictures: &'a Path,
    /// The folder for the landmark files.
    pub landmarks: &'a Path,
    /// Frames from this one to before the other one.
    pub first: usize,
    pub count: usize,
}

/// Writes the landmark files of frames, and hands on the report about each.
pub fn find(
    frames: &Frames,
    (environment, given): (&Environment, Option<&Path>),
    report: &mut dyn FnMut(Report) -> Result<()>,
) -> Result<()> {
    let python = environment.interpreter(given)?;
    let mut script = Script::start(
        Command::new(&python)
            .args([ISOLATED, "-c", &SCRIPTS.concat()])
            .args([frames.pictures, frames.landmarks])
            .args([frames.first.to_string(), frames.count.to_string()])
            // The libraries log a lot.
            .env("GLOG_minloglevel", "2")
            .env("TF_CPP_MIN_LOG_LEVEL", "2"),
        environment.option,
    )?;
    let mut told = frames.first;
    loop {
        interrupt::check()?;
        match script.hear() {
            // Skip other lines: libraries may print some of their own.
            Heard::Line(line) => {
                if let Ok(one) = serde_json::from_str(&line) {
                    report(one)?;
                    told += 1;
                }
            }
            Heard::Nothing => {}
            Heard::End => break,
        }
    }
    let status = script.wait()?;
    interrupt::check()?;
    if !status.success() || told != frames.count {
        bail!(
            "{}: the landmark script failed after {told} of {} frames: {}. It needs ai-edge-litert, OpenCV, and the \
             files of mediapipe 0.10.21, installed for this interpreter itself: those of the user alone are left out",
            python.display(),
            frames.count,
            script.last_words()
        );
    }
    Ok(())
}

impl Report {
    /// What it says of the face in a frame of that size.
    pub fn face(&self, (width, height): (u32, u32)) -> Face {
        match (self.faces, self.left, self.right, self.top) {
            (1, Some(left), Some(right), Some(top)) => {
                let side = right - left;
                let inside = left >= 0
                    && top >= 0
                    && side > 0
                    && right <= i64::from(width)
                    && top + side <= i64::from(height);
                if inside { Face::Whole(side) } else { Face::Outside }
            }
            (0 | 1, ..) => Face::None,
            _ => Face::Several,
        }
    }
}
