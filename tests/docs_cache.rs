// SPDX-License-Identifier: MPL-2.0
//! docs/plugins/gst_plugins_cache.json, from which GStreamer's documentation is made, says what the elements have.
//!
//! GStreamer's own modules have the same file, written by gst-hotdoc-plugins-scanner, which Debian does not package. This writes
//! what that writes, to the byte, and with `LIPSYNC_WRITE_DOCS_CACHE` set puts it there.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::gst::{init, signal_names};
use gst::glib;
use gst::glib::subclass::SignalId;
use gst::prelude::*;
use serde::Serialize;
use serde_json::{Map, Value, json};

#[test]
fn the_cache_for_the_documentation_is_that_of_the_elements() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/plugins/gst_plugins_cache.json");
    let text = text(&cache());
    if std::env::var_os("LIPSYNC_WRITE_DOCS_CACHE").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert!(
        std::fs::read_to_string(&path).unwrap() == text,
        "{} is stale: run make docs-cache",
        path.display()
    );
}

/// As Python's json writes it, four spaces to a level.
fn text(cache: &Value) -> String {
    let mut text = Vec::new();
    let form = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    cache.serialize(&mut serde_json::Serializer::with_formatter(&mut text, form)).unwrap();
    String::from_utf8(text).unwrap()
}

fn cache() -> Value {
    init();
    let registry = gst::Registry::get();
    let plugin = registry.find_plugin("lipsync").unwrap();
    let mut elements = Map::new();
    let mut types = BTreeMap::new();
    for feature in registry.features_by_plugin("lipsync") {
        let factory = feature.downcast::<gst::ElementFactory>().unwrap();
        elements.insert(factory.name().into(), element(&factory, &mut types));
    }
    json!({ "lipsync": {
        "description": plugin.description().as_str(),
        "elements": elements,
        "filename": "gstlipsync",
        "license": plugin.license().as_str(),
        "other-types": types,
        "package": plugin.package().as_str(),
        "source": plugin.source().as_str(),
        "tracers": {},
        "url": plugin.origin().as_str(),
    }})
}

fn element(factory: &gst::ElementFactory, types: &mut BTreeMap<String, Value>) -> Value {
    let element = factory.create().build().unwrap();
    let kind = element.type_();
    let hierarchy: Vec<&str> =
        std::iter::successors(Some(kind), |kind| kind.parent()).map(|kind| kind.name()).collect();
    assert!(kind.interfaces().is_empty(), "interfaces are not written yet");
    assert_eq!(factory.rank(), gst::Rank::NONE, "other ranks are not written yet");
    let mut of_element = json!({
        "author": factory.metadata("author"),
        "description": factory.metadata("description"),
        "hierarchy": hierarchy,
        "klass": factory.metadata("klass"),
        "pad-templates": pad_templates(&element),
        "rank": "none",
        "signals": signals(kind),
    });
    let mut properties = Map::new();
    for spec in element.list_properties().iter().filter(|spec| spec.owner_type() == kind) {
        properties.insert(spec.name().into(), property(&element, spec));
        if let Some(values) = enum_values(spec.value_type()) {
            types.insert(spec.value_type().name().into(), values);
        }
    }
    of_element["properties"] = properties.into();
    of_element
}

fn pad_templates(element: &gst::Element) -> Value {
    let of_template = |template: gst::PadTemplate| {
        let direction = if template.direction() == gst::PadDirection::Src { "src" } else { "sink" };
        let presence = format!("{:?}", template.presence()).to_lowercase();
        let caps = caps(template.documentation_caps());
        (
            template.name_template().into(),
            json!({ "caps": caps, "direction": direction, "presence": presence }),
        )
    };
    element.pad_template_list().into_iter().map(of_template).collect::<Map<_, _>>().into()
}

/// A line for each structure, and for each field of it.
fn caps(caps: &gst::Caps) -> String {
    let mut lines = String::new();
    for structure in caps.iter() {
        lines += &format!("{}:\n", structure.name());
        for (field, value) in structure.iter() {
            let mut text = value.serialize().unwrap().to_string();
            if ["format", "rate"].contains(&field.as_str()) {
                text = text.replace("(string)", "");
            }
            lines += &format!("{:>15}: {text}\n", field.as_str());
        }
    }
    lines
}

fn signals(kind: glib::Type) -> Value {
    let of_signal = |name: String| {
        let signal = SignalId::lookup(&name, kind).unwrap().query();
        let flags = signal.flags();
        assert_eq!(
            flags,
            glib::SignalFlags::RUN_LAST | glib::SignalFlags::ACTION,
            "{name}: other flags are not written yet"
        );
        let arguments = signal.param_types().iter().enumerate();
        let arguments: Vec<Value> = arguments
            .map(|(i, kind)| json!({ "name": format!("arg{i}"), "type": kind.type_().name() }))
            .collect();
        let returns = signal.return_type().type_().name();
        (name, json!({ "action": true, "args": arguments, "return-type": returns, "when": "last" }))
    };
    signal_names(kind).into_iter().map(of_signal).collect::<Map<_, _>>().into()
}

fn property(element: &gst::Element, spec: &glib::ParamSpec) -> Value {
    let has = |flag| spec.flags().contains(flag);
    let mutable = [
        (gst::PARAM_FLAG_MUTABLE_PLAYING, "playing"),
        (gst::PARAM_FLAG_MUTABLE_PAUSED, "paused"),
        (gst::PARAM_FLAG_MUTABLE_READY, "ready"),
    ];
    let mutable = mutable.into_iter().find(|(flag, _)| has(*flag)).map_or("null", |(_, name)| name);
    let mut property = json!({
        "blurb": spec.blurb(),
        "conditionally-available": has(gst::PARAM_FLAG_CONDITIONALLY_AVAILABLE),
        "construct": has(glib::ParamFlags::CONSTRUCT),
        "construct-only": has(glib::ParamFlags::CONSTRUCT_ONLY),
        "controllable": has(gst::PARAM_FLAG_CONTROLLABLE),
        "mutable": mutable,
        "readable": has(glib::ParamFlags::READABLE),
        "type": spec.value_type().name(),
        "writable": has(glib::ParamFlags::WRITABLE),
    });
    // What a new element has, which is the default.
    let value = element.property_value(spec.name());
    property["default"] = default_of(&value).into();
    if let Some((min, max)) = range(spec) {
        property["min"] = min.into();
        property["max"] = max.into();
    }
    property
}

fn default_of(value: &glib::Value) -> String {
    if let Some((_, value)) = glib::EnumValue::from_value(value) {
        return format!("{} ({})", value.nick(), value.value());
    }
    match value.type_() {
        glib::Type::STRING => value.get::<Option<String>>().unwrap().unwrap_or_else(|| "NULL".into()),
        glib::Type::BOOL => value.get::<bool>().unwrap().to_string(),
        glib::Type::F64 => value.get::<f64>().unwrap().to_string(),
        glib::Type::U32 => signed(value.get().unwrap()),
        glib::Type::I32 => value.get::<i32>().unwrap().to_string(),
        glib::Type::U64 => value.get::<u64>().unwrap().to_string(),
        glib::Type::I64 => value.get::<i64>().unwrap().cast_unsigned().to_string(),
        _ => value.get::<gst::Structure>().unwrap().to_string(),
    }
}

/// The least and the greatest value of a property that has such.
fn range(spec: &glib::ParamSpec) -> Option<(String, String)> {
    if let Some(spec) = spec.downcast_ref::<glib::ParamSpecUInt>() {
        Some((signed(spec.minimum()), signed(spec.maximum())))
    } else if let Some(spec) = spec.downcast_ref::<glib::ParamSpecInt>() {
        Some((spec.minimum().to_string(), spec.maximum().to_string()))
    } else if let Some(spec) = spec.downcast_ref::<glib::ParamSpecUInt64>() {
        Some((spec.minimum().to_string(), spec.maximum().to_string()))
    } else if let Some(spec) = spec.downcast_ref::<glib::ParamSpecInt64>() {
        Some((spec.minimum().to_string(), spec.maximum().to_string()))
    } else {
        let spec = spec.downcast_ref::<glib::ParamSpecDouble>()?;
        Some((spec.minimum().to_string(), spec.maximum().to_string()))
    }
}

/// The scanner prints whole numbers of 32 bits as if all had a sign.
fn signed(value: u32) -> String {
    value.cast_signed().to_string()
}

/// The values of an enum of the plugin.
fn enum_values(kind: glib::Type) -> Option<Value> {
    let class = glib::EnumClass::with_type(kind).filter(|_| kind.plugin_api_flags().is_some())?;
    let values = class.values().iter();
    let values: Vec<Value> = values
        .map(
            |value| json!({ "desc": value.name(), "name": value.nick(), "value": value.value().to_string() }),
        )
        .collect();
    Some(json!({ "kind": "enum", "values": values }))
}
