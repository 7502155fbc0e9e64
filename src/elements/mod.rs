//! The GStreamer side: thin elements around the core.

mod audio_input;
mod lipsync;
mod messages;
mod queue;
mod video_output;

use gst::glib;

// Scanning the registry runs this, so nothing is loaded here: ONNX Runtime waits until NULL to READY.
fn plugin_init(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    lipsync::register(plugin)
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
