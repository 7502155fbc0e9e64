// SPDX-License-Identifier: MPL-2.0
//! Cuts what is heard of the lips out of a generator of the training kit.
//!
//! Such a generator turns the audio into the state of a mouth, and this, by a product with a column of numbers, into the
//! distance of the lips (training/nets.py, `MouthHead.states`), before anything is painted.

use std::collections::{HashMap, HashSet};

use super::Model;
use super::proto::{TensorProto, ValueInfoProto};

impl Model {
    /// The part of a generator that computes the distance of the lips from its input `sound` alone: [N, 1], in millimetres of
    /// the kit's mesh; `None` where it computes no such value.
    pub fn lip_opening(&self, sound: &str) -> Option<Self> {
        let graph = self.graph();
        if graph.has_subgraphs() {
            return None;
        }
        let mut constants: HashMap<&str, &TensorProto> = graph.initializers();
        for node in graph.node.iter().filter(|node| node.op_type() == "Constant") {
            let value = node.attribute.iter().find_map(|attribute| attribute.t.as_ref());
            constants.extend(node.output.first().map(String::as_str).zip(value));
        }
        let is_column = |name: &String| {
            constants
                .get(name.as_str())
                .is_some_and(|tensor| matches!(tensor.dims[..], [rows, 1] if rows > 1))
        };
        // What depends on the sound alone, and what on nothing, as weights do that are stored as float16; the format demands
        // that nodes are sorted topologically.
        let mut heard = HashSet::from([sound]);
        let mut fixed: HashSet<&str> = constants.keys().copied().collect();
        let found = graph.node.iter().find(|node| {
            let inputs = || node.input.iter().map(String::as_str).filter(|name| !name.is_empty());
            if inputs().all(|name| heard.contains(name) || fixed.contains(name)) {
                let depends = inputs().any(|name| heard.contains(name));
                let known = if depends { &mut heard } else { &mut fixed };
                known.extend(node.output.iter().map(String::as_str));
            }
            let [output] = &node.output[..] else { return false };
            node.op_type() == "MatMul"
                && heard.contains(output.as_str())
                && node.input.get(1).is_some_and(is_column)
        })?;
        let producers: HashMap<&str, usize> = (graph.node.iter().enumerate())
            .flat_map(|(n, node)| node.output.iter().map(move |output| (output.as_str(), n)))
            .collect();
        let mut nodes = HashSet::new();
        let mut pending: Vec<&str> = found.output.iter().map(String::as_str).collect();
        while let Some(name) = pending.pop() {
            if let Some(&producer) = producers.get(name)
                && nodes.insert(producer)
            {
                pending.extend(graph.node[producer].input.iter().map(String::as_str));
            }
        }
        let outputs = found
            .output
            .iter()
            .map(|name| ValueInfoProto { name: Some(name.clone()), ..ValueInfoProto::default() });
        Some(self.subgraph(&nodes, outputs.collect()))
    }
}
