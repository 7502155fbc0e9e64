// SPDX-License-Identifier: MPL-2.0
//! Where the plugin is installed: ONNX Runtime and the avatars that come with it are looked for there.
//!
//! The core is told the folder in which GStreamer found the plugin. The file there may be a link: `make install` puts
//! one into the folder that GStreamer searches, and all else into the prefix.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::path::{Path, PathBuf};

/// The folder in which the plugin was found and, where its file there is a link, the folder of the file itself.
pub(crate) fn library_dirs(library_dir: &Path) -> Vec<PathBuf> {
    let plugin = library_dir.join(format!("{DLL_PREFIX}gstlipsync{DLL_SUFFIX}"));
    let real = plugin.canonicalize().ok().and_then(|file| Some(file.parent()?.to_path_buf()));
    let mut dirs = vec![library_dir.to_path_buf()];
    dirs.extend(real.filter(|dir| dir != library_dir));
    dirs
}

/// The data folders that there are under the prefix of an installation: `share`, where the plugin is in the prefix itself, in a
/// folder of it, in `lib/gstreamer-1.0`, in `lib/MULTIARCH/gstreamer-1.0` or in the user's `share/gstreamer-1.0/plugins`. The
/// nearest comes first.
pub(crate) fn data_dirs(library_dir: &Path) -> Vec<PathBuf> {
    let libraries = library_dirs(library_dir);
    let prefixes = libraries.iter().flat_map(|dir| dir.ancestors().take(4));
    prefixes.map(|prefix| prefix.join("share")).filter(|dir| dir.is_dir()).collect()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_the_prefix() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let (gstreamer, prefix) = (root.join("usr/lib/gstreamer-1.0"), root.join("opt/x"));
        let real = prefix.join("lib/x86_64-linux-gnu/gstreamer-1.0");
        for dir in [&gstreamer, &real, &prefix.join("share")] {
            std::fs::create_dir_all(dir).unwrap();
        }
        let file = format!("{DLL_PREFIX}gstlipsync{DLL_SUFFIX}");
        std::fs::write(real.join(&file), "").unwrap();
        std::os::unix::fs::symlink(real.join(&file), gstreamer.join(&file)).unwrap();

        assert_eq!(library_dirs(&gstreamer), [gstreamer.clone(), real.clone()]);
        assert_eq!(library_dirs(&real), std::slice::from_ref(&real));
        assert_eq!(data_dirs(&gstreamer), [prefix.join("share")]);
        assert_eq!(data_dirs(&real), [prefix.join("share")]);
        assert_eq!(library_dirs(&root), std::slice::from_ref(&root));
    }

    #[test]
    fn the_prefix_is_found_from_wherever_in_it_the_plugin_lies() {
        let prefix = tempfile::tempdir().unwrap();
        let prefix = prefix.path().join("a/b/c");
        std::fs::create_dir_all(prefix.join("share")).unwrap();
        for folder in ["", "plugins", "lib/gstreamer-1.0", "lib/aarch64-linux-gnu/gstreamer-1.0"] {
            assert_eq!(data_dirs(&prefix.join(folder)), [prefix.join("share")], "{folder}");
        }
    }
}
