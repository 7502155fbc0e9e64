// SPDX-License-Identifier: MPL-2.0
//! Runs the kit's Python program that trains, exports and judges, and parses what it reports.

use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::kit::PROGRAM;
use super::stages::{Progress, Stage};
use crate::film::environment::ISOLATED;
use crate::film::script::{Heard, Script};
use crate::interrupt;

/// Runs the program from its folder, which isolated Python does not look into by itself. It ends with this tool, and waits for one
/// that another tool has left behind to finish its checkpoint.
const START: &str = "\
import ctypes, fcntl, os, runpy, signal, sys
kit, program, lock, parent = sys.argv[1:5]
try:
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
except (AttributeError, OSError):
    pass
if os.getppid() != int(parent):
    sys.exit(1)
held = open(lock, 'w')
fcntl.flock(held, fcntl.LOCK_EX)
sys.dont_write_bytecode = True
sys.path.insert(0, kit)
path = os.path.join(kit, program)
sys.argv = [path, *sys.argv[5:]]
runpy.run_path(path, run_name='__main__')
";

/// How long it may take to write its checkpoint when it is asked to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is to be trained.
pub struct Training<'a> {
    pub python: &'a Path,
    pub kit: &'a Path,
    pub work: &'a Path,
    pub set: &'a Path,
    pub avatar: &'a Path,
    /// The network of another person, from whose mouth this one's is learned; without it that takes longer.
    pub begin_with: Option<&'a Path>,
    pub minutes: Option<f64>,
    pub threads: usize,
}

/// A line of the program.
#[derive(Deserialize)]
#[serde(untagged)]
enum Line {
    Stage {
        stage: String,
        done: f64,
        of: f64,
        #[serde(default)]
        seconds_left: Option<f64>,
    },
    Result {
        result: Judgement,
    },
    Error {
        error: String,
    },
}

/// How good the avatar is, on seconds of the film that it was not shown. What was not measured is missing.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct Judgement {
    /// PSNR of the mouths, in dB.
    pub psnr: Option<f64>,
    pub seconds_held_out: Option<f64>,
    /// Sharpness of the mouths relative to the film's.
    pub sharpness: Option<f64>,
    /// Rank correlation of the opening of the lips with the film's.
    pub rank_opening: Option<f64>,
    /// Share of the film's closed mouths that are closed.
    pub closures: Option<f64>,
    /// Rank correlation of loudness with the film's opening, for comparison.
    pub rank_loudness: Option<f64>,
    /// The step at the border of what is painted beyond the film's own, and the film's noise there, in levels.
    pub seam_step: Option<f64>,
    pub seam_noise: Option<f64>,
    /// A picture with frames of the film above and of the avatar below.
    pub sheet: Option<PathBuf>,
    /// Frames of the avatar's loop.
    pub frames: Option<usize>,
}

/// Trains until the avatar's folder is complete and judged.
///
/// # Errors
/// What the program says is wrong; on an interrupt, after it has written its checkpoint.
pub fn run(training: &Training, progress: &mut Progress) -> Result<Judgement> {
    let mut command = Command::new(training.python);
    command.args([ISOLATED, "-c", START]).arg(training.kit).arg(PROGRAM);
    command.arg(training.work.join("trainer.lock")).arg(std::process::id().to_string());
    command.args([training.set, training.avatar]);
    command.args(["--threads", &training.threads.to_string()]);
    command
        .args(training.begin_with.into_iter().flat_map(|file| ["--begin-with".as_ref(), file.as_os_str()]));
    if let Some(minutes) = training.minutes {
        command.args(["--minutes", &minutes.to_string()]);
    }
    // Ctrl-C reaches whole groups: it is told once, by this tool, and not while it writes its checkpoint.
    command.process_group(0);
    let mut script = Script::start(&mut command, "--python")?;
    let mut asked: Option<Instant> = None;
    let (mut judgement, mut problem) = (None, None);
    loop {
        match script.hear() {
            // Skip other lines: libraries may print some of their own.
            Heard::Line(line) => match serde_json::from_str(&line) {
                Ok(Line::Stage { stage, done, of, seconds_left }) => {
                    let stage = Stage::of_training(&stage);
                    stage.iter().for_each(|stage| progress.tell(*stage, done, of, seconds_left));
                }
                Ok(Line::Result { result }) => judgement = Some(result),
                Ok(Line::Error { error }) => problem = Some(error),
                Err(_) => {}
            },
            Heard::Nothing => {}
            Heard::End => break,
        }
        match asked {
            None if interrupt::requested() => {
                script.terminate();
                asked = Some(Instant::now());
            }
            // It is killed when it is dropped.
            Some(since) if since.elapsed() > PATIENCE => bail!("interrupted"),
            _ => {}
        }
    }
    let status = script.wait()?;
    if interrupt::requested() {
        bail!("interrupted");
    }
    match (judgement, problem) {
        (_, Some(problem)) => bail!("{problem}"),
        (Some(judgement), None) if status.success() => Ok(judgement),
        _ => bail!(
            "{}: the training failed ({status}): {}. {}",
            training.python.display(),
            script.last_words(),
            // Killed, for memory as a rule; otherwise it would most likely fail again.
            match status.signal() {
                Some(_) =>
                    "Close other programs, and run the same command again: it goes on where it stopped",
                None =>
                    "If it says CUDA, set CUDA_VISIBLE_DEVICES= to train without the GPU; what was learnt is kept",
            }
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_program_are_understood() {
        let line = |text: &str| serde_json::from_str::<Line>(text);
        let stage = line(r#"{"stage": "train", "done": 3, "of": 10, "seconds_left": 12.5}"#);
        assert!(matches!(stage, Ok(Line::Stage { done: 3.0, of: 10.0, seconds_left: Some(12.5), .. })));
        let stage = line(r#"{"stage": "read", "done": 3, "of": 10}"#);
        assert!(matches!(stage, Ok(Line::Stage { seconds_left: None, .. })));
        let result = line(r#"{"result": {"psnr": 33.4, "sheet": "/a/b.png", "more": [1]}}"#);
        let Ok(Line::Result { result }) = result else { panic!("no result") };
        assert_eq!((result.psnr, result.sheet), (Some(33.4), Some("/a/b.png".into())));
        assert!(matches!(line(r#"{"error": "no"}"#), Ok(Line::Error { .. })));
        assert!(line("Loading model").is_err());
    }
}
