// SPDX-License-Identifier: MPL-2.0
//! What goes wrong on air: the show goes on with what it has, says so once, and recovers when the cause is gone.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::time::Instant;

use common::fixture;
use common::gst::{bytes, pipeline, play, sound};
use common::harm::{FullDisk, Shortage, Victim};
use common::studio::{FRAME, SECOND, Studio};
use gst::prelude::*;
use lipsync_core::avatar::frames::{FrameStore, Shot};
use lipsync_core::features::Context;
use lipsync_core::inference::runtime::Engine;
use lipsync_core::picture::formats::{Canvas, PixelFormat, YuvCoding};
use lipsync_core::render::painter::{MouthRequest, Painter};

const MONO_16K: &str = "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";
/// Frames are read anew each time they are shown, and one worker paints them.
const PLAIN: &str = "cache-size=0 n-threads=1 lookahead=92500000";

fn speech() -> Vec<i16> {
    let mut reader = hound::WavReader::open(fixture("audio/speech.wav")).unwrap();
    reader.samples::<i16>().map(Result::unwrap).collect()
}

/// A presenter of that avatar.
fn on_air(avatar: &str) -> Studio {
    Studio::new(&format!("{PLAIN} avatar={avatar}"), MONO_16K)
}

fn count(studio: &Studio, name: &str) -> u64 {
    studio.element.property::<gst::Structure>("stats").get(name).unwrap()
}

/// Pictures that came out from that one on, each counted once: many of them where the mouth moves.
fn different(studio: &Studio, from: usize) -> usize {
    let pictures: std::collections::HashSet<Vec<u8>> = studio.pictures().into_iter().skip(from).collect();
    pictures.len()
}

/// Plays on for that long; returns how many pictures were shown once more.
fn repeated_in(studio: &mut Studio, time: u64) -> u64 {
    let before = count(studio, "repeated");
    studio.run_until(studio.now + time);
    count(studio, "repeated") - before
}

fn size_of_last(studio: &Studio) -> usize {
    studio.video.lock().unwrap().last().unwrap().buffer().unwrap().size()
}

/// Plays on until something is so: loading takes its own time.
fn play_until(studio: &mut Studio, what: &str, mut done: impl FnMut(&mut Studio) -> bool) {
    let start = Instant::now();
    while !done(studio) {
        assert!(start.elapsed().as_secs() < 40, "no {what}: {:?}", studio.complaints());
        studio.run_until(studio.now + FRAME);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
}

/// Sets the avatar and plays on until it is the one that is seen, of another size than the one before.
fn goes_over_to(studio: &mut Studio, avatar: &str) {
    let before = size_of_last(studio);
    studio.element.set_property("avatar", avatar);
    play_until(studio, "change of the avatar", |studio| size_of_last(studio) != before);
}

/// Sets the avatar and plays on until it is refused; returns the only warning.
fn is_refused(studio: &mut Studio, avatar: &str) -> String {
    let playing: String = studio.element.property("avatar");
    studio.element.set_property("avatar", avatar);
    play_until(studio, "refusal", |studio| studio.element.property::<String>("avatar") == playing);
    play_until(studio, "warning", |studio| !studio.complaints().is_empty());
    let complaints = studio.complaints();
    studio.forget_messages();
    assert!(complaints.len() == 1 && complaints[0].contains("goes on"), "{complaints:?}");
    assert!(complaints[0].contains(avatar), "{complaints:?}");
    complaints[0].clone()
}

/// The only thing that was said since the last time.
#[track_caller]
fn only_complaint(studio: &mut Studio) -> String {
    play_until(studio, "warning", |studio| !studio.complaints().is_empty());
    let complaints = studio.complaints();
    assert_eq!(complaints.len(), 1, "{complaints:#?}");
    studio.forget_messages();
    complaints[0].clone()
}

#[track_caller]
fn no_complaint(studio: &mut Studio) {
    assert_eq!(studio.complaints(), [""; 0]);
}

#[test]
fn an_avatar_with_a_broken_frame_shows_what_it_has() {
    let broken = Victim::new("own_160");
    broken.truncate("frames/2.webp");
    let mut studio = on_air(fixture("avatars/own").to_str().unwrap());
    studio.run_until(SECOND);
    goes_over_to(&mut studio, &broken.name());
    // It comes twice in its loop of six.
    let repeated = repeated_in(&mut studio, 30 * 6 * FRAME);
    assert!((28..=62).contains(&repeated), "{repeated}");
    let complaint = only_complaint(&mut studio);
    assert!(complaint.contains("2.webp") && complaint.contains("once more"), "{complaint}");
    broken.repair();
    studio.run_until(studio.now + SECOND);
    assert_eq!(repeated_in(&mut studio, 2 * SECOND), 0);
    no_complaint(&mut studio);
    studio.assert_gapless();
}

#[test]
fn a_folder_that_goes_and_comes_back() {
    let victim = Victim::new("own_160");
    let mut studio = on_air(&victim.name());
    studio.run_until(SECOND);
    victim.delete();
    let repeated = repeated_in(&mut studio, 60 * SECOND);
    // The one read last is still there, and comes twice in its loop of six at most.
    assert!(repeated >= 990, "{repeated}");
    // All of its frames are gone for one reason.
    let complaint = only_complaint(&mut studio);
    assert!(complaint.contains(".webp: no such file"), "{complaint}");
    victim.repair();
    studio.run_until(studio.now + SECOND);
    assert_eq!(repeated_in(&mut studio, 90 * SECOND), 0);
    no_complaint(&mut studio);
    // What was told so long ago is told again, and so is something else.
    victim.delete();
    studio.run_until(studio.now + 12 * SECOND);
    assert!(only_complaint(&mut studio).contains("no such file"));
    victim.repair();
    (0..4).for_each(|n| victim.truncate(&format!("frames/{n}.webp")));
    studio.run_until(studio.now + 12 * SECOND);
    let complaint = only_complaint(&mut studio);
    assert!(complaint.contains(".webp") && !complaint.contains("no such file"), "{complaint}");
    studio.assert_gapless();
}

#[test]
fn downstream_asks_for_another_format_while_no_frame_can_be_read() {
    let victim = Victim::new("own_160");
    let mut studio = on_air(&victim.name());
    studio.run_until(SECOND);
    victim.delete();
    studio.run_until(2 * SECOND);
    let filter = studio.pipeline.by_name("filter").unwrap();
    filter.set_property("caps", "video/x-raw,format=BGRx".parse::<gst::Caps>().unwrap());
    play_until(&mut studio, "frame in the other format", |studio| size_of_last(studio) == 320 * 240 * 4);
    studio.run_until(studio.now + SECOND);
    // The picture is that of before, as far as it can be told.
    let pictures = studio.pictures();
    let last = pictures.last().unwrap();
    let before = pictures.iter().rfind(|picture| picture.len() == 320 * 240 * 3).unwrap();
    let worst = last
        .chunks(4)
        .zip(before.chunks(3))
        .flat_map(|(new, old)| (0..3).map(move |i| new[2 - i].abs_diff(old[i])));
    assert!(worst.max().unwrap() <= 2);
    victim.repair();
    studio.run_until(studio.now + SECOND);
    assert_eq!(repeated_in(&mut studio, SECOND), 0);
    assert!(only_complaint(&mut studio).contains("no such file"));
}

#[test]
fn a_network_that_fails_in_speech_is_no_end() {
    let failing = Victim::with_model("own_160", "generator.onnx", "generator_160_nan_in_speech");
    let mut studio = on_air(fixture("avatars/own").to_str().unwrap());
    studio.run_until(SECOND);
    // It is speaking when the network takes over, so that not one picture has been painted.
    let said: Vec<i16> = speech().iter().copied().cycle().take(20 * 16_000).collect();
    studio.say_now(&said);
    studio.run_until(2 * SECOND);
    goes_over_to(&mut studio, &failing.name());
    studio.run_until(studio.now + 2 * SECOND);
    let complaint = only_complaint(&mut studio);
    assert!(complaint.contains("generator.onnx") && complaint.contains("not numbers"), "{complaint}");
    studio.interrupt();
    studio.run_until(studio.now + SECOND);
    assert_eq!(repeated_in(&mut studio, 2 * SECOND), 0, "silence can be painted");
    // The next word is not told again.
    studio.say_now(&said[..32_000]);
    assert!(repeated_in(&mut studio, 4 * SECOND) > 10);
    no_complaint(&mut studio);
    goes_over_to(&mut studio, fixture("avatars/own").to_str().unwrap());
    studio.say_now(&said[..32_000]);
    studio.run_until(studio.now + SECOND);
    assert_eq!(repeated_in(&mut studio, 2 * SECOND), 0);
    no_complaint(&mut studio);
}

#[test]
fn an_encoder_that_fails_is_no_end() {
    let failing = Victim::with_model("own_160", "audio_encoder.onnx", "encoder_fails_when_loud");
    let mut studio = on_air(fixture("avatars/own").to_str().unwrap());
    studio.run_until(SECOND);
    goes_over_to(&mut studio, &failing.name());
    studio.run_until(studio.now + SECOND);
    no_complaint(&mut studio);
    let said = speech();
    studio.say_now(&said);
    studio.run_until(studio.now + 6 * SECOND);
    let complaint = only_complaint(&mut studio);
    assert!(complaint.contains("audio_encoder.onnx") && complaint.contains("rest"), "{complaint}");
    assert!(studio.sound().windows(said.len()).any(|part| part == said), "the sound is heard");
    goes_over_to(&mut studio, fixture("avatars/own").to_str().unwrap());
    studio.say_now(&said);
    let before = studio.video.lock().unwrap().len();
    studio.run_until(studio.now + 4 * SECOND);
    assert!(different(&studio, before) > 30, "it speaks");
    no_complaint(&mut studio);
}

#[test]
fn an_avatar_is_tried_out_as_it_will_be_shown() {
    let broken = Victim::new("masks");
    broken.truncate("alpha/0.png");
    // The mask matters where something else is behind the avatar.
    let playing = fixture("avatars/own_160");
    let line = format!("{PLAIN} background-color=0xff00ff00 avatar={}", playing.display());
    let mut studio = Studio::new(&line, MONO_16K);
    studio.run_until(SECOND);
    let complaint = is_refused(&mut studio, &broken.name());
    assert!(complaint.contains("alpha/0.png"), "{complaint}");
    studio.assert_gapless();
}

#[test]
fn descriptors_are_short() {
    let (victim, other) = (Victim::new("own_160"), fixture("avatars/own"));
    let mut studio = on_air(&victim.name());
    studio.run_until(SECOND);
    let shortage = Shortage::of_descriptors();
    studio.element.set_property("avatar", other.to_str().unwrap());
    play_until(&mut studio, "refusal", |studio| victim.is(&studio.element.property::<String>("avatar")));
    assert!(repeated_in(&mut studio, 2 * SECOND) > 30);
    play_until(&mut studio, "warnings", |studio| studio.complaints().len() > 1);
    let complaints = studio.complaints();
    studio.forget_messages();
    assert_eq!(complaints.len(), 2, "{complaints:?}");
    assert!(complaints.iter().all(|complaint| complaint.contains("Too many open files")), "{complaints:?}");
    assert!(complaints.iter().any(|complaint| complaint.contains(".webp")), "{complaints:?}");
    drop(shortage);
    studio.run_until(studio.now + SECOND);
    assert_eq!(repeated_in(&mut studio, SECOND), 0);
    studio.assert_gapless();
    goes_over_to(&mut studio, other.to_str().unwrap());
    no_complaint(&mut studio);
}

#[test]
fn the_disk_is_full() {
    let disk = FullDisk::new();
    // SAFETY: each test runs in a process of its own under nextest, and no other thread exists yet.
    unsafe {
        std::env::set_var("XDG_CACHE_HOME", disk.path());
        std::env::set_var("TMPDIR", disk.path());
    }
    let mut studio = on_air(fixture("avatars/own_160").to_str().unwrap());
    studio.run_until(SECOND);
    goes_over_to(&mut studio, fixture("avatars/own_int8").to_str().unwrap());
    studio.say_now(&speech());
    let before = studio.video.lock().unwrap().len();
    studio.run_until(studio.now + 4 * SECOND);
    assert!(different(&studio, before) > 30, "it speaks");
    no_complaint(&mut studio);
    studio.assert_gapless();
    assert!(disk.is_empty());
}

#[test]
fn the_file_of_onnx_runtime_is_replaced_and_removed() {
    let folder = tempfile::tempdir().unwrap();
    let library = folder.path().join("libonnxruntime.so.1");
    let original = std::env::var_os("ORT_DYLIB_PATH").unwrap();
    std::fs::copy(&original, &library).unwrap();
    // SAFETY: each test runs in a process of its own under nextest, and no other thread exists yet.
    unsafe { std::env::set_var("ORT_DYLIB_PATH", &library) };
    let (small, large) = (fixture("avatars/own_160"), fixture("avatars/own"));
    let mut studio = on_air(small.to_str().unwrap());
    studio.run_until(SECOND);
    // As a package manager does it.
    let other = folder.path().join("new");
    std::fs::write(&other, b"another version").unwrap();
    std::fs::rename(&other, &library).unwrap();
    goes_over_to(&mut studio, large.to_str().unwrap());
    std::fs::remove_file(&library).unwrap();
    goes_over_to(&mut studio, small.to_str().unwrap());
    studio.say_now(&speech());
    let before = studio.video.lock().unwrap().len();
    studio.run_until(studio.now + 4 * SECOND);
    assert!(different(&studio, before) > 30, "it speaks");
    no_complaint(&mut studio);
    studio.assert_gapless();
}

#[test]
fn memory_is_short() {
    let (playing, other) = (fixture("avatars/own_160"), fixture("avatars/own"));
    let mut studio = on_air(playing.to_str().unwrap());
    studio.run_until(SECOND);
    studio.say_now(&speech());
    studio.run_until(2 * SECOND);
    for megabytes in [16, 32, 64, 128] {
        let shortage = Shortage::of_memory(megabytes << 20);
        let complaint = is_refused(&mut studio, other.to_str().unwrap());
        assert!(complaint.contains("memory"), "{complaint}");
        studio.say_now(&speech());
        for _ in 0..5 {
            assert_eq!(repeated_in(&mut studio, SECOND), 0);
            // What the test keeps is memory, too.
            studio.assert_gapless();
            studio.take();
        }
        drop(shortage);
    }
    studio.run_until(studio.now + SECOND);
    goes_over_to(&mut studio, other.to_str().unwrap());
    no_complaint(&mut studio);
}

/// What panics there is real: no listener makes such a context.
#[test]
fn a_worker_panics() {
    let playing = common::avatar("own_160");
    let mut studio = on_air(playing.folder.to_str().unwrap());
    studio.run_until(SECOND);
    // Another painter of the same network, whose worker it shares.
    let painter = Painter::open(&playing, &Engine::default(), 1).unwrap();
    let canvas = Canvas { format: PixelFormat::I420(YuvCoding::BT709), background: None };
    let frames = Arc::new(FrameStore::new(playing.into(), canvas, painter.framing(), 0));
    for _ in 0..3 {
        let asked = painter.submit(&frames, &Shot::still(0), MouthRequest::Speech(Context::zeros(3)));
        let error = asked.wait().err().unwrap().to_string();
        assert!(error.contains("generator.onnx: a panic"), "{error}");
        studio.say_now(&speech());
        let before = studio.video.lock().unwrap().len();
        assert_eq!(repeated_in(&mut studio, 4 * SECOND), 0);
        assert!(different(&studio, before) > 30, "it speaks");
    }
    no_complaint(&mut studio);
    studio.assert_gapless();
}

#[test]
fn the_clock_goes_ahead_or_stands_still() {
    let mut studio = on_air(fixture("avatars/own_160").to_str().unwrap());
    studio.run_until(SECOND);
    for step in [FRAME, SECOND / 2, 3 * SECOND / 2] {
        studio.step_to(studio.now + step);
        studio.run_until(studio.now + SECOND);
        // As it does where it is set back, for a clock of GStreamer does not run backwards.
        (0..100).for_each(|_| studio.step_to(studio.now));
    }
    studio.assert_gapless();
    let (frames, before) = (studio.frames(), studio.now);
    studio.leap(10 * SECOND);
    studio.run_until(studio.now + SECOND);
    let received = studio.video.lock().unwrap();
    let places: Vec<(u64, bool)> = (received.iter().map(|sample| sample.buffer().unwrap()))
        .map(|buffer| (buffer.pts().unwrap().nseconds(), buffer.flags().contains(gst::BufferFlags::DISCONT)))
        .collect();
    assert!(places.iter().all(|(time, _)| time % FRAME == 0));
    let holes: Vec<_> = places.windows(2).filter(|pair| pair[1].0 != pair[0].0 + FRAME).collect();
    assert_eq!(holes.len(), 1, "{holes:?}");
    assert!(holes[0][1].1 && holes[0][0].0 <= before && holes[0][1].0 > before, "{holes:?}");
    assert!(received.len() as u64 > frames + 25);
}

/// Frames of a pipeline with `lipsync` that ends with an error, and the error.
fn frames_before_the_error(avatar: &Victim, speech: &str) -> (Vec<Vec<u8>>, String) {
    let line = format!(
        "{} ! lipsync n-threads=2 avatar={} ! video/x-raw,format=RGB ! appsink name=out sync=false",
        sound(speech),
        avatar.name()
    );
    let ended = play(&pipeline(&line));
    assert_eq!(ended.errors.len(), 1, "{:?}", ended.errors);
    let times: Vec<u64> =
        (ended.samples.iter()).map(|sample| sample.buffer().unwrap().pts().unwrap().nseconds()).collect();
    assert!(times.iter().enumerate().all(|(n, time)| *time == n as u64 * FRAME), "{times:?}");
    (ended.samples.iter().map(bytes).collect(), ended.errors[0].clone())
}

/// Offline there is no show that must go on: one error, behind all that came before it.
#[test]
fn offline_the_frames_before_a_broken_one_come_out() {
    let broken = Victim::new("own_160");
    broken.truncate("frames/3.webp");
    let (frames, error) = frames_before_the_error(&broken, "speech");
    assert_eq!(frames.len(), 3);
    assert!(error.contains("3.webp"), "{error}");
}

#[test]
fn offline_the_frames_before_a_network_fails_come_out() {
    for model in ["generator_160_nan_in_speech", "generator_160_batch4_nan_in_speech"] {
        let failing = Victim::with_model("own_160", "generator.onnx", model);
        let line = |avatar: &str| {
            format!(
                "audiotestsrc samplesperbuffer=1600 num-buffers=31 wave=silence ! audio/x-raw,rate=16000,channels=1 ! c. \
                 {} ! audio/x-raw,rate=16000,channels=1 ! c. concat name=c ! lipsync n-threads=2 avatar={avatar} \
                 ! video/x-raw,format=RGB ! appsink name=out sync=false",
                sound("speech")
            )
        };
        let whole = play(&pipeline(&line(fixture("avatars/own_160").to_str().unwrap())));
        assert_eq!(whole.errors, [""; 0]);
        let ended = play(&pipeline(&line(&failing.name())));
        assert_eq!(ended.errors.len(), 1, "{:?}", ended.errors);
        let error = &ended.errors[0];
        assert!(error.contains("generator.onnx") && error.contains("not numbers"), "{error}");
        // It fails with the first frame that hears a word, and not with others of its batch.
        let failed = ended.samples.len();
        println!("{model}: {failed} of {} frames", whole.samples.len());
        assert!(failed > 50, "{failed}");
        let differ = |n: usize| common::compare(&bytes(&whole.samples[n]), &bytes(&ended.samples[n])).worst;
        assert!((0..failed).all(|n| differ(n) <= 1));
    }
}
