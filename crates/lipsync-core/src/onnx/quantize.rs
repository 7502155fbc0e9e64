// SPDX-License-Identifier: MPL-2.0
//! Static 8-bit quantization in the QDQ format: a `QuantizeLinear` and a `DequantizeLinear` at every quantized value.
//! ONNX Runtime fuses them with the operators between.
//!
//! Weights are int8, symmetric, with a scale per output channel; activations are uint8, with a scale and a zero point
//! per tensor, from their calibrated range. What a convolution reads may be limited to 7 bits
//! ([`ActivationBits`]).

use std::collections::{HashMap, HashSet};

use super::proto::tensor_proto::DataType;
use super::proto::{AttributeProto, NodeProto, StringStringEntryProto, TensorProto, ValueInfoProto};
use super::{Model, float_values, fuse_blocks};

/// The calibrated range (minimum and maximum) of each value, by name.
pub type Ranges = HashMap<String, (f32, f32)>;

/// An operator that can be quantized, with the ReLU that follows it, named by its output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// The value that it computes, after the ReLU.
    pub output: String,
    /// How finely its input is quantized.
    pub bits: ActivationBits,
    /// Its inputs, without weights.
    inputs: Vec<String>,
    node: usize,
    relu: Option<usize>,
    /// Whether it is a convolution that there are kernels for.
    has_kernel: bool,
}

impl Layer {
    /// Whether it takes an input in 7 bits: other layers take whatever those that write and read it agree on.
    pub fn takes_7_bits(&self) -> bool {
        self.bits == ActivationBits::Seven && self.has_kernel
    }
}

/// How finely a convolution's input is quantized, where no other convolution needs more. All other values have 8 bits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ActivationBits {
    /// 0 to 127, by a `Clip` before the `QuantizeLinear`: two products with int8 weights fit into 16 bits, which AVX2
    /// sums twice as fast as 32.
    #[default]
    Seven,
    /// 0 to 255.
    Eight,
}

/// The largest byte of 7 bits.
const BITS_7_MAX: u8 = 127;
/// The largest quantized weight.
const WEIGHT_MAX: f32 = 127.0;
/// The smallest scale, so that a tensor of zeros is not divided by zero.
const MIN_SCALE: f32 = 1e-12;

impl Model {
    /// The operators that can be quantized: convolutions with constant weights, and `Add`, `Concat` and `Resize`
    /// between them.
    pub fn quantizable_layers(&self) -> Vec<Layer> {
        let graph = self.graph();
        if graph.has_subgraphs() {
            return Vec::new();
        }
        let weights = graph.initializers();
        let outputs: HashSet<&str> = graph.output.iter().map(ValueInfoProto::name).collect();
        let consumers = graph.consumers();
        let layer = |(n, node): (usize, &NodeProto)| {
            let [output] = &node.output[..] else { return None };
            let values = || node.input.iter().filter(|input| !input.is_empty());
            let is_computed = |input: &&String| !weights.contains_key(input.as_str());
            let inputs: Vec<String> = match node.op_type() {
                "Conv" if values().skip(1).all(|input| weights.contains_key(input.as_str())) => {
                    values().take(1).cloned().collect()
                }
                "Add" | "Concat" if values().all(|input| is_computed(&input)) => values().cloned().collect(),
                "Resize" => values().take(1).filter(is_computed).cloned().collect(),
                _ => return None,
            };
            let relu = match consumers.get(output.as_str()).map(Vec::as_slice) {
                Some(&[consumer]) if node.op_type() == "Conv" && !outputs.contains(output.as_str()) => {
                    Some(consumer).filter(|consumer| graph.node[*consumer].op_type() == "Relu")
                }
                _ => None,
            };
            let output = relu.map_or(Some(output), |relu| graph.node[relu].output.first())?.clone();
            let tensor = node.input.get(1).and_then(|name| weights.get(name.as_str()));
            let has_kernel = node.op_type() == "Conv"
                && tensor.is_some_and(|tensor| fuse_blocks::has_kernel(node, &tensor.dims));
            (!inputs.is_empty()).then_some(Layer {
                output,
                bits: ActivationBits::default(),
                inputs,
                node: n,
                relu,
                has_kernel,
            })
        };
        graph.node.iter().enumerate().filter_map(layer).collect()
    }

    /// Names of the inputs and outputs of those layers, whose ranges [`Self::quantize`] needs.
    pub fn values_to_calibrate(layers: &[Layer]) -> Vec<String> {
        let all = layers.iter().flat_map(|layer| layer.inputs.iter().chain([&layer.output]));
        let unique: HashSet<&String> = all.collect();
        unique.into_iter().cloned().collect()
    }

    /// Adds outputs to the graph; ONNX Runtime infers their types and shapes.
    pub fn add_outputs(&mut self, names: &[String]) {
        let Some(graph) = &mut self.proto.graph else { return };
        let there: HashSet<String> = graph.output.iter().map(|output| output.name().to_owned()).collect();
        let missing = names.iter().filter(|name| !there.contains(*name));
        let output = |name: &String| ValueInfoProto { name: Some(name.clone()), ..ValueInfoProto::default() };
        graph.output.extend(missing.map(output));
    }

    /// Quantizes these layers, of [`Self::quantizable_layers`].
    ///
    /// Operators other than convolutions are quantized only between quantized ones: alone they would gain nothing.
    pub fn quantize(&mut self, layers: &[Layer], ranges: &Ranges) {
        let layers = self.worthwhile(layers);
        let Some(graph) = &mut self.proto.graph else { return };
        let weights = graph.initializers();
        let made: HashSet<&str> = layers.iter().map(|layer| layer.output.as_str()).collect();
        let used: HashSet<&str> = layers.iter().flat_map(|layer| &layer.inputs).map(String::as_str).collect();
        let mut of_node: HashMap<usize, &Layer> = HashMap::new();
        for layer in &layers {
            of_node.extend(std::iter::once(layer.node).chain(layer.relu).map(|node| (node, layer)));
        }

        let convs = || layers.iter().filter(|layer| graph.node[layer.node].op_type() == "Conv");
        let in_7_bits = layers.iter().filter(|layer| layer.takes_7_bits()).flat_map(|layer| &layer.inputs);
        let mut in_7_bits: HashSet<&str> = in_7_bits.map(String::as_str).collect();
        for layer in convs().filter(|layer| !layer.takes_7_bits()) {
            // ONNX Runtime fuses no convolution with what is limited before and behind it.
            let output = Some(&layer.output).filter(|_| !layer.has_kernel);
            layer.inputs.iter().chain(output).for_each(|value| _ = in_7_bits.remove(value.as_str()));
        }
        let mut writer = QdqWriter { nodes: Vec::new(), tensors: Vec::new(), ranges, in_7_bits };
        for input in &graph.input {
            if used.contains(input.name()) {
                writer.quantize_dequantize(input.name(), input.name(), &dequantized_name(input.name()));
            }
        }
        for (n, node) in graph.node.iter().enumerate() {
            let mut node = node.clone();
            let layer = of_node.get(&n);
            if let Some(layer) = layer.filter(|layer| layer.node == n) {
                for input in node.input.iter_mut().filter(|input| layer.inputs.contains(input)) {
                    // The output of a quantized layer keeps its name behind its own QDQ pair.
                    if !made.contains(input.as_str()) {
                        *input = dequantized_name(input);
                    }
                }
                if node.op_type() == "Conv" {
                    writer.quantize_weights(&mut node, &weights, &layer.inputs[0]);
                }
            }
            let outputs = node.output.clone();
            if layer.is_some_and(|layer| outputs.contains(&layer.output)) {
                let name = outputs[0].clone();
                let exact = format!("{name}.exact");
                node.output[0].clone_from(&exact);
                writer.nodes.push(node);
                writer.quantize_dequantize(&name, &exact, &name);
                continue;
            }
            writer.nodes.push(node);
            for output in outputs.iter().filter(|output| used.contains(output.as_str())) {
                writer.quantize_dequantize(output, output, &dequantized_name(output));
            }
        }
        let QdqWriter { nodes, mut tensors, .. } = writer;
        graph.node = nodes;
        graph.initializer.append(&mut tensors);
        graph.remove_unused_initializers();
    }

    /// Sets a key in `metadata_props`.
    pub fn set_metadata(&mut self, key: &str, value: String) {
        self.proto.metadata_props.retain(|entry| entry.key() != key);
        self.proto.metadata_props.push(StringStringEntryProto { key: Some(key.into()), value: Some(value) });
    }

    /// The convolutions, and those of the other layers that lie between quantized ones.
    fn worthwhile(&self, layers: &[Layer]) -> Vec<Layer> {
        let graph = self.graph();
        let is_conv = |layer: &Layer| graph.node[layer.node].op_type() == "Conv";
        let producers: HashMap<&str, usize> =
            layers.iter().enumerate().map(|(n, layer)| (layer.output.as_str(), n)).collect();
        let mut consumers: Vec<Vec<usize>> = vec![Vec::new(); layers.len()];
        let producers_of = |layer: &Layer| -> Vec<usize> {
            layer.inputs.iter().filter_map(|input| producers.get(input.as_str()).copied()).collect()
        };
        for (n, layer) in layers.iter().enumerate() {
            producers_of(layer).into_iter().for_each(|producer| consumers[producer].push(n));
        }
        // Removing a layer removes those that read it, and those that nothing else reads.
        let mut used: Vec<usize> = consumers.iter().map(Vec::len).collect();
        let mut kept = vec![true; layers.len()];
        let is_removable =
            |n: &usize| producers_of(&layers[*n]).len() < layers[*n].inputs.len() || used[*n] == 0;
        let mut to_remove: Vec<usize> = (0..layers.len()).filter(is_removable).collect();
        while let Some(n) = to_remove.pop() {
            if is_conv(&layers[n]) || !std::mem::replace(&mut kept[n], false) {
                continue;
            }
            to_remove.extend(&consumers[n]);
            for producer in producers_of(&layers[n]) {
                used[producer] -= 1;
                if used[producer] == 0 {
                    to_remove.push(producer);
                }
            }
        }
        layers.iter().zip(kept).filter(|(_, kept)| *kept).map(|(layer, _)| layer.clone()).collect()
    }
}

/// The name of a dequantized value whose producer is not quantized.
fn dequantized_name(value: &str) -> String {
    format!("{value}.read")
}

/// Collects the nodes and tensors of the quantized graph.
struct QdqWriter<'a> {
    nodes: Vec<NodeProto>,
    tensors: Vec<TensorProto>,
    ranges: &'a Ranges,
    /// Values that only convolutions with [`ActivationBits::Seven`] read.
    in_7_bits: HashSet<&'a str>,
}

impl QdqWriter<'_> {
    /// Appends a QDQ pair from `from` to `to`, with the range that was calibrated for `name`.
    fn quantize_dequantize(&mut self, name: &str, from: &str, to: &str) {
        let (scale, zero_point, max) = self.quant_params(name);
        let (scale_name, zero_point_name) = (format!("{name}.scale"), format!("{name}.zero"));
        self.tensors.push(float_tensor(&scale_name, &[], &[scale]));
        self.tensors.push(byte_tensor(&zero_point_name, &[], DataType::Uint8, vec![zero_point]));
        let bytes = format!("{name}.bytes");
        let parameters = [scale_name, zero_point_name];
        let mut from = from.to_owned();
        if max < u8::MAX {
            let (limit, clipped) = (format!("{name}.limit"), format!("{name}.clipped"));
            let value = (f32::from(max) - f32::from(zero_point)) * scale;
            self.tensors.push(float_tensor(&limit, &[], &[value]));
            self.nodes.push(NodeProto {
                // No lower limit: that is where bytes end anyway.
                input: vec![from, String::new(), limit],
                output: vec![clipped.clone()],
                name: Some(clipped.clone()),
                op_type: Some("Clip".into()),
                ..NodeProto::default()
            });
            from = clipped;
        }
        self.nodes.push(qdq_node("QuantizeLinear", &from, &parameters, &bytes, None));
        self.nodes.push(qdq_node("DequantizeLinear", &bytes, &parameters, to, None));
    }

    /// The scale and zero point of a value, and its largest byte.
    fn quant_params(&self, name: &str) -> (f32, u8, u8) {
        let (low, high) = self.ranges.get(name).copied().unwrap_or_default();
        // Zero must be representable exactly: convolutions pad with it.
        let (low, high) = (low.min(0.0), high.max(0.0));
        let max = if self.in_7_bits.contains(name) { BITS_7_MAX } else { u8::MAX };
        let scale = ((high - low) / f32::from(max)).max(MIN_SCALE);
        (scale, (-low / scale).round() as u8, max)
    }

    /// Quantizes the weights (int8) and the bias (int32) of a convolution that reads the value `input`.
    fn quantize_weights(&mut self, node: &mut NodeProto, all: &HashMap<&str, &TensorProto>, input: &str) {
        let weight = |place: usize| node.input.get(place).and_then(|name| all.get(name.as_str()));
        let Some((tensor, weights)) = weight(1).and_then(|tensor| Some((tensor, float_values(tensor)?)))
        else {
            return;
        };
        let channels = tensor.dims.first().and_then(|size| usize::try_from(*size).ok());
        let Some(channels) = channels.filter(|channels| (1..=weights.len()).contains(channels)) else {
            return;
        };
        // ONNX Runtime refuses a bias of another length.
        let bias = weight(2).and_then(|tensor| float_values(tensor)).filter(|bias| bias.len() == channels);
        let output = node.output[0].clone();
        let name = |what: &str| format!("{output}.{what}");
        let mut scales = Vec::with_capacity(channels);
        let mut bytes = Vec::with_capacity(weights.len());
        for channel in weights.chunks_exact(weights.len() / channels) {
            let largest = channel.iter().fold(0f32, |largest, weight| largest.max(weight.abs()));
            let scale = (largest / WEIGHT_MAX).max(MIN_SCALE);
            bytes.extend(channel.iter().map(|weight| (weight / scale).round() as i8 as u8));
            scales.push(scale);
        }
        let axis = Some(0);
        let parameters = [name("weight.scale"), name("weight.zero")];
        self.tensors.push(byte_tensor(&name("weight.bytes"), &tensor.dims, DataType::Int8, bytes));
        self.tensors.push(float_tensor(&parameters[0], &[channels as i64], &scales));
        self.tensors.push(byte_tensor(&parameters[1], &[channels as i64], DataType::Int8, vec![0; channels]));
        let read = name("weight.read");
        self.nodes.push(qdq_node("DequantizeLinear", &name("weight.bytes"), &parameters, &read, axis));
        node.input[1] = read;

        if let Some(bias) = bias {
            let (input_scale, ..) = self.quant_params(input);
            let scales: Vec<f32> = scales.iter().map(|scale| scale * input_scale).collect();
            let integers = bias.iter().zip(&scales).map(|(bias, scale)| (bias / scale).round() as i32);
            let bytes = integers.flat_map(i32::to_le_bytes).collect();
            let parameters = [name("bias.scale"), name("bias.zero")];
            let zeros = vec![0; 4 * channels];
            self.tensors.push(byte_tensor(
                &name("bias.integers"),
                &[channels as i64],
                DataType::Int32,
                bytes,
            ));
            self.tensors.push(float_tensor(&parameters[0], &[channels as i64], &scales));
            self.tensors.push(byte_tensor(&parameters[1], &[channels as i64], DataType::Int32, zeros));
            let read = name("bias.read");
            self.nodes.push(qdq_node("DequantizeLinear", &name("bias.integers"), &parameters, &read, axis));
            node.input[2] = read;
        }
    }
}

/// A `QuantizeLinear` or `DequantizeLinear` node; `parameters` are its scale and zero point.
fn qdq_node(operator: &str, from: &str, parameters: &[String; 2], to: &str, axis: Option<i64>) -> NodeProto {
    NodeProto {
        input: std::iter::once(from.into()).chain(parameters.iter().cloned()).collect(),
        output: vec![to.into()],
        name: Some(format!("{operator} {to}")),
        op_type: Some(operator.into()),
        attribute: axis.map(|axis| AttributeProto::int("axis", axis)).into_iter().collect(),
        ..NodeProto::default()
    }
}

fn float_tensor(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    byte_tensor(name, dims, DataType::Float, values.iter().flat_map(|value| value.to_le_bytes()).collect())
}

fn byte_tensor(name: &str, dims: &[i64], data_type: DataType, raw_data: Vec<u8>) -> TensorProto {
    TensorProto {
        name: Some(name.into()),
        dims: dims.to_vec(),
        data_type: Some(data_type.into()),
        raw_data: Some(raw_data),
        ..TensorProto::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::proto::{GraphProto, ModelProto};
    use super::*;

    /// A convolution with a bias of another length, and a sum.
    fn model() -> Model {
        let node = |operator: &str, input: &[&str], output: &str| NodeProto {
            input: input.iter().map(|name| (*name).to_owned()).collect(),
            output: vec![output.into()],
            op_type: Some(operator.into()),
            ..NodeProto::default()
        };
        let graph = GraphProto {
            node: vec![
                node("Conv", &["picture", "weight", "bias"], "out"),
                node("Add", &["out", "out"], "sum"),
            ],
            initializer: vec![
                float_tensor("weight", &[2, 1, 1, 1], &[1.0, 2.0]),
                float_tensor("bias", &[1], &[3.0]),
            ],
            ..GraphProto::default()
        };
        let proto = ModelProto { graph: Some(graph), ..ModelProto::default() };
        let path = std::path::Path::new("generator.onnx");
        Model::decode(path, &prost::Message::encode_to_vec(&proto)).unwrap()
    }

    #[test]
    fn a_bias_of_another_length_is_no_weight_of_whole_numbers() {
        let mut model = model();
        let layers = model.quantizable_layers();
        model.quantize(&layers, &Ranges::new());
        Model::decode(std::path::Path::new("generator.onnx"), &model.encode()).map(drop).unwrap();
    }

    #[test]
    fn only_convolutions_take_7_bits() {
        let mut layers = model().quantizable_layers();
        let in_7_bits = |layers: &[Layer]| -> Vec<bool> { layers.iter().map(Layer::takes_7_bits).collect() };
        assert_eq!(in_7_bits(&layers), [true, false]);
        layers.iter_mut().for_each(|layer| layer.bits = ActivationBits::Eight);
        assert_eq!(in_7_bits(&layers), [false, false]);
    }
}
