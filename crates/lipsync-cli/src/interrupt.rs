//! Ctrl-C: the first asks the work to stop and tidy up, the second stops at once.

use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail};

static REQUESTED: AtomicBool = AtomicBool::new(false);

/// Starts to listen for Ctrl-C and requests to end.
pub fn listen() -> Result<()> {
    ctrlc::set_handler(|| {
        if REQUESTED.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
    })
    .context("Ctrl-C cannot be heard")
}

/// Whether the work is to stop.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Fails where the work is to stop; called between steps, so that what is half done is removed on the way out.
pub fn check() -> Result<()> {
    if requested() {
        bail!("interrupted; nothing was left behind");
    }
    Ok(())
}
