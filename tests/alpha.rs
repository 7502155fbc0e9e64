// SPDX-License-Identifier: MPL-2.0
//! Avatars with an alpha channel or with masks in pipelines: alpha where downstream takes it, a background where it
//! does not.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::gst::{bytes, frames, sound};
use common::{array, compare, copy_folder, fixture};
use ndarray::{Array4, Axis};

/// A launch line from the speech to frames of the avatar with alpha; `then` comes between it and the sink.
fn line(properties: &str, then: &str) -> String {
    line_of(&fixture("avatars/alpha"), properties, then)
}

/// The same of any avatar.
fn line_of(avatar: &Path, properties: &str, then: &str) -> String {
    format!(
        "{} ! lipsync avatar={} {properties} ! {then} ! appsink name=out sync=false",
        sound("speech"),
        avatar.display()
    )
}

fn format(sample: &gst::Sample) -> String {
    sample.caps().unwrap().structure(0).unwrap().get::<String>("format").unwrap()
}

/// The golden frames, blue, green, red, alpha.
fn golden() -> Array4<u8> {
    array("clips/alpha")
}

#[test]
fn every_format_with_alpha_shows_the_same() {
    let golden = golden();
    for name in ["RGBA", "BGRA", "ARGB", "ABGR"] {
        let caps = format!("video/x-raw,format={name} ! videoconvert ! video/x-raw,format=BGRA");
        let frames = frames(&line("", &caps));
        assert_eq!(frames.len(), golden.dim().0, "{name}");
        let shown: Vec<u8> = frames.iter().flat_map(bytes).collect();
        let difference = compare(&shown, golden.iter());
        assert!(difference.worst <= 1 && difference.mean < 0.001, "{name}: {difference:?}");
    }
}

#[test]
fn planar_alpha_is_what_comes_where_nobody_asks() {
    let golden = golden();
    let frames = frames(&line("", "identity"));
    assert_eq!(format(&frames[0]), "A420");
    let (count, height, width, _) = golden.dim();
    for n in [0, count / 2, count - 1] {
        // Even sizes, so that the planes follow each other without gaps.
        let alpha = bytes(&frames[n]).split_off(width * height * 3 / 2);
        let frame = golden.index_axis(Axis(0), n);
        assert!(alpha.iter().eq(frame.index_axis(Axis(2), 3)), "frame {n}");
    }
}

#[test]
fn formats_without_alpha_show_the_background() {
    let over: Array4<u8> = array("clips/alpha_over");
    for caps in ["video/x-raw,format=BGR", "video/x-raw,format=BGRx ! videoconvert ! video/x-raw,format=BGR"]
    {
        let frames = frames(&line("background-color=0xff204060", caps));
        let shown: Vec<u8> = frames.iter().flat_map(bytes).collect();
        let difference = compare(&shown, over.iter());
        assert!(difference.worst <= 1 && difference.mean < 0.001, "{caps}: {difference:?}");
    }
    // Without a colour it is black.
    let shown = |properties| -> Vec<u8> {
        frames(&line(properties, "video/x-raw,format=BGR")).iter().flat_map(bytes).collect()
    };
    let default = shown("");
    for (pixel, golden) in default.chunks_exact(3).zip(golden().lanes(Axis(3))) {
        assert!(golden[3] > 0 || pixel == [0; 3], "{pixel:?}");
    }
    for properties in ["background-color=0xff000000", "background-color=0x00204060"] {
        assert!(shown(properties) == default, "{properties}");
    }
    // An encoder gets what it takes.
    let frames = frames(&line("background-color=0xff204060", "video/x-raw,format=I420"));
    assert_eq!(frames.len(), over.dim().0);
}

#[test]
fn compositor_lays_her_over_anything() {
    let golden = golden();
    let (_, height, width, _) = golden.dim();
    // Over plain red.
    let mix = format!(
        "compositor name=mix sink_1::zorder=2 ! video/x-raw,format=BGRA,width={width},height={height} ! appsink name=out \
         sync=false videotestsrc num-buffers=20 pattern=solid-color foreground-color=0xffff0000 \
         ! video/x-raw,width={width},height={height},framerate=25/1 ! mix.sink_0"
    );
    let line = line("", "mix.sink_1").replace(" ! appsink name=out sync=false", "");
    let frames = frames(&format!("{mix} {line}"));
    let shown = bytes(&frames[10]);
    let (mut clear, mut solid) = (0, 0);
    for y in 0..height {
        for x in 0..width {
            let pixel = &shown[(y * width + x) * 4..][..3];
            let wanted: [u8; 4] = std::array::from_fn(|channel| golden[[10, y, x, channel]]);
            let near = |wanted: [u8; 3]| pixel.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) <= 12);
            match wanted[3] {
                0 => {
                    clear += 1;
                    assert!(near([0, 0, 255]), "{pixel:?} at {x}, {y}");
                }
                // Halved colour planes blur edges of colour, so only most pixels must be hers.
                255 => solid += i64::from(near([wanted[0], wanted[1], wanted[2]])) * 2 - 1,
                _ => {}
            }
        }
    }
    assert!(clear > 1000 && solid > 1000, "{clear} clear, {solid} solid");
}

#[test]
fn masks_change_nothing_where_nobody_wants_alpha() {
    let masks = fixture("avatars/masks");
    let plain = tempfile::tempdir().unwrap();
    copy_folder(&masks, plain.path());
    let manifest = std::fs::read_to_string(masks.join("avatar.toml")).unwrap();
    let manifest = manifest.replace("alpha = \"alpha\"\nbackground = \"background.png\"\n", "");
    assert!(!manifest.contains("alpha"), "{manifest}");
    std::fs::write(plain.path().join("avatar.toml"), manifest).unwrap();
    for caps in ["video/x-raw,format=I420", "video/x-raw,format=NV12", "video/x-raw,format=RGB"] {
        let shown = |avatar: &Path| frames(&line_of(avatar, "", caps)).iter().map(bytes).collect::<Vec<_>>();
        assert!(shown(&masks) == shown(plain.path()), "{caps}");
    }
    // Alpha is theirs who ask for it.
    assert_eq!(format(&frames(&line_of(&masks, "", "identity"))[0]), "I420");
}

#[test]
fn masks_are_the_alpha_and_edges_are_free_of_the_background() {
    let masks = fixture("avatars/masks");
    let golden: Array4<u8> = array("clips/masks");
    let (count, height, width, _) = golden.dim();
    let planar = frames(&line_of(&masks, "", "video/x-raw,format=A420"));
    let packed = frames(&line_of(&masks, "", "video/x-raw,format=BGRA"));
    assert_eq!((planar.len(), packed.len()), (count, count));
    for (n, (planar, packed)) in planar.iter().zip(&packed).enumerate() {
        let golden = golden.index_axis(Axis(0), n);
        let alpha = bytes(planar).split_off(width * height * 3 / 2);
        assert!(alpha.iter().eq(golden.index_axis(Axis(2), 3)), "frame {n}");
        let difference = compare(&bytes(packed), golden.iter());
        // A level of difference is divided by alpha, 16 of 255 at least.
        assert!(difference.mean < 0.001 && difference.worst <= 16, "frame {n}: {difference:?}");
    }
}

#[test]
fn a_colour_takes_the_place_of_the_background() {
    let masks = fixture("avatars/masks");
    let over: Array4<u8> = array("clips/masks_over");
    let shown = frames(&line_of(&masks, "background-color=0xff204060", "video/x-raw,format=BGR"));
    let shown: Vec<u8> = shown.iter().flat_map(bytes).collect();
    let difference = compare(&shown, over.iter());
    assert!(difference.worst <= 2 && difference.mean < 0.001, "{difference:?}");
    let alpha: Array4<u8> = array("clips/masks");
    let (mut clear, colour) = (0, [0x60, 0x40, 0x20]);
    for (shown, pixel) in shown.chunks_exact(3).zip(alpha.lanes(Axis(3))) {
        clear += usize::from(pixel[3] == 0);
        assert!(pixel[3] > 0 || shown == colour, "{shown:?}");
    }
    assert!(clear > 1000, "{clear}");
}
