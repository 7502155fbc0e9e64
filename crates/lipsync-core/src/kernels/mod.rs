//! The building block of SyncTalk_2D's network in 8 bits, in one go: the *inverted residual* of MobileNetV2.
//!
//! It widens every pixel (a product of matrices), filters each channel by itself (3 x 3) and narrows every pixel
//! again. Computed layer by layer, the wide values, twice as many as go in or come out, are written to memory and read
//! back twice, and ONNX Runtime's kernel for the filter takes a sixth of the time for a thirtieth of the work. Here a few rows at a
//! time pass through all three layers and stay in the processor's cache:
//!
//! ```text
//! sources --gather--> rows of bytes --pointwise--> wide rows --filter--> wide rows --pointwise--> rows of bytes
//! ```
//!
//! [`crate::onnx`] finds the blocks in a graph and takes them out of it; here they are given to ONNX Runtime as an
//! operator of our own ([`FusedKernels`]). The sums are the same integers as ONNX Runtime's, and are rounded as it does. Only what is
//! doubled in size or joined before a block is rounded once here and twice there.
//!
//! All is in the order *channels last*: bytes of pixel `[y][x][channel]`. It takes a processor with AVX-512 and VNNI
//! ([`are_supported`]); on others the graph is run as it is.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod concat;
#[cfg(target_arch = "x86_64")]
mod depthwise;
#[cfg(target_arch = "x86_64")]
mod inverted_residual;
#[cfg(target_arch = "x86_64")]
mod operator;
#[cfg(target_arch = "x86_64")]
mod planar;
#[cfg(target_arch = "x86_64")]
mod pointwise;
#[cfg(target_arch = "x86_64")]
mod pointwise_f32;

use ort::operator::OperatorDomain;

/// How real numbers are written as bytes: `real = scale * (byte - zero_point)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantParams {
    pub scale: f32,
    pub zero_point: u8,
}

/// A convolution of bytes to bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantConv {
    /// Of every output channel in turn, all its weights: input channels, rows, columns.
    pub weights: Vec<i8>,
    /// Of every output channel, in steps of input scale times weight scale.
    pub bias: Vec<i32>,
    /// Of every output channel: steps of the output for one of the sums.
    pub requant_scales: Vec<f32>,
    pub output: QuantParams,
}

/// A convolution of bytes to real numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct FloatConv {
    /// Of every output channel in turn, the weights of all input channels.
    pub weights: Vec<f32>,
    /// Of every output channel.
    pub bias: Vec<f32>,
}

/// The last layer of a block.
#[derive(Debug, Clone, PartialEq)]
pub enum Projection {
    Quantized(QuantConv),
    /// Where bytes would be too coarse for what comes out.
    Float(FloatConv),
}

/// A part of what goes into a block; several are joined along their channels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BlockInput {
    pub params: QuantParams,
    /// Made twice as high and wide, bilinear, so that corners stay corners.
    pub upsample_2x: bool,
}

/// An inverted residual block. All channels that go in and come out are multiples of 16.
#[derive(Debug, Clone, PartialEq)]
pub struct InvertedResidual {
    pub inputs: Vec<BlockInput>,
    /// What the sources are brought to.
    pub expand_input: QuantParams,
    /// 1 x 1, to more channels.
    pub expand: QuantConv,
    /// 3 x 3 on every channel by itself, bordered with zeros.
    pub depthwise: QuantConv,
    /// 1 or 2, of the filter.
    pub stride: usize,
    /// 1 x 1, to fewer channels.
    pub project: Projection,
    /// The input is added to bytes in the end, and this is how the sum is written.
    pub residual: Option<QuantParams>,
}

/// A 1 x 1 convolution to 16 channels at most, each of which is written as a plane of its own: a network's last.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanarConv {
    pub input: QuantParams,
    pub layer: QuantConv,
}

/// All that is taken out of a graph.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FusedOps {
    pub blocks: Vec<InvertedResidual>,
    pub planes: Vec<PlanarConv>,
}

impl QuantConv {
    /// Channels that come out.
    pub fn output_channels(&self) -> usize {
        self.bias.len()
    }

    /// Weights of a channel that comes out: as many as channels go in, where it is 1 x 1.
    pub fn input_channels(&self) -> usize {
        self.weights.len() / self.output_channels()
    }

    /// The bias of sums over bytes as they are, not less the `zero_point` of their grid; nothing for a channel that is not there.
    fn folded_bias(&self, channel: usize, zero_point: u8) -> i32 {
        let Some(bias) = self.bias.get(channel) else { return 0 };
        let weights = &self.weights[channel * self.input_channels()..][..self.input_channels()];
        // As the sums themselves, which wrap around, too.
        let total = weights.iter().fold(0i32, |sum, weight| sum.wrapping_add((*weight).into()));
        bias.wrapping_sub(i32::from(zero_point).wrapping_mul(total))
    }

    /// The steps of a channel; nothing for one that is not there.
    fn requant_scale(&self, channel: usize) -> f32 {
        self.requant_scales.get(channel).copied().unwrap_or(0.0)
    }
}

impl FloatConv {
    /// Channels that come out.
    pub fn output_channels(&self) -> usize {
        self.bias.len()
    }

    /// Channels that go in.
    pub fn input_channels(&self) -> usize {
        self.weights.len() / self.output_channels()
    }
}

impl Projection {
    /// Channels that come out.
    pub fn output_channels(&self) -> usize {
        match self {
            Self::Quantized(layer) => layer.output_channels(),
            Self::Float(layer) => layer.output_channels(),
        }
    }

    /// Channels that go in.
    pub fn input_channels(&self) -> usize {
        match self {
            Self::Quantized(layer) => layer.input_channels(),
            Self::Float(layer) => layer.input_channels(),
        }
    }
}

impl InvertedResidual {
    /// Channels that go in.
    pub fn input_channels(&self) -> usize {
        self.expand.input_channels()
    }

    /// Channels that come out.
    pub fn output_channels(&self) -> usize {
        self.project.output_channels()
    }

    /// Whether real numbers come out.
    pub fn is_float(&self) -> bool {
        matches!(self.project, Projection::Float(_))
    }
}

/// The family of our operators.
pub const OP_DOMAIN: &str = "lipsync";
/// The operator for planes.
pub const PLANAR_CONV: &str = "PlanarConv";
/// The argument of a node that holds the number of its block or planes.
pub const INDEX_ATTRIBUTE: &str = "index";

/// The operator for blocks of that many sources, to bytes or to real numbers; `None` where there are more sources than any
/// takes.
pub fn op_type(inputs: usize, is_float: bool) -> Option<&'static str> {
    Some(match (inputs, is_float) {
        (1, false) => "InvertedResidual",
        (2, false) => "ConcatInvertedResidual",
        (1, true) => "InvertedResidualFloat",
        (2, true) => "ConcatInvertedResidualFloat",
        _ => return None,
    })
}

/// Most planes.
pub const MAX_PLANES: usize = 16;
/// Most sources of a block.
const MAX_INPUTS: usize = 2;

/// Whether this processor can compute blocks.
pub fn are_supported() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512vnni");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// The blocks of a graph, ready to be computed. Their weights are there once, for all sessions that run the graph.
#[derive(Clone)]
pub struct FusedKernels {
    #[cfg(target_arch = "x86_64")]
    packed: std::sync::Arc<operator::Packed>,
    #[cfg(not(target_arch = "x86_64"))]
    none: std::convert::Infallible,
}

impl FusedKernels {
    /// `None` where the processor cannot compute them.
    #[allow(unused_variables)]
    pub fn new(ops: &FusedOps) -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        return are_supported().then(|| Self { packed: operator::Packed::new(ops).into() });
        #[cfg(not(target_arch = "x86_64"))]
        None
    }

    /// The operators for a session that runs the graph.
    ///
    /// # Errors
    /// ONNX Runtime's.
    pub fn operators(&self) -> ort::Result<OperatorDomain> {
        #[cfg(target_arch = "x86_64")]
        return operator::operators(&self.packed);
        #[cfg(not(target_arch = "x86_64"))]
        match self.none {}
    }
}

impl std::fmt::Debug for FusedKernels {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Blocks")
    }
}

#[cfg(all(any(test, fuzzing), target_arch = "x86_64"))]
mod reference;
#[cfg(all(test, target_arch = "x86_64"))]
mod tests;

/// For the fuzz target `kernels`: kernels run without ONNX Runtime, and what they should give.
#[cfg(all(fuzzing, target_arch = "x86_64"))]
pub mod bare {
    use super::concat::InputTensor;
    use super::inverted_residual::{BlockOutput, PackedInvertedResidual};
    pub use super::reference::inverted_residual;
    use super::{InvertedResidual, are_supported, pointwise::Isa};

    /// The bytes that come out where these go in, from each source with its channels; `None` where the processor cannot.
    pub fn run(block: &InvertedResidual, inputs: &[(&[u8], usize)], size: [usize; 2]) -> Option<Vec<u8>> {
        if !are_supported() {
            return None;
        }
        let packed = PackedInvertedResidual::new(block, Isa::detect());
        let inputs: Vec<InputTensor<'_>> =
            inputs.iter().map(|(bytes, channels)| InputTensor { bytes, channels: *channels }).collect();
        let pixels: usize = size.map(|side| packed.output_size(side)).iter().product();
        let mut to = vec![0; pixels * packed.output_channels()];
        // SAFETY: as the processor says.
        unsafe { packed.run(&inputs, size, BlockOutput::U8(&mut to)) };
        Some(to)
    }
}
