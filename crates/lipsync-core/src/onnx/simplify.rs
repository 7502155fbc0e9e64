// SPDX-License-Identifier: MPL-2.0
//! Simplification: a fixed batch size, and no nodes without effect.

use std::collections::{HashMap, HashSet};

use super::proto::tensor_shape_proto::{Dimension, dimension};
use super::proto::{NodeProto, ValueInfoProto};
use super::{Model, float_values, int64_values};

impl Model {
    /// Fixes the batch size of every input to one, where it is dynamic. All other declared shapes are removed: ONNX
    /// Runtime infers them.
    pub fn fix_batch_size(&mut self) {
        let Some(graph) = &mut self.proto.graph else { return };
        for input in &mut graph.input {
            if let Some(batch) = dimensions(input).and_then(|dimensions| dimensions.first_mut())
                && !matches!(batch.value, Some(dimension::Value::DimValue(_)))
            {
                batch.value = Some(dimension::Value::DimValue(1));
            }
        }
        graph.value_info.clear();
        for output in &mut graph.output {
            if let Some(tensor) = output.tensor_type_mut() {
                tensor.shape = None;
            }
        }
    }

    /// Removes `Pad` nodes that pad by zero, which exporters leave behind where shapes might have differed.
    ///
    /// The amounts must be initializers, so constants must have been folded before.
    pub fn remove_noop_pads(&mut self) {
        let Some(graph) = self.proto.graph.as_mut().filter(|graph| !graph.has_subgraphs()) else { return };
        let weights = graph.initializers();
        let amounts = |node: &NodeProto| -> Option<Vec<i64>> {
            match (node.find_attribute("pads"), node.input.get(1)) {
                (Some(pads), _) => Some(pads.ints.clone()),
                (None, Some(name)) => weights.get(name.as_str()).and_then(|tensor| int64_values(tensor)),
                (None, None) => None,
            }
        };
        let outputs: HashSet<&str> = graph.output.iter().map(ValueInfoProto::name).collect();
        let mut renamed: HashMap<String, String> = HashMap::new();
        let mut nodes = Vec::with_capacity(graph.node.len());
        for node in &graph.node {
            let mut node = node.clone();
            for input in &mut node.input {
                if let Some(name) = renamed.get(input) {
                    input.clone_from(name);
                }
            }
            let is_noop = node.op_type() == "Pad"
                && amounts(&node).is_some_and(|amounts| amounts.iter().all(|amount| *amount == 0));
            match (is_noop, &node.output[..], node.input.first()) {
                (true, [output], Some(input)) if !outputs.contains(output.as_str()) => {
                    renamed.insert(output.clone(), input.clone());
                }
                _ => nodes.push(node),
            }
        }
        graph.node = nodes;
    }

    /// Removes the upper limits of values that are only quantized ([`super::ActivationBits`]): the fused kernels alone
    /// gain by them, and ONNX Runtime fuses no convolution across them. Values beyond their calibrated range may
    /// become larger, up to 8 bits.
    pub fn remove_clips_before_quantization(&mut self) {
        let Some(graph) = self.proto.graph.as_mut().filter(|graph| !graph.has_subgraphs()) else { return };
        let weights = graph.initializers();
        let is_zero = |name: &String| {
            weights.get(name.as_str()).and_then(|tensor| float_values(tensor)).is_some_and(|min| min == [0.0])
        };
        let consumers = graph.consumers();
        let is_output = |name: &str| graph.output.iter().any(|output| output.name() == name);
        let is_only_quantized = |name: &str| {
            let all = consumers.get(name).into_iter().flatten();
            !is_output(name) && all.into_iter().all(|n| graph.node[*n].op_type() == "QuantizeLinear")
        };
        let mut renamed: HashMap<String, String> = HashMap::new();
        let mut relus: HashSet<String> = HashSet::new();
        let clips = graph.node.iter().filter(|node| node.op_type() == "Clip");
        for clip in clips {
            let ([output], Some(input)) = (&clip.output[..], clip.input.first()) else { continue };
            match clip.input.get(1).filter(|min| !min.is_empty()) {
                _ if !is_only_quantized(output) => {}
                None => _ = renamed.insert(output.clone(), input.clone()),
                // ONNX Runtime has made one node of a ReLU and a limit.
                Some(min) if is_zero(min) => _ = relus.insert(output.clone()),
                Some(_) => {}
            }
        }
        for node in &mut graph.node {
            if node.op_type() == "Clip" && node.output.first().is_some_and(|output| relus.contains(output)) {
                node.op_type = Some("Relu".into());
                node.input.truncate(1);
            }
            if let Some(input) = node.input.first_mut()
                && let Some(value) = renamed.get(input)
            {
                input.clone_from(value);
            }
        }
        graph.remove_unused_nodes();
        graph.remove_unused_initializers();
    }
}

fn dimensions(value: &mut ValueInfoProto) -> Option<&mut Vec<Dimension>> {
    Some(&mut value.tensor_type_mut()?.shape.as_mut()?.dim)
}
