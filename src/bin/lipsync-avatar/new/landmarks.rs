//! The landmarks of every frame: the Python script, run and understood.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::python;
use crate::{interrupt, progress, words};

const SCRIPT: &str = include_str!("landmarks.py");

const CUT: &str = "Cut the video so that one whole face is seen from the first frame to the last";

/// What the script says of a frame.
#[derive(Deserialize)]
struct Report {
    frame: usize,
    faces: usize,
    left: Option<i64>,
    right: Option<i64>,
    top: Option<i64>,
}

/// Faces found, by what is to be said of them.
#[derive(Default)]
pub struct Faces {
    without: Vec<usize>,
    several: Vec<usize>,
    outside: Vec<usize>,
    sides: Vec<i64>,
}

/// Ends the script where nobody listens to it any more.
struct Script(Child);

impl Drop for Script {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes the landmark files of `count` frames of that size.
pub fn find(
    frames: &Path,
    landmarks: &Path,
    count: usize,
    size: (u32, u32),
    given: Option<&Path>,
) -> Result<Faces> {
    let python = python::interpreter(given)?;
    let mut child = Command::new(&python)
        .args(["-c", SCRIPT])
        .args([frames, landmarks])
        .arg(count.to_string())
        // The models' libraries are talkative.
        .env("GLOG_minloglevel", "2")
        .env("TF_CPP_MIN_LOG_LEVEL", "2")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| {
            format!("{}: cannot be started. Give a Python interpreter with --python", python.display())
        })?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let mut script = Script(child);
    let complaints = std::thread::spawn(move || {
        let mut text = Vec::new();
        // What cannot be read is not there to be shown.
        let _ = stderr.map(|mut stderr| stderr.read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    });
    let bar = progress::bar(count, "faces");
    let mut faces = Faces::default();
    let mut told = 0;
    for line in BufReader::new(stdout.context("the script has no output")?).lines() {
        interrupt::check()?;
        // Libraries may print something of their own.
        if let Ok(report) = serde_json::from_str::<Report>(&line?) {
            faces.add(&report, size);
            told += 1;
            bar.inc(1);
        }
    }
    bar.finish_and_clear();
    let status = script.0.wait()?;
    interrupt::check()?;
    if !status.success() || told != count {
        let complaints = complaints.join().unwrap_or_default();
        let last: Vec<&str> = complaints.lines().rev().take(3).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        bail!(
            "{}: the landmark script failed after {told} of {count} frames: {}. It needs mediapipe 0.10.21 and OpenCV",
            python.display(),
            last.join(" | ")
        );
    }
    Ok(faces)
}

impl Faces {
    fn add(&mut self, report: &Report, (width, height): (u32, u32)) {
        match (report.faces, report.left, report.right, report.top) {
            (1, Some(left), Some(right), Some(top)) => {
                let side = right - left;
                let inside = left >= 0
                    && top >= 0
                    && side > 0
                    && right <= i64::from(width)
                    && top + side <= i64::from(height);
                if !inside {
                    self.outside.push(report.frame);
                }
                self.sides.push(side);
            }
            (0 | 1, ..) => self.without.push(report.frame),
            _ => self.several.push(report.frame),
        }
    }

    /// Fails where a frame cannot be trained with, naming all such frames.
    pub fn check(&self) -> Result<()> {
        let mut problems = Vec::new();
        for (frames, what) in [
            (&self.without, "no face is found in"),
            (&self.several, "more than one face is found in"),
            (&self.outside, "the face's square leaves the picture in"),
        ] {
            if !frames.is_empty() {
                problems.push(format!("{what} {} frames ({})", frames.len(), words::runs(frames)));
            }
        }
        if !problems.is_empty() {
            bail!("{}. {CUT}; frame N is at N / 25 seconds", problems.join("; "));
        }
        Ok(())
    }

    /// Smallest and largest side of the faces' squares, in pixels.
    pub fn sides(&self) -> (i64, i64) {
        let sides = || self.sides.iter().copied();
        (sides().min().unwrap_or(0), sides().max().unwrap_or(0))
    }
}
