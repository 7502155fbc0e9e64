// SPDX-License-Identifier: MPL-2.0
//! Ctrl-C: the first stops the work and cleans up, the second exits at once.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Installs the handler for SIGINT and SIGTERM.
pub fn listen() -> Result<()> {
    ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    })
    .context("the handler for Ctrl-C cannot be installed")
}

/// Whether the work is to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Fails where the work is to stop; called between steps, so that incomplete output is removed on the way
/// out.
pub fn check() -> Result<()> {
    if requested() {
        bail!("interrupted; nothing was left behind");
    }
    Ok(())
}
