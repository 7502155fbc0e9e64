//! How the values that pass between the two parts of a generator are stored.

use std::collections::HashMap;

use super::proto::{
    self, Attribute, Dimension, Graph, Kind, Node, Size, TensorShape, TensorType, Type, ValueInfo,
};
use super::split::Split;

/// Ending of the names of values as they are stored.
pub const KEPT: &str = ".kept";

/// A value that passes from the first part to the second: its type by ONNX's number, and its shape.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    pub name: String,
    pub data_type: i32,
    pub shape: Vec<i64>,
}

impl Split {
    /// Declares the values that pass between the parts, and how they are stored.
    ///
    /// Real numbers stay as they are: rounded to float16 they would take half the room, but turning them back costs
    /// a twentieth of the time of every frame. Whole numbers are stored channels last, as
    /// ONNX Runtime's kernels for them compute, so that nothing is rearranged for every frame.
    pub fn store(&mut self, values: &[Kept]) {
        let (Some(face), Some(mouth)) = (&mut self.face.proto.graph, &mut self.mouth.proto.graph) else {
            return;
        };
        face.output.clear();
        let mut renamed = HashMap::new();
        let mut first = Vec::new();
        for value in values {
            let stored = format!("{}{KEPT}", value.name);
            let is_whole = matches!(value.data_type, proto::UINT8 | proto::INT8);
            let declaration = match &value.shape[..] {
                [n, c, h, w] if is_whole => {
                    face.node.push(order(&[0, 2, 3, 1], &value.name, &stored));
                    first.push(order(&[0, 3, 1, 2], &stored, &value.name));
                    declared(&stored, value.data_type, &[*n, *h, *w, *c])
                }
                shape => {
                    renamed.insert(value.name.as_str(), stored.clone());
                    declared(&stored, value.data_type, shape)
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

fn rename(graph: &mut Graph, names: &HashMap<&str, String>) {
    for name in graph.node.iter_mut().flat_map(|node| node.input.iter_mut().chain(&mut node.output)) {
        if let Some(to) = names.get(name.as_str()) {
            name.clone_from(to);
        }
    }
}

/// A node that puts the axes in another order.
pub(super) fn order(axes: &[i64], from: &str, to: &str) -> Node {
    Node {
        input: vec![from.into()],
        output: vec![to.into()],
        name: Some(format!("to {to}")),
        op_type: Some("Transpose".into()),
        attribute: vec![Attribute::ints("perm", axes)],
        ..Node::default()
    }
}

fn declared(name: &str, data_type: i32, shape: &[i64]) -> ValueInfo {
    let dim = shape
        .iter()
        .map(|&size| Dimension { value: Some(Size::Value(size)), ..Dimension::default() })
        .collect();
    let tensor = TensorType { elem_type: Some(data_type), shape: Some(TensorShape { dim }) };
    let kind = Type { value: Some(Kind::Tensor(tensor)), ..Type::default() };
    ValueInfo { name: Some(name.into()), r#type: Some(kind), ..ValueInfo::default() }
}
