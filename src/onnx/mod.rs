//! ONNX files as such: read, described, changed and written, without running them.
//!
//! The messages hold every field of the format, so that what is written is what was read but for the change.
//! Weights that lie in files of their own beside the model are taken in: what is written is one file.

mod blocks;
mod clean;
mod fill;
mod half;
mod keep;
mod proto;
mod quantize;
mod split;

use std::collections::{HashMap, HashSet};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use prost::Message;
use proto::{Attribute, Dimension, Graph, Kind, Node, Size, Tensor, ValueInfo};

use crate::avatar::Inside;
use crate::error::{Error, Result};
use crate::file;
use crate::limits::NETWORK_BYTES;
use crate::text::short;
pub use half::Halved;
pub use keep::{KEPT, Kept};
pub use proto::{FLOAT32, INT8, UINT8};
pub use quantize::{Layer, Ranges};
pub use split::Split;

/// A network's file.
#[derive(Clone)]
pub struct Model {
    path: PathBuf,
    proto: proto::Model,
    /// Whether weights were read from other files.
    scattered: bool,
}

/// A tensor that goes in or out, as the file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub name: String,
    /// Numbers, or the name of a free size.
    pub shape: Vec<String>,
    pub kind: &'static str,
}

/// Weights of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    pub kind: &'static str,
    pub count: u64,
}

/// Types of weights that are learnt; others are shapes and indices.
const LEARNT: [&str; 6] = ["float16", "bfloat16", "float32", "float64", "int8", "uint8"];

/// Characters of a port's name, and of its sizes, that are shown.
const SHOWN: usize = 100;

const REMEDY: &str = "Export the model to ONNX again, or copy it again if the copy was cut short";

impl Model {
    /// Reads a model, with the weights that it keeps in other files.
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Invalid`], naming the file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = file::read(path, NETWORK_BYTES, REMEDY)?;
        Self::decode(path, &bytes)
    }

    /// The model in those bytes, which were read from `path`; weights in other files are taken in.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<Self> {
        let proto = proto::Model::decode(bytes)
            .map_err(|e| Error::invalid(path, format!("is no ONNX file: {e}"), REMEDY))?;
        let mut model = Self { path: path.into(), proto, scattered: false };
        if model.proto.graph.is_none() {
            return Err(Error::invalid(path, "is no ONNX file: it has no graph", REMEDY));
        }
        model.take_in_weights()?;
        Ok(model)
    }

    /// Writes the model as one file.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        std::fs::write(path, self.encode()).map_err(|e| {
            Error::invalid(path, format!("cannot be written: {e}"), "Make room or choose another place")
        })
    }

    /// The model as the bytes of one file.
    pub fn encode(&self) -> Vec<u8> {
        self.proto.encode_to_vec()
    }

    /// Whether the model on disk is more than its file: weights lie in others beside it.
    pub fn is_scattered(&self) -> bool {
        self.scattered
    }

    /// What goes in, weights left out.
    pub fn inputs(&self) -> Vec<Port> {
        let graph = self.graph();
        let is_weight = |port: &&ValueInfo| graph.initializer.iter().any(|tensor| tensor.name == port.name);
        graph.input.iter().filter(|port| !is_weight(port)).map(Port::of).collect()
    }

    /// What comes out.
    pub fn outputs(&self) -> Vec<Port> {
        self.graph().output.iter().map(Port::of).collect()
    }

    /// The operators of its nodes, in their order.
    pub fn operators(&self) -> Vec<&str> {
        self.graph().node.iter().map(proto::Node::op_type).collect()
    }

    /// Its weights by type, the most frequent type first.
    pub fn weights(&self) -> Vec<Weights> {
        let mut weights: Vec<Weights> = Vec::new();
        for tensor in self.tensors() {
            let kind = kind_name(tensor.data_type());
            if !LEARNT.contains(&kind) {
                continue;
            }
            let count = elements(tensor).unwrap_or(0);
            match weights.iter_mut().find(|weights| weights.kind == kind) {
                Some(weights) => weights.count += count,
                None => weights.push(Weights { kind, count }),
            }
        }
        weights.sort_by_key(|weights| std::cmp::Reverse(weights.count));
        weights
    }

    /// The version of ONNX's own operators that it is written in.
    pub fn opset(&self) -> i64 {
        let own = |domain: &str| matches!(domain, "" | "ai.onnx");
        self.proto
            .opset_import
            .iter()
            .filter(|set| own(set.domain()))
            .map(|set| set.version())
            .max()
            .unwrap_or(0)
    }

    /// The value of an entry among the notes about the model.
    pub fn entry(&self, key: &str) -> Option<&str> {
        let entry = self.proto.metadata_props.iter().find(|entry| entry.key() == key);
        entry.map(proto::StringStringEntry::value)
    }

    fn graph(&self) -> &Graph {
        self.proto.graph.as_ref().unwrap_or_else(|| unreachable!("files without a graph are not read"))
    }

    /// The weights of the main graph: initialisers, and constants among the nodes.
    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let graph = self.graph();
        let constants = graph.node.iter().filter(|node| node.op_type() == "Constant");
        let constants =
            constants.flat_map(|node| &node.attribute).filter_map(|attribute| attribute.t.as_ref());
        graph.initializer.iter().chain(constants)
    }

    fn take_in_weights(&mut self) -> Result<()> {
        let mut outside = Outside::new(&self.path);
        let Some(graph) = &mut self.proto.graph else { return Ok(()) };
        let constants = graph.node.iter_mut().flat_map(|node| &mut node.attribute);
        let tensors =
            graph.initializer.iter_mut().chain(constants.filter_map(|attribute| attribute.t.as_mut()));
        for tensor in tensors.filter(|tensor| tensor.data_location() == proto::EXTERNAL) {
            let values = outside.values(tensor)?;
            tensor.raw_data = Some(values);
            tensor.external_data.clear();
            tensor.data_location = None;
            self.scattered = true;
        }
        Ok(())
    }
}

impl Graph {
    /// The weight of that name.
    fn weight(&self, name: &str) -> Option<&Tensor> {
        self.initializer.iter().find(|tensor| tensor.name() == name)
    }

    /// The nodes, by their places, that read each value.
    fn users(&self) -> HashMap<&str, Vec<usize>> {
        let mut users: HashMap<&str, Vec<usize>> = HashMap::new();
        for (n, node) in self.node.iter().enumerate() {
            node.input.iter().for_each(|input| users.entry(input).or_default().push(n));
        }
        users
    }

    /// Takes out weights that no node reads any more.
    fn drop_unused_weights(&mut self) {
        let used: HashSet<&str> = self.node.iter().flat_map(|node| &node.input).map(String::as_str).collect();
        self.initializer.retain(|tensor| used.contains(tensor.name()));
    }
}

impl Node {
    /// The constant argument of that name.
    fn argument(&self, name: &str) -> Option<&Attribute> {
        self.attribute.iter().find(|attribute| attribute.name() == name)
    }
}

impl Attribute {
    /// A whole number.
    fn int(name: &str, value: i64) -> Self {
        Self {
            name: Some(name.into()),
            r#type: Some(proto::INT_ATTRIBUTE),
            i: Some(value),
            ..Self::default()
        }
    }

    /// A list of whole numbers.
    fn ints(name: &str, values: &[i64]) -> Self {
        Self {
            name: Some(name.into()),
            r#type: Some(proto::INTS_ATTRIBUTE),
            ints: values.to_vec(),
            ..Self::default()
        }
    }
}

/// The weights that a model keeps in other files, as they are taken in.
struct Outside<'a> {
    model: &'a Path,
    folder: &'a Path,
    /// Bytes that may still be read.
    left: u64,
}

impl<'a> Outside<'a> {
    const REMEDY: &'static str = "Copy the file of weights beside the model, or export the model as one file";

    fn new(model: &'a Path) -> Self {
        // The folder of a model that is named without one is the current.
        let folder = model.parent().filter(|folder| !folder.as_os_str().is_empty());
        Self { model, folder: folder.unwrap_or(Path::new(".")), left: NETWORK_BYTES }
    }

    /// The bytes of a weight.
    fn values(&mut self, tensor: &Tensor) -> Result<Vec<u8>> {
        let entry = |key: &str| {
            tensor.external_data.iter().find(|entry| entry.key() == key).map(|entry| entry.value())
        };
        let number = |key: &str| entry(key).map(str::parse::<u64>).transpose();
        let invalid = |problem: String| Error::invalid(self.model, problem, Self::REMEDY);
        let name = tensor.name();
        let location = entry("location").unwrap_or_default();
        let path = self.find(name, location)?;
        let (Ok(offset), Ok(length)) = (number("offset"), number("length")) else {
            return Err(invalid(format!("does not say where in {location} the weight \"{name}\" is")));
        };
        let mut file = file::open(&path, NETWORK_BYTES, Self::REMEDY)?;
        let unreadable = |e: std::io::Error| Error::io(&path, &e, Self::REMEDY);
        let size = file.metadata().map_err(unreadable)?.len();
        let start = offset.unwrap_or(0);
        let length = length.or(size.checked_sub(start));
        let inside = length.filter(|length| start.checked_add(*length).is_some_and(|end| end <= size));
        let length =
            inside.ok_or_else(|| invalid(format!("{location} is too short for the weight \"{name}\"")))?;
        self.left = self.left.checked_sub(length).ok_or_else(|| {
            invalid(format!("keeps more than the {NETWORK_BYTES} bytes of a model in other files"))
        })?;
        let mut values = Vec::new();
        file.seek(SeekFrom::Start(start)).map_err(unreadable)?;
        file.take(length).read_to_end(&mut values).map_err(unreadable)?;
        Ok(values)
    }

    /// The file of a weight: a model must not reach for files elsewhere.
    fn find(&self, name: &str, location: &str) -> Result<PathBuf> {
        let is_inside = |part| matches!(part, Component::Normal(_));
        let path = self.folder.join(location);
        let problem = if location.is_empty() || !Path::new(location).components().all(is_inside) {
            "no file beside it"
        } else if Inside::new(self.folder)?.check(&path).is_err() {
            "a link out of its folder"
        } else {
            return Ok(path);
        };
        let problem = format!("keeps the weight \"{name}\" in \"{location}\", which is {problem}");
        Err(Error::invalid(self.model, problem, Self::REMEDY))
    }
}

/// Number of values in a tensor; `None` for a shape that cannot be.
fn elements(tensor: &Tensor) -> Option<u64> {
    tensor.dims.iter().try_fold(1u64, |n, &size| n.checked_mul(u64::try_from(size).ok()?))
}

/// The values of a tensor of float32; `None` for one of another type.
fn floats(tensor: &Tensor) -> Option<Vec<f32>> {
    if tensor.data_type() != proto::FLOAT32 {
        return None;
    }
    Some(values(tensor, &tensor.float_data, f32::from_le_bytes))
}

/// The values of a tensor of 64 bit integers; `None` for one of another type.
fn integers(tensor: &Tensor) -> Option<Vec<i64>> {
    if tensor.data_type() != proto::INT64 {
        return None;
    }
    Some(values(tensor, &tensor.int64_data, i64::from_le_bytes))
}

/// The values of a tensor: raw, or in the list of its type.
fn values<T: Clone, const N: usize>(tensor: &Tensor, list: &[T], of: fn([u8; N]) -> T) -> Vec<T> {
    match &tensor.raw_data {
        Some(bytes) => bytes.as_chunks().0.iter().map(|bytes| of(*bytes)).collect(),
        None => list.to_vec(),
    }
}

fn kind_name(data_type: i32) -> &'static str {
    let name = usize::try_from(data_type).ok().and_then(|number| proto::DATA_TYPES.get(number));
    name.copied().unwrap_or("unknown")
}

impl Port {
    fn of(info: &ValueInfo) -> Self {
        let tensor = match info.r#type.as_ref().and_then(|kind| kind.value.as_ref()) {
            Some(Kind::Tensor(tensor)) => Some(tensor),
            _ => None,
        };
        let shape = tensor.and_then(|tensor| tensor.shape.as_ref());
        let size = |dimension: &Dimension| match &dimension.value {
            Some(Size::Value(size)) => size.to_string(),
            Some(Size::Param(name)) if !name.is_empty() => name.clone(),
            _ => "?".into(),
        };
        Self {
            name: info.name().into(),
            shape: shape.map(|shape| shape.dim.iter().map(size).collect()).unwrap_or_default(),
            kind: tensor.map_or("no tensor", |tensor| kind_name(tensor.elem_type())),
        }
    }
}

impl std::fmt::Display for Port {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The file may give them names and sizes of any length.
        let shape = short(self.shape.join(", "), SHOWN);
        write!(f, "\"{}\" [{shape}] {}", short(&self.name, SHOWN), self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model of one weight in another file.
    fn model(location: &str, entries: &[(&str, u64)]) -> Vec<u8> {
        let entry =
            |key: &str, value: String| proto::StringStringEntry { key: Some(key.into()), value: Some(value) };
        let location = entry("location", location.into());
        let numbers = entries.iter().map(|(key, number)| entry(key, number.to_string()));
        let weight = Tensor {
            name: Some("w\u{1b}[2J".into()),
            data_location: Some(proto::EXTERNAL),
            external_data: std::iter::once(location).chain(numbers).collect(),
            ..Default::default()
        };
        let graph = Graph { initializer: vec![weight], ..Default::default() };
        proto::Model { graph: Some(graph), ..Default::default() }.encode_to_vec()
    }

    #[cfg(unix)]
    #[test]
    fn weights_in_other_files_are_read_where_they_lie_beside_the_model() {
        let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = |name: &str| folder.path().join(name);
        let (path, secret) = (at("model.onnx"), outside.path().join("secret"));
        std::fs::write(at("weights"), [1, 2, 3, 4, 5]).unwrap();
        std::fs::write(&secret, [9; 5]).unwrap();
        let link = |to: &Path, name: &str| std::os::unix::fs::symlink(to, at(name)).unwrap();
        link(Path::new("weights"), "inside");
        link(&secret, "out");
        link(outside.path(), "folder");
        link(Path::new("/dev/zero"), "zero");
        let values = |location: &str, entries: &[(&str, u64)]| {
            let model = Model::decode(&path, &model(location, entries))?;
            Ok::<_, Error>(model.graph().initializer[0].raw_data.clone().unwrap())
        };
        for location in ["weights", "inside"] {
            assert_eq!(values(location, &[]).unwrap(), [1, 2, 3, 4, 5]);
            assert_eq!(values(location, &[("offset", 1), ("length", 3)]).unwrap(), [2, 3, 4]);
            assert_eq!(values(location, &[("offset", 5)]).unwrap(), [0; 0]);
            for (offset, length) in [(6, 0), (1, 5), (u64::MAX, 1), (1, u64::MAX)] {
                let error = values(location, &[("offset", offset), ("length", length)]).unwrap_err();
                assert!(error.to_string().contains("is too short for the weight"), "{error}");
            }
        }
        for location in ["out", "folder/secret", "zero"] {
            let error = values(location, &[]).unwrap_err().to_string();
            let expected =
                format!("the weight \"w\\u{{1b}}[2J\" in \"{location}\", which is a link out of its folder");
            assert!(error.contains(&expected), "{error}");
        }
        for location in ["", "../weights", "/etc/passwd", "a/../weights"] {
            let error = values(location, &[]).unwrap_err().to_string();
            assert!(error.contains("which is no file beside it"), "{error}");
        }
    }

    #[test]
    fn all_weights_in_other_files_are_bounded_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.onnx");
        std::fs::write(folder.path().join("weights"), [0; 100]).unwrap();
        let mut outside = Outside::new(&path);
        outside.left = 150;
        let model = proto::Model::decode(&model("weights", &[])[..]).unwrap();
        let weight = &model.graph.unwrap().initializer[0];
        assert_eq!(outside.values(weight).unwrap().len(), 100);
        let error = outside.values(weight).unwrap_err().to_string();
        assert!(error.contains("bytes of a model in other files"), "{error}");
    }

    #[test]
    fn ports_are_shown_in_short() {
        let port = Port {
            name: format!("a\u{1b}{}", "b".repeat(1000)),
            shape: vec!["1".into(); 1000],
            kind: "float32",
        };
        let shown = port.to_string();
        assert!(shown.starts_with("\"a\\u{1b}bbb") && shown.chars().count() < 250, "{shown}");
    }
}
