//! `lipsync-avatar`: checks, imports, lists, makes and quickens avatars for the element `lipsync`.

/// Prints a line, or some. What is in it of a stranger's cannot reach the terminal as anything but letters; where it might
/// feign a line of its own, it goes through [`lipsync_core::text::plain`]. A reader that has seen enough and is gone is no failure, so `println`, which panics then, is not used.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), "{}", lipsync_core::text::lines(format_args!($($text)*)));
    }};
}

/// The same for complaints and notes, which do not belong to what was asked for.
macro_rules! complain {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "{}", lipsync_core::text::lines(format_args!($($text)*)));
    }};
}

mod check;
mod cli;
mod import;
mod interrupt;
mod list;
mod media;
mod new;
mod partial;
mod plugin;
mod progress;
mod quantize;
mod sheet;
mod sums;
mod trial;
mod words;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::TryNetworks(options) = &cli.command {
        return trial::run(options);
    }
    let result = interrupt::listen().and_then(|()| match cli.command {
        Command::Check(options) => check::run(&options),
        Command::Import(options) => import::run(&options),
        Command::List => list::run(),
        Command::New(options) => new::run(&options),
        Command::Quantize(options) => quantize::run(&options),
        Command::TryNetworks(_) => Ok(ExitCode::SUCCESS),
    });
    match result {
        Ok(code) => code,
        Err(error) => {
            complain!("lipsync-avatar: {}", message(&error));
            if interrupt::asked() { ExitCode::from(130) } else { ExitCode::FAILURE }
        }
    }
}

/// An error in one line: what was done, and what went wrong. Errors of the core say themselves what is behind them.
fn message(error: &anyhow::Error) -> String {
    let mut parts = Vec::new();
    for cause in error.chain() {
        parts.push(cause.to_string());
        if cause.is::<lipsync_core::Error>() {
            break;
        }
    }
    parts.join(": ")
}
