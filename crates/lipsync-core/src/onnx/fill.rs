//! Hidden channels filled up to what wide registers hold.
//!
//! A convolution channel by channel is several times slower where its channels are not a multiple of 16, as the 12 that
//! SyncTalk_2D makes of the picture at full size. Channels of zeros beside them change no result.

use std::collections::{HashMap, HashSet};

use super::proto::tensor_proto::DataType;
use super::proto::{AttributeProto, GraphProto, NodeProto, TensorProto, ValueInfoProto};
use super::{Model, floats};

/// Channels of 32 bits in a register of 512, which the runtime's kernels work on at once.
const FULL: usize = 16;

/// Fewer channels would grow more than fourfold.
const FEWEST: usize = FULL / 4;

/// A convolution by channel between two that mix channels: their places among the nodes.
struct Chain {
    before: usize,
    channels: usize,
    after: usize,
}

impl Model {
    /// Fills up the channels of convolutions by channel whose neighbours are convolutions with weights of their own.
    pub fn fill_channels(&mut self) {
        let Some(graph) = self.proto.graph.as_mut().filter(|graph| !graph.has_graphs()) else { return };
        let chains = chains(graph);
        let names = graph.initializer.iter().map(|tensor| tensor.name().to_owned());
        let mut weights = Weights { places: names.zip(0..).collect(), tensors: &mut graph.initializer };
        for Chain { before, channels, after } in chains {
            // Copies: where weights are shared, others keep theirs.
            weights.widen(&mut graph.node[before], before, &[(1, 0), (2, 0)]);
            weights.widen(&mut graph.node[channels], channels, &[(1, 0), (2, 0)]);
            weights.widen(&mut graph.node[after], after, &[(1, 1)]);
            let group = graph.node[channels].attribute.iter_mut().find(|a| a.name() == "group");
            if let Some(AttributeProto { i: Some(group), .. }) = group {
                *group = (*group as usize).next_multiple_of(FULL) as i64;
            }
        }
        graph.drop_unused_weights();
    }
}

/// The chains in which it pays.
fn chains(graph: &GraphProto) -> Vec<Chain> {
    let (users, weights) = (graph.users(), graph.weights());
    let outputs: HashSet<&str> = graph.output.iter().map(ValueInfoProto::name).collect();
    let only_user = |n: usize| {
        let output = graph.node[n].output.first()?.as_str();
        match users.get(output)?[..] {
            [user] if !outputs.contains(output) => Some(user),
            _ => None,
        }
    };
    // The next node but for a ReLU between: that leaves zeros as they are.
    let next = |n: usize| {
        let user = only_user(n)?;
        if graph.node[user].op_type() == "Relu" { only_user(user) } else { Some(user) }
    };
    let tensor = |n: usize, place: usize| {
        let name = graph.node[n].input.get(place)?.as_str();
        weights.get(name).copied().filter(|tensor| tensor.has_type(DataType::Float))
    };
    let shape = |n: usize| Some(&tensor(n, 1)?.dims[..]);
    // A convolution may do without a bias, but if there is one, it must be known, too.
    let bias_fits = |n: usize, count: i64| match graph.node[n].input.get(2) {
        Some(_) => tensor(n, 2).is_some_and(|bias| bias.dims == [count]),
        None => true,
    };
    let chain = |before: usize| {
        let channels = next(before)?;
        let after = next(channels)?;
        let all_convs = [before, channels, after].iter().all(|n| graph.node[*n].op_type() == "Conv");
        let &[out, ..] = shape(before)? else { return None };
        let &[count, 1, ..] = shape(channels)? else { return None };
        let &[_, into, ..] = shape(after)? else { return None };
        let fits = out == count && count == into && count == group(&graph.node[channels]);
        let plain = group(&graph.node[before]) == 1 && group(&graph.node[after]) == 1;
        let pays = usize::try_from(count).is_ok_and(|count| count >= FEWEST && count % FULL != 0);
        let biases = bias_fits(before, count) && bias_fits(channels, count);
        (all_convs && fits && plain && pays && biases).then_some(Chain { before, channels, after })
    };
    (0..graph.node.len()).filter_map(chain).collect()
}

fn group(node: &NodeProto) -> i64 {
    node.argument("group").map_or(1, AttributeProto::i)
}

/// The weights of a graph, and where each is.
struct Weights<'a> {
    tensors: &'a mut Vec<TensorProto>,
    places: HashMap<String, usize>,
}

impl Weights<'_> {
    /// Gives a node wider weights: for each, which input and along which axis.
    fn widen(&mut self, node: &mut NodeProto, number: usize, weights: &[(usize, usize)]) {
        for &(input, axis) in weights {
            let Some(name) = node.input.get_mut(input) else { continue };
            let tensor = self.places.get(name).map(|place| &self.tensors[*place]);
            let Some(wide) = tensor.and_then(|tensor| widened(tensor, axis, number)) else { continue };
            wide.name().clone_into(name);
            self.places.insert(name.clone(), self.tensors.len());
            self.tensors.push(wide);
        }
    }
}

/// A copy of a tensor with zeros behind its values along an axis.
fn widened(tensor: &TensorProto, axis: usize, node: usize) -> Option<TensorProto> {
    let values = floats(tensor)?;
    let size = |size: &i64| usize::try_from(*size).ok();
    let inner: usize = tensor.dims.get(axis + 1..)?.iter().map(size).product::<Option<usize>>()?;
    let size = size(tensor.dims.get(axis)?)?;
    let wide = size.next_multiple_of(FULL);
    let row = size.checked_mul(inner).filter(|row| *row > 0)?;
    let zeros = vec![0.0f32; (wide - size) * inner];
    let values = values.chunks_exact(row).flat_map(|part| part.iter().chain(&zeros));
    let mut dims = tensor.dims.clone();
    dims[axis] = wide as i64;
    Some(TensorProto {
        name: Some(format!("{}.filled.{node}", tensor.name())),
        dims,
        data_type: Some(DataType::Float.into()),
        raw_data: Some(values.flat_map(|value| value.to_le_bytes()).collect()),
        ..TensorProto::default()
    })
}
