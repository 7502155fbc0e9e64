//! Hidden channels filled up to what wide registers hold.
//!
//! A convolution channel by channel is several times slower where its channels are not a multiple of 16, as the 12 that
//! SyncTalk_2D makes of the picture at full size. Channels of zeros beside them change no result.

use super::proto::{self, Attribute, Graph, Node, Tensor};
use super::{Model, floats};

/// Channels of 32 bits in a register of 512, which the runtime's kernels work on at once.
const FULL: i64 = 16;

/// A convolution by channel between two that mix channels: their places among the nodes.
struct Chain {
    before: usize,
    channels: usize,
    after: usize,
}

impl Model {
    /// Fills up the channels of convolutions by channel whose neighbours are convolutions with weights of their own.
    pub fn fill_channels(&mut self) {
        let Some(graph) = &mut self.proto.graph else { return };
        for Chain { before, channels, after } in chains(graph) {
            // Copies: where weights are shared, others keep theirs.
            widen(graph, before, &[(1, 0), (2, 0)]);
            widen(graph, channels, &[(1, 0), (2, 0)]);
            widen(graph, after, &[(1, 1)]);
            let group = graph.node[channels].attribute.iter_mut().find(|a| a.name() == "group");
            if let Some(Attribute { i: Some(group), .. }) = group {
                *group = (*group as u64).next_multiple_of(FULL as u64) as i64;
            }
        }
        graph.drop_unused_weights();
    }
}

/// The chains in which it pays.
fn chains(graph: &Graph) -> Vec<Chain> {
    let users = graph.users();
    let is_output = |name: &str| graph.output.iter().any(|output| output.name() == name);
    let only_user = |n: usize| match users.get(graph.node[n].output.first()?.as_str())?[..] {
        [user] if !is_output(&graph.node[n].output[0]) => Some(user),
        _ => None,
    };
    // The next node but for a ReLU between: that leaves zeros as they are.
    let next = |n: usize| {
        let user = only_user(n)?;
        if graph.node[user].op_type() == "Relu" { only_user(user) } else { Some(user) }
    };
    let shape = |n: usize| Some(&tensor(graph, graph.node[n].input.get(1)?)?.dims[..]);
    let chain = |before: usize| {
        let channels = next(before)?;
        let after = next(channels)?;
        let all_convs = [before, channels, after].iter().all(|n| graph.node[*n].op_type() == "Conv");
        let &[out, ..] = shape(before)? else { return None };
        let &[count, 1, ..] = shape(channels)? else { return None };
        let &[_, into, ..] = shape(after)? else { return None };
        let fits = out == count && count == into && count == group(&graph.node[channels]);
        let plain = group(&graph.node[before]) == 1 && group(&graph.node[after]) == 1;
        (all_convs && fits && plain && count % FULL != 0).then_some(Chain { before, channels, after })
    };
    (0..graph.node.len()).filter_map(chain).collect()
}

fn tensor<'a>(graph: &'a Graph, name: &str) -> Option<&'a Tensor> {
    graph.weight(name).filter(|tensor| tensor.data_type() == proto::FLOAT32)
}

fn group(node: &Node) -> i64 {
    node.argument("group").map_or(1, Attribute::i)
}

/// Gives a node wider weights: for each, which input and along which axis.
fn widen(graph: &mut Graph, node: usize, weights: &[(usize, usize)]) {
    for &(input, axis) in weights {
        let Some(name) = graph.node[node].input.get(input).cloned() else { continue };
        let Some(wide) = tensor(graph, &name).and_then(|tensor| widened(tensor, axis, node)) else {
            continue;
        };
        graph.node[node].input[input] = wide.name().into();
        graph.initializer.push(wide);
    }
}

/// A copy of a tensor with zeros behind its values along an axis.
fn widened(tensor: &Tensor, axis: usize, node: usize) -> Option<Tensor> {
    let values = floats(tensor)?;
    let size = *tensor.dims.get(axis)? as usize;
    let inner: usize = tensor.dims[axis + 1..].iter().map(|size| *size as usize).product();
    let wide = size.next_multiple_of(FULL as usize);
    let zeros = vec![0.0f32; (wide - size) * inner];
    let values = values.chunks_exact(size * inner).flat_map(|part| part.iter().chain(&zeros));
    let mut dims = tensor.dims.clone();
    dims[axis] = wide as i64;
    Some(Tensor {
        name: Some(format!("{}.filled.{node}", tensor.name())),
        dims,
        data_type: Some(proto::FLOAT32),
        raw_data: Some(values.flat_map(|value| value.to_le_bytes()).collect()),
        ..Tensor::default()
    })
}
