// SPDX-License-Identifier: MPL-2.0
//! `lipsync` beside `identity` and `queue`: the same events, seeks, queries, states and flows have the same outcome,
//! but for what video instead of sound, and a face that speaks forward only, make different.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::gst::{avatar, init, pipeline, sound};
use common::record::{Entry, Record, complaints, wait_for_message};
use gst::prelude::*;

const SECOND: gst::ClockTime = gst::ClockTime::SECOND;
const TENTH: gst::ClockTime = gst::ClockTime::from_mseconds(100);

/// The elements to compare: the controls first.
fn elements() -> [String; 3] {
    ["identity".into(), "queue".into(), format!("lipsync {}", avatar("own_160"))]
}

/// Checks that what is observed at `lipsync` is what is observed at one of the controls.
fn assert_same<T: PartialEq + std::fmt::Debug>(what: &str, observe: impl Fn(&str) -> T) {
    init();
    let [identity, queue, lipsync] = elements().map(|element| observe(&element));
    assert!(
        lipsync == identity || lipsync == queue,
        "{what}: {lipsync:#?}, identity {identity:#?}, queue {queue:#?}"
    );
}

/// An element alone, fed by hand.
struct Fed {
    harness: gst_check::Harness,
    record: Record,
    position: gst::ClockTime,
}

impl Fed {
    fn new(element: &str) -> Self {
        let bin = gst::parse::bin_from_description_with_name(element, true, "e").unwrap();
        let mut harness = gst_check::Harness::with_element(&bin, Some("sink"), Some("src"));
        let record = Record::of(&bin.static_pad("src").unwrap());
        harness.set_src_caps_str("audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved");
        Self { harness, record, position: gst::ClockTime::ZERO }
    }

    /// Pushes a tenth of a second.
    fn push(&mut self) -> Result<gst::FlowSuccess, gst::FlowError> {
        let mut buffer = gst::Buffer::from_slice([1u8, 2].repeat(1600));
        let inside = buffer.get_mut().unwrap();
        inside.set_pts(self.position);
        inside.set_duration(TENTH);
        self.position += TENTH;
        self.harness.push(buffer)
    }

    fn push_second(&mut self) {
        for _ in 0..10 {
            self.push().unwrap();
        }
    }

    fn event(&mut self, event: gst::Event) -> bool {
        self.harness.push_event(event)
    }

    fn end(&mut self) {
        self.event(gst::event::Eos::new());
        self.wait_for_end(1);
    }

    fn wait_for_end(&self, times: usize) {
        self.record.wait_for("end", |entries| {
            entries.iter().filter(|entry| entry.event(gst::EventType::Eos).is_some()).count() >= times
        });
    }
}

fn segment(start: gst::ClockTime) -> gst::Event {
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_start(start);
    segment.set_time(start);
    segment.set_base(start);
    gst::event::Segment::new(&segment)
}

/// Every serialized event that is no sound by itself.
fn serialized_events() -> Vec<gst::Event> {
    init();
    let structure = || gst::Structure::builder("application/x-test").field("n", 1).build();
    let mut tags = gst::TagList::new();
    tags.get_mut().unwrap().add::<gst::tags::Title>(&"title", gst::TagMergeMode::Append);
    tags.get_mut().unwrap().set_scope(gst::TagScope::Global);
    let toc = gst::Toc::new(gst::TocScope::Global);
    vec![
        gst::event::StreamStart::builder("another").group_id(gst::GroupId::next()).build(),
        segment(gst::ClockTime::ZERO),
        segment(SECOND),
        gst::event::Tag::new(tags),
        gst::event::Toc::new(&toc, false),
        gst::event::CustomDownstream::new(structure()),
        gst::event::CustomBoth::new(structure()),
        gst::event::CustomDownstreamSticky::new(structure()),
        gst::event::StreamGroupDone::new(gst::GroupId::next()),
        gst::event::SegmentDone::new(2 * SECOND),
    ]
}

#[test]
fn serialized_events_keep_their_place() {
    for event in serialized_events() {
        assert_same(&format!("{event:?}"), |element| {
            let mut fed = Fed::new(element);
            fed.push_second();
            let taken = fed.event(event.clone());
            fed.push_second();
            fed.end();
            let entries = fed.record.entries();
            // The last of that type: some come at the start as well.
            let place = entries.iter().rposition(|entry| entry.event(event.type_()).is_some()).unwrap();
            let before = entries[..place].iter().rev().find_map(|entry| match entry {
                Entry::Buffer(_, end) => Some(*end),
                Entry::Event(_) => None,
            });
            let after = entries[place..].iter().find_map(|entry| match entry {
                Entry::Buffer(start, _) => Some(*start),
                Entry::Event(_) => None,
            });
            let same_number = entries[place].event(event.type_()).unwrap().seqnum() == event.seqnum();
            (taken, before, after, same_number)
        });
    }
}

#[test]
fn events_before_the_sound_come_before_it() {
    for event in serialized_events() {
        assert_same(&format!("{event:?}"), |element| {
            let mut fed = Fed::new(element);
            let taken = fed.event(event.clone());
            fed.record.wait_for("event", |entries| {
                entries
                    .iter()
                    .any(|entry| entry.event(event.type_()).is_some_and(|e| e.seqnum() == event.seqnum()))
            });
            let buffers = fed.record.buffers();
            fed.push_second();
            fed.end();
            (taken, buffers)
        });
    }
}

#[test]
fn an_end_may_be_followed_by_a_new_stream() {
    assert_same("a new stream behind the end", |element| {
        let mut fed = Fed::new(element);
        fed.push_second();
        fed.end();
        let refused = fed.push();
        fed.event(gst::event::StreamStart::new("second"));
        fed.event(segment(SECOND));
        fed.position = SECOND;
        fed.push_second();
        fed.event(gst::event::Eos::new());
        fed.wait_for_end(2);
        let last = fed.record.entries().iter().rev().find_map(|entry| match entry {
            Entry::Buffer(_, end) => Some(*end),
            Entry::Event(_) => None,
        });
        (refused, last)
    });
}

#[test]
fn a_new_stream_goes_on_where_downstream_had_had_enough() {
    assert_same("a new stream after the end of downstream", |element| {
        let mut fed = Fed::new(element);
        let enough = Arc::new(AtomicBool::new(true));
        let had = enough.clone();
        let pad = fed.harness.element().unwrap().static_pad("src").unwrap();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if !had.load(Ordering::SeqCst) {
                return gst::PadProbeReturn::Ok;
            }
            info.flow_res = Err(gst::FlowError::Eos);
            info.data = None;
            gst::PadProbeReturn::Handled
        });
        let refused = (0..1000).find_map(|_| fed.push().err());
        enough.store(false, Ordering::SeqCst);
        fed.record.take();
        fed.event(gst::event::StreamStart::new("another"));
        fed.event(segment(100 * SECOND));
        fed.position = 100 * SECOND;
        let pushed: Vec<_> = (0..10).map(|_| fed.push()).collect();
        fed.end();
        let times = |entries: Vec<Entry>| {
            let times = entries.into_iter().filter_map(|entry| match entry {
                Entry::Buffer(start, end) => Some((start, end)),
                Entry::Event(_) => None,
            });
            let times: Vec<_> = times.collect();
            (times.first().map(|first| first.0), times.last().map(|last| last.1))
        };
        (refused, pushed, times(fed.record.entries()))
    });
}

#[test]
fn a_flush_lets_go_on_from_anywhere() {
    for reset in [true, false] {
        for at in [0, 3, 10, 17] {
            assert_same(&format!("flush after {at} buffers, reset {reset}"), |element| {
                let mut fed = Fed::new(element);
                for _ in 0..at {
                    fed.push().unwrap();
                }
                let started = fed.event(gst::event::FlushStart::new());
                let refused = fed.push();
                let stopped = fed.event(gst::event::FlushStop::new(reset));
                fed.record.take();
                let taken = fed.event(segment(5 * SECOND));
                fed.position = 5 * SECOND;
                fed.push_second();
                fed.end();
                let entries = fed.record.entries();
                let first = entries.iter().find_map(|entry| match entry {
                    Entry::Buffer(start, _) => Some(*start),
                    Entry::Event(_) => None,
                });
                (started, refused, stopped, taken, first)
            });
        }
    }
}

#[test]
fn flows_of_downstream_reach_upstream() {
    use gst::FlowError::{CustomError, Eos, Error, Flushing, NotLinked, NotNegotiated};
    for flow in [Eos, Error, Flushing, NotLinked, NotNegotiated, CustomError] {
        assert_same(&format!("{flow:?}"), |element| {
            let mut fed = Fed::new(element);
            let pad = fed.harness.element().unwrap().static_pad("src").unwrap();
            pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
                info.flow_res = Err(flow);
                info.data = None;
                gst::PadProbeReturn::Handled
            });
            // How soon is a matter of threads.
            (0..1000).find_map(|_| fed.push().err())
        });
    }
}

/// A pipeline from the speech through an element, and what goes out of that.
fn speaking(element: &str, sink: &str) -> (gst::Pipeline, Record) {
    let line = format!("{} ! {element} name=e ! {sink}", sound("speech"));
    let pipeline = pipeline(&line);
    let record = Record::of(&pipeline.by_name("e").unwrap().static_pad("src").unwrap());
    (pipeline, record)
}

/// Waits until the state is reached, and says how that went.
fn reach(pipeline: &gst::Pipeline, state: gst::State) -> (gst::State, bool) {
    let set = pipeline.set_state(state).is_ok();
    let (result, state, _) = pipeline.state(gst::ClockTime::from_seconds(60));
    (state, set && result.is_ok())
}

#[test]
fn states_in_any_order() {
    use gst::State::{Null, Paused, Playing, Ready};
    let orders: [&[gst::State]; 8] = [
        &[Ready, Null, Ready, Null],
        &[Paused, Ready, Paused, Null],
        &[Playing, Paused, Playing, Paused, Null],
        &[Playing, Ready, Playing, Null, Playing, Null],
        &[Paused, Paused, Playing, Playing, Ready, Ready, Null],
        &[Null, Paused, Playing, Paused, Ready, Null],
        &[Ready, Playing, Null, Paused, Null],
        &[Playing, Null, Playing, Paused, Ready, Paused, Playing, Null],
    ];
    for order in orders {
        assert_same(&format!("{order:?}"), |element| {
            let (pipeline, _) = speaking(element, "fakesink sync=true");
            let reached: Vec<_> = order.iter().map(|state| reach(&pipeline, *state)).collect();
            pipeline.set_state(Null).unwrap();
            (reached, complaints(&pipeline))
        });
    }
}

#[test]
fn it_plays_again_after_its_end() {
    for between in [gst::State::Ready, gst::State::Null] {
        assert_same(&format!("{between:?}"), |element| {
            let (pipeline, record) = speaking(element, "fakesink sync=false");
            let mut ends = Vec::new();
            for _ in 0..3 {
                pipeline.set_state(gst::State::Playing).unwrap();
                let message = wait_for_message(&pipeline, &[gst::MessageType::Eos, gst::MessageType::Error]);
                let entries = record.take();
                let last = entries.iter().rev().find_map(|entry| match entry {
                    Entry::Buffer(start, _) => Some(start.seconds()),
                    Entry::Event(_) => None,
                });
                ends.push((message.type_(), last));
                pipeline.set_state(between).unwrap();
            }
            pipeline.set_state(gst::State::Null).unwrap();
            ends
        });
    }
}

/// A seek: its rate, flags, and both positions.
type Seek = (f64, gst::SeekFlags, Option<gst::ClockTime>, Option<gst::ClockTime>);

/// Seeks to try.
fn seeks() -> Vec<Seek> {
    let flush = gst::SeekFlags::FLUSH;
    let accurate = flush | gst::SeekFlags::ACCURATE;
    let half = 500 * gst::ClockTime::MSECOND;
    vec![
        (1.0, flush, Some(gst::ClockTime::ZERO), None),
        (1.0, accurate, Some(SECOND), None),
        (1.0, accurate, Some(SECOND + half), Some(2 * SECOND)),
        (1.0, flush | gst::SeekFlags::KEY_UNIT, Some(half), Some(SECOND)),
        (1.0, accurate, Some(3304 * gst::ClockTime::MSECOND), None),
        (1.0, accurate, Some(SECOND), Some(SECOND)),
        (1.0, accurate, None, Some(2 * SECOND)),
        (2.0, accurate, Some(gst::ClockTime::ZERO), None),
        (0.5, accurate, Some(2 * SECOND), Some(3 * SECOND)),
        (2.0, flush | gst::SeekFlags::TRICKMODE, Some(SECOND), None),
        (1.0, gst::SeekFlags::empty(), Some(SECOND), None),
        (1.0, accurate | gst::SeekFlags::SEGMENT, Some(SECOND), Some(2 * SECOND)),
        (1.0, gst::SeekFlags::SEGMENT, Some(SECOND), Some(2 * SECOND)),
    ]
}

fn seek_event((rate, flags, start, stop): Seek) -> gst::Event {
    let kind =
        |position: Option<_>| if position.is_some() { gst::SeekType::Set } else { gst::SeekType::None };
    gst::event::Seek::new(rate, flags, kind(start), start, kind(stop), stop)
}

/// Rate of the last segment, and start, stop and time in milliseconds.
fn last_segment(record: &Record) -> Option<(f64, [Option<u64>; 3])> {
    let event = record.events(gst::EventType::Segment).pop()?;
    let gst::EventView::Segment(event) = event.view() else { return None };
    let segment = event.segment().downcast_ref::<gst::ClockTime>()?.clone();
    let times = [segment.start(), segment.stop(), segment.time()];
    Some((segment.rate(), times.map(|time| time.map(|time| time.mseconds()))))
}

#[test]
fn seeks_end_where_they_should() {
    for state in [gst::State::Paused, gst::State::Playing] {
        for seek in seeks() {
            // Without a flush a seek waits for the sink, which waits in PAUSED.
            if state == gst::State::Paused && !seek.1.contains(gst::SeekFlags::FLUSH) {
                continue;
            }
            println!("{seek:?} in {state:?}");
            assert_same(&format!("{seek:?} in {state:?}"), |element| {
                // In PAUSED the sink waits; it does not in PLAYING, so that no test lasts as long as the sound.
                let (pipeline, record) = speaking(element, "fakesink sync=false");
                assert_eq!(reach(&pipeline, gst::State::Paused), (gst::State::Paused, true));
                if state == gst::State::Playing {
                    pipeline.by_name("e").unwrap().static_pad("src").unwrap().add_probe(
                        gst::PadProbeType::BUFFER,
                        |_, _| {
                            std::thread::sleep(std::time::Duration::from_millis(2));
                            gst::PadProbeReturn::Ok
                        },
                    );
                    pipeline.set_state(state).unwrap();
                }
                let event = seek_event(seek);
                let seqnum = event.seqnum();
                let done = pipeline.send_event(event);
                pipeline.set_state(gst::State::Playing).unwrap();
                let kinds = [gst::MessageType::Eos, gst::MessageType::SegmentDone, gst::MessageType::Error];
                let ended = wait_for_message(&pipeline, &kinds).type_();
                let segments = record.events(gst::EventType::Segment);
                // Where no flush says so, the seek may come when all has been sent.
                let flushing = seek.1.contains(gst::SeekFlags::FLUSH);
                let numbered =
                    flushing.then(|| segments.last().is_some_and(|segment| segment.seqnum() == seqnum));
                let segment = flushing.then(|| last_segment(&record));
                pipeline.set_state(gst::State::Null).unwrap();
                (done, ended, numbered, segment, complaints(&pipeline))
            });
        }
    }
}

#[test]
fn queries_are_answered_as_others_do() {
    type Ask = fn(&gst::Element) -> bool;
    let from_downstream: [(&str, Ask); 9] = [
        ("position", |e| src(e).query_position::<gst::ClockTime>().is_some()),
        ("duration", |e| src(e).query_duration::<gst::ClockTime>().is_some()),
        ("latency", |e| src(e).query(&mut gst::query::Latency::new())),
        ("seeking", |e| {
            let mut query = gst::query::Seeking::new(gst::Format::Time);
            src(e).query(&mut query) && query.result().0
        }),
        ("formats", |e| src(e).query(&mut gst::query::Formats::new())),
        ("uri", |e| src(e).query(&mut gst::query::Uri::new())),
        ("segment", |e| src(e).query(&mut gst::query::Segment::new(gst::Format::Time))),
        ("context", |e| src(e).query(&mut gst::query::Context::new("nothing"))),
        ("custom", |e| {
            src(e).query(&mut gst::query::Custom::new(gst::Structure::new_empty("application/x-nothing")))
        }),
    ];
    let from_upstream: [(&str, Ask); 4] = [
        ("audio", |e| sink(e).query_accept_caps(&AUDIO.parse().unwrap())),
        ("context", |e| sink(e).query(&mut gst::query::Context::new("nothing"))),
        ("drain", |e| sink(e).query(&mut gst::query::Drain::new())),
        ("bitrate", |e| sink(e).query(&mut gst::query::Bitrate::new())),
    ];
    for state in [gst::State::Null, gst::State::Ready, gst::State::Paused] {
        for (name, ask) in from_downstream.into_iter().chain(from_upstream) {
            // Nothing is drained while a sink waits, and nobody waits for that in PAUSED.
            if name == "drain" && state == gst::State::Paused {
                continue;
            }
            assert_same(&format!("{name} in {state:?}"), |element| {
                let (pipeline, _) = speaking(element, "fakesink sync=true");
                reach(&pipeline, state);
                let answer = ask(&pipeline.by_name("e").unwrap());
                pipeline.set_state(gst::State::Null).unwrap();
                answer
            });
        }
    }
}

const AUDIO: &str = "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";

fn src(element: &gst::Element) -> gst::Pad {
    element.static_pad("src").unwrap()
}

fn sink(element: &gst::Element) -> gst::Pad {
    element.static_pad("sink").unwrap()
}
