//! ONNX files as such: read, described, changed and written, without running them.
//!
//! The messages hold every field of the format, so that what is written is what was read but for the change.
//! Weights that lie in files of their own beside the model are taken in: what is written is one file.

mod boundary;
mod external_data;
mod float16;
mod fuse_blocks;
mod pad_channels;
#[cfg(not(fuzzing))]
mod proto;
#[cfg(fuzzing)]
pub mod proto;
mod quantize;
mod simplify;
mod split;
mod validate;
mod wire_check;

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use prost::Message;
use proto::attribute_proto::AttributeType;
use proto::tensor_shape_proto::{Dimension, dimension};
use proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, StringStringEntryProto, TensorProto, ValueInfoProto,
    type_proto,
};

use crate::error::{Error, Result};
use crate::file;
use crate::limits::NETWORK_BYTES;
use crate::text::short;
pub use boundary::{BOUNDARY_SUFFIX, BoundaryValue};
pub use float16::Float16Conversion;
pub use proto::tensor_proto::DataType;
pub use quantize::{Layer, Ranges};
pub use split::SplitGenerator;

/// A network's file.
#[derive(Clone)]
pub struct Model {
    path: PathBuf,
    proto: ModelProto,
    /// Whether weights were read from other files.
    external_data: bool,
}

/// A tensor that goes in or out, as the file declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueInfo {
    pub name: String,
    /// Numbers, or the name of a free size.
    pub shape: Vec<String>,
    /// The type of its elements, such as `float32`; `no tensor` for what is none.
    pub data_type: String,
}

/// Weights of one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightCount {
    pub data_type: String,
    pub count: u64,
}

/// Types of weights that are learnt; others are shapes and indices.
const WEIGHT_TYPES: [DataType; 6] = [
    DataType::Float16,
    DataType::Bfloat16,
    DataType::Float,
    DataType::Double,
    DataType::Int8,
    DataType::Uint8,
];

/// Characters of a port's name, and of its sizes, that are shown.
const SHOWN: usize = 100;

const REMEDY: &str = "Export the model to ONNX again, or copy it again if the copy was cut short";

/// Of what may be no accident.
const UNSAFE_REMEDY: &str =
    "Export the model to ONNX again, with plain operators and weights, or do not trust where it comes from";

impl Model {
    /// Reads a model, with the weights that it keeps in other files, and checks it ([`Self::decode`]).
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Invalid`], naming the file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = file::read(path, NETWORK_BYTES, REMEDY)?;
        Self::decode(path, &bytes)
    }

    /// The model in those bytes, which were read from `path`; weights in other files are taken in.
    ///
    /// It may be a stranger's: what ONNX Runtime, or anything here, must not be given is refused. What is run is what
    /// [`Self::encode`] makes of the model, never the file, which may say more to others than to us.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<Self> {
        let mut model = Self::decode_unchecked(path, bytes)?;
        validate::validate(&model.proto).map_err(|problem| Error::invalid(path, problem, UNSAFE_REMEDY))?;
        // How it was trained is nothing that is run.
        model.proto.training_info.clear();
        Ok(model)
    }

    /// The same of a model that is ours, or that is never run: all that the format can say is allowed.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn decode_unchecked(path: &Path, bytes: &[u8]) -> Result<Self> {
        let no_file = |problem: String| Error::invalid(path, format!("is no ONNX file: {problem}"), REMEDY);
        wire_check::check(bytes).map_err(no_file)?;
        let proto = ModelProto::decode(bytes).map_err(|e| no_file(e.to_string()))?;
        let mut model = Self { path: path.into(), proto, external_data: false };
        let Some(graph) = &mut model.proto.graph else {
            return Err(no_file("it has no graph".into()));
        };
        model.external_data = external_data::load(path, graph)?;
        Ok(model)
    }

    /// Writes the model as one file: beside its place first, so that nobody ever finds half of it.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        file::replace(path, &self.encode())
    }

    /// The model as the bytes of one file.
    pub fn encode(&self) -> Vec<u8> {
        self.proto.encode_to_vec()
    }

    /// Whether the model on disk is more than its file: weights lie in others beside it.
    pub fn has_external_data(&self) -> bool {
        self.external_data
    }

    /// What goes in, weights left out.
    pub fn inputs(&self) -> Vec<ValueInfo> {
        let graph = self.graph();
        let weights = graph.initializers();
        graph.input.iter().filter(|port| !weights.contains_key(port.name())).map(ValueInfo::of).collect()
    }

    /// What comes out.
    pub fn outputs(&self) -> Vec<ValueInfo> {
        self.graph().output.iter().map(ValueInfo::of).collect()
    }

    /// The operators of its nodes, in their order.
    pub fn op_types(&self) -> Vec<&str> {
        self.graph().node.iter().map(NodeProto::op_type).collect()
    }

    /// Its weights by type, the most frequent type first.
    pub fn weight_counts(&self) -> Vec<WeightCount> {
        let mut weights: Vec<WeightCount> = Vec::new();
        for tensor in self.tensors() {
            if !WEIGHT_TYPES.iter().any(|data_type| tensor.has_type(*data_type)) {
                continue;
            }
            let data_type = type_name(tensor.data_type());
            let count = element_count(tensor).unwrap_or(0);
            match weights.iter_mut().find(|weights| weights.data_type == data_type) {
                Some(weights) => weights.count = weights.count.saturating_add(count),
                None => weights.push(WeightCount { data_type, count }),
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
    pub fn metadata(&self, key: &str) -> Option<&str> {
        let entry = self.proto.metadata_props.iter().find(|entry| entry.key() == key);
        entry.map(StringStringEntryProto::value)
    }

    fn graph(&self) -> &GraphProto {
        self.proto.graph.as_ref().unwrap_or_else(|| unreachable!("files without a graph are not read"))
    }

    /// The weights of the main graph: initialisers, and constants among the nodes.
    fn tensors(&self) -> impl Iterator<Item = &TensorProto> {
        let graph = self.graph();
        let constants = graph.node.iter().filter(|node| node.op_type() == "Constant");
        let constants =
            constants.flat_map(|node| &node.attribute).filter_map(|attribute| attribute.t.as_ref());
        graph.initializer.iter().chain(constants)
    }
}

impl GraphProto {
    /// The weights by name.
    fn initializers(&self) -> HashMap<&str, &TensorProto> {
        self.initializer.iter().map(|tensor| (tensor.name(), tensor)).collect()
    }

    /// Whether nodes hold graphs of their own (loops and branches), which may reach for any value.
    fn has_subgraphs(&self) -> bool {
        self.node.iter().flat_map(|node| &node.attribute).any(|a| a.g.is_some() || !a.graphs.is_empty())
    }

    /// The nodes, by their places, that read each value.
    fn consumers(&self) -> HashMap<&str, Vec<usize>> {
        let mut users: HashMap<&str, Vec<usize>> = HashMap::new();
        for (n, node) in self.node.iter().enumerate() {
            node.input.iter().for_each(|input| users.entry(input).or_default().push(n));
        }
        users
    }

    /// Takes out weights that no node reads any more.
    fn remove_unused_initializers(&mut self) {
        let used: HashSet<&str> = self.node.iter().flat_map(|node| &node.input).map(String::as_str).collect();
        self.initializer.retain(|tensor| used.contains(tensor.name()));
    }
}

impl ValueInfoProto {
    /// The declared type, where that is a dense tensor.
    fn tensor_type(&self) -> Option<&type_proto::Tensor> {
        match self.r#type.as_ref()?.value.as_ref()? {
            type_proto::Value::TensorType(tensor) => Some(tensor),
            _ => None,
        }
    }

    fn tensor_type_mut(&mut self) -> Option<&mut type_proto::Tensor> {
        match self.r#type.as_mut()?.value.as_mut()? {
            type_proto::Value::TensorType(tensor) => Some(tensor),
            _ => None,
        }
    }
}

impl TensorProto {
    fn has_type(&self, data_type: DataType) -> bool {
        self.data_type() == i32::from(data_type)
    }
}

impl NodeProto {
    /// The constant argument of that name.
    fn find_attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|attribute| attribute.name() == name)
    }
}

impl AttributeProto {
    /// A whole number.
    fn int(name: &str, value: i64) -> Self {
        Self {
            name: Some(name.into()),
            r#type: Some(AttributeType::Int.into()),
            i: Some(value),
            ..Self::default()
        }
    }

    /// A list of whole numbers.
    fn ints(name: &str, values: &[i64]) -> Self {
        Self {
            name: Some(name.into()),
            r#type: Some(AttributeType::Ints.into()),
            ints: values.to_vec(),
            ..Self::default()
        }
    }
}

/// Number of values in a tensor; `None` for a shape that cannot be.
fn element_count(tensor: &TensorProto) -> Option<u64> {
    tensor.dims.iter().try_fold(1u64, |n, &size| n.checked_mul(u64::try_from(size).ok()?))
}

/// The values of a tensor of float32; `None` for one of another type.
fn float_values(tensor: &TensorProto) -> Option<Vec<f32>> {
    if !tensor.has_type(DataType::Float) {
        return None;
    }
    Some(tensor_values(tensor, &tensor.float_data, f32::from_le_bytes))
}

/// The values of a tensor of 64 bit integers; `None` for one of another type.
fn int64_values(tensor: &TensorProto) -> Option<Vec<i64>> {
    if !tensor.has_type(DataType::Int64) {
        return None;
    }
    Some(tensor_values(tensor, &tensor.int64_data, i64::from_le_bytes))
}

/// The values of a tensor: raw, or in the list of its type.
fn tensor_values<T: Clone, const N: usize>(tensor: &TensorProto, list: &[T], of: fn([u8; N]) -> T) -> Vec<T> {
    match &tensor.raw_data {
        Some(bytes) => bytes.as_chunks().0.iter().map(|bytes| of(*bytes)).collect(),
        None => list.to_vec(),
    }
}

/// The name of an element type, by its number in the file, as NumPy has it: `float32`, not ONNX's `FLOAT`.
fn type_name(data_type: i32) -> String {
    match DataType::try_from(data_type) {
        Ok(DataType::Float) => "float32".into(),
        Ok(DataType::Double) => "float64".into(),
        Ok(data_type) => data_type.as_str_name().to_lowercase(),
        Err(_) => "unknown".into(),
    }
}

impl ValueInfo {
    fn of(info: &ValueInfoProto) -> Self {
        let tensor = info.tensor_type();
        let shape = tensor.and_then(|tensor| tensor.shape.as_ref());
        let size = |dimension: &Dimension| match &dimension.value {
            Some(dimension::Value::DimValue(size)) => size.to_string(),
            Some(dimension::Value::DimParam(name)) if !name.is_empty() => name.clone(),
            _ => "?".into(),
        };
        Self {
            name: info.name().into(),
            shape: shape.map(|shape| shape.dim.iter().map(size).collect()).unwrap_or_default(),
            data_type: tensor.map_or_else(|| "no tensor".into(), |tensor| type_name(tensor.elem_type())),
        }
    }
}

impl std::fmt::Display for ValueInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The file may give them names and sizes of any length.
        let shape = short(self.shape.join(", "), SHOWN);
        write!(f, "\"{}\" [{shape}] {}", short(&self.name, SHOWN), self.data_type)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_are_written_as_they_were_read() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for file in ["models/iris/generator.onnx", "models/iris/audio_encoder.onnx"] {
            let path = root.join(file);
            let bytes = std::fs::read(&path).unwrap();
            assert!(Model::decode_unchecked(&path, &bytes).unwrap().encode() == bytes, "{file}");
        }
    }

    #[test]
    fn ports_are_shown_in_short() {
        let port = ValueInfo {
            name: format!("a\u{1b}{}", "b".repeat(1000)),
            shape: vec!["1".into(); 1000],
            data_type: "float32".into(),
        };
        let shown = port.to_string();
        assert!(shown.starts_with("\"a\\u{1b}bbb") && shown.chars().count() < 250, "{shown}");
    }
}
