// SPDX-License-Identifier: MPL-2.0
//! Each frame says where the face is.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use common::gst::{avatar, pipeline, sound};
use common::studio::{SECOND, Studio};
use gst::prelude::*;
use gst_video::VideoRegionOfInterestMeta;

/// Type and rectangle of each region of interest.
fn regions(buffer: &gst::BufferRef) -> Vec<(String, (u32, u32, u32, u32))> {
    let regions = buffer.iter_meta::<VideoRegionOfInterestMeta>();
    regions.map(|region| (region.roi_type().to_string(), region.rect())).collect()
}

/// The one region there is, which lies in a picture of that size.
fn face(buffer: &gst::BufferRef, (width, height): (u32, u32)) -> (u32, u32, u32, u32) {
    let regions = regions(buffer);
    assert!(regions.len() == 1 && regions[0].0 == "face", "{regions:?}");
    let (x, y, w, h) = regions[0].1;
    assert!(w > 10 && h > 10 && x + w <= width && y + h <= height, "{regions:?}");
    regions[0].1
}

#[test]
fn buffers_that_go_round_have_one_face_each() {
    let line = format!("{} ! lipsync {} ! fakesink name=out sync=false", sound("speech"), avatar("own"));
    let pipeline = pipeline(&line);
    let faces = Arc::new(Mutex::new(Vec::new()));
    let seen = faces.clone();
    let pad = pipeline.by_name("out").unwrap().static_pad("sink").unwrap();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let buffer = info.buffer().unwrap();
        // Where it lies in memory tells whether it has been there before.
        let memory = buffer.peek_memory(0).as_ptr() as usize;
        seen.lock().unwrap().push((memory, face(buffer, (480, 360))));
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing).unwrap();
    let end = common::record::wait_for_message(&pipeline, &[gst::MessageType::Eos, gst::MessageType::Error]);
    assert_eq!(end.type_(), gst::MessageType::Eos);
    pipeline.set_state(gst::State::Null).unwrap();
    let faces = faces.lock().unwrap();
    let buffers: BTreeSet<usize> = faces.iter().map(|(memory, _)| *memory).collect();
    assert!(faces.len() > 3 * buffers.len(), "{} frames, {} buffers", faces.len(), buffers.len());
}

#[test]
fn the_face_is_where_the_frame_has_it_and_stays_where_one_is_repeated() {
    let folder = tempfile::tempdir().unwrap();
    common::copy_folder(&common::fixture("avatars/own"), folder.path());
    let caps = "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";
    let mut studio = Studio::new(&format!("cache-size=0 avatar={}", folder.path().display()), caps);
    studio.run_until(SECOND);
    for n in 2..6 {
        std::fs::remove_file(folder.path().join(format!("frames/{n}.png"))).unwrap();
    }
    studio.run_until(4 * SECOND);
    let stats = studio.element.property::<gst::Structure>("stats");
    assert!(stats.get::<u64>("repeated").unwrap() > 10, "{stats}");
    let avatar = common::avatar("own");
    // The faces of its frames, which plays there and back.
    let expected = |n: usize| {
        let rect = avatar.frames[avatar.idle().frame_at(n as u64)].face.within((480, 360)).unwrap();
        (rect.x, rect.y, rect.width, rect.height)
    };
    let received = studio.video.lock().unwrap();
    for (n, sample) in received.iter().enumerate() {
        let face = face(sample.buffer().unwrap(), (480, 360));
        if n < 9 {
            assert_eq!(face, expected(n), "frame {n}");
        }
    }
}
