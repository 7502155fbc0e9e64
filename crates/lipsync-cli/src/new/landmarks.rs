// SPDX-License-Identifier: MPL-2.0
//! Runs the Python script that finds the landmarks of every frame, and parses its output.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use super::frame_range::FrameVerdict;
use super::python;
use crate::{interrupt, progress};

const SCRIPT: &str = include_str!("landmarks.py");

/// The script's report about a frame; reports come in the order of the frames.
#[derive(Deserialize)]
struct Report {
    faces: usize,
    left: Option<i64>,
    right: Option<i64>,
    top: Option<i64>,
}

/// The script's process, which is killed on drop.
struct Script(Child);

impl Drop for Script {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes the landmark files of `count` frames of that size, and returns a verdict for each frame.
pub fn find(
    frames: &Path,
    landmarks: &Path,
    count: usize,
    size: (u32, u32),
    given: Option<&Path>,
) -> Result<Vec<FrameVerdict>> {
    let python = python::interpreter(given)?;
    let mut child = Command::new(&python)
        .args([python::ISOLATED, "-c", SCRIPT])
        .args([frames, landmarks])
        .arg(count.to_string())
        // The libraries log a lot.
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
        // Without readable stderr, the error shows no details.
        let _ = stderr.map(|mut stderr| stderr.read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    });
    let bar = progress::bar(count, "faces");
    let mut verdicts = Vec::with_capacity(count);
    let lines = lines_of(stdout.context("the script has no output")?);
    loop {
        interrupt::check()?;
        match lines.recv_timeout(Duration::from_millis(100)) {
            // Skip other lines: libraries may print some of their own.
            Ok(line) => {
                if let Ok(report) = serde_json::from_str::<Report>(&line) {
                    verdicts.push(report.verdict(size));
                    bar.inc(1);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    bar.finish_and_clear();
    let status = script.0.wait()?;
    interrupt::check()?;
    let told = verdicts.len();
    if !status.success() || told != count {
        let complaints = complaints.join().unwrap_or_default();
        let last: Vec<&str> = complaints.lines().rev().take(3).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        bail!(
            "{}: the landmark script failed after {told} of {count} frames: {}. It needs mediapipe 0.10.21 and OpenCV, \
             installed for this interpreter itself: those of the user alone are left out",
            python.display(),
            if last.is_empty() { "it did not say why".into() } else { last.join(" | ") }
        );
    }
    Ok(verdicts)
}

/// Lines through a channel, so that waiting for one can be interrupted.
fn lines_of(output: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

impl Report {
    fn verdict(&self, (width, height): (u32, u32)) -> FrameVerdict {
        match (self.faces, self.left, self.right, self.top) {
            (1, Some(left), Some(right), Some(top)) => {
                let side = right - left;
                let inside = left >= 0
                    && top >= 0
                    && side > 0
                    && right <= i64::from(width)
                    && top + side <= i64::from(height);
                if inside { FrameVerdict::Good(side) } else { FrameVerdict::Outside }
            }
            (0 | 1, ..) => FrameVerdict::NoFace,
            _ => FrameVerdict::SeveralFaces,
        }
    }
}
