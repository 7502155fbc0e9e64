// SPDX-License-Identifier: MPL-2.0
//! Reference implementation of the kernels in plain loops, for tests and the fuzz target `kernels`.

use super::{InvertedResidual, Projection, QuantConv, QuantParams};

/// The quantized output for an accumulator.
fn requantize(layer: &QuantConv, channel: usize, sum: i32) -> u8 {
    let value = (sum as f32 * layer.requant_scales[channel]).round_ties_even() as i32;
    (value + i32::from(layer.output.zero_point)).clamp(0, 255) as u8
}

pub fn pointwise(layer: &QuantConv, from: &[u8], zero_point: u8) -> Vec<u8> {
    let channels = layer.output_channels();
    let inputs = layer.weights.len() / channels;
    let pixel = |pixel: &[u8]| -> Vec<u8> {
        (0..channels)
            .map(|channel| {
                let weights = &layer.weights[channel * inputs..][..inputs];
                let products = pixel
                    .iter()
                    .zip(weights)
                    .map(|(a, b)| (i32::from(*a) - i32::from(zero_point)) * i32::from(*b));
                requantize(layer, channel, layer.bias[channel] + products.sum::<i32>())
            })
            .collect()
    };
    from.chunks_exact(inputs).flat_map(pixel).collect()
}

pub fn depthwise(
    layer: &QuantConv,
    from: &[u8],
    zero_point: u8,
    [height, width]: [usize; 2],
    stride: usize,
) -> Vec<u8> {
    let channels = layer.output_channels();
    let mut to = Vec::new();
    for y in (0..height).step_by(stride) {
        for x in (0..width).step_by(stride) {
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
    }
    to
}

pub fn inverted_residual(block: &InvertedResidual, from: &[u8], size: [usize; 2]) -> Vec<u8> {
    let wide = pointwise(&block.expand, from, block.expand_input.zero_point);
    let wide = depthwise(&block.depthwise, &wide, block.expand.output.zero_point, size, block.stride);
    let Projection::Quantized(layer) = &block.project else {
        unreachable!("only blocks of bytes are asked for")
    };
    let mut project = pointwise(layer, &wide, block.depthwise.output.zero_point);
    if let Some(sum) = block.residual {
        let real =
            |byte: u8, params: QuantParams| (f32::from(byte) - f32::from(params.zero_point)) * params.scale;
        for (to, from) in project.iter_mut().zip(from) {
            let value = real(*to, layer.output) + real(*from, block.expand_input);
            *to = (value / sum.scale + f32::from(sum.zero_point)).round_ties_even() as u8;
        }
    }
    project
}
