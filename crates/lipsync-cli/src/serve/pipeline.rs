// SPDX-License-Identifier: MPL-2.0
//! Pipelines from launch lines, and their elements by name.

use gst::prelude::*;

use super::failure::{Failure, Outcome};

/// Makes a pipeline.
///
/// # Errors
/// Where an element is missing.
pub fn launch(line: &str) -> Outcome<gst::Pipeline> {
    let pipeline = gst::parse::launch(line).map_err(Failure::ours)?;
    pipeline.downcast().map_err(|_| Failure::ours("no pipeline"))
}

/// An element of that name and kind.
///
/// # Errors
/// Where the launch line has none.
pub fn element<T: IsA<gst::Element>>(pipeline: &gst::Pipeline, name: &str) -> Outcome<T> {
    let found = pipeline.by_name(name).and_then(|element| element.downcast().ok());
    found.ok_or_else(|| Failure::ours(format!("no {name}")))
}
