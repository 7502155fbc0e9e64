// SPDX-License-Identifier: MPL-2.0
//! The properties of the elements: when they are taken, and their extremes.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use common::gst::{avatar, pipeline, soon};
use common::studio::{SECOND, Studio};
use gst::glib;
use gst::prelude::*;

const MONO_16K: &str = "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";

#[test]
fn settings_of_the_start_stay_as_they_were() {
    let mut studio = Studio::new(&format!("{} background-color=0xff00ff00", avatar("alpha")), MONO_16K);
    studio.run_until(SECOND);
    studio.element.set_property("num-buffers", 1);
    studio.element.set_property("background-color", 0xffff_0000u32);
    studio.element.set_property("silence-level", 0.0);
    let filter = studio.pipeline.by_name("filter").unwrap();
    let corner = |studio: &Studio| studio.pictures().last().unwrap()[..3].to_vec();
    let before = corner(&studio);
    // It agrees with downstream anew.
    for format in ["BGR", "RGB"] {
        filter.set_property("caps", format!("video/x-raw,format={format}").parse::<gst::Caps>().unwrap());
        studio.run_on(2 * SECOND);
    }
    studio.wait_for("RGB", |studio| {
        let received = studio.video.lock().unwrap();
        received.last().unwrap().caps().unwrap().structure(0).unwrap().get("format") == Ok("RGB")
    });
    assert_eq!(corner(&studio), before);
    studio.say(&[9000; 16_000]);
    studio.run_on(3 * SECOND);
    assert_eq!(studio.speeches().len(), 2, "it speaks and does not end");
    // At the next start they are taken.
    studio.pipeline.set_state(gst::State::Ready).unwrap();
    studio.video.lock().unwrap().clear();
    studio.pipeline.set_state(gst::State::Playing).unwrap();
    studio.run_on(2 * SECOND);
    studio.wait_for("the one frame", |studio| studio.video.lock().unwrap().len() == 1);
    assert_ne!(corner(&studio), before);
}

/// The least and the most of a property that is a number.
fn extremes(pspec: &glib::ParamSpec) -> Vec<glib::Value> {
    macro_rules! of {
        ($($kind:ty)*) => {
            $(if let Some(pspec) = pspec.downcast_ref::<$kind>() {
                return vec![pspec.minimum().to_value(), pspec.maximum().to_value()];
            })*
        };
    }
    of!(glib::ParamSpecInt glib::ParamSpecUInt glib::ParamSpecInt64 glib::ParamSpecUInt64 glib::ParamSpecDouble);
    Vec::new()
}

#[test]
fn properties_work_at_their_extremes() {
    for (line, behind) in [
        (
            "audiotestsrc num-buffers=20 ! ls.sink lipsyncsrc name=ls num-buffers=5",
            "ls.src ! fakesink sync=false ls.audio ! fakesink sync=false async=false",
        ),
        ("audiotestsrc num-buffers=20 ! lipsync name=ls", "! fakesink sync=false"),
    ] {
        let usual = format!("n-threads=1 lookahead=92500000 {}", avatar("own_160"));
        let line = format!("{line} {usual} {behind}");
        let properties = pipeline(&line).by_name("ls").unwrap().list_properties();
        let own = properties.iter().filter(|pspec| pspec.flags().contains(glib::ParamFlags::WRITABLE));
        for pspec in own {
            for value in extremes(pspec) {
                let pipeline = pipeline(&line);
                let element = pipeline.by_name("ls").unwrap();
                element.set_property_from_value(pspec.name(), &value);
                assert_eq!(
                    element.property_value(pspec.name()).transform::<String>().unwrap().get::<String>(),
                    value.transform::<String>().unwrap().get()
                );
                let what = format!("{} at {value:?}", pspec.name());
                pipeline.set_state(gst::State::Playing).unwrap_or_else(|_| panic!("{what}: no start"));
                // Those that make it late or endless need not come to an end.
                let endless =
                    ["num-buffers", "lookahead", "processing-latency", "n-threads"].contains(&pspec.name());
                let kinds = [gst::MessageType::Eos, gst::MessageType::Error];
                let patience = gst::ClockTime::from_seconds(if endless { 1 } else { 60 });
                let message = pipeline.bus().unwrap().timed_pop_filtered(patience, &kinds);
                let ended = message.as_ref().map(|message| message.type_());
                assert!(ended == Some(kinds[0]) || (endless && ended.is_none()), "{what}: {message:?}");
                soon(&what, move || pipeline.set_state(gst::State::Null).unwrap());
            }
        }
    }
}
