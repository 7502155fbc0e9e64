// SPDX-License-Identifier: MPL-2.0
//! Random sequences of steps: the generator, and what runs them until one hangs, panics, fails or leaks.
//!
//! A test hands [`run`] a function that plays one sequence. Each sequence has a seed of its own, so that one that fails can be
//! played again alone: `LIPSYNC_STRESS_SEED=<seed> LIPSYNC_STRESS_COUNT=1`. What it does it writes into a [`Log`], which is
//! printed when it fails.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::fmt::Display;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;

/// A sequence that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Random numbers that are the same for the same seed (SplitMix64).
pub struct Random(u64);

impl Random {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `end`, which is left out.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// Something of a list.
    pub fn pick<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// What a sequence has done so far, and with what.
#[derive(Clone, Default)]
pub struct Log {
    steps: Arc<Mutex<Vec<String>>>,
    /// What is used holds it, too.
    used: Arc<()>,
}

impl Log {
    /// Writes down the step that comes now.
    pub fn step(&self, step: impl Display) {
        self.steps.lock().unwrap().push(step.to_string());
    }

    /// Takes note of an object whose end is waited for before leaks are looked for: threads of GStreamer and of the element may
    /// hold it for a moment.
    pub fn uses(&self, object: &impl IsA<gst::Object>) {
        let quark = glib::Quark::from_str("lipsync-stress");
        // SAFETY: nobody else knows this quark. Unlike a weak reference it is there until the object is finalized.
        unsafe { object.upcast_ref::<gst::Object>().set_qdata(quark, self.used.clone()) };
    }

    fn wait_for_ends(&self) {
        let start = Instant::now();
        while Arc::strong_count(&self.used) > 1 && start.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Adds to the step what came of it.
    pub fn result(&self, result: impl Display) {
        if let Some(step) = self.steps.lock().unwrap().last_mut() {
            *step += &format!(" -> {result}");
        }
    }

    fn print(&self, seed: u64, problem: &str) {
        let steps = self.steps.lock().unwrap_or_else(|e| e.into_inner());
        eprintln!("{problem}\nLIPSYNC_STRESS_SEED={seed} LIPSYNC_STRESS_COUNT=1");
        steps.iter().enumerate().for_each(|(n, step)| eprintln!("{n:3}  {step}"));
    }
}

/// Makes GStreamer ready with the leaks tracer. To be called first in a test, which must be alone in its process.
pub fn trace_leaks() {
    // SAFETY: each test runs in a process of its own under nextest, and no other thread exists yet.
    unsafe {
        std::env::set_var("GST_TRACERS", "leaks(filters=\"GstElement,GstPad,GstBuffer,GstEvent\")");
        std::env::set_var("GST_DEBUG", "GST_TRACER:7");
    }
    super::gst::init();
}

/// The objects that the leaks tracer sees alive. To be called where there should be none: in GStreamer 1.22 they lose a
/// reference by it.
pub fn living() -> Vec<String> {
    let tracers = gst::active_tracers();
    let leaks =
        tracers.iter().find(|tracer| tracer.type_().name() == "GstLeaksTracer").expect("the leaks tracer");
    let objects = leaks.emit_by_name::<gst::Structure>("get-live-objects", &[]);
    let list = objects.get::<gst::List>("live-objects-list").unwrap();
    let objects = list.iter().filter_map(|value| value.get::<gst::Structure>().ok());
    objects.map(|object| object.to_string()).filter(|object| !object.contains("GstRegistry")).collect()
}

/// Panics of all threads, so that none goes by unseen.
static PANICS: AtomicU64 = AtomicU64::new(0);

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().expect("a number"))
}

/// Plays `count` sequences (or those of the environment), one after the other, after [`trace_leaks`]. After each no object of
/// GStreamer may be left.
pub fn run(count: u64, sequence: impl Fn(&mut Random, &Log) + Send + Sync + 'static) {
    let first = number("LIPSYNC_STRESS_SEED", 1);
    let count = number("LIPSYNC_STRESS_COUNT", count);
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        PANICS.fetch_add(1, Ordering::SeqCst);
        usual(info);
    }));
    let sequence = Arc::new(sequence);
    let start = Instant::now();
    for seed in first..first + count {
        let log = Log::default();
        play(seed, &log, &sequence);
        log.wait_for_ends();
        let left = living();
        if !left.is_empty() {
            log.print(seed, "left over:");
            panic!("{left:#?}");
        }
    }
    println!("{count} sequences in {:.1} s", start.elapsed().as_secs_f64());
}

/// Plays one sequence in a thread of its own, so that it can be told when it hangs.
fn play(seed: u64, log: &Log, sequence: &Arc<impl Fn(&mut Random, &Log) + Send + Sync + 'static>) {
    let (done, wait) = channel();
    let thread = std::thread::spawn({
        let (log, sequence) = (log.clone(), sequence.clone());
        move || {
            sequence(&mut Random::new(seed), &log);
            // Nobody may be waiting any more.
            let _ = done.send(());
        }
    });
    if wait.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
        log.print(seed, "hangs in its last step:");
        // The thread that hangs would keep the process from ending.
        std::process::abort();
    }
    if thread.join().is_err() || PANICS.load(Ordering::SeqCst) > 0 {
        log.print(seed, "panicked:");
        panic!("seed {seed}");
    }
}

/// Starts that have no end yet: of utterances, and of speech.
#[derive(Default)]
pub struct Pairs([Arc<AtomicI64>; 2]);

impl Pairs {
    /// Counts what a pipeline tells from now on.
    pub fn of(pipeline: &gst::Pipeline) -> Self {
        let pairs = Self::default();
        let counts = pairs.0.clone();
        pipeline.bus().unwrap().set_sync_handler(move |_, message| {
            let (count, change) = match message.structure().map_or("", |structure| structure.name()) {
                "lipsync-utterance-start" => (0, 1),
                "lipsync-utterance-end" => (0, -1),
                "lipsync-speech-start" => (1, 1),
                "lipsync-speech-end" => (1, -1),
                _ => return gst::BusSyncReply::Pass,
            };
            counts[count].fetch_add(change, Ordering::SeqCst);
            gst::BusSyncReply::Pass
        });
        pairs
    }

    /// After a stop each start has its end.
    pub fn assert_closed(&self) {
        assert_eq!(
            self.0.each_ref().map(|open| open.load(Ordering::SeqCst)),
            [0, 0],
            "starts without an end"
        );
    }
}

/// The event of the `start` or `end` of an utterance.
pub fn utterance_event(kind: &str, id: Option<&str>) -> gst::Event {
    let structure = gst::Structure::builder(format!("lipsync-utterance-{kind}")).field_if_some("id", id);
    gst::event::CustomDownstream::new(structure.build())
}

/// Panics if an error has been posted.
pub fn assert_no_error(bus: &gst::Bus) {
    while let Some(message) = bus.pop_filtered(&[gst::MessageType::Error]) {
        if let gst::MessageView::Error(error) = message.view() {
            let source = message.src().map(|source| source.path_string()).unwrap_or_default();
            panic!("{source}: {} ({})", error.error(), error.debug().unwrap_or_default());
        }
    }
}

/// An event as downstream may send one at any time.
pub fn event_of_downstream(random: &mut Random, time: gst::ClockTime) -> gst::Event {
    match random.below(3) {
        0 => gst::event::Reconfigure::new(),
        1 => gst::event::Qos::builder(gst::QOSType::Underflow, 2.0, 40_000_000).timestamp(time).build(),
        _ => gst::event::Seek::new(
            1.0,
            gst::SeekFlags::FLUSH,
            gst::SeekType::Set,
            time,
            gst::SeekType::None,
            gst::ClockTime::NONE,
        ),
    }
}

type Order = Box<dyn FnOnce(&gst::Pad) + Send>;

/// What is linked to a sink pad and sends from a thread of its own, which may be made to wait.
pub struct Upstream {
    pub pad: gst::Pad,
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

impl Upstream {
    pub fn new(sink: &gst::Pad) -> Self {
        let pad = gst::Pad::builder(gst::PadDirection::Src).name("upstream").build();
        pad.link(sink).unwrap();
        let (orders, received) = channel::<Order>();
        let thread = std::thread::spawn({
            let pad = pad.clone();
            move || received.into_iter().for_each(|order| order(&pad))
        });
        Self { pad, orders: Some(orders), thread: Some(thread) }
    }

    fn order(&self, order: impl FnOnce(&gst::Pad) + Send + 'static) {
        self.orders.as_ref().unwrap().send(Box::new(order)).unwrap();
    }

    pub fn event(&self, event: gst::Event) {
        self.order(|pad| {
            let _ = pad.push_event(event);
        });
    }

    pub fn buffer(&self, buffer: gst::Buffer) {
        self.order(|pad| {
            let _ = pad.push(buffer);
        });
    }

    pub fn drain(&self) {
        self.order(|pad| {
            let _ = pad.peer_query(&mut gst::query::Drain::new());
        });
    }

    /// Waits until all orders have been carried out.
    pub fn wait(&self) {
        let (done, wait) = channel();
        self.order(move |_| done.send(()).unwrap());
        wait.recv().unwrap();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.orders = None;
        self.pad.set_active(false).unwrap();
        // Who waits in the element is let go when its pad is released or the element stops.
        self.thread.take().unwrap().join().unwrap();
    }
}
