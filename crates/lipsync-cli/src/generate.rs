// SPDX-License-Identifier: MPL-2.0
//! Completion scripts for shells and manual pages, from the command line's own description.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;

/// Writes a completion script to stdout.
pub fn completions(shell: Shell) -> Result<ExitCode> {
    // The script is what this program has made, so nothing in it is escaped.
    match std::io::Write::write_all(&mut std::io::stdout(), &script(shell)) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

/// Writes manual pages and completion scripts into a folder, laid out as in `share` of an installation.
pub fn share(folder: &Path) -> Result<ExitCode> {
    let subfolder = |name: &str| -> Result<PathBuf> {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("{}: cannot be made", folder.display()))?;
        Ok(folder)
    };
    let manual = subfolder("man/man1")?;
    clap_mangen::generate_to(Cli::command(), &manual)
        .with_context(|| format!("{}: no manual page can be written", manual.display()))?;
    for (shell, place, name) in [
        (Shell::Bash, "bash-completion/completions", "lipsync"),
        (Shell::Zsh, "zsh/site-functions", "_lipsync"),
        (Shell::Fish, "fish/vendor_completions.d", "lipsync.fish"),
    ] {
        let file = subfolder(place)?.join(name);
        std::fs::write(&file, script(shell))
            .with_context(|| format!("{}: cannot be written", file.display()))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lipsync", &mut script);
    script
}
