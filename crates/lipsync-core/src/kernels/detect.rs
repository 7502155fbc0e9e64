// SPDX-License-Identifier: MPL-2.0
//! Which instruction set to use. Before one is used, it has to compute a small block as the reference does.

use std::sync::OnceLock;

use super::concat::InputTensor;
use super::dense_conv::PackedDenseConv;
use super::inverted_residual::{BlockOutput, PackedInvertedResidual};
use super::isa::Isa;
use super::{
    BlockInput, DenseConv, InvertedResidual, Projection, QuantConv, QuantParams, dispatch, reference,
};

/// The environment variable that names the instruction set to use, or `none`. Other words mean nothing.
pub const VARIABLE: &str = "LIPSYNC_KERNELS";

/// The word for no instruction set at all.
const NONE: &str = "none";

/// The fastest that this processor has, or the one that `LIPSYNC_KERNELS` names; `None` where the processor lacks that,
/// or has none, and ONNX Runtime has to do without. One that does not compute what the reference does is passed over:
/// not every instruction set has been seen on silicon.
pub fn detect() -> Option<Isa> {
    static DETECTED: OnceLock<Option<Isa>> = OnceLock::new();
    *DETECTED.get_or_init(|| {
        let names = || Isa::ALL.map(Isa::name).into_iter().chain([NONE]);
        let wanted = std::env::var(VARIABLE).ok();
        let wanted = wanted.and_then(|wanted| names().find(|name| wanted.eq_ignore_ascii_case(name)));
        let is_wanted = |isa: &Isa| wanted.is_none_or(|name| name == isa.name());
        let usable = |isa: &Isa| is_wanted(isa) && isa.is_supported() && passes(*isa);
        Isa::ALL.into_iter().rev().find(usable)
    })
}

/// Input, expanded and output channels: panels of all widths, and full and partial AMX tiles.
const CHANNELS: [usize; 3] = [96, 176, 112];
/// Output channels of a dense convolution.
const CONV_OUTPUTS: usize = 32;
/// Height and width: more pixels than an AMX tile has, and no multiple of any tile.
const SIZE: [usize; 2] = [3, 7];

/// Whether an instruction set that this processor has computes what the reference does.
fn passes(isa: Isa) -> bool {
    let mut state = 1u32;
    let mut byte = move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    let params = |max: u8| QuantParams { scale: 0.05, zero_point: 3, max };
    let mut layer = |outputs: usize, weights: usize, output: QuantParams| QuantConv {
        weights: (0..outputs * weights).map(|_| byte() as i8).collect(),
        bias: vec![100; outputs],
        requant_scales: vec![0.01 / (weights as f32).sqrt(); outputs],
        output,
    };
    let [inputs, wide, outputs] = CHANNELS;
    [u8::MAX, 127].into_iter().all(|max| {
        let block = InvertedResidual {
            inputs: vec![BlockInput { params: params(max), upsample_2x: false }],
            expand_input: params(max),
            expand: layer(wide, inputs, params(max)),
            depthwise: layer(wide, 9, params(max)),
            stride: 1,
            project: Projection::Quantized(layer(outputs, wide, params(max))),
            residual: None,
        };
        let pixels: usize = SIZE.iter().product();
        let from: Vec<u8> = (0..pixels * inputs).map(|n| (n * 37 % (usize::from(max) + 1)) as u8).collect();
        let from = [InputTensor { bytes: &from, channels: inputs }];
        let mut to = vec![0; pixels * outputs];
        let packed = PackedInvertedResidual::new(&block, isa);
        dispatch::inverted_residual(&packed, &from, SIZE, BlockOutput::U8(&mut to));
        let is_same = to == reference::inverted_residual(&block, &from, SIZE);
        let conv = DenseConv {
            inputs: block.inputs,
            input: params(max),
            layer: layer(CONV_OUTPUTS, 9 * inputs, params(max)),
            kernel: 3,
            stride: 1,
        };
        let mut to = vec![0; pixels * CONV_OUTPUTS];
        dispatch::dense_conv(&PackedDenseConv::new(&conv, isa), &from, SIZE, &mut to);
        is_same && to == reference::dense_conv(&conv, &from, SIZE)
    })
}
