// SPDX-License-Identifier: MPL-2.0
//! Pads the channels of depthwise convolutions with zeros to a multiple of the SIMD width.
//!
//! A depthwise convolution is several times slower where its channels are not a multiple of 16, as the 12 of
//! SyncTalk_2D's blocks at full resolution. Channels of zeros change no result.

use std::collections::{HashMap, HashSet};

use super::proto::tensor_proto::DataType;
use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto};
use super::{Model, float_values};

/// Float32 lanes of a 512-bit register, which ONNX Runtime's kernels compute at once.
const LANES: usize = 16;

/// With fewer channels, padding would multiply the work by more than four.
const MIN_CHANNELS: usize = LANES / 4;

/// A depthwise convolution between two ordinary ones, as indices of nodes.
struct Chain {
    expand: usize,
    depthwise: usize,
    project: usize,
}

impl Model {
    /// Pads the channels of depthwise convolutions between ordinary ones, where all weights are initializers.
    pub fn pad_depthwise_channels(&mut self) {
        let Some(graph) = self.proto.graph.as_mut().filter(|graph| !graph.has_subgraphs()) else { return };
        let chains = chains(graph);
        let names = graph.initializer.iter().map(|tensor| tensor.name().to_owned());
        let mut weights = Initializers { places: names.zip(0..).collect(), tensors: &mut graph.initializer };
        for Chain { expand, depthwise, project } in chains {
            // The weights are copied: other nodes may share them.
            weights.pad(&mut graph.node[expand], expand, &[(1, 0), (2, 0)]);
            weights.pad(&mut graph.node[depthwise], depthwise, &[(1, 0), (2, 0)]);
            weights.pad(&mut graph.node[project], project, &[(1, 1)]);
            let group = graph.node[depthwise].attribute.iter_mut().find(|a| a.name() == "group");
            if let Some(AttributeProto { i: Some(group), .. }) = group {
                *group = (*group as usize).next_multiple_of(LANES) as i64;
            }
        }
        graph.remove_unused_initializers();
    }
}

/// The chains in which padding pays.
fn chains(graph: &GraphProto) -> Vec<Chain> {
    let (consumers, weights) = (graph.consumers(), graph.initializers());
    let outputs: HashSet<&str> = graph.output.iter().map(ValueInfoProto::name).collect();
    let only_consumer = |n: usize| {
        let output = graph.node[n].output.first()?.as_str();
        match consumers.get(output)?[..] {
            [consumer] if !outputs.contains(output) => Some(consumer),
            _ => None,
        }
    };
    // The next node, skipping a ReLU, which maps zero to zero.
    let next = |n: usize| {
        let consumer = only_consumer(n)?;
        if graph.node[consumer].op_type() == "Relu" { only_consumer(consumer) } else { Some(consumer) }
    };
    let tensor = |n: usize, place: usize| {
        let name = graph.node[n].input.get(place)?.as_str();
        weights.get(name).copied().filter(|tensor| tensor.has_type(DataType::Float))
    };
    let shape = |n: usize| Some(&tensor(n, 1)?.dims[..]);
    // The bias is optional, but where there is one, it must be an initializer.
    let bias_fits = |n: usize, count: i64| match graph.node[n].input.get(2) {
        Some(_) => tensor(n, 2).is_some_and(|bias| bias.dims == [count]),
        None => true,
    };
    let chain = |expand: usize| {
        let depthwise = next(expand)?;
        let project = next(depthwise)?;
        let are_convs = [expand, depthwise, project].iter().all(|n| graph.node[*n].op_type() == "Conv");
        let &[out, ..] = shape(expand)? else { return None };
        let &[count, 1, ..] = shape(depthwise)? else { return None };
        let &[_, into, ..] = shape(project)? else { return None };
        let fits = out == count && count == into && count == group(&graph.node[depthwise]);
        let plain = group(&graph.node[expand]) == 1 && group(&graph.node[project]) == 1;
        let pays = usize::try_from(count).is_ok_and(|count| count >= MIN_CHANNELS && count % LANES != 0);
        let biases = bias_fits(expand, count) && bias_fits(depthwise, count);
        (are_convs && fits && plain && pays && biases).then_some(Chain { expand, depthwise, project })
    };
    (0..graph.node.len()).filter_map(chain).collect()
}

fn group(node: &NodeProto) -> i64 {
    node.find_attribute("group").map_or(1, AttributeProto::i)
}

/// The initializers of a graph, with their indices by name.
struct Initializers<'a> {
    tensors: &'a mut Vec<TensorProto>,
    places: HashMap<String, usize>,
}

impl Initializers<'_> {
    /// Replaces weights of a node by padded copies; `weights` lists pairs of input and axis.
    fn pad(&mut self, node: &mut NodeProto, number: usize, weights: &[(usize, usize)]) {
        for &(input, axis) in weights {
            let Some(name) = node.input.get_mut(input) else { continue };
            let tensor = self.places.get(name).map(|place| &self.tensors[*place]);
            let Some(padded) = tensor.and_then(|tensor| zero_padded(tensor, axis, number)) else { continue };
            padded.name().clone_into(name);
            self.places.insert(name.clone(), self.tensors.len());
            self.tensors.push(padded);
        }
    }
}

/// A copy of a tensor, padded with zeros at the end of an axis.
fn zero_padded(tensor: &TensorProto, axis: usize, node: usize) -> Option<TensorProto> {
    let values = float_values(tensor)?;
    let size = |size: &i64| usize::try_from(*size).ok();
    let inner: usize = tensor.dims.get(axis + 1..)?.iter().map(size).product::<Option<usize>>()?;
    let size = size(tensor.dims.get(axis)?)?;
    let padded = size.next_multiple_of(LANES);
    let row = size.checked_mul(inner).filter(|row| *row > 0)?;
    let zeros = vec![0.0f32; (padded - size) * inner];
    let values = values.chunks_exact(row).flat_map(|part| part.iter().chain(&zeros));
    let mut dims = tensor.dims.clone();
    dims[axis] = padded as i64;
    Some(TensorProto {
        name: Some(format!("{}.filled.{node}", tensor.name())),
        dims,
        data_type: Some(DataType::Float.into()),
        raw_data: Some(values.flat_map(|value| value.to_le_bytes()).collect()),
        ..TensorProto::default()
    })
}
