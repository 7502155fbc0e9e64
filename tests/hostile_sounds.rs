// SPDX-License-Identifier: MPL-2.0
//! Sounds that ask for too much: rates and channels that nobody has, and gaps that nobody waits for.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::gst::{avatar, pipeline, play};
use common::studio::{SECOND, Studio};
use gst::prelude::*;

const OUT: &str = "appsink name=out sync=false";

/// A WAV file of some samples, whose header says what it likes.
fn wav(folder: &Path, rate: u32, channels: u16) -> String {
    let data = [0u8; 4000];
    let mut file = b"RIFF\xc4\x0f\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00".to_vec();
    file.extend(channels.to_le_bytes());
    file.extend(rate.to_le_bytes());
    file.extend(rate.wrapping_mul(2 * u32::from(channels)).to_le_bytes());
    file.extend((2 * channels).to_le_bytes());
    file.extend(b"\x10\x00data\xa0\x0f\x00\x00");
    file.extend(data);
    let path = folder.join(format!("{rate}-{channels}.wav"));
    std::fs::write(&path, file).unwrap();
    path.to_str().unwrap().into()
}

#[test]
fn files_with_rates_and_channels_beyond_the_bounds_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (rate, channels, told) in [
        (
            1_000_000_000,
            1,
            "its sample rate is 1000000000 Hz, not 1000 to 768000. Put audioresample in front",
        ),
        (100_000_000, 1, "its sample rate is 100000000 Hz, not 1000 to 768000"),
        (999, 1, "its sample rate is 999 Hz, not 1000 to 768000"),
    ] {
        let file = wav(folder.path(), rate, channels);
        let line = format!("filesrc location={file} ! wavparse ! lipsync {} ! {OUT}", avatar("own"));
        let ended = play(&pipeline(&line));
        assert!(ended.samples.is_empty());
        // What upstream says afterwards, that it could not go on, is told by GStreamer.
        assert!(ended.errors.first().is_some_and(|error| error.contains(told)), "{:?}", ended.errors);
    }
}

#[test]
fn a_presenter_goes_on_without_a_sound_beyond_the_bounds_and_speaks_the_next() {
    let caps = |rate: u32| format!("audio/x-raw,format=S16LE,rate={rate},channels=1,layout=interleaved");
    let mut studio = Studio::new(&format!("n-threads=1 {}", avatar("own_160")), &caps(16_000));
    for (rate, spoken) in [(16_000, 1), (100_000_000, 1), (16_000, 2)] {
        studio.input.set_caps(Some(&caps(rate).parse().unwrap()));
        studio.say(&[9000; 8000]);
        studio.run_on(2 * SECOND);
        let starts = studio.speeches().iter().filter(|(starts, _)| *starts).count();
        assert_eq!(starts, spoken, "{rate} Hz");
    }
    let mut complaints = studio.complaints();
    // As a busy machine has it.
    complaints.retain(|complaint| !complaint.starts_with("frames come late"));
    let [warning] = &complaints[..] else { panic!("{complaints:?}") };
    assert!(
        warning.contains("this sound is not spoken: audio: its sample rate is 100000000 Hz"),
        "{warning}"
    );
    studio.assert_gapless();
}

/// Sound of a stated format, and what is made of it.
fn said(caps: &str, channels: usize) -> common::gst::Ended {
    let line = format!("appsrc name=in format=time caps=\"{caps}\" ! lipsync {} ! {OUT}", avatar("own"));
    let pipeline = pipeline(&line);
    let source = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
    let mut buffer = gst::Buffer::from_mut_slice(vec![0u8; 2 * channels * 100]);
    buffer.get_mut().unwrap().set_pts(gst::ClockTime::ZERO);
    source.push_buffer(buffer).unwrap();
    source.end_of_stream().unwrap();
    play(&pipeline)
}

#[test]
fn streams_are_bounded_as_files_are() {
    for (rate, channels, told) in [
        (768_001, 1, Some("its sample rate is 768001 Hz, not 1000 to 768000")),
        (i32::MAX, 1, Some("its sample rate is 2147483647 Hz")),
        (16_000, 65, Some("it has 65 channels, not 1 to 64. Put audioconvert in front")),
        (768_000, 1, None),
        (767_999, 64, None),
        (1_000, 1, None),
    ] {
        let mask = if channels > 2 { ",channel-mask=(bitmask)0" } else { "" };
        let caps =
            format!("audio/x-raw,format=S16LE,layout=interleaved,rate={rate},channels={channels}{mask}");
        let ended = said(&caps, channels);
        match told {
            Some(told) => {
                assert!(ended.errors.first().is_some_and(|error| error.contains(told)), "{:?}", ended.errors);
            }
            None => assert!(ended.errors.is_empty() && !ended.samples.is_empty(), "{caps}: {ended:?}"),
        }
    }
}

#[test]
fn a_resampler_in_front_makes_any_rate_one_that_is_heard() {
    let folder = tempfile::tempdir().unwrap();
    let file = wav(folder.path(), 2_000_000, 1);
    let line =
        format!("filesrc location={file} ! wavparse ! audioresample ! lipsync {} ! {OUT}", avatar("own"));
    let ended = play(&pipeline(&line));
    assert!(ended.errors.is_empty() && ended.samples.len() == 1, "{ended:?}");
}

#[test]
fn a_gap_of_a_year_is_refused_and_what_was_said_before_comes_out() {
    let line = format!("appsrc name=in format=time ! lipsync {} ! {OUT}", avatar("own"));
    for gap in [gst::ClockTime::from_seconds(365 * 86_400), gst::ClockTime::MAX] {
        let pipeline = pipeline(&line);
        let source = pipeline.by_name("in").unwrap().downcast::<gst_app::AppSrc>().unwrap();
        let caps = "audio/x-raw,format=S16LE,layout=interleaved,rate=16000,channels=1";
        source.set_caps(Some(&caps.parse().unwrap()));
        let mut buffer = gst::Buffer::from_mut_slice(vec![0u8; 2 * 16_000]);
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::ZERO);
        source.push_buffer(buffer).unwrap();
        let pad = source.static_pad("src").unwrap();
        // Behind the second of sound.
        pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |pad, info| {
            if info.event().is_some_and(|event| event.type_() == gst::EventType::Eos) {
                let gap = gst::event::Gap::builder(gst::ClockTime::SECOND).duration(gap).build();
                pad.peer().unwrap().send_event(gap);
            }
            gst::PadProbeReturn::Ok
        });
        source.end_of_stream().unwrap();
        let ended = play(&pipeline);
        let told = ended.errors.first().is_some_and(|error| error.contains("a gap in it lasts"));
        assert!(told && ended.errors.len() == 1, "{gap}: {:?}", ended.errors);
        assert_eq!(ended.samples.len(), 25);
    }
}
