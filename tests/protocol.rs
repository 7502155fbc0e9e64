// SPDX-License-Identifier: MPL-2.0
//! What GStreamer asks of an element: seeks, segments, flushes, queries, ends, in pipelines as applications build them.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::sync::{Arc, Mutex};

use common::gst::{avatar, bytes, frames, init, pipeline, play, sound};
use common::record::{Entry, Record, complaints, wait_for_message};
use common::{compare, fixture};
use gst::prelude::*;

const SECOND: gst::ClockTime = gst::ClockTime::SECOND;

/// A pipeline from the speech to a sink, its element named `l`, and what goes out of that.
fn speaking(behind: &str) -> (gst::Pipeline, gst::Element, Record) {
    let line = format!("{} ! lipsync name=l {} ! {behind}", sound("speech"), avatar("own_160"));
    let pipeline = pipeline(&line);
    let element = pipeline.by_name("l").unwrap();
    let record = Record::of(&element.static_pad("src").unwrap());
    (pipeline, element, record)
}

fn start(pipeline: &gst::Pipeline, state: gst::State) {
    pipeline.set_state(state).unwrap();
    assert!(pipeline.state(gst::ClockTime::from_seconds(60)).0.is_ok(), "{:?}", complaints(pipeline));
}

/// Waits for the end, stops, and checks that nothing was wrong.
fn end_well(pipeline: &gst::Pipeline) {
    let message = wait_for_message(pipeline, &[gst::MessageType::Eos, gst::MessageType::Error]);
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(message.type_(), gst::MessageType::Eos, "{message:?}");
    assert_eq!(complaints(pipeline), [""; 0]);
}

#[test]
fn a_seek_to_the_end_or_beyond_is_an_end() {
    for state in [gst::State::Paused, gst::State::Playing] {
        for target in [3304 * gst::ClockTime::MSECOND, 3310 * gst::ClockTime::MSECOND, 9 * SECOND] {
            let (pipeline, ..) = speaking("fakesink sync=true");
            start(&pipeline, state);
            // Some sources refuse what is beyond the end; then nothing has happened.
            let _ = pipeline.seek_simple(gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE, target);
            pipeline.set_state(gst::State::Playing).unwrap();
            end_well(&pipeline);
        }
    }
}

#[test]
fn a_flush_keeps_what_waited_behind_a_blocked_pad() {
    let (pipeline, element, record) = speaking("appsink name=out sync=false");
    let pad = element.static_pad("src").unwrap();
    let block = pad.add_probe(gst::PadProbeType::BLOCK_DOWNSTREAM, |_, info| {
        // A flush goes through, or nobody could ever flush.
        let flush = matches!(&info.data, Some(gst::PadProbeData::Event(event)) if event.type_() == gst::EventType::FlushStop);
        if flush { gst::PadProbeReturn::Pass } else { gst::PadProbeReturn::Ok }
    });
    pipeline.set_state(gst::State::Paused).unwrap();
    // Upstream cannot seek before it has read what it reads.
    let heard = element.static_pad("sink").unwrap();
    while !pad.is_blocking() || !heard.has_current_caps() {
        std::thread::yield_now();
    }
    pipeline.seek_simple(gst::SeekFlags::FLUSH, gst::ClockTime::ZERO).unwrap();
    pad.remove_probe(block.unwrap());
    let ended = play(&pipeline);
    assert!(ended.errors.is_empty(), "{:?}", ended.errors);
    assert_eq!(ended.samples.len(), 83);
    for kind in [gst::EventType::StreamStart, gst::EventType::Caps, gst::EventType::Segment] {
        assert!(!record.events(kind).is_empty(), "{kind:?}");
    }
}

#[test]
fn a_new_format_asked_for_while_frames_wait_survives_a_flush() {
    let (pipeline, element, _) =
        speaking("capsfilter name=filter caps=video/x-raw,format=I420 ! appsink name=out sync=false");
    let pad = element.static_pad("src").unwrap();
    let block =
        pad.add_probe(gst::PadProbeType::BLOCK | gst::PadProbeType::BUFFER, |_, _| gst::PadProbeReturn::Ok);
    pipeline.set_state(gst::State::Paused).unwrap();
    while !pad.is_blocking() {
        std::thread::yield_now();
    }
    let rgb: gst::Caps = "video/x-raw,format=RGB".parse().unwrap();
    pipeline.by_name("filter").unwrap().set_property("caps", &rgb);
    // Upstream's thread agrees on it with its next buffer, while frames of the other format wait.
    std::thread::sleep(std::time::Duration::from_millis(50));
    pipeline.seek_simple(gst::SeekFlags::FLUSH, gst::ClockTime::ZERO).unwrap();
    pad.remove_probe(block.unwrap());
    let ended = play(&pipeline);
    assert!(ended.errors.is_empty(), "{:?}", ended.errors);
    assert_eq!(ended.samples.len(), 83);
    assert!(ended.samples.iter().all(|sample| sample.caps().unwrap().can_intersect(&rgb)));
}

#[test]
fn a_segment_is_done_when_its_last_frame_is_out() {
    let (pipeline, _, record) = speaking("fakesink sync=false");
    start(&pipeline, gst::State::Paused);
    record.take();
    let seek = |flags| {
        let (from, to) = (gst::SeekType::Set, gst::SeekType::Set);
        pipeline.seek(1.0, flags, from, gst::ClockTime::ZERO, to, 2 * SECOND).unwrap();
    };
    seek(gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE | gst::SeekFlags::SEGMENT);
    start(&pipeline, gst::State::Playing);
    for round in 0..3 {
        let kinds = [gst::MessageType::SegmentDone, gst::MessageType::Eos, gst::MessageType::Error];
        let message = wait_for_message(&pipeline, &kinds);
        assert_eq!(message.type_(), gst::MessageType::SegmentDone, "round {round}: {message:?}");
        record.wait_for("end of the segment", |entries| {
            entries.iter().any(|entry| entry.event(gst::EventType::SegmentDone).is_some())
        });
        let entries = record.take();
        let done = entries.iter().position(|entry| entry.event(gst::EventType::SegmentDone).is_some());
        let frames = |entries: &[Entry]| entries.iter().filter(|entry| entry.is_buffer()).count();
        assert_eq!(frames(&entries[..done.unwrap()]), 50, "round {round}");
        assert_eq!(frames(&entries), 50, "round {round}");
        seek(gst::SeekFlags::SEGMENT);
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn segments_and_ends_belong_to_the_seek_that_made_them() {
    let (pipeline, element, record) = speaking("fakesink sync=false");
    let heard = Record::of(&element.static_pad("sink").unwrap());
    start(&pipeline, gst::State::Paused);
    record.take();
    let seek = gst::event::Seek::new(
        1.0,
        gst::SeekFlags::FLUSH | gst::SeekFlags::ACCURATE,
        gst::SeekType::Set,
        SECOND,
        gst::SeekType::None,
        gst::ClockTime::NONE,
    );
    let seqnum = seek.seqnum();
    assert!(pipeline.send_event(seek));
    start(&pipeline, gst::State::Playing);
    end_well(&pipeline);
    for kind in [gst::EventType::FlushStart, gst::EventType::FlushStop, gst::EventType::Segment] {
        let events = record.events(kind);
        assert!(!events.is_empty() && events.iter().all(|event| event.seqnum() == seqnum), "{events:?}");
    }
    // wavparse does not say whose end it is; whatever it says is handed on.
    let seqnums = |record: &Record| -> Vec<_> {
        record.events(gst::EventType::Eos).iter().map(|event| event.seqnum()).collect()
    };
    assert_eq!(seqnums(&record), seqnums(&heard));
}

#[test]
fn colours_are_coded_as_negotiated() {
    let of = |caps: &str| -> Vec<Vec<u8>> {
        let line = format!(
            "{} ! lipsync {} ! {caps} ! appsink name=out sync=false",
            sound("one_sample"),
            avatar("own")
        );
        frames(&line).iter().map(bytes).collect()
    };
    let rgb = &of("video/x-raw,format=RGB")[0];
    for (colorimetry, [red, blue], [black, levels]) in [
        ("bt709", [0.2126, 0.0722], [16.0, 219.0]),
        ("bt601", [0.299, 0.114], [16.0, 219.0]),
        ("2:4:7:1", [0.299, 0.114], [16.0, 219.0]),
        ("1:3:5:1", [0.2126, 0.0722], [0.0, 255.0]),
        ("1:4:0:0", [0.299, 0.114], [0.0, 255.0]),
        ("1:4:16:4", [0.299, 0.114], [0.0, 255.0]),
    ] {
        let luma = |pixel: &[u8]| {
            let [r, g, b] = [0, 1, 2].map(|i| f64::from(pixel[i]) / 255.0);
            (black + levels * (red * r + (1.0 - red - blue) * g + blue * b)).round() as u8
        };
        let expected: Vec<u8> = rgb.chunks_exact(3).map(luma).collect();
        for format in ["I420", "NV12"] {
            let frames = of(&format!("video/x-raw,format={format},colorimetry={colorimetry}"));
            let difference = compare(&frames[0][..expected.len()], &expected);
            assert!(difference.worst <= 1 && difference.mean < 0.1, "{colorimetry}: {difference:?}");
        }
    }
}

#[test]
fn colours_that_are_not_made_are_not_offered() {
    for colorimetry in ["bt2020", "smpte240m", "1:0:0:0"] {
        let caps = format!("video/x-raw,format=I420,colorimetry={colorimetry}");
        let line = format!(
            "{} ! lipsync {} ! {caps} ! appsink name=out sync=false",
            sound("speech"),
            avatar("own_160")
        );
        let ended = play(&pipeline(&line));
        assert_eq!(ended.errors.len(), 1, "{:?}", ended.errors);
        assert!(
            ended.errors[0].contains("takes none") && ended.errors[0].contains("videoconvert"),
            "{:?}",
            ended.errors
        );
    }
}

#[test]
fn opaque_frames_stay_opaque_where_downstream_lists_alpha_first() {
    let format = |avatar: &str, caps: &str| {
        let line = format!(
            "{} ! lipsync avatar={avatar} ! capsfilter caps=\"{caps}\" ! appsink name=out sync=false",
            sound("one_sample")
        );
        let frames = frames(&line);
        let caps = frames[0].caps().unwrap();
        caps.structure(0).unwrap().get::<String>("format").unwrap()
    };
    let iris = concat!(env!("CARGO_MANIFEST_DIR"), "/models/iris");
    // As glimagesink lists them.
    let both = "video/x-raw,format=RGBA;video/x-raw,format={BGRA,A420,NV12,I420}";
    assert_eq!(format(iris, both), "I420");
    assert_eq!(format(iris, "video/x-raw,format=RGBA"), "RGBA");
    assert_eq!(format(iris, "video/x-raw,format={ARGB,BGRx}"), "BGRx");
    let cut_out = fixture("avatars/alpha");
    assert_eq!(format(cut_out.to_str().unwrap(), both), "A420");
}

#[test]
fn queries_are_answered_for_the_video() {
    let (pipeline, element, record) = speaking("fakesink sync=true");
    let pad = element.static_pad("src").unwrap();
    // Before there is an avatar.
    assert_eq!(pad.query_caps(None), pad.pad_template_caps());
    start(&pipeline, gst::State::Paused);
    record.wait_for("first frame", |entries| entries.iter().any(Entry::is_buffer));
    let caps = pad.query_caps(Some(&"video/x-raw,format=I420".parse().unwrap()));
    let structure = caps.structure(0).unwrap();
    assert_eq!((structure.get("width"), structure.get("height")), (Ok(320), Ok(240)));
    // 3.3 s of 320 x 240 in I420, 25 a second.
    let duration = pad.query_duration::<gst::ClockTime>().unwrap();
    assert_eq!(duration.mseconds(), 3304);
    assert_eq!(pad.query_duration::<gst::format::Default>(), Some(gst::format::Default::from_u64(82)));
    let size = 320 * 240 * 3 / 2;
    let bytes = pad.query_duration::<gst::format::Bytes>().unwrap();
    assert!((82 * size..=83 * size).contains(&(u64::from(bytes) as usize)), "{bytes}");
    assert_eq!(pad.query_position::<gst::ClockTime>(), Some(40 * gst::ClockTime::MSECOND));
    assert_eq!(pad.query_position::<gst::format::Default>(), Some(gst::format::Default::ONE));
    let converted = pad.query_convert_generic(2 * SECOND, gst::Format::Default);
    assert_eq!(converted, Some(gst::format::Default::from_u64(50).into()));
    for (format, possible) in [
        (gst::Format::Undefined, false),
        (gst::Format::Time, true),
        (gst::Format::Bytes, false),
        (gst::Format::Default, false),
    ] {
        let mut query = gst::query::Seeking::new(format);
        assert!(pad.query(&mut query), "{format:?}");
        assert_eq!(query.result().0, possible, "{format:?}");
    }
    pipeline.set_state(gst::State::Null).unwrap();
}

/// A second of sound at 16 kHz, from the time `start` seconds.
fn second(start: u64) -> gst::Buffer {
    let mut buffer = gst::Buffer::from_slice([1u8, 2].repeat(16_000));
    let inside = buffer.get_mut().unwrap();
    inside.set_pts(start * SECOND);
    inside.set_duration(SECOND);
    buffer
}

#[test]
fn a_drain_is_answered_when_all_frames_are_out() {
    let line =
        format!("appsrc name=in format=time ! lipsync name=l {} ! fakesink sync=false", avatar("own_160"));
    let pipeline = pipeline(&line);
    let input = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    input.set_caps(Some(
        &"audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved".parse().unwrap(),
    ));
    let pad = pipeline.by_name("l").unwrap().static_pad("src").unwrap();
    let record = Record::of(&pad);
    pipeline.set_state(gst::State::Playing).unwrap();
    input.push_buffer(second(0)).unwrap();
    record.wait_for("frames", |entries| entries.iter().filter(|entry| entry.is_buffer()).count() >= 10);
    // In upstream's thread, as queries that keep their place are sent.
    let answered = Arc::new(Mutex::new(None));
    let (answer, seen) = (answered.clone(), record.clone());
    input.static_pad("src").unwrap().add_probe(gst::PadProbeType::IDLE, move |pad, _| {
        let mut query = gst::query::Drain::new();
        let peer = pad.peer().unwrap();
        *answer.lock().unwrap() = Some((peer.query(&mut query), seen.buffers()));
        gst::PadProbeReturn::Remove
    });
    input.push_buffer(second(1)).unwrap();
    input.end_of_stream().unwrap();
    end_well(&pipeline);
    assert_eq!(*answered.lock().unwrap(), Some((true, 25)));
    assert_eq!(record.buffers(), 50);
}

#[test]
fn what_comes_after_downstreams_end_is_no_error() {
    let line = format!(
        "concat name=c ! lipsync {} ! fakesink num-buffers=10  {} ! c.  {} ! c.",
        avatar("own_160"),
        sound("speech"),
        sound("s16_44k1_stereo")
    );
    let pipeline = pipeline(&line);
    pipeline.set_state(gst::State::Playing).unwrap();
    let message = wait_for_message(&pipeline, &[gst::MessageType::Eos, gst::MessageType::Error]);
    assert_eq!(message.type_(), gst::MessageType::Eos);
    // Whoever still sends is told so with its next buffer.
    std::thread::sleep(std::time::Duration::from_millis(200));
    pipeline.set_state(gst::State::Null).unwrap();
    assert_eq!(complaints(&pipeline), [""; 0]);
}

#[test]
fn gapless_playback_shows_every_frame_of_both() {
    init();
    let uri = |name: &str| gst::glib::filename_to_uri(fixture(&format!("audio/{name}.wav")), None).unwrap();
    let vis = gst::ElementFactory::make("lipsync")
        .property("avatar", fixture("avatars/own_160").to_str().unwrap())
        .build()
        .unwrap();
    let sink = || gst::ElementFactory::make("fakesink").property("sync", false).build().unwrap();
    let video = sink();
    let playbin = gst::ElementFactory::make("playbin")
        .property("uri", uri("speech"))
        .property("vis-plugin", &vis)
        .property("video-sink", &video)
        .property("audio-sink", sink())
        .build()
        .unwrap()
        .downcast::<gst::Pipeline>()
        .unwrap();
    playbin.set_property_from_str("flags", "audio+video+vis");
    let next = Mutex::new(Some(uri("s16_44k1_stereo")));
    playbin.connect("about-to-finish", false, move |values| {
        if let Some(uri) = next.lock().unwrap().take() {
            values[0].get::<gst::Element>().unwrap().set_property("uri", uri);
        }
        None
    });
    let record = Record::of(&video.static_pad("sink").unwrap());
    playbin.set_state(gst::State::Playing).unwrap();
    end_well(&playbin);
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    let mut times = Vec::new();
    for entry in record.entries() {
        match &entry {
            Entry::Buffer(start, _) => times.push(segment.to_running_time(*start).unwrap().mseconds()),
            Entry::Event(event) => {
                if let gst::EventView::Segment(event) = event.view() {
                    segment = event.segment().downcast_ref().cloned().unwrap();
                }
            }
        }
    }
    assert!(times.is_sorted(), "{times:?}");
    assert_eq!(times.len(), 2 * 83, "{times:?}");
    assert!(times.windows(2).all(|pair| (1..=40).contains(&(pair[1] - pair[0]))), "{times:?}");
}

#[test]
fn properties_of_the_start_hold_until_the_next() {
    // In PLAYING a change of what may be changed in READY shows nothing, even with a new format.
    let line = format!(
        "{} ! lipsync name=l {} ! capsfilter name=filter caps=video/x-raw,format=RGB ! appsink name=out sync=false",
        sound("speech"),
        avatar("alpha")
    );
    let pictures = |change: bool| -> Vec<Vec<u8>> {
        let pipeline = pipeline(&line);
        start(&pipeline, gst::State::Paused);
        if change {
            let element = pipeline.by_name("l").unwrap();
            element.set_property("background-color", 0xff00_ff00u32);
            let pad = element.static_pad("src").unwrap();
            assert!(pad.send_event(gst::event::Reconfigure::new()));
        }
        play(&pipeline).samples.iter().map(bytes).collect()
    };
    assert!(pictures(true) == pictures(false));
}

#[test]
fn a_stall_is_told() {
    // The other way of the tee holds too little: for what the encoder looks ahead, which the start waits for, and for what
    // the element itself looks ahead, which the muxer waits for.
    for (encoder, sink, other) in [
        ("x264enc", "fakesink", "fakesink"),
        ("x264enc tune=zerolatency", "mp4mux name=film ! fakesink sync=false", "avenc_aac ! film."),
    ] {
        let pipeline = pipeline(&format!(
            "{} ! audioconvert ! tee name=t  t. ! queue ! lipsync {} ! {encoder} ! {sink} \
             t. ! queue max-size-time=100000000 ! {other}",
            sound("speech"),
            avatar("own_160")
        ));
        pipeline.set_state(gst::State::Playing).unwrap();
        let message = wait_for_message(&pipeline, &[gst::MessageType::Warning, gst::MessageType::Error]);
        pipeline.set_state(gst::State::Null).unwrap();
        let gst::MessageView::Warning(warning) = message.view() else { panic!("{message:?}") };
        let text = warning.error().to_string();
        assert!(text.contains("stands still") && text.contains("max-size-time=0"), "{text}");
    }
}

#[test]
fn a_pause_of_the_application_is_no_stall() {
    // The sound stays away, because the other way waits in its sink.
    let pipeline = pipeline(&format!(
        "{} ! tee name=t  t. ! queue ! lipsync {} ! queue ! fakesink sync=true \
         t. ! queue ! fakesink sync=true",
        sound("speech"),
        avatar("own_160")
    ));
    start(&pipeline, gst::State::Playing);
    start(&pipeline, gst::State::Paused);
    let warning = [gst::MessageType::Warning];
    assert!(pipeline.bus().unwrap().timed_pop_filtered(7 * SECOND, &warning).is_none());
    pipeline.set_state(gst::State::Null).unwrap();
}
