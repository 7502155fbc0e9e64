// SPDX-License-Identifier: MPL-2.0
//! Fusion of quantized inverted-residual blocks into custom operators ([`crate::kernels`]).
//!
//! Quantized networks are in the QDQ format ([`super::quantize`]). A block is the longest match of this pattern:
//!
//! ```text
//! [Resize] [Concat]  Conv 1x1 - Relu  depthwise Conv 3x3 - Relu  Conv 1x1  [Add of the block's input]
//! ```
//!
//! `lipsync quantize` may leave the projection in float32. A 1x1 convolution to a few channels behind a block is
//! fused into an operator, too, and so are dense convolutions outside blocks, with the `Resize` and `Concat` before
//! them. Quantized values may be clipped to 7 bits (`Clip` before `QuantizeLinear`). ONNX Runtime runs what does not match: other types, expanded values with another
//! consumer, and channels that are not multiples of 16.

use std::collections::{HashMap, HashSet};

use super::boundary::transpose;
use super::proto::tensor_proto::DataType;
use super::proto::{AttributeProto, GraphProto, NodeProto, OperatorSetIdProto, TensorProto, ValueInfoProto};
use super::{Model, float_values, tensor_values};
use crate::kernels::{
    BlockInput, DenseConv, FloatConv, FusedOps, INDEX_ATTRIBUTE, InvertedResidual, MAX_PLANES, OP_DOMAIN,
    PLANAR_CONV, PlanarConv, Projection, QuantConv, QuantParams, conv_op_type, op_type,
};

/// Input and output channels of a block are multiples of it.
const CHANNELS: usize = 16;

/// A block, with the names of its quantized inputs and output.
struct Found {
    block: InvertedResidual,
    /// Outputs of its convolutions.
    inner: Vec<String>,
    sources: Vec<String>,
    output: String,
}

/// A dense convolution outside blocks, with the names of its quantized inputs and output.
struct FoundConv {
    conv: DenseConv,
    sources: Vec<String>,
    output: String,
}

/// A planar convolution, with the names of its quantized input and its output.
struct FoundPlanes {
    planes: PlanarConv,
    source: String,
    output: String,
}

/// A quantized convolution.
struct Conv<'a> {
    layer: QuantConv,
    input: &'a str,
    input_params: QuantParams,
    output: &'a str,
    kernel: usize,
    /// Whether it has as many groups as channels.
    depthwise: bool,
    stride: usize,
}

/// A candidate for the projection of a block.
struct Last<'a> {
    layer: Projection,
    input_params: QuantParams,
    output: &'a str,
}

impl Model {
    /// Replaces every block by a custom operator, and returns the blocks by the indices that the operators carry.
    pub fn fuse_blocks(&mut self) -> Option<FusedOps> {
        let graph = self.proto.graph.as_mut().filter(|graph| !graph.has_subgraphs())?;
        let matcher = Matcher::new(graph);
        let blocks = matcher.blocks();
        let planes = matcher.planes(&blocks);
        let convs = matcher.dense_convs(&blocks, &planes);
        if blocks.is_empty() && convs.is_empty() {
            return None;
        }
        let place = |output: &String| matcher.producers.get(output.as_str()).copied();
        let nodes = (blocks.iter().enumerate())
            .filter_map(|(n, found)| Some((place(&found.output)?, found.nodes(n))));
        let last = (planes.iter().enumerate())
            .filter_map(|(n, found)| Some((place(&found.output)?, found.nodes(n))));
        let dense =
            (convs.iter().enumerate()).filter_map(|(n, found)| Some((place(&found.output)?, found.nodes(n))));
        let mut instead: HashMap<usize, Vec<NodeProto>> = nodes.chain(last).chain(dense).collect();
        let nodes = std::mem::take(&mut graph.node).into_iter().enumerate();
        graph.node = nodes.flat_map(|(n, node)| instead.remove(&n).unwrap_or_else(|| vec![node])).collect();
        graph.remove_unused_nodes();
        graph.remove_unused_initializers();
        let domain = OperatorSetIdProto { domain: Some(OP_DOMAIN.into()), version: Some(1) };
        self.proto.opset_import.push(domain);
        Some(FusedOps {
            blocks: blocks.into_iter().map(|found| found.block).collect(),
            convs: convs.into_iter().map(|found| found.conv).collect(),
            planes: planes.into_iter().map(|found| found.planes).collect(),
        })
    }
}

impl Conv<'_> {
    /// Whether every output pixel depends on the same input pixel alone.
    fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && !self.depthwise
    }
}

impl Found {
    fn nodes(&self, number: usize) -> Vec<NodeProto> {
        let op_type = op_type(self.sources.len(), self.block.is_float());
        nhwc_operator(op_type, "block", number, &self.sources, &self.output)
    }
}

impl FoundConv {
    fn nodes(&self, number: usize) -> Vec<NodeProto> {
        nhwc_operator(conv_op_type(self.sources.len()), "conv", number, &self.sources, &self.output)
    }
}

/// A custom operator between transpositions, from NCHW to the NHWC of the kernels and back. Between two of them, ONNX
/// Runtime cancels them.
fn nhwc_operator(
    op_type: Option<&str>,
    name: &str,
    number: usize,
    sources: &[String],
    output: &String,
) -> Vec<NodeProto> {
    let nhwc = |value: &String| format!("{value}.{name}{number}");
    let mut nodes: Vec<NodeProto> =
        sources.iter().map(|source| transpose(&[0, 2, 3, 1], source, &nhwc(source))).collect();
    nodes.push(NodeProto {
        input: sources.iter().map(nhwc).collect(),
        output: vec![nhwc(output)],
        name: Some(format!("{name} {number}")),
        op_type: op_type.map(str::to_owned),
        domain: Some(OP_DOMAIN.into()),
        attribute: vec![AttributeProto::int(INDEX_ATTRIBUTE, number as i64)],
        ..NodeProto::default()
    });
    nodes.push(transpose(&[0, 3, 1, 2], &nhwc(output), output));
    nodes
}

impl FoundPlanes {
    fn nodes(&self, number: usize) -> Vec<NodeProto> {
        let last = format!("{}.planes{number}", self.source);
        let planes = NodeProto {
            input: vec![last.clone()],
            output: vec![self.output.clone()],
            name: Some(format!("planes {number}")),
            op_type: Some(PLANAR_CONV.into()),
            domain: Some(OP_DOMAIN.into()),
            attribute: vec![AttributeProto::int(INDEX_ATTRIBUTE, number as i64)],
            ..NodeProto::default()
        };
        vec![transpose(&[0, 2, 3, 1], &self.source, &last), planes]
    }
}

/// A graph with the producer and the consumers of every value.
struct Matcher<'a> {
    graph: &'a GraphProto,
    initializers: HashMap<&'a str, &'a TensorProto>,
    producers: HashMap<&'a str, usize>,
    consumers: HashMap<&'a str, Vec<usize>>,
    outputs: HashSet<&'a str>,
}

impl<'a> Matcher<'a> {
    fn new(graph: &'a GraphProto) -> Self {
        let nodes = graph.node.iter().enumerate();
        Self {
            graph,
            initializers: graph.initializers(),
            producers: nodes.flat_map(|(n, node)| node.output.iter().map(move |o| (o.as_str(), n))).collect(),
            consumers: graph.consumers(),
            outputs: graph.output.iter().map(ValueInfoProto::name).collect(),
        }
    }

    fn blocks(&self) -> Vec<Found> {
        self.graph.node.iter().filter_map(|node| self.block(node)).collect()
    }

    fn initializer(&self, name: &str) -> Option<&'a TensorProto> {
        self.initializers.get(name).copied()
    }

    /// Pointwise convolutions to few channels behind blocks.
    fn planes(&self, blocks: &[Found]) -> Vec<FoundPlanes> {
        let channels: HashMap<&str, usize> =
            blocks.iter().map(|found| (found.output.as_str(), found.block.output_channels())).collect();
        let found = |node| {
            let conv = self.conv(node).filter(Conv::is_pointwise)?;
            let follows = channels.get(conv.input) == Some(&conv.layer.input_channels());
            let fits = follows && conv.layer.output_channels() <= MAX_PLANES;
            let (source, output) = (conv.input.into(), conv.output.into());
            let planes = PlanarConv { input: conv.input_params, layer: conv.layer };
            fits.then_some(FoundPlanes { planes, source, output })
        };
        self.graph.node.iter().filter_map(found).collect()
    }

    /// Dense convolutions that are part of neither blocks nor planes.
    fn dense_convs(&self, blocks: &[Found], planes: &[FoundPlanes]) -> Vec<FoundConv> {
        let inside = blocks.iter().flat_map(|found| &found.inner);
        let taken: HashSet<&str> =
            inside.chain(planes.iter().map(|found| &found.output)).map(String::as_str).collect();
        let found = |node| {
            let conv = self.conv(node)?;
            let fits = !conv.depthwise && matches!(conv.kernel, 1 | 3) && !taken.contains(conv.output);
            let single = || vec![(conv.input, BlockInput { params: conv.input_params, upsample_2x: false })];
            let sources = fits.then(|| self.sources(conv.input).unwrap_or_else(single))?;
            Some(FoundConv {
                conv: DenseConv {
                    inputs: sources.iter().map(|(_, source)| *source).collect(),
                    input: conv.input_params,
                    layer: conv.layer,
                    kernel: conv.kernel,
                    stride: conv.stride,
                },
                sources: sources.into_iter().map(|(name, _)| name.into()).collect(),
                output: conv.output.into(),
            })
        };
        self.graph.node.iter().filter_map(found).collect()
    }

    /// The block whose expansion is this node.
    fn block(&self, first: &'a NodeProto) -> Option<Found> {
        let expand = self.conv(first)?;
        let depthwise = self.conv(self.only_dequantized_consumer(expand.output)?)?;
        let project = self.project(self.only_dequantized_consumer(depthwise.output)?)?;
        let wide = expand.layer.output_channels();
        let fits = expand.is_pointwise()
            && (depthwise.kernel == 3 && depthwise.depthwise && depthwise.layer.output_channels() == wide)
            && (depthwise.input_params == expand.layer.output
                && project.input_params == depthwise.layer.output)
            && project.layer.input_channels() == wide;
        if !fits {
            return None;
        }
        let Last { layer: project, mut output, .. } = project;
        let inner = [expand.output, depthwise.output, output].map(String::from).into();
        let mut residual = None;
        // Other shapes would be broadcast.
        let is_even = depthwise.stride == 1 && expand.layer.input_channels() == project.output_channels();
        if let (true, Projection::Quantized(layer)) = (is_even, &project)
            && let Some((sum, params)) =
                self.residual_add((output, layer.output), (expand.input, expand.input_params))
        {
            (output, residual) = (sum, Some(params));
        }
        let mut sources =
            vec![(expand.input, BlockInput { params: expand.input_params, upsample_2x: false })];
        if residual.is_none() {
            sources = self.sources(expand.input).unwrap_or(sources);
        }
        let block = InvertedResidual {
            inputs: sources.iter().map(|(_, source)| *source).collect(),
            expand_input: expand.input_params,
            expand: expand.layer,
            depthwise: depthwise.layer,
            stride: depthwise.stride,
            project,
            residual,
        };
        let sources = sources.into_iter().map(|(name, _)| name.into()).collect();
        Some(Found { block, inner, sources, output: output.into() })
    }

    /// The projection at this node, quantized or not.
    fn project(&self, node: &'a NodeProto) -> Option<Last<'a>> {
        let last = match self.conv(node) {
            Some(conv) if !conv.is_pointwise() => return None,
            Some(Conv { layer, input_params, output, .. }) => {
                Last { layer: Projection::Quantized(layer), input_params, output }
            }
            None => {
                let (_, input_params) = self.dequantized_from(node.input.first()?)?;
                let layer = Projection::Float(self.float_pointwise(node)?);
                Last { layer, input_params, output: node.output.first()? }
            }
        };
        (last.layer.output_channels() % CHANNELS == 0).then_some(last)
    }

    /// A 1x1 convolution with float32 weights, whatever follows it.
    fn float_pointwise(&self, node: &'a NodeProto) -> Option<FloatConv> {
        let weight = |place: usize| node.input.get(place).and_then(|name| self.initializer(name));
        let is_pointwise = node.op_type() == "Conv" && geometry(node, 1) == Some((1, 1));
        let tensor = weight(1).filter(|_| is_pointwise)?;
        let &[channels, inputs, 1, 1] = &tensor.dims[..] else { return None };
        let (channels, inputs) = (usize::try_from(channels).ok()?, usize::try_from(inputs).ok()?);
        let count = product(&[channels, inputs]).filter(|count| *count > 0)?;
        let weights = float_values(tensor).filter(|weights| weights.len() == count)?;
        let bias = match node.input.get(2) {
            Some(_) => float_values(weight(2)?).filter(|bias| bias.len() == channels)?,
            None => vec![0.0; channels],
        };
        Some(FloatConv { weights, bias })
    }

    fn producer(&self, value: &str) -> Option<&'a NodeProto> {
        self.producers.get(value).map(|n| &self.graph.node[*n])
    }

    fn only_consumer(&self, value: &str) -> Option<&'a NodeProto> {
        match self.consumers.get(value)?[..] {
            [consumer] if !self.outputs.contains(value) => Some(&self.graph.node[consumer]),
            _ => None,
        }
    }

    /// The one node that reads a quantized value, behind its `DequantizeLinear`.
    fn only_dequantized_consumer(&self, bytes: &str) -> Option<&'a NodeProto> {
        let reading = self.only_consumer(bytes).filter(|node| node.op_type() == "DequantizeLinear")?;
        self.only_consumer(reading.output.first()?)
    }

    /// The quantized value that a value is dequantized from.
    fn dequantized_from(&self, value: &str) -> Option<(&'a str, QuantParams)> {
        let node = self.producer(value).filter(|node| node.op_type() == "DequantizeLinear")?;
        let bytes = node.input.first()?.as_str();
        let is_same = |other: &&NodeProto| {
            other.op_type() == "QuantizeLinear" && other.input.get(1..) == node.input.get(1..)
        };
        let quantize = self.producer(bytes).filter(is_same);
        let clip = quantize.and_then(|node| self.clip(node.input.first()?));
        Some((bytes, self.params(node, clip)?))
    }

    /// The quantized value that a value is quantized to, clipped or not, if nothing else reads it.
    fn quantized_to(&self, value: &str) -> Option<(&'a str, QuantParams)> {
        let mut node = self.only_consumer(value)?;
        let clip = node.output.first().and_then(|output| self.clip(output));
        if clip.is_some() {
            node = self.only_consumer(node.output.first()?)?;
        }
        let node = Some(node).filter(|node| node.op_type() == "QuantizeLinear")?;
        Some((node.output.first()?.as_str(), self.params(node, clip)?))
    }

    /// The `Clip` that a value comes from.
    fn clip(&self, value: &str) -> Option<&'a NodeProto> {
        self.producer(value).filter(|node| node.op_type() == "Clip")
    }

    /// The node whose output is quantized to this value, clipped or not.
    fn quantized_from(&self, bytes: &str) -> Option<&'a NodeProto> {
        let node = self.producer(bytes).filter(|node| node.op_type() == "QuantizeLinear")?;
        let value = node.input.first()?;
        let value = match self.clip(value) {
            Some(clip) => clip.input.first().filter(|value| self.only_consumer(value).is_some())?,
            None => value,
        };
        self.producer(value)
    }

    /// The per-tensor parameters of a `QuantizeLinear` or `DequantizeLinear` of what this `Clip` limits.
    fn params(&self, node: &NodeProto, clip: Option<&NodeProto>) -> Option<QuantParams> {
        let [_, scale, zero_point] = &node.input[..] else { return None };
        let (scale, zero_point) = (self.initializer(scale)?, self.initializer(zero_point)?);
        let (&[scale], true) = (&float_values(scale)?[..], zero_point.has_type(DataType::Uint8)) else {
            return None;
        };
        let &[zero_point] = &bytes(zero_point)[..] else { return None };
        let max = match clip {
            Some(clip) => self.clip_max(clip, scale, zero_point)?,
            None => u8::MAX,
        };
        // Padding is filled with the zero point.
        (zero_point <= max).then_some(QuantParams { scale, zero_point, max })
    }

    /// The byte that a `Clip` limits a quantized value to; `None` where it also limits it from below.
    fn clip_max(&self, clip: &NodeProto, scale: f32, zero_point: u8) -> Option<u8> {
        let limit = |place: usize| match clip.input.get(place).filter(|name| !name.is_empty()) {
            Some(name) => float_values(self.initializer(name)?)?.first().copied().map(Some),
            None => Some(None),
        };
        let byte = |limit: f32| (limit / scale).round_ties_even() + f32::from(zero_point);
        if limit(1)?.is_some_and(|min| byte(min) > 0.0) {
            return None;
        }
        let max = limit(2)?.map_or(255.0, byte);
        (0.0..=255.0).contains(&max).then_some(max as u8)
    }

    /// The quantized convolution at this node, with the ReLU that may follow it.
    fn conv(&self, node: &'a NodeProto) -> Option<Conv<'a>> {
        if node.op_type() != "Conv" {
            return None;
        }
        let (input, input_params) = self.dequantized_from(node.input.first()?)?;
        let (weights, dims, scales) = self.weights(node.input.get(1)?)?;
        let exact = node.output.first()?;
        let (output, output_params) = match self.only_consumer(exact)? {
            // What is rounded to a grid whose least value is zero is no less than zero.
            relu if relu.op_type() == "Relu" => {
                self.quantized_to(relu.output.first()?).filter(|(_, params)| params.zero_point == 0)?
            }
            _ => self.quantized_to(exact)?,
        };
        let &[channels, inputs, height, width] = dims else { return None };
        let size = |size: i64| usize::try_from(size).ok().filter(|size| *size > 0);
        let (channels, inputs) = (size(channels)?, size(inputs)?);
        let kernel = size(height).filter(|_| height == width)?;
        let bias = match node.input.get(2).filter(|name| !name.is_empty()) {
            Some(bias) => self.bias(bias)?,
            None => vec![0; channels],
        };
        let (stride, group) = geometry(node, kernel)?;
        let depthwise = group == channels && inputs == 1 && group > 1;
        let fits = (depthwise || group == 1)
            && bias.len() == channels
            && (scales.len() == 1 || scales.len() == channels)
            && Some(weights.len()) == product(&[channels, inputs, kernel, kernel]);
        if !fits {
            return None;
        }
        let scale = |channel: usize| if scales.len() == 1 { scales[0] } else { scales[channel] };
        let requant_scales = |channel| input_params.scale * scale(channel) / output_params.scale;
        let requant_scales = (0..channels).map(requant_scales).collect();
        let layer = QuantConv { weights, bias, requant_scales, output: output_params };
        Some(Conv { layer, input, input_params, output, kernel, depthwise, stride })
    }

    /// int8 weights with their shape and scales, one for all channels or one for each.
    fn weights(&self, value: &str) -> Option<(Vec<i8>, &'a [i64], Vec<f32>)> {
        let node = self.producer(value).filter(|node| node.op_type() == "DequantizeLinear")?;
        let tensor =
            self.initializer(node.input.first()?).filter(|tensor| tensor.has_type(DataType::Int8))?;
        let scales = float_values(self.initializer(node.input.get(1)?)?)?;
        let is_first = node.find_attribute("axis").is_none_or(|axis| axis.i() == 0) || scales.len() == 1;
        let is_symmetric = match node.input.get(2) {
            Some(zeros) => bytes(self.initializer(zeros)?).iter().all(|zero_point| *zero_point == 0),
            None => true,
        };
        let weights = || bytes(tensor).into_iter().map(u8::cast_signed).collect();
        (is_first && is_symmetric).then(|| (weights(), &tensor.dims[..], scales))
    }

    /// An int32 bias, in units of the accumulators.
    fn bias(&self, value: &str) -> Option<Vec<i32>> {
        let node = self.producer(value).filter(|node| node.op_type() == "DequantizeLinear")?;
        let tensor = self.initializer(node.input.first()?)?;
        tensor
            .has_type(DataType::Int32)
            .then(|| tensor_values(tensor, &tensor.int32_data, i32::from_le_bytes))
    }

    /// The quantized sum of two quantized values, if nothing else reads the first.
    fn residual_add(
        &self,
        ours: (&str, QuantParams),
        theirs: (&str, QuantParams),
    ) -> Option<(&'a str, QuantParams)> {
        let node = self.only_dequantized_consumer(ours.0).filter(|node| node.op_type() == "Add")?;
        let [a, b] = &node.input[..] else { return None };
        let added = (self.dequantized_from(a)?, self.dequantized_from(b)?);
        let fits = added == (ours, theirs) || added == (theirs, ours);
        if fits { self.quantized_to(node.output.first()?) } else { None }
    }

    /// The values that a `Concat` or a `Resize` makes this value of, if it has no other consumer.
    fn sources(&self, bytes: &'a str) -> Option<Vec<(&'a str, BlockInput)>> {
        self.only_dequantized_consumer(bytes)?;
        let node = self.quantized_from(bytes)?;
        if let Some(upsample_2x) = self.upsample_2x(node) {
            return Some(vec![upsample_2x]);
        }
        let is_concat =
            node.op_type() == "Concat" && node.find_attribute("axis").is_some_and(|axis| axis.i() == 1);
        if !is_concat || op_type(node.input.len(), false).is_none() {
            return None;
        }
        let source = |value: &String| {
            let (part, params) = self.dequantized_from(value)?;
            let producer = self.only_dequantized_consumer(part).and_then(|_| self.quantized_from(part));
            let upsample_2x = producer.and_then(|producer| self.upsample_2x(producer));
            Some(upsample_2x.unwrap_or((part, BlockInput { params, upsample_2x: false })))
        };
        let sources: Vec<(&str, BlockInput)> = node.input.iter().map(source).collect::<Option<_>>()?;
        let names: HashSet<&str> = sources.iter().map(|(name, _)| *name).collect();
        // A value that is concatenated with itself would be transposed twice under one name.
        (names.len() == sources.len()).then_some(sources)
    }

    /// The input of a `Resize` that doubles both sides.
    fn upsample_2x(&self, node: &'a NodeProto) -> Option<(&'a str, BlockInput)> {
        let text = |name: &str| node.find_attribute(name).map(|argument| argument.s().to_vec());
        let scales = float_values(self.initializer(node.input.get(2)?)?)?;
        let fits = node.op_type() == "Resize"
            && scales == [1.0, 1.0, 2.0, 2.0]
            && text("mode").as_deref() == Some(b"linear")
            && text("coordinate_transformation_mode").as_deref() == Some(b"align_corners");
        let (bytes, params) = self.dequantized_from(node.input.first()?).filter(|_| fits)?;
        Some((bytes, BlockInput { params, upsample_2x: true }))
    }
}

/// The product of sizes; `None` if it overflows.
fn product(sizes: &[usize]) -> Option<usize> {
    sizes.iter().try_fold(1usize, |product, size| product.checked_mul(*size))
}

/// Whether the fused kernels compute convolutions of this shape, with weights of these dimensions.
pub(super) fn has_kernel(node: &NodeProto, weights: &[i64]) -> bool {
    let &[channels, inputs, height, width] = weights else { return false };
    let kernel = if height == 1 { 1 } else { 3 };
    let is_depthwise = |group: usize| kernel == 3 && inputs == 1 && usize::try_from(channels) == Ok(group);
    height == width
        && height == kernel as i64
        && geometry(node, kernel).is_some_and(|(_, group)| group == 1 || is_depthwise(group))
}

/// The stride (1 or 2) and the groups of a convolution with "same" padding.
fn geometry(node: &NodeProto, kernel: usize) -> Option<(usize, usize)> {
    let ints = |name: &str| node.find_attribute(name).map(|argument| &argument.ints[..]);
    let same = |values: &[i64], value: usize| values.iter().all(|other| usize::try_from(*other) == Ok(value));
    let is_padded =
        ints("pads").map_or(kernel == 1, |pads| (pads.len() == 4 || kernel == 1) && same(pads, kernel / 2));
    let is_plain = ints("dilations").is_none_or(|dilations| same(dilations, 1))
        && node.find_attribute("auto_pad").is_none_or(|auto| matches!(auto.s(), b"NOTSET" | b""));
    let stride = ints("strides")
        .and_then(|strides| strides.first())
        .map_or(Some(1), |stride| usize::try_from(*stride).ok())?;
    let group = usize::try_from(node.find_attribute("group").map_or(1, AttributeProto::i)).ok()?;
    let is_even = ints("strides").is_none_or(|strides| same(strides, stride));
    (is_padded && is_plain && is_even && matches!(stride, 1 | 2)).then_some((stride, group))
}

/// The elements of an int8 or uint8 tensor, as bytes.
fn bytes(tensor: &TensorProto) -> Vec<u8> {
    let list: Vec<u8> = tensor.int32_data.iter().map(|value| *value as u8).collect();
    tensor_values(tensor, &list, u8::from_le_bytes)
}
