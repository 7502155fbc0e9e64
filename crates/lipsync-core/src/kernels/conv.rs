// SPDX-License-Identifier: MPL-2.0
//! Dense convolutions, 1 x 1 and 3 x 3: the matrix product of pixels and weights, u8 x i8 to i32, requantized to u8.
//!
//! The product's inner dimension is taken in *quads*: four consecutive bytes of a pixel, or of a row of its 3 x 3
//! window, which is consecutive memory as well (NHWC). So both kinds are one kernel that is told where the quads lie.

use super::isa::Isa;
use super::memory::AlignedVec;
use super::simd::{QUAD, Simd, array};
use super::{QuantConv, QuantParams};

/// A convolution with packed weights.
pub struct PackedConv {
    pub panels: Vec<Panel>,
    /// Whether AMX tiles may compute it: only products of single pixels.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "other processors have no AMX"))]
    pub has_tiles: bool,
    /// Bytes of an input pixel: the input channels, padded to quads, or to two of them where matrices are multiplied.
    pixel_bytes: usize,
    /// Height and width of the kernel: 1 or 3.
    kernel: usize,
}

/// The weights for up to four registers of output channels.
pub struct Panel {
    /// Registers: 4, 2 or 1.
    pub registers: usize,
    first_channel: usize,
    /// For each row of the window, where its quads lie, in the order of the weights.
    rows: Vec<Vec<u32>>,
    /// `[quad][register][lane][4]`; where matrices are multiplied, `[pair of quads][register][lane][quad][4]`.
    pub weights: AlignedVec<i8>,
    /// `[register][lane]`
    pub bias: AlignedVec<i32>,
    /// `[register][lane]`
    scale: AlignedVec<f32>,
    /// Output quantization.
    output: QuantParams,
}

/// An instruction set's way through a product.
///
/// # Safety
/// As for [`Simd`]; the weights must have been packed for the instruction set, and all windows be in bounds.
pub trait Blocking: Simd {
    /// Computes all panels, as many pixels at a time as there are registers for.
    unsafe fn run_panels(
        conv: &PackedConv,
        from: Source<'_>,
        to: &mut OutputRows<'_>,
        epilogue: Epilogue<'_>,
    );
}

/// The input: the windows of consecutive output pixels.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// From the first byte of the first window on.
    pub bytes: &'a [u8],
    /// Output pixels.
    pub count: usize,
    /// Bytes from one window to the next.
    pub pixel_step: usize,
    /// Bytes from one row of a window to the next; of no meaning for 1 x 1.
    pub row_stride: usize,
}

/// The output: rows of pixels, with strides.
pub struct OutputRows<'a> {
    pub bytes: &'a mut [u8],
    /// Pixels in a row.
    pub width: usize,
    /// Bytes from one pixel to the next, and from one row to the next.
    pub pixel_stride: usize,
    pub row_stride: usize,
}

impl OutputRows<'_> {
    /// Byte offsets of channel `channel` for `P` consecutive pixels from pixel `start` on.
    #[inline(always)]
    fn offsets<const P: usize>(&self, start: usize, channel: usize) -> [usize; P] {
        let (y, x) = (start / self.width, start % self.width);
        let first = y * self.row_stride + x * self.pixel_stride + channel;
        if x + P <= self.width {
            return std::array::from_fn(|i| first + i * self.pixel_stride);
        }
        std::array::from_fn(|i| {
            let (y, x) = (y + (x + i) / self.width, (x + i) % self.width);
            y * self.row_stride + x * self.pixel_stride + channel
        })
    }
}

/// How i32 accumulators become u8 values.
#[derive(Clone, Copy)]
pub enum Epilogue<'a> {
    Requantize,
    /// Requantize, then add the block's input, which has the same pixels and channels.
    AddResidual {
        input: &'a [u8],
        sum: ResidualAdd,
    },
}

/// The residual addition, in quantized values: `scale * byte + (input_scale * other + offset)`, rounded and clamped to
/// `0..=max`.
#[derive(Debug, Clone, Copy)]
pub struct ResidualAdd {
    pub scale: f32,
    pub input_scale: f32,
    pub offset: f32,
    pub max: u8,
}

/// The channel, within its panel, of a lane. In panels of four registers the channels are interleaved in groups of
/// four so that the pack instructions, which work on 128 bits, put bytes in order.
pub fn channel_of_lane([registers, lanes]: [usize; 2], register: usize, lane: usize) -> usize {
    if registers == 4 { 16 * (lane / 4) + 4 * register + lane % 4 } else { lanes * register + lane }
}

/// A quad of a row of the window: where it lies, and its weights for every lane of a panel.
#[derive(Clone)]
struct Quad {
    offset: u32,
    weights: Vec<[i8; QUAD]>,
}

impl Quad {
    /// The sums of positive and of negative weights that are added up in each 16-bit lane.
    fn sums(&self) -> impl Iterator<Item = [i32; 2]> {
        self.weights.as_flattened().as_chunks::<2>().0.iter().map(|two| {
            let sum = |keep: fn(&i32) -> bool| two.iter().map(|w| i32::from(*w)).filter(keep).sum::<i32>();
            [sum(|w| *w > 0), -sum(|w| *w < 0)]
        })
    }

    /// Its weights in two parts, whose largest is half as large.
    fn halves(&self) -> [Self; 2] {
        let part = |take: fn(i8) -> i8| Self {
            offset: self.offset,
            weights: self.weights.iter().map(|four| four.map(take)).collect(),
        };
        [part(|w| w / 2), part(|w| w - w / 2)]
    }
}

/// Quads that are tried as the partner of another: a network from a stranger may have a million that fit none.
const MAX_CANDIDATES: usize = 256;

/// Orders quads in pairs whose products, of bytes up to `max`, can be summed in 16 bits: [`Isa::sums_in_16_bits`].
///
/// A quad that is too large even by itself is taken in two halves; one that fits no other is paired with zeros.
fn pair(quads: Vec<Quad>, max: u8) -> Vec<Quad> {
    let limits = [i32::from(i16::MAX), -i32::from(i16::MIN)].map(|limit| limit / i32::from(max).max(1));
    let is_below = |sums: [i32; 2]| sums[0] <= limits[0] && sums[1] <= limits[1];
    let fits_alone = |quad: &Quad| quad.sums().all(is_below);
    let mut open: Vec<Quad> = quads
        .into_iter()
        .flat_map(|quad| if fits_alone(&quad) { vec![quad] } else { quad.halves().into() })
        .rev()
        .collect();
    let mut pairs = Vec::with_capacity(open.len());
    while let Some(quad) = open.pop() {
        let sums: Vec<[i32; 2]> = quad.sums().collect();
        let fits =
            |other: &Quad| sums.iter().zip(other.sums()).all(|(a, b)| is_below([a[0] + b[0], a[1] + b[1]]));
        let nearest = open.len().saturating_sub(MAX_CANDIDATES);
        let partner = match open[nearest..].iter().rposition(fits) {
            Some(place) => open.remove(nearest + place),
            None => Quad { offset: quad.offset, weights: vec![[0; QUAD]; quad.weights.len()] },
        };
        pairs.extend([quad, partner]);
    }
    pairs
}

impl PackedConv {
    /// Packs a layer of `kernel` x `kernel` weights. Pixels have `inputs` channels with these parameters, of which the
    /// layer reads the first ones; `outputs` channels are written, those that the layer does not have as zeros.
    pub fn new(
        layer: &QuantConv,
        input: QuantParams,
        kernel: usize,
        [inputs, outputs]: [usize; 2],
        isa: Isa,
    ) -> Self {
        let pixel_bytes = inputs.next_multiple_of(if isa.multiplies_matrices() { 2 * QUAD } else { QUAD });
        let taps = kernel * kernel;
        let layer_inputs = layer.weights.len() / layer.output_channels() / taps;
        let weight = |output: usize, place: usize| {
            let (tap, input) = (place / pixel_bytes, place % pixel_bytes);
            let is_there = output < layer.output_channels() && input < layer_inputs;
            if is_there { layer.weights[(output * layer_inputs + input) * taps + tap] } else { 0 }
        };
        let lanes = isa.lanes();
        let mut panels = Vec::new();
        let mut first_channel = 0;
        while first_channel < outputs {
            let registers = match (outputs - first_channel) / lanes {
                0 | 1 => 1,
                2 | 3 => 2,
                _ => 4,
            };
            let channels: Vec<usize> = (0..registers * lanes)
                .map(|n| first_channel + channel_of_lane([registers, lanes], n / lanes, n % lanes))
                .collect();
            let row_bytes = kernel * pixel_bytes;
            let row = |row: usize| -> Vec<Quad> {
                let quad = |offset: usize| {
                    let four = |output: &usize| {
                        std::array::from_fn(|i| weight(*output, row * row_bytes + offset + i))
                    };
                    Quad { offset: offset as u32, weights: channels.iter().map(four).collect() }
                };
                let quads = (0..row_bytes).step_by(QUAD).map(quad).collect();
                if isa.sums_in_16_bits() { pair(quads, input.max) } else { quads }
            };
            let rows: Vec<Vec<Quad>> = (0..kernel).map(row).collect();
            let quads: Vec<&Quad> = rows.iter().flatten().collect();
            let together = if isa.multiplies_matrices() { 2 } else { 1 };
            let weights = quads.chunks_exact(together).flat_map(|quads| {
                (0..channels.len()).flat_map(|lane| quads.iter().flat_map(move |quad| quad.weights[lane]))
            });
            let weights: Vec<i8> = weights.collect();
            let bias: Vec<i32> =
                channels.iter().map(|n| layer.folded_bias(*n, input.zero_point, isa)).collect();
            let scale: Vec<f32> = channels.iter().map(|n| layer.requant_scale(*n)).collect();
            panels.push(Panel {
                registers,
                first_channel,
                rows: rows.iter().map(|row| row.iter().map(|quad| quad.offset).collect()).collect(),
                weights: AlignedVec::of(&weights),
                bias: AlignedVec::of(&bias),
                scale: AlignedVec::of(&scale),
                output: layer.output,
            });
            first_channel += registers * lanes;
        }
        Self { panels, has_tiles: isa == Isa::Amx && kernel == 1, pixel_bytes, kernel }
    }

    /// Bytes of an input pixel.
    pub fn pixel_bytes(&self) -> usize {
        self.pixel_bytes
    }

    /// Computes a 1 x 1 convolution of all pixels of `from`.
    ///
    /// # Safety
    /// The processor has the instruction set `S`, for which the weights were packed.
    #[inline(always)]
    pub unsafe fn run_pointwise<S: Blocking>(
        &self,
        from: &[u8],
        to: &mut OutputRows<'_>,
        epilogue: Epilogue<'_>,
    ) {
        let step = self.pixel_bytes;
        let from = Source { bytes: from, count: from.len() / step, pixel_step: step, row_stride: 0 };
        // SAFETY: the caller's promise.
        unsafe { self.run::<S>(from, to, epilogue) }
    }

    /// Computes all output pixels of `from`.
    ///
    /// # Safety
    /// The processor has the instruction set `S`, for which the weights were packed.
    #[inline(always)]
    pub unsafe fn run<S: Blocking>(&self, from: Source<'_>, to: &mut OutputRows<'_>, epilogue: Epilogue<'_>) {
        let reach = from.count.saturating_sub(1) * from.pixel_step
            + (self.kernel - 1) * from.row_stride
            + self.kernel * self.pixel_bytes;
        assert!(from.count > 0 && reach <= from.bytes.len());
        // SAFETY: the caller's promise; all windows are in bounds, as asserted.
        unsafe { S::run_panels(self, from, to, epilogue) }
    }
}

impl Panel {
    /// Computes `P` pixels at a time, in `R` registers each. Where the count is no multiple of `P`, the last `P` pixels
    /// overlap those before them and are computed again.
    ///
    /// # Safety
    /// The processor has the instruction set `S`; all windows of `from` are in bounds.
    #[inline(always)]
    pub unsafe fn run<S: Simd, const P: usize, const R: usize>(
        &self,
        from: Source<'_>,
        to: &mut OutputRows<'_>,
        epilogue: Epilogue<'_>,
    ) {
        let quads: usize = self.rows.iter().map(Vec::len).sum();
        assert!(self.weights.len() == quads * R * S::LANES * QUAD && quads.is_multiple_of(S::QUADS));
        let mut start = 0;
        // SAFETY: `start` and the pixels after it are below the count.
        unsafe {
            while start + P <= from.count {
                self.store_tile::<S, P, R>(&self.accumulate::<S, P, R>(from, start), start, to, epilogue);
                start += P;
            }
            if start < from.count && from.count >= P {
                let start = from.count - P;
                self.store_tile::<S, P, R>(&self.accumulate::<S, P, R>(from, start), start, to, epilogue);
            } else {
                for start in start..from.count {
                    self.store_tile::<S, 1, R>(&self.accumulate::<S, 1, R>(from, start), start, to, epilogue);
                }
            }
        }
    }

    /// The accumulators of `P` pixels from pixel `start` on.
    ///
    /// # Safety
    /// The processor has the instruction set `S`; the windows are in bounds.
    #[inline(always)]
    unsafe fn accumulate<S: Simd, const P: usize, const R: usize>(
        &self,
        from: Source<'_>,
        start: usize,
    ) -> [[S::Ints; R]; P] {
        let quad_weights = R * S::LANES * QUAD;
        assert!(self.bias.len() == R * S::LANES);
        // SAFETY: the caller's promise; there are weights for every quad, as `PackedConv::new` packs them.
        unsafe {
            let bias = array!(r < R => S::load_ints(self.bias.as_ptr().add(r * S::LANES)));
            let mut acc = [bias; P];
            S::pair_pixels(&mut acc);
            let mut weights = self.weights.as_ptr();
            let mut row_start = from.bytes.as_ptr().add(start * from.pixel_step);
            for (n, offsets) in self.rows.iter().enumerate() {
                if n > 0 {
                    row_start = row_start.add(from.row_stride);
                }
                let mut steps = offsets.chunks_exact(S::UNROLL * S::QUADS);
                // Unrolled by hand: loop counters compete with the multiplications for execution ports.
                for offsets in &mut steps {
                    for n in 0..S::UNROLL {
                        let offsets = offsets.as_ptr().add(n * S::QUADS);
                        S::accumulate(&mut acc, row_start, from.pixel_step, offsets, weights);
                        weights = weights.add(S::QUADS * quad_weights);
                    }
                }
                for offsets in steps.remainder().chunks_exact(S::QUADS) {
                    S::accumulate(&mut acc, row_start, from.pixel_step, offsets.as_ptr(), weights);
                    weights = weights.add(S::QUADS * quad_weights);
                }
            }
            S::pair_pixels(&mut acc);
            acc
        }
    }

    /// Applies the epilogue to the accumulators of `P` pixels, of which the first is pixel `start`, and stores them.
    ///
    /// # Safety
    /// The processor has the instruction set `S`.
    #[inline(always)]
    pub unsafe fn store_tile<S: Simd, const P: usize, const R: usize>(
        &self,
        acc: &[[S::Ints; R]; P],
        start: usize,
        to: &mut OutputRows<'_>,
        epilogue: Epilogue<'_>,
    ) {
        let channels = R * S::LANES;
        let offsets = to.offsets::<P>(start, self.first_channel);
        // Offsets rise, so that one bounds check covers all.
        assert!(offsets[P - 1] + channels <= to.bytes.len() && self.scale.len() == channels);
        let QuantParams { zero_point, max, .. } = self.output;
        // SAFETY: the last offset is in bounds, as asserted.
        unsafe {
            let scale = array!(r < R => S::load_floats(self.scale.as_ptr().add(r * S::LANES)));
            for (i, (acc, offset)) in acc.iter().zip(offsets).enumerate() {
                let values = requantize::<S, R>(acc, &scale);
                let to_here = to.bytes.as_mut_ptr().add(offset);
                match epilogue {
                    Epilogue::Requantize => S::narrow(to_here, values, zero_point, max),
                    Epilogue::AddResidual { input, sum } => {
                        let input = &input[(start + i) * to.pixel_stride + self.first_channel..][..channels];
                        let values = add_residual::<S, R>(&values, self.output, input, sum);
                        S::narrow(to_here, values, 0, sum.max);
                    }
                }
            }
        }
    }
}

/// Scales accumulators and rounds them half to even; the zero point is not added yet.
///
/// # Safety
/// The processor has the instruction set `S`.
#[inline(always)]
pub unsafe fn requantize<S: Simd, const R: usize>(
    acc: &[S::Ints; R],
    scale: &[S::Floats; R],
) -> [S::Ints; R] {
    // SAFETY: the caller's promise.
    unsafe { array!(r < R => S::round(S::mul(S::to_floats(acc[r]), scale[r]))) }
}

/// Adds the block's input to requantized values, whose zero point is not added yet.
///
/// # Safety
/// The processor has the instruction set `S`; `input` has `R` registers of channels.
#[inline(always)]
unsafe fn add_residual<S: Simd, const R: usize>(
    values: &[S::Ints; R],
    output: QuantParams,
    input: &[u8],
    sum: ResidualAdd,
) -> [S::Ints; R] {
    // SAFETY: the caller's promise.
    unsafe {
        let (zero_point, max) = (S::splat_int(output.zero_point.into()), S::splat_int(output.max.into()));
        let inputs = S::widen::<R>(input.as_ptr());
        let (scale, input_scale, offset) =
            (S::splat_float(sum.scale), S::splat_float(sum.input_scale), S::splat_float(sum.offset));
        array!(r < R => {
            let byte = S::clamp(S::add_ints(values[r], zero_point), max);
            let rest = S::mul_add(S::to_floats(inputs[r]), input_scale, offset);
            S::round(S::mul_add(S::to_floats(byte), scale, rest))
        })
    }
}
