// SPDX-License-Identifier: MPL-2.0
//! The properties: those that `lipsync` shares with `lipsyncsrc`, and its own.

use gst::glib;
use gst::prelude::*;

use crate::property::{self, Property, property};
use crate::settings as common;

/// The default of the property `qos`.
const QOS: bool = true;
/// The default of the property `last-frame`: none is the last.
const LAST_FRAME: u64 = u64::MAX;

/// The values of the properties that can be set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Those that `lipsyncsrc` has as well.
    pub common: common::Settings,
    /// Frames that would be too late are not painted.
    pub qos: bool,
    /// Frames before it are counted, but neither painted nor sent.
    pub first_frame: u64,
    /// Behind it the stream ends.
    pub last_frame: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { common: common::Settings::default(), qos: QOS, first_frame: 0, last_frame: LAST_FRAME }
    }
}

/// Those that only `lipsync` has, each in one place.
const PROPERTIES: &[Property<Settings>] = &[
    property!("qos", qos, |name, _, _| {
        glib::ParamSpecBoolean::builder(name)
            .nick("Quality of service")
            .blurb("Repeat the last picture instead of painting one that would be too late to be shown")
            .default_value(QOS)
            .mutable_playing()
            .build()
    }),
    property!("first-frame", first_frame, |name, _, _| {
        glib::ParamSpecUInt64::builder(name)
            .nick("First frame")
            .blurb(
                "Number of the first frame to paint and send, from 0: of a part of a long video. The sound before it is heard, so that \
                 the frames are those of the whole video",
            )
            .default_value(0)
            .mutable_ready()
            .build()
    }),
    property!("last-frame", last_frame, |name, _, _| {
        glib::ParamSpecUInt64::builder(name)
            .nick("Last frame")
            .blurb("Number of the last frame to paint and send, behind which the stream ends")
            .default_value(LAST_FRAME)
            .mutable_ready()
            .build()
    }),
];

/// All properties of `lipsync` that can be set, as `gst-inspect-1.0` shows them.
pub fn properties() -> Vec<glib::ParamSpec> {
    let mut properties = property::specs(common::PROPERTIES, false);
    properties.extend(property::specs(PROPERTIES, false));
    properties
}

impl Settings {
    /// Sets a property, if it can be set; GObject has checked its type.
    pub fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        property::set(common::PROPERTIES, &mut self.common, name, value)
            || property::set(PROPERTIES, self, name, value)
    }

    /// The value of a property, if it can be set.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        let common = property::value(common::PROPERTIES, &self.common, name);
        common.or_else(|| property::value(PROPERTIES, self, name))
    }
}
