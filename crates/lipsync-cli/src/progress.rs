// SPDX-License-Identifier: MPL-2.0
//! Progress bars, on terminals only.

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for `length` steps of `work`.
pub fn bar(length: usize, work: &'static str) -> ProgressBar {
    let template = "{prefix:>10} [{bar:40}] {pos}/{len} {eta}";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length as u64).with_style(style.progress_chars("=> ")).with_prefix(work)
}
