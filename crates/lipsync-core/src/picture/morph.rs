// SPDX-License-Identifier: MPL-2.0
//! A picture between two others of the same thing: what moved is moved part of the way, and only then are the two mixed,
//! so that no edge is seen twice.
//!
//! The motion is the optical flow of Lucas and Kanade on a pyramid (Bouguet, "Pyramidal Implementation of the Affine Lucas Kanade
//! Feature Tracker", 2001), for every point of a grid.

use image::{GrayImage, RgbImage};

use crate::picture::pool;

/// Pixels of the pictures for one point of the grid, in each direction.
const CELL: usize = 4;
/// Levels of the pyramid at most; each halves the grid.
const LEVELS: usize = 5;
/// Neither side of a level is shorter.
const LEAST_SIDE: usize = 8;
/// Steps of the search on each level, and on the finest, which takes three quarters of the time.
const STEPS: usize = 3;
const LAST_STEPS: usize = 1;
/// Points around one, in each direction, that are taken to move as it does.
const WINDOW: usize = 4;
/// Points over which the flow is smoothed after each step, in each direction.
const SMOOTHING: usize = 2;
/// Added to the squared gradients, in levels squared: where a picture is as flat as its noise, nothing moves.
const FLATNESS: f32 = 2.0;

/// Side of the squares in which levels are rounded at different thresholds, in pixels.
const SIDE: usize = 8;
/// Thresholds of the rounding, of 255: levels that differ by one would otherwise all change in the same picture, half way, and the grain
/// of the whole would jump. The pattern is Bayer's, for ordered dithering.
const THRESHOLDS: [[u32; SIDE]; SIDE] = thresholds();

const fn thresholds() -> [[u32; SIDE]; SIDE] {
    let mut all = [[0; SIDE]; SIDE];
    let mut i = 0;
    while i < SIDE * SIDE {
        let (x, y) = (i % SIDE, i / SIDE);
        let (mut rank, mut bit) = (0, 1);
        while bit < SIDE {
            rank = 4 * rank + if x & bit != 0 { 2 } else { 0 } + if (x ^ y) & bit != 0 { 1 } else { 0 };
            bit *= 2;
        }
        all[y][x] = (rank * 255 / (SIDE * SIDE) + 2) as u32;
        i += 1;
    }
    all
}

/// Motion that is not seen, in pixels.
const STANDSTILL: f32 = 0.1;

/// Values on a grid, row by row.
#[derive(Clone)]
struct Grid {
    width: usize,
    height: usize,
    values: Vec<f32>,
}

impl Grid {
    fn new(width: usize, height: usize) -> Self {
        Self { width, height, values: vec![0.0; width * height] }
    }

    /// The brightness of a picture, averaged over each cell.
    fn brightness(picture: &RgbImage) -> Self {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let mut grid = Self::new(width.div_ceil(CELL), height.div_ceil(CELL));
        for (y, row) in picture.chunks_exact(3 * width).enumerate() {
            let line = &mut grid.values[y / CELL * grid.width..][..grid.width];
            for (cell, pixels) in line.iter_mut().zip(row.chunks(3 * CELL)) {
                let sum: u32 = pixels
                    .chunks_exact(3)
                    .map(|pixel| u32::from(pixel[0]) + 2 * u32::from(pixel[1]) + u32::from(pixel[2]))
                    .sum();
                *cell += sum as f32;
            }
        }
        let rest = |side: usize, place: usize| (side - place * CELL).min(CELL);
        for (y, line) in grid.values.chunks_exact_mut(grid.width).enumerate() {
            for (x, cell) in line.iter_mut().enumerate() {
                *cell /= (4 * rest(width, x) * rest(height, y)) as f32;
            }
        }
        grid
    }

    fn half(&self) -> Self {
        let mut half = Self::new(self.width / 2, self.height / 2);
        for (y, line) in half.values.chunks_exact_mut(self.width / 2).enumerate() {
            let upper = &self.values[2 * y * self.width..][..self.width];
            let lower = &self.values[(2 * y + 1) * self.width..][..self.width];
            for ((value, a), b) in line.iter_mut().zip(upper.chunks_exact(2)).zip(lower.chunks_exact(2)) {
                *value = (a[0] + a[1] + b[0] + b[1]) / 4.0;
            }
        }
        half
    }

    /// The value between points; beyond the edges it is that of the edge.
    fn at(&self, x: f32, y: f32) -> f32 {
        let x = x.clamp(0.0, (self.width - 1) as f32);
        let y = y.clamp(0.0, (self.height - 1) as f32);
        let (left, top) = (x as usize, y as usize);
        let (right, bottom) = ((left + 1).min(self.width - 1), (top + 1).min(self.height - 1));
        let (x, y) = (x - left as f32, y - top as f32);
        let (upper, lower) = (top * self.width, bottom * self.width);
        let mix =
            |row: usize| self.values[row + left] + x * (self.values[row + right] - self.values[row + left]);
        mix(upper) + y * (mix(lower) - mix(upper))
    }

    /// Averages each value with those up to `radius` points away.
    fn blur(&mut self, radius: usize) {
        let (width, height) = (self.width, self.height);
        let mut line = vec![0.0; width];
        for row in self.values.chunks_exact_mut(width) {
            line.copy_from_slice(row);
            average(&line, radius, |x, mean| row[x] = mean);
        }
        let mut sums = vec![0.0; width];
        let source = self.values.clone();
        let add = |sums: &mut [f32], y: usize, sign: f32| {
            for (sum, value) in sums.iter_mut().zip(&source[y * width..][..width]) {
                *sum += sign * value;
            }
        };
        (0..radius.min(height)).for_each(|y| add(&mut sums, y, 1.0));
        for (y, row) in self.values.chunks_exact_mut(width).enumerate() {
            if y + radius < height {
                add(&mut sums, y + radius, 1.0);
            }
            if y > radius {
                add(&mut sums, y - radius - 1, -1.0);
            }
            let count = ((y + radius).min(height - 1) - y.saturating_sub(radius) + 1) as f32;
            for (value, sum) in row.iter_mut().zip(&sums) {
                *value = sum / count;
            }
        }
    }
}

/// The means of the values up to `radius` places from each.
fn average(line: &[f32], radius: usize, mut put: impl FnMut(usize, f32)) {
    let mut sum: f32 = line.iter().take(radius).sum();
    for x in 0..line.len() {
        sum += line.get(x + radius).unwrap_or(&0.0);
        if x > radius {
            sum -= line[x - radius - 1];
        }
        let count = (x + radius).min(line.len() - 1) - x.saturating_sub(radius) + 1;
        put(x, sum / count as f32);
    }
}

/// How the parts of one picture move to become another.
pub struct Flow {
    /// Pixels to the right, and down, for each cell.
    x: Grid,
    y: Grid,
}

impl Flow {
    /// That from one picture to another of the same size.
    pub fn between(from: &RgbImage, to: &RgbImage) -> Self {
        let mut pyramid = vec![(Grid::brightness(from), Grid::brightness(to))];
        while let Some((from, to)) = pyramid.last()
            && pyramid.len() < LEVELS
            && from.width.min(from.height) >= 2 * LEAST_SIDE
        {
            pyramid.push((from.half(), to.half()));
        }
        let mut flow: Option<Self> = None;
        for (level, (from, to)) in pyramid.iter().enumerate().rev() {
            let mut finer = match flow {
                Some(coarse) => coarse.doubled(from.width, from.height),
                None => Self { x: Grid::new(from.width, from.height), y: Grid::new(from.width, from.height) },
            };
            let steps = if level == 0 && pyramid.len() > 1 { LAST_STEPS } else { STEPS };
            (0..steps).for_each(|_| finer.improve(from, to));
            flow = Some(finer);
        }
        let mut flow = flow.unwrap_or_else(|| unreachable!("the pyramid has a level"));
        flow.x.values.iter_mut().chain(&mut flow.y.values).for_each(|value| *value *= CELL as f32);
        flow
    }

    /// The same on a grid twice as fine, of that size.
    fn doubled(&self, width: usize, height: usize) -> Self {
        let double = |grid: &Grid| {
            let mut finer = Grid::new(width, height);
            for (y, line) in finer.values.chunks_exact_mut(width).enumerate() {
                for (x, value) in line.iter_mut().enumerate() {
                    *value = 2.0 * grid.at((x as f32 - 0.5) / 2.0, (y as f32 - 0.5) / 2.0);
                }
            }
            finer
        };
        Self { x: double(&self.x), y: double(&self.y) }
    }

    /// One step of the search: moves each point so that its surroundings match better.
    fn improve(&mut self, from: &Grid, to: &Grid) {
        let (width, height) = (from.width, from.height);
        let mut sums: [Grid; 5] = std::array::from_fn(|_| Grid::new(width, height));
        for y in 0..height {
            let rows =
                [y.saturating_sub(1), y, (y + 1).min(height - 1)].map(|y| &from.values[y * width..][..width]);
            for x in 0..width {
                let i = y * width + x;
                let slope_x = (rows[1][(x + 1).min(width - 1)] - rows[1][x.saturating_sub(1)]) / 2.0;
                let slope_y = (rows[2][x] - rows[0][x]) / 2.0;
                let moved = to.at(x as f32 + self.x.values[i], y as f32 + self.y.values[i]);
                let change = moved - from.values[i];
                let products = [
                    slope_x * slope_x,
                    slope_x * slope_y,
                    slope_y * slope_y,
                    slope_x * change,
                    slope_y * change,
                ];
                for (sum, product) in sums.iter_mut().zip(products) {
                    sum.values[i] = product;
                }
            }
        }
        sums.iter_mut().for_each(|sum| sum.blur(WINDOW));
        let [xx, xy, yy, xc, yc] = &sums;
        for i in 0..width * height {
            let (x, y) = (&mut self.x.values[i], &mut self.y.values[i]);
            let (xx, xy, yy) = (xx.values[i] + FLATNESS, xy.values[i], yy.values[i] + FLATNESS);
            // What has no edges to tell of its motion stands still.
            let (xc, yc) = (xc.values[i] + FLATNESS * *x, yc.values[i] + FLATNESS * *y);
            let determinant = xx * yy - xy * xy;
            *x += ((xy * yc - yy * xc) / determinant).clamp(-1.0, 1.0);
            *y += ((xy * xc - xx * yc) / determinant).clamp(-1.0, 1.0);
        }
        self.x.blur(SMOOTHING);
        self.y.blur(SMOOTHING);
    }

    /// The picture `weight` of 255 of the way from one to the other. Both have `CHANNELS` bytes a pixel.
    fn mix<const CHANNELS: usize>(
        &self,
        (from, to): (&[u8], &[u8]),
        (width, height): (usize, usize),
        weight: u8,
        target: &mut [u8],
    ) {
        let share = f32::from(weight) / 255.0;
        let weight = u32::from(weight);
        let mut moves = vec![(0.0, 0.0); width];
        for (y, row) in target.chunks_exact_mut(CHANNELS * width).enumerate().take(height) {
            self.row(y, &mut moves);
            let thresholds = &THRESHOLDS[y % SIDE];
            let pixels = row.chunks_mut(CHANNELS * SIDE).zip(moves.chunks(SIDE)).enumerate();
            for (run, (pixels, moves)) in pixels {
                let x = run * SIDE;
                let pixels = pixels.chunks_exact_mut(CHANNELS).zip(thresholds);
                // Most of a picture stands still.
                if moves.iter().all(|(right, down)| right.abs().max(down.abs()) < STANDSTILL) {
                    let at = CHANNELS * (y * width + x);
                    let (from, to) = (from[at..].chunks_exact(CHANNELS), to[at..].chunks_exact(CHANNELS));
                    for ((pixel, threshold), (from, to)) in pixels.zip(from.zip(to)) {
                        for (level, (from, to)) in pixel.iter_mut().zip(from.iter().zip(to)) {
                            let mixed = u32::from(*from) * (255 - weight) + u32::from(*to) * weight;
                            *level = ((mixed + threshold) / 255) as u8;
                        }
                    }
                    continue;
                }
                for (x, ((pixel, threshold), (right, down))) in (x..).zip(pixels.zip(moves)) {
                    let (x, y) = (x as f32, y as f32);
                    let before = place(x - share * right, y - share * down, width, height);
                    let after = place(x + (1.0 - share) * right, y + (1.0 - share) * down, width, height);
                    let (before, after) = (sample::<CHANNELS>(from, before), sample::<CHANNELS>(to, after));
                    for (level, (before, after)) in pixel.iter_mut().zip(before.into_iter().zip(after)) {
                        // Levels are 256 times as large.
                        let mixed = before * (255 - weight) + after * weight;
                        *level = ((mixed + 256 * threshold) / (255 * 256)) as u8;
                    }
                }
            }
        }
    }

    /// How the pixels of a row move.
    fn row(&self, y: usize, moves: &mut [(f32, f32)]) {
        let centre = |pixel: usize| (pixel as f32 + 0.5) / CELL as f32 - 0.5;
        let y = centre(y).clamp(0.0, (self.x.height - 1) as f32);
        let upper = y as usize;
        let lower = (upper + 1).min(self.x.height - 1);
        let part = y - upper as f32;
        let between = |grid: &Grid, x: usize| {
            let (a, b) = (grid.values[upper * grid.width + x], grid.values[lower * grid.width + x]);
            a + part * (b - a)
        };
        let last = self.x.width - 1;
        for (x, to) in moves.iter_mut().enumerate() {
            let x = centre(x).clamp(0.0, last as f32);
            let (left, right) = (x as usize, (x as usize + 1).min(last));
            let part = x - left as f32;
            let mix = |grid: &Grid| {
                let a = between(grid, left);
                a + part * (between(grid, right) - a)
            };
            *to = (mix(&self.x), mix(&self.y));
        }
    }

    /// The colours `weight` of 255 of the way from one picture to the other.
    pub fn colours(&self, from: &RgbImage, to: &RgbImage, weight: u8) -> RgbImage {
        let mut target = pool::picture(from.width(), from.height());
        let size = (from.width() as usize, from.height() as usize);
        self.mix::<3>((from, to), size, weight, &mut target);
        target
    }

    /// The same of masks.
    pub fn mask(&self, from: &GrayImage, to: &GrayImage, weight: u8) -> GrayImage {
        let mut target = GrayImage::new(from.width(), from.height());
        let size = (from.width() as usize, from.height() as usize);
        self.mix::<1>((from, to), size, weight, &mut target);
        target
    }
}

/// Where a picture is sampled: the upper left of four pixels, the steps to the others, and the shares of the right and the lower
/// ones, of 16.
struct Sample {
    at: usize,
    right: usize,
    down: usize,
    x: u32,
    y: u32,
}

fn place(x: f32, y: f32, width: usize, height: usize) -> Sample {
    let x = (x * 16.0 + 0.5).clamp(0.0, (16 * (width - 1)) as f32) as usize;
    let y = (y * 16.0 + 0.5).clamp(0.0, (16 * (height - 1)) as f32) as usize;
    let (column, row) = (x / 16, y / 16);
    Sample {
        at: row * width + column,
        right: usize::from(column + 1 < width),
        down: if row + 1 < height { width } else { 0 },
        x: (x % 16) as u32,
        y: (y % 16) as u32,
    }
}

/// Levels there, times 256.
#[inline]
fn sample<const CHANNELS: usize>(
    picture: &[u8],
    Sample { at, right, down, x, y }: Sample,
) -> [u32; CHANNELS] {
    let corners = [at, at + right, at + down, at + down + right];
    let shares = [(16 - x) * (16 - y), x * (16 - y), (16 - x) * y, x * y];
    // The first and the third channel in one word: no sum is above 16 bits.
    let (mut outer, mut middle) = (0, 0);
    for (corner, share) in corners.into_iter().zip(shares) {
        let pixel = &picture[CHANNELS * corner..][..CHANNELS];
        let level = |channel: usize| pixel.get(channel).map_or(0, |level| u32::from(*level));
        outer += (level(0) | level(2) << 16) * share;
        middle += level(1) * share;
    }
    let all = [outer & 0xffff, middle, outer >> 16];
    std::array::from_fn(|channel| all[channel])
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    /// A smooth blob on a flat ground.
    fn blob(x: f32, y: f32) -> RgbImage {
        RgbImage::from_fn(160, 120, |column, row| {
            let (dx, dy) = (column as f32 - x, row as f32 - y);
            let bright = 150.0 * (-(dx * dx + dy * dy) / 300.0).exp();
            Rgb([40 + bright as u8, 60 + bright as u8, 80])
        })
    }

    fn difference(a: &RgbImage, b: &RgbImage) -> f64 {
        let sum: f64 = a.iter().zip(b.iter()).map(|(a, b)| f64::from(a.abs_diff(*b))).sum();
        sum / a.len() as f64
    }

    #[test]
    fn what_moves_is_half_way_in_between_and_seen_once() {
        let (from, to, middle) = (blob(70.0, 60.0), blob(82.0, 54.0), blob(76.0, 57.0));
        let flow = Flow::between(&from, &to);
        let found = difference(&flow.colours(&from, &to, 128), &middle);
        // A cross-fade of the two is as far from it as this.
        let mut faded = from.clone();
        faded.iter_mut().zip(to.iter()).for_each(|(a, b)| *a = a.midpoint(*b));
        let fade = difference(&faded, &middle);
        assert!(found < fade / 5.0, "{found} {fade}");
    }

    #[test]
    fn the_ends_are_the_pictures_themselves() {
        let (from, to) = (blob(70.0, 60.0), blob(75.0, 60.0));
        let flow = Flow::between(&from, &to);
        assert_eq!(difference(&flow.colours(&from, &to, 0), &from), 0.0);
        assert_eq!(difference(&flow.colours(&from, &to, 255), &to), 0.0);
        assert_eq!(difference(&Flow::between(&from, &from).colours(&from, &from, 99), &from), 0.0);
    }

    #[test]
    fn pictures_of_any_size_are_mixed() {
        for (width, height) in [(1, 1), (3, 70), (33, 5), (64, 64), (65, 63)] {
            let from = RgbImage::from_pixel(width, height, Rgb([10, 20, 30]));
            let to = RgbImage::from_pixel(width, height, Rgb([30, 40, 50]));
            let mixed = Flow::between(&from, &to).colours(&from, &to, 51);
            let close = |pixel: &Rgb<u8>| pixel.0.iter().zip([14, 24, 34]).all(|(a, b)| a.abs_diff(b) <= 1);
            assert!(mixed.pixels().all(close), "{width} x {height}");
            let masks = [0, 255].map(|level| GrayImage::from_pixel(width, height, image::Luma([level])));
            let mask = Flow::between(&from, &to).mask(&masks[0], &masks[1], 51);
            assert!(mask.iter().all(|level| level.abs_diff(51) <= 1));
        }
    }
}
