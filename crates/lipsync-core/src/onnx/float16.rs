//! Weights kept in half the room: stored as float16 and cast back to float32 at the front of the graph.
//!
//! Inputs, outputs and all computation stay float32, and ONNX Runtime casts once, when it loads the model.

use std::collections::HashSet;

use half::f16;

use super::proto::tensor_proto::DataType;
use super::proto::{AttributeProto, NodeProto, TensorProto};
use super::{Model, element_count, float_values};
use crate::error::{Error, Result};

/// Tensors with fewer values stay as they are: they weigh nothing, and some operators want theirs unchanged.
const MIN_ELEMENTS: u64 = 256;

/// The version of ONNX's operators from which on a cast names its type by number.
const MIN_OPSET: i64 = 6;

/// What became of the weights.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Float16Conversion {
    /// Values that are float16 now.
    pub values: u64,
    /// Values in tensors that hold numbers too large for float16, which stay float32.
    pub too_large: u64,
}

impl Model {
    /// Stores the float32 weights of the main graph as float16.
    ///
    /// # Errors
    /// [`Error::Invalid`] for models too old for it, or weights that are not as many as their shape says.
    pub fn convert_weights_to_float16(&mut self) -> Result<Float16Conversion> {
        let opset = self.opset();
        let invalid = |problem: String| Error::invalid(&self.path, problem, super::REMEDY);
        if opset < MIN_OPSET {
            return Err(invalid(format!("is written in operators of version {opset}, before {MIN_OPSET}")));
        }
        let Some(graph) = &mut self.proto.graph else { return Ok(Float16Conversion::default()) };
        // Weights that are inputs, too, have a declared type that callers rely on.
        let inputs = graph.input.iter().map(|input| input.name().to_owned());
        // Scales and zeros of what is rounded to whole numbers are used as they are.
        let is_rounding = |node: &&NodeProto| matches!(node.op_type(), "QuantizeLinear" | "DequantizeLinear");
        let scales = graph.node.iter().filter(is_rounding);
        let fixed: HashSet<String> =
            inputs.chain(scales.flat_map(|node| node.input.iter().skip(1).cloned())).collect();
        let mut conversion = Float16Conversion::default();
        let mut casts = Vec::new();
        let initializers = graph.initializer.iter_mut().filter(|tensor| !fixed.contains(tensor.name()));
        for tensor in initializers {
            let name = tensor.name().to_owned();
            if convert(tensor, &mut conversion).map_err(&invalid)? {
                tensor.name = Some(stored_name(&name));
                casts.push(cast(&name));
            }
        }
        let mut nodes = Vec::with_capacity(casts.len() + graph.node.len());
        nodes.append(&mut casts);
        for mut node in std::mem::take(&mut graph.node) {
            let cast = convert_constant(&mut node, &mut conversion).map_err(&invalid)?;
            nodes.push(node);
            nodes.extend(cast);
        }
        graph.node = nodes;
        Ok(conversion)
    }
}

/// The same for a constant among the nodes; returns the cast that must follow it.
fn convert_constant(
    node: &mut NodeProto,
    conversion: &mut Float16Conversion,
) -> std::result::Result<Option<NodeProto>, String> {
    let (true, [output]) = (node.op_type() == "Constant", &mut node.output[..]) else { return Ok(None) };
    let Some(tensor) = node.attribute.iter_mut().find_map(|attribute| attribute.t.as_mut()) else {
        return Ok(None);
    };
    if !convert(tensor, conversion)? {
        return Ok(None);
    }
    let name = std::mem::replace(output, stored_name(output));
    Ok(Some(cast(&name)))
}

/// Turns a tensor of many float32 values into float16; tells whether it did.
fn convert(
    tensor: &mut TensorProto,
    conversion: &mut Float16Conversion,
) -> std::result::Result<bool, String> {
    let count =
        element_count(tensor).ok_or_else(|| format!("the weight \"{}\" has no shape", tensor.name()))?;
    if count < MIN_ELEMENTS {
        return Ok(false);
    }
    let Some(values) = float_values(tensor) else { return Ok(false) };
    if values.len() as u64 != count {
        return Err(format!("the weight \"{}\" has {} values, not {count}", tensor.name(), values.len()));
    }
    if values.iter().any(|value| value.abs() > f16::MAX.to_f32()) {
        conversion.too_large += count;
        return Ok(false);
    }
    tensor.raw_data = Some(values.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect());
    tensor.float_data.clear();
    tensor.data_type = Some(DataType::Float16.into());
    conversion.values += count;
    Ok(true)
}

fn stored_name(name: &str) -> String {
    format!("{name}.stored_as_float16")
}

/// The node that makes the weight of that name again.
fn cast(name: &str) -> NodeProto {
    NodeProto {
        input: vec![stored_name(name)],
        output: vec![name.into()],
        name: Some(format!("{name}.to_float32")),
        op_type: Some("Cast".into()),
        attribute: vec![AttributeProto::int("to", DataType::Float as i64)],
        ..NodeProto::default()
    }
}
