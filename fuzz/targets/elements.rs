// SPDX-License-Identifier: MPL-2.0
//! Both elements under anything that may come to their pads, in any order: formats, segments, sound, gaps, flushes, seeks, ends,
//! queries, changes of state and of properties. However they are left, NULL must end them.

#![no_main]

use std::path::PathBuf;
use std::sync::{LazyLock, Once};

use fuzz::{avatar, fault};
use gst::prelude::*;
use gst_check::Harness;
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::fuzz_target;

static AVATARS: LazyLock<[PathBuf; 2]> = LazyLock::new(|| [avatar::write(), avatar::write()]);

const CAPS: [&str; 14] = [
    "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved",
    "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved",
    "audio/x-raw,format=F32LE,rate=48000,channels=2,layout=interleaved,channel-mask=(bitmask)3",
    "audio/x-raw,format=F32LE,rate=44100,channels=2,layout=non-interleaved,channel-mask=(bitmask)3",
    "audio/x-raw,format=F64BE,rate=8000,channels=6,layout=interleaved,channel-mask=(bitmask)0x3f",
    "audio/x-raw,format=S24LE,rate=96000,channels=1,layout=interleaved",
    "audio/x-raw,format=U8,rate=11025,channels=3,layout=interleaved,channel-mask=(bitmask)0",
    "audio/x-raw,format=S16LE,rate=1,channels=1,layout=interleaved",
    "audio/x-raw,format=S16LE,rate=1000000000,channels=1,layout=interleaved",
    "audio/x-raw,format=S16LE,rate=48000,channels=64,layout=interleaved,channel-mask=(bitmask)0",
    "audio/x-raw,format=S16LE,rate=16000,channels=2,layout=interleaved",
    "audio/x-raw,format=ENCODED",
    "audio/x-raw",
    "video/x-raw,format=RGB,width=8,height=8,framerate=25/1",
];

fuzz_target!(|input: &[u8]| {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: before any other thread.
        unsafe { std::env::set_var("G_DEBUG", "fatal-criticals") };
        gst::init().expect("GStreamer");
        gstlipsync::plugin_register_static().expect("the plugin");
        fault::tell();
    });
    let mut input = Unstructured::new(input);
    let _ = play(&mut input);
});

/// An element with pads around it, whose other ends are ours.
struct Bench {
    element: gst::Element,
    main: Harness,
    sound: Option<Harness>,
    /// The time that a sound may take, all in all: who sends more to `lipsyncsrc` waits until it is spoken.
    left: u64,
    now: u64,
}

fn play(input: &mut Unstructured<'_>) -> Result<()> {
    let is_live = input.arbitrary()?;
    let name = if is_live { "lipsyncsrc" } else { "lipsync" };
    let avatar = AVATARS[0].to_str().expect("a plain path");
    let element = gst::ElementFactory::make(name).property("avatar", avatar).build().expect("an element");
    let mut main =
        Harness::with_element(&element, (!is_live || input.arbitrary()?).then_some("sink"), Some("src"));
    main.use_testclock();
    let mut sound = None;
    if is_live && input.arbitrary()? {
        sound = Some(Harness::with_element(&element, None, Some("audio")));
    }
    let left = 20 * gst::ClockTime::SECOND.nseconds();
    let mut bench = Bench { element, main, sound, left, now: 0 };
    bench.main.play();
    let steps = input.int_in_range(1..=20)?;
    let ended = (0..steps).try_for_each(|_| bench.step(input));
    while bench.main.try_pull().is_some() {}
    let _ = bench.element.set_state(gst::State::Null);
    ended
}

fn time(input: &mut Unstructured<'_>) -> Result<gst::ClockTime> {
    let edges = [0, 1, 39_999_999, 1_000_000_000, 1 << 40, u64::MAX - 2, u64::MAX / 2];
    let time =
        if input.ratio(1, 6)? { *input.choose(&edges)? } else { input.int_in_range(0..=2_000_000_000)? };
    Ok(gst::ClockTime::from_nseconds(time))
}

fn maybe_time(input: &mut Unstructured<'_>) -> Result<Option<gst::ClockTime>> {
    Ok(if input.ratio(1, 4)? { None } else { Some(time(input)?) })
}

impl Bench {
    fn step(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        match input.int_in_range(0..=23)? {
            0 => {
                let caps: gst::Caps = input.choose(&CAPS)?.parse().expect("caps");
                self.push(gst::event::Caps::new(&caps));
            }
            1 | 2 => {
                let segment = segment(input)?;
                self.push(gst::event::Segment::new(&segment));
            }
            3..=9 => self.buffer(input)?,
            10 => {
                let (at, length) = (time(input)?, maybe_time(input)?);
                let length = length.map(|length| length.min(gst::ClockTime::from_seconds(2)));
                let takes = length.unwrap_or_default().nseconds();
                if takes <= self.left && at.nseconds() < 1 << 33 {
                    self.left -= takes;
                    self.push(gst::event::Gap::builder(at).duration(length).build());
                }
            }
            11 => {
                self.push(gst::event::FlushStart::new());
                self.push(gst::event::FlushStop::new(input.arbitrary()?));
            }
            12 => self.push(gst::event::Eos::new()),
            13 => self.push(gst::event::StreamStart::new(input.choose(&["a", "b"])?)),
            14 => {
                let structure = gst::Structure::new_empty("something");
                let custom = if input.arbitrary()? {
                    gst::event::CustomDownstream::new(structure)
                } else {
                    gst::event::CustomDownstreamSticky::new(structure)
                };
                self.push(custom);
            }
            15 => {
                let rate = *input.choose(&[1.0, 2.0, -1.0, 0.1])?;
                // Events that change the rate at once have rules of their own, which GStreamer sees to.
                let flags = gst::SeekFlags::from_bits_truncate(input.arbitrary::<u16>()?.into())
                    - gst::SeekFlags::INSTANT_RATE_CHANGE;
                let kinds = [gst::SeekType::Set, gst::SeekType::None, gst::SeekType::End];
                let (start, stop) = (time(input)?, time(input)?);
                let seek = gst::event::Seek::new(
                    rate,
                    flags,
                    *input.choose(&kinds)?,
                    start,
                    *input.choose(&kinds)?,
                    // GStreamer makes no other.
                    start.max(stop),
                );
                self.main.push_upstream_event(seek);
            }
            16 => {
                let kind = *input.choose(&[
                    gst::QOSType::Overflow,
                    gst::QOSType::Underflow,
                    gst::QOSType::Throttle,
                ])?;
                let at = time(input)?;
                // Nothing is earlier than time 0.
                let earliest = -i64::try_from(at.nseconds()).unwrap_or(i64::MAX);
                let late = input.arbitrary::<i64>()?.max(earliest);
                self.main.push_upstream_event(gst::event::Qos::new(kind, input.arbitrary()?, late, at));
            }
            17 => {
                self.main.push_upstream_event(gst::event::Reconfigure::new());
            }
            18 => self.query(input)?,
            19 => {
                let states = [gst::State::Playing, gst::State::Paused, gst::State::Ready, gst::State::Null];
                let _ = self.element.set_state(*input.choose(&states)?);
            }
            20 => self.property(input)?,
            21 | 22 => {
                self.now += input.int_in_range(0..=400_000_000)?;
                let _ = self.main.set_time(gst::ClockTime::from_nseconds(self.now));
            }
            _ => {
                while self.main.try_pull().is_some() {}
                if let Some(sound) = &mut self.sound {
                    while sound.try_pull().is_some() {}
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, event: impl Into<gst::Event>) {
        if self.main.srcpad().is_some() {
            self.main.push_event(event.into());
        }
    }

    fn buffer(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let size = input.int_in_range(0..=9_000)?;
        let bytes: [u8; 5] = input.arbitrary()?;
        let mut buffer = gst::Buffer::from_slice(bytes.into_iter().cycle().take(size).collect::<Vec<u8>>());
        let at = maybe_time(input)?.filter(|at| at.nseconds() < 1 << 33);
        let length = maybe_time(input)?;
        {
            let buffer = buffer.get_mut().expect("it is new");
            buffer.set_pts(at);
            buffer.set_duration(length);
            let flags = [gst::BufferFlags::empty(), gst::BufferFlags::DISCONT, gst::BufferFlags::GAP];
            buffer.set_flags(*input.choose(&flags)?);
        }
        // At the lowest rates a few bytes are hours.
        if self.main.srcpad().is_some_and(|pad| rate(&pad) >= 8_000) {
            let takes = gst::ClockTime::SECOND.nseconds() * size as u64 / 8_000;
            if takes <= self.left {
                self.left -= takes;
                let _ = self.main.push(buffer);
            }
        }
        Ok(())
    }

    fn query(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        let format = *input.choose(&[gst::Format::Time, gst::Format::Bytes, gst::Format::Default])?;
        let pad = self.element.static_pad("src").expect("it is always there");
        let _ = match input.int_in_range(0..=5)? {
            0 => pad.query(&mut gst::query::Latency::new()),
            1 => pad.query(&mut gst::query::Position::new(format)),
            2 => pad.query(&mut gst::query::Duration::new(format)),
            3 => pad.query(&mut gst::query::Seeking::new(format)),
            4 => pad.query_caps(None).is_any(),
            _ => {
                let value = gst::GenericFormattedValue::new(format, input.arbitrary()?);
                pad.query(&mut gst::query::Convert::new(value, gst::Format::Time))
            }
        };
        Ok(())
    }

    fn property(&mut self, input: &mut Unstructured<'_>) -> Result<()> {
        match input.int_in_range(0..=4)? {
            0 => {
                let other = AVATARS[1].to_str().expect("a plain path");
                self.element.set_property("avatar", *input.choose(&[other, "nosuch", ""])?);
            }
            1 => self.element.set_property("background-color", input.arbitrary::<u32>()?),
            2 => self.element.set_property("processing-latency", input.int_in_range(0..=1_000_000_000u64)?),
            3 if self.element.has_property("inference-interval") => {
                self.element.set_property("inference-interval", input.int_in_range(1..=25u32)?);
            }
            _ if self.element.has_property("speaking") => self.element.emit_by_name::<()>("interrupt", &[]),
            _ => {}
        }
        Ok(())
    }
}

/// The rate of the sound that last went into the pad.
fn rate(pad: &gst::Pad) -> i32 {
    let caps = pad.current_caps();
    caps.and_then(|caps| caps.structure(0)?.get("rate").ok()).unwrap_or(8_000)
}

fn segment(input: &mut Unstructured<'_>) -> Result<gst::Segment> {
    let format =
        *input.choose(&[gst::Format::Time, gst::Format::Time, gst::Format::Time, gst::Format::Bytes])?;
    if format != gst::Format::Time {
        let mut segment = gst::Segment::new();
        segment.set_format(format);
        return Ok(segment);
    }
    let mut segment = gst::FormattedSegment::<gst::ClockTime>::new();
    segment.set_rate(*input.choose(&[1.0, 1.0, 2.0, 0.5, -1.0])?);
    segment.set_start(time(input)?);
    segment.set_stop(maybe_time(input)?);
    segment.set_time(maybe_time(input)?);
    segment.set_position(maybe_time(input)?);
    segment.set_base(time(input)?);
    Ok(segment.upcast())
}
