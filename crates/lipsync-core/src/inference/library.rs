// SPDX-License-Identifier: MPL-2.0
//! ONNX Runtime's library: found, checked and loaded once for each process, when the first network is opened.

use std::ffi::CStr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ort::environment::Environment;

use crate::error::{Error, Result};
use crate::installation;
use crate::sync;

const REMEDY: &str = "Run `make runtime` (and `make install` again, if you have installed it), or set ORT_DYLIB_PATH to the libonnxruntime of version 1.24.4 or newer \
                      (any such `onnxruntime` wheel from PyPI holds one)";

/// The oldest ONNX Runtime that is loaded. Older ones open files and memory addresses that a network names,
/// or use indices of sparse weights unchecked. Our own check refuses such networks as well, but should not be
/// the only line of defence.
const MIN_VERSION: [u32; 3] = [1, 24, 4];

/// The oldest with OpenVINO, which is published separately and has no newer release: it refuses files and
/// addresses, and our own check refuses sparse weights before it gets them ([`crate::onnx::Model::decode`]).
const MIN_VERSION_OPENVINO: [u32; 3] = [1, 24, 1];

/// ONNX Runtime allows one environment for each process, so it is kept until the process ends.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// The process's ONNX Runtime environment; the first call loads the library.
///
/// The library is `ORT_DYLIB_PATH` if that is set, else the one in `library_dir` (the plugin's folder; where
/// the plugin is a symbolic link, also the folder of its target), else what the dynamic loader finds. The
/// first that exists is used; where it is unusable, that is an error.
///
/// # Errors
/// [`Error::Runtime`], naming the library and what is wrong with it. A later call tries again.
pub fn environment(library_dir: Option<&Path>) -> Result<Environment> {
    let mut environment = sync::lock(&ENVIRONMENT);
    if let Some(environment) = &*environment {
        return Ok(environment.clone());
    }
    let libraries = match chosen_library(library_dir)? {
        // The library looks for its providers beside the path it was loaded from, so links are resolved
        // first.
        Some(library) if library.is_symlink() => vec![library.canonicalize().unwrap_or(library)],
        Some(library) => vec![library],
        // The dynamic loader searches for bare names.
        None => library_names().map(PathBuf::from).into(),
    };
    let mut failure = None;
    let builder = libraries.iter().find_map(|library| {
        let loaded = check_version(library).and_then(|()| ort::init_from(library).map_err(|e| e.to_string()));
        loaded.inspect_err(|e| failure = failure.take().or(Some(e.clone()))).ok()
    });
    let loaded = builder
        .ok_or_else(|| Error::runtime(failure.unwrap_or_default(), REMEDY))?
        .with_name("lipsync")
        .with_telemetry(false)
        .build()
        .map_err(|e| Error::runtime(e.to_string(), REMEDY))?;
    Ok(environment.insert(loaded).clone())
}

/// Refuses a library that is too old, before it is the one of this process for good. Files that are no ONNX
/// Runtime pass: loading them gives the error.
fn check_version(library: &Path) -> std::result::Result<(), String> {
    // SAFETY: the library would be loaded anyway; its initializers are trusted.
    let Ok(loaded) = (unsafe { libloading::Library::new(library) }) else { return Ok(()) };
    // SAFETY: every ONNX Runtime exports this function with this type.
    let base =
        unsafe { loaded.get::<unsafe extern "C" fn() -> *const ort::sys::OrtApiBase>(b"OrtGetApiBase") };
    let Ok(base) = base else { return Ok(()) };
    // SAFETY: the pointers are to static data of the library, which stays loaded until the end of this
    // function; the version is a C string.
    let (base, text) = unsafe {
        let Some(base) = base().as_ref() else { return Ok(()) };
        (base, CStr::from_ptr((base.GetVersionString)()).to_string_lossy().into_owned())
    };
    let version = parse_version(&text);
    if version >= MIN_VERSION || (version >= MIN_VERSION_OPENVINO && has_openvino(base)) {
        return Ok(());
    }
    let words = |version: [u32; 3]| version.map(|part| part.to_string()).join(".");
    let (oldest, library) = (words(MIN_VERSION), library.display());
    Err(format!("{library} is of version {text:?}, older than {oldest}, and not safe with untrusted avatars"))
}

/// The three numbers of a version; 0 for those that are missing.
fn parse_version(text: &str) -> [u32; 3] {
    let digits = |part: &str| part.chars().take_while(char::is_ascii_digit).collect::<String>();
    let mut parts = text.split('.').map(|part| digits(part).parse().unwrap_or(0));
    std::array::from_fn(|_| parts.next().unwrap_or(0))
}

/// Whether a library was built with OpenVINO.
fn has_openvino(base: &ort::sys::OrtApiBase) -> bool {
    let (mut names, mut count) = (std::ptr::null_mut(), 0);
    // SAFETY: the library is not older than this version of the API; names and count are those it has
    // written, and are released afterwards.
    unsafe {
        let Some(api) = (base.GetApi)(ort::sys::ORT_API_VERSION).as_ref() else { return false };
        if !(api.GetAvailableProviders)(&mut names, &mut count).0.is_null() {
            return false;
        }
        let all = (0..usize::try_from(count).unwrap_or(0)).map(|n| CStr::from_ptr(*names.add(n)));
        let found = all.into_iter().any(|name| name == c"OpenVINOExecutionProvider");
        let _ = (api.ReleaseAvailableProviders)(names, count);
        found
    }
}

/// The library that the user or the installation has chosen, if any.
fn chosen_library(library_dir: Option<&Path>) -> Result<Option<PathBuf>> {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|p| !p.is_empty()) {
        // The dynamic loader would look up a relative path beside the host program.
        return std::path::absolute(&path)
            .map(Some)
            .map_err(|e| Error::runtime(format!("ORT_DYLIB_PATH={}: {e}", path.display()), REMEDY));
    }
    let dirs = library_dir.map(installation::library_dirs).unwrap_or_default();
    let mut files = dirs.iter().flat_map(|dir| library_names().map(|name| dir.join(name)));
    Ok(files.find(|path| path.exists()))
}

/// File names of the library. The first, as distributions install it without development files, is also the
/// one that GStreamer does not take for a plugin when it scans the folder.
fn library_names() -> [String; 2] {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    [format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}.1"), format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse_version("1.24.4"), MIN_VERSION);
        assert!(parse_version("1.24.10") > MIN_VERSION && parse_version("1.32.0") > MIN_VERSION);
        for old in ["1.24.3", "1.9.9", "1.24", "", "x", "0.99.99", "1.23.2-dev"] {
            assert!(parse_version(old) < MIN_VERSION, "{old}");
        }
    }
}
