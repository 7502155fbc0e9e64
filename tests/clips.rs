// SPDX-License-Identifier: MPL-2.0
//! Clips by property, signal and event, on a turned clock and as fast as it goes. Each clip has a colour of its own, so that the first
//! pixel of a picture tells which is shown: idle is red, listening green, a nod blue and a smile grey.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::time::{Duration, Instant};

use common::gst::pipeline;
use common::studio::{FRAME, SECOND, Studio, collect};
use common::{copy_folder, fixture, root};
use gst::prelude::*;
use image::{Rgb, RgbImage};

const MONO_16K: &str = "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";

/// Brightness of the frames of a clip: it tells one from the next.
const LEVELS: std::ops::RangeInclusive<u8> = 100..=109;

/// The clips, and in which of red, green and blue their frames are bright.
const CLIPS: [(&str, [bool; 3]); 4] = [
    ("idle", [true, false, false]),
    ("listening", [false, true, false]),
    ("nod", [false, false, true]),
    ("smile", [true, true, true]),
];

/// An avatar with clips, in a folder of its own.
fn avatar() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    copy_folder(&fixture("avatars/own_160"), folder.path());
    std::fs::remove_dir_all(at("frames")).unwrap();
    for (name, bright) in CLIPS {
        let name = if name == "idle" { "frames" } else { name };
        std::fs::create_dir_all(at(name)).unwrap();
        for (n, level) in LEVELS.enumerate() {
            let pixel = Rgb(bright.map(|bright| if bright { level } else { 0 }));
            RgbImage::from_pixel(240, 180, pixel).save(at(&format!("{name}/{n}.png"))).unwrap();
        }
    }
    let manifest = std::fs::read_to_string(at("avatar.toml")).unwrap();
    let manifest = manifest.replace("crops = \"crops.csv\"", "crop = [40, 4, 164, 164]\nat_rest = true");
    let clip = |name: &str, keys: &str| {
        format!("[clips.{name}]\nframes = \"{name}\"\ncrop = [40, 4, 164, 164]\n{keys}\n")
    };
    let clips = clip("listening", "use = \"listening\"\nplay = \"loop\"")
        + &clip("nod", "")
        + &clip("smile", "mouth = \"own\"");
    std::fs::write(at("avatar.toml"), format!("{manifest}\n{clips}")).unwrap();
    folder
}

fn property(avatar: &Path) -> String {
    format!("avatar={} n-threads=2", avatar.display())
}

type Pixel = [u8; 3];

/// The first pixels of the pictures that came out.
fn pixels(studio: &Studio) -> Vec<Pixel> {
    studio.pictures().iter().map(|picture| [picture[0], picture[1], picture[2]]).collect()
}

/// The clip that a picture belongs to; `None` between two.
fn clip(pixel: &Pixel) -> Option<&'static str> {
    let level = *pixel.iter().max().unwrap();
    let is_of = |bright: [bool; 3]| *pixel == bright.map(|bright| if bright { level } else { 0 });
    CLIPS.iter().find(|(_, bright)| LEVELS.contains(&level) && is_of(*bright)).map(|(name, _)| *name)
}

/// Which clips are seen, in their order.
fn clips(pixels: &[Pixel]) -> Vec<&'static str> {
    let mut names: Vec<&str> = pixels.iter().filter_map(clip).collect();
    names.dedup();
    names
}

/// The largest change of a channel from one picture to the next.
fn largest_change(pixels: &[Pixel]) -> u8 {
    let change = |pair: &[Pixel]| pair[0].iter().zip(pair[1]).map(|(a, b)| a.abs_diff(b)).max().unwrap();
    pixels.windows(2).map(change).max().unwrap()
}

#[test]
fn the_presenter_listens_nods_and_is_idle_again() {
    let avatar = avatar();
    let mut studio = Studio::new(&property(avatar.path()), MONO_16K);
    studio.run_until(SECOND);
    studio.element.set_property_from_str("state", "listening");
    studio.run_until(4 * SECOND);
    studio.element.emit_by_name::<()>("play-clip", &[&"nod"]);
    studio.run_until(7 * SECOND);
    studio.element.set_property_from_str("state", "thinking");
    studio.run_until(10 * SECOND);
    assert_eq!(clips(&pixels(&studio)), ["idle", "listening", "nod", "listening", "idle"]);
    assert_eq!(studio.complaints(), [""; 0]);
    // On the way one fades into the other, in several pictures.
    let most = largest_change(&pixels(&studio));
    assert!(most <= 20, "{most}: {:?}", pixels(&studio));
}

#[test]
fn names_that_are_not_there_are_warnings_with_those_that_are() {
    let avatar = avatar();
    let mut studio = Studio::new(&format!("{} clip=wave", property(avatar.path())), MONO_16K);
    studio.run_until(SECOND);
    studio.element.emit_by_name::<()>("play-clip", &[&"dance"]);
    studio.run_until(2 * SECOND);
    let told = studio.wait_for_complaints(2);
    assert_eq!(told.len(), 2, "{told:?}");
    for (told, name) in told.iter().zip(["wave", "dance"]) {
        let words = format!("has no clip \"{name}\". It has idle, listening, nod, smile");
        assert!(told.contains(&words), "{told}");
    }
    assert_eq!(clips(&pixels(&studio)), ["idle"]);
    // It is there under another name.
    studio.element.set_property("clip", "listening");
    studio.run_until(5 * SECOND);
    studio.element.set_property("clip", "");
    studio.run_until(8 * SECOND);
    assert_eq!(clips(&pixels(&studio)), ["idle", "listening", "idle"]);
}

#[test]
fn it_nods_while_it_speaks_and_an_interruption_in_a_join_does_no_harm() {
    let avatar = avatar();
    let mut studio = Studio::new(&property(avatar.path()), MONO_16K);
    studio.say(&[9000; 5 * 16_000]);
    studio.run_until(2 * SECOND);
    studio.element.emit_by_name::<()>("play-clip", &[&"nod"]);
    studio.run_until(3 * SECOND + FRAME);
    studio.element.emit_by_name::<()>("play-clip", &[&"smile"]);
    studio.run_until(3 * SECOND + 10 * FRAME);
    let _: gst::Structure = studio.element.emit_by_name("interrupt", &[]);
    studio.run_until(6 * SECOND);
    assert_eq!(clips(&pixels(&studio)), ["idle", "nod", "idle", "smile", "idle"]);
    let numbers = studio.frames();
    assert!(numbers >= 5 * 25, "{numbers}");
    assert_eq!(studio.speeches().len(), 2);
}

#[test]
fn another_avatar_takes_over_in_the_midst_of_a_gesture() {
    let (first, second) = (avatar(), avatar());
    let mut studio = Studio::new(&property(first.path()), MONO_16K);
    studio.run_until(SECOND);
    studio.element.emit_by_name::<()>("play-clip", &[&"nod"]);
    studio.run_until(SECOND + 12 * FRAME);
    studio.element.set_property_from_str("state", "listening");
    studio.element.set_property("avatar", second.path().to_str().unwrap());
    // It loads as long as it takes; a hang is a failure.
    let start = Instant::now();
    while studio.told(&["lipsync-avatar-changed"]).is_empty() && start.elapsed() < Duration::from_secs(60) {
        let now = studio.now;
        studio.run_until(now + FRAME);
    }
    assert_eq!(studio.told(&["lipsync-avatar-changed"]).len(), 1);
    // The state is known to the new one from its first frame on.
    studio.element.emit_by_name::<()>("play-clip", &[&"smile"]);
    let now = studio.now;
    studio.run_until(now + 3 * SECOND);
    assert!(clips(&pixels(&studio)).ends_with(&["listening", "smile", "listening"]), "{:?}", pixels(&studio));
}

#[test]
fn presenters_of_one_avatar_have_clips_of_their_own() {
    let avatar = avatar();
    let [mut nods, mut listens] = [(); 2].map(|()| Studio::new(&property(avatar.path()), MONO_16K));
    nods.element.emit_by_name::<()>("play-clip", &[&"nod"]);
    listens.element.set_property_from_str("state", "listening");
    for time in 1..6 {
        nods.run_until(time * SECOND);
        listens.run_until(time * SECOND);
    }
    assert_eq!(clips(&pixels(&nods)), ["idle", "nod", "idle"]);
    assert_eq!(clips(&pixels(&listens)), ["listening"]);
}

#[test]
fn a_clip_on_every_frame_for_ten_seconds() {
    let avatar = avatar();
    let mut studio = Studio::new(&property(avatar.path()), MONO_16K);
    for n in 0..250 {
        // No period that a join might have.
        let clip = ["nod", "listening", "smile", "idle"][(n * n + n / 7) as usize % 4];
        if n % 2 == 0 {
            studio.element.emit_by_name::<()>("play-clip", &[&clip]);
        } else {
            studio.element.set_property("clip", clip);
        }
        studio.run_until((n + 1) * FRAME);
    }
    studio.run_until(11 * SECOND);
    let pixels = pixels(&studio);
    assert!(largest_change(&pixels) <= 20, "{pixels:?}");
    assert!(clips(&pixels).len() > 5, "{pixels:?}");
}

/// The first pixels of what `lipsync` makes of two seconds of sound, with an event behind so many samples.
fn with_event(avatar: &Path, samples: usize) -> Vec<Pixel> {
    let pipeline = pipeline(&format!(
        "appsrc name=in format=time caps={MONO_16K} ! lipsync {} ! video/x-raw,format=RGB \
         ! appsink name=out sync=false",
        property(avatar)
    ));
    let received = collect(&pipeline, "out");
    let input: gst_app::AppSrc = pipeline.by_name("in").unwrap().downcast().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let push = |samples: usize| {
        let bytes: Vec<u8> = (0..samples).flat_map(|n| ((n % 80 * 100) as i16).to_ne_bytes()).collect();
        input.push_buffer(gst::Buffer::from_slice(bytes)).unwrap();
    };
    push(samples);
    let event = gst::Structure::builder("lipsync-clip").field("clip", "nod").build();
    assert!(input.send_event(gst::event::CustomDownstream::new(event)));
    push(32_000 - samples);
    input.end_of_stream().unwrap();
    let bus = pipeline.bus().unwrap();
    let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
    let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds).unwrap();
    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
    pipeline.set_state(gst::State::Null).unwrap();
    let received = received.lock().unwrap();
    let pixel =
        |sample: &gst::Sample| sample.buffer().unwrap().map_readable().unwrap()[..3].try_into().unwrap();
    received.iter().map(pixel).collect()
}

#[test]
fn an_event_in_the_sound_plays_a_clip_in_step_with_it() {
    let avatar = avatar();
    for frame in [5, 20, 30] {
        let pixels = with_event(avatar.path(), frame * 640);
        assert_eq!(pixels.len(), 50);
        let left = pixels.iter().position(|pixel| clip(pixel) != Some("idle")).unwrap();
        assert_eq!(left, frame, "{pixels:?}");
        assert_eq!(clips(&pixels)[..2], ["idle", "nod"]);
    }
}

#[test]
fn on_air_an_event_waits_for_the_sound_before_it() {
    let avatar = avatar();
    let mut studio = Studio::new(&property(avatar.path()), MONO_16K);
    studio.run_until(SECOND);
    studio.say(&[9000; 16_000]);
    let event = gst::Structure::builder("lipsync-clip").field("clip", "nod").build();
    assert!(studio.input.send_event(gst::event::CustomDownstream::new(event)));
    studio.say(&[9000; 16_000]);
    studio.run_until(6 * SECOND);
    let pixels = pixels(&studio);
    let first_sample = studio.sound().iter().position(|sample| *sample != 0).unwrap();
    let begins = (first_sample + 16_000).div_ceil(640);
    let left = pixels.iter().position(|pixel| clip(pixel) != Some("idle")).unwrap();
    assert_eq!(left, begins, "{pixels:?}");
    assert_eq!(clips(&pixels), ["idle", "nod", "idle"]);
}

/// What `lipsync` shows while Iris speaks the sample recording, as a number for each frame.
fn sample_frames(emphasis: f64) -> Vec<u64> {
    let pipeline = pipeline(&format!(
        "filesrc location={}/examples/sample.wav ! wavparse ! lipsync emphasis={emphasis} ! appsink name=out sync=false",
        root().display()
    ));
    let sink: gst_app::AppSink = pipeline.by_name("out").unwrap().downcast().unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let frames = std::iter::from_fn(|| sink.pull_sample().ok());
    let number = |sample: gst::Sample| {
        let mut hasher = DefaultHasher::new();
        sample.buffer().unwrap().map_readable().unwrap().hash(&mut hasher);
        hasher.finish()
    };
    let frames = frames.map(number).collect();
    pipeline.set_state(gst::State::Null).unwrap();
    frames
}

#[test]
fn stressed_words_are_underlined() {
    let [plain, lively] = [0.0, 1.0].map(sample_frames);
    assert_eq!(plain.len(), lively.len());
    let changed = plain.iter().zip(&lively).filter(|(plain, lively)| plain != lively).count();
    assert!(changed > 10, "{changed} of {} frames", plain.len());
}
