//! Before step 5: the generator's graph made ready for the workers, once.
//!
//! It is fixed to one face at a time and simplified by ONNX Runtime, whose shapes are all known then, and cut in two:
//! what depends on the avatar's frame alone is computed once a frame ([`crate::onnx::Split`]). The result is kept
//! in the user's cache under a key of all that it was made of, so that the next start finds it; in memory where
//! nothing can be written there.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use ort::session::Session;
use ort::value::TensorElementType;

use crate::blocks::{self, Blocks};
use crate::error::{Error, Result};
use crate::file;
use crate::limits::NETWORK_BYTES;
use crate::network::{self, Graph, Optimisation, Port};
use crate::onnx::{Kept, Model};
use crate::precision::{self, Precision};
use crate::runtime::Engine;

/// A generator's graph, ready to be opened by every worker.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The file it was made of.
    pub path: PathBuf,
    pub graph: Parts,
}

/// A graph, or two that make it up.
#[derive(Debug, Clone)]
pub enum Parts {
    /// All in one: it paints several faces at once, or runs where memory is not the processor's, or all of it hears.
    Whole(Graph),
    /// What sees the face, and what paints its mouth.
    Apart { face: Graph, mouth: Graph },
}

/// The names of the inputs of a generator that is one of the method.
pub struct Inputs {
    pub picture: String,
    pub sound: String,
}

/// To be counted up when graphs are made in another way.
const VERSION: u32 = 3;

/// Number of characters of a sum in a file's name.
const SHORT: usize = 16;

impl Prepared {
    /// Chooses the generator's file by precision and prepares its graph. `inputs` looks at the ports, inputs and then
    /// output, of a file that was not seen before.
    ///
    /// # Errors
    /// As [`crate::network::Network::open`] and [`Precision`]; those of `inputs`.
    pub fn new(
        generator: &Path,
        engine: &Engine,
        beside: Option<&Path>,
        inputs: impl Fn(&[Port], &[Port]) -> Result<Inputs>,
    ) -> Result<Self> {
        if !generator.is_file() {
            return Err(Error::not_found(generator, "no such model", "Copy the avatar's models again"));
        }
        let path = if engine.is_processor() || engine.precision != Precision::Auto {
            engine.precision.choose(generator)?
        } else {
            generator.into()
        };
        if !engine.is_processor() {
            return Ok(Self { graph: Parts::Whole(Graph::File(path.clone())), path });
        }
        let workshop = Workshop { path: &path, engine, beside };
        let graph = workshop.graph(inputs)?;
        Ok(Self { path, graph })
    }
}

impl Prepared {
    /// With the blocks of 8 bits taken out of the graph, to be computed by ourselves, where the processor can and there are
    /// any.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a graph that cannot be read.
    pub fn with_blocks(&self) -> Result<Self> {
        if !blocks::are_supported() {
            return Ok(self.clone());
        }
        let take = |graph: &Graph| {
            let model = match graph {
                Graph::File(path) => Model::read(path)?,
                Graph::Memory(bytes) => Model::decode(&self.path, bytes)?,
                Graph::WithBlocks(..) => return Ok(graph.clone()),
            };
            Ok(take_blocks(model).unwrap_or_else(|| graph.clone()))
        };
        let graph = match &self.graph {
            Parts::Whole(graph) => Parts::Whole(take(graph)?),
            Parts::Apart { face, mouth } => Parts::Apart { face: take(face)?, mouth: take(mouth)? },
        };
        Ok(Self { path: self.path.clone(), graph })
    }

    /// Removes the graph from the cache, if another process has not yet; false where it is not from there.
    pub fn discard(&self) -> bool {
        let graphs = match &self.graph {
            Parts::Whole(graph) => vec![graph],
            Parts::Apart { face, mouth } => vec![face, mouth],
        };
        let is_kept = |path: &&PathBuf| graphs_folder().is_some_and(|folder| path.starts_with(folder));
        let files = graphs.into_iter().filter_map(|graph| match graph {
            Graph::File(path) => Some(path).filter(is_kept),
            Graph::Memory(_) | Graph::WithBlocks(..) => None,
        });
        files.map(std::fs::remove_file).count() > 0
    }
}

/// The graph of a model without its blocks, and these; `None` where the processor cannot compute them, or there are none.
pub fn take_blocks(mut model: Model) -> Option<Graph> {
    if !blocks::are_supported() {
        return None;
    }
    let blocks = Blocks::new(&model.take_blocks()?)?;
    Some(Graph::WithBlocks(model.encode().into(), blocks))
}

/// A model fixed to one item at a time and simplified, in one piece.
///
/// # Errors
/// As [`crate::network::Network::open`].
pub fn simplified(path: &Path, beside: Option<&Path>) -> Result<Model> {
    let mut model = Model::read(path)?;
    model.fix_batch();
    let workshop = Workshop { path, engine: &Engine::default(), beside };
    workshop.simplify(&model).map(|(model, _)| model)
}

/// Where one file's graph is prepared.
struct Workshop<'a> {
    path: &'a Path,
    engine: &'a Engine,
    beside: Option<&'a Path>,
}

impl Workshop<'_> {
    fn graph(&self, inputs: impl Fn(&[Port], &[Port]) -> Result<Inputs>) -> Result<Parts> {
        let bytes = file::read(self.path, NETWORK_BYTES, network::MODEL_REMEDY)?;
        // Also loads the library, whose version is part of the key.
        crate::runtime::environment(self.beside)?;
        let shelf = Shelf::of(self.path, &bytes);
        if let Some(parts) = shelf.as_ref().and_then(Shelf::find) {
            return Ok(parts);
        }
        let mut model = Model::decode(self.path, &bytes)?;
        drop(bytes);
        model.fix_batch();
        // The sum in the key does not cover weights in other files.
        let shelf = shelf.filter(|_| !model.is_scattered());
        let (model, session) = self.simplify(&model)?;
        let ports = |outlets: &[ort::value::Outlet]| -> Result<Vec<Port>> {
            outlets.iter().map(|outlet| Port::new(self.path, outlet)).collect()
        };
        let (ins, outs) = (ports(session.inputs())?, ports(session.outputs())?);
        drop(session);
        let inputs = inputs(&ins, &outs)?;
        let one_at_a_time = ins.iter().all(|port| port.batch() == 1);
        let split = if one_at_a_time { model.split(&inputs.picture, &inputs.sound) } else { None };
        let put = |name: &str, model: &Model| {
            let bytes = model.encode();
            let file = shelf.as_ref().and_then(|shelf| shelf.put(name, &bytes));
            file.map_or_else(|| Graph::Memory(bytes.into()), Graph::File)
        };
        if let Some(mut split) = split
            && let Some(values) = self.shapes(&split.face)?
        {
            split.store(&values);
            return Ok(Parts::Apart { face: put(FACE, &split.face), mouth: put(MOUTH, &split.mouth) });
        }
        Ok(Parts::Whole(put(WHOLE, &model)))
    }

    /// Has ONNX Runtime simplify a graph, and does what that leaves; returns the session, too, for its ports.
    fn simplify(&self, model: &Model) -> Result<(Model, Session)> {
        let problem =
            |e: std::io::Error| Error::runtime(format!("no temporary file: {e}"), "Make room, or set TMPDIR");
        let file = tempfile::Builder::new().suffix(".onnx").tempfile().map_err(problem)?;
        let session = self.load(model, Optimisation::Saved(file.path()))?;
        let bytes = std::fs::read(file.path()).map_err(problem)?;
        let mut model = Model::decode(self.path, &bytes)?;
        model.drop_idle_pads();
        model.fill_channels();
        Ok((model, session))
    }

    /// What the first part gives; `None` where that is of a kind that cannot be kept.
    fn shapes(&self, face: &Model) -> Result<Option<Vec<Kept>>> {
        let session = self.load(face, Optimisation::None)?;
        let outputs = session.outputs().iter().map(|outlet| {
            let shape = outlet.dtype().tensor_shape()?.to_vec();
            let data_type = match outlet.dtype().tensor_type()? {
                TensorElementType::Float32 => crate::onnx::FLOAT32,
                TensorElementType::Uint8 => crate::onnx::UINT8,
                TensorElementType::Int8 => crate::onnx::INT8,
                _ => return None,
            };
            let is_known = shape.iter().all(|size| *size > 0);
            is_known.then(|| Kept { name: outlet.name().into(), data_type, shape })
        });
        Ok(outputs.collect())
    }

    fn load(&self, model: &Model, optimisation: Optimisation<'_>) -> Result<Session> {
        let graph = Graph::Memory(model.encode().into());
        network::load(self.path, &graph, self.engine, 1, self.beside, optimisation)
    }
}

const WHOLE: &str = "whole";
const FACE: &str = "face";
const MOUTH: &str = "mouth";

/// The place in the user's cache where the graphs made of one file are kept.
struct Shelf {
    folder: PathBuf,
    /// Of the file, wherever it is now: what was made of older versions is found by it, and removed.
    place: String,
    key: String,
}

impl Shelf {
    /// `None` where the user has no cache.
    fn of(path: &Path, bytes: &[u8]) -> Option<Self> {
        let short = |text: &[u8]| precision::sum(text)[..SHORT].to_owned();
        let place = path.canonicalize().ok()?;
        let made_of = format!("{VERSION} {} {}", ort::info(), precision::sum(bytes));
        Some(Self {
            folder: graphs_folder()?,
            place: short(place.as_os_str().as_encoded_bytes()),
            key: short(made_of.as_bytes()),
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}-{}-{name}.onnx", self.place, self.key))
    }

    fn find(&self) -> Option<Parts> {
        let file = |name| Some(self.file(name)).filter(|path| path.is_file()).map(Graph::File);
        let apart = || Some(Parts::Apart { face: file(FACE)?, mouth: file(MOUTH)? });
        apart().or_else(|| file(WHOLE).map(Parts::Whole))
    }

    /// Keeps a graph, in place of those made of older versions of the file; `None` where it cannot be written.
    fn put(&self, name: &str, bytes: &[u8]) -> Option<PathBuf> {
        std::fs::create_dir_all(&self.folder).ok()?;
        for entry in std::fs::read_dir(&self.folder).ok()?.flatten() {
            let is_old = entry.file_name().to_str().is_some_and(|name| {
                name.strip_prefix(&self.place).is_some_and(|rest| !rest[1..].starts_with(&self.key))
            });
            if is_old {
                // Another process may have done it.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        // Under its name only when it is complete.
        let mut file = tempfile::NamedTempFile::new_in(&self.folder).ok()?;
        file.write_all(bytes).ok()?;
        let path = self.file(name);
        file.persist(&path).ok()?;
        Some(path)
    }
}

fn graphs_folder() -> Option<PathBuf> {
    Some(cache_folder()?.join("graphs"))
}

/// The folder `lipsync` in the user's cache: `XDG_CACHE_HOME`, else `~/.cache`.
pub fn cache_folder() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
    Some(cache.join("lipsync"))
}
