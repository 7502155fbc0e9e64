// SPDX-License-Identifier: MPL-2.0
//! ONNX models as data: reading, validating, transforming and writing them, without running them.
//!
//! The generated messages hold every field of the format, so that a model that is written again differs from the
//! one that was read only by the intended change. External data is loaded into the model, which is written as one
//! file.

mod boundary;
mod external_data;
mod float16;
mod fuse_blocks;
mod opening;
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
pub use quantize::{ActivationBits, Layer, Ranges};
pub use split::SplitGenerator;

/// A network's file.
#[derive(Clone)]
pub struct Model {
    path: PathBuf,
    proto: ModelProto,
    /// Whether initializers were loaded from other files.
    external_data: bool,
}

/// An input or output of the graph, as the model declares it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueInfo {
    /// Its name in the graph.
    pub name: String,
    /// The dimensions: numbers, or the names of dynamic ones.
    pub shape: Vec<String>,
    /// The element type, such as `float32`; `no tensor` for sequences, maps and the like.
    pub data_type: String,
}

/// How many weights have an element type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightCount {
    /// The element type, such as `float32`.
    pub data_type: String,
    /// How many weights have it.
    pub count: u64,
}

/// Element types of learnt weights; initializers of other types are shapes and indices.
const WEIGHT_TYPES: [DataType; 6] = [
    DataType::Float16,
    DataType::Bfloat16,
    DataType::Float,
    DataType::Double,
    DataType::Int8,
    DataType::Uint8,
];

/// Characters of a name, and of a shape, that messages show.
const SHOWN: usize = 100;

const REMEDY: &str = "Export the model to ONNX again, or copy it again if the copy was cut short";

/// For problems that may be deliberate.
const UNSAFE_REMEDY: &str =
    "Export the model to ONNX again, with plain operators and weights, or do not trust where it comes from";

impl Model {
    /// Reads a model with its external data, and validates it ([`Self::decode`]).
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Invalid`], naming the file.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = file::read(path, NETWORK_BYTES, REMEDY)?;
        Self::decode(path, &bytes)
    }

    /// Decodes and validates the model in `bytes`, which were read from `path`; external data is loaded.
    ///
    /// The model may be hostile: whatever could harm ONNX Runtime or this crate is refused. ONNX Runtime is given what
    /// [`Self::encode`] writes, never the file itself, since another parser may read the same bytes differently.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn decode(path: &Path, bytes: &[u8]) -> Result<Self> {
        Self::decode_unchecked(path, bytes)?.validated()
    }

    /// Decodes what ONNX Runtime has written after it optimized a model. It declares the domains of all operators that
    /// any session of this process has registered, also those of the fused kernels, which no node of it has.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn decode_optimized(path: &Path, bytes: &[u8]) -> Result<Self> {
        let mut model = Self::decode_unchecked(path, bytes)?;
        model.proto.opset_import.retain(|set| set.domain() != crate::kernels::OP_DOMAIN);
        model.validated()
    }

    fn validated(self) -> Result<Self> {
        let mut model = self;
        validate::validate(&model.proto)
            .map_err(|problem| Error::invalid(&model.path, problem, UNSAFE_REMEDY))?;
        // Inference has no use for it.
        model.proto.training_info.clear();
        Ok(model)
    }

    /// Decodes a model without validating it: one that this crate wrote, or one that is never run.
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

    /// Writes the model as one file, through a temporary file that is renamed, so that nobody reads half of it.
    ///
    /// # Errors
    /// [`Error::Invalid`] where the file cannot be written.
    pub fn write(&self, path: &Path) -> Result<()> {
        file::replace(path, &self.encode())
    }

    /// The serialized model.
    pub fn encode(&self) -> Vec<u8> {
        self.proto.encode_to_vec()
    }

    /// Whether the model on disk has external data in files beside it.
    pub fn has_external_data(&self) -> bool {
        self.external_data
    }

    /// The inputs of the graph, without initializers (which older IR versions list among them).
    pub fn inputs(&self) -> Vec<ValueInfo> {
        let graph = self.graph();
        let weights = graph.initializers();
        graph.input.iter().filter(|port| !weights.contains_key(port.name())).map(ValueInfo::of).collect()
    }

    /// The outputs of the graph.
    pub fn outputs(&self) -> Vec<ValueInfo> {
        self.graph().output.iter().map(ValueInfo::of).collect()
    }

    /// The operator types of the nodes, in their order.
    pub fn op_types(&self) -> Vec<&str> {
        self.graph().node.iter().map(NodeProto::op_type).collect()
    }

    /// The weights by element type, the most frequent type first.
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

    /// The version of the default operator set.
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

    /// The value of a key in `metadata_props`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        let entry = self.proto.metadata_props.iter().find(|entry| entry.key() == key);
        entry.map(StringStringEntryProto::value)
    }

    fn graph(&self) -> &GraphProto {
        self.proto.graph.as_ref().unwrap_or_else(|| unreachable!("files without a graph are not read"))
    }

    /// The constant tensors of the main graph: initializers, and the values of `Constant` nodes.
    fn tensors(&self) -> impl Iterator<Item = &TensorProto> {
        let graph = self.graph();
        let constants = graph.node.iter().filter(|node| node.op_type() == "Constant");
        let constants =
            constants.flat_map(|node| &node.attribute).filter_map(|attribute| attribute.t.as_ref());
        graph.initializer.iter().chain(constants)
    }
}

impl GraphProto {
    /// The initializers by name.
    fn initializers(&self) -> HashMap<&str, &TensorProto> {
        self.initializer.iter().map(|tensor| (tensor.name(), tensor)).collect()
    }

    /// Whether any node has a subgraph (`Loop`, `If`, `Scan`), which may capture any value of this graph.
    fn has_subgraphs(&self) -> bool {
        self.node.iter().flat_map(|node| &node.attribute).any(|a| a.g.is_some() || !a.graphs.is_empty())
    }

    /// The indices of the nodes that read each value.
    fn consumers(&self) -> HashMap<&str, Vec<usize>> {
        let mut users: HashMap<&str, Vec<usize>> = HashMap::new();
        for (n, node) in self.node.iter().enumerate() {
            node.input.iter().for_each(|input| users.entry(input).or_default().push(n));
        }
        users
    }

    /// Removes nodes whose outputs nothing reads.
    fn remove_unused_nodes(&mut self) {
        let mut needed: HashSet<String> = self.output.iter().map(|output| output.name().to_owned()).collect();
        let mut nodes: Vec<NodeProto> = Vec::new();
        for node in std::mem::take(&mut self.node).into_iter().rev() {
            if node.output.iter().any(|output| needed.contains(output)) {
                needed.extend(node.input.iter().cloned());
                nodes.push(node);
            }
        }
        nodes.reverse();
        self.node = nodes;
    }

    /// Removes initializers that no node reads any more.
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
    /// The attribute of that name.
    fn find_attribute(&self, name: &str) -> Option<&AttributeProto> {
        self.attribute.iter().find(|attribute| attribute.name() == name)
    }
}

impl AttributeProto {
    /// An attribute of type `INT`.
    fn int(name: &str, value: i64) -> Self {
        Self {
            name: Some(name.into()),
            r#type: Some(AttributeType::Int.into()),
            i: Some(value),
            ..Self::default()
        }
    }

    /// An attribute of type `INTS`.
    fn ints(name: &str, values: &[i64]) -> Self {
        Self {
            name: Some(name.into()),
            r#type: Some(AttributeType::Ints.into()),
            ints: values.to_vec(),
            ..Self::default()
        }
    }
}

/// The number of elements of a tensor; `None` for a shape with a negative dimension, or too large to count.
fn element_count(tensor: &TensorProto) -> Option<u64> {
    tensor.dims.iter().try_fold(1u64, |n, &size| n.checked_mul(u64::try_from(size).ok()?))
}

/// The elements of a float32 tensor; `None` for one of another type.
fn float_values(tensor: &TensorProto) -> Option<Vec<f32>> {
    if !tensor.has_type(DataType::Float) {
        return None;
    }
    Some(tensor_values(tensor, &tensor.float_data, f32::from_le_bytes))
}

/// The elements of an int64 tensor; `None` for one of another type.
fn int64_values(tensor: &TensorProto) -> Option<Vec<i64>> {
    if !tensor.has_type(DataType::Int64) {
        return None;
    }
    Some(tensor_values(tensor, &tensor.int64_data, i64::from_le_bytes))
}

/// The elements of a tensor, from `raw_data` or from the field of its type.
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
        // Names and shapes in a file may be of any length.
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
