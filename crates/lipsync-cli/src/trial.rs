//! Networks are tried out in a process of their own: one that crashes, or never ends, is a sentence.
//!
//! The process is this program once more, with less memory to take. It tells its steps as lines of JSON.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
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
use lipsync_core::survey::trial::{self, Step};

use crate::cli::TryNetworks;
use crate::interrupt;

/// Most that is read of what the process tells: it may have lost its mind.
const MOST_TOLD: u64 = 1 << 20;

/// How often is looked whether it is to end.
const LOOK: Duration = Duration::from_millis(50);

const REMEDY: &str = "Do not play it: export the network again, or get it from somebody whom you trust";

/// Surveys an avatar, its networks in a process of their own.
pub fn survey(folder: &Path, beside: Option<&Path>) -> Result<Survey> {
    let mut tried = Ok(());
    let survey = Survey::open_with(folder, |_, problems, tell| {
        tried = try_out(folder, beside, Precision::Auto, problems, tell);
    });
    tried.map(|()| survey)
}

/// Fails where the networks of an avatar, of which no 8-bit one is looked at, cannot be played.
pub fn check_networks(avatar: &Avatar, beside: Option<&Path>) -> Result<()> {
    let mut problem = None;
    let mut tell = |step| match step {
        Step::Wrong(wrong) if problem.is_none() => problem = Some(wrong),
        _ => {}
    };
    try_out(&avatar.folder, beside, Precision::Fp32, &Problems::default(), &mut tell)?;
    problem.map_or(Ok(()), |problem| Err(problem.into()))
}

/// The process itself: what is done there.
pub fn run(options: &TryNetworks) -> ExitCode {
    limit();
    let mut problems = Problems::default();
    let avatar = Avatar::survey(&options.folder, &mut problems);
    let precision = if options.fp32 { Precision::Fp32 } else { Precision::Auto };
    let engine = Engine { precision, ..Engine::default() }.with_library_dir(options.beside.as_deref());
    let mut tell = |step| {
        let line = serde_json::to_string(&step).unwrap_or_default();
        // Where nobody reads any more, nobody needs to know.
        let _ = writeln!(std::io::stdout(), "{line}");
    };
    match avatar {
        Ok(avatar) => trial::run(&avatar, &problems, &engine, &mut tell),
        // That is told by whoever asks.
        Err(_) => tell(Step::Done),
    }
    ExitCode::SUCCESS
}

/// Lowers a limit; resources are of another type on every system.
macro_rules! lower {
    ($resource:expr, $most:expr) => {{
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        if libc::getrlimit($resource, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_cur.min($most);
            limit.rlim_max = limit.rlim_max.min($most);
            libc::setrlimit($resource, &limit);
        }
    }};
}

/// Takes from this process what a network must not have: memory without end, and room for a core dump.
fn limit() {
    // SAFETY: these calls take numbers and change nothing but this process's own limits.
    unsafe {
        let pages = libc::sysconf(libc::_SC_PHYS_PAGES).max(0) as u64;
        let memory = pages.saturating_mul(libc::sysconf(libc::_SC_PAGESIZE).max(0) as u64);
        // Addresses are more than memory.
        lower!(libc::RLIMIT_AS, TRIAL_MEMORY.min(memory.max(TRIAL_MEMORY / 4)));
        lower!(libc::RLIMIT_CORE, 0);
        #[cfg(target_os = "linux")]
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
    }
}

/// Has the networks tried out, and tells what came of it.
fn try_out(
    folder: &Path,
    beside: Option<&Path>,
    precision: Precision,
    problems: &Problems,
    tell: &mut dyn FnMut(Step),
) -> Result<()> {
    let program = std::env::current_exe().context("this program is not found, to try out networks")?;
    let mut command = Command::new(program);
    command.arg("try-networks");
    command.args(beside.into_iter().flat_map(|beside| ["--beside".as_ref(), beside.as_os_str()]));
    command.args((precision == Precision::Fp32).then_some("--fp32"));
    // What ONNX Runtime says by itself is in its errors, too.
    command.arg("--").arg(folder).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = Process(command.spawn().context("no process can be started to try out networks")?);
    let told = process.0.stdout.take().map(listen).context("nothing is told by the process")?;
    let mut stage =
        Stage { path: folder.into(), limit: Duration::from_secs(TRIAL_LOAD), since: Instant::now() };
    loop {
        match told.recv_timeout(LOOK) {
            Ok(Step::Loads(path)) => stage = Stage::new(path, TRIAL_LOAD),
            Ok(Step::Runs(path)) => stage = Stage::new(path, TRIAL_RUN),
            Ok(Step::Done) => return Ok(()),
            Ok(step) => tell(step),
            Err(RecvTimeoutError::Timeout) if interrupt::asked() => bail!("interrupted"),
            Err(RecvTimeoutError::Timeout) if stage.since.elapsed() > stage.limit => {
                tell(stage.problem(format!("has not ended after {} seconds", stage.limit.as_secs())));
                return Ok(());
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                let status = process.0.wait().context("the process is lost")?;
                interrupt::check()?;
                if !problems.names(&stage.path) {
                    tell(stage.problem(format!("ends the program that runs it ({})", words(status))));
                }
                return Ok(());
            }
        }
    }
}

/// What the process is at, and for how long.
struct Stage {
    path: PathBuf,
    limit: Duration,
    since: Instant,
}

impl Stage {
    fn new(path: PathBuf, seconds: u64) -> Self {
        Self { path, limit: Duration::from_secs(seconds), since: Instant::now() }
    }

    fn problem(&self, problem: String) -> Step {
        Step::Wrong(Error::invalid(&self.path, problem, REMEDY))
    }
}

/// A process that does not outlive its use.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads what is told, until there is no more.
fn listen(from: ChildStdout) -> Receiver<Step> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(from.take(MOST_TOLD)).lines().map_while(|line| line.ok());
        for step in lines.filter_map(|line| serde_json::from_str(&line).ok()) {
            if sender.send(step).is_err() {
                return;
            }
        }
    });
    receiver
}

/// How a process has ended.
fn words(status: ExitStatus) -> String {
    let name = match status.signal() {
        None => return status.to_string(),
        Some(libc::SIGILL) => "an instruction that there is not",
        Some(libc::SIGABRT) => "it aborts, or has no memory left",
        Some(libc::SIGBUS | libc::SIGSEGV) => "it reads or writes where nothing is",
        Some(libc::SIGFPE) => "it divides by zero",
        Some(libc::SIGKILL) => "it is killed, as where it takes all memory",
        Some(_) => "it is ended",
    };
    format!("signal {}: {name}", status.signal().unwrap_or_default())
}
