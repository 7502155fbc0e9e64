// SPDX-License-Identifier: MPL-2.0
//! Pipelines with `lipsync` in them, in this process.
#![allow(dead_code)] // Each test binary uses a part of it.

use std::sync::Once;

use gst::glib;
use gst::glib::translate::IntoGlib;
use gst::prelude::*;

use super::fixture;

/// Makes GStreamer and the element ready.
pub fn init() {
    static INIT: Once = Once::new();
    INIT.call_once(|| {
        gst::init().unwrap();
        gstlipsync::plugin_register_static().unwrap();
    });
}

/// The property that chooses an avatar of the fixtures.
pub fn avatar(name: &str) -> String {
    format!("avatar={}", fixture(&format!("avatars/{name}")).display())
}

/// A launch line that reads a sound of the fixtures.
pub fn sound(name: &str) -> String {
    format!("filesrc location={} ! wavparse", fixture(&format!("audio/{name}.wav")).display())
}

/// A pipeline from a launch line.
pub fn pipeline(line: &str) -> gst::Pipeline {
    init();
    gst::parse::launch(line).unwrap_or_else(|e| panic!("{line}: {e}")).downcast().unwrap()
}

/// The names of the signals that a type has itself. There has been an object of it.
pub fn signal_names(kind: glib::Type) -> Vec<String> {
    let mut count = 0;
    // SAFETY: the type has a class, as there has been an object of it; the list is of `count` ids, and is freed below.
    let ids = unsafe { glib::gobject_ffi::g_signal_list_ids(kind.into_glib(), &mut count) };
    let names = (0..count as usize).map(|i| {
        // SAFETY: as above; names of signals are static strings.
        let name = unsafe { std::ffi::CStr::from_ptr(glib::gobject_ffi::g_signal_name(*ids.add(i))) };
        name.to_str().unwrap().to_string()
    });
    let names = names.collect();
    // SAFETY: the list was allocated by GLib for the caller.
    unsafe { glib::ffi::g_free(ids.cast()) };
    names
}

/// How a pipeline ended.
#[derive(Debug)]
pub struct Ended {
    /// Messages of errors, in order.
    pub errors: Vec<String>,
    /// What came out of the sink named `out`.
    pub samples: Vec<gst::Sample>,
}

/// Plays a pipeline with an `appsink name=out sync=false` until its end or first error, and stops it.
pub fn play(pipeline: &gst::Pipeline) -> Ended {
    let out = pipeline.by_name("out").unwrap().downcast::<gst_app::AppSink>().unwrap();
    let samples = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let collected = samples.clone();
    out.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                // A copy, so that a small pool of buffers is not used up.
                let buffer = sample.buffer().unwrap().copy_deep().unwrap();
                let caps = sample.caps_owned();
                let copy = gst::Sample::builder().buffer(&buffer).caps_if_some(caps.as_ref()).build();
                collected.lock().unwrap().push(copy);
                Ok(gst::FlowSuccess::Ok)
            })
            .build(),
    );
    let mut errors = Vec::new();
    if pipeline.set_state(gst::State::Playing).is_ok() {
        let bus = pipeline.bus().unwrap();
        let message = bus.timed_pop_filtered(
            gst::ClockTime::from_seconds(60),
            &[gst::MessageType::Eos, gst::MessageType::Error],
        );
        if let gst::MessageView::Error(error) = message.expect("neither end nor error in a minute").view() {
            errors.push(error.error().to_string());
        }
    }
    pipeline.set_state(gst::State::Null).unwrap();
    let bus = pipeline.bus().unwrap();
    while let Some(message) = bus.pop_filtered(&[gst::MessageType::Error]) {
        if let gst::MessageView::Error(error) = message.view() {
            errors.push(error.error().to_string());
        }
    }
    let samples = std::mem::take(&mut *samples.lock().unwrap());
    Ended { errors, samples }
}

/// Plays a launch line that must end well and returns its frames.
pub fn frames(line: &str) -> Vec<gst::Sample> {
    let ended = play(&pipeline(line));
    assert!(ended.errors.is_empty(), "{line}: {:?}", ended.errors);
    ended.samples
}

/// Bytes of a frame.
pub fn bytes(sample: &gst::Sample) -> Vec<u8> {
    sample.buffer().unwrap().map_readable().unwrap().to_vec()
}

/// The result of what must not take for ever.
pub fn soon<T: Send + 'static>(what: &str, act: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || done.send(act()));
    wait.recv_timeout(std::time::Duration::from_secs(30)).unwrap_or_else(|_| panic!("{what} does not return"))
}
