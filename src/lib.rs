// SPDX-License-Identifier: MPL-2.0
//! **gst-plugin-lipsync**: a GStreamer plugin that makes a face speak.
//!
//! The elements are thin: `lipsync` (sound in, video of the speaking avatar out) and `lipsyncsrc` (a presenter that is
//! always there). What they do is done by [`lipsync_core`], which knows nothing of GStreamer.

mod audio_input;
mod clips;
mod enums;
mod ledger;
mod lipsync;
mod lipsyncsrc;
mod loaded;
mod loading;
mod messages;
mod progress;
mod property;
mod queue;
mod settings;
mod stats;
mod utterance;
mod video_output;
mod video_writer;

use std::sync::LazyLock;

use gst::glib;
use gst::prelude::*;
use lipsync_core::sync::lock;

static CAT: LazyLock<gst::DebugCategory> = LazyLock::new(|| {
    gst::DebugCategory::new("lipsync", gst::DebugColorFlags::empty(), Some("Video of a face that speaks"))
});

/// What a custom event says that keeps its place between the samples.
fn custom_structure(event: &gst::EventRef) -> Option<&gst::StructureRef> {
    event.structure().filter(|_| event.type_() == gst::EventType::CustomDownstream)
}

// Scanning the registry runs this, so nothing is loaded here: ONNX Runtime waits until NULL to READY.
fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    lipsync_core::inference::cancellation::set_log(|text| gst::warning!(CAT, "{text}"));
    for kind in [
        enums::ExecutionProvider::static_type(),
        enums::Precision::static_type(),
        enums::Context::static_type(),
        enums::Paste::static_type(),
        enums::State::static_type(),
    ] {
        kind.mark_as_plugin_api(gst::PluginAPIFlags::empty());
    }
    lipsync::register(plugin)?;
    lipsyncsrc::register(plugin)
}

gst::plugin_define!(
    lipsync,
    env!("CARGO_PKG_DESCRIPTION"),
    plugin_init,
    concat!(env!("CARGO_PKG_VERSION"), "-", env!("COMMIT_ID")),
    "MPL-2.0",
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_NAME"),
    env!("CARGO_PKG_REPOSITORY"),
    env!("BUILD_REL_DATE")
);
