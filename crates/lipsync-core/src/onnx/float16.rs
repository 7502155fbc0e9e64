// SPDX-License-Identifier: MPL-2.0
//! Float16 storage: weights are stored as float16, with a `Cast` to float32 behind each of them.
//!
//! Inputs, outputs and all computation stay float32. ONNX Runtime folds the casts when it loads the model, so they cost
//! nothing per inference.

use std::collections::HashSet;

use half::f16;

use super::proto::tensor_proto::DataType;
use super::proto::{AttributeProto, NodeProto, TensorProto};
use super::{Model, element_count, float_values};
use crate::error::{Error, Result};

/// Smaller tensors stay float32: they hardly add to the size, and some operators need theirs as constants.
const MIN_ELEMENTS: u64 = 256;

/// The operator set since which the attribute `to` of `Cast` is a number.
const MIN_OPSET: i64 = 6;

/// What the conversion did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Float16Conversion {
    /// Elements that are float16 now.
    pub values: u64,
    /// Elements of tensors that stay float32, because one of their values is out of float16's range.
    pub too_large: u64,
}

impl Model {
    /// Stores the float32 weights of the main graph as float16.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an operator set before version 6, or a tensor whose data does not match its shape.
    pub fn convert_weights_to_float16(&mut self) -> Result<Float16Conversion> {
        let opset = self.opset();
        let invalid = |problem: String| Error::invalid(&self.path, problem, super::REMEDY);
        if opset < MIN_OPSET {
            return Err(invalid(format!("is written in operators of version {opset}, before {MIN_OPSET}")));
        }
        let Some(graph) = &mut self.proto.graph else { return Ok(Float16Conversion::default()) };
        // Initializers that are also inputs have a declared type, on which callers rely.
        let inputs = graph.input.iter().map(|input| input.name().to_owned());
        // Scales and zero points must be constants.
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

/// Converts the value of a `Constant` node; returns the `Cast` that must follow it.
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

/// Converts a large float32 tensor to float16; returns whether it did.
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

/// The `Cast` that yields the float32 tensor of that name.
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
