// SPDX-License-Identifier: MPL-2.0
//! Tries out networks in a child process, so that one that crashes or never ends is reported as a problem.
//!
//! The child is this program itself with tighter resource limits. It writes its events to stdout as lines of
//! JSON.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{ExitStatusExt, parent_id};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitCode, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use lipsync_core::avatar::{Avatar, Problems};
use lipsync_core::error::Error;
use lipsync_core::inference::precision::Precision;
use lipsync_core::inference::runtime::Engine;
use lipsync_core::limits::{TRIAL_LOAD, TRIAL_MEMORY, TRIAL_RUN};
use lipsync_core::survey::Survey;
use lipsync_core::survey::trial::{self, TrialEvent};

use crate::cli::TryNetworks;
use crate::interrupt;

/// Bytes to read from the child at most: it may be out of control.
const MAX_OUTPUT: u64 = 1 << 20;

/// How often to check for an interrupt and the time limit.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

const REMEDY: &str = "Do not play it: export the network again, or get it from somebody whom you trust";

/// Surveys an avatar, with its networks in a child process.
pub fn survey(folder: &Path, library_dir: Option<&Path>) -> Result<Survey> {
    let mut result = Ok(());
    let survey = Survey::open_with(folder, |_, problems, report| {
        result = try_out(folder, library_dir, Precision::Auto, problems, report);
    });
    result.map(|()| survey)
}

/// Fails where an avatar's networks cannot be run; the 8-bit network is not tried.
pub fn check_networks(avatar: &Avatar, library_dir: Option<&Path>) -> Result<()> {
    let mut problem = None;
    let mut report = |step| match step {
        TrialEvent::Problem(wrong) if problem.is_none() => problem = Some(wrong),
        _ => {}
    };
    try_out(&avatar.folder, library_dir, Precision::Fp32, &Problems::default(), &mut report)?;
    problem.map_or(Ok(()), |problem| Err(problem.into()))
}

/// The main function of the child.
pub fn run(options: &TryNetworks) -> ExitCode {
    limit_resources();
    // Who asked may have ended before the system was told to let this process end with it.
    if parent_id() != options.parent {
        return ExitCode::FAILURE;
    }
    let mut problems = Problems::default();
    let avatar = Avatar::survey(&options.folder, &mut problems);
    let precision = if options.fp32 { Precision::Fp32 } else { Precision::Auto };
    let engine = Engine { precision, ..Engine::default() }.with_library_dir(options.library_dir.as_deref());
    let mut report = |step| {
        let line = serde_json::to_string(&step).unwrap_or_default();
        // The parent may be gone.
        let _ = writeln!(std::io::stdout(), "{line}");
    };
    match avatar {
        Ok(avatar) => trial::run(&avatar, &problems, &engine, &mut report),
        // The parent reports that the avatar cannot be read.
        Err(_) => report(TrialEvent::Finished),
    }
    ExitCode::SUCCESS
}

/// Lowers a limit. A macro, because the type of the resource differs between systems.
macro_rules! lower_limit {
    ($resource:expr, $most:expr) => {{
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        if libc::getrlimit($resource, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_cur.min($most);
            limit.rlim_max = limit.rlim_max.min($most);
            libc::setrlimit($resource, &limit);
        }
    }};
}

/// Limits memory, and disables core dumps.
fn limit_resources() {
    // SAFETY: these calls take integers and pointers to locals, and change only this process's limits.
    unsafe {
        let pages = libc::sysconf(libc::_SC_PHYS_PAGES).max(0) as u64;
        let memory = pages.saturating_mul(libc::sysconf(libc::_SC_PAGESIZE).max(0) as u64);
        // The address space is larger than the memory in use.
        lower_limit!(libc::RLIMIT_AS, TRIAL_MEMORY.min(memory.max(TRIAL_MEMORY / 4)));
        lower_limit!(libc::RLIMIT_CORE, 0);
        #[cfg(target_os = "linux")]
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
}

/// Runs the child and reports its events.
fn try_out(
    folder: &Path,
    library_dir: Option<&Path>,
    precision: Precision,
    problems: &Problems,
    report: &mut dyn FnMut(TrialEvent),
) -> Result<()> {
    let program = std::env::current_exe().context("this program is not found, to try out networks")?;
    let mut command = Command::new(program);
    command.arg("try-networks");
    command.args(
        library_dir.into_iter().flat_map(|library_dir| ["--library-dir".as_ref(), library_dir.as_os_str()]),
    );
    command.args(["--parent", &std::process::id().to_string()]);
    command.args((precision == Precision::Fp32).then_some("--fp32"));
    // ONNX Runtime's own log repeats what is in its errors.
    command.arg("--").arg(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = Process(command.spawn().context("no process can be started to try out networks")?);
    let events = process.0.stdout.take().map(read_events).context("the process has no output")?;
    let mut stage =
        Stage { path: folder.into(), limit: Duration::from_secs(TRIAL_LOAD), since: Instant::now() };
    loop {
        match events.recv_timeout(POLL_INTERVAL) {
            Ok(TrialEvent::Loading(path)) => stage = Stage::new(path, TRIAL_LOAD),
            Ok(TrialEvent::Running(path)) => stage = Stage::new(path, TRIAL_RUN),
            Ok(TrialEvent::Finished) => return Ok(()),
            Ok(step) => report(step),
            Err(RecvTimeoutError::Timeout) if interrupt::requested() => bail!("interrupted"),
            Err(RecvTimeoutError::Timeout) if stage.since.elapsed() > stage.limit => {
                report(stage.problem(format!("has not ended after {} seconds", stage.limit.as_secs())));
                return Ok(());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                let status = process.0.wait().context("the process is lost")?;
                interrupt::check()?;
                if !problems.names(&stage.path) {
                    report(
                        stage.problem(format!("ends the process that runs it ({})", describe_exit(status))),
                    );
                }
                return Ok(());
            }
        }
    }
}

/// The current step and its time limit.
struct Stage {
    path: PathBuf,
    limit: Duration,
    since: Instant,
}

impl Stage {
    fn new(path: PathBuf, seconds: u64) -> Self {
        Self { path, limit: Duration::from_secs(seconds), since: Instant::now() }
    }

    fn problem(&self, problem: String) -> TrialEvent {
        TrialEvent::Problem(Error::invalid(&self.path, problem, REMEDY))
    }
}

/// A process that is killed on drop.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads events until the end of the output.
fn read_events(from: ChildStdout) -> Receiver<TrialEvent> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(from.take(MAX_OUTPUT)).lines().map_while(|line| line.ok());
        for step in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
            if sender.send(step).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Describes the exit status of a process.
fn describe_exit(status: ExitStatus) -> String {
    let name = match status.signal() {
        None => return status.to_string(),
        Some(libc::SIGILL) => "illegal instruction",
        Some(libc::SIGABRT) => "aborted, or out of memory",
        Some(libc::SIGBUS | libc::SIGSEGV) => "invalid memory access",
        Some(libc::SIGFPE) => "arithmetic error",
        Some(libc::SIGKILL) => "killed, for example for taking all memory",
        Some(_) => "terminated",
    };
    format!("signal {}: {name}", status.signal().unwrap_or_default())
}
