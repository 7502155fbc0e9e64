// SPDX-License-Identifier: MPL-2.0
//! A Python program that reports in lines of JSON.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

/// Last lines of its complaints that are shown.
const SHOWN: usize = 3;

/// A running program, which is killed on drop.
pub struct Script {
    child: Child,
    lines: mpsc::Receiver<String>,
    complaints: Option<JoinHandle<String>>,
}

/// What came within a tenth of a second.
pub enum Heard {
    Line(String),
    Nothing,
    End,
}

impl Script {
    /// `option` is what gives another interpreter.
    pub fn start(command: &mut Command, option: &str) -> Result<Self> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().with_context(
                || format!("{program}: cannot be started. Give a Python interpreter with {option}"),
            )?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        // Both are read by threads: waiting for a line can be interrupted, and a full pipe would block the program.
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in stdout.into_iter().flat_map(|stdout| BufReader::new(stdout).lines()) {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let complaints = std::thread::spawn(move || {
            let mut text = Vec::new();
            // Without readable stderr, the error shows no details.
            let _ = stderr.map(|mut stderr| stderr.read_to_end(&mut text));
            String::from_utf8_lossy(&text).into_owned()
        });
        Ok(Self { child, lines, complaints: Some(complaints) })
    }

    pub fn hear(&self) -> Heard {
        match self.lines.recv_timeout(Duration::from_millis(100)) {
            Ok(line) => Heard::Line(line),
            Err(RecvTimeoutError::Timeout) => Heard::Nothing,
            Err(RecvTimeoutError::Disconnected) => Heard::End,
        }
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        // SAFETY: takes two integers. The process has not been waited for, so that its number is not another's yet.
        unsafe {
            libc::kill(self.child.id() as libc::pid_t, libc::SIGTERM);
        }
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        Ok(self.child.wait()?)
    }

    /// The last that it said to stderr, in one line, after its end.
    pub fn last_words(&mut self) -> String {
        let said = self.complaints.take().and_then(|thread| thread.join().ok()).unwrap_or_default();
        let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
        match lines.as_slice() {
            [] => "it did not say why".into(),
            lines => lines[lines.len().saturating_sub(SHOWN)..].join(" | "),
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
