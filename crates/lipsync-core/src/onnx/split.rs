//! A generator cut in two: what depends on the avatar's frame alone, and what hears.
//!
//! Every value in the graph is of one of four kinds, by what it is computed from. The first part computes what was
//! learnt to be seen in the picture, once for each frame of the avatar; the second goes on from there with every sound.

use std::collections::{HashMap, HashSet};

use super::Model;
use super::proto::{GraphProto, ModelProto, NodeProto, ValueInfoProto};

/// What a value is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    /// Weights alone.
    Weights,
    /// The picture, without a layer of the network: cut, moved or scaled. Quicker done again than kept.
    Picture,
    /// The picture, through at least one layer.
    Seen,
    /// The sound, too.
    Heard,
}

/// Operators that are layers: what they make is worth keeping.
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

/// The two parts of a generator.
pub struct Split {
    /// From the picture to [`Self::kept`].
    pub face: Model,
    /// From [`Self::kept`], the sound and, where it is needed once more, the picture, to the output.
    pub mouth: Model,
    /// The values that pass from one to the other.
    pub kept: Vec<String>,
}

impl Model {
    /// Cuts a generator in two by its inputs; `None` where nothing is seen that does not hear, or where nodes hold
    /// graphs of their own (loops and branches), which may reach for any value.
    pub fn split(&self, picture: &str, sound: &str) -> Option<Split> {
        let graph = self.graph();
        if graph.has_graphs() {
            return None;
        }
        let sources = sources(graph, picture, sound);
        let source = |name: &str| sources.get(name).copied().unwrap_or(Source::Weights);
        let makers: HashMap<&str, usize> = (graph.node.iter().enumerate())
            .flat_map(|(n, node)| node.output.iter().map(move |output| (output.as_str(), n)))
            .collect();

        // From the outputs backward: the nodes of the second part, and what it takes from the first.
        let mut mouth = HashSet::new();
        let mut kept: Vec<String> = Vec::new();
        let mut is_kept = HashSet::new();
        let mut wanted: Vec<&str> = graph.output.iter().map(ValueInfoProto::name).collect();
        if wanted.iter().any(|name| source(name) != Source::Heard) {
            return None;
        }
        while let Some(name) = wanted.pop() {
            let Some(&maker) = makers.get(name) else { continue };
            let node = &graph.node[maker];
            // What is kept as whole numbers is kept so: they become real numbers in the second part.
            if source(name) == Source::Seen && node.op_type() != "DequantizeLinear" {
                if is_kept.insert(name) {
                    kept.push(name.into());
                }
            } else if mouth.insert(maker) {
                wanted.extend(node.input.iter().map(String::as_str));
            }
        }
        if kept.is_empty() {
            return None;
        }
        let mut face = HashSet::new();
        let mut wanted: Vec<&str> = kept.iter().map(String::as_str).collect();
        while let Some(name) = wanted.pop() {
            if let Some(&maker) = makers.get(name)
                && face.insert(maker)
            {
                wanted.extend(graph.node[maker].input.iter().map(String::as_str));
            }
        }
        let outputs =
            kept.iter().map(|name| ValueInfoProto { name: Some(name.clone()), ..ValueInfoProto::default() });
        Some(Split {
            face: self.part(&face, outputs.collect()),
            mouth: self.part(&mouth, graph.output.clone()),
            kept,
        })
    }

    /// Some of the nodes, with the weights and inputs that they use.
    fn part(&self, nodes: &HashSet<usize>, output: Vec<ValueInfoProto>) -> Self {
        let graph = self.graph();
        let node: Vec<NodeProto> = (graph.node.iter().enumerate())
            .filter(|(n, _)| nodes.contains(n))
            .map(|(_, node)| node.clone())
            .collect();
        let used: HashSet<&str> = node.iter().flat_map(|node| &node.input).map(String::as_str).collect();
        let part = GraphProto {
            initializer: graph.initializer.iter().filter(|t| used.contains(t.name())).cloned().collect(),
            input: graph.input.iter().filter(|input| used.contains(input.name())).cloned().collect(),
            name: graph.name.clone(),
            output,
            node,
            ..GraphProto::default()
        };
        let mut proto = ModelProto { graph: None, ..self.proto.clone() };
        proto.graph = Some(part);
        Self { path: self.path.clone(), proto, scattered: false }
    }
}

/// What every value is computed from. Nodes are in the order of computation, as the format demands.
fn sources<'a>(graph: &'a GraphProto, picture: &'a str, sound: &'a str) -> HashMap<&'a str, Source> {
    let mut sources = HashMap::from([(picture, Source::Picture), (sound, Source::Heard)]);
    for node in &graph.node {
        let of = |name: &String| sources.get(name.as_str()).copied();
        let mut source = node.input.iter().filter_map(of).max().unwrap_or(Source::Weights);
        if source == Source::Picture && LAYERS.contains(&node.op_type()) {
            source = Source::Seen;
        }
        sources.extend(node.output.iter().map(|output| (output.as_str(), source)));
    }
    sources
}
