// SPDX-License-Identifier: MPL-2.0
//! The kernels against the reference implementation.

use super::concat::InputTensor;
use super::inverted_residual::{BlockOutput, PackedInvertedResidual};
use super::pointwise::Isa;
use super::reference::{depthwise, inverted_residual, pointwise};
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

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }

    /// A layer whose outputs cover the whole range of u8, and saturate.
    fn layer(&mut self, outputs: usize, weights: usize, zero_point: u8) -> QuantConv {
        let spread = 120.0 / (75.0 * 73.0 * (weights as f32).sqrt());
        QuantConv {
            weights: (0..outputs * weights).map(|_| (self.next() % 255) as u8 as i8).collect(),
            bias: (0..outputs).map(|_| self.between(-3000.0, 3000.0) as i32).collect(),
            requant_scales: (0..outputs).map(|_| self.between(0.5, 1.5) * spread).collect(),
            output: QuantParams { scale: self.between(0.01, 0.1), zero_point },
        }
    }
}

/// Input, expanded and output channels; height and width; stride.
type Shape = ([usize; 3], [usize; 2], usize);

const SHAPES: [Shape; 12] = [
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
];

fn block(numbers: &mut Numbers, [inputs, wide, outputs]: [usize; 3], stride: usize) -> InvertedResidual {
    let input = QuantParams { scale: 0.03, zero_point: 117 };
    InvertedResidual {
        inputs: vec![BlockInput { params: input, upsample_2x: false }],
        expand_input: input,
        expand: numbers.layer(wide, inputs, 0),
        depthwise: numbers.layer(wide, 9, 3),
        stride,
        project: Projection::Quantized(numbers.layer(outputs, wide, 130)),
        residual: None,
    }
}

fn computed(block: &InvertedResidual, inputs: &[InputTensor<'_>], size: [usize; 2]) -> Option<Vec<u8>> {
    if !are_supported() {
        eprintln!("this processor has no AVX-512 VNNI: nothing is tested");
        return None;
    }
    let compute = |unit: Isa| {
        let packed = PackedInvertedResidual::new(block, unit);
        let sides = size.map(|side| packed.output_size(side));
        let mut to = vec![0; sides.iter().product::<usize>() * packed.output_channels()];
        // SAFETY: `are_supported` was checked.
        unsafe { packed.run(inputs, size, BlockOutput::U8(&mut to)) };
        to
    };
    let to = compute(Isa::Vnni);
    match Isa::detect() {
        Isa::Vnni => eprintln!("this processor has no AMX: tiles are not tested"),
        Isa::Amx => assert_eq!(compute(Isa::Amx), to, "AMX and VNNI differ"),
    }
    Some(to)
}

fn worst(a: &[u8], b: &[u8]) -> u8 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

#[test]
fn blocks_are_bit_exact() {
    let mut numbers = Numbers(1);
    for (channels, size, stride) in SHAPES {
        let block = block(&mut numbers, channels, stride);
        let from = numbers.bytes(channels[0] * size[0] * size[1]);
        let Some(to) = computed(&block, &[InputTensor { bytes: &from, channels: channels[0] }], size) else {
            return;
        };
        assert_eq!(to, inverted_residual(&block, &from, size), "{channels:?} {size:?} {stride}");
        let used = to.iter().collect::<std::collections::HashSet<_>>().len();
        assert!(used > 20 || to.len() < 100, "{channels:?}: only {used} different values test little");
    }
}

#[test]
fn the_residual_is_added() {
    let mut numbers = Numbers(2);
    for (channels, size) in [([16, 32, 16], [9, 13]), ([32, 64, 32], [20, 20]), ([128, 256, 128], [10, 10])] {
        let mut block = block(&mut numbers, channels, 1);
        block.residual = Some(QuantParams { scale: 0.05, zero_point: 120 });
        let from = numbers.bytes(channels[0] * size[0] * size[1]);
        let Some(to) = computed(&block, &[InputTensor { bytes: &from, channels: channels[0] }], size) else {
            return;
        };
        // Float sums that lie halfway between two levels may be rounded either way.
        assert!(worst(&to, &inverted_residual(&block, &from, size)) <= 1, "{channels:?}");
    }
}

#[test]
fn inputs_are_concatenated_upsampled_and_requantized() {
    let mut numbers = Numbers(3);
    let size = [12, 20];
    for channels in [[32, 32], [16, 4], [20, 12]] {
        let mut block = block(&mut numbers, [channels[0] + channels[1], 64, 16], 1);
        let params =
            [QuantParams { scale: 0.021, zero_point: 90 }, QuantParams { scale: 0.04, zero_point: 140 }];
        block.inputs = vec![
            BlockInput { params: params[0], upsample_2x: true },
            BlockInput { params: params[1], upsample_2x: false },
        ];
        let half = numbers.bytes(channels[0] * size[0] * size[1] / 4);
        let full = numbers.bytes(channels[1] * size[0] * size[1]);
        let inputs = [
            InputTensor { bytes: &half, channels: channels[0] },
            InputTensor { bytes: &full, channels: channels[1] },
        ];
        let Some(to) = computed(&block, &inputs, size) else { return };

        let written = |value: f32| {
            (value / block.expand_input.scale + f32::from(block.expand_input.zero_point)).round_ties_even()
        };
        let real =
            |byte: u8, params: QuantParams| (f32::from(byte) - f32::from(params.zero_point)) * params.scale;
        let mut joined = Vec::new();
        for (y, x) in (0..size[0]).flat_map(|y| (0..size[1]).map(move |x| (y, x))) {
            let between = |place: usize, size: usize| {
                let at = (place * (size / 2 - 1)) as f32 / (size - 1) as f32;
                (at.floor() as usize, (at.floor() as usize + 1).min(size / 2 - 1), at.fract())
            };
            let ((top, bottom, down), (left, right, across)) = (between(y, size[0]), between(x, size[1]));
            for channel in 0..channels[0] {
                let at =
                    |y: usize, x: usize| real(half[(y * size[1] / 2 + x) * channels[0] + channel], params[0]);
                let mix = |a: f32, b: f32, share: f32| a + (b - a) * share;
                let value = mix(
                    mix(at(top, left), at(bottom, left), down),
                    mix(at(top, right), at(bottom, right), down),
                    across,
                );
                joined.push(written(value) as u8);
            }
            for channel in 0..channels[1] {
                joined.push(written(real(full[(y * size[1] + x) * channels[1] + channel], params[1])) as u8);
            }
        }
        let inverted_residual = inverted_residual(&block, &joined, size);
        // Inputs that differ by a level change some outputs.
        let same = to.iter().zip(&inverted_residual).filter(|(a, b)| a == b).count();
        assert!(same * 1000 > 995 * to.len(), "{channels:?}: {same} of {} are the same", to.len());
    }
}

#[test]
fn projections_may_be_float() {
    let mut numbers = Numbers(4);
    for (channels, size, stride) in [([64, 128, 16], [9, 31], 1), ([32, 40, 48], [7, 5], 2)] {
        let [inputs, wide, outputs] = channels;
        let bytes = block(&mut numbers, channels, stride);
        let layer = FloatConv {
            weights: (0..outputs * wide).map(|_| numbers.between(-1.0, 1.0)).collect(),
            bias: (0..outputs).map(|_| numbers.between(-1.0, 1.0)).collect(),
        };
        let real = InvertedResidual { project: Projection::Float(layer.clone()), ..bytes.clone() };
        let from = numbers.bytes(inputs * size[0] * size[1]);
        if !are_supported() {
            return;
        }
        let packed = PackedInvertedResidual::new(&real, Isa::detect());
        let pixels: usize = size.map(|side| packed.output_size(side)).iter().product();
        let mut to = vec![0.0; pixels * outputs];
        // SAFETY: `are_supported` was checked.
        unsafe {
            packed.run(&[InputTensor { bytes: &from, channels: inputs }], size, BlockOutput::F32(&mut to));
        }

        let wide_bytes = pointwise(&real.expand, &from, real.expand_input.zero_point);
        let depthwise = depthwise(&real.depthwise, &wide_bytes, real.expand.output.zero_point, size, stride);
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
    }
}
