// SPDX-License-Identifier: MPL-2.0
//! Green and blue screens: whether a film was made before one, and masks for what stands before it.

use std::path::Path;

use anyhow::{Context, Result};
use image::{DynamicImage, GrayImage, Luma, Rgb, RgbImage, Rgba32FImage, imageops};
use lipsync_core::avatar::{Avatar, names};
use lipsync_core::picture::image_file;

use super::frames::bytes;
use crate::film::landmarks::Report;
use crate::interrupt;

/// Size of the thumbnails in the reports.
const THUMBNAIL: (usize, usize) = (16, 9);
/// Rows of it, from above, whose ends show what is beside the head, not shoulders.
const ROWS: usize = 5;
/// Share of the pixels at the border, and of the film's frames, in which they have the screen's colour.
const BORDER_SHARE: f32 = 0.9;
const FRAMES_SHARE: f32 = 0.95;
/// Levels by which the screen's channel is above both others, and how many times as strong it is as they are.
const EXCESS: i32 = 30;
const RATIO: f32 = 1.3;
/// Share of the screen's excess at which the person is opaque, and from which on nothing of the person is there.
const OPAQUE: f32 = 0.12;
const CLEAR: f32 = 0.8;
/// The softness with which the empty screen is continued behind the person, in pixels of a picture an eighth as large.
const SPREAD: f32 = 4.0;
/// What is nearer to the person shows a little of both: a so manieth part of the picture's width.
const EDGE: usize = 200;
/// Share of it that has to be known of a place.
const KNOWN: f32 = 0.02;

/// The colour of a screen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub enum Screen {
    Green,
    Blue,
}

impl Screen {
    /// Its channel.
    fn channel(self) -> usize {
        match self {
            Self::Green => 1,
            Self::Blue => 2,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Blue => "blue",
        }
    }

    /// How far a colour's own channel is above both others.
    fn excess(self, pixel: [u8; 3]) -> i32 {
        let own = i32::from(pixel[self.channel()]);
        let others =
            (0..3).filter(|channel| *channel != self.channel()).map(|channel| i32::from(pixel[channel]));
        own - others.max().unwrap_or(0)
    }

    fn is_colour_of(self, pixel: [u8; 3]) -> bool {
        let own = f32::from(pixel[self.channel()]);
        let excess = self.excess(pixel);
        excess >= EXCESS && own > RATIO * (own - excess as f32)
    }

    /// The screen that a film was made before, if it was.
    pub fn of(reports: &[Report]) -> Option<Self> {
        [Self::Green, Self::Blue].into_iter().find(|screen| {
            let pictures = reports.iter().map(|report| bytes(&report.picture));
            let with = pictures.filter(|picture| screen.surrounds(picture)).count();
            !reports.is_empty() && with as f32 >= FRAMES_SHARE * reports.len() as f32
        })
    }

    /// Whether it is above and beside the person in a thumbnail.
    fn surrounds(self, picture: &[u8]) -> bool {
        let (width, height) = THUMBNAIL;
        if picture.len() != 3 * width * height {
            return false;
        }
        let above = (0..width).map(|x| (x, 0));
        let beside = (1..ROWS).flat_map(|y| [(0, y), (width - 1, y)]);
        let places: Vec<(usize, usize)> = above.chain(beside).collect();
        let with = places.iter().filter(|(x, y)| {
            let at = 3 * (y * width + x);
            self.is_colour_of([picture[at], picture[at + 1], picture[at + 2]])
        });
        with.count() as f32 >= BORDER_SHARE * places.len() as f32
    }
}

/// Writes a mask of every frame of an avatar, and the empty screen, and says so in its manifest.
pub fn cut_out(folder: &Path, screen: Screen, progress: &mut dyn FnMut(usize, usize)) -> Result<()> {
    let avatar = Avatar::open(folder)?;
    if avatar.has_alpha() {
        return Ok(());
    }
    let frames: Vec<&Path> = avatar.frames.iter().map(|frame| frame.picture.as_path()).collect();
    let empty = empty_screen(&frames, screen)?;
    save(empty.clone(), &folder.join(BACKGROUND))?;
    let masks = folder.join(names::ALPHA);
    std::fs::create_dir_all(&masks).with_context(|| format!("{}: cannot be made", masks.display()))?;
    for (n, frame) in frames.iter().enumerate() {
        interrupt::check()?;
        let mask = mask(&image_file::read(frame)?.colours, &empty, screen);
        save(mask, &masks.join(format!("{n}.png")))?;
        progress(n + 1, frames.len());
    }
    // What is written last makes it count.
    let manifest = folder.join("avatar.toml");
    let text = std::fs::read_to_string(&manifest)
        .with_context(|| format!("{}: cannot be read", manifest.display()))?;
    let keys = format!("alpha = \"{}\"\nbackground = \"{BACKGROUND}\"\n", names::ALPHA);
    // Keys of the whole avatar come before the first table.
    let at = text.find("\n[").map_or(text.len(), |at| at + 1);
    let text = format!("{}{keys}{}", &text[..at], &text[at..]);
    Ok(lipsync_core::file::replace(&manifest, text.as_bytes())?)
}

const BACKGROUND: &str = "background.png";

fn save(picture: impl Into<DynamicImage>, path: &Path) -> Result<()> {
    let saved = picture.into().save_with_format(path, image::ImageFormat::Png);
    saved.with_context(|| format!("{}: cannot be written. Make room", path.display()))
}

/// The screen without the person: the mean colour of it where frames show it, continued where none does.
fn empty_screen(frames: &[&Path], screen: Screen) -> Result<RgbImage> {
    // They are alike: some are enough.
    const LOOKED_AT: usize = 24;
    let looked_at: Vec<_> = frames.iter().step_by(frames.len().div_ceil(LOOKED_AT).max(1)).collect();
    // Shares of 1 each, since filters cut off what is above: the colours, and in how many frames they are seen.
    let mut sums: Option<Rgba32FImage> = None;
    for frame in &looked_at {
        interrupt::check()?;
        let picture = image_file::read(frame)?.colours;
        let (width, height) = picture.dimensions();
        let sums = sums.get_or_insert_with(|| Rgba32FImage::new(width, height));
        let part = 1.0 / looked_at.len() as f32;
        let screen = picture.pixels().map(|pixel| screen.is_colour_of(pixel.0)).collect();
        let screen = well_inside(screen, width as usize, width as usize / EDGE);
        for ((sum, pixel), _) in
            sums.pixels_mut().zip(picture.pixels()).zip(&screen).filter(|(_, screen)| **screen)
        {
            (0..3).for_each(|channel| sum.0[channel] += part * f32::from(pixel.0[channel]) / 255.0);
            sum.0[3] += part;
        }
    }
    let sums = sums.context("there are no frames")?;
    let (width, height) = sums.dimensions();
    // Both are blurred more and more, until something is known everywhere.
    let small =
        imageops::resize(&sums, (width / 8).max(1), (height / 8).max(1), imageops::FilterType::Triangle);
    let mut wide = small.clone();
    for n in 0..5 {
        let blurred = imageops::blur(&small, SPREAD * (1 << n) as f32);
        for (to, from) in wide.pixels_mut().zip(blurred.pixels()).filter(|(to, _)| to.0[3] < KNOWN) {
            *to = *from;
        }
    }
    let wide = imageops::resize(&wide, width, height, imageops::FilterType::Triangle);
    let pixels = sums.pixels().zip(wide.pixels()).flat_map(|(own, around)| {
        let [red, green, blue, seen] = if own.0[3] > 0.0 { own.0 } else { around.0 };
        [red, green, blue].map(|value| (255.0 * value / seen.max(1e-6)).round().clamp(0.0, 255.0) as u8)
    });
    RgbImage::from_raw(width, height, pixels.collect()).context("pixels are missing")
}

/// The places of a picture around which, as far as `reach` goes across and down, all is there.
fn well_inside(there: Vec<bool>, width: usize, reach: usize) -> Vec<bool> {
    let along = |there: &[bool], step: usize, length: usize, line: &dyn Fn(usize) -> usize| {
        let mut inside = vec![false; there.len()];
        for start in (0..there.len() / length).map(line) {
            // How many before this place, and it, are there in a row; beyond the picture all is.
            let mut run = reach;
            for n in 0..length + reach {
                run = if n >= length || there[start + n * step] { run + 1 } else { 0 };
                if n >= reach {
                    inside[start + (n - reach) * step] = run > 2 * reach;
                }
            }
        }
        inside
    };
    let height = there.len() / width.max(1);
    let across = along(&there, 1, width, &|row| row * width);
    along(&across, width, height, &|column| column)
}

/// How much of the person each pixel shows.
fn mask(picture: &RgbImage, empty: &RgbImage, screen: Screen) -> GrayImage {
    let alpha = |pixel: &Rgb<u8>, empty: &Rgb<u8>| {
        let excess = screen.excess(pixel.0) as f32 / screen.excess(empty.0).max(EXCESS) as f32;
        let share = 1.0 - (excess - OPAQUE) / (CLEAR - OPAQUE);
        (255.0 * share.clamp(0.0, 1.0)).round() as u8
    };
    let pixels = picture.pixels().zip(empty.pixels()).map(|(pixel, empty)| alpha(pixel, empty)).collect();
    let sharp = GrayImage::from_raw(picture.width(), picture.height(), pixels);
    let sharp =
        sharp.unwrap_or_else(|| GrayImage::from_pixel(picture.width(), picture.height(), Luma([255])));
    // Colours have half the resolution in films: the edge is no sharper than that.
    imageops::blur(&sharp, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(picture: &[u8]) -> Report {
        Report { picture: picture.iter().map(|value| format!("{value:02x}")).collect(), ..Report::default() }
    }

    fn thumbnail(screen: [u8; 3]) -> Vec<u8> {
        let person = |x: usize, y: usize| (5..11).contains(&x) && y > 1 || y > 6;
        let pixel = |n: usize| if person(n % 16, n / 16) { [150, 110, 90] } else { screen };
        (0..144).flat_map(pixel).collect()
    }

    #[test]
    fn screens_are_known_by_what_surrounds_the_person() {
        let green = vec![report(&thumbnail([40, 160, 60])); 40];
        assert_eq!(Screen::of(&green), Some(Screen::Green));
        assert_eq!(Screen::of(&vec![report(&thumbnail([30, 60, 170])); 40]), Some(Screen::Blue));
        for wall in [[120, 120, 120], [150, 160, 140], [20, 30, 25], [200, 90, 60]] {
            assert_eq!(Screen::of(&vec![report(&thumbnail(wall)); 40]), None, "{wall:?}");
        }
        // Half of the film only.
        let mixed: Vec<Report> = green.into_iter().chain(vec![report(&thumbnail([120; 3])); 40]).collect();
        assert_eq!(Screen::of(&mixed), None);
        assert_eq!(Screen::of(&[]), None);
    }

    #[test]
    fn the_edge_of_a_person_is_not_taken_for_the_screen() {
        let there: Vec<bool> = (0..200).map(|n| (n % 20 != 9) && n != 130).collect();
        let inside = well_inside(there, 20, 2);
        let row = |y: usize| {
            inside[20 * y..20 * (y + 1)].iter().map(|one| if *one { '#' } else { '.' }).collect::<String>()
        };
        assert_eq!(row(0), "#######.....########");
        assert_eq!(row(6), "#######......#######");
        assert_eq!(row(9), row(0));
    }

    #[test]
    fn the_person_is_opaque_and_the_screen_is_not() {
        let empty = RgbImage::from_pixel(40, 20, Rgb([40, 160, 60]));
        let mut picture = empty.clone();
        // Brighter at one place: nobody lights a screen evenly.
        picture.put_pixel(2, 2, Rgb([45, 185, 70]));
        for (x, y) in (10..40).flat_map(|x| (0..20).map(move |y| (x, y))) {
            picture.put_pixel(x, y, Rgb([180, 140, 120]));
        }
        let mask = mask(&picture, &empty, Screen::Green);
        assert_eq!((mask.get_pixel(2, 2).0, mask.get_pixel(30, 10).0), ([0], [255]));
        let edge = mask.get_pixel(10, 10).0[0];
        assert!((60..250).contains(&edge), "{edge}");
    }
}
