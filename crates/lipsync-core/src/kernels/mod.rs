// SPDX-License-Identifier: MPL-2.0
//! Fused 8-bit kernels for the building block of SyncTalk_2D's network: the *inverted residual* of
//! MobileNetV2.
//!
//! The block is a 1 x 1 convolution to more channels (*expand*), a 3 x 3 depthwise convolution, and a 1 x 1
//! convolution to fewer channels (*project*). Computed layer by layer, the expanded tensors, with twice the
//! channels of the input and output, are written to memory and read back twice; and ONNX Runtime's depthwise
//! kernel takes a sixth of the time for a thirtieth of the multiplications. The fused kernel takes a few rows
//! at a time through all three layers, so that the expanded rows stay in the L2 cache:
//!
//! ```text
//! inputs --concat--> u8 rows --expand--> expanded rows --depthwise--> expanded rows --project--> u8 or f32 rows
//! ```
//!
//! [`crate::onnx`] finds the blocks in a graph and replaces them with nodes of a custom operator
//! ([`FusedKernels`]). The accumulators are the same integers as ONNX Runtime's and are rounded the same way.
//! One difference remains: where an input is upsampled or concatenated, its values are rounded once here and
//! twice in ONNX Runtime.
//!
//! Tensors are NHWC: the byte of `[y][x][channel]`. `reference.rs` defines what is computed; there are kernels for
//! several instruction sets ([`Isa`]), which all give its bits. On processors that have none of them ONNX Runtime runs
//! the graph as it is.

mod backends;
mod concat;
mod conv;
mod dense_conv;
mod depthwise;
mod detect;
mod dispatch;
mod inverted_residual;
mod isa;
mod memory;
mod operator;
mod planar;
mod pointwise_f32;
mod reference;
mod requantize;
mod simd;

use std::sync::Arc;

pub use detect::{VARIABLE, detect};
pub use isa::Isa;
use ort::operator::OperatorDomain;

/// Quantization parameters of a tensor: `real = scale * (byte - zero_point)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantParams {
    /// Real value of one step.
    pub scale: f32,
    /// The byte of the real value zero.
    pub zero_point: u8,
    /// The largest byte there is: 127 where the tensor is clipped to 7 bits, else 255.
    pub max: u8,
}

/// A quantized convolution: u8 input, i8 weights, i32 bias, u8 output.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantConv {
    /// Row-major: `[output channel][input channel][row][column]`.
    pub weights: Vec<i8>,
    /// One for each output channel, at the scale of the accumulators (input scale times weight scale).
    pub bias: Vec<i32>,
    /// One for each output channel: accumulator scale divided by output scale.
    pub requant_scales: Vec<f32>,
    /// Quantization of the output.
    pub output: QuantParams,
}

/// A convolution with u8 input and float32 weights and output.
#[derive(Debug, Clone, PartialEq)]
pub struct FloatConv {
    /// Row-major: `[output channel][input channel]`.
    pub weights: Vec<f32>,
    /// One for each output channel.
    pub bias: Vec<f32>,
}

/// The projection: the block's last convolution.
#[derive(Debug, Clone, PartialEq)]
pub enum Projection {
    /// To bytes.
    Quantized(QuantConv),
    /// Where quantization left the layer in float32.
    Float(FloatConv),
}

/// An input of a block; several are concatenated along their channels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockInput {
    /// Its own quantization.
    pub params: QuantParams,
    /// Upsampled to twice the height and width: bilinear, with aligned corners.
    pub upsample_2x: bool,
}

/// An inverted residual block. Its input and output channels are multiples of 16.
#[derive(Debug, Clone, PartialEq)]
pub struct InvertedResidual {
    /// One or two.
    pub inputs: Vec<BlockInput>,
    /// Quantization of the expand convolution's input, to which all inputs are requantized.
    pub expand_input: QuantParams,
    /// 1 x 1, to more channels.
    pub expand: QuantConv,
    /// 3 x 3, one filter for each channel, padded with zeros.
    pub depthwise: QuantConv,
    /// Stride of the depthwise convolution: 1 or 2.
    pub stride: usize,
    /// 1 x 1, to fewer channels.
    pub project: Projection,
    /// Where the block adds its input to its output: the quantization of the sum.
    pub residual: Option<QuantParams>,
}

/// The network's output layer: a 1 x 1 convolution to at most 16 channels, written as planes (NCHW).
#[derive(Debug, Clone, PartialEq)]
pub struct PlanarConv {
    /// Quantization of the input.
    pub input: QuantParams,
    /// Weights and output.
    pub layer: QuantConv,
}

/// A dense convolution of concatenated inputs, padded with zeros so that height and width are kept.
#[derive(Debug, Clone, PartialEq)]
pub struct DenseConv {
    /// One or two.
    pub inputs: Vec<BlockInput>,
    /// Quantization of the convolution's input, to which all inputs are requantized.
    pub input: QuantParams,
    /// Weights and output.
    pub layer: QuantConv,
    /// Height and width of the kernel: 1 or 3.
    pub kernel: usize,
    /// 1 or 2.
    pub stride: usize,
}

/// The operators that were fused out of a graph.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FusedOps {
    /// By the index of their nodes, as all of these.
    pub blocks: Vec<InvertedResidual>,
    /// Dense convolutions outside blocks.
    pub convs: Vec<DenseConv>,
    /// Output layers.
    pub planes: Vec<PlanarConv>,
}

impl QuantConv {
    /// Output channels.
    pub fn output_channels(&self) -> usize {
        self.bias.len()
    }

    /// Weights for each output channel; of a 1 x 1 convolution that is its input channels.
    pub fn input_channels(&self) -> usize {
        self.weights.len() / self.output_channels()
    }

    /// The bias with the input's zero point folded in, so that bytes are multiplied as they are (or less 128:
    /// [`Isa::has_signed_bytes`]); 0 for a padding channel.
    fn folded_bias(&self, channel: usize, zero_point: u8, isa: Isa) -> i32 {
        let Some(bias) = self.bias.get(channel) else { return 0 };
        let weights = &self.weights[channel * self.input_channels()..][..self.input_channels()];
        // The accumulators wrap around as well.
        let total = weights.iter().fold(0i32, |sum, weight| sum.wrapping_add((*weight).into()));
        let zero_point = i32::from(zero_point) - if isa.has_signed_bytes() { 128 } else { 0 };
        bias.wrapping_sub(zero_point.wrapping_mul(total))
    }

    /// The requantization scale of a channel; 0 for a padding channel.
    fn requant_scale(&self, channel: usize) -> f32 {
        self.requant_scales.get(channel).copied().unwrap_or(0.0)
    }
}

impl FloatConv {
    /// Output channels.
    pub fn output_channels(&self) -> usize {
        self.bias.len()
    }

    /// Input channels.
    pub fn input_channels(&self) -> usize {
        self.weights.len() / self.output_channels()
    }
}

impl DenseConv {
    /// Input channels, all inputs together.
    pub fn input_channels(&self) -> usize {
        self.layer.input_channels() / (self.kernel * self.kernel)
    }
}

impl Projection {
    /// Output channels.
    pub fn output_channels(&self) -> usize {
        match self {
            Self::Quantized(layer) => layer.output_channels(),
            Self::Float(layer) => layer.output_channels(),
        }
    }

    /// Input channels.
    pub fn input_channels(&self) -> usize {
        match self {
            Self::Quantized(layer) => layer.input_channels(),
            Self::Float(layer) => layer.input_channels(),
        }
    }
}

impl InvertedResidual {
    /// Input channels, all inputs together.
    pub fn input_channels(&self) -> usize {
        self.expand.input_channels()
    }

    /// Output channels.
    pub fn output_channels(&self) -> usize {
        self.project.output_channels()
    }

    /// Whether the output is float32.
    pub fn is_float(&self) -> bool {
        matches!(self.project, Projection::Float(_))
    }
}

/// The domain of the custom operators.
pub const OP_DOMAIN: &str = "lipsync";
/// The operator type of [`DenseConv`], by the number of its inputs; `None` for more than the kernels support.
pub fn conv_op_type(inputs: usize) -> Option<&'static str> {
    [None, Some("DenseConv"), Some("ConcatDenseConv")].get(inputs).copied().flatten()
}

/// The operator type of [`PlanarConv`].
pub const PLANAR_CONV: &str = "PlanarConv";
/// The attribute that holds a node's index in [`FusedOps`].
pub const INDEX_ATTRIBUTE: &str = "index";

/// The operator type of an inverted residual with that many inputs and a u8 or float32 output; `None` for
/// more inputs than the kernels support.
pub fn op_type(inputs: usize, is_float: bool) -> Option<&'static str> {
    Some(match (inputs, is_float) {
        (1, false) => "InvertedResidual",
        (2, false) => "ConcatInvertedResidual",
        (1, true) => "InvertedResidualFloat",
        (2, true) => "ConcatInvertedResidualFloat",
        _ => return None,
    })
}

/// Most output channels of a [`PlanarConv`].
pub const MAX_PLANES: usize = 16;
/// Most inputs of a fused operator.
const MAX_INPUTS: usize = 2;

/// Whether there are kernels for this processor.
pub fn are_supported() -> bool {
    detect().is_some()
}

/// Kernels for the fused operators of a graph, with packed weights that all sessions of the graph share.
#[derive(Clone)]
pub struct FusedKernels {
    packed: Arc<operator::Packed>,
    isa: Isa,
}

impl FusedKernels {
    /// `None` where there are no kernels for this processor.
    pub fn new(ops: &FusedOps) -> Option<Self> {
        let isa = detect()?;
        Some(Self { packed: operator::Packed::new(ops, isa).into(), isa })
    }

    /// Their instruction set.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// The custom operators to register with a session that runs the graph.
    ///
    /// # Errors
    /// ONNX Runtime's.
    pub fn operators(&self) -> ort::Result<OperatorDomain> {
        operator::operators(&self.packed)
    }
}

impl std::fmt::Debug for FusedKernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("FusedKernels")
    }
}

#[cfg(test)]
mod tests;

/// For the fuzz target `kernels`: the kernels without ONNX Runtime, and the reference implementation.
#[cfg(fuzzing)]
pub mod bare {
    use super::inverted_residual::{BlockOutput, PackedInvertedResidual};
    use super::{InvertedResidual, Isa, dispatch, reference};

    pub use super::concat::InputTensor;

    /// The outputs of every instruction set that the processor has for these inputs.
    pub fn run(
        block: &InvertedResidual,
        inputs: &[InputTensor<'_>],
        size: [usize; 2],
    ) -> Vec<(Isa, Vec<u8>)> {
        let run = |isa: Isa| {
            let packed = PackedInvertedResidual::new(block, isa);
            let pixels: usize = size.map(|side| packed.output_size(side)).iter().product();
            let mut to = vec![0; pixels * packed.output_channels()];
            dispatch::inverted_residual(&packed, inputs, size, BlockOutput::U8(&mut to));
            (isa, to)
        };
        Isa::ALL.into_iter().filter(|isa| isa.is_supported()).map(run).collect()
    }

    /// The output by definition.
    pub fn expected(block: &InvertedResidual, inputs: &[InputTensor<'_>], size: [usize; 2]) -> Vec<u8> {
        reference::inverted_residual(block, inputs, size)
    }
}
