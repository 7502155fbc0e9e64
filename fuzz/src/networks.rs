// SPDX-License-Identifier: MPL-2.0
//! Networks of the method, tiny, made here.

use std::path::Path;

use lipsync_core::onnx::proto::attribute_proto::AttributeType;
use lipsync_core::onnx::proto::tensor_shape_proto::{Dimension, dimension};
use lipsync_core::onnx::proto::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, type_proto,
};
use lipsync_core::onnx::{DataType, Model, Ranges};
use prost::Message;

/// Side of the picture that the generator sees.
pub const SIDE: i64 = 16;

/// A generator of the method with one block between two other layers.
pub fn generator() -> Vec<u8> {
    let mut graph = GraphProto {
        name: Some("generator".into()),
        input: vec![port("face", &[1, 6, SIDE, SIDE]), port("sound", &[1, 32, 16, 16])],
        output: vec![port("mouth", &[1, 3, SIDE, SIDE])],
        ..GraphProto::default()
    };
    conv(&mut graph, "face", "a", [6, 16], 1, 1);
    conv(&mut graph, "a", "b", [16, 16], 1, 1);
    conv(&mut graph, "b", "c", [16, 16], 3, 16);
    conv(&mut graph, "c", "d", [16, 16], 1, 1);
    conv(&mut graph, "d", "e", [16, 3], 1, 1);
    // Version 17 has the axes as an argument.
    let axes = ints("axes", &[1, 2, 3]);
    graph.node.push(NodeProto { attribute: vec![axes], ..node("ReduceMean", &["sound"], "loud") });
    graph.node.push(node("Add", &["e", "loud"], "sum"));
    graph.node.push(node("Sigmoid", &["sum"], "mouth"));
    model(graph)
}

/// The same in 8 bits, as `lipsync quantize` makes it.
pub fn in_eight_bits(generator: &[u8]) -> Vec<u8> {
    let mut model = Model::decode(Path::new("generator.onnx"), generator).expect("it was just made");
    let layers = model.quantizable_layers();
    let ranges: Ranges =
        Model::values_to_calibrate(&layers).into_iter().map(|name| (name, (0.0, 4.0))).collect();
    model.quantize(&layers, &ranges);
    model.encode()
}

/// A mel encoder: the first 512 of its values.
pub fn encoder() -> Vec<u8> {
    let mut graph = GraphProto {
        name: Some("encoder".into()),
        input: vec![port("mel", &[1, 1, 80, 16])],
        output: vec![port("row", &[1, 512])],
        initializer: vec![
            integers("starts", &[0]),
            integers("ends", &[512]),
            integers("axes", &[1]),
            integers("shape", &[1, 1280]),
        ],
        ..GraphProto::default()
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
    let mut graph = GraphProto {
        name: Some("hubert".into()),
        input: vec![samples],
        output: vec![rows],
        initializer: vec![
            integers("channel", &[1]),
            weight("kernel", &[1, 1, 400]),
            integers("repeats", &[1, 1, 1024]),
        ],
        ..GraphProto::default()
    };
    graph.node.push(node("Unsqueeze", &["samples", "channel"], "one"));
    let strides = ints("strides", &[320]);
    graph.node.push(NodeProto { attribute: vec![strides], ..node("Conv", &["one", "kernel"], "steps") });
    graph.node.push(NodeProto {
        attribute: vec![ints("perm", &[0, 2, 1])],
        ..node("Transpose", &["steps"], "turned")
    });
    graph.node.push(node("Tile", &["turned", "repeats"], "rows"));
    model(graph)
}

fn model(graph: GraphProto) -> Vec<u8> {
    let opset_import = vec![OperatorSetIdProto { domain: Some(String::new()), version: Some(17) }];
    ModelProto { ir_version: Some(8), graph: Some(graph), opset_import, ..ModelProto::default() }
        .encode_to_vec()
}

/// A convolution with a ReLU, in `groups`, that keeps the size.
fn conv(graph: &mut GraphProto, from: &str, to: &str, [into, out]: [i64; 2], kernel: i64, groups: i64) {
    let [weights, bias, sums] = ["weights", "bias", "sums"].map(|what| format!("{to}.{what}"));
    graph.initializer.push(weight(&weights, &[out, into / groups, kernel, kernel]));
    graph.initializer.push(weight(&bias, &[out]));
    let group =
        AttributeProto { i: Some(groups), r#type: Some(AttributeType::Int.into()), ..ints("group", &[]) };
    let attribute = vec![ints("kernel_shape", &[kernel; 2]), ints("pads", &[kernel / 2; 4]), group];
    graph.node.push(NodeProto { attribute, ..node("Conv", &[from, &weights, &bias], &sums) });
    graph.node.push(node("Relu", &[&sums], to));
}

fn node(operator: &str, inputs: &[&str], output: &str) -> NodeProto {
    NodeProto {
        input: inputs.iter().map(|input| (*input).into()).collect(),
        output: vec![output.into()],
        op_type: Some(operator.into()),
        ..NodeProto::default()
    }
}

fn ints(name: &str, values: &[i64]) -> AttributeProto {
    AttributeProto {
        name: Some(name.into()),
        r#type: Some(AttributeType::Ints.into()),
        ints: values.to_vec(),
        ..AttributeProto::default()
    }
}

fn tensor(name: &str, data_type: DataType, dims: &[i64], raw: Vec<u8>) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        data_type: Some(data_type.into()),
        dims: dims.to_vec(),
        raw_data: Some(raw),
        ..TensorProto::default()
    }
}

fn integers(name: &str, values: &[i64]) -> TensorProto {
    let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    tensor(name, DataType::Int64, &[values.len() as i64], raw)
}

fn weight(name: &str, dims: &[i64]) -> TensorProto {
    let count: i64 = dims.iter().product();
    let raw = (0..count).flat_map(|n| (((n * 7) % 11 - 5) as f32 / 16.0).to_le_bytes()).collect();
    tensor(name, DataType::Float, dims, raw)
}

fn port(name: &str, sizes: &[i64]) -> ValueInfoProto {
    let dim = sizes
        .iter()
        .map(|size| Dimension { value: Some(dimension::Value::DimValue(*size)), ..Dimension::default() })
        .collect();
    let tensor =
        type_proto::Tensor { elem_type: Some(DataType::Float.into()), shape: Some(TensorShapeProto { dim }) };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: Some(name.into()), r#type: Some(kind), ..ValueInfoProto::default() }
}

/// Leaves a size of a port free.
fn free(port: &mut ValueInfoProto, place: usize, name: &str) {
    if let Some(type_proto::Value::TensorType(tensor)) =
        port.r#type.as_mut().and_then(|kind| kind.value.as_mut())
        && let Some(shape) = &mut tensor.shape
    {
        shape.dim[place].value = Some(dimension::Value::DimParam(name.into()));
    }
}
