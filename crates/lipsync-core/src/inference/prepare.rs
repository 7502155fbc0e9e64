//! Before step 5: the generator's graph made ready for the workers, once.
//!
//! It is fixed to one face at a time and simplified by ONNX Runtime, whose shapes are all known then, and cut in two:
//! what depends on the avatar's frame alone is computed once a frame ([`crate::onnx::Split`]). The result is kept
//! in the user's cache under a key of all that it was made of, so that the next start finds it; in memory where
//! nothing can be written there.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};

use ort::session::Session;
use ort::value::TensorElementType;

use crate::error::{Error, Result};
use crate::file;
use crate::inference::network::{self, Graph, Optimisation, Port};
use crate::inference::precision::{self, Precision};
use crate::inference::runtime::Engine;
use crate::kernels::{self, Blocks};
use crate::limits::{NETWORK_BYTES, PREPARED_GROWTH, VALUES};
use crate::onnx::{Kept, Model};

/// A generator's graph, ready to be opened by every worker.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The file it was made of.
    pub path: PathBuf,
    pub graph: Parts,
    /// The files of the cache that it was read from.
    kept: Vec<PathBuf>,
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
const VERSION: u32 = 4;

/// Number of characters of a sum in a file's name.
const SHORT: usize = 16;

/// Number of characters of a whole one.
const SEAL: usize = 64;

impl Prepared {
    /// A graph that was made of the file at `path`, in memory.
    pub fn of(path: &Path, graph: Parts) -> Self {
        Self { path: path.into(), graph, kept: Vec::new() }
    }

    /// Chooses the generator's file by precision and prepares its graph. `inputs` looks at the ports, inputs and then
    /// output, of a file that was not seen before.
    ///
    /// # Errors
    /// As [`crate::inference::network::Network::open`] and [`Precision`]; those of `inputs`.
    pub fn new(
        generator: &Path,
        engine: &Engine,
        inputs: impl Fn(&[Port], &[Port]) -> Result<Inputs>,
    ) -> Result<Self> {
        if !generator.exists() {
            return Err(Error::not_found(generator, "no such model", "Copy the avatar's models again"));
        }
        let path = if engine.is_processor() || engine.precision != Precision::Auto {
            engine.precision.choose(generator)?
        } else {
            generator.into()
        };
        if !engine.is_processor() {
            return Ok(Self::of(&path, Parts::Whole(Graph::read(&path)?)));
        }
        let workshop = Workshop { path: &path, engine };
        let (graph, kept) = workshop.graph(inputs)?;
        Ok(Self { path, graph, kept })
    }
}

impl Prepared {
    /// With the blocks of 8 bits taken out of the graph, to be computed by ourselves, where the processor can and there are
    /// any.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a graph that cannot be read.
    pub fn with_blocks(&self) -> Result<Self> {
        if !kernels::are_supported() {
            return Ok(self.clone());
        }
        let take = |graph: &Graph| {
            let Graph::Memory(bytes) = graph else { return Ok(graph.clone()) };
            let model = Model::decode(&self.path, bytes)?;
            Ok(take_blocks(model).unwrap_or_else(|| graph.clone()))
        };
        let graph = match &self.graph {
            Parts::Whole(graph) => Parts::Whole(take(graph)?),
            Parts::Apart { face, mouth } => Parts::Apart { face: take(face)?, mouth: take(mouth)? },
        };
        Ok(Self { path: self.path.clone(), graph, kept: self.kept.clone() })
    }

    /// Removes the graph from the cache, if another process has not yet; false where it is not from there.
    pub fn discard(&self) -> bool {
        self.kept.iter().map(std::fs::remove_file).count() > 0
    }
}

/// The graph of a model without its blocks, and these; `None` where the processor cannot compute them, or there are none.
pub fn take_blocks(mut model: Model) -> Option<Graph> {
    // Blocks are of one picture.
    let is_one = |port: &crate::onnx::Port| port.shape.first().is_some_and(|batch| batch == "1");
    if !kernels::are_supported() || !model.inputs().iter().all(is_one) {
        return None;
    }
    let blocks = Blocks::new(&model.take_blocks()?)?;
    Some(Graph::WithBlocks(model.encode().into(), blocks))
}

/// A model fixed to one item at a time and simplified, in one piece.
///
/// # Errors
/// As [`crate::inference::network::Network::open`].
pub fn simplified(path: &Path, engine: &Engine) -> Result<Model> {
    let mut model = Model::read(path)?;
    model.fix_batch();
    let workshop = Workshop { path, engine };
    workshop.simplify(&model).map(|(model, _)| model)
}

/// Where one file's graph is prepared.
struct Workshop<'a> {
    path: &'a Path,
    engine: &'a Engine,
}

impl Workshop<'_> {
    /// The graph, and the files of the cache that it was read from.
    fn graph(&self, inputs: impl Fn(&[Port], &[Port]) -> Result<Inputs>) -> Result<(Parts, Vec<PathBuf>)> {
        let bytes = file::read(self.path, NETWORK_BYTES, network::MODEL_REMEDY)?;
        // Also loads the library, whose version is part of the key.
        crate::inference::runtime::environment(self.engine.library_dir.as_deref())?;
        let shelf = Shelf::of(self.path, &bytes);
        if let Some(found) = shelf.as_ref().and_then(Shelf::find) {
            return Ok(found);
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
            // What cannot be kept is made again next time.
            shelf.iter().for_each(|shelf| shelf.put(name, &bytes));
            Graph::Memory(bytes.into())
        };
        if let Some(mut split) = split
            && let Some(values) = self.shapes(&split.face)?
        {
            split.store(&values);
            let parts = Parts::Apart { face: put(FACE, &split.face), mouth: put(MOUTH, &split.mouth) };
            return Ok((parts, Vec::new()));
        }
        Ok((Parts::Whole(put(WHOLE, &model)), Vec::new()))
    }

    /// Has ONNX Runtime simplify a graph, and does what that leaves; returns the session, too, for its ports.
    fn simplify(&self, model: &Model) -> Result<(Model, Session)> {
        let mut written = Written::new().map_err(|e| {
            Error::runtime(
                format!("there is no memory for a graph: {e}"),
                "End other programs, or set TMPDIR",
            )
        })?;
        let graph = model.encode();
        let most = (4 * graph.len() as u64 + PREPARED_GROWTH).min(NETWORK_BYTES);
        let graph = Graph::Memory(graph.into());
        let session = self.load(&graph, Optimisation::Saved(&written.path))?;
        let bytes = written.read(most).map_err(|problem| {
            Error::invalid(self.path, format!("cannot be prepared: {problem}"), network::MODEL_REMEDY)
        })?;
        let mut model = Model::decode(self.path, &bytes)?;
        model.drop_idle_pads();
        model.fill_channels();
        Ok((model, session))
    }

    /// What the first part gives; `None` where that is of a kind that cannot be kept.
    fn shapes(&self, face: &Model) -> Result<Option<Vec<Kept>>> {
        let session = self.load(&Graph::of(face), Optimisation::None)?;
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
        let values: Option<Vec<Kept>> = outputs.collect();
        // They are there once for every frame that is in memory.
        let count = |value: &Kept| value.shape.iter().try_fold(1u64, |n, size| n.checked_mul(*size as u64));
        let fits = |values: &Vec<Kept>| {
            values
                .iter()
                .try_fold(0u64, |sum, value| sum.checked_add(count(value)?))
                .is_some_and(|n| n <= VALUES)
        };
        Ok(values.filter(fits))
    }

    fn load(&self, graph: &Graph, optimisation: Optimisation<'_>) -> Result<Session> {
        network::load(self.path, graph, self.engine, 1, optimisation)
    }
}

/// A file that ONNX Runtime writes a graph to, and that is read back: in memory where the system can, so that no disk must
/// have room.
struct Written {
    file: File,
    path: PathBuf,
    /// Removes the file in the end, where it has a name.
    _named: Option<tempfile::TempPath>,
}

impl Written {
    fn new() -> std::io::Result<Self> {
        if let Some((file, path)) = file_in_memory() {
            return Ok(Self { file, path, _named: None });
        }
        let (file, path) = tempfile::Builder::new().suffix(".onnx").tempfile()?.into_parts();
        Ok(Self { file, path: path.to_path_buf(), _named: Some(path) })
    }

    /// What was written, if it is no more than that.
    fn read(&mut self, most: u64) -> std::result::Result<Vec<u8>, String> {
        let mut read = || {
            let size = self.file.metadata()?.len();
            self.file.rewind()?;
            let mut bytes = Vec::new();
            if size <= most {
                self.file.read_to_end(&mut bytes)?;
            }
            Ok((size, bytes))
        };
        let (size, bytes) = read().map_err(|e: std::io::Error| e.to_string())?;
        if size > most { Err(format!("it becomes {size} bytes, more than {most}")) } else { Ok(bytes) }
    }
}

/// A file that is on no disk, and the path by which this process can open it.
#[cfg(target_os = "linux")]
fn file_in_memory() -> Option<(File, PathBuf)> {
    use std::os::fd::{AsRawFd as _, FromRawFd as _};
    // SAFETY: the name is text that ends in zero; what is returned is a file of this process, or negative.
    let file = unsafe {
        let file = libc::memfd_create(c"lipsync".as_ptr(), libc::MFD_CLOEXEC);
        (file >= 0).then(|| File::from_raw_fd(file))?
    };
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    path.exists().then_some((file, path))
}

#[cfg(not(target_os = "linux"))]
fn file_in_memory() -> Option<(File, PathBuf)> {
    None
}

const WHOLE: &str = "whole";
const FACE: &str = "face";
const MOUTH: &str = "mouth";

/// The place in the user's cache where the graphs made of one file are kept.
///
/// A file there begins with a sum of what the graph was made of and of the graph itself, so that one that was cut short,
/// damaged or exchanged for another is made again, and not run. It is no seal: who may write to the user's cache may as
/// well write there what they like.
struct Shelf {
    folder: PathBuf,
    /// Of the file, wherever it is now: what was made of older versions is found by it, and removed.
    place: String,
    key: String,
    /// All that the key is the short form of.
    made_of: String,
}

impl Shelf {
    /// `None` where the user has no cache.
    fn of(path: &Path, bytes: &[u8]) -> Option<Self> {
        Self::in_folder(graphs_folder()?, path, bytes)
    }

    fn in_folder(folder: PathBuf, path: &Path, bytes: &[u8]) -> Option<Self> {
        let short = |text: &[u8]| precision::sum(text)[..SHORT].to_owned();
        let place = path.canonicalize().ok()?;
        let made_of = format!("{VERSION} {} {}", ort::info(), precision::sum(bytes));
        Some(Self {
            folder,
            place: short(place.as_os_str().as_encoded_bytes()),
            key: short(made_of.as_bytes()),
            made_of,
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}-{}-{name}.graph", self.place, self.key))
    }

    /// What a file with that graph begins with.
    fn seal(&self, name: &str, graph: &[u8]) -> String {
        precision::sum(format!("{} {name} {}", self.made_of, precision::sum(graph)).as_bytes())
    }

    /// The graph, and its files.
    fn find(&self) -> Option<(Parts, Vec<PathBuf>)> {
        let apart = || Some(Parts::Apart { face: self.get(FACE)?, mouth: self.get(MOUTH)? });
        if let Some(parts) = apart() {
            return Some((parts, vec![self.file(FACE), self.file(MOUTH)]));
        }
        Some((Parts::Whole(self.get(WHOLE)?), vec![self.file(WHOLE)]))
    }

    fn get(&self, name: &str) -> Option<Graph> {
        let mut bytes = file::read(&self.file(name), NETWORK_BYTES, "").ok()?;
        let graph = (bytes.len() >= SEAL).then(|| bytes.split_off(SEAL))?;
        (self.seal(name, &graph).as_bytes() == bytes).then(|| Graph::Memory(graph.into()))
    }

    /// Keeps a graph, in place of those made of older versions of the file, if it can be written.
    fn put(&self, name: &str, graph: &[u8]) {
        let folder = &self.folder;
        let entries = std::fs::create_dir_all(folder).and_then(|()| std::fs::read_dir(folder));
        for entry in entries.into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|name| self.is_old(name)) {
                // Another process may have done it.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        let bytes = [self.seal(name, graph).as_bytes(), graph].concat();
        let _ = file::replace(&self.file(name), &bytes);
    }

    /// Whether a file is of this place, but of another key.
    fn is_old(&self, name: &str) -> bool {
        let rest = name.strip_prefix(&self.place).and_then(|rest| rest.strip_prefix('-'));
        rest.is_some_and(|rest| !rest.starts_with(&self.key))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn shelf(folder: &Path) -> Shelf {
        let [place, key, made_of] = ["0123456789abcdef", "fedcba9876543210", "all"].map(String::from);
        Shelf { folder: folder.into(), place, key, made_of }
    }

    #[test]
    fn what_was_put_is_found_until_it_is_damaged_or_exchanged() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = shelf(folder.path());
        assert!(shelf.find().is_none());
        shelf.put(FACE, b"a face");
        shelf.put(MOUTH, b"a mouth");
        let (parts, files) = shelf.find().unwrap();
        let Parts::Apart { face: Graph::Memory(face), .. } = parts else { panic!("{parts:?}") };
        assert_eq!(&face[..], b"a face");
        let [face, mouth] = &files[..] else { panic!("{files:?}") };
        let bytes = std::fs::read(face).unwrap();
        for damaged in [&bytes[..bytes.len() - 1], &bytes[..10], b"", &std::fs::read(mouth).unwrap()] {
            std::fs::write(face, damaged).unwrap();
            assert!(shelf.find().is_none());
        }
        std::fs::write(face, &bytes).unwrap();
        assert!(shelf.find().is_some());
        // Made of something else whose key begins alike.
        assert!(Shelf { made_of: "other".into(), ..shelf }.find().is_none());
    }

    #[test]
    fn strange_names_in_the_cache_are_left_alone_and_old_graphs_go() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = shelf(folder.path());
        let strange = [shelf.place.clone(), format!("{}é", shelf.place), format!("{}x", shelf.place)];
        let old = [format!("{}-", shelf.place), format!("{}-0123-face.onnx", shelf.place)];
        for name in strange.iter().chain(&old) {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        shelf.put(WHOLE, b"a graph");
        assert!(shelf.find().is_some());
        assert!(strange.iter().all(|name| folder.path().join(name).exists()));
        assert!(!old.iter().any(|name| folder.path().join(name).exists()));
    }
}
