// SPDX-License-Identifier: MPL-2.0
//! How networks are run: the execution provider with its options, device and precision, put into a session.

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProviderDispatch};
use ort::session::builder::SessionBuilder;

use crate::error::{Error, Result};
pub use crate::inference::library::environment;
use crate::inference::placement::Placement;
use crate::inference::precision::Precision;
pub use crate::inference::provider::ExecutionProvider;
use crate::onnx::Model;

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
