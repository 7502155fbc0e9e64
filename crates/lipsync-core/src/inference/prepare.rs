// SPDX-License-Identifier: MPL-2.0
//! Graph preparation, before step 5: the generator's graph is optimized once for all workers.
//!
//! Its batch size is fixed to one, so that ONNX Runtime knows all shapes when it optimizes; then it is split
//! in two, so that the image branch runs once for each frame of the avatar ([`crate::onnx::SplitGenerator`]). The
//! result is cached in the user's cache folder under a hash of everything that it was made from; where that
//! cannot be written, it stays in memory.

use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::path::{Path, PathBuf};

use ort::session::Session;
use ort::value::TensorElementType;

use crate::error::{Error, Result};
use crate::file::{self, sha256_hex};
use crate::inference::network::{self, Graph, Optimization, TensorInfo};
use crate::inference::precision::Precision;
use crate::inference::runtime::Engine;
use crate::kernels::{self, FusedKernels, Isa};
use crate::limits::{NETWORK_BYTES, PREPARED_GROWTH, VALUES};
use crate::onnx::{BoundaryValue, DataType, Model};

/// A generator's optimized graph, from which every worker opens its session.
#[derive(Debug, Clone)]
pub struct PreparedGraph {
    /// The file it was made from.
    pub path: PathBuf,
    /// The graph.
    pub graph: GraphParts,
    /// The cache files that it was read from.
    cache_files: Vec<PathBuf>,
}

/// A graph, or the two branches of it.
#[derive(Debug, Clone)]
pub enum GraphParts {
    /// Not split: its batch size is fixed to several, the memory is not the processor's, or all of it depends
    /// on the audio.
    Whole(Graph),
    /// The image branch depends on the frame only; the audio branch takes its outputs and the audio.
    Split {
        /// From the picture to what is kept of it.
        image_branch: Graph,
        /// From that and the audio to the painted face.
        audio_branch: Graph,
    },
}

/// Names of the generator's inputs.
pub struct InputNames {
    /// The face.
    pub picture: String,
    /// The audio context.
    pub audio: String,
}

/// To be incremented where preparation changes.
const VERSION: u32 = 4;

/// Characters of a hash in a file's name.
const KEY_CHARS: usize = 16;

/// Characters of a whole hash.
const CHECKSUM_CHARS: usize = 64;

impl PreparedGraph {
    /// A graph in memory that was made from the file at `path`.
    pub fn of(path: &Path, graph: GraphParts) -> Self {
        Self { path: path.into(), graph, cache_files: Vec::new() }
    }

    /// Selects the generator's file by precision and prepares its graph. `inputs` tells the roles of inputs
    /// and outputs, where the graph is not in the cache.
    ///
    /// # Errors
    /// As [`crate::inference::network::Network::open`] and [`Precision`]; those of `inputs`.
    pub fn new(
        generator: &Path,
        engine: &Engine,
        inputs: impl Fn(&[TensorInfo], &[TensorInfo]) -> Result<InputNames>,
    ) -> Result<Self> {
        if !generator.exists() {
            return Err(Error::not_found(generator, "no such model", "Copy the avatar's models again"));
        }
        let path = if engine.is_processor() || engine.precision != Precision::Auto {
            engine.precision.select_model(generator)?
        } else {
            generator.into()
        };
        if !engine.is_processor() {
            let mut model = Model::read(&path)?;
            if path != generator {
                model.remove_clips_before_quantization();
            }
            return Ok(Self::of(&path, GraphParts::Whole(Graph::of(&model))));
        }
        let builder = GraphBuilder { path: &path, engine };
        let (graph, cache_files) = builder.graph(inputs)?;
        Ok(Self { path, graph, cache_files })
    }
}

impl PreparedGraph {
    /// Whether it was made from the 8-bit network of a generator.
    pub fn is_int8(&self) -> bool {
        self.path.as_os_str().to_string_lossy().ends_with(".int8.onnx")
    }

    /// The instruction set of the fused kernels in it.
    pub fn kernels(&self) -> Option<Isa> {
        let isa = |graph: &Graph| match graph {
            Graph::Memory(_) => None,
            Graph::WithFusedKernels(_, kernels) => Some(kernels.isa()),
        };
        match &self.graph {
            GraphParts::Whole(graph) => isa(graph),
            GraphParts::Split { image_branch, audio_branch } => {
                isa(audio_branch).or_else(|| isa(image_branch))
            }
        }
    }

    /// The same 8-bit network as this processor runs it: with fused kernels, where there are any for it.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a graph that cannot be read.
    pub fn with_fused_kernels(&self) -> Result<Self> {
        let fuse = |graph: &Graph| {
            let Graph::Memory(bytes) = graph else { return Ok(graph.clone()) };
            let model = Model::decode(&self.path, bytes)?;
            Ok(for_this_processor(model))
        };
        let graph = match &self.graph {
            GraphParts::Whole(graph) => GraphParts::Whole(fuse(graph)?),
            GraphParts::Split { image_branch, audio_branch } => {
                GraphParts::Split { image_branch: fuse(image_branch)?, audio_branch: fuse(audio_branch)? }
            }
        };
        Ok(Self { path: self.path.clone(), graph, cache_files: self.cache_files.clone() })
    }

    /// Removes the graph from the cache; false where it was not read from there.
    pub fn discard(&self) -> bool {
        self.cache_files.iter().map(std::fs::remove_file).count() > 0
    }
}

/// The graph of an 8-bit network with fused kernels, or as it is best for ONNX Runtime.
pub fn for_this_processor(mut model: Model) -> Graph {
    if let Some(kernels) = fused_kernels(&mut model) {
        return Graph::WithFusedKernels(model.encode().into(), kernels);
    }
    model.remove_clips_before_quantization();
    Graph::of(&model)
}

/// The graph with blocks replaced by fused kernels; `None` where the processor does not support them, or
/// there are none.
pub fn fuse_blocks(mut model: Model) -> Option<Graph> {
    let kernels = fused_kernels(&mut model)?;
    Some(Graph::WithFusedKernels(model.encode().into(), kernels))
}

/// Replaces the blocks of a model by custom operators, and returns their kernels; `None` where the model stays as it is.
fn fused_kernels(model: &mut Model) -> Option<FusedKernels> {
    // The kernels take a batch of one.
    let is_one = |port: &crate::onnx::ValueInfo| port.shape.first().is_some_and(|batch| batch == "1");
    if !kernels::are_supported() || !model.inputs().iter().all(is_one) {
        return None;
    }
    FusedKernels::new(&model.fuse_blocks()?)
}

/// A model with a batch size of one, optimized but not split.
///
/// # Errors
/// As [`crate::inference::network::Network::open`].
pub fn simplified(path: &Path, engine: &Engine) -> Result<Model> {
    let mut model = Model::read(path)?;
    model.fix_batch_size();
    let builder = GraphBuilder { path, engine };
    builder.simplify(&model).map(|(model, _)| model)
}

/// Prepares the graph of one file.
struct GraphBuilder<'a> {
    path: &'a Path,
    engine: &'a Engine,
}

impl GraphBuilder<'_> {
    /// The graph, and the cache files that it was read from.
    fn graph(
        &self,
        inputs: impl Fn(&[TensorInfo], &[TensorInfo]) -> Result<InputNames>,
    ) -> Result<(GraphParts, Vec<PathBuf>)> {
        let bytes = file::read(self.path, NETWORK_BYTES, network::MODEL_REMEDY)?;
        // This also loads the library, whose version is part of the key.
        crate::inference::runtime::environment(self.engine.library_dir.as_deref())?;
        let cache = GraphCache::of(self.path, &bytes);
        if let Some(found) = cache.as_ref().and_then(GraphCache::find) {
            return Ok(found);
        }
        let mut model = Model::decode(self.path, &bytes)?;
        drop(bytes);
        model.fix_batch_size();
        // The hash in the key does not cover external weights.
        let cache = cache.filter(|_| !model.has_external_data());
        let (model, session) = self.simplify(&model)?;
        let ports = |outlets: &[ort::value::Outlet]| -> Result<Vec<TensorInfo>> {
            outlets.iter().map(|outlet| TensorInfo::new(self.path, outlet)).collect()
        };
        let (ins, outs) = (ports(session.inputs())?, ports(session.outputs())?);
        drop(session);
        let inputs = inputs(&ins, &outs)?;
        let one_at_a_time = ins.iter().all(|port| port.batch() == 1);
        let split = if one_at_a_time { model.split_generator(&inputs.picture, &inputs.audio) } else { None };
        let store = |name: &str, model: &Model| {
            let bytes = model.encode();
            // What cannot be cached is prepared again next time.
            cache.iter().for_each(|cache| cache.store(name, &bytes));
            Graph::Memory(bytes.into())
        };
        if let Some(mut split) = split
            && let Some(values) = self.shapes(&split.face)?
        {
            split.declare_boundary(&values);
            let parts = GraphParts::Split {
                image_branch: store(IMAGE_BRANCH, &split.face),
                audio_branch: store(AUDIO_BRANCH, &split.mouth),
            };
            return Ok((parts, Vec::new()));
        }
        Ok((GraphParts::Whole(store(WHOLE_GRAPH, &model)), Vec::new()))
    }

    /// Optimizes a graph with ONNX Runtime and cleans up what that leaves; also returns the session, for its
    /// shapes.
    fn simplify(&self, model: &Model) -> Result<(Model, Session)> {
        let mut optimized_file = OptimizedModelFile::new().map_err(|e| {
            Error::runtime(
                format!("there is no memory for a graph: {e}"),
                "End other programs, or set TMPDIR",
            )
        })?;
        let graph = model.encode();
        let most = (4 * graph.len() as u64 + PREPARED_GROWTH).min(NETWORK_BYTES);
        let graph = Graph::Memory(graph.into());
        let session = self.load(&graph, Optimization::BasicToFile(&optimized_file.path))?;
        let bytes = optimized_file.read(most).map_err(|problem| {
            Error::invalid(self.path, format!("cannot be prepared: {problem}"), network::MODEL_REMEDY)
        })?;
        let mut model = Model::decode_optimized(self.path, &bytes)?;
        model.remove_noop_pads();
        model.pad_depthwise_channels();
        Ok((model, session))
    }

    /// Shapes and types of the image branch's outputs; `None` where they cannot be kept.
    fn shapes(&self, face: &Model) -> Result<Option<Vec<BoundaryValue>>> {
        let session = self.load(&Graph::of(face), Optimization::Disabled)?;
        let outputs = session.outputs().iter().map(|outlet| {
            let shape = outlet.dtype().tensor_shape()?.to_vec();
            let data_type = match outlet.dtype().tensor_type()? {
                TensorElementType::Float32 => DataType::Float,
                TensorElementType::Uint8 => DataType::Uint8,
                TensorElementType::Int8 => DataType::Int8,
                _ => return None,
            };
            let is_known = shape.iter().all(|size| *size > 0);
            is_known.then(|| BoundaryValue { name: outlet.name().into(), data_type, shape })
        });
        let values: Option<Vec<BoundaryValue>> = outputs.collect();
        // They are in memory once for every frame.
        let count =
            |value: &BoundaryValue| value.shape.iter().try_fold(1u64, |n, size| n.checked_mul(*size as u64));
        let fits = |values: &Vec<BoundaryValue>| {
            values
                .iter()
                .try_fold(0u64, |sum, value| sum.checked_add(count(value)?))
                .is_some_and(|n| n <= VALUES)
        };
        Ok(values.filter(fits))
    }

    fn load(&self, graph: &Graph, optimization: Optimization<'_>) -> Result<Session> {
        network::load(self.path, graph, self.engine, 1, optimization)
    }
}

/// A file that ONNX Runtime writes the optimized graph to: a memfd where the system has them, so that it
/// takes no disk space.
struct OptimizedModelFile {
    file: File,
    path: PathBuf,
    /// Removes the file on drop, where it has a name.
    _named: Option<tempfile::TempPath>,
}

impl OptimizedModelFile {
    fn new() -> std::io::Result<Self> {
        if let Some((file, path)) = memfd() {
            return Ok(Self { file, path, _named: None });
        }
        let (file, path) = tempfile::Builder::new().suffix(".onnx").tempfile()?.into_parts();
        Ok(Self { file, path: path.to_path_buf(), _named: Some(path) })
    }

    /// What was written, if it is at most `most` bytes.
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

/// A file in memory (memfd), and the path by which this process can open it.
#[cfg(target_os = "linux")]
fn memfd() -> Option<(File, PathBuf)> {
    use std::os::fd::{AsRawFd as _, FromRawFd as _};
    // SAFETY: the name is a C string; the call returns a new file descriptor or a negative value.
    let file = unsafe {
        let file = libc::memfd_create(c"lipsync".as_ptr(), libc::MFD_CLOEXEC);
        (file >= 0).then(|| File::from_raw_fd(file))?
    };
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    path.exists().then_some((file, path))
}

#[cfg(not(target_os = "linux"))]
fn memfd() -> Option<(File, PathBuf)> {
    None
}

const WHOLE_GRAPH: &str = "whole";
const IMAGE_BRANCH: &str = "face";
const AUDIO_BRANCH: &str = "mouth";

/// The cached graphs of one file, in the user's cache folder.
///
/// A cache file begins with a checksum over the key's source and the graph, so that a truncated, damaged or
/// swapped file is not used. This is no protection against others who can write to the user's cache.
struct GraphCache {
    folder: PathBuf,
    /// Hash of the file's path: finds the graphs made from older versions, which are removed.
    path_hash: String,
    key: String,
    /// What the key is a hash of.
    key_source: String,
}

impl GraphCache {
    /// `None` where the user has no cache folder.
    fn of(path: &Path, bytes: &[u8]) -> Option<Self> {
        Self::in_folder(graph_folder()?, path, bytes)
    }

    fn in_folder(folder: PathBuf, path: &Path, bytes: &[u8]) -> Option<Self> {
        let short = |text: &[u8]| sha256_hex(text)[..KEY_CHARS].to_owned();
        let path_hash = path.canonicalize().ok()?;
        let key_source = format!("{VERSION} {} {}", ort::info(), sha256_hex(bytes));
        Some(Self {
            folder,
            path_hash: short(path_hash.as_os_str().as_encoded_bytes()),
            key: short(key_source.as_bytes()),
            key_source,
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{}-{}-{name}.graph", self.path_hash, self.key))
    }

    /// The checksum at the beginning of a cache file.
    fn checksum(&self, name: &str, graph: &[u8]) -> String {
        sha256_hex(format!("{} {name} {}", self.key_source, sha256_hex(graph)).as_bytes())
    }

    /// The graph, and its cache files.
    fn find(&self) -> Option<(GraphParts, Vec<PathBuf>)> {
        let split = || {
            Some(GraphParts::Split {
                image_branch: self.load(IMAGE_BRANCH)?,
                audio_branch: self.load(AUDIO_BRANCH)?,
            })
        };
        if let Some(parts) = split() {
            return Some((parts, vec![self.file(IMAGE_BRANCH), self.file(AUDIO_BRANCH)]));
        }
        Some((GraphParts::Whole(self.load(WHOLE_GRAPH)?), vec![self.file(WHOLE_GRAPH)]))
    }

    fn load(&self, name: &str) -> Option<Graph> {
        self.read(name).map(|graph| Graph::Memory(graph.into()))
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        let mut bytes = file::read(&self.file(name), NETWORK_BYTES, "").ok()?;
        let graph = (bytes.len() >= CHECKSUM_CHARS).then(|| bytes.split_off(CHECKSUM_CHARS))?;
        (self.checksum(name, &graph).as_bytes() == bytes).then_some(graph)
    }

    /// Writes a graph and removes those of older versions, if the folder is writable.
    fn store(&self, name: &str, graph: &[u8]) {
        let folder = &self.folder;
        let entries = std::fs::create_dir_all(folder).and_then(|()| std::fs::read_dir(folder));
        for entry in entries.into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|name| self.is_stale(name)) {
                // Another process may have removed it.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        let bytes = [self.checksum(name, graph).as_bytes(), graph].concat();
        let _ = file::replace(&self.file(name), &bytes);
    }

    /// Whether a cache file belongs to this path, but to another key.
    fn is_stale(&self, name: &str) -> bool {
        let rest = name.strip_prefix(&self.path_hash).and_then(|rest| rest.strip_prefix('-'));
        rest.is_some_and(|rest| !rest.starts_with(&self.key))
    }
}

/// Something found out about a network, kept beside its cached graphs and as long as they.
pub struct Remembered {
    cache: GraphCache,
    name: String,
}

impl Remembered {
    /// What is called `name`, about the network in a file; `None` where the user has no cache folder.
    pub fn of(network: &Path, name: &str) -> Option<Self> {
        let bytes = file::read(network, NETWORK_BYTES, network::MODEL_REMEDY).ok()?;
        Some(Self { cache: GraphCache::of(network, &bytes)?, name: name.into() })
    }

    /// What was written.
    pub fn read(&self) -> Option<String> {
        String::from_utf8(self.cache.read(&self.name)?).ok()
    }

    /// Writes it, where the folder is writable.
    pub fn write(&self, text: &str) {
        self.cache.store(&self.name, text.as_bytes());
    }
}

fn graph_folder() -> Option<PathBuf> {
    Some(cache_folder()?.join("graphs"))
}

/// The folder `lipsync` in the user's cache: on Linux in `XDG_CACHE_HOME`, else in `~/.cache`.
pub fn cache_folder() -> Option<PathBuf> {
    Some(dirs::cache_dir()?.join("lipsync"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(folder: &Path) -> GraphCache {
        let [path_hash, key, key_source] = ["0123456789abcdef", "fedcba9876543210", "all"].map(String::from);
        GraphCache { folder: folder.into(), path_hash, key, key_source }
    }

    #[test]
    fn what_was_put_is_found_until_it_is_damaged_or_exchanged() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        assert!(cache.find().is_none());
        cache.store(IMAGE_BRANCH, b"a face");
        cache.store(AUDIO_BRANCH, b"a mouth");
        let (parts, files) = cache.find().unwrap();
        let GraphParts::Split { image_branch: Graph::Memory(face), .. } = parts else { panic!("{parts:?}") };
        assert_eq!(&face[..], b"a face");
        let [face, mouth] = &files[..] else { panic!("{files:?}") };
        let bytes = std::fs::read(face).unwrap();
        for damaged in [&bytes[..bytes.len() - 1], &bytes[..10], b"", &std::fs::read(mouth).unwrap()] {
            std::fs::write(face, damaged).unwrap();
            assert!(cache.find().is_none());
        }
        std::fs::write(face, &bytes).unwrap();
        assert!(cache.find().is_some());
        // Another key source with the same key.
        assert!(GraphCache { key_source: "other".into(), ..cache }.find().is_none());
    }

    #[test]
    fn strange_names_in_the_cache_are_left_alone_and_old_graphs_go() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let strange =
            [cache.path_hash.clone(), format!("{}é", cache.path_hash), format!("{}x", cache.path_hash)];
        let old = [format!("{}-", cache.path_hash), format!("{}-0123-face.onnx", cache.path_hash)];
        for name in strange.iter().chain(&old) {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        cache.store(WHOLE_GRAPH, b"a graph");
        assert!(cache.find().is_some());
        assert!(strange.iter().all(|name| folder.path().join(name).exists()));
        assert!(!old.iter().any(|name| folder.path().join(name).exists()));
    }
}
