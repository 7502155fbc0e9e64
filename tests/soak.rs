// SPDX-License-Identifier: MPL-2.0
//! Endurance of `lipsyncsrc`: hours, by a clock that the test turns, and minutes in real time. `make soak` runs them;
//! they take too long for every day.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::time::Instant;

use common::studio::{FRAME, Received, SECOND, Studio};
use common::{copy_folder, fixture};
use gst::prelude::*;

const MONO_16K: &str = "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";

/// A number from the environment.
fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().unwrap())
}

/// Kilobytes of memory in use, and threads, of this process.
fn memory_and_threads() -> (u64, u64) {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let value = |key: &str| -> u64 {
        let line = status.lines().find(|line| line.starts_with(key)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    (value("VmRSS:"), value("Threads:"))
}

fn speech() -> Vec<i16> {
    let mut reader = hound::WavReader::open(fixture("audio/speech.wav")).unwrap();
    reader.samples::<i16>().map(Result::unwrap).collect()
}

/// The avatar `own`, its frames taken for ones at rest.
fn at_rest() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&fixture("avatars/own"), folder.path());
    let manifest = folder.path().join("avatar.toml");
    let text = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, text.replace("\n[models]", "\nat_rest = true\n[models]")).unwrap();
    let property = format!("avatar={}", folder.path().display());
    (folder, property)
}

/// Checks pictures and sound as they come out: no hole, no drift.
#[derive(Default)]
struct Checker {
    frames: u64,
    sound_end: u64,
    loud: u64,
}

impl Checker {
    fn check(&mut self, video: &[gst::Sample], audio: &[gst::Sample]) {
        for sample in video {
            let pts = sample.buffer().unwrap().pts().unwrap().nseconds();
            assert_eq!(pts, self.frames * FRAME, "frame {}", self.frames);
            self.frames += 1;
        }
        for sample in audio {
            let buffer = sample.buffer().unwrap();
            assert_eq!(buffer.pts().unwrap().nseconds(), self.sound_end);
            self.sound_end += buffer.duration().unwrap().nseconds();
            let bytes = common::gst::bytes(sample);
            self.loud += bytes.chunks_exact(2).filter(|pair| pair != &[0, 0]).count() as u64;
        }
    }
}

/// Counts of speeches that began and ended; every end must follow its beginning.
fn count_speeches(studio: &mut Studio, open: &mut bool) -> u64 {
    let speeches = studio.speeches();
    for (starts, _) in &speeches {
        assert_ne!(*starts, *open);
        *open = *starts;
    }
    studio.forget_messages();
    speeches.len() as u64
}

#[test]
#[ignore = "a quarter of an hour"]
fn a_day_of_media_time() {
    let hours = number("LIPSYNC_SOAK_HOURS", 24);
    let (_folder, avatar) = at_rest();
    let mut studio = Studio::new(&avatar, MONO_16K);
    let said = speech();
    let spoken = said.iter().filter(|sample| **sample != 0).count() as u64;
    let mut checker = Checker::default();
    let (mut sent, mut messages, mut open) = (0, 0, false);
    let mut first = None;
    let start = Instant::now();
    println!("hour   wall s   memory kB   threads   messages");
    for minute in 0..hours * 60 {
        studio.say(&said);
        sent += 1;
        for second in 1..=60 {
            studio.run_until((minute * 60 + second) * SECOND);
            let (video, audio) = studio.take();
            checker.check(&video, &audio);
        }
        messages += count_speeches(&mut studio, &mut open);
        if (minute + 1) % 60 == 0 {
            let (memory, threads) = memory_and_threads();
            let wall = start.elapsed().as_secs();
            println!("{:4} {wall:8} {memory:11} {threads:9} {messages:10}", (minute + 1) / 60);
            let (first_memory, first_threads) = *first.get_or_insert((memory, threads));
            assert_eq!(threads, first_threads, "threads");
            assert!(
                memory < first_memory + first_memory / 10,
                "{memory} kB, and {first_memory} after an hour"
            );
        }
    }
    assert!(!open);
    assert_eq!(checker.loud, sent * spoken, "every sample that was sent came out, once");
    assert_eq!(studio.complaints(), [""; 0]);
    println!("{} frames without a hole, {messages} messages in pairs", checker.frames);
}

#[test]
#[ignore = "20 minutes"]
fn twenty_minutes_in_real_time() {
    let minutes = number("LIPSYNC_SOAK_MINUTES", 20);
    let (_folder, avatar) = at_rest();
    let pipeline = common::gst::pipeline(&format!(
        "appsrc name=in format=time caps={MONO_16K} ! ls.sink lipsyncsrc name=ls {avatar} \
         ls.src ! appsink name=out sync=true ls.audio ! capsfilter caps={MONO_16K} ! appsink name=sound sync=true"
    ));
    let collect = |name: &str| -> Received { common::studio::collect(&pipeline, name) };
    let (video, audio) = (collect("out"), collect("sound"));
    let input = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    let element = pipeline.by_name("ls").unwrap();
    let bytes: Vec<u8> = speech().iter().flat_map(|sample| sample.to_ne_bytes()).collect();
    pipeline.set_state(gst::State::Playing).unwrap();
    let mut checker = Checker::default();
    let mut first = None;
    let (mut starts, mut ends, mut late) = (0, 0, 0);
    println!("minute   frames   memory kB   threads   starts   ends   late");
    for second in 1..=minutes * 60 {
        if second % 10 == 1 {
            input.push_buffer(gst::Buffer::from_slice(bytes.clone())).unwrap();
        }
        if second % 35 == 0 {
            element.emit_by_name::<gst::Structure>("interrupt", &[]);
        }
        std::thread::sleep(std::time::Duration::from_secs(1));
        let take = |received: &Received| std::mem::take(&mut *received.lock().unwrap());
        let (pictures, sounds) = (take(&video), take(&audio));
        checker.check(&pictures, &sounds);
        drop((pictures, sounds));
        while let Some(message) = pipeline.bus().unwrap().pop() {
            match message.view() {
                gst::MessageView::Error(error) => panic!("{}", error.error()),
                gst::MessageView::Qos(_) => late += 1,
                gst::MessageView::Element(element) => match element.structure().map(|s| s.name().to_string())
                {
                    Some(name) if name == "lipsync-speech-start" => starts += 1,
                    Some(name) if name == "lipsync-speech-end" => ends += 1,
                    _ => {}
                },
                _ => {}
            }
        }
        assert!(starts == ends || starts == ends + 1);
        if second % 60 == 0 {
            let (memory, threads) = memory_and_threads();
            println!(
                "{:6} {:8} {memory:11} {threads:9} {starts:8} {ends:6} {late:6}",
                second / 60,
                checker.frames
            );
            let (first_memory, first_threads) = *first.get_or_insert((memory, threads));
            assert_eq!(threads, first_threads, "threads");
            assert!(memory < first_memory + first_memory / 10, "{memory} kB, and {first_memory} at first");
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
    // What is still under way is a second's worth.
    assert!(checker.frames.abs_diff(minutes * 60 * 25) < 60, "{}", checker.frames);
}

/// The interval between painted frames, every 200 ms, while threads burn the processor for two seconds. To be looked at.
#[test]
#[ignore = "half a minute, on a quiet machine"]
fn a_burst_of_load_in_real_time() {
    let avatar = std::env::var("LIPSYNC_SOAK_AVATAR").unwrap_or_else(|_| "avatar=iris".into());
    common::gst::init();
    let pipeline = common::gst::pipeline(&format!(
        "audiotestsrc is-live=true wave=ticks ! ls.sink lipsyncsrc name=ls n-threads=2 {avatar} ! fakesink sync=false"
    ));
    let element = pipeline.by_name("ls").unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let start = Instant::now();
    let seconds = |time: f64| start + std::time::Duration::from_secs_f64(time);
    let burners: Vec<_> = (0..8 * std::thread::available_parallelism().unwrap().get())
        .map(|_| {
            let (begin, end) = (seconds(5.0), seconds(7.0));
            std::thread::spawn(move || {
                std::thread::sleep(begin - Instant::now());
                while Instant::now() < end {
                    std::hint::spin_loop();
                }
            })
        })
        .collect();
    for step in 1..=100 {
        let time = f64::from(step) / 5.0;
        std::thread::sleep(seconds(time).saturating_duration_since(Instant::now()));
        let stats = element.property::<gst::Structure>("stats");
        let number = |name: &str| stats.get::<u64>(name).unwrap();
        let interval = stats.get::<u32>("inference-interval").unwrap();
        println!(
            "{time:4.1} s  interval {interval:2}  frames {:3}  repeated {:3}",
            number("frames"),
            number("repeated")
        );
    }
    for message in pipeline.bus().unwrap().iter() {
        if let gst::MessageView::Warning(warning) = message.view() {
            println!("{}", warning.error());
        }
    }
    burners.into_iter().for_each(|burner| burner.join().unwrap());
    pipeline.set_state(gst::State::Null).unwrap();
}
