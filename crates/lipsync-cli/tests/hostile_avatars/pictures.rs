// SPDX-License-Identifier: MPL-2.0
//! Pictures that say that they are larger than any may be, that are broken, or as large as they may be.

use super::common::{fixture, plugin_folder};
use super::place::{Place, play, run, save};
use super::tool::path;

/// A PNG with a header, other chunks and nothing in it.
fn png(width: u32, height: u32, colour: u8, chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
    let mut header = [width.to_be_bytes(), height.to_be_bytes()].concat();
    header.extend([8, colour, 0, 0, 0]);
    let mut file = b"\x89PNG\r\n\x1a\n".to_vec();
    for (name, data) in [(b"IHDR", header.as_slice())].iter().chain(chunks).chain(&[(b"IEND", &[][..])]) {
        file.extend((data.len() as u32).to_be_bytes());
        let start = file.len();
        file.extend_from_slice(*name);
        file.extend_from_slice(data);
        let sum = crc32(&file[start..]);
        file.extend(sum.to_be_bytes());
    }
    file
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(
            sum ^ u32::from(*byte),
            |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 },
        )
    })
}

/// 16 lines of 16 bytes for a PNG, stored as they are.
fn lines() -> Vec<u8> {
    let raw = [[0].as_slice(), &[255; 16]].concat().repeat(16);
    let (a, b) = raw.iter().fold((1u32, 0u32), |(a, b), byte| {
        let a = (a + u32::from(*byte)) % 65_521;
        (a, (b + a) % 65_521)
    });
    let length = raw.len() as u16;
    let mut stream = vec![0x78, 1, 1];
    stream.extend(length.to_le_bytes());
    stream.extend((!length).to_le_bytes());
    stream.extend(raw);
    stream.extend((b << 16 | a).to_be_bytes());
    stream
}

/// A JPEG that says that it is of that size.
fn jpeg(width: u16, height: u16) -> Vec<u8> {
    let mut bytes = std::fs::read(fixture("avatars/own_jpg/frames/0.jpg")).unwrap();
    let start = bytes.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    bytes[start + 5..start + 7].copy_from_slice(&height.to_be_bytes());
    bytes[start + 7..start + 9].copy_from_slice(&width.to_be_bytes());
    bytes
}

/// A lossless WebP that says that it is of that size.
fn webp(width: u32, height: u32) -> Vec<u8> {
    let size = (width - 1) | (height - 1) << 14;
    let data = [&[0x2f][..], &size.to_le_bytes(), &[0; 11]].concat();
    let chunk = [b"WEBPVP8L", &(data.len() as u32).to_le_bytes()[..], &data].concat();
    [b"RIFF", &(chunk.len() as u32).to_le_bytes()[..], &chunk].concat()
}

/// Checks that an avatar with such a picture as its first frame, which tells the size of all, or as its last, is refused by
/// `check`, and in a pipeline. Each picture is its file name extension, the bytes, and what is said of it.
fn assert_pictures_are_refused(pictures: &[(&str, Vec<u8>, &str)]) {
    let (place, home, plugin) = (Place::new(), tempfile::tempdir().unwrap(), plugin_folder(true));
    for (n, (ending, picture, words)) in pictures.iter().enumerate() {
        for (place, frame) in [
            (place.plain(&format!("first{n}"), (64, 48), [4, 4, 40, 40]), 0),
            (place.plain(&format!("last{n}"), (64, 48), [4, 4, 40, 40]), 2),
        ] {
            std::fs::remove_file(place.join(format!("frames/{frame}.png"))).unwrap();
            let name = format!("frames/{frame}.{ending}");
            std::fs::write(place.join(&name), picture).unwrap();
            let words = [name.as_str(), words];
            let told =
                run(home.path(), &["check", path(&place), "--sheet", path(&home.path().join("s.png"))])
                    .fails(&words);
            assert!(told.contains("; 1 problem"), "{told}");
            // Of the last frame only a few are met before the sound ends.
            let played = play(plugin.path(), &place);
            assert_ne!(played.code, Some(0), "{}", played.output);
            assert!(words.iter().all(|word| played.output.contains(word)), "{}", played.output);
            assert!(
                !played.output.contains("panicked") && !played.output.contains("generator.onnx"),
                "{}",
                played.output
            );
        }
    }
}

#[test]
fn jpegs_out_of_bounds_are_refused_by_their_headers() {
    assert_pictures_are_refused(&[
        ("jpg", jpeg(65_500, 65_500), "is 65500 x 65500 pixels: a picture may have 8192 on a side"),
        ("jpg", jpeg(8193, 1), "is 8193 x 1 pixels"),
    ]);
}

#[test]
fn pngs_out_of_bounds_are_refused_by_their_headers() {
    assert_pictures_are_refused(&[
        ("png", png(13_000, 13_000, 6, &[(b"IDAT", &lines())]), "is 13000 x 13000 pixels"),
        ("png", png(8000, 8000, 2, &[(b"IDAT", &lines())]), "is 8000 x 8000 pixels"),
    ]);
}

#[test]
fn pngs_of_impossible_sizes_are_refused_by_their_headers() {
    assert_pictures_are_refused(&[
        ("png", png(u32::MAX, u32::MAX, 6, &[]), "is 4294967295 x 4294967295 pixels"),
        ("png", png(0, 7, 6, &[]), "is 0 x 7 pixels"),
    ]);
}

#[test]
fn webps_out_of_bounds_are_refused_by_their_headers() {
    assert_pictures_are_refused(&[("webp", webp(16_383, 16_383), "is 16383 x 16383 pixels")]);
}

#[test]
fn broken_pngs_are_refused() {
    let palette = png(16, 16, 3, &[(b"PLTE", &[7; 686]), (b"IDAT", &lines())]);
    assert_pictures_are_refused(&[
        ("png", palette, "is no readable picture: its palette is not one of up to 256 colours"),
        ("png", png(64, 48, 3, &[(b"IDAT", &lines())]), "is no readable picture: "),
        ("png", b"\x89PNG\r\n\x1a\n".to_vec(), "is no readable picture: its header is cut short"),
    ]);
}

#[test]
fn pictures_that_the_bounds_allow_play() {
    let (place, home, plugin) = (Place::new(), tempfile::tempdir().unwrap(), plugin_folder(true));
    for (n, (size, crop)) in [
        ((64, 33), [4, 32, 40, 40]),
        ((65, 33), [5, 31, 40, 40]),
        ((64, 48), [40, 40, 40, 40]),
        ((1, 1), [0, 0, 1, 1]),
        ((3, 8192), [0, 8191, 3, 3]),
        ((8192, 2), [8191, 0, 9, 9]),
    ]
    .into_iter()
    .enumerate()
    {
        let folder = place.plain(&format!("odd{n}"), size, crop);
        let sheet = home.path().join("sheet.png");
        run(home.path(), &["check", path(&folder), "--sheet", path(&sheet)]).succeeds();
        let (width, height) = image::image_dimensions(&sheet).unwrap();
        assert!(width <= 4 * 408 + 8 && height <= 2000, "{size:?}: {width} x {height}");
        play(plugin.path(), &folder).succeeds();
    }
    // 8K video.
    let folder = place.plain("8k", (1, 1), [3000, 1000, 900, 900]);
    for n in 1..3 {
        std::fs::remove_file(folder.join(format!("frames/{n}.png"))).unwrap();
    }
    save(&folder, "frames/0.png", (7680, 4320));
    run(home.path(), &["check", path(&folder)]).succeeds();
}
