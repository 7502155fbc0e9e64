// SPDX-License-Identifier: MPL-2.0
//! The kernels in plain loops: the definition of what every instruction set computes, to the bit.

use super::concat::{InputTensor, Interpolation};
use super::conv::ResidualAdd;
use super::requantize::Affine;
use super::{BlockInput, DenseConv, InvertedResidual, Projection, QuantConv, QuantParams};

/// The quantized output for an accumulator.
fn requantize(layer: &QuantConv, channel: usize, sum: i32) -> u8 {
    let value = (sum as f32 * layer.requant_scales[channel]).round_ties_even() as i32;
    let QuantParams { zero_point, max, .. } = layer.output;
    value.saturating_add(zero_point.into()).clamp(0, max.into()) as u8
}

/// Concatenates inputs of which `[height, width]` is the size of the result.
pub fn concat(
    inputs: &[BlockInput],
    tensors: &[InputTensor<'_>],
    to: QuantParams,
    [height, width]: [usize; 2],
) -> Vec<u8> {
    let mut joined = Vec::new();
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        for (input, InputTensor { bytes, channels }) in inputs.iter().zip(tensors) {
            let affine = Affine::between(input.params, to);
            let width = if input.upsample_2x { width / 2 } else { width };
            let at =
                |y: usize, x: usize, channel: usize| f32::from(bytes[(y * width + x) * channels + channel]);
            for channel in 0..*channels {
                let value = if input.upsample_2x {
                    let (top, bottom, down) = Interpolation::new(height).at(y);
                    let (left, right, across) = Interpolation::new(2 * width).at(x);
                    let mix = |a: f32, b: f32, share: f32| (b - a).mul_add(share, a);
                    let column = |x: usize| mix(at(top, x, channel), at(bottom, x, channel), down);
                    mix(column(left), column(right), across)
                } else {
                    at(y, x, channel)
                };
                joined.push(if !input.upsample_2x && input.params == to {
                    value as u8
                } else {
                    affine.requantize(value, to.max)
                });
            }
        }
    }
    joined
}

/// A dense convolution of `kernel` x `kernel`, padded with the zero point.
pub fn conv(
    layer: &QuantConv,
    from: &[u8],
    zero_point: u8,
    kernel: usize,
    [height, width]: [usize; 2],
    stride: usize,
) -> Vec<u8> {
    let (channels, taps) = (layer.output_channels(), kernel * kernel);
    let inputs = layer.weights.len() / channels / taps;
    let mut to = Vec::new();
    for (y, x) in (0..height).step_by(stride).flat_map(|y| (0..width).step_by(stride).map(move |x| (y, x))) {
        for channel in 0..channels {
            let mut sum = layer.bias[channel];
            for tap in 0..taps {
                let (row, column) = (y + tap / kernel, x + tap % kernel);
                let padding = kernel / 2;
                if !(padding..height + padding).contains(&row)
                    || !(padding..width + padding).contains(&column)
                {
                    continue;
                }
                let pixel = ((row - padding) * width + column - padding) * inputs;
                for input in 0..inputs {
                    let weight = layer.weights[(channel * inputs + input) * taps + tap];
                    sum += (i32::from(from[pixel + input]) - i32::from(zero_point)) * i32::from(weight);
                }
            }
            to.push(requantize(layer, channel, sum));
        }
    }
    to
}

/// A 3 x 3 depthwise convolution, padded with the zero point.
pub fn depthwise(
    layer: &QuantConv,
    from: &[u8],
    zero_point: u8,
    [height, width]: [usize; 2],
    stride: usize,
) -> Vec<u8> {
    let channels = layer.output_channels();
    let mut to = Vec::new();
    for (y, x) in (0..height).step_by(stride).flat_map(|y| (0..width).step_by(stride).map(move |x| (y, x))) {
        for channel in 0..channels {
            let mut sum = layer.bias[channel];
            for tap in 0..9 {
                let (row, column) = (y + tap / 3, x + tap % 3);
                if (1..=height).contains(&row) && (1..=width).contains(&column) {
                    let byte = from[((row - 1) * width + column - 1) * channels + channel];
                    sum += (i32::from(byte) - i32::from(zero_point))
                        * i32::from(layer.weights[channel * 9 + tap]);
                }
            }
            to.push(requantize(layer, channel, sum));
        }
    }
    to
}

/// An inverted residual block with a quantized projection.
pub fn inverted_residual(block: &InvertedResidual, inputs: &[InputTensor<'_>], size: [usize; 2]) -> Vec<u8> {
    let from = concat(&block.inputs, inputs, block.expand_input, size);
    let wide = conv(&block.expand, &from, block.expand_input.zero_point, 1, size, 1);
    let wide = depthwise(&block.depthwise, &wide, block.expand.output.zero_point, size, block.stride);
    let Projection::Quantized(layer) = &block.project else {
        unreachable!("only blocks of bytes are asked for")
    };
    let size = size.map(|side| side.div_ceil(block.stride));
    let mut project = conv(layer, &wide, block.depthwise.output.zero_point, 1, size, 1);
    if let Some(sum) = block.residual {
        let ResidualAdd { scale, input_scale, offset, max } =
            ResidualAdd::of(layer.output, block.expand_input, sum);
        for (to, from) in project.iter_mut().zip(from) {
            let rest = f32::from(from).mul_add(input_scale, offset);
            *to = (f32::from(*to).mul_add(scale, rest).round_ties_even() as u8).min(max);
        }
    }
    project
}

/// A dense convolution of concatenated inputs.
pub fn dense_conv(layer: &DenseConv, inputs: &[InputTensor<'_>], size: [usize; 2]) -> Vec<u8> {
    let from = concat(&layer.inputs, inputs, layer.input, size);
    conv(&layer.layer, &from, layer.input.zero_point, layer.kernel, size, layer.stride)
}
