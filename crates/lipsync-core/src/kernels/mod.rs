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
//! operator of our own ([`Blocks`]). The sums are the same integers as ONNX Runtime's, and are rounded as it does. Only what is
//! doubled in size or joined before a block is rounded once here and twice there.
//!
//! All is in the order *channels last*: bytes of pixel `[y][x][channel]`. It takes a processor with AVX-512 and VNNI
//! ([`are_supported`]); on others the graph is run as it is.

#[cfg(target_arch = "x86_64")]
mod filter;
#[cfg(target_arch = "x86_64")]
mod gather;
#[cfg(target_arch = "x86_64")]
mod operator;
#[cfg(target_arch = "x86_64")]
mod planes;
#[cfg(target_arch = "x86_64")]
mod pointwise;
#[cfg(target_arch = "x86_64")]
mod real;
#[cfg(target_arch = "x86_64")]
mod rows;
#[cfg(target_arch = "x86_64")]
mod tiles;

use ort::operator::OperatorDomain;

/// How real numbers are written as bytes: `real = scale * (byte - zero)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Grid {
    pub scale: f32,
    pub zero: u8,
}

/// A convolution of bytes to bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Layer {
    /// Of every output channel in turn, all its weights: input channels, rows, columns.
    pub weights: Vec<i8>,
    /// Of every output channel, in steps of input scale times weight scale.
    pub bias: Vec<i32>,
    /// Of every output channel: steps of the output for one of the sums.
    pub steps: Vec<f32>,
    pub output: Grid,
}

/// A convolution of bytes to real numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct RealLayer {
    /// Of every output channel in turn, the weights of all input channels.
    pub weights: Vec<f32>,
    /// Of every output channel.
    pub bias: Vec<f32>,
}

/// The last layer of a block.
#[derive(Debug, Clone, PartialEq)]
pub enum Narrow {
    Bytes(Layer),
    /// Where bytes would be too coarse for what comes out.
    Real(RealLayer),
}

/// A part of what goes into a block; several are joined along their channels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Source {
    pub grid: Grid,
    /// Made twice as high and wide, bilinear, so that corners stay corners.
    pub doubled: bool,
}

/// An inverted residual block. All channels that go in and come out are multiples of 16.
#[derive(Debug, Clone, PartialEq)]
pub struct Block {
    pub sources: Vec<Source>,
    /// What the sources are brought to.
    pub input: Grid,
    /// 1 x 1, to more channels.
    pub widen: Layer,
    /// 3 x 3 on every channel by itself, bordered with zeros.
    pub filter: Layer,
    /// 1 or 2, of the filter.
    pub stride: usize,
    /// 1 x 1, to fewer channels.
    pub narrow: Narrow,
    /// The input is added to bytes in the end, and this is how the sum is written.
    pub residual: Option<Grid>,
}

/// A 1 x 1 convolution to 16 channels at most, each of which is written as a plane of its own: a network's last.
#[derive(Debug, Clone, PartialEq)]
pub struct Planes {
    pub input: Grid,
    pub layer: Layer,
}

/// All that is taken out of a graph.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Taken {
    pub blocks: Vec<Block>,
    pub planes: Vec<Planes>,
}

impl Layer {
    /// Channels that come out.
    pub fn channels(&self) -> usize {
        self.bias.len()
    }

    /// Weights of a channel that comes out: as many as channels go in, where it is 1 x 1.
    pub fn inputs(&self) -> usize {
        self.weights.len() / self.channels()
    }

    /// The bias of sums over bytes as they are, not less the `zero` of their grid; nothing for a channel that is not there.
    fn bias_of_bytes(&self, channel: usize, zero: u8) -> i32 {
        let Some(bias) = self.bias.get(channel) else { return 0 };
        let weights = &self.weights[channel * self.inputs()..][..self.inputs()];
        // As the sums themselves, which wrap around, too.
        let total = weights.iter().fold(0i32, |sum, weight| sum.wrapping_add((*weight).into()));
        bias.wrapping_sub(i32::from(zero).wrapping_mul(total))
    }

    /// The steps of a channel; nothing for one that is not there.
    fn steps_of(&self, channel: usize) -> f32 {
        self.steps.get(channel).copied().unwrap_or(0.0)
    }
}

impl RealLayer {
    /// Channels that come out.
    pub fn channels(&self) -> usize {
        self.bias.len()
    }

    /// Channels that go in.
    pub fn inputs(&self) -> usize {
        self.weights.len() / self.channels()
    }
}

impl Narrow {
    /// Channels that come out.
    pub fn channels(&self) -> usize {
        match self {
            Self::Bytes(layer) => layer.channels(),
            Self::Real(layer) => layer.channels(),
        }
    }

    /// Channels that go in.
    pub fn inputs(&self) -> usize {
        match self {
            Self::Bytes(layer) => layer.inputs(),
            Self::Real(layer) => layer.inputs(),
        }
    }
}

impl Block {
    /// Channels that go in.
    pub fn inputs(&self) -> usize {
        self.widen.inputs()
    }

    /// Channels that come out.
    pub fn outputs(&self) -> usize {
        self.narrow.channels()
    }

    /// Whether real numbers come out.
    pub fn is_real(&self) -> bool {
        matches!(self.narrow, Narrow::Real(_))
    }
}

/// The family of our operators.
pub const DOMAIN: &str = "lipsync";
/// The operator for planes.
pub const PLANES: &str = "Planes";
/// The argument of a node that holds the number of its block or planes.
pub const NUMBER: &str = "block";

/// The operator for blocks of that many sources, to bytes or to real numbers; `None` where there are more sources than any
/// takes.
pub fn operator_name(sources: usize, is_real: bool) -> Option<&'static str> {
    Some(match (sources, is_real) {
        (1, false) => "Block",
        (2, false) => "JoiningBlock",
        (1, true) => "RealBlock",
        (2, true) => "JoiningRealBlock",
        _ => return None,
    })
}

/// Most planes.
pub const LAST: usize = 16;
/// Most sources of a block.
const MOST_SOURCES: usize = 2;

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
pub struct Blocks {
    #[cfg(target_arch = "x86_64")]
    packed: std::sync::Arc<operator::Packed>,
    #[cfg(not(target_arch = "x86_64"))]
    none: std::convert::Infallible,
}

impl Blocks {
    /// `None` where the processor cannot compute them.
    #[allow(unused_variables)]
    pub fn new(taken: &Taken) -> Option<Self> {
        #[cfg(target_arch = "x86_64")]
        return are_supported().then(|| Self { packed: operator::Packed::new(taken).into() });
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

impl std::fmt::Debug for Blocks {
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
    use super::gather::Input;
    pub use super::reference::expected;
    use super::rows::{Output, PackedBlock};
    use super::{Block, are_supported, pointwise::Unit};

    /// The bytes that come out where these go in, from each source with its channels; `None` where the processor cannot.
    pub fn run(block: &Block, sources: &[(&[u8], usize)], size: [usize; 2]) -> Option<Vec<u8>> {
        if !are_supported() {
            return None;
        }
        let packed = PackedBlock::new(block, Unit::best());
        let inputs: Vec<Input<'_>> =
            sources.iter().map(|(bytes, channels)| Input { bytes, channels: *channels }).collect();
        let pixels: usize = size.map(|side| packed.output_size(side)).iter().product();
        let mut to = vec![0; pixels * packed.outputs()];
        // SAFETY: as the processor says.
        unsafe { packed.run(&inputs, size, Output::Bytes(&mut to)) };
        Some(to)
    }
}
