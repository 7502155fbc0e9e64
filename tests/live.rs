// SPDX-License-Identifier: MPL-2.0
//! `lipsyncsrc`, on a clock that the tests turn.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::gst::avatar;
use common::studio::{FRAME, SECOND, Studio};
use common::{fixture, render_on};
use gst::prelude::*;
use lipsync_core::picture::formats::{Canvas, Packed, PixelFormat};
use lipsync_core::rate::FrameRate;

const MONO_16K: &str = "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";

/// The fixtures' speech: 16 kHz mono.
fn speech() -> Vec<i16> {
    let mut reader = hound::WavReader::open(fixture("audio/speech.wav")).unwrap();
    assert_eq!((reader.spec().sample_rate, reader.spec().channels), (16_000, 1));
    reader.samples::<i16>().map(Result::unwrap).collect()
}

/// Where `part` begins in `whole`.
fn find(whole: &[i16], part: &[i16]) -> Option<usize> {
    whole.windows(part.len()).position(|window| window == part)
}

/// What the avatar `own` shows offline of 16 kHz samples, from time 0 on.
fn offline(samples: &[i16]) -> Vec<Vec<u8>> {
    let rgb = PixelFormat::Packed(Packed { bytes: 3, order: [0, 1, 2], alpha: None });
    let floats: Vec<f32> = samples.iter().map(|sample| f32::from(*sample) / 32768.0).collect();
    let canvas = Canvas { format: rgb, background: None };
    render_on(canvas, common::avatar("own"), &floats, 1600, FrameRate::NATIVE)
}

/// Whether two pictures are the same, but for the last digit of a sum.
fn same(a: &[u8], b: &[u8]) -> bool {
    let difference = common::compare(a, b);
    difference.worst <= 1 && difference.mean < 0.001
}

#[test]
fn idles_on_the_grid_of_frames() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    studio.run_until(3 * SECOND);
    studio.assert_gapless();
    assert!(studio.sound().iter().all(|sample| *sample == 0));
    assert_eq!(studio.speeches(), []);
    // The mouth is that of silence: what the offline element shows in the midst of it.
    let pictures = studio.pictures();
    let silence = offline(&[0; 3 * 16_000]);
    assert!(pictures.len() > 50);
    for n in 20..pictures.len() {
        assert!(same(&pictures[n], &silence[n]), "frame {n}");
    }
}

#[test]
fn speaks_what_comes_in_as_the_offline_element_does() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    studio.run_until(SECOND);
    let said = speech();
    studio.say_now(&said);
    studio.run_until(7 * SECOND);
    studio.assert_gapless();
    assert_eq!(studio.complaints(), [""; 0]);

    // The sound is untouched, and begins when it came.
    let sound = studio.sound();
    let start = find(&sound, &said).expect("the speech is in what came out");
    let wait = start as i64 * 62_500 - SECOND as i64;
    assert!((0..=FRAME as i64).contains(&wait), "{wait} ns");

    // The pictures are those of the same sound offline.
    let expected = offline(&sound);
    let pictures = studio.pictures();
    for n in 20..pictures.len().min(expected.len() - 12) {
        assert!(same(&pictures[n], &expected[n]), "frame {n}");
    }

    // Told with the first and the last loud sample.
    let speeches = studio.speeches();
    assert!(speeches.len() >= 2 && speeches.len().is_multiple_of(2), "{speeches:?}");
    assert!(speeches.iter().enumerate().all(|(i, (starts, _))| *starts == (i % 2 == 0)));
    let loud = |sample: &i16| sample.abs() > 200;
    let first = (start + said.iter().position(loud).unwrap()) as u64 * 62_500;
    assert!(speeches[0].1.abs_diff(first) < 20_000_000, "{speeches:?} {first}");
    assert!(!studio.element.property::<bool>("speaking"));
    assert_eq!(studio.element.property::<u64>("backlog"), 0);
}

#[test]
fn silence_that_is_sent_is_no_speech() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    // Noise of -60 dB, then a tone of -40 dB.
    let sound = |amplitude: f32, samples: usize| -> Vec<i16> {
        (0..samples).map(|i| ((i * i % 97) as f32 / 48.0 * amplitude - amplitude) as i16).collect()
    };
    studio.say(&sound(50.0, 3 * 16_000));
    studio.say(&sound(800.0, 16_000));
    studio.run_until(8 * SECOND);
    let speeches = studio.speeches();
    assert_eq!(speeches.len(), 2, "{speeches:?}");
    let start =
        find(&studio.sound(), &sound(50.0, 3 * 16_000)).expect("it goes out all the same") as u64 * 62_500;
    let expected = [(true, start + 3 * SECOND), (false, start + 4 * SECOND)];
    for ((starts, time), expected) in speeches.into_iter().zip(expected) {
        assert!(starts == expected.0 && time.abs_diff(expected.1) < FRAME, "{time} {expected:?}");
    }
    let (pictures, silence) = (studio.pictures(), offline(&[0; 3 * 16_000]));
    for n in 20..60 {
        assert!(same(&pictures[n], &silence[n]), "frame {n}");
    }
}

#[test]
fn an_interruption_silences_it_within_two_frames() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    let said: Vec<i16> = speech().iter().copied().cycle().take(10 * 16_000).collect();
    studio.say(&said);
    studio.run_until(2 * SECOND);
    assert!(studio.element.property::<u64>("backlog") > 7 * SECOND);
    let (frames, sounds) = (studio.video.lock().unwrap().len(), studio.audio.lock().unwrap().len());
    studio.interrupt();
    assert_eq!(studio.element.property::<u64>("backlog"), 0);
    studio.run_until(3 * SECOND);
    let again = speech();
    studio.say_now(&again);
    studio.run_until(8 * SECOND);
    studio.assert_gapless();

    // At the pads: the first frame is closing, from the second on it is closed; of the sound the first piece fades.
    let silence = offline(&vec![0; 4 * 16_000]);
    let pictures = studio.pictures();
    // Later frames already hear what is said at 3 s.
    for n in frames + 1..62 {
        assert!(same(&pictures[n], &silence[n]), "frame {n}");
    }
    let quiet_from = {
        let received = studio.audio.lock().unwrap();
        received[..=sounds].iter().map(|sample| sample.buffer().unwrap().size() / 2).sum::<usize>()
    };
    let sound = studio.sound();
    let start = find(&sound, &again).expect("the new speech is whole");
    assert!(sound[quiet_from..start].iter().all(|sample| *sample == 0));
    assert!(start.abs_diff(3 * 16_000) <= 640, "{start}");

    // Every beginning has its end.
    let speeches = studio.speeches();
    assert!(speeches.len() >= 4, "{speeches:?}");
    assert!(speeches.iter().enumerate().all(|(i, (starts, _))| *starts == (i % 2 == 0)), "{speeches:?}");
    // After it the mouth follows the new sound alone.
    let mut alone = vec![0; start];
    alone.extend(&again);
    let expected = offline(&alone);
    for n in (3 * SECOND / FRAME) as usize..expected.len() - 12 {
        assert!(same(&pictures[n], &expected[n]), "frame {n}");
    }
}

#[test]
fn a_flush_of_the_sound_interrupts_and_what_follows_is_spoken() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    studio.say(&[9000; 10 * 16_000]);
    studio.run_until(2 * SECOND);
    // What was due by now is out or in the pad's hands, and one more piece fades.
    let silent_from = studio.now - studio.latency() + FRAME;
    let pad = studio.input.static_pad("src").unwrap();
    assert!(pad.push_event(gst::event::FlushStart::new()));
    assert!(pad.push_event(gst::event::FlushStop::new(true)));
    assert!(pad.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new())));
    studio.run_until(4 * SECOND);
    let received: Vec<i16> = {
        let received = studio.audio.lock().unwrap();
        let later = |sample: &&gst::Sample| sample.buffer().unwrap().pts().unwrap().nseconds() > silent_from;
        let bytes = received.iter().filter(later).flat_map(common::gst::bytes).collect::<Vec<u8>>();
        bytes.chunks_exact(2).map(|pair| i16::from_ne_bytes([pair[0], pair[1]])).collect()
    };
    assert!(!received.is_empty() && received.iter().all(|sample| *sample == 0));
    studio.assert_gapless();
}

#[test]
fn two_hundred_interruptions_leave_no_speech_open() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    let said = speech();
    let mut random = 1u64;
    for _ in 0..200 {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let length = (random >> 40) as usize % said.len();
        studio.say(&said[..length.max(100)]);
        studio.run_until(studio.now + (random >> 33) % 1_200_000_000);
        studio.interrupt();
    }
    studio.run_until(studio.now + 2 * SECOND);
    studio.assert_gapless();
    let speeches = studio.speeches();
    assert!(speeches.len() > 50, "{}", speeches.len());
    assert!(speeches.iter().enumerate().all(|(i, (starts, _))| *starts == (i % 2 == 0)), "{speeches:?}");
    assert!(!studio.element.property::<bool>("speaking"));
    let silence = offline(&[0; 8 * 16_000]);
    let pictures = studio.pictures();
    // The loop of the avatar's ten frames begins anew after 18.
    assert!(silence[20..].iter().any(|silent| same(silent, pictures.last().unwrap())));
    assert_eq!(studio.complaints(), [""; 0]);
}

#[test]
fn who_sends_too_much_waits() {
    let mut studio = Studio::new(&format!("{} max-backlog={SECOND}", avatar("own")), MONO_16K);
    for piece in [7000i16; 4 * 16_000].chunks(1600) {
        studio.say(piece);
    }
    // Else the time might run away from who sends, which would leave a hole.
    studio.wait_for("full backlog", |studio| studio.element.property::<u64>("backlog") >= SECOND);
    let mut most = 0;
    while studio.now < 6 * SECOND {
        studio.run_until(studio.now + FRAME);
        most = most.max(studio.element.property::<u64>("backlog"));
    }
    assert!((SECOND - FRAME..SECOND + 100_000_000).contains(&most), "{most}");
    assert_eq!(studio.sound().iter().filter(|sample| **sample == 7000).count(), 4 * 16_000);
    assert!(find(&studio.sound(), &[7000; 4 * 16_000]).is_some(), "without a hole");
}

#[test]
fn sound_in_real_time_comes_out_within_the_latency_declared() {
    for lookahead in ["", "lookahead=212500000", "lookahead=100000000"] {
        let mut studio = Studio::new(&format!("{} {lookahead}", avatar("own")), MONO_16K);
        studio.run_until(SECOND);
        // A microphone: 20 ms at a time, a click in one of them.
        for i in 0..100 {
            let mut piece = [0i16; 320];
            piece[0] = if i == 50 { 30_000 } else { 0 };
            piece[1..].fill(if i == 50 { 20_000 } else { 3 });
            let sent = studio.now;
            studio.say_now(&piece);
            studio.run_until(studio.now + 20_000_000);
            if i == 50 {
                studio.run_until(sent + studio.latency() + FRAME);
                let out = find(&studio.sound(), &[30_000]).expect("it is out by now") as u64 * 62_500;
                assert!(out >= sent && out <= sent + FRAME, "{out} {sent}");
                break;
            }
        }
        assert_eq!(studio.complaints(), [""; 0]);
    }
}

#[test]
fn a_shorter_lookahead_shortens_the_latency() {
    let latency = |properties: &str| {
        let mut studio = Studio::new(&format!("{} {properties}", avatar("own")), MONO_16K);
        studio.run_until(FRAME);
        studio.latency()
    };
    let whole = latency("");
    // The lookahead, one frame, the processing latency, and what resampling may take.
    assert!((0..25_000_000).contains(&(whole - (452_500_000 + FRAME + 100_000_000))), "{whole}");
    assert_eq!(whole - latency("lookahead=212500000"), 240_000_000);
    assert_eq!(whole - latency("lookahead=100000000"), 360_000_000);
}

#[test]
fn the_format_of_the_sound_may_change() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    studio.run_until(SECOND);
    studio.say(&[5000; 16_000]);
    studio.run_until(2 * SECOND);
    studio.pipeline.by_name("heard").unwrap().set_property("caps", gst::Caps::new_any());
    let stereo = "audio/x-raw,format=S16LE,rate=48000,channels=2,layout=interleaved,channel-mask=(bitmask)3";
    studio.input.set_caps(Some(&stereo.parse().unwrap()));
    studio.say(&[6000; 2 * 48_000]);
    studio.run_until(5 * SECOND);
    let sound = studio.sound();
    assert!(find(&sound, &[5000; 16_000]).is_some());
    assert!(find(&sound, &[6000; 2 * 48_000]).is_some());
    let rates: Vec<i32> = {
        let received = studio.audio.lock().unwrap();
        let rate = |sample: &gst::Sample| sample.caps().unwrap().structure(0).unwrap().get("rate").unwrap();
        received.iter().map(rate).collect()
    };
    assert!(rates.is_sorted() && rates[0] == 16_000 && rates.last() == Some(&48_000));
    assert_eq!(studio.complaints(), [""; 0]);
}

#[test]
fn another_avatar_takes_over_while_playing() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    studio.run_until(SECOND);
    studio.element.set_property("avatar", "nobody");
    studio.wait_for("warning", |studio| studio.pipeline.bus().unwrap().have_pending());
    studio.run_until(2 * SECOND);
    let complaints = studio.complaints();
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(complaints[0].contains("nobody") && complaints[0].contains("goes on"), "{complaints:?}");

    let before = studio.video.lock().unwrap().len();
    studio.element.set_property("avatar", fixture("avatars/own_160").to_str().unwrap());
    let size = |sample: &gst::Sample| sample.buffer().unwrap().size();
    let old = size(&studio.video.lock().unwrap()[0]);
    while studio.now < 60 * SECOND && size(studio.video.lock().unwrap().last().unwrap()) == old {
        studio.run_until(studio.now + FRAME);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    studio.run_until(studio.now + SECOND);
    studio.assert_gapless();
    let received = studio.video.lock().unwrap();
    let sizes: Vec<usize> = received[before..].iter().map(size).collect();
    assert!(sizes.windows(2).filter(|pair| pair[0] != pair[1]).count() == 1, "once, and whole");
    drop(received);
    assert_eq!(studio.complaints().len(), 1);
}

#[test]
fn a_blocked_picture_does_not_keep_the_sound_waiting() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    studio.run_until(SECOND);
    let pad = studio.element.static_pad("src").unwrap();
    let block = pad
        .add_probe(gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER, |_, _| gst::PadProbeReturn::Ok)
        .unwrap();
    studio.say(&[4000; 8 * 16_000]);
    let (from, frames) = (studio.now, studio.video.lock().unwrap().len());
    while studio.now < from + 6 * SECOND {
        studio.run_on(FRAME);
        let due = (studio.now - studio.latency()) * 16 / 1_000_000 - 1000;
        studio.wait_for("sound", |studio| studio.sound().len() as u64 >= due);
    }
    assert!(studio.video.lock().unwrap().len() <= frames + 1);
    pad.remove_probe(block);
    studio.wait_for("video", |studio| studio.video.lock().unwrap().len() > frames + 20);
    // The oldest were given up, never the newest.
    let times: Vec<u64> = {
        let received = studio.video.lock().unwrap();
        received.iter().map(|sample| sample.buffer().unwrap().pts().unwrap().nseconds()).collect()
    };
    assert!(times.is_sorted() && times[frames + 1] - times[frames] > 2 * SECOND, "{times:?}");
    assert!(studio.element.property::<gst::Structure>("stats").get::<u64>("skipped").unwrap() > 50);
}

#[test]
fn ends_where_it_is_told_to() {
    let mut studio = Studio::new(&format!("{} num-buffers=30", avatar("own")), MONO_16K);
    let eos = |studio: &mut Studio| studio.messages().iter().any(|m| m.type_() == gst::MessageType::Eos);
    studio.most = 30;
    studio.say(&[9000; 5 * 16_000]);
    studio.run_until(4 * SECOND);
    let end = |received: &common::studio::Received| {
        let received = received.lock().unwrap();
        let buffer = received.last().unwrap().buffer().unwrap();
        (buffer.pts().unwrap() + buffer.duration().unwrap()).nseconds()
    };
    studio.wait_for("end of both", |studio| [&studio.video, &studio.audio].map(end) == [30 * FRAME; 2]);
    let start = std::time::Instant::now();
    while !eos(&mut studio) {
        assert!(start.elapsed().as_secs() < 20, "no end");
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    assert_eq!(studio.complaints(), [""; 0]);
    let speeches = studio.speeches();
    assert!(speeches.len() == 2 && speeches[1] == (false, 30 * FRAME), "{speeches:?}");
}

#[test]
fn an_end_sent_to_the_element_ends_it() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    studio.run_until(SECOND);
    assert!(studio.pipeline.send_event(gst::event::Eos::new()));
    studio.run_on(2 * SECOND);
    studio.wait_for("end", |studio| {
        let out = studio.pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
        let sound = studio.pipeline.by_name("sound").unwrap().downcast::<gst_app::AppSink>().unwrap();
        out.is_eos() && sound.is_eos()
    });
}

#[test]
fn pauses_and_starts_again() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    studio.run_until(SECOND);
    studio.pipeline.set_state(gst::State::Paused).unwrap();
    studio.pipeline.set_state(gst::State::Playing).unwrap();
    // Until both sinks have something, neither goes on.
    studio.run_on(4 * FRAME);
    studio.run_until(2 * SECOND);
    studio.assert_gapless();
    for state in [gst::State::Ready, gst::State::Null] {
        studio.pipeline.set_state(state).unwrap();
        studio.video.lock().unwrap().clear();
        studio.pipeline.set_state(gst::State::Playing).unwrap();
        // Running time begins anew while the clock goes on.
        studio.run_on(SECOND);
        studio.wait_for("frames", |studio| studio.video.lock().unwrap().len() > 5);
        let received = studio.video.lock().unwrap();
        assert!(received[0].buffer().unwrap().pts().unwrap().nseconds() < 10 * FRAME);
        drop(received);
    }
    // This clock does not wait for the painter.
    let complaints = studio.complaints();
    assert!(complaints.iter().all(|complaint| complaint.contains("come late")), "{complaints:?}");
}

#[test]
fn speech_ends_with_a_stop_in_its_midst() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    studio.say(&[9000; 10 * 16_000]);
    studio.run_until(2 * SECOND);
    assert!(studio.element.property::<bool>("speaking"));
    studio.pipeline.set_state(gst::State::Ready).unwrap();
    assert!(!studio.element.property::<bool>("speaking"));
    let last = studio.video.lock().unwrap().last().unwrap().buffer().unwrap().pts().unwrap().nseconds();
    let speeches = studio.speeches();
    let [(true, start), (false, end)] = speeches[..] else { panic!("{speeches:?}") };
    assert!(start < end && end == last, "{speeches:?}, the last frame at {last}");
}

#[test]
fn a_producer_may_go_and_another_come() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    studio.say(&[8000; 16_000]);
    studio.run_until(2 * SECOND);
    // It ends, and goes.
    studio.input.end_of_stream().unwrap();
    studio.run_until(3 * SECOND);
    let sink = studio.element.static_pad("sink").unwrap();
    studio.input.set_state(gst::State::Null).unwrap();
    studio.pipeline.remove(&studio.input).unwrap();
    studio.element.release_request_pad(&sink);
    // Another comes while the presenter plays.
    let input = gst::ElementFactory::make("appsrc").build().unwrap().downcast::<gst_app::AppSrc>().unwrap();
    input.set_caps(Some(&MONO_16K.parse().unwrap()));
    input.set_format(gst::Format::Time);
    studio.pipeline.add(&input).unwrap();
    input.link_pads(Some("src"), &studio.element, Some("sink")).unwrap();
    input.sync_state_with_parent().unwrap();
    studio.input = input;
    studio.say(&[-8000; 16_000]);
    studio.run_until(6 * SECOND);
    studio.assert_gapless();
    assert!(find(&studio.sound(), &[8000; 16_000]).is_some());
    assert!(find(&studio.sound(), &[-8000; 16_000]).is_some());
    assert_eq!(studio.complaints(), [""; 0]);
}

#[test]
fn presenters_of_the_same_avatar_share_its_workers() {
    let painting = || {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("comm")).ok());
        names.filter(|name| name.starts_with("lipsync-paint")).count()
    };
    let mut studios: Vec<Studio> =
        (0..3).map(|_| Studio::new(&format!("{} n-threads=2", avatar("own")), MONO_16K)).collect();
    assert_eq!(painting(), 2);
    // Each speaks its own, and an interruption of one is none of the others.
    let said = speech();
    for (i, studio) in studios.iter_mut().enumerate() {
        studio.run_until(SECOND);
        studio.say(&said[..16_000 * (i + 1)]);
    }
    for _ in 0..50 {
        studios[0].interrupt();
        studios.iter_mut().for_each(|studio| studio.run_until(studio.now + FRAME));
    }
    for (i, studio) in studios.iter_mut().enumerate() {
        studio.run_until(6 * SECOND);
        studio.assert_gapless();
        assert_eq!(studio.complaints(), [""; 0]);
        assert_eq!(find(&studio.sound(), &said[..16_000 * (i + 1)]).is_some(), i > 0);
    }
    drop(studios);
    // A thread that has been joined may be listed for a moment longer.
    let start = Instant::now();
    while painting() > 0 && start.elapsed() < Duration::from_secs(20) {
        std::thread::yield_now();
    }
    assert_eq!(painting(), 0);
}

#[test]
fn a_live_source_with_a_fast_clock_does_not_pile_up_sound() {
    let source = "appsrc name=in format=time is-live=true max-bytes=0 max-time=0";
    let mut studio = Studio::with_source(source, &avatar("own"), MONO_16K);
    studio.run_until(SECOND);
    // 20 ms every 19 ms, a second loud and a second silent by turns.
    let mut most = 0;
    for i in 0..2000 {
        studio.say(&[if i / 50 % 2 == 0 { 9000 } else { 0 }; 320]);
        studio.run_until(studio.now + 19_000_000);
        most = most.max(studio.element.property::<u64>("backlog"));
    }
    // 2 s too many were sent in all.
    assert!((200_000_000..400_000_000).contains(&most), "{most}");
    studio.run_until(studio.now + 2 * SECOND);
    studio.assert_gapless();
    let loud = studio.sound().iter().filter(|sample| **sample == 9000).count();
    assert_eq!(loud, 1000 * 320, "no speech is lost");
}
