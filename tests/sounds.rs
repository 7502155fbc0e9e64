// SPDX-License-Identifier: MPL-2.0
//! Sound as people have it: files of every kind that Debian's decoders read, in either layout, with pictures or without.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

use common::gst::{avatar, bytes, frames, init, pipeline, sound};
use common::{compare, fixture};
use gst::prelude::*;

/// Frames of the speech: ceil(52877 / 16000 * 25).
const FRAMES: usize = 83;

/// Kinds of file, and how ffmpeg makes them of the speech.
const FILES: [(&str, &[&str]); 15] = [
    ("speech.mp3", &["-c:a", "libmp3lame"]),
    ("cover.mp3", &["-c:a", "libmp3lame", "-c:v", "png", "-frames:v", "1", "-disposition:v", "attached_pic"]),
    ("speech.m4a", &["-c:a", "aac"]),
    ("lossless.m4a", &["-c:a", "alac"]),
    ("sound.mp4", &["-c:a", "aac"]),
    ("film.mp4", &["-c:a", "aac", "-c:v", "libx264"]),
    ("film.mov", &["-c:a", "pcm_s16le", "-c:v", "libx264"]),
    ("film.mkv", &["-c:a", "ac3", "-c:v", "libx264"]),
    ("film.webm", &["-c:a", "libopus", "-c:v", "libvpx", "-deadline", "realtime"]),
    ("speech.ogg", &["-c:a", "libvorbis"]),
    ("speech.opus", &["-c:a", "libopus"]),
    ("speech.flac", &["-c:a", "flac"]),
    ("speech.wma", &["-c:a", "wmav2"]),
    ("speech.aiff", &["-c:a", "pcm_s16be"]),
    ("surround.wav", &["-c:a", "pcm_s24le", "-ac", "6"]),
];

/// Makes a file of the speech, with a picture track where the arguments have a codec for it.
fn make(folder: &Path, name: &str, arguments: &[&str]) -> PathBuf {
    let path = folder.join(name);
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-i"]).arg(fixture("audio/speech.wav"));
    if arguments.contains(&"-c:v") {
        command.args(["-f", "lavfi", "-i", "testsrc=size=64x48:rate=25", "-shortest"]);
    }
    let output = command.args(arguments).arg(&path).output().unwrap();
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    path
}

/// AMR, which Debian's ffmpeg does not write.
fn make_amr(folder: &Path) -> PathBuf {
    let path = folder.join("speech.amr");
    let line = format!(
        "{} ! audioconvert ! audioresample ! amrnbenc ! avmux_amr ! filesink location={}",
        sound("speech"),
        path.display()
    );
    let pipeline = pipeline(&line);
    pipeline.set_state(gst::State::Playing).unwrap();
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), &ends);
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(message.unwrap().type_(), gst::MessageType::Eos);
    path
}

fn uri(path: &Path) -> gst::glib::GString {
    gst::glib::filename_to_uri(path, None).unwrap()
}

/// The frames of the avatar that speaks what a launch line delivers.
fn speak(source: &str) -> Vec<Vec<u8>> {
    let line = format!(
        "{source} ! lipsync {} ! video/x-raw,format=BGR ! appsink name=out sync=false",
        avatar("own_160")
    );
    frames(&line).iter().map(bytes).collect()
}

#[test]
fn every_kind_of_file_is_spoken() {
    init();
    let folder = tempfile::tempdir().unwrap();
    let wanted = speak(&sound("speech"));
    assert_eq!(wanted.len(), FRAMES);
    let difference = |a: &[Vec<u8>], b: &[Vec<u8>]| {
        let count = a.len().min(b.len());
        compare(a[..count].iter().flatten(), b[..count].iter().flatten()).mean
    };
    // What a mouth of the wrong moment would be: the speech against itself, five frames later.
    let wrong = difference(&wanted[5..], &wanted[..FRAMES - 5]);
    let files = FILES.iter().map(|(name, arguments)| make(folder.path(), name, arguments));
    for file in files.chain([make_amr(folder.path())]) {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let source = match name.as_str() {
            // decodebin of GStreamer 1.22 now and then links aiffparse after it has begun, also to fakesink.
            "speech.aiff" => format!("filesrc location={} ! aiffparse", file.display()),
            _ => format!("uridecodebin uri={}", uri(&file)),
        };
        let shown = speak(&source);
        // Codecs work in blocks, of which the last may be filled up.
        assert!((FRAMES - 3..=FRAMES + 4).contains(&shown.len()), "{name}: {} frames", shown.len());
        // Some put samples of their own in front: up to three frames.
        let nearest = (0..4).map(|late| difference(&shown[late..], &wanted)).fold(f64::MAX, f64::min);
        println!("{name}: {} frames, {:.2} of {wrong:.2}", shown.len(), nearest);
        assert!(nearest < 0.75 * wrong, "{name}: {nearest} of {wrong}");
    }
}

#[test]
fn channels_one_behind_the_other_are_heard_as_interleaved_ones() {
    let caps = |layout: &str| {
        format!(
            "{} ! audioconvert ! audio/x-raw,channels=2,format=S16LE,layout={layout}",
            sound("f32_48k_5_1")
        )
    };
    assert!(speak(&caps("non-interleaved")) == speak(&caps("interleaved")));
}

#[test]
fn decoders_of_both_layouts_need_no_converter() {
    init();
    let folder = tempfile::tempdir().unwrap();
    let mp3 = make(folder.path(), "speech.mp3", &["-ac", "2"]);
    let m4a = make(folder.path(), "speech.m4a", &["-ac", "2"]);
    let read =
        |file: &Path, decoder: &str| speak(&format!("filesrc location={} ! {decoder}", file.display()));
    for (file, decoder) in [
        (&mp3, "mpegaudioparse ! avdec_mp3"),
        (&mp3, "mpegaudioparse ! avdec_mp3float"),
        (&mp3, "mpegaudioparse ! mpg123audiodec"),
        (&m4a, "qtdemux ! avdec_aac"),
    ] {
        let frames = read(file, decoder).len();
        assert!((FRAMES - 3..=FRAMES + 4).contains(&frames), "{decoder}: {frames} frames");
    }
}

#[test]
fn a_presenter_takes_both_layouts_and_gives_what_it_took() {
    init();
    let folder = tempfile::tempdir().unwrap();
    for (name, arguments) in [FILES[0], FILES[5]] {
        let file = make(folder.path(), name, arguments);
        let line = format!(
            "uridecodebin uri={} ! ls.sink lipsyncsrc name=ls num-buffers=50 {} ls.src ! fakesink \
             ls.audio ! fakesink name=sound signal-handoffs=true",
            uri(&file),
            avatar("own_160")
        );
        let pipeline = pipeline(&line);
        let loud = std::sync::Arc::new(AtomicUsize::new(0));
        let counted = loud.clone();
        pipeline.by_name("sound").unwrap().connect("handoff", false, move |values| {
            let buffer = values[1].get::<gst::Buffer>().unwrap();
            let pad = values[2].get::<gst::Pad>().unwrap();
            let caps = pad.current_caps().unwrap();
            assert_eq!(caps.structure(0).unwrap().get::<&str>("layout"), Ok("interleaved"));
            let heard = buffer.map_readable().unwrap().iter().any(|byte| *byte != 0);
            counted.fetch_add(usize::from(heard), Ordering::SeqCst);
            None
        });
        pipeline.set_state(gst::State::Playing).unwrap();
        let ends = [gst::MessageType::Eos, gst::MessageType::Error];
        let message = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), &ends);
        pipeline.set_state(gst::State::Null).unwrap();
        assert_eq!(message.unwrap().type_(), gst::MessageType::Eos, "{name}");
        assert!(loud.load(Ordering::SeqCst) > 10, "{name}");
    }
}

#[test]
fn a_file_that_nobody_has_parsed_is_refused_with_the_remedy() {
    let line = format!(
        "filesrc location={} ! lipsync {} ! appsink name=out sync=false",
        fixture("audio/speech.wav").display(),
        avatar("own_160")
    );
    let ended = common::gst::play(&pipeline(&line));
    assert_eq!(ended.errors.len(), 1, "{:?}", ended.errors);
    assert!(
        ended.errors[0].contains("wavparse") && ended.errors[0].contains("decodebin"),
        "{:?}",
        ended.errors
    );
}
