// SPDX-License-Identifier: MPL-2.0
//! Progress bars, on terminals only.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for `length` steps of `work`.
pub fn bar(length: usize, work: &'static str) -> ProgressBar {
    let template = "{prefix:>10} [{bar:40}] {pos}/{len} {eta}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length as u64).with_style(style.progress_chars("=> ")).with_prefix(work)
}

/// A bar for a length of time in milliseconds.
pub fn time_bar(work: &'static str) -> ProgressBar {
    let template = "{prefix:>10} [{bar:40}] {percent:>3} %, {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style.progress_chars("=> ")).with_prefix(work)
}

/// Has a bar of a length of time show what is done, and of how much.
pub fn shown_by(bar: &ProgressBar) -> impl FnMut(gst::ClockTime, gst::ClockTime) {
    |reached, of| {
        bar.set_length(of.mseconds());
        bar.set_position(reached.mseconds());
    }
}
