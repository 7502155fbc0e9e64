// SPDX-License-Identifier: MPL-2.0
//! Once it runs, a frame takes no memory from the system but small change, and its picture is copied once: into the
//! buffer that goes downstream.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Receiver;
use std::time::Duration;

use common::avatar;
use common::gst::{avatar as avatar_property, pipeline};
use gst::prelude::*;
use lipsync_core::picture::formats::{Picture, PixelFormat, YuvCoding};
use lipsync_core::render::presenter::{Presenter, PresenterOptions};

/// The system's allocator, counting.
struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static SMALL: AtomicU64 = AtomicU64::new(0);
static LARGE: AtomicU64 = AtomicU64::new(0);
static LARGEST: AtomicU64 = AtomicU64::new(0);

/// Less is small change: the names of inputs, a ticket, the list of a batch of one.
const SMALL_CHANGE: usize = 2048;

// SAFETY: every call is passed on to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTS.load(Ordering::Relaxed) {
            let count = if layout.size() < SMALL_CHANGE { &SMALL } else { &LARGE };
            count.fetch_add(1, Ordering::Relaxed);
            LARGEST.fetch_max(layout.size() as u64, Ordering::Relaxed);
        }
        // SAFETY: the caller keeps to what `GlobalAlloc` demands.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as above; the memory came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Counts what `work`, which makes that many frames, takes from the system.
fn count(frames: u64, work: impl FnOnce()) {
    [&SMALL, &LARGE, &LARGEST].iter().for_each(|count| count.store(0, Ordering::Relaxed));
    COUNTS.store(true, Ordering::Relaxed);
    work();
    COUNTS.store(false, Ordering::Relaxed);
    let [small, large, largest] = [&SMALL, &LARGE, &LARGEST].map(|count| count.load(Ordering::Relaxed));
    println!(
        "{} small allocations a frame, {large} large ones in all, the largest of {largest}",
        small / frames
    );
    // Of what is used again, the record of the last second's inferences may still grow where the machine has become faster.
    assert!(large <= 4, "{large} in {frames} frames, the largest takes {largest} bytes");
}

/// Noise that never is the same twice.
fn noise(count: usize) -> Vec<f32> {
    let mut state = 1u32;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 25) as f32 - 0.25
        })
        .collect()
}

/// Waits until all other threads have slept for more than a second.
fn wait_until_idle() {
    const SAMPLES: u32 = 12;
    let mut idle = 0;
    while idle < SAMPLES {
        std::thread::sleep(Duration::from_millis(100));
        idle = if others_sleep() { idle + 1 } else { 0 };
    }
}

/// Whether each thread but this one waits for something. One that waits for a processor does not count as asleep.
fn others_sleep() -> bool {
    let own = std::fs::read_link("/proc/thread-self").unwrap();
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks.filter(|task| Some(&*task.file_name()) != own.file_name()).all(|task| {
        // A thread that has ended meanwhile has no file.
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('S'))
    })
}

#[test]
fn a_frame_of_the_core_takes_small_change() {
    let format = PixelFormat::I420(YuvCoding::BT709);
    let options = PresenterOptions::default().threads(2).format(format).cache(usize::MAX >> 1);
    let avatar = avatar("own");
    let (width, height) = avatar.image.size;
    let mut presenter = Presenter::open(avatar, &options).unwrap();
    presenter.set_input(16_000, vec![1.0]).unwrap();
    let mut target = Picture::new(&image::RgbImage::new(width, height), None, format);
    let sound = noise(640);
    let mut speak = |frames: usize| {
        let mut shown = 0;
        for _ in 0..frames {
            presenter.push(&sound).unwrap();
            while let Some(frame) = presenter.pull().unwrap() {
                frame.draw(&mut target.as_mut());
                shown += 1;
            }
        }
        shown
    };
    speak(100);
    let shown = std::cell::Cell::new(0);
    count(50, || shown.set(speak(50)));
    assert!(shown.get() >= 48, "{shown:?} frames");
}

/// A pipeline with the element, whose sink waits with each frame until it is asked for.
struct Held {
    pipeline: gst::Pipeline,
    frames: Receiver<()>,
}

impl Held {
    fn play() -> Self {
        let line = format!(
            "audiotestsrc wave=white-noise samplesperbuffer=640 num-buffers=800 ! audio/x-raw,rate=16000,channels=1 \
             ! lipsync {} ! fakesink name=out signal-handoffs=true sync=false",
            avatar_property("own")
        );
        let pipeline = pipeline(&line);
        let (send, frames) = std::sync::mpsc::sync_channel(0);
        pipeline.by_name("out").unwrap().connect("handoff", false, move |_| {
            // Nobody asks any more at the end.
            let _ = send.send(());
            None
        });
        pipeline.set_state(gst::State::Playing).unwrap();
        Self { pipeline, frames }
    }

    fn show(&self, frames: usize) {
        (0..frames).for_each(|_| self.frames.recv().unwrap());
    }

    fn stop(self) {
        drop(self.frames);
        self.pipeline.set_state(gst::State::Null).unwrap();
    }
}

#[test]
fn a_frame_of_the_element_takes_small_change() {
    let (held, other) = (Held::play(), Held::play());
    // More than the statistics remember, which is 500.
    held.show(520);
    other.show(20);
    // The queues of both fill with painted frames, so the pool of pictures has twice as many as one element can ever use
    // at the same time, however its threads get their turns. And the second has passed for which the workers record their
    // pace, so the record grows to the frames that follow at most.
    wait_until_idle();
    other.stop();
    count(150, || held.show(150));
    held.stop();
}
