//! The arithmetic of blocks in plain loops, which tests and the fuzz target `kernels` compare the kernels with.

use super::{Block, Grid, Layer, Narrow};

/// What a layer makes of its sum in one place.
fn rounded(layer: &Layer, channel: usize, sum: i32) -> u8 {
    let value = (sum as f32 * layer.steps[channel]).round_ties_even() as i32;
    (value + i32::from(layer.output.zero)).clamp(0, 255) as u8
}

pub fn mixed(layer: &Layer, from: &[u8], zero: u8) -> Vec<u8> {
    let channels = layer.channels();
    let inputs = layer.weights.len() / channels;
    let pixel = |pixel: &[u8]| -> Vec<u8> {
        (0..channels)
            .map(|channel| {
                let weights = &layer.weights[channel * inputs..][..inputs];
                let products =
                    pixel.iter().zip(weights).map(|(a, b)| (i32::from(*a) - i32::from(zero)) * i32::from(*b));
                rounded(layer, channel, layer.bias[channel] + products.sum::<i32>())
            })
            .collect()
    };
    from.chunks_exact(inputs).flat_map(pixel).collect()
}

pub fn filtered(layer: &Layer, from: &[u8], zero: u8, [height, width]: [usize; 2], stride: usize) -> Vec<u8> {
    let channels = layer.channels();
    let mut to = Vec::new();
    for y in (0..height).step_by(stride) {
        for x in (0..width).step_by(stride) {
            for channel in 0..channels {
                let mut sum = layer.bias[channel];
                for tap in 0..9 {
                    let (row, column) = (y + tap / 3, x + tap % 3);
                    if (1..=height).contains(&row) && (1..=width).contains(&column) {
                        let byte = from[((row - 1) * width + column - 1) * channels + channel];
                        sum +=
                            (i32::from(byte) - i32::from(zero)) * i32::from(layer.weights[channel * 9 + tap]);
                    }
                }
                to.push(rounded(layer, channel, sum));
            }
        }
    }
    to
}

pub fn expected(block: &Block, from: &[u8], size: [usize; 2]) -> Vec<u8> {
    let wide = mixed(&block.widen, from, block.input.zero);
    let wide = filtered(&block.filter, &wide, block.widen.output.zero, size, block.stride);
    let Narrow::Bytes(layer) = &block.narrow else { unreachable!("only blocks of bytes are asked for") };
    let mut narrow = mixed(layer, &wide, block.filter.output.zero);
    if let Some(sum) = block.residual {
        let real = |byte: u8, grid: Grid| (f32::from(byte) - f32::from(grid.zero)) * grid.scale;
        for (to, from) in narrow.iter_mut().zip(from) {
            let value = real(*to, layer.output) + real(*from, block.input);
            *to = (value / sum.scale + f32::from(sum.zero)).round_ties_even() as u8;
        }
    }
    narrow
}
