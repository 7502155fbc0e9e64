// SPDX-License-Identifier: MPL-2.0
//! Splits a generator in two: the image branch, which depends on the avatar's frame alone, and the rest, which depends
//! on the audio.
//!
//! Every value in the graph is classified by what it depends on. The first part computes the image features, once for
//! each frame of the avatar; the second continues from them for every audio window.

use std::collections::{HashMap, HashSet};

use super::Model;
use super::proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto};

/// What a value depends on, in increasing order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum DependsOn {
    /// On weights alone.
    Weights,
    /// On the image, through data movement only (crops, transpositions, scaling): cheaper to repeat than to cache.
    Image,
    /// On the image, through at least one layer.
    ImageFeatures,
    /// On the audio.
    Audio,
}

/// Operators with weights, whose outputs are worth caching.
const LAYERS: [&str; 10] = [
    "Conv",
    "ConvTranspose",
    "ConvInteger",
    "QLinearConv",
    "Gemm",
    "MatMul",
    "MatMulInteger",
    "QLinearMatMul",
    "GRU",
    "LSTM",
];

/// The two parts of a split generator.
pub struct SplitGenerator {
    /// The image branch: from the image to [`Self::boundary`].
    pub face: Model,
    /// The rest: from [`Self::boundary`], the audio and, where a skip connection needs it, the image, to the output.
    pub mouth: Model,
    /// Names of the values that pass from one to the other.
    pub boundary: Vec<String>,
}

impl Model {
    /// Splits a generator by its inputs; `None` where it has no image features that are independent of the audio, or
    /// where nodes have subgraphs, which may capture any value.
    pub fn split_generator(&self, picture: &str, sound: &str) -> Option<SplitGenerator> {
        let graph = self.graph();
        if graph.has_subgraphs() {
            return None;
        }
        let dependencies = dependencies(graph, picture, sound);
        let dependency = |name: &str| dependencies.get(name).copied().unwrap_or(DependsOn::Weights);
        let producers: HashMap<&str, usize> = (graph.node.iter().enumerate())
            .flat_map(|(n, node)| node.output.iter().map(move |output| (output.as_str(), n)))
            .collect();

        // Backward from the outputs: the nodes of the second part, and the values that it needs from the first.
        let mut mouth = HashSet::new();
        let mut boundary: Vec<String> = Vec::new();
        let mut is_boundary = HashSet::new();
        let mut pending: Vec<&str> = graph.output.iter().map(ValueInfoProto::name).collect();
        if pending.iter().any(|name| dependency(name) != DependsOn::Audio) {
            return None;
        }
        while let Some(name) = pending.pop() {
            let Some(&producer) = producers.get(name) else { continue };
            let node = &graph.node[producer];
            // Quantized values cross the boundary as 8 bits: they are dequantized in the second part.
            if dependency(name) == DependsOn::ImageFeatures && node.op_type() != "DequantizeLinear" {
                if is_boundary.insert(name) {
                    boundary.push(name.into());
                }
            } else if mouth.insert(producer) {
                pending.extend(node.input.iter().map(String::as_str));
            }
        }
        if boundary.is_empty() {
            return None;
        }
        let mut face = HashSet::new();
        let mut pending: Vec<&str> = boundary.iter().map(String::as_str).collect();
        while let Some(name) = pending.pop() {
            if let Some(&producer) = producers.get(name)
                && face.insert(producer)
            {
                pending.extend(graph.node[producer].input.iter().map(String::as_str));
            }
        }
        let outputs = boundary
            .iter()
            .map(|name| ValueInfoProto { name: Some(name.clone()), ..ValueInfoProto::default() });
        Some(SplitGenerator {
            face: self.subgraph(&face, outputs.collect()),
            mouth: self.subgraph(&mouth, graph.output.clone()),
            boundary,
        })
    }

    /// A model of some of the nodes, with the initializers and inputs that they use.
    pub(super) fn subgraph(&self, nodes: &HashSet<usize>, output: Vec<ValueInfoProto>) -> Self {
        let graph = self.graph();
        let node: Vec<NodeProto> = (graph.node.iter().enumerate())
            .filter(|(n, _)| nodes.contains(n))
            .map(|(_, node)| node.clone())
            .collect();
        let used: HashSet<&str> = node.iter().flat_map(|node| &node.input).map(String::as_str).collect();
        let subgraph = GraphProto {
            initializer: graph.initializer.iter().filter(|t| used.contains(t.name())).cloned().collect(),
            input: graph.input.iter().filter(|input| used.contains(input.name())).cloned().collect(),
            name: graph.name.clone(),
            output,
            node,
            ..GraphProto::default()
        };
        let mut proto = ModelProto { graph: None, ..self.proto.clone() };
        proto.graph = Some(subgraph);
        Self { path: self.path.clone(), proto, external_data: false }
    }
}

/// What every value depends on. The format demands that nodes are sorted topologically.
fn dependencies<'a>(graph: &'a GraphProto, picture: &'a str, sound: &'a str) -> HashMap<&'a str, DependsOn> {
    let mut dependencies = HashMap::from([(picture, DependsOn::Image), (sound, DependsOn::Audio)]);
    for node in &graph.node {
        let of = |name: &String| dependencies.get(name.as_str()).copied();
        let mut dependency = node.input.iter().filter_map(of).max().unwrap_or(DependsOn::Weights);
        if dependency == DependsOn::Image && LAYERS.contains(&node.op_type()) {
            dependency = DependsOn::ImageFeatures;
        }
        dependencies.extend(node.output.iter().map(|output| (output.as_str(), dependency)));
    }
    dependencies
}
