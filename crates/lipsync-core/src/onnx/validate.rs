// SPDX-License-Identifier: MPL-2.0
//! Validation of untrusted models before ONNX Runtime, or this crate, computes with them.
//!
//! ONNX Runtime validates much itself, but not all, and its versions differ: convolutions with zero groups have ended the
//! process, external data has named files elsewhere and addresses in memory. What no supported network needs is refused.

use std::collections::{HashMap, HashSet};

use super::proto::tensor_proto::{DataLocation, DataType};
use super::proto::tensor_shape_proto::{Dimension, dimension};
use super::proto::{AttributeProto, GraphProto, ModelProto, NodeProto, TensorProto, ValueInfoProto};
use super::{element_count, int64_values};
use crate::kernels::OP_DOMAIN;
use crate::limits::{BATCH, GRAPH_DEPTH, LAYER_SIZE, NODES, PORTS, RANK, VALUES, WEIGHTS};

/// Operator domains that models may use.
const ALLOWED_DOMAINS: [&str; 4] = ["", "ai.onnx", "ai.onnx.ml", "com.microsoft"];

/// Operators that contain code or name files.
const REFUSED_OP_TYPES: [&str; 4] = ["EPContext", "Snpe", "PythonOp", "PythonOpGrad"];

/// Convolutions, with the index of the input that is the weights.
const CONVOLUTIONS: [(&str, usize); 6] = [
    ("Conv", 1),
    ("FusedConv", 1),
    ("NhwcFusedConv", 1),
    ("ConvInteger", 1),
    ("ConvTranspose", 1),
    ("QLinearConv", 3),
];

/// Attributes that ONNX Runtime divides by.
const DIVISOR_ATTRIBUTES: [&str; 8] =
    ["group", "groups", "num_groups", "offset_group", "blocksize", "num_heads", "hidden_size", "num_outputs"];

/// Attributes that are sizes along the axes, with their minimum.
const SIZE_ATTRIBUTES: [(&str, i64); 6] = [
    ("kernel_shape", 1),
    ("strides", 1),
    ("dilations", 1),
    ("output_padding", 0),
    ("output_shape", 0),
    ("pads", -LAYER_SIZE),
];

/// How messages about a node begin.
const NODE: &str = "has the node";

/// `Err` says what is wrong.
type Validity = Result<(), String>;

/// Validates a model whose external data has been loaded.
///
/// # Errors
/// What is wrong.
pub fn validate(model: &ModelProto) -> Validity {
    if let Some(function) = model.functions.first() {
        let name = function.name.as_deref().unwrap_or_default();
        return Err(format!("has a function of its own, {name:?}, which must be part of the graph"));
    }
    if model.opset_import.iter().any(|set| set.domain() == OP_DOMAIN) {
        return Err(format!("uses operators of the domain {OP_DOMAIN:?}, which are not for files"));
    }
    let Some(graph) = &model.graph else { return Err("has no graph".into()) };
    check_inputs_and_outputs(graph)?;
    Validator::default().graph(graph, None, 0)
}

/// Validates the declared inputs and outputs, for which buffers are allocated.
fn check_inputs_and_outputs(graph: &GraphProto) -> Validity {
    let weights: HashSet<&str> = graph.initializer.iter().map(TensorProto::name).collect();
    let inputs = || graph.input.iter().filter(|input| !weights.contains(input.name()));
    for (ports, count) in [("inputs", inputs().count()), ("outputs", graph.output.len())] {
        if count > PORTS {
            return Err(format!("has {count} {ports}, more than {PORTS}"));
        }
    }
    for port in inputs() {
        if let Some(batch) = batch(port).filter(|batch| *batch > BATCH) {
            return Err(format!("takes {batch} items at a time as {:?}, more than {BATCH}", port.name()));
        }
    }
    let mut all = 0u64;
    for port in inputs().chain(&graph.output) {
        let values = values_of(port).filter(|values| *values <= VALUES);
        all += values.ok_or_else(|| {
            format!("has {:?}, whose sizes are not above 0, or of more than {VALUES} values", port.name())
        })?;
    }
    if all > VALUES { Err(format!("has inputs and outputs of more than {VALUES} values")) } else { Ok(()) }
}

/// The dimensions of an input or output, where it is a tensor.
fn sizes(port: &ValueInfoProto) -> &[Dimension] {
    port.tensor_type().and_then(|tensor| tensor.shape.as_ref()).map_or(&[], |shape| &shape.dim)
}

/// The batch size, where it is fixed: the first of three dimensions or more, since that of raw audio is its length.
fn batch(port: &ValueInfoProto) -> Option<i64> {
    match sizes(port) {
        [Dimension { value: Some(dimension::Value::DimValue(batch)), .. }, _, _, ..] => Some(*batch),
        _ => None,
    }
}

/// The elements of an input or output, with dynamic dimensions as 1; `None` for dimensions below 1.
fn values_of(port: &ValueInfoProto) -> Option<u64> {
    let size = |dimension: &Dimension| match &dimension.value {
        Some(dimension::Value::DimValue(size)) => u64::try_from(*size).ok().filter(|size| *size > 0),
        _ => Some(1),
    };
    sizes(port).iter().map(size).try_fold(1u64, |values, size| values.checked_mul(size?))
}

/// What is known of a value statically.
#[derive(Clone, Copy)]
struct KnownValue<'a> {
    dims: &'a [i64],
    /// The constant; `None` for a value that is computed from one.
    tensor: Option<&'a TensorProto>,
}

/// The statically known values of a graph, and of those around it.
struct Scope<'a> {
    known: HashMap<&'a str, KnownValue<'a>>,
    outer: Option<&'a Scope<'a>>,
}

impl<'a> Scope<'a> {
    fn get(&self, name: &str) -> Option<KnownValue<'a>> {
        let mut scope = Some(self);
        std::iter::from_fn(|| {
            let here = scope?;
            scope = here.outer;
            Some(here)
        })
        .find_map(|scope| scope.known.get(name).copied())
    }

    /// An input of a node.
    fn input(&self, node: &NodeProto, place: usize) -> Option<KnownValue<'a>> {
        self.get(node.input.get(place)?)
    }

    /// Records the output of a node that has the shape of a constant.
    fn note(&mut self, node: &'a NodeProto) {
        let Some(output) = node.output.first() else { return };
        let known = match node.op_type() {
            "Constant" => node.attribute.iter().find_map(|attribute| attribute.t.as_ref()).map(known),
            "Identity" => self.input(node, 0),
            "Cast" | "DequantizeLinear" | "QuantizeLinear" => {
                self.input(node, 0).map(|known| KnownValue { tensor: None, ..known })
            }
            _ => None,
        };
        self.known.extend(known.map(|known| (output.as_str(), known)));
    }
}

fn known(tensor: &TensorProto) -> KnownValue<'_> {
    KnownValue { dims: &tensor.dims, tensor: Some(tensor) }
}

/// Visits all graphs, and counts nodes and tensors.
#[derive(Default)]
struct Validator {
    nodes: usize,
    weights: usize,
}

impl Validator {
    fn graph(&mut self, graph: &GraphProto, outer: Option<&Scope<'_>>, depth: usize) -> Validity {
        if depth > GRAPH_DEPTH {
            return Err(format!("has more than {GRAPH_DEPTH} graphs within each other"));
        }
        if let Some(sparse) = graph.sparse_initializer.first() {
            let name = sparse.values.as_ref().map(TensorProto::name).unwrap_or_default();
            return Err(sparse_problem(name));
        }
        self.nodes += graph.node.len();
        if self.nodes > NODES {
            return Err(format!("has more than {NODES} nodes"));
        }
        for tensor in &graph.initializer {
            self.tensor(tensor)?;
        }
        let weights = graph.initializer.iter().map(|tensor| (tensor.name(), known(tensor)));
        let mut scope = Scope { known: weights.collect(), outer };
        for node in &graph.node {
            // With nested nodes, the innermost is named.
            self.node(node, &scope, depth).map_err(|problem| match problem.starts_with(NODE) {
                true => problem,
                false => {
                    format!("{NODE} {:?} ({}) that {problem}", node.name(), node.op_type().escape_debug())
                }
            })?;
            scope.note(node);
        }
        Ok(())
    }

    fn node(&mut self, node: &NodeProto, scope: &Scope<'_>, depth: usize) -> Validity {
        let domain = node.domain();
        if !ALLOWED_DOMAINS.contains(&domain) {
            return Err(format!("is of the domain {domain:?}, not of {}", ALLOWED_DOMAINS[1..].join(", ")));
        }
        if REFUSED_OP_TYPES.contains(&node.op_type()) {
            return Err("runs code, or reads files, that are not in the network".into());
        }
        for attribute in &node.attribute {
            self.attribute(attribute, scope, depth)?;
        }
        check_sizes(node)?;
        check_convolution(node, scope)?;
        check_growth(node, scope)
    }

    fn attribute(&mut self, attribute: &AttributeProto, scope: &Scope<'_>, depth: usize) -> Validity {
        if attribute.ref_attr_name.is_some() {
            return Err(format!("takes {:?} from a function that there is not", attribute.name()));
        }
        if attribute.sparse_tensor.is_some() || !attribute.sparse_tensors.is_empty() {
            return Err(sparse_problem(attribute.name()));
        }
        for tensor in attribute.t.iter().chain(&attribute.tensors) {
            self.tensor(tensor)?;
        }
        for graph in attribute.g.iter().chain(&attribute.graphs) {
            self.graph(graph, Some(scope), depth + 1)?;
        }
        Ok(())
    }

    fn tensor(&mut self, tensor: &TensorProto) -> Validity {
        self.weights += 1;
        if self.weights > WEIGHTS {
            return Err(format!("has more than {WEIGHTS} weights"));
        }
        check_tensor(tensor).map_err(|problem| format!("has the weight {:?} that {problem}", tensor.name()))
    }
}

fn sparse_problem(name: &str) -> String {
    format!("has a sparse weight, {name:?}, and no network of the method has such")
}

/// Checks that the data of a tensor matches its shape and type.
fn check_tensor(tensor: &TensorProto) -> Validity {
    if tensor.data_location() == DataLocation::External {
        return Err("lies in a file that was not read".into());
    }
    if tensor.segment.is_some() {
        return Err("is only a segment of one".into());
    }
    if tensor.dims.len() > RANK {
        return Err(format!("has {} sizes, more than {RANK}", tensor.dims.len()));
    }
    let count = element_count(tensor).and_then(|count| usize::try_from(count).ok());
    let count = count.ok_or_else(|| format!("has the sizes {:?}, which cannot be", tensor.dims))?;
    let (have, want) = match &tensor.raw_data {
        Some(bytes) => (bytes.len(), raw_byte_count(tensor.data_type(), count)),
        None => typed_element_count(tensor, count),
    };
    match want {
        None => Err(format!("is of type {}, which is unknown or too large", tensor.data_type())),
        Some(want) if want != have => {
            let unit = if tensor.raw_data.is_some() { "bytes" } else { "numbers" };
            Err(format!("has {have} {unit}, not the {want} of {:?}", tensor.dims))
        }
        Some(_) => Ok(()),
    }
}

/// The length of `raw_data` for `count` elements; `None` for a type that cannot be stored there.
fn raw_byte_count(data_type: i32, count: usize) -> Option<usize> {
    use DataType as T;
    let bits = match T::try_from(data_type).ok()? {
        T::Uint2 | T::Int2 => 2,
        T::Uint4 | T::Int4 | T::Float4e2m1 => 4,
        T::Uint8 | T::Int8 | T::Bool => 8,
        T::Float8e4m3fn | T::Float8e4m3fnuz | T::Float8e5m2 | T::Float8e5m2fnuz | T::Float8e8m0 => 8,
        T::Uint16 | T::Int16 | T::Float16 | T::Bfloat16 => 16,
        T::Float | T::Int32 | T::Uint32 => 32,
        T::Int64 | T::Double | T::Uint64 | T::Complex64 => 64,
        T::Complex128 => 128,
        T::Undefined | T::String | T::Float6e2m3 | T::Float6e3m2 => return None,
    };
    Some(count.checked_mul(bits)?.div_ceil(8))
}

/// The entries in the field of a tensor's type, and how many there must be; `None` as in [`raw_byte_count`].
fn typed_element_count(tensor: &TensorProto, count: usize) -> (usize, Option<usize>) {
    use DataType as T;
    let in_int32 = tensor.int32_data.len();
    match T::try_from(tensor.data_type()).unwrap_or_default() {
        T::Float => (tensor.float_data.len(), Some(count)),
        T::Complex64 => (tensor.float_data.len(), count.checked_mul(2)),
        T::Int64 => (tensor.int64_data.len(), Some(count)),
        T::String => (tensor.string_data.len(), Some(count)),
        T::Double => (tensor.double_data.len(), Some(count)),
        T::Complex128 => (tensor.double_data.len(), count.checked_mul(2)),
        T::Uint32 | T::Uint64 => (tensor.uint64_data.len(), Some(count)),
        T::Uint4 | T::Int4 | T::Float4e2m1 => (in_int32, Some(count.div_ceil(2))),
        T::Uint2 | T::Int2 => (in_int32, Some(count.div_ceil(4))),
        T::Uint8 | T::Int8 | T::Uint16 | T::Int16 | T::Int32 | T::Bool => (in_int32, Some(count)),
        T::Float16 | T::Bfloat16 => (in_int32, Some(count)),
        T::Float8e4m3fn | T::Float8e4m3fnuz | T::Float8e5m2 | T::Float8e5m2fnuz | T::Float8e8m0 => {
            (in_int32, Some(count))
        }
        T::Undefined | T::Float6e2m3 | T::Float6e3m2 => (0, None),
    }
}

/// Checks attributes that are sizes or divisors.
fn check_sizes(node: &NodeProto) -> Validity {
    for attribute in &node.attribute {
        let name = attribute.name();
        if DIVISOR_ATTRIBUTES.contains(&name) && attribute.i() < 1 {
            return Err(format!("has {name} = {}, not 1 or more", attribute.i()));
        }
        let Some((_, least)) = SIZE_ATTRIBUTES.iter().find(|(other, _)| *other == name) else { continue };
        // Negative amounts crop, which only `Pad` supports.
        let least = if name == "pads" && node.op_type() != "Pad" { 0 } else { *least };
        if attribute.ints.iter().any(|size| !(least..=LAYER_SIZE).contains(size)) {
            return Err(format!("has {name} = {:?}, not all in {least} to {LAYER_SIZE}", attribute.ints));
        }
    }
    Ok(())
}

/// Checks the weights of a convolution, where they are known statically.
fn check_convolution(node: &NodeProto, scope: &Scope<'_>) -> Validity {
    let Some((_, place)) = CONVOLUTIONS.iter().find(|(name, _)| *name == node.op_type()) else {
        return Ok(());
    };
    let Some(KnownValue { dims, .. }) = scope.input(node, *place) else { return Ok(()) };
    if dims.len() < 3 || dims.contains(&0) {
        return Err(format!("has weights of the sizes {dims:?}"));
    }
    let group = node.find_attribute("group").map_or(1, AttributeProto::i);
    // In ordinary and transposed convolutions, the groups divide the first dimension.
    if dims[0] % group != 0 {
        return Err(format!("divides {} channels into {group} groups", dims[0]));
    }
    Ok(())
}

/// Checks nodes whose output can be far larger than their inputs, where its shape is known statically.
fn check_growth(node: &NodeProto, scope: &Scope<'_>) -> Validity {
    let sizes = match node.op_type() {
        "ConstantOfShape" => scope.input(node, 0),
        "Expand" | "Tile" => scope.input(node, 1),
        "Resize" => scope.input(node, 3),
        _ => None,
    };
    let sizes = sizes.and_then(|known| int64_values(known.tensor?));
    // Random generators have their shape as an attribute.
    let sizes = sizes.or_else(|| node.find_attribute("shape").map(|shape| shape.ints.clone()));
    let Some(sizes) = sizes else { return Ok(()) };
    let values = sizes.iter().try_fold(1u64, |values, size| values.checked_mul(size.unsigned_abs()));
    match values {
        Some(..=VALUES) => Ok(()),
        _ => Err(format!("makes {sizes:?}, more than {VALUES} values")),
    }
}
