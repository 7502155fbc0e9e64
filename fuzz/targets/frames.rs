// SPDX-License-Identifier: MPL-2.0
//! Frames of odd sizes with faces anywhere in them, from their files to a picture with a painted mouth, in every format.

#![no_main]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use fuzz::folder;
use image::RgbImage;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::{Corpus, fuzz_target};
use lipsync_core::avatar::Avatar;
use lipsync_core::avatar::frames::FrameStore;
use lipsync_core::generator::face::{Framing, Style, decode_output};
use lipsync_core::picture::formats::{Canvas, Matrix, Packed, Picture, PixelFormat, Range, YuvCoding};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| folder::temporary().keep());

fuzz_target!(|input: &[u8]| -> Corpus {
    match show(&mut Unstructured::new(input)) {
        Ok(()) => Corpus::Keep,
        Err(_) => Corpus::Reject,
    }
});

fn show(input: &mut Unstructured<'_>) -> Result<()> {
    let (width, height) = (input.int_in_range(1..=64)?, input.int_in_range(1..=64)?);
    describe(input, width, height)?;
    let Ok(avatar) = Avatar::open(&FOLDER) else { return Ok(()) };
    let side = input.int_in_range(16..=40)?;
    let style = *input.choose(&[Style::SyncTalk, Style::Ultralight, Style::Wav2Lip])?;
    let framing = Framing::new(side, style, avatar.face);
    let background = if input.arbitrary()? { Some(input.arbitrary()?) } else { None };
    let format = format(input)?;
    let store = FrameStore::new(Arc::new(avatar), Canvas { format, background }, framing, 1 << 20);
    let Ok(frame) = store.get(0) else { return Ok(()) };

    let values = 3 * (side * side) as usize;
    let levels: [f32; 4] = input.arbitrary()?;
    let output: Vec<f32> = levels.iter().copied().cycle().take(values).collect();
    let Some(mouth) = decode_output(&output, side) else { return Ok(()) };
    let mouth = store.mouth(&frame, &mouth);
    let mut target = Picture::new(&RgbImage::new(width, height), None, format);
    frame.draw(None, &mut target.as_mut());
    frame.draw(Some(&mouth), &mut target.as_mut());
    Ok(())
}

/// Writes an avatar of one frame, which may be refused.
fn describe(input: &mut Unstructured<'_>, width: u32, height: u32) -> Result<()> {
    let mut keys = String::new();
    let mut files = String::new();
    let level: u8 = input.arbitrary()?;
    let kind = if input.ratio(1, 3)? { "alpha" } else { "" };
    let _ = write!(files, "@@ picture frames/0.png\n{width} {height} {level} {kind}\n");
    let place = |input: &mut Unstructured<'_>, side: u32| -> Result<i64> {
        Ok(if input.ratio(1, 10)? { input.arbitrary()? } else { input.int_in_range(0..=side.into())? })
    };
    let (x, y) = (place(input, width)?, place(input, height)?);
    let _ = writeln!(keys, "crop = [{x}, {y}, {}, {}]", place(input, 2 * width)?, place(input, 2 * height)?);
    for (name, kind) in [("alpha", "grey"), ("parsing", "")] {
        if input.ratio(1, 3)? {
            let level: u8 = *input.choose(&[0, 1, 128, 255])?;
            let _ = writeln!(keys, "{name} = \"{name}\"");
            let _ = write!(files, "@@ picture {name}/0.png\n{width} {height} {level} {kind}\n");
        }
    }
    if input.ratio(1, 4)? {
        let _ = writeln!(keys, "background = \"room.png\"");
        let _ = write!(files, "@@ picture room.png\n{width} {height} 9\n");
    }
    let paste = input.choose(&["", "paste = \"inner\"", "paste = \"full\""])?;
    let border: u32 = if input.ratio(1, 8)? { input.arbitrary()? } else { input.int_in_range(0..=20)? };
    let text = format!(
        "{files}@@ text generator.onnx\n@@ text avatar.toml\nformat = 1\ntitle = \"\"\nlicense = \"\"\nfps = 25\n\
         frames = \"frames\"\n{keys}[models]\ngenerator = \"generator.onnx\"\n[face]\nborder = {border}\n{paste}\n"
    );
    folder::write(&FOLDER, text.as_bytes());
    Ok(())
}

fn format(input: &mut Unstructured<'_>) -> Result<PixelFormat> {
    let coding = YuvCoding {
        matrix: *input.choose(&[Matrix::Bt601, Matrix::Bt709])?,
        range: *input.choose(&[Range::Limited, Range::Full])?,
    };
    Ok(match input.int_in_range(0..=5)? {
        0 => PixelFormat::I420(coding),
        1 => PixelFormat::A420(coding),
        2 => PixelFormat::Nv12(coding),
        3 => PixelFormat::Packed(Packed { bytes: 3, order: [0, 1, 2], alpha: None }),
        4 => PixelFormat::Packed(Packed { bytes: 4, order: [2, 1, 0], alpha: None }),
        _ => PixelFormat::Packed(Packed { bytes: 4, order: [1, 2, 3], alpha: Some(0) }),
    })
}
