//! A block, computed a few rows at a time.

use std::cell::RefCell;

use super::filter::{Filter, SLACK, padded_channels};
use super::gather::{Gather, Input};
use super::pointwise::{Finish, Pixels, Pointwise, Rows, Sum, Unit};
use super::real::RealMix;
use super::{Block, Grid, Narrow};
use crate::limits::KERNEL_BYTES;

/// A block with its weights in the order of the processor's registers. It holds nothing of a picture: all threads can
/// use the same.
pub struct PackedBlock {
    gather: Gather,
    widen: Pointwise,
    filter: Filter,
    narrow: PackedNarrow,
    /// Zero of the grid of the wide values before the filter.
    wide_zero: u8,
    inputs: usize,
    outputs: usize,
    stride: usize,
}

enum PackedNarrow {
    Bytes { layer: Pointwise, zero: u8, sum: Option<Sum> },
    Real(RealMix),
}

/// Where results go: all pixels, as bytes or real numbers, as the block makes them.
pub enum Output<'a> {
    Bytes(&'a mut [u8]),
    Real(&'a mut [f32]),
}

/// Bytes of wide values to have in hand: a part of the cache that every core has to itself.
const IN_HAND: usize = 192 << 10;

/// Most rows, and pixels in a row: places between two are counted in float32.
const LARGEST: usize = (1 << 16) - 1;

/// Memory of a thread, for all its blocks in turns.
#[derive(Default)]
struct Scratch {
    gathered: Vec<u8>,
    line: Vec<f32>,
    wide: Vec<u8>,
    filtered: Vec<u8>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

impl PackedBlock {
    pub fn new(block: &Block, unit: Unit) -> Self {
        let wide = padded_channels(block.widen.channels(), block.stride);
        let narrow = match &block.narrow {
            Narrow::Bytes(layer) => PackedNarrow::Bytes {
                layer: Pointwise::new(layer, block.filter.output.zero, [wide, block.outputs()], unit),
                zero: layer.output.zero,
                sum: block.residual.map(|sum| Sum::of(layer.output, block.input, sum)),
            },
            Narrow::Real(layer) => PackedNarrow::Real(RealMix::new(layer, block.filter.output, wide)),
        };
        Self {
            gather: Gather::new(block),
            widen: Pointwise::new(&block.widen, block.input.zero, [block.inputs(), wide], unit),
            filter: Filter::new(&block.filter, block.widen.output.zero, block.stride),
            narrow,
            wide_zero: block.widen.output.zero,
            inputs: block.inputs(),
            outputs: block.outputs(),
            stride: block.stride,
        }
    }

    /// Channels that come out.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Height or width of what comes out, where `size` goes in.
    pub fn output_size(&self, size: usize) -> usize {
        size.div_ceil(self.stride)
    }

    /// Whether real numbers come out.
    pub fn is_real(&self) -> bool {
        matches!(self.narrow, PackedNarrow::Real(_))
    }

    /// How many sources go in.
    pub fn sources(&self) -> usize {
        self.gather.sources()
    }

    /// The height and width at which the block works, where a source is of that size; `None` for one that is too large.
    pub fn size(&self, source: usize, size: [usize; 2]) -> Option<[usize; 2]> {
        let times = if self.gather.doubles(source) { 2 } else { 1 };
        let [height, width] = size.map(|side| side.checked_mul(times).filter(|side| *side <= LARGEST));
        Some([height?, width?])
    }

    /// Whether the block can work at that height and width: what it works with is bounded.
    pub fn takes(&self, size: [usize; 2]) -> bool {
        let [height, width] = size;
        let is_size = |side: usize| (1..=LARGEST).contains(&side);
        // No fewer rows are in hand at once: wide, filtered, and those that go in.
        const ROWS: usize = 8;
        let pixels = width.saturating_add(2).saturating_mul(ROWS);
        let bytes = self.filter.channels().max(self.widen.pixel()).checked_mul(pixels);
        is_size(height) && is_size(width) && bytes.is_some_and(|bytes| bytes <= KERNEL_BYTES)
    }

    /// Channels that go in, of all sources together.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Computes the block at this height and width.
    ///
    /// # Panics
    /// Where inputs or `to` are not of the size, or `to` is not of what comes out.
    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    pub fn run(&self, inputs: &[Input<'_>], size: [usize; 2], to: Output<'_>) {
        self.check(inputs, size, &to);
        SCRATCH.with_borrow_mut(|scratch| self.run_in(inputs, size, to, scratch));
    }

    /// Panics where lengths are not what they must be: all that follows relies on it.
    fn check(&self, inputs: &[Input<'_>], size: [usize; 2], to: &Output<'_>) {
        assert!(self.takes(size) && inputs.len() == self.gather.sources());
        let mut channels = 0;
        for (n, input) in inputs.iter().enumerate() {
            let [height, width] = if self.gather.doubles(n) { size.map(|side| side / 2) } else { size };
            assert!(self.size(n, [height, width]) == Some(size) && input.channels > 0);
            assert!(input.bytes.len() == height * width * input.channels);
            channels += input.channels;
        }
        let [height, width] = size.map(|side| self.output_size(side));
        let length = match to {
            Output::Bytes(to) => to.len(),
            Output::Real(to) => to.len(),
        };
        assert!(channels == self.inputs && length == height * width * self.outputs);
        let is_added = matches!(&self.narrow, PackedNarrow::Bytes { sum: Some(_), .. });
        assert!(!is_added || (self.stride == 1 && self.inputs == self.outputs && inputs.len() == 1));
    }

    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    fn run_in(&self, inputs: &[Input<'_>], size: [usize; 2], mut to: Output<'_>, scratch: &mut Scratch) {
        let [height, width] = size;
        let [out_height, out_width] = size.map(|side| self.output_size(side));
        let channels = self.filter.channels();
        let wide_row = (width + 2) * channels;
        let filtered_row = out_width * channels;
        let stride = self.stride;
        // Rows that the next ones need, too.
        let shared = 3 - stride;
        let at_once = (IN_HAND / (stride * wide_row)).saturating_sub(1).clamp(1, out_height);
        let rows = stride * at_once + shared;
        let Scratch { gathered, line, wide, filtered } = scratch;
        let wide = aligned(wide, rows * wide_row + SLACK);
        let filtered = aligned(filtered, at_once * filtered_row + SLACK);
        for row in wide.chunks_exact_mut(wide_row).take(rows) {
            row[..channels].fill(self.wide_zero);
            row[wide_row - channels..].fill(self.wide_zero);
        }

        for top in (0..out_height).step_by(at_once) {
            let count = at_once.min(out_height - top);
            // Row 0 in hand is the one above the first that is filtered: at the top, the border.
            let (kept, begin) = if top == 0 { (0, 1) } else { (shared, shared) };
            wide.copy_within(stride * at_once * wide_row..(stride * at_once + kept) * wide_row, 0);
            let needed = stride * count + shared;
            let end = needed.min(height + 1 - stride * top);
            for row in (kept..begin).chain(end..needed) {
                wide[row * wide_row + channels..][..width * channels].fill(self.wide_zero);
            }
            if begin < end {
                let first = stride * top + begin - 1;
                let pixels = self.gathered(inputs, size, first, end - begin, gathered, line);
                let mut to = Rows {
                    bytes: &mut wide[begin * wide_row + channels..],
                    width,
                    pixel: channels,
                    row: wide_row,
                };
                self.widen.run(pixels, &mut to, Finish::Rounded { zero: self.wide_zero });
            }
            for row in 0..count {
                let window = [0, 1, 2].map(|n| &wide[(stride * row + n) * wide_row..][..wide_row + SLACK]);
                self.filter.run(window, &mut filtered[row * filtered_row..], out_width);
            }
            let filtered = &filtered[..count * filtered_row];
            let (place, length) = (top * out_width * self.outputs, count * out_width * self.outputs);
            match (&self.narrow, &mut to) {
                (PackedNarrow::Bytes { layer, zero, sum }, Output::Bytes(to)) => {
                    let mut to = Rows {
                        bytes: &mut to[place..][..length],
                        width: out_width,
                        pixel: self.outputs,
                        row: out_width * self.outputs,
                    };
                    let finish = match *sum {
                        None => Finish::Rounded { zero: *zero },
                        Some(sum) => Finish::Added { zero: *zero, input: &inputs[0].bytes[place..], sum },
                    };
                    layer.run(Pixels(filtered), &mut to, finish);
                }
                (PackedNarrow::Real(layer), Output::Real(to)) => {
                    layer.run(filtered, &mut to[place..][..length], line);
                }
                _ => unreachable!("outputs are made as the block says"),
            }
        }
    }

    /// Rows of what goes in, from number `first` on.
    #[target_feature(enable = "avx512bw,avx512vl,avx512vnni")]
    fn gathered<'a>(
        &self,
        inputs: &[Input<'a>],
        size: [usize; 2],
        first: usize,
        count: usize,
        memory: &'a mut Vec<u8>,
        line: &mut Vec<f32>,
    ) -> Pixels<'a> {
        let (pixel, [_, width]) = (self.widen.pixel(), size);
        if self.gather.is_idle() && self.inputs == pixel {
            return Pixels(&inputs[0].bytes[first * width * pixel..][..count * width * pixel]);
        }
        let rows = aligned(memory, count * width * pixel);
        self.gather.run(inputs, size, first, rows, pixel, line);
        Pixels(rows)
    }
}

impl Sum {
    /// The sum of bytes on these two grids on a third.
    fn of(ours: Grid, theirs: Grid, sum: Grid) -> Self {
        let zeros = [ours, theirs].map(|grid| grid.scale / sum.scale * f32::from(grid.zero));
        Self {
            ours: ours.scale / sum.scale,
            theirs: theirs.scale / sum.scale,
            offset: f32::from(sum.zero) - (zeros[0] + zeros[1]),
        }
    }
}

/// That many bytes of memory, from a border of the processor's cache lines on.
fn aligned(memory: &mut Vec<u8>, size: usize) -> &mut [u8] {
    const LINE: usize = 64;
    if memory.len() < size + LINE {
        memory.resize(size + LINE, 0);
    }
    let start = memory.as_ptr().align_offset(LINE);
    &mut memory[start..][..size]
}
