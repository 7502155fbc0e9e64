// SPDX-License-Identifier: MPL-2.0
//! ONNX Runtime: found, loaded and checked once for each process, when the first network is opened.

use std::ffi::CStr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ort::environment::Environment;
use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};
use ort::logging::LogLevel;
use ort::session::builder::SessionBuilder;

use crate::error::{Error, Result};
use crate::inference::precision::Precision;
use crate::installation;
use crate::onnx::Model;
use crate::sync;

/// The execution providers other than the CPU: variant, name in `execution-provider`, description. The table
/// is passed to the macro `make`.
#[doc(hidden)]
#[macro_export]
macro_rules! execution_providers {
    ($make:ident) => {
        $make! {
            Cuda "cuda" "CUDA: NVIDIA GPUs, by CUDA and cuDNN";
            TensorRt "tensorrt" "TensorRT: NVIDIA GPUs, compiled for the GPU at each start";
            TensorRtRtx "tensorrt-rtx" "TensorRT for RTX: NVIDIA RTX GPUs, compiled for the GPU at each start";
            MiGraphX "migraphx" "MIGraphX: AMD GPUs";
            Rocm "rocm" "ROCm: AMD GPUs; in ONNX Runtime since 1.23 MIGraphX is in its place";
            OpenVino "openvino" "OpenVINO: Intel processors, GPUs and NPUs, and other x86 processors";
            DirectMl "directml" "DirectML: any GPU on Windows";
            CoreMl "coreml" "CoreML: Apple's processors, GPUs and neural engine";
            WebGpu "webgpu" "WebGPU: any GPU, by Vulkan, Metal or Direct3D 12";
            Qnn "qnn" "QNN: Qualcomm's NPUs and GPUs";
            Nnapi "nnapi" "NNAPI: Android's accelerators";
            Xnnpack "xnnpack" "XNNPACK: the processor, by Google's kernels";
        }
    };
}

macro_rules! providers {
    ($($provider:ident $name:literal $what:literal;)*) => {
        /// The execution provider of the networks.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub enum ExecutionProvider {
            /// ONNX Runtime's own kernels on the processor.
            #[default]
            Cpu,
            $(
                #[doc = $what]
                $provider,
            )*
        }

        impl ExecutionProvider {
            /// All execution providers.
            pub const ALL: &[Self] = &[Self::Cpu, $(Self::$provider,)*];

            /// Its name in `execution-provider`.
            pub fn name(self) -> &'static str {
                match self {
                    Self::Cpu => "cpu",
                    $(Self::$provider => $name,)*
                }
            }
        }
    };
}

execution_providers!(providers);

/// How networks are run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Engine {
    /// The execution provider.
    pub provider: ExecutionProvider,
    /// The device of that provider; empty for the provider's default:
    ///
    /// | provider | device |
    /// |---|---|
    /// | CUDA, both TensorRT, MIGraphX, ROCm, DirectML | number of the GPU, from 0 |
    /// | OpenVINO | `CPU`, `GPU`, `GPU.0`, `NPU`, or a mix such as `HETERO:GPU,CPU` |
    /// | CoreML | `ALL`, `CPUAndGPU`, `CPUAndNeuralEngine` or `CPUOnly` |
    /// | QNN | path of the backend's library, such as `libQnnHtp.so` |
    /// | the others | none: must be empty |
    pub device: String,
    /// The precision. TensorRT, MIGraphX, OpenVINO, CoreML, QNN and NNAPI support [`Precision::Half`]; 8-bit
    /// networks are files of their own.
    pub precision: Precision,
    /// A folder in which ONNX Runtime's library is looked for before it is looked for in those of the system. The elements
    /// give the folder of the plugin. Only the first network of a process makes use of it: the library is loaded once.
    pub library_dir: Option<PathBuf>,
}

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

/// A configured provider, and whether the loaded library has it.
struct ProviderBuild {
    dispatch: ExecutionProviderDispatch,
    available: bool,
}

impl ProviderBuild {
    fn of<P: ep::ExecutionProvider + Into<ExecutionProviderDispatch>>(provider: P) -> Self {
        Self { dispatch: provider.into(), available: P::is_available().unwrap_or(false) }
    }
}

impl Engine {
    /// The same, with ONNX Runtime's library looked for in that folder first.
    pub fn with_library_dir(self, library_dir: Option<&Path>) -> Self {
        Self { library_dir: library_dir.map(Into::into), ..self }
    }

    /// What tells engines apart that run networks differently: not where the library was looked for.
    pub(crate) fn key(&self) -> Self {
        self.clone().with_library_dir(None)
    }

    /// Whether networks run on ONNX Runtime's CPU provider: tensors pass between sessions without a copy.
    pub(crate) fn is_processor(&self) -> bool {
        self.provider == ExecutionProvider::Cpu
    }

    /// Configures a session for this provider; the model at `path` will run with `threads` threads.
    ///
    /// # Errors
    /// [`Error::Runtime`] where the loaded library was built without the provider, the provider does not
    /// start, or there is no such device.
    pub(crate) fn apply(
        &self,
        builder: SessionBuilder,
        path: &Path,
        threads: usize,
    ) -> Result<(SessionBuilder, Placement)> {
        let placement = Placement::default();
        let ProviderBuild { dispatch, available } = self.build_provider(threads)?;
        if self.provider == ExecutionProvider::Cpu {
            return Ok((builder, placement));
        }
        if !available {
            return Err(Error::runtime(
                format!(
                    "the loaded library has no {}, only execution-provider={}",
                    dispatch.name(),
                    available_names().join(", ")
                ),
                "Use one of these, or set ORT_DYLIB_PATH to a build of ONNX Runtime that has it",
            ));
        }
        let batch = free_batch(path)?;
        let builder = (|| {
            // Otherwise ONNX Runtime falls back to the CPU without an error.
            let mut builder = builder.with_execution_providers([dispatch.error_on_failure()])?;
            // The batch is always one. Compilers generate faster code where they know that, and some need all
            // dimensions to be fixed.
            if let Some(name) = batch {
                builder = builder.with_dimension_override(name, 1)?;
            }
            match self.provider {
                // DirectML does not support memory patterns.
                ExecutionProvider::DirectMl => builder = builder.with_memory_pattern(false)?,
                // OpenVINO would move what its NPU cannot compile to the CPU without an error.
                ExecutionProvider::OpenVino if self.device.contains("NPU") => {
                    builder = builder.with_disable_cpu_fallback()?;
                }
                _ => {}
            }
            placement.watch(builder)
        })()
        .map_err(|e: ort::Error| {
            Error::runtime(
                format!("{self} does not start: {}", e.to_string().trim_end()),
                "Install what the provider needs, choose another device, or use execution-provider=cpu",
            )
        })?;
        Ok((builder, placement))
    }

    /// The error for a model that no session could be created for.
    pub(crate) fn cannot_load(&self, path: &Path, error: &ort::Error, remedy: &str) -> Error {
        let this = match self.provider {
            ExecutionProvider::Cpu => Error::invalid(path, format!("cannot be loaded: {error}"), remedy),
            _ => Error::invalid(
                path,
                format!("cannot be loaded by {self}: {error}"),
                "Choose another device, or try execution-provider=cpu: if that fails too, the model is at fault",
            ),
        };
        this.with_source(ort::Error::new(error.to_string()))
    }

    /// The provider with its options.
    fn build_provider(&self, threads: usize) -> Result<ProviderBuild> {
        use ExecutionProvider as P;
        let half = self.precision == Precision::Half;
        let half_capable = [P::TensorRt, P::MiGraphX, P::OpenVino, P::CoreMl, P::Qnn, P::Nnapi];
        if half && !half_capable.contains(&self.provider) {
            return Err(Error::runtime(
                format!("{self} computes in the network's own precision, not in precision=half"),
                "Set precision=auto",
            ));
        }
        Ok(match self.provider {
            P::Cpu => ProviderBuild::of(self.without_device(ep::CPU::default())?),
            P::Cuda => ProviderBuild::of(ep::CUDA::default().with_device_id(self.number()?.into())),
            P::TensorRt => ProviderBuild::of(
                ep::TensorRT::default().with_device_id(self.number()?.into()).with_fp16(half),
            ),
            P::TensorRtRtx => ProviderBuild::of(ep::NVRTX::default().with_device_id(self.number()?.into())),
            P::MiGraphX => ProviderBuild::of(
                ep::MIGraphX::default().with_device_id(self.number()?.into()).with_fp16(half),
            ),
            P::Rocm => ProviderBuild::of(ep::ROCm::default().with_device_id(self.number()?.into())),
            P::DirectMl => ProviderBuild::of(ep::DirectML::default().with_device_id(self.number()?.into())),
            P::OpenVino => ProviderBuild::of(self.named(self.openvino(threads), "device_type")),
            // The other model format supports fewer operators and would leave more nodes to the CPU.
            P::CoreMl => {
                let provider = ep::CoreML::default().with_model_format(ep::coreml::ModelFormat::MLProgram);
                ProviderBuild::of(
                    self.named(provider.with_low_precision_accumulation_on_gpu(half), "MLComputeUnits"),
                )
            }
            P::Qnn => ProviderBuild::of(
                self.named(ep::QNN::default().with_htp_fp16_precision(half), "backend_path"),
            ),
            P::WebGpu => ProviderBuild::of(self.without_device(ep::WebGPU::default())?),
            P::Nnapi => ProviderBuild::of(self.without_device(ep::NNAPI::default().with_fp16(half))?),
            P::Xnnpack => {
                let threads = NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN);
                ProviderBuild::of(
                    self.without_device(ep::XNNPACK::default().with_intra_op_num_threads(threads))?,
                )
            }
        })
    }

    fn openvino(&self, threads: usize) -> ep::OpenVINO {
        // Each worker has a session: more streams and threads would take the cores from the others.
        let provider = ep::OpenVINO::default().with_num_threads(threads).with_num_streams(1);
        if self.halves_on_cpu() {
            // The option `precision` has no bfloat16. A processor without bfloat16 computes in float32.
            return provider
                .with_arbitrary_config("load_config", r#"{"CPU":{"INFERENCE_PRECISION_HINT":"bf16"}}"#);
        }
        // OpenVINO's default on GPUs and NPUs is float16, whatever the network's type.
        provider.with_precision(if self.precision == Precision::Half { "FP16" } else { "ACCURACY" })
    }

    /// Whether OpenVINO is to compute in half precision on the CPU, its default device.
    fn halves_on_cpu(&self) -> bool {
        self.provider == ExecutionProvider::OpenVino
            && self.precision == Precision::Half
            && (self.device.is_empty() || self.device.starts_with("CPU"))
    }

    /// The device of a provider that numbers its devices.
    fn number(&self) -> Result<u16> {
        if self.device.is_empty() {
            return Ok(0);
        }
        self.device.parse().map_err(|_| {
            Error::runtime(format!("{self} is not a GPU number"), "Set device to 0, 1, ... or leave it empty")
        })
    }

    /// Passes the device by name; the provider checks it.
    fn named<P: ArbitrarilyConfigurableExecutionProvider>(&self, provider: P, option: &str) -> P {
        match self.device.as_str() {
            "" => provider,
            device => provider.with_arbitrary_config(option, device),
        }
    }

    /// A provider that has only one device.
    fn without_device<P>(&self, provider: P) -> Result<P> {
        if self.device.is_empty() {
            return Ok(provider);
        }
        Err(Error::runtime(
            format!("{self} does not exist: this provider has only one device"),
            "Leave device empty",
        ))
    }
}

impl std::fmt::Display for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "execution-provider={}", self.provider.name())?;
        if self.device.is_empty() { Ok(()) } else { write!(f, " device=\"{}\"", self.device) }
    }
}

/// Names of the providers in the loaded library.
fn available_names() -> Vec<&'static str> {
    let available = |&&provider: &&ExecutionProvider| {
        let engine = Engine { provider, ..Engine::default() };
        engine.build_provider(1).is_ok_and(|build_provider| build_provider.available)
    };
    ExecutionProvider::ALL.iter().filter(available).map(|provider| provider.name()).collect()
}

/// The symbolic name of the batch dimension, where it is dynamic and the name occurs nowhere else.
fn free_batch(path: &Path) -> Result<Option<String>> {
    let inputs = Model::read(path)?.inputs();
    let name = inputs.iter().find_map(|input| input.shape.first());
    let free = |name: &&String| name.parse::<u64>().is_err();
    let elsewhere =
        |name: &&String| inputs.iter().any(|input| input.shape.iter().skip(1).any(|size| size == *name));
    Ok(name.filter(free).filter(|name| !elsewhere(name)).cloned())
}

/// Whether a provider takes any node of a graph.
///
/// ONNX Runtime assigns nodes to a provider, and the rest to the CPU. A few are normal: CUDA, for example,
/// leaves shape computations to the CPU on purpose, so `session.disable_cpu_ep_fallback`, which allows none,
/// is too strict. But where all nodes are left over, the provider is not used at all. ONNX Runtime tells that
/// only in its log; if the wording changes one day, nothing is refused.
#[derive(Debug, Clone, Default)]
pub(crate) struct Placement {
    cpu_only: Arc<AtomicBool>,
}

impl Placement {
    /// Reads the log of the session that is being created.
    fn watch(&self, builder: SessionBuilder) -> ort::Result<SessionBuilder> {
        let placement = self.clone();
        let logger = move |_: LogLevel, _: &str, _: &str, _: &str, message: &str| placement.note(message);
        Ok(builder.with_logger(Arc::new(logger))?.with_log_level(LogLevel::Verbose)?)
    }

    fn note(&self, message: &str) {
        if message.contains("All nodes placed on [CPUExecutionProvider]") {
            self.cpu_only.store(true, Ordering::Relaxed);
        }
    }

    /// Refuses a session in which the provider has no node.
    ///
    /// # Errors
    /// [`Error::Invalid`], naming the model.
    pub(crate) fn check(&self, path: &Path, engine: &Engine) -> Result<()> {
        if !self.cpu_only.load(Ordering::Relaxed) {
            return Ok(());
        }
        Err(Error::invalid(
            path,
            format!("{engine} can run no part of it, and all of it would run on the CPU"),
            "Check device, or use execution-provider=cpu",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn engine(provider: ExecutionProvider, device: &str) -> Engine {
        Engine { provider, device: device.into(), ..Engine::default() }
    }

    #[test]
    fn names_are_those_of_the_property() {
        for provider in ExecutionProvider::ALL {
            let name = provider.name();
            assert_eq!(
                ExecutionProvider::ALL.iter().filter(|other| other.name() == name).count(),
                1,
                "{name}"
            );
        }
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse_version("1.24.4"), MIN_VERSION);
        assert!(parse_version("1.24.10") > MIN_VERSION && parse_version("1.32.0") > MIN_VERSION);
        for old in ["1.24.3", "1.9.9", "1.24", "", "x", "0.99.99", "1.23.2-dev"] {
            assert!(parse_version(old) < MIN_VERSION, "{old}");
        }
    }

    #[test]
    fn placement_is_read_from_the_log() {
        let check = |lines: &[&str]| {
            let placement = Placement::default();
            lines.iter().for_each(|line| placement.note(line));
            placement.check(Path::new("generator.onnx"), &engine(ExecutionProvider::Xnnpack, ""))
        };
        assert!(check(&[" All nodes placed on [XnnpackExecutionProvider]. Number of nodes: 1"]).is_ok());
        let partly = [
            "Node placements",
            " Node(s) placed on [CPUExecutionProvider]. Number of nodes: 3",
            " Node(s) placed on [XnnpackExecutionProvider]. Number of nodes: 9",
        ];
        assert!(check(&partly).is_ok());
        let error =
            check(&["Node placements", " All nodes placed on [CPUExecutionProvider]. Number of nodes: 12"]);
        let message = error.unwrap_err().to_string();
        assert!(message.contains("generator.onnx") && message.contains("xnnpack"), "{message}");
    }
}
