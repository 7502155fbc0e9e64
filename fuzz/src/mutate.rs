// SPDX-License-Identifier: MPL-2.0
//! Networks changed at random as graphs, not as bytes: what comes out can be decoded, so that the fuzzer gets past the decoder.

use libfuzzer_sys::fuzzer_mutate;
use prost::Message;

use lipsync_core::onnx::DataType;
use lipsync_core::onnx::proto::attribute_proto::AttributeType;
use lipsync_core::onnx::proto::tensor_proto::DataLocation;
use lipsync_core::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use lipsync_core::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, SparseTensorProto, StringStringEntryProto,
    TensorProto, TensorShapeProto, ValueInfoProto, type_proto,
};

/// Sizes at which something ends.
const EDGES: [i64; 24] = [
    0,
    1,
    2,
    3,
    4,
    5,
    8,
    15,
    16,
    17,
    31,
    32,
    64,
    255,
    256,
    -1,
    65_535,
    65_536,
    i32::MAX as i64,
    i32::MIN as i64,
    1 << 32,
    i64::MAX,
    i64::MIN,
    -2,
];

const OPERATORS: [&str; 40] = [
    "Conv",
    "Relu",
    "Add",
    "Mul",
    "Concat",
    "Resize",
    "Pad",
    "QuantizeLinear",
    "DequantizeLinear",
    "Transpose",
    "Reshape",
    "MatMul",
    "Gemm",
    "Sigmoid",
    "Loop",
    "If",
    "Scan",
    "Constant",
    "ConstantOfShape",
    "Expand",
    "Tile",
    "Gather",
    "Slice",
    "Split",
    "Cast",
    "ConvTranspose",
    "MaxPool",
    "AveragePool",
    "BatchNormalization",
    "InstanceNormalization",
    "LSTM",
    "GRU",
    "ReduceMean",
    "Softmax",
    "QLinearConv",
    "ConvInteger",
    "Range",
    "Shape",
    "Einsum",
    "ScatterND",
];

const ATTRIBUTES: [&str; 16] = [
    "group",
    "strides",
    "pads",
    "dilations",
    "kernel_shape",
    "axis",
    "auto_pad",
    "mode",
    "perm",
    "keepdims",
    "axes",
    "to",
    "block",
    "value",
    "coordinate_transformation_mode",
    "body",
];

const TEXTS: [&str; 12] = [
    "",
    "linear",
    "align_corners",
    "NOTSET",
    "SAME_UPPER",
    "VALID",
    "../weights.bin",
    "/etc/passwd",
    "*/_ORT_MEM_ADDR_/*",
    "weights.bin",
    "lipsync",
    "com.microsoft",
];

/// Numbers that look random, the same for the same seed.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u32) -> Self {
        Self(u64::from(seed) ^ 0x9e37_79b9_7f4a_7c15)
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    pub fn below(&mut self, end: usize) -> usize {
        if end == 0 { 0 } else { self.number() as usize % end }
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        all.get(self.below(all.len()))
    }

    fn one_mut<'a, T>(&mut self, all: &'a mut [T]) -> Option<&'a mut T> {
        let place = self.below(all.len());
        all.get_mut(place)
    }

    fn edge(&mut self) -> i64 {
        // Huge ones end most inputs early.
        let end = if self.below(4) == 0 { EDGES.len() } else { 15 };
        EDGES[self.below(end)]
    }

    fn text(&mut self) -> String {
        TEXTS[self.below(TEXTS.len())].into()
    }
}

/// A mutator of networks for libFuzzer.
pub fn network(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> usize {
    let mut random = Random::new(seed);
    let model = ModelProto::decode(&data[..size]).ok().filter(|model| model.graph.is_some());
    let Some(mut model) = model.filter(|_| random.below(16) != 0) else {
        return fuzzer_mutate(data, size, max_size);
    };
    for _ in 0..=random.below(4) {
        change(&mut model, &mut random);
    }
    let bytes = model.encode_to_vec();
    if bytes.len() > max_size {
        return fuzzer_mutate(data, size, max_size);
    }
    data[..bytes.len()].copy_from_slice(&bytes);
    bytes.len()
}

fn change(model: &mut ModelProto, random: &mut Random) {
    let kind = random.below(20);
    if kind == 0 {
        if let Some(set) = random.one_mut(&mut model.opset_import) {
            set.version = Some(random.below(26) as i64);
        }
        return;
    }
    let Some(graph) = &mut model.graph else { return };
    match kind {
        1..=4 => replace_size(graph, random),
        5 | 6 => change_tensor(graph, random),
        7..=9 => change_attribute(graph, random),
        10..=12 => change_input(graph, random),
        13 | 14 => change_node(graph, random),
        15 | 16 => change_port(graph, random),
        17 => change_values(graph, random),
        18 => scatter(graph, random),
        _ => nest(graph, random),
    }
}

/// Replaces a size wherever it stands, as if the network had been made so: in weights, whose values follow, in ports and in
/// arguments.
fn replace_size(graph: &mut GraphProto, random: &mut Random) {
    let sizes: Vec<i64> = graph.initializer.iter().flat_map(|tensor| tensor.dims.iter().copied()).collect();
    let Some(&old) = random.one_of(&sizes) else { return };
    let new = match random.below(4) {
        0 => old.wrapping_add(1),
        1 => old.wrapping_mul(2),
        _ => random.edge(),
    };
    let replace = |size: &mut i64| {
        if *size == old {
            *size = new;
        }
    };
    for tensor in &mut graph.initializer {
        if tensor.dims.contains(&old) {
            tensor.dims.iter_mut().for_each(replace);
            fit(tensor);
        }
    }
    let ports = graph.input.iter_mut().chain(&mut graph.output).chain(&mut graph.value_info);
    for dimension in ports.filter_map(shape).flat_map(|shape| &mut shape.dim) {
        if let Some(dimension::Value::DimValue(size)) = &mut dimension.value {
            replace(size);
        }
    }
    for attribute in graph.node.iter_mut().flat_map(|node| &mut node.attribute) {
        attribute.i.as_mut().into_iter().for_each(replace);
        if matches!(attribute.name(), "kernel_shape" | "shape") {
            attribute.ints.iter_mut().for_each(replace);
        }
    }
}

/// Gives a weight as many values as its shape says, if that is not too many.
fn fit(tensor: &mut TensorProto) {
    const MOST: usize = 1 << 16;
    let count = tensor.dims.iter().try_fold(1usize, |n, size| n.checked_mul(usize::try_from(*size).ok()?));
    let bytes = match DataType::try_from(tensor.data_type()) {
        Ok(DataType::Uint8 | DataType::Int8) => 1,
        Ok(DataType::Float16) => 2,
        Ok(DataType::Int64) => 8,
        _ => 4,
    };
    let Some(count) = count.filter(|count| *count <= MOST) else { return };
    if let Some(raw) = &mut tensor.raw_data {
        let pattern: Vec<u8> = if raw.is_empty() { vec![0] } else { raw.clone() };
        *raw = pattern.into_iter().cycle().take(count * bytes).collect();
    }
}

fn change_tensor(graph: &mut GraphProto, random: &mut Random) {
    let edge = random.edge();
    let Some(tensor) = random.one_mut(&mut graph.initializer) else { return };
    match random.below(6) {
        0 => {
            if let Some(size) = random.one_mut(&mut tensor.dims) {
                *size = edge;
            }
        }
        1 => tensor.dims.push(edge),
        2 => drop(tensor.dims.pop()),
        3 => tensor.data_type = Some(random.below(30) as i32),
        4 => {
            let length = random.below(40);
            tensor.raw_data.iter_mut().for_each(|raw| raw.truncate(length));
        }
        _ => {
            tensor.raw_data = None;
            tensor.float_data = vec![1.0; random.below(20)];
        }
    }
    if random.below(2) == 0 {
        fit(tensor);
    }
}

/// Puts a strange number among the values of a weight.
fn change_values(graph: &mut GraphProto, random: &mut Random) {
    let value =
        [f32::NAN, f32::INFINITY, 0.0, -0.0, -1.0, f32::MIN_POSITIVE, f32::MAX, 1e-40][random.below(8)];
    let Some(tensor) = random.one_mut(&mut graph.initializer) else { return };
    let Some(raw) = &mut tensor.raw_data else { return };
    let place = random.below(raw.len() / 4 + 1) * 4;
    match raw.get_mut(place..place + 4) {
        Some(bytes) => bytes.copy_from_slice(&value.to_le_bytes()),
        None => raw.iter_mut().for_each(|byte| *byte = random.number() as u8),
    }
}

fn change_attribute(graph: &mut GraphProto, random: &mut Random) {
    let (edge, text) = (random.edge(), random.text());
    let name = ATTRIBUTES[random.below(ATTRIBUTES.len())];
    let Some(node) = random.one_mut(&mut graph.node) else { return };
    if node.attribute.is_empty() || random.below(4) == 0 {
        node.attribute.push(match random.below(3) {
            0 => AttributeProto {
                name: Some(name.into()),
                r#type: Some(AttributeType::Int.into()),
                i: Some(edge),
                ..AttributeProto::default()
            },
            1 => AttributeProto {
                name: Some(name.into()),
                r#type: Some(AttributeType::Ints.into()),
                ints: vec![edge; random.below(5)],
                ..AttributeProto::default()
            },
            _ => AttributeProto {
                name: Some(name.into()),
                r#type: Some(AttributeType::String.into()),
                s: Some(text.into_bytes()),
                ..AttributeProto::default()
            },
        });
        return;
    }
    let place = random.below(node.attribute.len());
    let attribute = &mut node.attribute[place];
    match random.below(5) {
        0 => drop(node.attribute.remove(place)),
        1 => attribute.ints.push(edge),
        2 => drop(attribute.ints.pop()),
        _ if attribute.s.is_some() => attribute.s = Some(text.into_bytes()),
        _ => {
            attribute.i.iter_mut().for_each(|i| *i = edge);
            match random.below(3) {
                0 => attribute.ints.iter_mut().for_each(|i| *i = edge),
                _ => random.one_mut(&mut attribute.ints).into_iter().for_each(|i| *i = edge),
            }
        }
    }
}

/// All values that a graph has a name for.
fn names(graph: &GraphProto) -> Vec<String> {
    let ports = graph.input.iter().map(|port| port.name().to_owned());
    let weights = graph.initializer.iter().map(|tensor| tensor.name().to_owned());
    let made = graph.node.iter().flat_map(|node| node.output.iter().cloned());
    ports.chain(weights).chain(made).chain([String::new()]).collect()
}

fn change_input(graph: &mut GraphProto, random: &mut Random) {
    let names = names(graph);
    let name = random.one_of(&names).cloned().unwrap_or_default();
    let Some(node) = random.one_mut(&mut graph.node) else { return };
    match random.below(6) {
        0 => drop(node.input.pop()),
        1 => node.input.push(name),
        2 => node.input.clear(),
        3 => random.one_mut(&mut node.output).into_iter().for_each(|output| output.clone_from(&name)),
        4 => drop(node.output.pop()),
        _ => random.one_mut(&mut node.input).into_iter().for_each(|input| input.clone_from(&name)),
    }
}

fn change_node(graph: &mut GraphProto, random: &mut Random) {
    let operator = OPERATORS[random.below(OPERATORS.len())];
    let text = random.text();
    let place = random.below(graph.node.len());
    let Some(node) = graph.node.get(place).cloned() else { return };
    match random.below(6) {
        0 => drop(graph.node.remove(place)),
        1 => graph.node.insert(place, node),
        2 => {
            let other = random.below(graph.node.len());
            graph.node.swap(place, other);
        }
        3 => graph.node[place].domain = Some(text),
        4 => insert_behind(graph, place, operator),
        _ => graph.node[place].op_type = Some(operator.into()),
    }
}

/// Another operator for what a node makes, before others get it.
fn insert_behind(graph: &mut GraphProto, place: usize, operator: &str) {
    let Some(output) = graph.node[place].output.first().cloned() else { return };
    let before = format!("{output}.{}", graph.node.len());
    graph.node[place].output[0].clone_from(&before);
    let node = NodeProto {
        input: vec![before],
        output: vec![output],
        op_type: Some(operator.into()),
        ..NodeProto::default()
    };
    graph.node.insert(place + 1, node);
}

fn shape(port: &mut ValueInfoProto) -> Option<&mut TensorShapeProto> {
    match port.r#type.as_mut()?.value.as_mut()? {
        type_proto::Value::TensorType(tensor) => tensor.shape.as_mut(),
        _ => None,
    }
}

fn change_port(graph: &mut GraphProto, random: &mut Random) {
    let names = names(graph);
    let name = random.one_of(&names).cloned();
    let edge = random.edge();
    let ports = if random.below(2) == 0 { &mut graph.input } else { &mut graph.output };
    let kind = random.below(7);
    if kind == 0 {
        ports.push(ValueInfoProto { name, ..ValueInfoProto::default() });
        return;
    }
    let place = random.below(ports.len());
    let Some(port) = ports.get_mut(place) else { return };
    match kind {
        1 => drop(ports.remove(place)),
        2 => port.name = name,
        3 => {
            if let Some(type_proto::Value::TensorType(tensor)) =
                port.r#type.as_mut().and_then(|kind| kind.value.as_mut())
            {
                tensor.elem_type = Some(random.below(30) as i32);
            }
        }
        _ => {
            let Some(shape) = shape(port) else { return };
            let value = if kind == 4 {
                dimension::Value::DimParam("N".into())
            } else {
                dimension::Value::DimValue(edge)
            };
            let dimension = Dimension { value: Some(value), ..Dimension::default() };
            match random.below(5) {
                0 => shape.dim.push(dimension),
                1 => drop(shape.dim.pop()),
                _ => random.one_mut(&mut shape.dim).into_iter().for_each(|size| *size = dimension.clone()),
            }
        }
    }
}

/// Has a weight lie in another file, or be one of which only some values are kept.
fn scatter(graph: &mut GraphProto, random: &mut Random) {
    let location = random.text();
    let (offset, length) = (random.edge(), random.edge());
    let place = random.below(graph.initializer.len());
    let Some(tensor) = graph.initializer.get_mut(place) else { return };
    if random.below(2) == 0 {
        let entry =
            |key: &str, value: String| StringStringEntryProto { key: Some(key.into()), value: Some(value) };
        tensor.data_location = Some(DataLocation::External.into());
        tensor.external_data = vec![
            entry("location", location),
            entry("offset", offset.to_string()),
            entry("length", length.to_string()),
        ];
        return;
    }
    let mut values = graph.initializer.remove(place);
    let dims = std::mem::replace(&mut values.dims, vec![1]);
    values.raw_data = values.raw_data.map(|raw| raw.into_iter().take(4).collect());
    let indices = TensorProto {
        dims: vec![1],
        data_type: Some(DataType::Int64.into()),
        raw_data: Some(offset.to_le_bytes().into()),
        ..TensorProto::default()
    };
    graph.sparse_initializer.push(SparseTensorProto { values: Some(values), indices: Some(indices), dims });
}

/// Puts a graph into a node.
fn nest(graph: &mut GraphProto, random: &mut Random) {
    let inner = GraphProto {
        node: graph.node.iter().take(random.below(3)).cloned().collect(),
        ..GraphProto::default()
    };
    let Some(node) = random.one_mut(&mut graph.node) else { return };
    node.attribute.push(AttributeProto {
        name: Some("body".into()),
        r#type: Some(AttributeType::Graph.into()),
        g: Some(inner),
        ..AttributeProto::default()
    });
}
