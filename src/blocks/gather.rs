//! What goes into a block: parts that are joined, brought to one grid, and doubled in size where they are half as large.

use core::arch::x86_64::*;

use super::{Block, Grid, Source};

/// Brings the sources of a block together, a few rows at a time.
pub struct Gather {
    parts: Vec<Part>,
    zero: u8,
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
        Self { parts: block.sources.iter().map(part).collect(), zero: block.input.zero }
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
    /// `pixel` bytes for each pixel. `line` is memory to work with.
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
            // Products are made of four bytes.
            if channel < pixel {
                for rest in row.chunks_exact_mut(pixel) {
                    rest[channel..].fill(self.zero);
                }
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn copy(from: &[u8], channels: usize, change: Option<(f32, f32)>, to: &mut [u8], pixel: usize) {
    for (from, to) in from.chunks_exact(channels).zip(to.chunks_mut(pixel)) {
        let Some(change) = change else {
            to[..channels].copy_from_slice(from);
            continue;
        };
        for (from, to) in from.chunks(LANES).zip(to[..channels].chunks_mut(LANES)) {
            store(to, floats(from), change);
        }
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
    let (above, below, share) = between(y, height);
    // First the row as it is between two rows.
    line.resize(row, 0.0);
    let rows = [above, below].map(|y| input.bytes[y * row..][..row].chunks(LANES));
    let [above, below] = rows;
    let share = _mm512_set1_ps(share);
    for ((above, below), line) in above.zip(below).zip(line.chunks_mut(LANES)) {
        put(line, mix(floats(above), floats(below), share));
    }
    for (x, to) in to.chunks_mut(pixel).enumerate().take(width) {
        let (left, right, share) = between(x, width);
        let share = _mm512_set1_ps(share);
        let [left, right] = [left, right].map(|x| line[x * channels..][..channels].chunks(LANES));
        for ((left, right), to) in left.zip(right).zip(to[..channels].chunks_mut(LANES)) {
            store(to, mix(get(left), get(right), share), change);
        }
    }
}

/// Between which two of `size / 2` places number `place` of `size` lies, and how far from the first.
fn between(place: usize, size: usize) -> (usize, usize, f32) {
    let half = size / 2;
    let at = (place * (half - 1)) as f32 / (size - 1) as f32;
    let first = at as usize;
    (first, (first + 1).min(half - 1), at - first as f32)
}

#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn mix(first: __m512, second: __m512, share: __m512) -> __m512 {
    _mm512_fmadd_ps(_mm512_sub_ps(second, first), share, first)
}

/// Up to 16 bytes as real numbers.
#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn floats(bytes: &[u8]) -> __m512 {
    // SAFETY: the mask is of as many bytes as there are.
    let bytes = unsafe { _mm_maskz_loadu_epi8(mask(bytes.len()), bytes.as_ptr().cast()) };
    _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes))
}

#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn get(values: &[f32]) -> __m512 {
    // SAFETY: the mask is of as many values as there are.
    unsafe { _mm512_maskz_loadu_ps(mask(values.len()), values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn put(to: &mut [f32], values: __m512) {
    // SAFETY: the mask is of as many values as there is room for.
    unsafe { _mm512_mask_storeu_ps(to.as_mut_ptr(), mask(to.len()), values) };
}

#[inline]
#[target_feature(enable = "avx512bw,avx512vl")]
fn store(to: &mut [u8], values: __m512, (scale, offset): (f32, f32)) {
    let values = _mm512_fmadd_ps(values, _mm512_set1_ps(scale), _mm512_set1_ps(offset));
    let values = _mm512_max_epi32(_mm512_cvtps_epi32(values), _mm512_setzero_si512());
    // SAFETY: the mask is of as many bytes as there is room for.
    unsafe { _mm_mask_storeu_epi8(to.as_mut_ptr().cast(), mask(to.len()), _mm512_cvtusepi32_epi8(values)) };
}

/// The first so many lanes, 16 at most.
#[inline]
fn mask(lanes: usize) -> u16 {
    ((1u32 << lanes.min(LANES)) - 1) as u16
}
