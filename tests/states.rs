// SPDX-License-Identifier: MPL-2.0
//! Changes of state and flushes at any moment: nothing hangs, nothing leaks.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::time::{Duration, Instant};

use common::gst::{avatar, init, pipeline, sound};
use common::stress::{living, trace_leaks};
use common::{copy_folder, fixture};
use gst::prelude::*;

/// An avatar whose frames take about 200 ms to paint.
fn slow_avatar() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy_folder(&fixture("avatars/own"), folder.path());
    std::fs::copy(fixture("models/slow_generator.onnx"), folder.path().join("generator.onnx")).unwrap();
    folder
}

fn slow_line(avatar: &tempfile::TempDir) -> String {
    format!(
        "audiotestsrc wave=ticks samplesperbuffer=1600 ! lipsync name=l n-threads=2 avatar={} ! fakesink sync=false",
        avatar.path().display()
    )
}

/// A pipeline that plays and is in the middle of painting.
fn painting(line: &str) -> gst::Pipeline {
    let pipeline = pipeline(line);
    pipeline.set_state(gst::State::Playing).unwrap();
    assert!(pipeline.state(gst::ClockTime::from_seconds(60)).0.is_ok());
    pipeline
}

#[test]
fn a_thousand_changes_of_state() {
    trace_leaks();
    let pipeline = pipeline(&format!(
        "{} ! lipsync n-threads=1 {} ! fakesink sync=false",
        sound("speech"),
        avatar("own_160")
    ));
    let states =
        [gst::State::Playing, gst::State::Ready, gst::State::Paused, gst::State::Playing, gst::State::Null];
    let mut random = 1u32;
    for i in 0..1000 {
        pipeline.set_state(states[i % states.len()]).unwrap();
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        if random >> 30 == 0 {
            std::thread::sleep(Duration::from_micros(u64::from(random >> 18)));
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
    drop(pipeline);
    let left = living();
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn stopping_in_the_middle_of_painting() {
    trace_leaks();
    let avatar = slow_avatar();
    for _ in 0..20 {
        let pipeline = painting(&slow_line(&avatar));
        pipeline.set_state(gst::State::Null).unwrap();
    }
    let left = living();
    assert!(left.is_empty(), "{left:#?}");
}

#[test]
fn flushing_in_the_middle_of_painting() {
    init();
    let avatar = slow_avatar();
    let pipeline = painting(&slow_line(&avatar));
    let (mut shortest, mut longest) = (Duration::MAX, Duration::ZERO);
    for _ in 0..20 {
        let start = Instant::now();
        pipeline.seek_simple(gst::SeekFlags::FLUSH, gst::ClockTime::ZERO).unwrap();
        let took = start.elapsed();
        (shortest, longest) = (shortest.min(took), longest.max(took));
        assert!(pipeline.state(gst::ClockTime::from_seconds(60)).0.is_ok(), "no frame after the flush");
    }
    println!("flush took {shortest:?} to {longest:?}; painting a frame takes 200 ms");
    let element = pipeline.by_name("l").unwrap();
    assert!(element.property::<gst::Structure>("stats").get::<u64>("frames").unwrap() >= 20);
    pipeline.set_state(gst::State::Null).unwrap();
}
