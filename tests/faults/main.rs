// SPDX-License-Identifier: MPL-2.0
//! Random faults on air, on a clock that the test turns: the show goes on, and nothing is left behind.
//!
//! `make faults` runs 200 of them in an hour of media time. `LIPSYNC_FAULTS` says how many (18 seconds each), `LIPSYNC_SEED` which.

#![allow(clippy::expect_used, clippy::unwrap_used)]

#[path = "../common/mod.rs"]
mod common;

mod air;
mod checker;
mod fault;
mod library;
mod turns;

use std::time::{Duration, Instant};

use air::Air;
use common::harm::{descriptors, memory_in_use, status, threads};
use common::studio::SECOND;
use fault::Fault;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().map_or(default, |value| value.parse().unwrap())
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
