// SPDX-License-Identifier: MPL-2.0
//! docs/embedding.md lists what the elements have, and nothing else: properties, signals, pads, events, messages, error codes.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::gst::{avatar, init, pipeline, signal_names, sound};
use common::studio::{FRAME, SECOND, Studio};
use gst::glib;
use gst::prelude::*;

const ELEMENTS: [&str; 2] = ["lipsync", "lipsyncsrc"];

/// The page.
fn page() -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/embedding.md")).unwrap()
}

/// The cells of the tables below a heading, up to the next one: a row for each line but the head.
fn rows(heading: &str) -> Vec<Vec<String>> {
    let page = page();
    let (_, section) = page.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no {heading}"));
    let section = section.split("\n#").next().unwrap();
    let mut rows = Vec::new();
    let mut lines = section.lines().peekable();
    while let Some(line) = lines.next() {
        let is_head = lines.peek().is_some_and(|next| next.starts_with("|---"));
        if line.starts_with("| ") && !is_head {
            rows.push(line.trim_matches('|').split('|').map(|cell| cell.trim().to_string()).collect());
        }
    }
    assert!(!rows.is_empty(), "no table below {heading}");
    rows
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_string).collect()
}

fn element(name: &str) -> gst::Element {
    init();
    gst::ElementFactory::make(name).build().unwrap()
}

/// The default of a property as the page shows it.
fn default_of(property: &glib::ParamSpec) -> String {
    let value = property.default_value();
    if let Some((_, value)) = glib::EnumValue::from_value(value) {
        return format!("`{}`", value.nick());
    }
    match value.type_() {
        glib::Type::STRING => match value.get::<Option<String>>().unwrap() {
            Some(text) if !text.is_empty() => format!("`{text}`"),
            _ => "empty".into(),
        },
        glib::Type::F64 => format!("`{}`", value.get::<f64>().unwrap()),
        glib::Type::BOOL => format!("`{}`", value.get::<bool>().unwrap()),
        _ => format!("`{}`", value.transform::<i64>().unwrap().get::<i64>().unwrap()),
    }
}

/// A row of the page for a property of an element.
fn row_of(property: &glib::ParamSpec) -> Vec<String> {
    let flags = property.flags();
    let is_writable = flags.contains(glib::ParamFlags::WRITABLE);
    let can_play = flags.contains(gst::PARAM_FLAG_MUTABLE_PLAYING);
    let mut set = match (is_writable, can_play) {
        (false, _) => "read-only",
        (true, true) => "PLAYING",
        (true, false) => "READY",
    }
    .to_string();
    if flags.contains(gst::PARAM_FLAG_CONTROLLABLE) {
        set += ", controllable";
    }
    let default = if is_writable { default_of(property) } else { String::new() };
    vec![format!("`{}`", property.name()), property.value_type().name().into(), default, set]
}

#[test]
fn it_lists_the_properties() {
    let of = |name: &str| -> BTreeMap<String, Vec<String>> {
        let element = element(name);
        let own = |property: &&glib::ParamSpec| property.owner_type() == element.type_();
        let properties = element.list_properties();
        properties.iter().filter(own).map(|property| (property.name().into(), row_of(property))).collect()
    };
    let [offline, live] = ELEMENTS.map(of);
    let sections = [
        ("### Of both elements", &offline, &live, true),
        ("### Of `lipsync` only", &offline, &live, false),
        ("### Of `lipsyncsrc` only", &live, &offline, false),
    ];
    for (heading, properties, others, in_both) in sections {
        let expected: BTreeMap<&String, &Vec<String>> =
            properties.iter().filter(|(name, _)| others.contains_key(*name) == in_both).collect();
        let rows = rows(heading);
        let listed: BTreeSet<String> = rows.iter().flat_map(|row| quoted(&row[0])).collect();
        assert_eq!(listed, expected.keys().map(|name| name.to_string()).collect(), "{heading}");
        for row in rows {
            let mut row = row[..4].to_vec();
            row[3] = row[3].trim_end_matches(", notified").to_string();
            let name = quoted(&row[0])[0].clone();
            let (mut mine, mut other) = (expected[&name].clone(), others.get(&name).cloned());
            if let Some(other) = other.as_mut().filter(|other| other[3] != mine[3]) {
                let both = format!("`lipsync`: {}, `lipsyncsrc`: {}", mine[3], other[3]);
                (mine[3], other[3]) = (both.clone(), both);
            }
            assert_eq!(row, mine);
            assert!(other.is_none_or(|other| other == mine), "{name} is not the same in both");
        }
    }
}

/// The names of an element's own signals, with what they take and return.
fn signals(name: &str) -> BTreeMap<String, (Vec<String>, String)> {
    let kind = element(name).type_();
    let query = |name: &String| {
        let query = glib::subclass::SignalId::lookup(name, kind).unwrap().query();
        let takes = query.param_types().iter().map(|kind| kind.type_().name().to_string()).collect();
        let returns = query.return_type().type_();
        let returns = if returns == glib::Type::UNIT { String::new() } else { returns.name().into() };
        (name.clone(), (takes, returns))
    };
    signal_names(kind).iter().map(query).collect()
}

#[test]
fn it_lists_the_signals() {
    let of = ELEMENTS.map(signals);
    let rows = rows("## Signals");
    let all: BTreeSet<String> = of.iter().flat_map(BTreeMap::keys).cloned().collect();
    assert_eq!(rows.iter().flat_map(|row| quoted(&row[0])).collect::<BTreeSet<_>>(), all);
    for row in rows {
        let name = quoted(&row[0])[0].clone();
        let has = of.each_ref().map(|signals| signals.contains_key(&name));
        let element = if has == [true, true] { "both" } else { "`lipsyncsrc`" };
        let (takes, returns) = of[1][&name].clone();
        assert_eq!(row[1], element, "{name}");
        assert_eq!(row[2].split(':').next().unwrap(), takes.join(", "), "{name}");
        assert_eq!(row[3], returns, "{name}");
    }
}

#[test]
fn it_lists_the_pads() {
    let mut listed = Vec::new();
    let mut element_name = String::new();
    for row in rows("## Pads") {
        element_name = quoted(&row[0]).first().cloned().unwrap_or(element_name);
        listed.push((element_name.clone(), quoted(&row[1])[0].clone(), row[2].clone()));
    }
    listed.sort();
    let mut pads = Vec::new();
    for name in ELEMENTS {
        for template in element(name).pad_template_list() {
            let presence = format!("{:?}", template.presence()).to_lowercase();
            pads.push((name.to_string(), template.name_template().to_string(), presence));
        }
    }
    pads.sort();
    assert_eq!(listed, pads);
}

/// All sources of the elements, without their tests.
fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
            let text = std::fs::read_to_string(path).unwrap();
            found.push(text.split("#[cfg(test)]\nmod tests").next().unwrap().to_string());
        }
    }
}

fn all_sources() -> String {
    let mut found = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    found.join("\n")
}

#[test]
fn it_lists_the_structures_of_the_sources() {
    let sources = all_sources();
    let threads = ["lipsync-load", "lipsync-sched"];
    let mut names: BTreeSet<&str> = sources.split('"').filter(|text| text.starts_with("lipsync-")).collect();
    names.retain(|name| !threads.contains(name) && name.bytes().all(|c| c == b'-' || c.is_ascii_lowercase()));
    let rows = [rows("## Events"), rows("## Messages")].concat();
    let listed = rows.iter().filter_map(|row| quoted(&row[0]).into_iter().next());
    let listed: BTreeSet<String> = listed.filter(|name| name.starts_with("lipsync-")).collect();
    let listed: BTreeSet<&str> = listed.iter().map(String::as_str).collect();
    assert_eq!(names, listed);
}

#[test]
fn it_lists_the_codes_of_the_sources() {
    let sources = all_sources();
    let mut codes = BTreeSet::new();
    for part in sources.split("gst::").skip(1) {
        let Some((domain, rest)) = part.split_once("Error::") else { continue };
        let code: String = rest.chars().take_while(char::is_ascii_alphanumeric).collect();
        if ["Core", "Library", "Resource", "Stream"].contains(&domain) {
            let words = code.chars().enumerate().flat_map(|(i, c)| {
                let gap = (i > 0 && c.is_ascii_uppercase()).then_some('_');
                gap.into_iter().chain([c.to_ascii_uppercase()])
            });
            let code: String = words.collect();
            codes.insert(format!("GST_{}_ERROR_{code}", domain.to_uppercase()));
        }
    }
    // What gstreamer-rs posts for a panic.
    codes.insert("GST_LIBRARY_ERROR_FAILED".into());
    let listed: BTreeSet<String> =
        rows("## Errors and warnings").iter().flat_map(|row| quoted(&row[0])).collect();
    assert_eq!(listed, codes);
}

/// Checks that the page lists a message of an element with its fields, their types and no others but optional ones.
fn assert_listed(element: &str, message: &gst::StructureRef) {
    let rows = rows("## Messages");
    let row = rows.iter().find(|row| row[0] == format!("`{}`", message.name()));
    let row = row.unwrap_or_else(|| panic!("{message} is not listed"));
    assert!(row[1] == "both" || row[1] == format!("`{element}`"), "{element} posts {message}");
    for (field, value) in message.iter() {
        let listed = format!("`{field}` {}", value.type_().name());
        assert!(row[2].contains(&listed), "{} lacks {listed}", message.name());
    }
    let mut is_of_live_only = false;
    for part in row[2].split([',', ';']).filter(|part| part.contains('`')) {
        is_of_live_only |= part.contains("of `lipsyncsrc`");
        let field = quoted(part).pop().unwrap();
        let is_needed = !part.contains("(optional)") && (!is_of_live_only || element == "lipsyncsrc");
        assert!(message.has_field(&field) || !is_needed, "{message} has no {field}");
    }
}

/// Element messages among `messages`, checked; their names.
fn check_messages<'a>(
    element: &str,
    messages: impl IntoIterator<Item = &'a gst::StructureRef>,
) -> BTreeSet<String> {
    let checked = messages.into_iter().inspect(|message| assert_listed(element, message));
    checked.map(|message| message.name().to_string()).collect()
}

/// Names of the messages that the page lists for an element.
fn listed_messages(element: &str) -> BTreeSet<String> {
    let rows = rows("## Messages").into_iter().filter(|row| row[0].starts_with("`lipsync-"));
    let own = rows.filter(|row| row[1] == "both" || row[1] == format!("`{element}`"));
    own.map(|row| quoted(&row[0])[0].clone()).collect()
}

/// Checks that the page lists the fields of `stats` of an element, with their types, and no others.
fn assert_stats_listed(element: &gst::Element) {
    let name = element.factory().unwrap().name();
    let stats = element.property::<gst::Structure>("stats");
    let mut listed = BTreeSet::new();
    for row in rows("### Stats") {
        if row[2] == "both" || row[2] == format!("`{name}`") {
            listed.extend(quoted(&row[0]).into_iter().map(|field| (field, row[1].clone())));
        }
    }
    let fields = stats.iter().map(|(field, value)| (field.to_string(), value.type_().name().to_string()));
    assert_eq!(listed, fields.collect());
    assert!(page().contains(&format!("`{}`", stats.name())));
}

#[test]
fn it_lists_what_the_live_element_posts() {
    const MONO: &str = "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";
    let mut studio = Studio::new(&avatar("own"), MONO);
    studio.run_until(SECOND);
    studio.begin("a");
    studio.say_now(&[9000; 8000]);
    studio.end();
    studio.run_until(studio.now + 2 * SECOND);
    studio.begin("b");
    studio.say_now(&[9000; 32_000]);
    studio.run_until(studio.now + SECOND);
    let answer = studio.interrupt();
    assert_listed("lipsyncsrc", &answer);
    studio.element.set_property("avatar", common::fixture("avatars/own_160").to_str().unwrap());
    let start = Instant::now();
    while studio.told(&["lipsync-avatar-changed"]).is_empty() {
        assert!(start.elapsed() < Duration::from_secs(60), "no other avatar: {:?}", studio.complaints());
        studio.run_until(studio.now + FRAME);
    }
    let told: Vec<gst::Structure> = studio
        .messages()
        .iter()
        .filter(|message| message.type_() == gst::MessageType::Element)
        .filter_map(|message| message.structure().map(ToOwned::to_owned))
        .collect();
    let names = check_messages("lipsyncsrc", told.iter().map(AsRef::as_ref));
    assert_eq!(names, listed_messages("lipsyncsrc"));
    assert_stats_listed(&studio.element);
}

#[test]
fn it_lists_what_the_other_element_posts() {
    let (sound, avatar) = (sound("speech"), avatar("own"));
    let line = format!("{sound} ! identity name=mark ! lipsync name=lipsync {avatar} ! fakesink");
    let pipeline = pipeline(&line);
    // Two utterances: one that ends, and one that a flush cuts short.
    let event = |kind: &str, id: &str| common::stress::utterance_event(kind, Some(id));
    let (marked, sink) = (pipeline.by_name("mark").unwrap(), pipeline.by_name("lipsync").unwrap());
    let source = marked.static_pad("src").unwrap();
    let buffers = AtomicU32::new(0);
    source.add_probe(gst::PadProbeType::BUFFER, move |pad, _| {
        match buffers.fetch_add(1, Ordering::SeqCst) + 1 {
            1 => assert!(pad.push_event(event("start", "a"))),
            3 => assert!(pad.push_event(event("end", "a"))),
            4 => assert!(pad.push_event(event("start", "b"))),
            8 => {
                assert!(pad.push_event(gst::event::FlushStart::new()));
                assert!(pad.push_event(gst::event::FlushStop::new(true)));
                let segment = gst::FormattedSegment::<gst::ClockTime>::new();
                assert!(pad.push_event(gst::event::Segment::new(&segment)));
            }
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
    pipeline.set_state(gst::State::Playing).unwrap();
    let bus = pipeline.bus().unwrap();
    let mut told = Vec::new();
    loop {
        let message = bus.timed_pop(gst::ClockTime::from_seconds(60)).expect("an end");
        match message.view() {
            gst::MessageView::Eos(_) => break,
            gst::MessageView::Error(error) => panic!("{error:?}"),
            gst::MessageView::Element(element) => told.extend(element.structure().map(ToOwned::to_owned)),
            _ => {}
        }
    }
    assert_stats_listed(&sink);
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(check_messages("lipsync", told.iter().map(AsRef::as_ref)), listed_messages("lipsync"));
}
