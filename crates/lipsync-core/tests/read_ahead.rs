// SPDX-License-Identifier: MPL-2.0
//! Frames that will be shown soon are decoded, and seen by the network, by workers that have nothing to paint, within the
//! memory budget.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::sync::Arc;

use common::{BGR, avatar};
use lipsync_core::avatar::frames::{FrameRef, FrameStore, Shot};
use lipsync_core::features::Context;
use lipsync_core::inference::runtime::Engine;
use lipsync_core::picture::formats::Canvas;
use lipsync_core::render::painter::{MouthRequest, Painter};
use lipsync_core::render::timeline::Timeline;

/// Bytes of a decoded frame of the test avatar: no more than this.
const FRAME: usize = 5 << 20;

fn store(painter: &Painter, budget: usize) -> Arc<FrameStore> {
    let canvas = Canvas { format: BGR, background: None };
    Arc::new(FrameStore::new(Arc::new(avatar("own")), canvas, painter.framing(), budget))
}

/// What is shown at a step while nothing is asked for.
fn shot(frames: &FrameStore, step: u64) -> Shot {
    Timeline::new(frames.avatar().clone()).shot(step, false)
}

fn paint(painter: &Painter, frames: &Arc<FrameStore>, step: u64) {
    let silence = Context::zeros(painter.context_kind().values());
    painter.submit(frames, &shot(frames, step), MouthRequest::Speech(silence)).wait().unwrap();
}

#[test]
fn idle_workers_decode_what_comes_next_and_see_what_will_speak() {
    let painter = Painter::open(&avatar("own"), &Engine::default(), 1).unwrap();
    let frames = store(&painter, 20 * FRAME);
    paint(&painter, &frames, 0);
    assert_eq!(frames.missing(&shot(&frames, 0).ahead, false), [1, 2, 3, 4, 5, 4, 3, 2].map(FrameRef::from));
    paint(&painter, &frames, 1);
    // Nobody asks for another frame; a hang here is a failure.
    while !frames.missing(&shot(&frames, 1).ahead, true).is_empty() {
        std::thread::yield_now();
    }
}

#[test]
fn nothing_is_decoded_ahead_that_would_push_out_what_is_in_use() {
    let painter = Painter::open(&avatar("own"), &Engine::default(), 1).unwrap();
    let frames = store(&painter, 0);
    for step in 0..4 {
        paint(&painter, &frames, step);
        assert!(frames.missing(&shot(&frames, step).ahead, true).is_empty());
    }
}
