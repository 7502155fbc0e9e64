// SPDX-License-Identifier: MPL-2.0
//! Random faults on air, on a clock that the test turns: the show goes on, and nothing is left behind.
//!
//! `make faults` runs 200 of them in an hour of media time. `LIPSYNC_FAULTS` says how many (18 seconds each), `LIPSYNC_SEED` which.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::fixture;
use common::harm::{Shortage, Victim, descriptors, memory_in_use, status, threads};
use common::stress::Random;
use common::studio::{FRAME, SECOND, Studio};
use gst::prelude::*;
use lipsync_core::avatar::frames::FrameStore;
use lipsync_core::features::Context;
use lipsync_core::inference::runtime::Engine;
use lipsync_core::picture::formats::{Canvas, PixelFormat, YuvCoding};
use lipsync_core::render::painter::{MouthRequest, Painter};

const MONO_16K: &str = "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";
const PROPERTIES: &str = "cache-size=0 n-threads=1 lookahead=92500000";
/// Media time for each fault.
const TURN: u64 = 18 * SECOND;
/// A clock that goes ahead by less is made good; by more, time is given up.
const MADE_GOOD: u64 = 3 * SECOND / 2;

/// What goes wrong. Those behind `Frames` last for a while; the others are over at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    /// The clock goes ahead by up to a second and a half.
    ClockStep,
    /// The clock goes ahead by 3 to 20 seconds.
    ClockLeap,
    /// The clock stands still, as it does where it is set back.
    ClockStill,
    WorkerPanics,
    Interrupt,
    Flush,
    /// An avatar that is refused.
    Refused,
    /// An avatar that is taken, and fails later.
    TakenAndFails,
    /// An avatar that is as it should be.
    Taken,
    /// Files of the avatar that plays are broken.
    Frames,
    FolderGone,
    Descriptors,
    Disk,
    Memory,
    Runtime,
}

const FAULTS: [Fault; 15] = [
    Fault::ClockStep,
    Fault::ClockLeap,
    Fault::ClockStill,
    Fault::WorkerPanics,
    Fault::Interrupt,
    Fault::Flush,
    Fault::Refused,
    Fault::TakenAndFails,
    Fault::Taken,
    Fault::Frames,
    Fault::FolderGone,
    Fault::Descriptors,
    Fault::Disk,
    Fault::Memory,
    Fault::Runtime,
];

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().unwrap())
}

/// A copy of ONNX Runtime that the process has loaded.
struct Library {
    folder: tempfile::TempDir,
    original: PathBuf,
}

impl Library {
    fn new() -> Self {
        let library = Self {
            folder: tempfile::tempdir().unwrap(),
            original: std::env::var_os("ORT_DYLIB_PATH").unwrap().into(),
        };
        std::fs::copy(&library.original, library.path()).unwrap();
        // SAFETY: each test runs in a process of its own under nextest, and no other thread exists yet.
        unsafe { std::env::set_var("ORT_DYLIB_PATH", library.path()) };
        library
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("libonnxruntime.so.1")
    }

    /// Puts something else in its place, as a package manager does it, or removes it.
    fn harm(&self, replace: bool) {
        let other = self.folder.path().join("other");
        std::fs::write(&other, b"another version").unwrap();
        std::fs::rename(&other, self.path()).unwrap();
        if !replace {
            std::fs::remove_file(self.path()).unwrap();
        }
    }

    fn repair(&self) {
        let other = self.folder.path().join("other");
        std::fs::copy(&self.original, &other).unwrap();
        std::fs::rename(&other, self.path()).unwrap();
    }
}

/// What lasts until it is undone.
enum Harm {
    Frames,
    Runtime,
    Shortage { _limit: Shortage },
    Avatar,
}

/// Looks at all that comes out.
#[derive(Default)]
struct Checker {
    frames: u64,
    /// The next frame, and where the sound ends.
    next: u64,
    sound_end: Option<u64>,
    leaps_seen: u64,
    leaps_heard: u64,
}

impl Checker {
    fn check(&mut self, video: &[gst::Sample], audio: &[gst::Sample]) {
        for sample in video {
            let buffer = sample.buffer().unwrap();
            let pts = buffer.pts().unwrap().nseconds();
            let discont = buffer.flags().contains(gst::BufferFlags::DISCONT);
            assert_eq!(pts % FRAME, 0, "on the grid");
            assert_eq!(buffer.duration().unwrap().nseconds(), FRAME);
            let n = pts / FRAME;
            if n != self.next {
                assert!(n > self.next && discont, "{n} after {}", self.next);
                self.leaps_seen += 1;
            }
            assert_eq!(buffer.size(), 320 * 240 * 3);
            self.next = n + 1;
            self.frames += 1;
        }
        for sample in audio {
            let buffer = sample.buffer().unwrap();
            let pts = buffer.pts().unwrap().nseconds();
            let end = *self.sound_end.get_or_insert(pts);
            if pts != end {
                assert!(pts > end, "{pts} after {end}");
                self.leaps_heard += 1;
            }
            self.sound_end = Some(pts + buffer.duration().unwrap().nseconds());
        }
    }
}

/// A presenter, those that it may become, and what is wrong at the moment.
struct Air {
    studio: Studio,
    random: Random,
    checker: Checker,
    /// Two of the same size, which may come to harm while they play.
    good: [Victim; 2],
    /// Of the same size, too: they are taken, and fail.
    failing: Vec<Victim>,
    refused: Vec<String>,
    _refused: Vec<Victim>,
    library: Library,
    /// Which of the good ones plays, if one does.
    plays: Option<usize>,
    harm: Vec<(Fault, u64, Harm)>,
    leaps: u64,
    counts: BTreeMap<Fault, u64>,
    warnings: BTreeMap<String, u64>,
    said: Vec<i16>,
}

impl Air {
    fn new(seed: u64) -> Self {
        let library = Library::new();
        let victim = || Victim::new("own_160");
        let good = [victim(), victim()];
        let later = victim();
        later.truncate("frames/2.webp");
        let failing = vec![
            later,
            Victim::with_model("own_160", "generator.onnx", "generator_160_nan_in_speech"),
            Victim::with_model("own_160", "audio_encoder.onnx", "encoder_fails_when_loud"),
        ];
        let broken: Vec<Victim> = (0..6).map(|_| victim()).collect();
        broken[0].truncate("frames/0.webp");
        broken[1].truncate("generator.onnx");
        broken[2].overwrite("avatar.toml", b"format = ");
        std::fs::remove_file(broken[3].file("audio_encoder.onnx")).unwrap();
        broken[4].overwrite("crops.csv", b"frame,x,y,width,height\n0,1,2,3000,3000\n");
        std::fs::copy(fixture("models/generator_nan.onnx"), broken[5].file("generator.onnx")).unwrap();
        let mut refused: Vec<String> = broken.iter().map(Victim::name).collect();
        refused.extend(["nobody".into(), fixture("avatars/own").to_str().unwrap().into()]);
        let studio = Studio::new(&format!("{PROPERTIES} avatar={}", good[0].name()), MONO_16K);
        let filter = studio.pipeline.by_name("filter").unwrap();
        let caps = "video/x-raw,format=RGB,width=320,height=240";
        filter.set_property("caps", caps.parse::<gst::Caps>().unwrap());
        let mut reader = hound::WavReader::open(fixture("audio/speech.wav")).unwrap();
        Self {
            studio,
            random: Random::new(seed),
            checker: Checker::default(),
            good,
            failing,
            refused,
            _refused: broken,
            library,
            plays: Some(0),
            harm: Vec::new(),
            leaps: 0,
            counts: BTreeMap::new(),
            warnings: BTreeMap::new(),
            said: reader.samples::<i16>().map(Result::unwrap).collect(),
        }
    }

    fn count(&self, name: &str) -> u64 {
        self.studio.element.property::<gst::Structure>("stats").get(name).unwrap()
    }

    /// Looks at what has come out and what has been said.
    fn look(&mut self) {
        let (video, audio) = self.studio.take();
        self.checker.check(&video, &audio);
        for message in self.studio.messages() {
            match message.view() {
                gst::MessageView::Error(error) => panic!("{} ({:?})", error.error(), error.debug()),
                gst::MessageView::Eos(_) => panic!("the end of the stream"),
                gst::MessageView::Warning(warning) => {
                    let text = warning.error().to_string();
                    let kind = ["cannot take over", "cannot be painted", "cannot be heard", "come late"]
                        .into_iter()
                        .find(|kind| text.contains(kind));
                    *self.warnings.entry(kind.unwrap_or(&text).into()).or_default() += 1;
                }
                _ => {}
            }
        }
        self.studio.forget_messages();
    }

    fn play_until(&mut self, time: u64) {
        while self.studio.now < time {
            self.studio.run_until(time.min(self.studio.now + SECOND));
            self.look();
        }
    }

    fn suffers(&self, fault: Fault) -> bool {
        self.harm.iter().any(|(other, ..)| *other == fault)
    }

    /// Plays on until no avatar is being loaded any more.
    fn settle(&mut self) {
        let start = Instant::now();
        // Without descriptors nobody can look.
        while !self.suffers(Fault::Descriptors) && threads().iter().any(|name| name == "lipsync-load") {
            assert!(start.elapsed() < Duration::from_secs(60), "it loads for ever");
            self.play_until(self.studio.now + FRAME);
            std::thread::sleep(Duration::from_millis(2));
        }
        self.play_until(self.studio.now + 3 * FRAME);
    }

    fn set_avatar(&mut self, name: &str) {
        self.studio.element.set_property("avatar", name);
        self.settle();
    }

    /// Lets a worker of the network that plays panic: with a context as no listener makes one.
    fn panic_in_a_worker(&mut self) {
        let Some(plays) = self.plays else { return };
        let Ok(avatar) = lipsync_core::avatar::Avatar::open(&self.good[plays].path()) else { return };
        let Ok(painter) = Painter::open(&avatar, &Engine::default(), 1) else { return };
        let canvas = Canvas { format: PixelFormat::I420(YuvCoding::BT709), background: None };
        let frames = FrameStore::new(avatar.into(), canvas, painter.framing(), 0);
        let asked = painter.submit(&frames.into(), 0, MouthRequest::Speech(Context::zeros(3)));
        assert!(asked.wait().is_err());
    }

    fn fault(&mut self, fault: Fault) {
        *self.counts.entry(fault).or_default() += 1;
        println!("{:7.1} s: {fault:?}", self.studio.now as f64 / 1e9);
        let until = self.studio.now + SECOND + self.random.below(8 * SECOND);
        let name = format!("frames/{}.webp", self.random.below(4));
        match fault {
            Fault::ClockStep => self.studio.step_to(self.studio.now + self.random.below(MADE_GOOD)),
            Fault::ClockLeap => {
                self.leaps += 1;
                self.studio.leap(3 * SECOND + self.random.below(17 * SECOND));
            }
            Fault::ClockStill => (0..50).for_each(|_| self.studio.step_to(self.studio.now)),
            Fault::WorkerPanics => self.panic_in_a_worker(),
            Fault::Interrupt => self.studio.element.emit_by_name::<()>("interrupt", &[]),
            Fault::Flush => {
                let pad = self.studio.element.static_pad("sink").unwrap();
                pad.send_event(gst::event::FlushStart::new());
                pad.send_event(gst::event::FlushStop::new(true));
                let segment = gst::FormattedSegment::<gst::ClockTime>::new();
                pad.send_event(gst::event::Segment::new(&segment));
            }
            Fault::Refused => {
                let name = self.random.pick(&self.refused).clone();
                self.set_avatar(&name);
            }
            Fault::TakenAndFails => {
                let name = self.random.pick(&self.failing).name();
                self.set_avatar(&name);
                self.plays = None;
                self.harm.push((fault, until, Harm::Avatar));
            }
            Fault::Taken => {
                let other = self.random.below(2) as usize;
                self.set_avatar(&self.good[other].name());
                self.plays = Some(other);
            }
            Fault::Frames => {
                let victim = &self.good[self.plays.unwrap_or(0)];
                if victim.file(&name).exists() {
                    match self.random.below(3) {
                        0 => std::fs::remove_file(victim.file(&name)).unwrap(),
                        1 => victim.truncate(&name),
                        _ => victim.overwrite(&name, b"no picture"),
                    }
                }
                self.harm.push((fault, until, Harm::Frames));
            }
            Fault::FolderGone => {
                let victim = &self.good[self.plays.unwrap_or(0)];
                if victim.path().exists() {
                    victim.delete();
                }
                self.harm.push((fault, until, Harm::Frames));
            }
            Fault::Descriptors => {
                self.harm.push((fault, until, Harm::Shortage { _limit: Shortage::of_descriptors() }));
            }
            Fault::Disk => self.harm.push((fault, until, Harm::Shortage { _limit: Shortage::of_disk() })),
            Fault::Memory => {
                self.harm.push((fault, until, Harm::Shortage { _limit: Shortage::of_memory(64 << 20) }));
            }
            Fault::Runtime => {
                self.library.harm(self.random.one_in(2));
                self.harm.push((fault, until, Harm::Runtime));
            }
        }
        self.look();
    }

    /// Undoes what has lasted long enough.
    fn recover(&mut self, now: u64) {
        // Those that keep files from being opened or written come first.
        let (mut over, kept): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.harm).into_iter().partition(|(_, until, _)| *until <= now);
        self.harm = kept;
        over.sort_by_key(|(_, _, harm)| !matches!(harm, Harm::Shortage { .. }));
        let short = |harm: &[(Fault, u64, Harm)]| {
            harm.iter().any(|(_, _, harm)| matches!(harm, Harm::Shortage { .. }))
        };
        for (fault, until, harm) in over {
            match harm {
                Harm::Shortage { .. } => {}
                // Nothing can be repaired meanwhile.
                harm if short(&self.harm) => self.harm.push((fault, until, harm)),
                Harm::Frames => self.good.iter().for_each(Victim::repair),
                Harm::Runtime => self.library.repair(),
                Harm::Avatar => {
                    self.set_avatar(&self.good[0].name());
                    self.plays = Some(0);
                }
            }
        }
    }

    /// A fault that can come now.
    fn next_fault(&mut self) -> Fault {
        loop {
            let fault = *self.random.pick(&FAULTS);
            let files = [Fault::Frames, Fault::FolderGone];
            let shortages = [Fault::Descriptors, Fault::Disk, Fault::Memory];
            let makes_files = files.contains(&fault) || fault == Fault::Runtime;
            let short = shortages.iter().any(|fault| self.suffers(*fault));
            let possible = match fault {
                _ if makes_files && short => false,
                fault if files.contains(&fault) => {
                    self.plays.is_some() && !files.iter().any(|fault| self.suffers(*fault))
                }
                fault if shortages.contains(&fault) => !short,
                Fault::Taken | Fault::TakenAndFails => self.plays.is_some(),
                Fault::WorkerPanics => !short,
                fault => !self.suffers(fault),
            };
            if possible {
                return fault;
            }
        }
    }

    /// One turn: somebody speaks, something goes wrong, and something that was wrong is over.
    fn turn(&mut self) {
        let end = self.studio.now + TURN;
        let mut left = self.random.below(14) * SECOND / 2;
        let length = 8000 + self.random.below(self.said.len() as u64 - 8000) as usize;
        self.studio.say(&self.said[..length]);
        let fault = self.next_fault();
        let mut done = false;
        while self.studio.now < end {
            if !done && left == 0 {
                self.fault(fault);
                done = true;
            }
            left = left.saturating_sub(SECOND / 2);
            self.play_until(end.min(self.studio.now + SECOND / 2));
            self.recover(self.studio.now);
        }
    }

    /// All is as it should be again, and so is what is seen and heard.
    fn end_well(&mut self) {
        self.recover(u64::MAX);
        self.recover(u64::MAX);
        assert!(self.harm.is_empty());
        self.set_avatar(&self.good[0].name());
        self.play_until(self.studio.now + 25 * SECOND);
        let (repeated, warnings) = (self.count("repeated"), self.warnings.values().sum::<u64>());
        self.studio.say(&self.said.clone());
        self.play_until(self.studio.now + 10 * SECOND);
        assert_eq!(self.count("repeated"), repeated, "it has recovered");
        assert_eq!(self.warnings.values().sum::<u64>(), warnings);
        assert_eq!(self.studio.element.property::<String>("avatar"), self.good[0].name());
        assert!(self.checker.leaps_seen <= self.leaps, "holes where the clock has not leapt");
        assert!(self.checker.leaps_heard <= self.leaps, "holes in the sound");
    }
}

/// The threads that there are beyond those.
fn left_over(before: &[String]) -> Vec<String> {
    let mut left = threads();
    for name in before {
        if let Some(place) = left.iter().position(|other| other == name) {
            left.remove(place);
        }
    }
    left
}

fn run(faults: u64) {
    let seed = number("LIPSYNC_SEED", 1);
    let start = Instant::now();
    let mut air = Air::new(seed);
    // All networks have been used once before anything is counted.
    air.play_until(5 * SECOND);
    for name in [air.good[1].name(), air.failing[1].name(), air.failing[2].name(), air.good[0].name()] {
        air.set_avatar(&name);
        air.studio.say(&air.said.clone());
        air.play_until(air.studio.now + 6 * SECOND);
    }
    // Telling a panic takes memory once.
    air.panic_in_a_worker();
    air.play_until(air.studio.now + 2 * SECOND);
    // What is taken, and not what the allocator keeps for the next time, which is more after each network that is loaded.
    let count = || (threads(), descriptors().len(), memory_in_use());
    let before = count();
    let mut most = 0;
    println!("seed {seed}: {} threads, {} descriptors, {} kB", before.0.len(), before.1, before.2);
    for n in 1..=faults {
        air.turn();
        if n % 20 == 0 && !air.suffers(Fault::Descriptors) {
            let memory = memory_in_use();
            most = most.max(memory);
            println!(
                "{n:4} faults, {:5} s of media, {:4} s, {memory} kB in use, {} kB resident",
                air.studio.now / SECOND,
                start.elapsed().as_secs(),
                status("VmRSS:")
            );
        }
    }
    air.end_well();
    // A thread that has been told to end may still be about it.
    let patience = Instant::now();
    while !left_over(&before.0).is_empty() && patience.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let after = count();
    println!("faults {:?}", air.counts);
    println!("warnings {:#?}", air.warnings);
    println!(
        "{} frames, {} repeated, {} skipped by {} leaps of the clock, {} holes seen, {} heard",
        air.checker.frames,
        air.count("repeated"),
        air.count("skipped"),
        air.leaps,
        air.checker.leaps_seen,
        air.checker.leaps_heard
    );
    println!(
        "after {} s: {} threads, {} descriptors, {} kB, at most {most} kB",
        start.elapsed().as_secs(),
        after.0.len(),
        after.1,
        after.2
    );
    assert_eq!(left_over(&before.0), [""; 0], "threads");
    assert!(after.1 <= before.1, "descriptors: {:?}", descriptors());
    assert!(most.max(after.2) < before.2 + before.2 / 4, "memory");
}

#[test]
fn a_few_faults() {
    run(10);
}

#[test]
#[ignore = "some minutes; make faults"]
fn many_faults() {
    run(number("LIPSYNC_FAULTS", 200));
}
