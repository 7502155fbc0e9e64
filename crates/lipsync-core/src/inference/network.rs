// SPDX-License-Identifier: MPL-2.0
//! A session of an ONNX network with its input and output buffers.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use half::f16;
use ndarray::ArrayD;
use ort::logging::LogLevel;
use ort::session::builder::GraphOptimizationLevel;
use ort::session::{RunOptions, Session, SessionInputValue, SessionOutputs};
use ort::value::{Outlet, TensorElementType, TensorRef};

use crate::error::{Error, Result, caught};
use crate::inference::cancellation;
use crate::inference::runtime::{Engine, environment};
use crate::inference::tensors::Tensors;
use crate::kernels::FusedKernels;
use crate::limits::{CONSTANT_BYTES, LOAD, LOAD_COMPILED, RUN, RUN_COMPILED, VALUES};
use crate::onnx::{BOUNDARY_SUFFIX, Model};
use crate::text::short;

/// A network with float inputs and one float output, which runs one batch at a time.
///
/// The batch size is that of the file, or 1 where it is dynamic.
///
/// It may be a branch of a generator; `Tensors` of any type pass from one branch to another.
///
/// Each worker has a network of its own, since a run takes the session exclusively.
pub struct Network {
    path: PathBuf,
    /// How long one run may take.
    run_limit: Duration,
    session: Session,
    options: Arc<RunOptions>,
    inputs: Vec<InputBuffer>,
    /// `None` for a branch whose outputs are inputs of another.
    output: Option<TensorInfo>,
    output_values: Vec<f32>,
}

/// A graph in memory, as [`Model::encode`] makes it; never a path, whose file could change meanwhile.
#[derive(Debug, Clone)]
pub enum Graph {
    /// The bytes of an ONNX file, with the weights in it.
    Memory(Arc<[u8]>),
    /// The same with nodes of the custom operators, whose kernels are beside the graph.
    WithFusedKernels(Arc<[u8]>, FusedKernels),
}

impl Graph {
    /// Reads the graph of a model file, checked as by [`Model::read`].
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Invalid`] for the file.
    pub fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Err(Error::not_found(path, "no such model", "Copy the avatar's models again"));
        }
        Ok(Self::of(&Model::read(path)?))
    }

    /// The graph of a model.
    pub fn of(model: &Model) -> Self {
        Self::Memory(model.encode().into())
    }
}

/// The level of ONNX Runtime's graph optimizations.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Optimization<'a> {
    /// All, also those for the processor at hand.
    All,
    /// Only those that hold on any processor; the result is written to this file.
    BasicToFile(&'a Path),
    /// None: for a session that is only asked for its shapes.
    Disabled,
}

/// Name, shape (batch first, -1 where dynamic) and type of an input or output.
#[derive(Debug, Clone)]
pub struct TensorInfo {
    /// The name in the file.
    pub name: String,
    /// Sizes, the batch first; -1 where the file leaves one open. Empty where it states no shape.
    pub shape: Vec<i64>,
    /// float16 instead of float32.
    is_half: bool,
}

struct InputBuffer {
    info: TensorInfo,
    values: ArrayD<f32>,
    /// The same as float16, where the network takes that.
    half_values: Option<ArrayD<f16>>,
}

/// A run that can be interrupted from another thread.
pub(crate) trait Stoppable: Send + Sync {
    /// As [`Interrupter::interrupt`].
    fn interrupt(&self);

    /// As [`Interrupter::rearm`].
    fn rearm(&self);
}

impl Stoppable for RunOptions {
    // It only sets a flag, and fails only for invalid options.
    fn interrupt(&self) {
        let _ = self.terminate();
    }

    fn rearm(&self) {
        let _ = self.unterminate();
    }
}

/// Interrupts runs from another thread.
#[derive(Clone)]
pub struct Interrupter(Vec<Arc<dyn Stoppable>>);

impl Interrupter {
    /// Interrupts one.
    pub(crate) fn new(one: Arc<dyn Stoppable>) -> Self {
        Self(vec![one])
    }

    /// Interrupts several.
    pub(crate) fn of(all: impl IntoIterator<Item = Self>) -> Self {
        Self(all.into_iter().flat_map(|one| one.0).collect())
    }

    /// Interrupts current runs, and all later ones until [`Self::rearm`].
    pub fn interrupt(&self) {
        self.0.iter().for_each(|one| one.interrupt());
    }

    /// Allows runs again.
    pub fn rearm(&self) {
        self.0.iter().for_each(|one| one.rearm());
    }
}

pub(crate) const MODEL_REMEDY: &str =
    "Export the model to ONNX again, or copy it again if the copy was cut short";

impl Network {
    /// Opens a model file.
    ///
    /// `threads` is the number of threads for one run; `library_dir` is as for [`environment`].
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Invalid`] for the file, [`Error::Runtime`] for the library.
    pub fn open(path: &Path, engine: &Engine, threads: usize) -> Result<Self> {
        let graph = Error::guard(path, || Graph::read(path))?;
        Self::open_graph(path, &graph, engine, threads)
    }

    /// Opens a graph that was made from the model at `path`, which errors name; the rest is as for
    /// [`Self::open`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn open_graph(path: &Path, graph: &Graph, engine: &Engine, threads: usize) -> Result<Self> {
        Error::guard(path, || {
            let session = load(path, graph, engine, threads, Optimization::All)?;
            Self::new(path, session, if engine.is_processor() { RUN } else { RUN_COMPILED })
        })
    }

    fn new(path: &Path, session: Session, seconds: u64) -> Result<Self> {
        let mut options = RunOptions::new().map_err(|e| unexpected(&e))?;
        // With the verbose log that tells node placement, the session would log every run.
        options.set_log_level(LogLevel::Fatal).map_err(|e| unexpected(&e))?;
        let inputs = session.inputs().iter().filter(|outlet| !outlet.name().ends_with(BOUNDARY_SUFFIX));
        let inputs = inputs
            .map(|outlet| Ok(InputBuffer::new(TensorInfo::new(path, outlet)?)))
            .collect::<Result<_>>()?;
        let output = match session.outputs() {
            [first, ..] if first.name().ends_with(BOUNDARY_SUFFIX) => None,
            [output] => Some(TensorInfo::new(path, output)?),
            outputs => {
                return Err(Error::invalid(
                    path,
                    format!("has {} outputs, not one", outputs.len()),
                    "Export the network alone, without its training heads",
                ));
            }
        };
        Ok(Self {
            path: path.into(),
            run_limit: Duration::from_secs(seconds),
            session,
            options: Arc::new(options),
            inputs,
            output,
            output_values: Vec::new(),
        })
    }

    /// The network's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its inputs, in the order of the file.
    pub(crate) fn inputs(&self) -> impl ExactSizeIterator<Item = &TensorInfo> {
        self.inputs.iter().map(|input| &input.info)
    }

    /// Its output, unless it is a branch whose outputs go to another.
    pub(crate) fn output(&self) -> Option<&TensorInfo> {
        self.output.as_ref()
    }

    /// A handle that interrupts its runs.
    pub(crate) fn interrupter(&self) -> Interrupter {
        Interrupter::new(self.options.clone())
    }

    /// How long one run may take; the caller has to enforce it.
    pub(crate) fn run_limit(&self) -> Duration {
        self.run_limit
    }

    /// Items in a batch.
    pub(crate) fn batch(&self) -> usize {
        self.inputs().map(TensorInfo::batch).max().unwrap_or(1)
    }

    /// Its inputs and output with their shapes, for messages.
    pub(crate) fn shapes(&self) -> String {
        let inputs: Vec<String> = self.inputs().map(TensorInfo::to_string).collect();
        let output = self.output.as_ref().map(TensorInfo::to_string);
        format!("{} to {}", inputs.join(" and "), output.unwrap_or_default())
    }

    /// Item `item` of input `index`, row-major, to be written before [`Self::run`].
    pub fn item_mut(&mut self, index: usize, item: usize) -> &mut [f32] {
        let input = &mut self.inputs[index];
        let values = input.values.len() / input.info.batch();
        &mut input.values_mut()[item * values..][..values]
    }

    /// Resizes the dynamic input `index` to the shape `item` (without the batch) and returns its values.
    pub(crate) fn resize_input(&mut self, index: usize, item: &[usize]) -> &mut [f32] {
        let input = &mut self.inputs[index];
        let shape: Vec<usize> = [input.info.batch()].iter().chain(item).copied().collect();
        if input.values.shape() != shape {
            input.allocate(shape);
        }
        input.values_mut()
    }

    /// Runs on the current inputs and returns the output, row-major.
    ///
    /// `branch_outputs` are the inputs that come from another branch, if there are such.
    ///
    /// # Errors
    /// [`Error::Inference`], also where the run was interrupted.
    pub fn run(&mut self, branch_outputs: Option<&Tensors>) -> Result<&[f32]> {
        self.compute(branch_outputs)?;
        Ok(self.output_values())
    }

    /// The output of the last run, row-major.
    pub(crate) fn output_values(&self) -> &[f32] {
        &self.output_values
    }

    /// Runs on the current inputs; the result is in [`Self::output_values`].
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) fn compute(&mut self, branch_outputs: Option<&Tensors>) -> Result<()> {
        let (is_half, output_values) =
            (self.output.as_ref().is_some_and(|info| info.is_half), &mut self.output_values);
        let outputs = run(&mut self.session, &mut self.inputs, &self.options, branch_outputs);
        let read = |outputs: SessionOutputs<'_>| {
            output_values.clear();
            if is_half {
                let (_, values) = outputs[0].try_extract_tensor::<f16>()?;
                output_values.extend(values.iter().map(|v| v.to_f32()));
            } else {
                let (_, values) = outputs[0].try_extract_tensor::<f32>()?;
                output_values.extend_from_slice(values);
            }
            Ok(())
        };
        outputs.and_then(read).map_err(|e| failed(&self.path, &e))
    }

    /// Runs a branch and returns its outputs, for another branch.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) fn run_part(&mut self) -> Result<Tensors> {
        let outputs = run(&mut self.session, &mut self.inputs, &self.options, None);
        outputs.map(Tensors::of).map_err(|e| failed(&self.path, &e))
    }
}

fn failed(path: &Path, problem: &ort::Error) -> Error {
    Error::inference(path, format!("the network failed: {problem}")).with_source(copy(problem))
}

fn run<'s>(
    session: &'s mut Session,
    inputs: &mut [InputBuffer],
    options: &'s RunOptions,
    branch_outputs: Option<&Tensors>,
) -> ort::Result<SessionOutputs<'s>> {
    for input in inputs.iter_mut() {
        if let Some(half_values) = &mut input.half_values {
            half_values.zip_mut_with(&input.values, |half, value| *half = f16::from_f32(*value));
        }
    }
    let own = inputs.iter().map(|input| {
        let value: SessionInputValue<'_> = match &input.half_values {
            Some(half_values) => TensorRef::from_array_view(half_values)?.into(),
            None => TensorRef::from_array_view(&input.values)?.into(),
        };
        Ok((input.info.name.as_str(), value))
    });
    let values = own
        .chain(branch_outputs.into_iter().flat_map(Tensors::inputs).map(Ok))
        .collect::<ort::Result<Vec<_>>>()?;
    session.run_with_options(values, options)
}

/// Whether u8 x i8 dot products saturate, as they do on x86 processors without VNNI: two products are added
/// in 16 bits. ONNX Runtime then has to be told to compute precisely, which would only cost time on other
/// processors.
fn u8s8_dot_saturates() -> bool {
    #[cfg(target_arch = "x86_64")]
    let overflow = !(is_x86_feature_detected!("avx512vnni") || is_x86_feature_detected!("avxvnni"));
    #[cfg(not(target_arch = "x86_64"))]
    let overflow = false;
    overflow
}

/// Creates a session for the graph of the model at `path`, which errors name.
///
/// # Errors
/// As [`Network::open`].
pub(crate) fn load(
    path: &Path,
    graph: &Graph,
    engine: &Engine,
    threads: usize,
    optimization: Optimization<'_>,
) -> Result<Session> {
    let environment = environment(engine.library_dir.as_deref())?;
    let (level, saved) = match optimization {
        Optimization::All => (GraphOptimizationLevel::All, None),
        Optimization::BasicToFile(path) => (GraphOptimizationLevel::Level1, Some(path)),
        Optimization::Disabled => (GraphOptimizationLevel::Disable, None),
    };
    let builder = || {
        let mut builder = Session::builder(&environment)?
            .with_optimization_level(level)?
            .with_intra_threads(threads)?
            .with_inter_threads(1)?
            // Spinning idle threads would take the cores from the other workers and the encoder.
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?
            // Fold large constants as well: they are computed once and cached.
            .with_config_entry(
                "optimization.constant_folding_max_output_size_in_bytes",
                CONSTANT_BYTES.to_string(),
            )?;
        if u8s8_dot_saturates() {
            builder = builder.with_precise_qmm()?;
        }
        if let Graph::WithFusedKernels(_, blocks) = graph {
            builder = builder.with_operators(blocks.operators()?)?;
        }
        if let Some(path) = saved {
            builder = builder.with_optimized_model_path(path)?;
        }
        Ok(builder)
    };
    let (mut builder, placement) =
        engine.apply(builder().map_err(|e: ort::Error| unexpected(&e))?, path, threads)?;
    let (Graph::Memory(bytes) | Graph::WithFusedKernels(bytes, _)) = graph;
    let canceler = builder.canceler();
    let seconds = if engine.is_processor() { LOAD } else { LOAD_COMPILED };
    // Cancelling fails only for invalid options.
    let stage = cancellation::begin_load(path, seconds, move || drop(canceler.cancel()))?;
    // The `ort` crate panics where ONNX Runtime infers a negative dimension, as after a kernel larger than
    // its input.
    let session = caught(|| builder.commit_from_memory(bytes));
    let session =
        session.unwrap_or_else(|_| Err(ort::Error::new("one of its values has a negative dimension")));
    drop(stage);
    cancellation::check()?;
    let session = session.map_err(|e| engine.cannot_load(path, &e, MODEL_REMEDY))?;
    placement.check(path, engine)?;
    Ok(session)
}

/// ONNX Runtime's error, which cannot be cloned.
pub(crate) fn copy(error: &ort::Error) -> ort::Error {
    ort::Error::new(error.to_string())
}

fn unexpected(problem: &ort::Error) -> Error {
    Error::runtime(problem.to_string(), "Restart the program").with_source(copy(problem))
}

impl TensorInfo {
    pub(crate) fn new(path: &Path, outlet: &Outlet) -> Result<Self> {
        let (name, kind) = (outlet.name(), outlet.dtype());
        let is_half = match kind.tensor_type() {
            Some(TensorElementType::Float32) => false,
            Some(TensorElementType::Float16) => true,
            _ => {
                return Err(Error::invalid(
                    path,
                    format!("\"{name}\" is {kind}, not a tensor of float32 or float16"),
                    "Export the model with float inputs and outputs",
                ));
            }
        };
        let shape = kind.tensor_shape().map(|s| s.to_vec()).unwrap_or_default();
        let values = shape.iter().try_fold(1u64, |n, &size| n.checked_mul(size.max(1) as u64));
        if values.is_none_or(|n| n > VALUES) {
            return Err(Error::invalid(path, format!("\"{name}\" is {kind}, too large"), MODEL_REMEDY));
        }
        Ok(Self { name: name.into(), shape, is_half })
    }

    /// Whether the shape without the batch is exactly `item`. Inputs must say so, since their buffers have
    /// the shape of the file.
    pub(crate) fn has_item_shape(&self, item: &[usize]) -> bool {
        self.may_have_item_shape(item) && !self.shape[1..].contains(&-1)
    }

    /// Whether the shape without the batch is `item`, or dynamic.
    pub(crate) fn may_have_item_shape(&self, item: &[usize]) -> bool {
        self.shape.len() == item.len() + 1
            && self.shape[0] != 0
            && (self.shape[1..].iter().zip(item)).all(|(&have, &want)| have == -1 || have == want as i64)
    }

    /// Whether the shape without the batch has so many dimensions, all dynamic.
    pub(crate) fn is_dynamic(&self, sizes: usize) -> bool {
        self.shape.len() == sizes + 1 && self.shape[1..].iter().all(|size| *size == -1)
    }

    /// Values of an item, where the file states them.
    pub(crate) fn values(&self) -> Option<usize> {
        let sizes = self.shape.get(1..)?.iter();
        sizes.map(|size| usize::try_from(*size).ok()).product()
    }

    /// Items in a batch: 1 where it is dynamic.
    pub(crate) fn batch(&self) -> usize {
        self.shape.first().map_or(1, |size| (*size).max(1) as usize)
    }
}

impl std::fmt::Display for TensorInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "\"{}\" [", short(&self.name, 100))?;
        for (i, size) in self.shape.iter().enumerate() {
            let separator = if i > 0 { ", " } else { "" };
            match size {
                -1 => write!(f, "{separator}N")?,
                size => write!(f, "{separator}{size}")?,
            }
        }
        write!(f, "]")
    }
}

impl InputBuffer {
    /// Buffers for one batch; the caller checks the shape before writing.
    fn new(info: TensorInfo) -> Self {
        let shape: Vec<usize> = info.shape.iter().map(|&size| size.max(1) as usize).collect();
        let mut input = Self { info, values: ArrayD::zeros(vec![0]), half_values: None };
        input.allocate(shape);
        input
    }

    fn allocate(&mut self, shape: Vec<usize>) {
        self.values = ArrayD::zeros(shape.clone());
        self.half_values = self.info.is_half.then(|| ArrayD::from_elem(shape, f16::ZERO));
    }

    fn values_mut(&mut self) -> &mut [f32] {
        self.values.as_slice_mut().unwrap_or_else(|| unreachable!("the arrays are made in standard layout"))
    }
}
