//! What goes into a block: parts that are joined, brought to one grid, and doubled in size where they are half as large.

use core::arch::x86_64::*;

use super::{Block, Grid, Source};

/// Brings the sources of a block together, a few rows at a time.
pub struct Gather {
    parts: Vec<Part>,
}

struct Part {
    doubled: bool,
    /// What a byte becomes: `scale * byte + offset`. `None` where it stays as it is.
    change: Option<(f32, f32)>,
}

/// A source's bytes, and how many channels it has.
#[derive(Clone, Copy)]
pub struct Input<'a> {
    pub bytes: &'a [u8],
    pub channels: usize,
}

const LANES: usize = 16;

impl Gather {
    pub fn new(block: &Block) -> Self {
        let part = |source: &Source| {
            let Grid { scale, zero } = source.grid;
            let scale = scale / block.input.scale;
            let offset = f32::from(block.input.zero) - scale * f32::from(zero);
            let change = (source.doubled || source.grid != block.input).then_some((scale, offset));
            Part { doubled: source.doubled, change }
        };
        Self { parts: block.sources.iter().map(part).collect() }
    }

    /// Whether rows are just those of the one source.
    pub fn is_idle(&self) -> bool {
        matches!(self.parts[..], [Part { doubled: false, change: None }])
    }

    /// Whether a source is half as high and wide as the block.
    pub fn doubles(&self, source: usize) -> bool {
        self.parts[source].doubled
    }

    /// Writes the rows from number `first` on, of the `size` (height, width) that they have together, into `to`:
    /// `pixel` bytes for each pixel, of which those behind the last channel stay as they were. `line` is memory to work
    /// with.
    #[target_feature(enable = "avx512bw,avx512vl")]
    pub fn run(
        &self,
        inputs: &[Input<'_>],
        size: [usize; 2],
        first: usize,
        to: &mut [u8],
        pixel: usize,
        line: &mut Vec<f32>,
    ) {
        let [_, width] = size;
        for (n, row) in to.chunks_exact_mut(width * pixel).enumerate() {
            let y = first + n;
            let mut channel = 0;
            for (part, input) in self.parts.iter().zip(inputs) {
                match part.change {
                    Some(change) if part.doubled => {
                        double(*input, size, y, change, &mut row[channel..], pixel, line);
                    }
                    change => {
                        let from = &input.bytes[y * width * input.channels..][..width * input.channels];
                        copy(from, input.channels, change, &mut row[channel..], pixel);
                    }
                }
                channel += input.channels;
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn copy(from: &[u8], channels: usize, change: Option<(f32, f32)>, to: &mut [u8], pixel: usize) {
    let pixels = from.chunks_exact(channels).zip(to.chunks_mut(pixel));
    match change {
        Some(change) => pixels.for_each(|(from, to)| {
            let (whole, rest) = from.as_chunks();
            let (to_whole, to_rest) = to[..channels].as_chunks_mut();
            for (from, to) in whole.iter().zip(to_whole) {
                write(floats(from), change, to);
            }
            for (from, to) in rest.iter().zip(to_rest) {
                *to = written(f32::from(*from), change);
            }
        }),
        None => pixels.for_each(|(from, to)| {
            // Few bytes: quicker by hand than by the system's copy.
            for (from, to) in from.iter().zip(to) {
                *to = *from;
            }
        }),
    }
}

/// One row of a picture made twice as large.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn double(
    input: Input<'_>,
    size: [usize; 2],
    y: usize,
    change: (f32, f32),
    to: &mut [u8],
    pixel: usize,
    line: &mut Vec<f32>,
) {
    let [height, width] = size;
    let channels = input.channels;
    let row = width / 2 * channels;
    // First the row as it is between two rows.
    let (above, below, share) = Between::new(height).at(y);
    let [above, below] = [above, below].map(|y| &input.bytes[y * row..][..row]);
    line.clear();
    line.extend(above.iter().zip(below).map(|(above, below)| {
        let [above, below] = [above, below].map(|byte| f32::from(*byte));
        (below - above).mul_add(share, above)
    }));
    let between = Between::new(width);
    for (x, to) in to.chunks_mut(pixel).enumerate().take(width) {
        let (left, right, share) = between.at(x);
        let [left, right] = [left, right].map(|x| &line[x * channels..][..channels]);
        let ((left, left_rest), (right, right_rest)) = (left.as_chunks(), right.as_chunks());
        let (to, to_rest) = to[..channels].as_chunks_mut();
        for ((left, right), to) in left.iter().zip(right).zip(to) {
            let (left, right) = (load(left), load(right));
            let share = _mm512_set1_ps(share);
            write(_mm512_fmadd_ps(_mm512_sub_ps(right, left), share, left), change, to);
        }
        for ((left, right), to) in left_rest.iter().zip(right_rest).zip(to_rest) {
            *to = written((right - left).mul_add(share, *left), change);
        }
    }
}

/// Where the places of a doubled row lie in the row itself.
struct Between {
    half: usize,
    step: f32,
}

impl Between {
    fn new(size: usize) -> Self {
        let half = size / 2;
        Self { half, step: (half - 1) as f32 / (size - 1) as f32 }
    }

    /// Between which two places, and how far from the first.
    fn at(&self, place: usize) -> (usize, usize, f32) {
        let at = place as f32 * self.step;
        let first = (at as usize).min(self.half - 1);
        (first, (first + 1).min(self.half - 1), at - first as f32)
    }
}

/// Bytes as real numbers.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn floats(bytes: &[u8; LANES]) -> __m512 {
    // SAFETY: there are 16 bytes.
    let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
    _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))
}

#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn load(values: &[f32; LANES]) -> __m512 {
    // SAFETY: there are 16 values.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

/// Writes real numbers as bytes.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn write(values: __m512, (scale, offset): (f32, f32), to: &mut [u8; LANES]) {
    let values = _mm512_fmadd_ps(values, _mm512_set1_ps(scale), _mm512_set1_ps(offset));
    let values = _mm512_max_epi32(_mm512_cvtps_epi32(values), _mm512_setzero_si512());
    // SAFETY: there is room for 16 bytes.
    unsafe { _mm_storeu_si128(to.as_mut_ptr().cast(), _mm512_cvtusepi32_epi8(values)) };
}

/// A real number as a byte.
fn written(value: f32, (scale, offset): (f32, f32)) -> u8 {
    value.mul_add(scale, offset).round_ties_even() as u8
}
