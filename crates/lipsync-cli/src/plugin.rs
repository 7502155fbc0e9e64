// SPDX-License-Identifier: MPL-2.0
//! The installed plugin: ONNX Runtime and avatars are searched beside it, as the element does.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use lipsync_core::avatar::Avatar;

/// File name of the plugin.
const FILE: &str = "libgstlipsync.so";

/// The plugin's folder: from GStreamer's registry, else relative to this program's own location.
pub fn library_dir() -> Option<PathBuf> {
    of_gstreamer().or_else(of_this_tool)
}

/// Makes sure that GStreamer has the elements: installed, or beside this tool, where `make` has built both.
///
/// # Errors
/// Where the plugin is not found, or cannot be loaded.
pub fn load() -> Result<()> {
    gst::init().context("GStreamer cannot be started")?;
    if gst::ElementFactory::find("lipsync").is_some() {
        return Ok(());
    }
    let Some(folder) = of_this_tool() else {
        bail!(
            "GStreamer does not find the plugin {FILE}. Run make install, or set GST_PLUGIN_PATH to the folder that it is in"
        );
    };
    let file = folder.join(FILE);
    let plugin =
        gst::Plugin::load_file(&file).with_context(|| format!("{}: cannot be loaded", file.display()))?;
    gst::Registry::get().add_plugin(&plugin).with_context(|| format!("{}: cannot be used", file.display()))
}

/// Fails where GStreamer has no element of that name, which is in Debian's `package`.
pub fn require(element: &str, package: &str) -> Result<()> {
    if gst::ElementFactory::find(element).is_none() {
        bail!("GStreamer lacks the element {element}. Install {package} (sudo apt-get install {package})");
    }
    Ok(())
}

/// An avatar's folder, given as a folder or as a name in the search path.
pub fn locate(avatar: &str, library_dir: Option<&Path>) -> Result<PathBuf> {
    const REMEDY: &str = "Give a folder, or one of the names that lipsync list shows";
    match Avatar::locate(avatar, library_dir) {
        Ok(folder) if folder.is_dir() => Ok(folder),
        _ if Path::new(avatar).is_file() => {
            bail!("{avatar}: is a file, and avatars are folders. One is made of a film with lipsync train")
        }
        Ok(_) => bail!("{avatar}: no such folder. {REMEDY}"),
        Err(_) => bail!("{avatar}: no avatar of that name, and no folder. {REMEDY}"),
    }
}

fn of_gstreamer() -> Option<PathBuf> {
    gst::init().ok()?;
    let plugin = gst::Registry::get().find_plugin("lipsync")?;
    Some(plugin.filename()?.parent()?.to_path_buf())
}

/// `target/plugin`, or `lib/gstreamer-1.0` or `lib/MULTIARCH/gstreamer-1.0` of the prefix.
fn of_this_tool() -> Option<PathBuf> {
    let tool = std::env::current_exe().ok()?.canonicalize().ok()?;
    let prefix = tool.parent()?.parent()?;
    let libraries = std::fs::read_dir(prefix.join("lib")).into_iter().flatten().flatten();
    let mut folders = vec![prefix.join("plugin"), prefix.join("lib/gstreamer-1.0")];
    folders.extend(libraries.map(|library| library.path().join("gstreamer-1.0")));
    folders.into_iter().find(|folder| folder.join(FILE).exists())
}
