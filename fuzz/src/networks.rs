//! Networks of the method, tiny, made here.

use std::path::Path;

use lipsync_core::onnx::{Model, Ranges};
use prost::Message;

use crate::proto::{
    self, Attribute, Dimension, Graph, Kind, Node, OperatorSetId, Size, Tensor, TensorShape, TensorType,
    Type, ValueInfo,
};

/// Side of the picture that the generator sees.
pub const SIDE: i64 = 16;

/// A generator of the method with one block between two other layers.
pub fn generator() -> Vec<u8> {
    let mut graph = Graph {
        name: Some("generator".into()),
        input: vec![port("face", &[1, 6, SIDE, SIDE]), port("sound", &[1, 32, 16, 16])],
        output: vec![port("mouth", &[1, 3, SIDE, SIDE])],
        ..Graph::default()
    };
    conv(&mut graph, "face", "a", [6, 16], 1, 1);
    conv(&mut graph, "a", "b", [16, 16], 1, 1);
    conv(&mut graph, "b", "c", [16, 16], 3, 16);
    conv(&mut graph, "c", "d", [16, 16], 1, 1);
    conv(&mut graph, "d", "e", [16, 3], 1, 1);
    // Version 17 has the axes as an argument.
    let axes = ints("axes", &[1, 2, 3]);
    graph.node.push(Node { attribute: vec![axes], ..node("ReduceMean", &["sound"], "loud") });
    graph.node.push(node("Add", &["e", "loud"], "sum"));
    graph.node.push(node("Sigmoid", &["sum"], "mouth"));
    model(graph)
}

/// The same in 8 bits, as `lipsync-avatar quantize` makes it.
pub fn in_eight_bits(generator: &[u8]) -> Vec<u8> {
    let mut model = Model::decode(Path::new("generator.onnx"), generator).expect("it was just made");
    let layers = model.layers();
    let ranges: Ranges = Model::values(&layers).into_iter().map(|name| (name, (0.0, 4.0))).collect();
    model.quantize(&layers, &ranges);
    model.encode()
}

/// A mel encoder: the first 512 of its values.
pub fn encoder() -> Vec<u8> {
    let mut graph = Graph {
        name: Some("encoder".into()),
        input: vec![port("mel", &[1, 1, 80, 16])],
        output: vec![port("row", &[1, 512])],
        initializer: vec![
            integers("starts", &[0]),
            integers("ends", &[512]),
            integers("axes", &[1]),
            integers("shape", &[1, 1280]),
        ],
        ..Graph::default()
    };
    graph.node.push(node("Reshape", &["mel", "shape"], "flat"));
    graph.node.push(node("Slice", &["flat", "starts", "ends", "axes"], "row"));
    model(graph)
}

/// A stand-in for HuBERT: a row of 1024 values for every 320 samples.
pub fn hubert() -> Vec<u8> {
    let mut samples = port("samples", &[1, 1]);
    let mut rows = port("rows", &[1, 1, 1024]);
    free(&mut samples, 1, "samples");
    free(&mut rows, 1, "rows");
    let mut graph = Graph {
        name: Some("hubert".into()),
        input: vec![samples],
        output: vec![rows],
        initializer: vec![
            integers("channel", &[1]),
            weight("kernel", &[1, 1, 400]),
            integers("repeats", &[1, 1, 1024]),
        ],
        ..Graph::default()
    };
    graph.node.push(node("Unsqueeze", &["samples", "channel"], "one"));
    let strides = ints("strides", &[320]);
    graph.node.push(Node { attribute: vec![strides], ..node("Conv", &["one", "kernel"], "steps") });
    graph
        .node
        .push(Node { attribute: vec![ints("perm", &[0, 2, 1])], ..node("Transpose", &["steps"], "turned") });
    graph.node.push(node("Tile", &["turned", "repeats"], "rows"));
    model(graph)
}

fn model(graph: Graph) -> Vec<u8> {
    let opset_import = vec![OperatorSetId { domain: Some(String::new()), version: Some(17) }];
    proto::Model { ir_version: Some(8), graph: Some(graph), opset_import, ..proto::Model::default() }
        .encode_to_vec()
}

/// A convolution with a ReLU, in `groups`, that keeps the size.
fn conv(graph: &mut Graph, from: &str, to: &str, [into, out]: [i64; 2], kernel: i64, groups: i64) {
    let [weights, bias, sums] = ["weights", "bias", "sums"].map(|what| format!("{to}.{what}"));
    graph.initializer.push(weight(&weights, &[out, into / groups, kernel, kernel]));
    graph.initializer.push(weight(&bias, &[out]));
    let group = Attribute { i: Some(groups), r#type: Some(2), ..ints("group", &[]) };
    let attribute = vec![ints("kernel_shape", &[kernel; 2]), ints("pads", &[kernel / 2; 4]), group];
    graph.node.push(Node { attribute, ..node("Conv", &[from, &weights, &bias], &sums) });
    graph.node.push(node("Relu", &[&sums], to));
}

fn node(operator: &str, inputs: &[&str], output: &str) -> Node {
    Node {
        input: inputs.iter().map(|input| (*input).into()).collect(),
        output: vec![output.into()],
        op_type: Some(operator.into()),
        ..Node::default()
    }
}

fn ints(name: &str, values: &[i64]) -> Attribute {
    Attribute { name: Some(name.into()), r#type: Some(7), ints: values.to_vec(), ..Attribute::default() }
}

fn tensor(name: &str, data_type: i32, dims: &[i64], raw: Vec<u8>) -> Tensor {
    Tensor {
        name: Some(name.into()),
        data_type: Some(data_type),
        dims: dims.to_vec(),
        raw_data: Some(raw),
        ..Tensor::default()
    }
}

fn integers(name: &str, values: &[i64]) -> Tensor {
    let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, proto::INT64, &[values.len() as i64], raw)
}

fn weight(name: &str, dims: &[i64]) -> Tensor {
    let count: i64 = dims.iter().product();
    let raw = (0..count).flat_map(|n| (((n * 7) % 11 - 5) as f32 / 16.0).to_le_bytes()).collect();
    tensor(name, proto::FLOAT32, dims, raw)
}

fn port(name: &str, sizes: &[i64]) -> ValueInfo {
    let dim = sizes
        .iter()
        .map(|size| Dimension { value: Some(Size::Value(*size)), ..Dimension::default() })
        .collect();
    let tensor = TensorType { elem_type: Some(proto::FLOAT32), shape: Some(TensorShape { dim }) };
    let kind = Type { value: Some(Kind::Tensor(tensor)), ..Type::default() };
    ValueInfo { name: Some(name.into()), r#type: Some(kind), ..ValueInfo::default() }
}

/// Leaves a size of a port free.
fn free(port: &mut ValueInfo, place: usize, name: &str) {
    if let Some(Kind::Tensor(tensor)) = port.r#type.as_mut().and_then(|kind| kind.value.as_mut())
        && let Some(shape) = &mut tensor.shape
    {
        shape.dim[place].value = Some(Size::Param(name.into()));
    }
}
