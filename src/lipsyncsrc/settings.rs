// SPDX-License-Identifier: MPL-2.0
//! The properties: those that `lipsyncsrc` shares with `lipsync`, and its own.

use gst::glib;
use gst::prelude::*;

use crate::property::{self, Property, property};
use crate::settings as common;

/// The values of the properties that can be set.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Those that `lipsync` has as well.
    pub common: common::Settings,
    /// Those that only `lipsyncsrc` has.
    pub live: LiveSettings,
}

impl Settings {
    /// Sets a property, if it can be set; GObject has checked its type.
    pub fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        property::set(common::PROPERTIES, &mut self.common, name, value)
            || property::set(PROPERTIES, &mut self.live, name, value)
    }

    /// The value of a property, if it can be set.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        let common = property::value(common::PROPERTIES, &self.common, name);
        common.or_else(|| property::value(PROPERTIES, &self.live, name))
    }
}

/// The values of the properties that only `lipsyncsrc` has.
#[derive(Debug, Clone)]
pub struct LiveSettings {
    pub max_backlog: gst::ClockTime,
    pub inference_interval: u32,
    /// dB of full scale.
    pub silence_level: f64,
    /// Frames; negative for no end.
    pub num_buffers: i32,
    /// Nanoseconds.
    pub audio_offset: i64,
}

impl Default for LiveSettings {
    fn default() -> Self {
        Self {
            max_backlog: gst::ClockTime::from_seconds(30),
            inference_interval: 1,
            silence_level: -50.0,
            num_buffers: -1,
            audio_offset: 0,
        }
    }
}

/// Those that only `lipsyncsrc` has, each in one place.
const PROPERTIES: &[Property<LiveSettings>] = &[
    property!("max-backlog", max_backlog, |name, default, _| {
        glib::ParamSpecUInt64::builder(name)
            .nick("Maximum backlog")
            .blurb("Nanoseconds of sound that may wait to be spoken; whoever sends more waits. 0.1 s to 1 hour (3600000000000); 30 s let a text-to-speech run ahead, 0.5 s let upstream feel at once how fast it is spoken")
            .minimum(gst::ClockTime::from_mseconds(100).nseconds())
            .maximum(gst::ClockTime::from_seconds(3600).nseconds())
            .default_value(default.max_backlog.nseconds())
            .mutable_playing()
            .build()
    }),
    property!("inference-interval", inference_interval, |name, default, _| {
        glib::ParamSpecUInt::builder(name)
            .nick("Inference interval")
            .blurb("Paint a new mouth in every so many frames and hold it in between, 1 to 25: 2 halves the work and is hardly seen, from 4 on the lips lag. It grows by itself while the machine cannot keep up, and comes down to this again within seconds")
            .minimum(1)
            .maximum(super::overload::LONGEST_INTERVAL)
            .default_value(default.inference_interval)
            .mutable_playing()
            .build()
    }),
    property!("silence-level", silence_level, |name, default, _| {
        glib::ParamSpecDouble::builder(name)
            .nick("Silence level")
            .blurb("Sound below this, in dB of full scale, is silence: the presenter is at rest. -60 for clean text-to-speech, -50 to -40 for a microphone in a room; at 0 it never speaks")
            .minimum(-100.0)
            .maximum(0.0)
            .default_value(default.silence_level)
            .mutable_ready()
            .build()
    }),
    property!("num-buffers", num_buffers, |name, default, _| {
        glib::ParamSpecInt::builder(name)
            .nick("Number of buffers")
            .blurb("Frames to send before the end of the stream, 25 for a second; -1 = no end. Afterwards sound that is sent to the element is refused with EOS")
            .minimum(-1)
            .default_value(default.num_buffers)
            .mutable_ready()
            .build()
    }),
    property!("audio-offset", audio_offset, |name, default, _| {
        glib::ParamSpecInt64::builder(name)
            .nick("Audio offset")
            .blurb("Nanoseconds by which the timestamps of the sound are moved against those of the picture, up to a second either way; usually 0, or -20 to -50 ms: below zero where what comes behind delays the sound and does not tell, as avenc_aac does by 21333333 (-21333333) at 48 kHz")
            .minimum(-1_000_000_000)
            .maximum(1_000_000_000)
            .default_value(default.audio_offset)
            .mutable_playing()
            .build()
    }),
];

/// All properties of `lipsyncsrc` that tell how it is set or what it does, as `gst-inspect-1.0` shows them.
pub fn properties() -> Vec<glib::ParamSpec> {
    let mut properties = property::specs(common::PROPERTIES, true);
    properties.extend(property::specs(PROPERTIES, true));
    properties.extend([
        glib::ParamSpecBoolean::builder("speaking")
            .nick("Speaking")
            .blurb("Whether the presenter speaks in the picture that goes out now; changes are notified, and told on the bus as element messages lipsync-speech-start and lipsync-speech-end with their running-time. The action signal interrupt ends it within two frames, and returns how much was played (docs/live.md)")
            .read_only()
            .build(),
        glib::ParamSpecUInt64::builder("backlog")
            .nick("Backlog")
            .blurb("Nanoseconds of sound that wait to be spoken, up to max-backlog; changes are notified. The action signal interrupt drops all of it")
            .read_only()
            .build(),
    ]);
    properties
}
