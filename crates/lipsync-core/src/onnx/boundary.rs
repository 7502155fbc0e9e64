// SPDX-License-Identifier: MPL-2.0
//! The boundary between the two parts of a split generator: the declared types and layouts of its values.

use std::collections::HashMap;

use super::proto::tensor_proto::DataType;
use super::proto::tensor_shape_proto::{Dimension, dimension};
use super::proto::{
    AttributeProto, GraphProto, NodeProto, TensorShapeProto, TypeProto, ValueInfoProto, type_proto,
};
use super::split::SplitGenerator;

/// Suffix of the names under which boundary values are stored.
pub const BOUNDARY_SUFFIX: &str = ".kept";

/// A value that passes from the first part to the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BoundaryValue {
    /// Its name in the graph, without [`BOUNDARY_SUFFIX`].
    pub name: String,
    /// Its element type.
    pub data_type: DataType,
    /// Its dimensions, all of them known.
    pub shape: Vec<i64>,
}

impl SplitGenerator {
    /// Declares the boundary values as outputs of the first part and inputs of the second, in their storage layout.
    ///
    /// Floats keep their type: float16 would halve their memory, but converting back costs 5 % of the time of every
    /// frame. 8-bit values are stored as NHWC, the layout in which ONNX Runtime's 8-bit kernels compute, so that the
    /// second part needs no transposition per frame.
    pub fn declare_boundary(&mut self, values: &[BoundaryValue]) {
        let (Some(face), Some(mouth)) = (&mut self.face.proto.graph, &mut self.mouth.proto.graph) else {
            return;
        };
        face.output.clear();
        let mut renamed = HashMap::new();
        let mut first = Vec::new();
        for value in values {
            let stored = format!("{}{BOUNDARY_SUFFIX}", value.name);
            let is_quantized = matches!(value.data_type, DataType::Uint8 | DataType::Int8);
            let declaration = match &value.shape[..] {
                [n, c, h, w] if is_quantized => {
                    face.node.push(transpose(&[0, 2, 3, 1], &value.name, &stored));
                    first.push(transpose(&[0, 3, 1, 2], &stored, &value.name));
                    value_info(&stored, value.data_type, &[*n, *h, *w, *c])
                }
                shape => {
                    renamed.insert(value.name.as_str(), stored.clone());
                    value_info(&stored, value.data_type, shape)
                }
            };
            face.output.push(declaration.clone());
            mouth.input.push(declaration);
        }
        rename(face, &renamed);
        rename(mouth, &renamed);
        mouth.node.splice(..0, first);
    }
}

fn rename(graph: &mut GraphProto, names: &HashMap<&str, String>) {
    for name in graph.node.iter_mut().flat_map(|node| node.input.iter_mut().chain(&mut node.output)) {
        if let Some(to) = names.get(name.as_str()) {
            name.clone_from(to);
        }
    }
}

/// A `Transpose` node.
pub(super) fn transpose(axes: &[i64], from: &str, to: &str) -> NodeProto {
    NodeProto {
        input: vec![from.into()],
        output: vec![to.into()],
        name: Some(format!("to {to}")),
        op_type: Some("Transpose".into()),
        attribute: vec![AttributeProto::ints("perm", axes)],
        ..NodeProto::default()
    }
}

fn value_info(name: &str, data_type: DataType, shape: &[i64]) -> ValueInfoProto {
    let dim = shape
        .iter()
        .map(|&size| Dimension { value: Some(dimension::Value::DimValue(size)), ..Dimension::default() })
        .collect();
    let tensor =
        type_proto::Tensor { elem_type: Some(data_type.into()), shape: Some(TensorShapeProto { dim }) };
    let kind = TypeProto { value: Some(type_proto::Value::TensorType(tensor)), ..TypeProto::default() };
    ValueInfoProto { name: Some(name.into()), r#type: Some(kind), ..ValueInfoProto::default() }
}
