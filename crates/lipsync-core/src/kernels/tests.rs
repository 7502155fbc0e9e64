// SPDX-License-Identifier: MPL-2.0
//! Every instruction set that this processor has against the reference.

use super::concat::InputTensor;
use super::dense_conv::PackedDenseConv;
use super::inverted_residual::{BlockOutput, PackedInvertedResidual};
use super::planar::PackedPlanarConv;
use super::*;

/// A pseudorandom generator, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * (self.next() % 10_000) as f32 / 10_000.0
    }

    /// Bytes up to `max`.
    fn bytes(&mut self, count: usize, max: u8) -> Vec<u8> {
        (0..count).map(|_| (self.next() % (u64::from(max) + 1)) as u8).collect()
    }

    /// A layer whose outputs cover the whole range up to `max`, and saturate.
    fn layer(&mut self, outputs: usize, weights: usize, zero_point: u8, max: u8) -> QuantConv {
        let spread = 120.0 / (75.0 * 73.0 * (weights as f32).sqrt());
        QuantConv {
            weights: (0..outputs * weights).map(|_| (self.next() % 255) as u8 as i8).collect(),
            bias: (0..outputs).map(|_| self.between(-3000.0, 3000.0) as i32).collect(),
            requant_scales: (0..outputs).map(|_| self.between(0.5, 1.5) * spread).collect(),
            output: QuantParams { scale: self.between(0.01, 0.1), zero_point, max },
        }
    }
}

/// The instruction sets that this processor has. `make test` ends with the names of those that it lacks.
fn instruction_sets() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.is_supported())
}

/// Input, expanded and output channels; height and width; stride.
type Shape = ([usize; 3], [usize; 2], usize);

const SHAPES: [Shape; 13] = [
    ([6, 12, 32], [20, 20], 1),
    ([16, 32, 16], [33, 47], 1),
    ([32, 64, 32], [40, 40], 1),
    ([32, 64, 48], [40, 40], 2),
    ([3, 20, 16], [9, 9], 2),
    ([64, 128, 16], [31, 320], 1),
    ([256, 512, 128], [10, 10], 1),
    ([256, 512, 80], [11, 9], 2),
    ([20, 96, 112], [7, 5], 1),
    ([32, 64, 32], [1, 1], 1),
    ([32, 40, 16], [2, 3], 1),
    ([32, 64, 16], [1, 2], 2),
    ([1, 1, 16], [5, 3], 1),
];

/// The largest byte of activations in 8 and in 7 bits.
const RANGES: [u8; 2] = [u8::MAX, 127];

fn block(
    numbers: &mut Numbers,
    [inputs, wide, outputs]: [usize; 3],
    stride: usize,
    max: u8,
) -> InvertedResidual {
    let input = QuantParams { scale: 0.03, zero_point: 117, max };
    InvertedResidual {
        inputs: vec![BlockInput { params: input, upsample_2x: false }],
        expand_input: input,
        expand: numbers.layer(wide, inputs, 0, max),
        depthwise: numbers.layer(wide, 9, 3, max),
        stride,
        project: Projection::Quantized(numbers.layer(outputs, wide, 90, max)),
        residual: None,
    }
}

/// Compares every instruction set with the reference; returns its output.
fn assert_exact(
    block: &InvertedResidual,
    inputs: &[InputTensor<'_>],
    size: [usize; 2],
    what: &str,
) -> Vec<u8> {
    let expected = reference::inverted_residual(block, inputs, size);
    for isa in instruction_sets() {
        let packed = PackedInvertedResidual::new(block, isa);
        let mut to = vec![0; expected.len()];
        dispatch::inverted_residual(&packed, inputs, size, BlockOutput::U8(&mut to));
        assert!(to == expected, "{}: {what} {size:?}", isa.name());
    }
    expected
}

#[test]
fn blocks_are_bit_exact() {
    let mut numbers = Numbers(1);
    for ((channels, size, stride), max) in SHAPES.iter().flat_map(|shape| RANGES.map(|max| (*shape, max))) {
        let block = block(&mut numbers, channels, stride, max);
        let from = numbers.bytes(channels[0] * size[0] * size[1], max);
        let from = [InputTensor { bytes: &from, channels: channels[0] }];
        let to = assert_exact(&block, &from, size, &format!("{channels:?} {stride} {max}"));
        let used = to.iter().collect::<std::collections::HashSet<_>>().len();
        assert!(
            used > 20 || channels[0] == 1 || to.len() < 100,
            "{channels:?}: only {used} different values test little"
        );
    }
}

/// All bytes at one end and all weights at one end: the largest sums there are, in 16 and in 32 bits.
#[test]
fn extreme_values_are_bit_exact() {
    let mut numbers = Numbers(5);
    let ends = [i8::MIN, -127, i8::MAX];
    for (weight, max) in ends.iter().flat_map(|weight| RANGES.map(|max| (*weight, max))) {
        for (byte, zero_point) in [(0, 0), (0, max), (max, 0), (max, max), (max, 1)] {
            for (alternating, stride) in [(false, 1), (true, 1), (false, 2)] {
                let mut block = block(&mut numbers, [64, 80, 48], stride, max);
                let extreme = |layer: &mut QuantConv| {
                    for (n, value) in layer.weights.iter_mut().enumerate() {
                        *value = if alternating && n % 2 == 1 { weight.saturating_neg() } else { weight };
                    }
                    layer.output.zero_point = zero_point;
                };
                extreme(&mut block.expand);
                extreme(&mut block.depthwise);
                let Projection::Quantized(project) = &mut block.project else { unreachable!() };
                extreme(project);
                block.expand_input.zero_point = zero_point;
                block.inputs[0].params.zero_point = zero_point;
                let (size, channels) = ([5, 7], 64);
                let from = vec![byte; channels * size[0] * size[1]];
                let from = [InputTensor { bytes: &from, channels }];
                let what = format!(
                    "weights {weight}, bytes {byte} of {max}, zero point {zero_point}, {alternating}"
                );
                assert_exact(&block, &from, size, &what);
            }
        }
    }
}

#[test]
fn the_residual_is_added() {
    let mut numbers = Numbers(2);
    let shapes = [([16, 32, 16], [9, 13]), ([32, 64, 32], [20, 20]), ([128, 256, 128], [10, 10])];
    for ((channels, size), max) in shapes.iter().flat_map(|shape| RANGES.map(|max| (*shape, max))) {
        let mut block = block(&mut numbers, channels, 1, max);
        block.residual = Some(QuantParams { scale: 0.05, zero_point: 100, max });
        let from = numbers.bytes(channels[0] * size[0] * size[1], max);
        let from = [InputTensor { bytes: &from, channels: channels[0] }];
        assert_exact(&block, &from, size, &format!("{channels:?} {max}"));
    }
}

/// Two inputs of other quantization, of which the first is half as large.
fn two_inputs() -> Vec<BlockInput> {
    let params = |scale, zero_point| QuantParams { scale, zero_point, max: u8::MAX };
    vec![
        BlockInput { params: params(0.021, 90), upsample_2x: true },
        BlockInput { params: params(0.04, 140), upsample_2x: false },
    ]
}

#[test]
fn inputs_are_concatenated_upsampled_and_requantized() {
    let mut numbers = Numbers(3);
    let size = [12, 20];
    for (channels, max) in
        [[32, 32], [16, 4], [20, 12], [3, 5]].iter().flat_map(|c| RANGES.map(|max| (*c, max)))
    {
        let mut block = block(&mut numbers, [channels[0] + channels[1], 64, 16], 1, max);
        block.inputs = two_inputs();
        let half = numbers.bytes(channels[0] * size[0] * size[1] / 4, u8::MAX);
        let full = numbers.bytes(channels[1] * size[0] * size[1], u8::MAX);
        let inputs = [
            InputTensor { bytes: &half, channels: channels[0] },
            InputTensor { bytes: &full, channels: channels[1] },
        ];
        assert_exact(&block, &inputs, size, &format!("{channels:?} {max}"));
    }
}

#[test]
fn dense_convolutions_are_bit_exact() {
    let mut numbers = Numbers(6);
    let shapes = [
        ([16, 0], 16, [9, 13], [3, 1]),
        ([48, 0], 32, [12, 16], [3, 1]),
        ([32, 0], 96, [24, 32], [3, 2]),
        ([5, 0], 58, [7, 5], [3, 2]),
        ([20, 12], 80, [6, 10], [3, 1]),
        ([160, 0], 160, [4, 6], [3, 1]),
        ([1, 0], 1, [1, 1], [3, 1]),
        ([96, 0], 40, [5, 6], [1, 1]),
        ([7, 0], 33, [5, 6], [1, 2]),
        ([64, 0], 32, [4, 40], [1, 2]),
        ([16, 0], 16, [90, 300], [3, 1]),
        ([16, 0], 16, [91, 300], [3, 2]),
    ];
    for ((channels, outputs, size, [kernel, stride]), max) in
        shapes.iter().flat_map(|s| RANGES.map(|max| (*s, max)))
    {
        let inputs: usize = channels.iter().sum();
        let params = QuantParams { scale: 0.03, zero_point: 60, max };
        let conv = DenseConv {
            inputs: if channels[1] > 0 {
                two_inputs()
            } else {
                vec![BlockInput { params, upsample_2x: false }]
            },
            input: params,
            layer: numbers.layer(outputs, kernel * kernel * inputs, 11, max),
            kernel,
            stride,
        };
        let pixels = size[0] * size[1];
        let count = if channels[1] > 0 { channels[0] * pixels / 4 } else { inputs * pixels };
        let first = numbers.bytes(count, if channels[1] > 0 { u8::MAX } else { max });
        let second = numbers.bytes(channels[1] * pixels, u8::MAX);
        let tensors = [
            InputTensor { bytes: &first, channels: channels[0] },
            InputTensor { bytes: &second, channels: channels[1] },
        ];
        let tensors = &tensors[..conv.inputs.len()];
        let expected = reference::dense_conv(&conv, tensors, size);
        for isa in instruction_sets() {
            let mut to = vec![0; expected.len()];
            dispatch::dense_conv(&PackedDenseConv::new(&conv, isa), tensors, size, &mut to);
            assert!(
                to == expected,
                "{}: {channels:?} to {outputs}, {size:?} {kernel} {stride} {max}",
                isa.name()
            );
        }
    }
}

#[test]
fn planes_are_bit_exact() {
    let mut numbers = Numbers(7);
    for ((inputs, outputs, size), max) in [(16, 3, [9, 13]), (32, 1, [40, 40]), (64, 16, [3, 5])]
        .iter()
        .flat_map(|s| RANGES.map(|max| (*s, max)))
    {
        let input = QuantParams { scale: 0.03, zero_point: 60, max };
        let planes = PlanarConv { input, layer: numbers.layer(outputs, inputs, 7, u8::MAX) };
        let from = numbers.bytes(inputs * size[0] * size[1], max);
        let pixels = reference::conv(&planes.layer, &from, input.zero_point, 1, size, 1);
        let plane = |n: usize| pixels.iter().skip(n).step_by(outputs).copied();
        let expected: Vec<u8> = (0..outputs).flat_map(plane).collect();
        for isa in instruction_sets() {
            let mut to = vec![0; expected.len()];
            dispatch::planar_conv(&PackedPlanarConv::new(&planes, isa), &from, &mut to);
            assert!(to == expected, "{}: {inputs} to {outputs} {max}", isa.name());
        }
    }
}

#[test]
fn projections_may_be_float() {
    let mut numbers = Numbers(4);
    for (channels, size, stride) in [([64, 128, 16], [9, 31], 1), ([32, 40, 48], [7, 5], 2)] {
        let [inputs, wide, outputs] = channels;
        let bytes = block(&mut numbers, channels, stride, u8::MAX);
        let layer = FloatConv {
            weights: (0..outputs * wide).map(|_| numbers.between(-1.0, 1.0)).collect(),
            bias: (0..outputs).map(|_| numbers.between(-1.0, 1.0)).collect(),
        };
        let real = InvertedResidual { project: Projection::Float(layer.clone()), ..bytes.clone() };
        let from = numbers.bytes(inputs * size[0] * size[1], u8::MAX);
        let wide_bytes = reference::conv(&real.expand, &from, real.expand_input.zero_point, 1, size, 1);
        let depthwise =
            reference::depthwise(&real.depthwise, &wide_bytes, real.expand.output.zero_point, size, stride);
        let mut first: Option<Vec<f32>> = None;
        for isa in instruction_sets() {
            let packed = PackedInvertedResidual::new(&real, isa);
            let pixels: usize = size.map(|side| packed.output_size(side)).iter().product();
            let mut to = vec![0.0; pixels * outputs];
            let from = [InputTensor { bytes: &from, channels: inputs }];
            dispatch::inverted_residual(&packed, &from, size, BlockOutput::F32(&mut to));
            let params = real.depthwise.output;
            for (pixel, to) in depthwise.chunks_exact(wide).zip(to.chunks_exact(outputs)) {
                for (output, value) in to.iter().enumerate() {
                    let weights = &layer.weights[output * wide..][..wide];
                    let real =
                        |byte: u8| f64::from(params.scale) * (f64::from(byte) - f64::from(params.zero_point));
                    let products =
                        pixel.iter().zip(weights).map(|(byte, weight)| real(*byte) * f64::from(*weight));
                    let exact = f64::from(layer.bias[output]) + products.sum::<f64>();
                    assert!(
                        (exact - f64::from(*value)).abs() < 1e-4 * exact.abs().max(10.0),
                        "{exact} is {value}"
                    );
                }
            }
            assert!(*first.get_or_insert_with(|| to.clone()) == to, "{} differs", isa.name());
        }
    }
}
