// SPDX-License-Identifier: MPL-2.0
//! `lipsync`: a face that speaks, from the command line, and everything about avatars.

/// Prints lines to stdout, with control characters escaped, so that text from an untrusted avatar cannot
/// control the terminal. Text that might fake a line of its own goes through [`lipsync_core::text::plain`] as
/// well. Ignores EPIPE (`lipsync list | head`), where `println!` would panic.
macro_rules! print_line {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), "{}", lipsync_core::text::lines(format_args!($($text)*)));
    }};
}

/// The same to stderr, for errors and notes that are not part of the output.
macro_rules! print_error {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), "{}", lipsync_core::text::lines(format_args!($($text)*)));
    }};
}

mod audio_contexts;
mod check;
mod checksums;
mod cli;
mod doctor;
mod film;
mod format;
mod generate;
mod import;
mod interrupt;
mod list;
mod media;
mod new;
mod partial;
mod play;
mod plugin;
mod progress;
mod quantize;
mod render;
mod serve;
mod sheet;
mod speech;
mod train;
mod trial;
mod work;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Command::TryNetworks(options) = &cli.command {
        return trial::run(options);
    }
    let result = interrupt::listen().and_then(|()| match cli.command {
        Command::Render(options) => render::run(&options),
        Command::Join(options) => render::join::run(&options),
        Command::Work(options) => Ok(work::run(&options)),
        Command::Split(options) => Ok(work::split::run(&options)),
        Command::Play(options) => play::run(&options.speech, &options.look),
        Command::Say(options) => play::say(&options),
        Command::Serve(options) => serve::run(&options),
        Command::Doctor => doctor::run(),
        Command::Check(options) => check::run(&options),
        Command::Import(options) => import::run(&options),
        Command::List => list::run(),
        Command::Train(options) => train::run(&options),
        Command::New(options) => new::run(&options),
        Command::Quantize(options) => quantize::run(&options),
        Command::Completions(options) => generate::completions(options.shell),
        Command::Share { folder } => generate::share(&folder),
        Command::TryNetworks(_) => Ok(ExitCode::SUCCESS),
    });
    match result {
        Ok(code) => code,
        Err(error) => {
            print_error!("lipsync: {}", message(&error));
            if interrupt::requested() { ExitCode::from(130) } else { ExitCode::FAILURE }
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
