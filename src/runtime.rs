//! ONNX Runtime: found, loaded and checked, once in a process, when the first network is opened.

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use ort::environment::Environment;
use ort::ep;
use ort::ep::{ExecutionProvider as _, ExecutionProviderDispatch};

use crate::error::{Error, Result};
use crate::precision::Precision;

/// Where the networks run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExecutionProvider {
    /// ONNX Runtime's own kernels on the processor.
    #[default]
    Cpu,
    /// NVIDIA GPUs, by CUDA and cuDNN.
    Cuda,
    /// NVIDIA GPUs, by TensorRT.
    TensorRt,
    /// Intel processors, GPUs and NPUs, by OpenVINO.
    OpenVino,
}

/// How a network is run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Engine {
    /// Where it runs.
    pub provider: ExecutionProvider,
    /// Which device of that provider: a number for CUDA and TensorRT, a name such as `GPU.0` for OpenVINO;
    /// empty for the provider's default.
    pub device: String,
    /// In which numbers the generator computes.
    pub precision: Precision,
}

const REMEDY: &str = "Run `make runtime`, or set ORT_DYLIB_PATH to the libonnxruntime of version 1.20 or newer \
                      (any `onnxruntime` wheel from PyPI holds one)";

/// ONNX Runtime allows one environment in a process, ever, so it is kept until the process ends.
static ENVIRONMENT: Mutex<Option<Environment>> = Mutex::new(None);

/// The process's ONNX Runtime environment, loading the library at the first call.
///
/// The library is `ORT_DYLIB_PATH` if that is set, else the one in the folder `beside` (the plugin's),
/// else what the system's loader finds. The first that exists is used or complained of, never passed over.
///
/// # Errors
/// [`Error::Runtime`], naming the library and what is wrong with it. A later call tries again.
pub fn environment(beside: Option<&Path>) -> Result<Environment> {
    let mut environment = ENVIRONMENT.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(environment) = &*environment {
        return Ok(environment.clone());
    }
    let libraries = match chosen_library(beside)? {
        Some(library) => vec![library],
        // Bare names are looked up by the system's loader.
        None => library_names().map(PathBuf::from).into(),
    };
    let mut failure = None;
    let builder = libraries.iter().find_map(|library| {
        ort::init_from(library).inspect_err(|e| failure = failure.take().or(Some(e.to_string()))).ok()
    });
    let loaded = builder
        .ok_or_else(|| Error::runtime(failure.unwrap_or_default(), REMEDY))?
        .with_name("lipsync")
        .with_telemetry(false)
        .build()
        .map_err(|e| Error::runtime(e.to_string(), REMEDY))?;
    Ok(environment.insert(loaded).clone())
}

/// The library that the user or whoever installed the plugin has chosen, if any.
fn chosen_library(beside: Option<&Path>) -> Result<Option<PathBuf>> {
    if let Some(path) = std::env::var_os("ORT_DYLIB_PATH").filter(|p| !p.is_empty()) {
        // A relative path would be looked up beside the host program.
        return std::path::absolute(&path)
            .map(Some)
            .map_err(|e| Error::runtime(format!("ORT_DYLIB_PATH={}: {e}", path.display()), REMEDY));
    }
    let beside = beside.into_iter().flat_map(|folder| library_names().map(|name| folder.join(name)));
    Ok(beside.into_iter().find(|path| path.exists()))
}

/// Names of the library. The first, as distributions install it without development files, is also the one that
/// GStreamer does not take for a plugin when it scans the folder.
fn library_names() -> [String; 2] {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    [format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}.1"), format!("{DLL_PREFIX}onnxruntime{DLL_SUFFIX}")]
}

impl Engine {
    /// Whether networks run where all memory is: what passes between two of them costs nothing.
    pub(crate) fn is_processor(&self) -> bool {
        self.provider == ExecutionProvider::Cpu
    }

    /// The provider in ONNX Runtime's terms; `None` is its built-in CPU provider.
    ///
    /// # Errors
    /// [`Error::Runtime`] where the loaded library was built without that provider, or the device is not one.
    pub(crate) fn dispatch(&self) -> Result<Option<ExecutionProviderDispatch>> {
        let (dispatch, available) = match self.provider {
            ExecutionProvider::Cpu => return Ok(None),
            ExecutionProvider::Cuda => {
                (ep::CUDA::default().with_device_id(self.device_number()?).build(), ep::CUDA::is_available())
            }
            ExecutionProvider::TensorRt => (
                ep::TensorRT::default().with_device_id(self.device_number()?).build(),
                ep::TensorRT::is_available(),
            ),
            ExecutionProvider::OpenVino => {
                let mut provider = ep::OpenVINO::default();
                if !self.device.is_empty() {
                    provider = provider.with_device_type(&self.device);
                }
                (provider.build(), ep::OpenVINO::is_available())
            }
        };
        if !available.unwrap_or(false) {
            return Err(Error::runtime(
                format!("the loaded library has no {}", dispatch.name()),
                "Use execution-provider=cpu, or set ORT_DYLIB_PATH to a build with that provider",
            ));
        }
        // Without this a provider that fails to start would be replaced by the CPU in silence.
        Ok(Some(dispatch.error_on_failure()))
    }

    fn device_number(&self) -> Result<i32> {
        if self.device.is_empty() {
            return Ok(0);
        }
        self.device.parse().map_err(|_| {
            Error::runtime(
                format!("device \"{}\" is not a GPU number", self.device),
                "Set device to 0, 1, ... or leave it empty",
            )
        })
    }
}
