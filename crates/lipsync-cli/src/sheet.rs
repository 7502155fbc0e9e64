// SPDX-License-Identifier: MPL-2.0
//! The contact sheet: frames with the part that is repainted, and the network's input for them.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use font8x8::UnicodeFonts;
use image::imageops::{self, FilterType};
use image::{Rgb, RgbImage};
use lipsync_core::avatar::Avatar;
use lipsync_core::avatar::frames::FrameStore;
use lipsync_core::avatar::matte::Mattes;
use lipsync_core::generator::face::{Framing, Style};
use lipsync_core::picture::formats::{Canvas, Packed, PixelFormat};
use lipsync_core::picture::geometry::Rect;
use lipsync_core::picture::image_file;

/// Frames on a sheet, and in a row of it.
const FRAMES: usize = 12;
const COLUMNS: usize = 4;

/// Width of a frame on the sheet, and its maximum height; side of a view of the network's input; gap between
/// items.
const WIDTH: u32 = 400;
const MAX_HEIGHT: u32 = 2 * WIDTH;
const VIEW: u32 = WIDTH / 2;
const GAP: u32 = 8;

const BACKGROUND: Rgb<u8> = Rgb([24, 24, 24]);
const FACE: Rgb<u8> = Rgb([0, 220, 0]);
const MOUTH: Rgb<u8> = Rgb([240, 40, 40]);
const LANDMARK: Rgb<u8> = Rgb([255, 220, 0]);
const TEXT: Rgb<u8> = Rgb([255, 255, 255]);

/// Input size of networks that are trained with SyncTalk_2D's script for faces of 328 pixels.
const DEFAULT_NETWORK_SIDE: u32 = 320;

/// Fails where the sheet's extension is not .png, or its folder does not exist.
pub fn check_name(path: &Path) -> Result<()> {
    let ending = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    if !ending.is_empty() && ending != "png" {
        bail!("{}: a sheet is a PNG file. Give it a name that ends in .png", path.display());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder.filter(|folder| !folder.is_dir()) {
        Some(folder) => bail!("{}: no such folder. Make it first", folder.display()),
        None if path.is_dir() => bail!("{}: is a folder. Give the name of a file", path.display()),
        None => Ok(()),
    }
}

/// Draws frames from the whole avatar and writes the sheet as PNG. Without a framing, that of SyncTalk_2D is
/// drawn.
pub fn draw(avatar: &Avatar, framing: Option<Framing>, path: &Path) -> Result<()> {
    let framing = framing.unwrap_or_else(|| Framing::new(DEFAULT_NETWORK_SIDE, Style::SyncTalk, avatar.face));
    let (picture_width, picture_height) = size_on_sheet(avatar.image.size);
    let shown = avatar.frames.len().min(FRAMES);
    let columns = shown.min(COLUMNS) as u32;
    let rows = shown.div_ceil(COLUMNS) as u32;
    let (across, down) = (WIDTH + GAP, picture_height + VIEW + GAP);
    let mut sheet = RgbImage::from_pixel(columns * across + GAP, rows * down + GAP, BACKGROUND);
    let canvas = Canvas {
        format: PixelFormat::Packed(Packed { bytes: 3, order: [0, 1, 2], alpha: None }),
        background: Some([128; 3]),
    };
    let mattes = Mattes::new(avatar, canvas);
    let store = FrameStore::new(Arc::new(avatar.clone()), canvas, framing, 0);
    for place in 0..shown {
        // Evenly spaced, including the first and the last.
        let index = place * (avatar.frames.len() - 1) / (shown - 1).max(1);
        let x = GAP + (place % COLUMNS) as u32 * across;
        let y = GAP + (place / COLUMNS) as u32 * down;
        let at = Rect { x, y, width: picture_width, height: picture_height };
        if draw_frame(&mut sheet, avatar, framing, &mattes, index, at) {
            draw_views(&mut sheet, &store, index, at);
            draw_landmarks(&mut sheet, avatar, framing, index, at);
        }
    }
    sheet
        .save_with_format(path, image::ImageFormat::Png)
        .with_context(|| format!("{}: the sheet cannot be written", path.display()))
}

/// The size on the sheet of a frame of that size.
fn size_on_sheet((width, height): (u32, u32)) -> (u32, u32) {
    let (width, height) = (u64::from(width.max(1)), u64::from(height.max(1)));
    let (across, most) = (u64::from(WIDTH), u64::from(MAX_HEIGHT));
    let (shown_width, shown_height) = match across * height / width {
        shown if shown <= most => (across, shown),
        _ => (most * width / height, most),
    };
    (shown_width.max(1) as u32, shown_height.max(1) as u32)
}

/// The scale of a frame of that size on the sheet.
fn scale((width, height): (u32, u32), at: Rect) -> f64 {
    let (shown, whole) = if at.width == WIDTH { (at.width, width) } else { (at.height, height) };
    f64::from(shown) / f64::from(whole.max(1))
}

/// Draws a frame with its rectangles; false where it cannot be read.
fn draw_frame(
    sheet: &mut RgbImage,
    avatar: &Avatar,
    framing: Framing,
    mattes: &Mattes,
    index: usize,
    at: Rect,
) -> bool {
    let frame = &avatar.frames[index];
    let name = frame.picture.file_name().unwrap_or_default().to_string_lossy();
    // The report has the details of what is wrong with a file.
    let Ok(mut picture) = image_file::read(&frame.picture) else {
        draw_text(sheet, &format!("{name}: unreadable"), at.x + 4, at.y + 4);
        return false;
    };
    if let Ok(Some(matte)) = mattes.of(frame, picture.alpha.take()) {
        matte.finish(&mut picture.colours);
    }
    let small = imageops::resize(&picture.colours, at.width, at.height, FilterType::Triangle);
    imageops::replace(sheet, &small, at.x.into(), at.y.into());
    let scale = scale(avatar.image.size, at);
    if let Some(face) = frame.face.within(avatar.image.size) {
        let whole = [face.x, face.y, face.width, face.height].map(f64::from);
        outline(sheet, at, whole.map(|v| v * scale), FACE);
        outline(sheet, at, mouth(whole, framing).map(|v| v * scale), MOUTH);
    }
    draw_text(sheet, &name, at.x + 4, at.y + 4);
    true
}

/// Draws the network's input for a frame below it.
fn draw_views(sheet: &mut RgbImage, store: &FrameStore, index: usize, at: Rect) {
    let Ok(decoded) = store.get(index) else {
        draw_text(sheet, "the network's input cannot be made", at.x + 4, at.y + at.height + 4);
        return;
    };
    let (framing, views) = (store.framing(), &decoded.seen.views);
    for (n, view) in [framing.face(views), framing.masked(views)].into_iter().enumerate() {
        let view = imageops::resize(&view, VIEW, VIEW, FilterType::Triangle);
        imageops::replace(sheet, &view, (at.x + n as u32 * VIEW).into(), (at.y + at.height).into());
    }
}

/// Draws the landmarks of a frame, where there are some: into the frame, and larger into the face below it.
fn draw_landmarks(sheet: &mut RgbImage, avatar: &Avatar, framing: Framing, index: usize, at: Rect) {
    let frame = &avatar.frames[index];
    let Some((points, face)) = avatar.landmarks(frame).zip(frame.face.within(avatar.image.size)) else {
        return;
    };
    let view = Rect { x: at.x, y: at.y + at.height, width: VIEW, height: VIEW };
    let scale = scale(avatar.image.size, at);
    let (crop, network, border) = (framing.crop(), framing.network, framing.border);
    // From frame coordinates to the view of the network's input.
    let to_view = |at: f64, start: u32, side: u32| {
        let in_crop = (at - f64::from(start)) * f64::from(crop) / f64::from(side);
        (in_crop - f64::from(border)) * f64::from(view.width) / f64::from(network)
    };
    for (x, y) in points.into_iter().map(|(x, y)| (x as f64, y as f64)) {
        dot(sheet, at, [x * scale, y * scale], 1);
        dot(sheet, view, [to_view(x, face.x, face.width), to_view(y, face.y, face.height)], 2);
    }
}

/// Draws a square dot, if it lies inside that part of the sheet.
fn dot(sheet: &mut RgbImage, part: Rect, [x, y]: [f64; 2], side: u32) {
    let inside = |at: f64, length: u32| at >= 0.0 && at + f64::from(side) <= f64::from(length);
    if !inside(x, part.width) || !inside(y, part.height) {
        return;
    }
    for (dx, dy) in (0..side * side).map(|n| (n % side, n / side)) {
        sheet.put_pixel(part.x + x as u32 + dx, part.y + y as u32 + dy, LANDMARK);
    }
}

/// The masked part of a face rectangle, in frame coordinates.
fn mouth([x, y, width, height]: [f64; 4], framing: Framing) -> [f64; 4] {
    let crop = f64::from(framing.crop());
    let mask = framing.mask();
    let (across, down) = (width / crop, height / crop);
    [
        x + f64::from(mask.x + framing.border) * across,
        y + f64::from(mask.y + framing.border) * down,
        f64::from(mask.width) * across,
        f64::from(mask.height) * down,
    ]
}

/// Draws the outline of a rectangle, two pixels wide, in a part of the sheet.
fn outline(sheet: &mut RgbImage, part: Rect, [x, y, width, height]: [f64; 4], colour: Rgb<u8>) {
    let (left, top) = (x.round() as u32, y.round() as u32);
    let (right, bottom) = ((x + width).round() as u32, (y + height).round() as u32);
    for row in top..bottom.min(part.height) {
        for column in left..right.min(part.width) {
            let edge = row < top + 2 || row + 2 >= bottom || column < left + 2 || column + 2 >= right;
            if edge {
                sheet.put_pixel(part.x + column, part.y + row, colour);
            }
        }
    }
}

/// Draws text with a dark outline, at twice the size of its font.
fn draw_text(sheet: &mut RgbImage, text: &str, x: u32, y: u32) {
    for (colour, offsets) in [(BACKGROUND, &[(1, 1), (3, 1), (1, 3), (3, 3)][..]), (TEXT, &[(2, 2)])] {
        for &(dx, dy) in offsets {
            for (n, letter) in text.chars().enumerate() {
                let Some(lines) = font8x8::BASIC_FONTS.get(letter) else { continue };
                for (row, line) in lines.iter().enumerate() {
                    for column in (0..8).filter(|bit| line >> bit & 1 == 1) {
                        let place = (x + dx + 2 * (8 * n as u32 + column), y + dy + 2 * row as u32);
                        put_block(sheet, place, colour);
                    }
                }
            }
        }
    }
}

fn put_block(sheet: &mut RgbImage, (x, y): (u32, u32), colour: Rgb<u8>) {
    for (dx, dy) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        if let Some(pixel) = sheet.get_pixel_mut_checked(x + dx, y + dy) {
            *pixel = colour;
        }
    }
}
