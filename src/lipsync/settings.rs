// SPDX-License-Identifier: MPL-2.0
//! The properties: those that `lipsync` shares with `lipsyncsrc`, and its own.

use gst::glib;
use gst::prelude::*;

use crate::settings::{self as common, get};

/// The default of the property `qos`.
const QOS: bool = true;

/// The values of the properties that can be set.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Those that `lipsyncsrc` has as well.
    pub common: common::Settings,
    /// Frames that would be too late are not painted.
    pub qos: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { common: common::Settings::default(), qos: QOS }
    }
}

/// Those that only `lipsync` has, as `gst-inspect-1.0` shows them.
pub fn properties() -> Vec<glib::ParamSpec> {
    vec![
        glib::ParamSpecBoolean::builder("qos")
            .nick("Quality of service")
            .blurb("Repeat the last picture instead of painting one that would be too late to be shown")
            .default_value(QOS)
            .mutable_playing()
            .build(),
    ]
}

impl Settings {
    /// Sets a property, if it can be set; GObject has checked its type.
    pub fn set(&mut self, name: &str, value: &glib::Value) -> bool {
        match name {
            "qos" => self.qos = get(value),
            _ => return self.common.set(name, value),
        }
        true
    }

    /// The value of a property, if it can be set.
    pub fn get(&self, name: &str) -> Option<glib::Value> {
        match name {
            "qos" => Some(self.qos.to_value()),
            _ => self.common.get(name),
        }
    }
}
