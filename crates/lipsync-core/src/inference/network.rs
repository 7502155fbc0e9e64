//! One ONNX network, ready to run: its file, its ports, and buffers of the right shape and type.

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
use crate::inference::bounded;
use crate::inference::runtime::{Engine, environment};
use crate::inference::tensors::Tensors;
use crate::kernels::Blocks;
use crate::limits::{CONSTANT_BYTES, LOAD, LOAD_COMPILED, RUN, RUN_COMPILED, VALUES};
use crate::onnx::{KEPT, Model};
use crate::text::short;

/// A network with float tensors in and one float tensor out, run one batch at a time.
///
/// A batch is what the file says, and one item where it leaves that free.
///
/// It may be a part of a network: what passes between the parts are [`Tensors`], of any type.
///
/// Each worker owns a network of its own: ONNX Runtime's sessions are not safe to share.
pub struct Network {
    path: PathBuf,
    /// How long one run may take.
    limit: Duration,
    session: Session,
    options: Arc<RunOptions>,
    inputs: Vec<Input>,
    /// `None` for a part whose outputs go into another part.
    output: Option<Port>,
    converted: Vec<f32>,
}

/// The graph of a network: what [`Model::encode`] makes, never a file, which might be another by now.
#[derive(Debug, Clone)]
pub enum Graph {
    Memory(Arc<[u8]>),
    /// With nodes for blocks that are not in it.
    WithBlocks(Arc<[u8]>, Blocks),
}

impl Graph {
    /// The graph in a model's file, checked as [`Model::read`] does.
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

/// How far ONNX Runtime may change a graph when it loads it.
#[derive(Debug, Clone, Copy)]
pub enum Optimisation<'a> {
    /// As it likes, for the processor at hand.
    Full,
    /// Only what serves any processor; the result is written to that file.
    Saved(&'a Path),
    /// Not at all: for one that is only asked for its shapes.
    None,
}

/// Name, shape (batch first, -1 where free) and type of a tensor that goes in or out.
#[derive(Debug, Clone)]
pub struct Port {
    pub name: String,
    pub shape: Vec<i64>,
    half: bool,
}

struct Input {
    port: Port,
    values: ArrayD<f32>,
    /// The same in the type of the network, where that is not f32.
    half: Option<ArrayD<f16>>,
}

/// What can be stopped from another thread.
pub trait Stoppable: Send + Sync {
    /// As [`Interrupter::interrupt`].
    fn interrupt(&self);

    /// As [`Interrupter::rearm`].
    fn rearm(&self);
}

impl Stoppable for RunOptions {
    // Setting a flag: it cannot fail on options that exist.
    fn interrupt(&self) {
        let _ = self.terminate();
    }

    fn rearm(&self) {
        let _ = self.unterminate();
    }
}

/// Stops the current run of networks from another thread.
#[derive(Clone)]
pub struct Interrupter(Vec<Arc<dyn Stoppable>>);

impl Interrupter {
    /// One that stops this.
    pub fn new(one: Arc<dyn Stoppable>) -> Self {
        Self(vec![one])
    }

    /// One that stops the runs of several.
    pub fn of(all: impl IntoIterator<Item = Self>) -> Self {
        Self(all.into_iter().flat_map(|one| one.0).collect())
    }

    /// Ends the runs in flight, and every later one until [`Self::rearm`].
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
    /// `threads` is how many threads one run may use.
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Invalid`] for the file, [`Error::Runtime`] for the library.
    pub fn open(path: &Path, engine: &Engine, threads: usize) -> Result<Self> {
        let graph = Error::guard(path, || Graph::read(path))?;
        Self::open_graph(path, &graph, engine, threads)
    }

    /// Opens a graph that was made of the model at `path`, which errors name; the rest is as for [`Self::open`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_graph(path: &Path, graph: &Graph, engine: &Engine, threads: usize) -> Result<Self> {
        Error::guard(path, || {
            let session = load(path, graph, engine, threads, Optimisation::Full)?;
            Self::new(path, session, if engine.is_processor() { RUN } else { RUN_COMPILED })
        })
    }

    fn new(path: &Path, session: Session, seconds: u64) -> Result<Self> {
        let mut options = RunOptions::new().map_err(|e| unexpected(&e))?;
        // A session whose log is read for its placement would go on telling it about every run.
        options.set_log_level(LogLevel::Fatal).map_err(|e| unexpected(&e))?;
        let inputs = session.inputs().iter().filter(|outlet| !outlet.name().ends_with(KEPT));
        let inputs = inputs.map(|outlet| Ok(Input::new(Port::new(path, outlet)?))).collect::<Result<_>>()?;
        let output = match session.outputs() {
            [first, ..] if first.name().ends_with(KEPT) => None,
            [output] => Some(Port::new(path, output)?),
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
            limit: Duration::from_secs(seconds),
            session,
            options: Arc::new(options),
            inputs,
            output,
            converted: Vec::new(),
        })
    }

    /// The file it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its inputs, in the order of the file.
    pub fn inputs(&self) -> impl ExactSizeIterator<Item = &Port> {
        self.inputs.iter().map(|input| &input.port)
    }

    /// Its output, unless that goes into another part.
    pub fn output(&self) -> Option<&Port> {
        self.output.as_ref()
    }

    /// A handle that stops its runs.
    pub fn interrupter(&self) -> Interrupter {
        Interrupter::new(self.options.clone())
    }

    /// How long one run may take; whoever waits for it sees to that.
    pub fn run_limit(&self) -> Duration {
        self.limit
    }

    /// Items that go into one run.
    pub fn batch(&self) -> usize {
        self.inputs().map(Port::batch).max().unwrap_or(1)
    }

    /// Its inputs and output with their shapes, for messages.
    pub fn shapes(&self) -> String {
        let inputs: Vec<String> = self.inputs().map(Port::to_string).collect();
        let output = self.output.as_ref().map(Port::to_string);
        format!("{} to {}", inputs.join(" and "), output.unwrap_or_default())
    }

    /// The values of item `item` of input `index`, row-major, to be written before [`Self::run`].
    pub fn item_mut(&mut self, index: usize, item: usize) -> &mut [f32] {
        let input = &mut self.inputs[index];
        let values = input.values.len() / input.port.batch();
        &mut input.all_mut()[item * values..][..values]
    }

    /// Gives input `index` the shape `item` behind the batch, which its file must leave free, and returns its values.
    pub fn resize_input(&mut self, index: usize, item: &[usize]) -> &mut [f32] {
        let input = &mut self.inputs[index];
        let shape: Vec<usize> = [input.port.batch()].iter().chain(item).copied().collect();
        if input.values.shape() != shape {
            input.allocate(shape);
        }
        input.all_mut()
    }

    /// Runs on the inputs as they are and returns the output, row-major.
    ///
    /// `given` are the inputs that come from another part, if it has such.
    ///
    /// # Errors
    /// [`Error::Inference`], also where the run was interrupted.
    pub fn run(&mut self, given: Option<&Tensors>) -> Result<&[f32]> {
        self.compute(given)?;
        Ok(self.output_values())
    }

    /// What the last run has made, row-major.
    pub fn output_values(&self) -> &[f32] {
        &self.converted
    }

    /// Runs on the inputs as they are, for [`Self::output_values`].
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn compute(&mut self, given: Option<&Tensors>) -> Result<()> {
        let (half, converted) = (self.output.as_ref().is_some_and(|port| port.half), &mut self.converted);
        let outputs = run(&mut self.session, &mut self.inputs, &self.options, given);
        let read = |outputs: SessionOutputs<'_>| {
            converted.clear();
            if half {
                let (_, values) = outputs[0].try_extract_tensor::<f16>()?;
                converted.extend(values.iter().map(|v| v.to_f32()));
            } else {
                let (_, values) = outputs[0].try_extract_tensor::<f32>()?;
                converted.extend_from_slice(values);
            }
            Ok(())
        };
        outputs.and_then(read).map_err(|e| failed(&self.path, &e))
    }

    /// Runs on the inputs as they are and returns what goes into another part.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn run_part(&mut self) -> Result<Tensors> {
        let outputs = run(&mut self.session, &mut self.inputs, &self.options, None);
        outputs.map(Tensors::of).map_err(|e| failed(&self.path, &e))
    }
}

fn failed(path: &Path, problem: &ort::Error) -> Error {
    Error::inference(path, format!("the network failed: {problem}")).with_source(copy(problem))
}

fn run<'s>(
    session: &'s mut Session,
    inputs: &mut [Input],
    options: &'s RunOptions,
    given: Option<&Tensors>,
) -> ort::Result<SessionOutputs<'s>> {
    for input in inputs.iter_mut() {
        if let Some(half) = &mut input.half {
            half.zip_mut_with(&input.values, |half, value| *half = f16::from_f32(*value));
        }
    }
    let own = inputs.iter().map(|input| {
        let value: SessionInputValue<'_> = match &input.half {
            Some(half) => TensorRef::from_array_view(half)?.into(),
            None => TensorRef::from_array_view(&input.values)?.into(),
        };
        Ok((input.port.name.as_str(), value))
    });
    let values =
        own.chain(given.into_iter().flat_map(Tensors::inputs).map(Ok)).collect::<ort::Result<Vec<_>>>()?;
    session.run_with_options(values, options)
}

/// Whether the processor adds products of bytes in 16 bits, as x86 did before VNNI: there ONNX Runtime is told to take
/// a slower way, which would be slower, too, where there is no need.
fn products_of_bytes_overflow() -> bool {
    #[cfg(target_arch = "x86_64")]
    let overflow = !(is_x86_feature_detected!("avx512vnni") || is_x86_feature_detected!("avxvnni"));
    #[cfg(not(target_arch = "x86_64"))]
    let overflow = false;
    overflow
}

/// Loads the graph of the model at `path`, which errors name.
///
/// # Errors
/// As [`Network::open`].
pub(crate) fn load(
    path: &Path,
    graph: &Graph,
    engine: &Engine,
    threads: usize,
    optimisation: Optimisation<'_>,
) -> Result<Session> {
    let environment = environment(engine.library_dir.as_deref())?;
    let (level, saved) = match optimisation {
        Optimisation::Full => (GraphOptimizationLevel::All, None),
        Optimisation::Saved(path) => (GraphOptimizationLevel::Level1, Some(path)),
        Optimisation::None => (GraphOptimizationLevel::Disable, None),
    };
    let builder = || {
        let mut builder = Session::builder(&environment)?
            .with_optimization_level(level)?
            .with_intra_threads(threads)?
            .with_inter_threads(1)?
            // Idle threads that spin take the cores from the other workers and the encoder.
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?
            // What is computed once is kept, and written to the cache.
            .with_config_entry(
                "optimization.constant_folding_max_output_size_in_bytes",
                CONSTANT_BYTES.to_string(),
            )?;
        if products_of_bytes_overflow() {
            builder = builder.with_precise_qmm()?;
        }
        if let Graph::WithBlocks(_, blocks) = graph {
            builder = builder.with_operators(blocks.operators()?)?;
        }
        if let Some(path) = saved {
            builder = builder.with_optimized_model_path(path)?;
        }
        Ok(builder)
    };
    let (mut builder, placement) =
        engine.apply(builder().map_err(|e: ort::Error| unexpected(&e))?, path, threads)?;
    let (Graph::Memory(bytes) | Graph::WithBlocks(bytes, _)) = graph;
    let canceler = builder.canceler();
    let seconds = if engine.is_processor() { LOAD } else { LOAD_COMPILED };
    // It cannot fail on options that exist.
    let stage = bounded::stage(path, seconds, move || drop(canceler.cancel()))?;
    // The crate panics over sizes that ONNX Runtime finds to be below zero, as behind a kernel larger than what it is given.
    let session = caught(|| builder.commit_from_memory(bytes));
    let session = session.unwrap_or_else(|_| Err(ort::Error::new("one of its values has a size below zero")));
    drop(stage);
    bounded::check()?;
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

impl Port {
    pub(crate) fn new(path: &Path, outlet: &Outlet) -> Result<Self> {
        let (name, kind) = (outlet.name(), outlet.dtype());
        let half = match kind.tensor_type() {
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
        Ok(Self { name: name.into(), shape, half })
    }

    /// Whether its shape behind the batch is `item`: what an input must say, for its buffer is made of it.
    pub fn holds(&self, item: &[usize]) -> bool {
        self.may_hold(item) && !self.shape[1..].contains(&-1)
    }

    /// Whether its shape behind the batch is `item`, or is left free.
    pub fn may_hold(&self, item: &[usize]) -> bool {
        self.shape.len() == item.len() + 1
            && self.shape[0] != 0
            && (self.shape[1..].iter().zip(item)).all(|(&have, &want)| have == -1 || have == want as i64)
    }

    /// Whether its shape behind the batch has so many sizes, all of them free.
    pub fn is_free(&self, sizes: usize) -> bool {
        self.shape.len() == sizes + 1 && self.shape[1..].iter().all(|size| *size == -1)
    }

    /// Values of an item, where the file says how many.
    pub fn values(&self) -> Option<usize> {
        let sizes = self.shape.get(1..)?.iter();
        sizes.map(|size| usize::try_from(*size).ok()).product()
    }

    /// Items in a batch: 1 where the file leaves that free.
    pub fn batch(&self) -> usize {
        self.shape.first().map_or(1, |size| (*size).max(1) as usize)
    }
}

impl std::fmt::Display for Port {
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

impl Input {
    /// Buffers for one batch; the caller has checked the shape before it writes to them.
    fn new(port: Port) -> Self {
        let shape: Vec<usize> = port.shape.iter().map(|&size| size.max(1) as usize).collect();
        let mut input = Self { port, values: ArrayD::zeros(vec![0]), half: None };
        input.allocate(shape);
        input
    }

    fn allocate(&mut self, shape: Vec<usize>) {
        self.values = ArrayD::zeros(shape.clone());
        self.half = self.port.half.then(|| ArrayD::from_elem(shape, f16::ZERO));
    }

    fn all_mut(&mut self) -> &mut [f32] {
        self.values.as_slice_mut().unwrap_or_else(|| unreachable!("the arrays are made in standard layout"))
    }
}
