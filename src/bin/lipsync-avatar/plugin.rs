//! The installed plugin: ONNX Runtime and avatars are looked for beside it, as the element does.

use std::path::PathBuf;

/// The folder of the plugin `lipsync`, where GStreamer finds it.
pub fn folder() -> Option<PathBuf> {
    gst::init().ok()?;
    let plugin = gst::Registry::get().find_plugin("lipsync")?;
    Some(plugin.filename()?.parent()?.to_path_buf())
}
