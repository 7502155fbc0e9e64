// SPDX-License-Identifier: MPL-2.0
//! What `lipsyncsrc` tells of what it says, on a clock that the tests turn.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::fixture;
use common::gst::avatar;
use common::stress::Random;
use common::studio::{FRAME, SECOND, Studio};
use gst::prelude::*;

const MONO_16K: &str = "audio/x-raw,format=S16LE,rate=16000,channels=1,layout=interleaved";
/// A sample of that.
const SAMPLE: u64 = 62_500;
const UTTERANCE: [&str; 2] = ["lipsync-utterance-start", "lipsync-utterance-end"];

fn text(structure: &gst::Structure, field: &str) -> String {
    structure.get::<String>(field).unwrap_or_default()
}

fn number(structure: &gst::Structure, field: &str) -> u64 {
    structure.get(field).unwrap_or_else(|e| panic!("{structure}: {e}"))
}

fn time(structure: &gst::Structure) -> u64 {
    number(structure, "running-time")
}

/// Starts and ends of utterances: the name, and for an end the reason and the samples.
fn utterances(studio: &mut Studio) -> Vec<(String, Option<(String, u64)>)> {
    let told = studio.told(&UTTERANCE).into_iter().map(|structure| {
        let is_end = structure.name() == UTTERANCE[1];
        (text(&structure, "id"), is_end.then(|| (text(&structure, "reason"), number(&structure, "samples"))))
    });
    told.collect()
}

fn start(id: &str) -> (String, Option<(String, u64)>) {
    (id.into(), None)
}

fn end(id: &str, reason: &str, samples: u64) -> (String, Option<(String, u64)>) {
    (id.into(), Some((reason.into(), samples)))
}

/// Waits until what has been sent is in the backlog.
fn arrive(studio: &mut Studio) {
    let arrived = Arc::new(Mutex::new(false));
    let sees = arrived.clone();
    let pad = studio.element.static_pad("sink").unwrap();
    let probe = pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        let Some(event) = info.event() else { return gst::PadProbeReturn::Ok };
        if event.structure().is_some_and(|structure| structure.name() == "that-was-it") {
            *sees.lock().unwrap() = true;
        }
        gst::PadProbeReturn::Ok
    });
    let event = gst::event::CustomDownstream::new(gst::Structure::new_empty("that-was-it"));
    assert!(studio.input.send_event(event));
    studio.wait_for("arrival", |_| *arrived.lock().unwrap());
    pad.remove_probe(probe.unwrap());
}

/// Times of the samples that came out and are not zero.
fn heard(studio: &Studio) -> Vec<u64> {
    let received = studio.audio.lock().unwrap();
    let loud = received.iter().flat_map(|sample| {
        let start = sample.buffer().unwrap().pts().unwrap().nseconds();
        let samples = common::gst::bytes(sample);
        let info = gst_audio::AudioInfo::from_caps(sample.caps().unwrap()).unwrap();
        let size = info.bpf() as usize;
        let loud = samples.chunks(size).enumerate().filter(|(_, bytes)| bytes.iter().any(|byte| *byte != 0));
        let times = loud.map(|(i, _)| start + i as u64 * SECOND / u64::from(info.rate()));
        times.collect::<Vec<_>>()
    });
    loud.collect()
}

#[test]
fn an_utterance_is_told_with_its_frames_and_to_the_sample() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    let timeline = Arc::new(Mutex::new(Vec::new()));
    let (noted, video) = (timeline.clone(), studio.video.clone());
    studio.pipeline.bus().unwrap().set_sync_handler(move |_, message| {
        if let Some(structure) = message.structure().filter(|s| s.name().starts_with("lipsync-")) {
            noted.lock().unwrap().push((structure.to_owned(), video.lock().unwrap().len() as u64));
        }
        gst::BusSyncReply::Pass
    });
    studio.run_until(SECOND);
    // With a pause of a second, which is no end of it.
    studio.begin("a");
    studio.say_now(&[9000; 8_000]);
    studio.run_until(studio.now + SECOND + SECOND / 2);
    studio.say_now(&[9000; 8_077]);
    studio.end();
    studio.run_until(studio.now + 2 * SECOND);
    studio.assert_gapless();

    let heard = heard(&studio);
    assert_eq!(heard.len(), 16_077);
    let ([first, last], pause) = ([heard[0], heard[16_076] + SAMPLE], heard[7_999] + SAMPLE);
    let timeline = timeline.lock().unwrap();
    let names: Vec<&str> = timeline.iter().map(|(structure, _)| structure.name().as_str()).collect();
    let [start, end] = UTTERANCE;
    let (begins, ends) = ("lipsync-speech-start", "lipsync-speech-end");
    // Between the two bursts all that had come in had been shown.
    let dry = "lipsync-drained";
    assert_eq!(names, [start, begins, ends, dry, begins, ends, end, dry], "{timeline:#?}");
    for (structure, frame) in timeline.iter() {
        let time = time(structure);
        let is_start = structure.name().ends_with("start");
        // The frame that shows the first sample, or the last.
        let shown = if is_start { time } else { time - 1 } / FRAME;
        let is_end_of_speech = structure.name() == ends;
        // That speech is over is known only after a pause.
        assert!(*frame == shown || (is_end_of_speech && *frame >= shown), "{structure} with frame {frame}");
        let utterance = structure.get::<String>("utterance").ok();
        assert_eq!(utterance.is_some(), structure.name().starts_with("lipsync-speech"), "{structure}");
    }
    let times: Vec<u64> = timeline.iter().map(|(structure, _)| time(structure)).collect();
    assert_eq!(times[0], first);
    assert_eq!(times[1..4], [first, pause, pause], "{timeline:#?}");
    assert_eq!(times[6..], [last, last]);
    let told = &timeline[6].0;
    assert_eq!((text(told, "id").as_str(), text(told, "reason").as_str()), ("a", "finished"));
    assert_eq!([number(told, "samples"), number(told, "duration")], [16_077, 16_077 * SAMPLE]);
    assert_eq!(told.get::<i32>("rate"), Ok(16_000));
    let told = &timeline[2].0;
    assert_eq!([number(told, "samples"), number(told, "duration")], [8_000, 8_000 * SAMPLE]);
    assert_eq!((text(told, "reason").as_str(), told.get::<i32>("rate")), ("finished", Ok(16_000)));
}

#[test]
fn utterances_of_any_length_and_number_begin_and_end_once() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    // Of no samples, then two in one frame, then two without an end, which the next one and the end of the sound bring.
    studio.begin("none");
    studio.end();
    for id in ["b", "c"] {
        studio.begin(id);
        studio.say(&[9000; 100]);
        studio.end();
    }
    for id in ["d", "e"] {
        studio.begin(id);
        studio.say(&[9000; 1000]);
    }
    // Of another, and of none that there is.
    let end = gst::Structure::builder("lipsync-utterance-end").field("id", "b").build();
    studio.input.send_event(gst::event::CustomDownstream::new(end));
    studio.say(&[9000; 500]);
    arrive(&mut studio);
    let pad = studio.input.static_pad("src").unwrap();
    assert!(pad.push_event(gst::event::Eos::new()));
    studio.run_until(2 * SECOND);
    let expected = [
        start("none"),
        self::end("none", "finished", 0),
        start("b"),
        self::end("b", "finished", 100),
        start("c"),
        self::end("c", "finished", 100),
        start("d"),
        self::end("d", "finished", 1000),
        start("e"),
        self::end("e", "eos", 1500),
    ];
    assert_eq!(utterances(&mut studio), expected);
    assert_eq!(studio.told(&["lipsync-drained"]).len(), 1);
    // Sound that comes after the end is refused by the pad, until a stream starts or a flush ends it.
    let buffer = || gst::Buffer::from_mut_slice(vec![9u8; 640]);
    assert_eq!(pad.push(buffer()), Err(gst::FlowError::Eos));
    assert!(pad.push_event(gst::event::StreamStart::new("another")));
    assert!(pad.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new())));
    pad.push(buffer()).unwrap();
    assert!(pad.push_event(gst::event::Eos::new()));
    assert_eq!(pad.push(buffer()), Err(gst::FlowError::Eos));
    assert!(pad.push_event(gst::event::FlushStart::new()));
    assert!(pad.push_event(gst::event::FlushStop::new(true)));
    assert!(pad.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new())));
    pad.push(buffer()).unwrap();
    studio.run_until(studio.now + 2 * SECOND);
    assert_eq!(heard(&studio).len(), 2700 + 320, "what came in just before the flush is dropped");
    assert_eq!(studio.complaints(), [""; 0]);
}

#[test]
fn an_interruption_tells_which_of_those_that_wait_was_cut_short() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    for (id, samples) in [("a", 8_000), ("b", 16_000), ("c", 16_000)] {
        studio.begin(id);
        studio.say(&vec![9000; samples]);
        studio.end();
    }
    arrive(&mut studio);
    let from = studio.now;
    studio.run_until(from + studio.latency() + SECOND);
    let answer = studio.interrupt();
    studio.run_until(studio.now + SECOND);
    let said = heard(&studio).len() as u64;
    assert!((12_000..20_000).contains(&said), "{said}");
    assert_eq!(answer.name(), "lipsync-interrupted");
    assert_eq!((text(&answer, "utterance"), number(&answer, "samples")), ("b".into(), said - 8_000));
    assert_eq!(number(&answer, "duration"), (said - 8_000) * SAMPLE);
    assert_eq!(answer.get::<i32>("rate"), Ok(16_000));
    // Speech was over with the first.
    assert_eq!(
        [number(&answer, "speech-samples"), number(&answer, "speech-duration")],
        [said - 8_000, (said - 8_000) * SAMPLE]
    );
    let expected = [
        start("a"),
        end("a", "finished", 8_000),
        start("b"),
        end("b", "interrupted", said - 8_000),
        start("c"),
        end("c", "interrupted", 0),
    ];
    assert_eq!(utterances(&mut studio), expected);
    assert_eq!(studio.told(&["lipsync-interrupted"]), std::slice::from_ref(&answer));
    assert!(studio.told(&["lipsync-drained"]).is_empty(), "it has not been shown");
    let speech = studio.told(&["lipsync-speech-start", "lipsync-speech-end"]);
    let told: Vec<_> =
        speech.iter().map(|speech| (text(speech, "utterance"), text(speech, "reason"))).collect();
    let expected = [("a", ""), ("a", "finished"), ("b", ""), ("b", "interrupted")];
    assert_eq!(told, expected.map(|(utterance, reason)| (utterance.into(), reason.into())));
    assert_eq!(number(&speech[3], "samples"), said - 8_000);
    assert_eq!(time(&speech[3]), time(&answer));
}

#[test]
fn the_rest_of_an_utterance_that_was_interrupted_is_not_said() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    // Before its first sample.
    studio.run_until(SECOND);
    studio.begin("a");
    arrive(&mut studio);
    studio.run_until(2 * SECOND);
    assert_eq!(utterances(&mut studio), [], "nothing of it has been said");
    let answer = studio.interrupt();
    assert_eq!((text(&answer, "utterance"), number(&answer, "samples")), ("a".into(), 0));
    studio.say_now(&[9000; 16_000]);
    studio.end();
    // What belongs to none is spoken.
    studio.say_now(&[9000; 160]);
    studio.run_until(4 * SECOND);
    assert_eq!(heard(&studio).len(), 160);
    assert_eq!(utterances(&mut studio), [start("a"), end("a", "interrupted", 0)]);
    assert_eq!(studio.told(&["lipsync-drained"]).len(), 1);

    // In its midst, by a flush; behind that nothing is left of it.
    studio.begin("b");
    studio.say_now(&[9000; 16_000]);
    studio.run_until(studio.now + SECOND);
    let pad = studio.input.static_pad("src").unwrap();
    assert!(pad.push_event(gst::event::FlushStart::new()));
    assert!(pad.push_event(gst::event::FlushStop::new(true)));
    assert!(pad.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new())));
    let said = studio.told(&["lipsync-interrupted"]).pop().unwrap();
    studio.say_now(&[9000; 320]);
    studio.run_until(studio.now + 2 * SECOND);
    let all = heard(&studio).len() as u64;
    assert_eq!((text(&said, "utterance"), number(&said, "samples")), ("b".into(), all - 480));
    assert!((1000..16_000).contains(&(all - 480)), "{all}");
    assert_eq!(utterances(&mut studio)[2..], [start("b"), end("b", "interrupted", all - 480)]);
    // And one with nothing under way.
    let answer = studio.interrupt();
    assert!(!answer.has_field("utterance"));
    assert_eq!([number(&answer, "samples"), number(&answer, "speech-samples")], [0, 0]);
}

/// Interrupts at random moments, and compares what is answered and told with what came out.
fn interrupt_at_random(caps: &str, properties: &str, seed: u64) {
    let mut studio = Studio::new(&format!("{} {properties}", avatar("own_160")), caps);
    let info = gst_audio::AudioInfo::from_caps(&caps.parse::<gst::Caps>().unwrap()).unwrap();
    let rate = u64::from(info.rate());
    let send = |studio: &Studio, samples: u64| {
        let sample = if info.bpf() == 2 { &9000i16.to_ne_bytes()[..] } else { &0.3f32.to_ne_bytes()[..] };
        let size = (samples * u64::from(info.bpf())) as usize;
        let bytes: Vec<u8> = sample.iter().copied().cycle().take(size).collect();
        studio.input.push_buffer(gst::Buffer::from_slice(bytes)).unwrap();
    };
    let mut random = Random::new(seed);
    let (mut answers, mut whole, mut cut) = (Vec::new(), 0, 0);
    for i in 0..200 {
        let from = studio.now;
        // One in four belongs to no utterance, and half of the others have an end.
        let is_marked = !random.one_in(4);
        if is_marked {
            studio.begin(&i.to_string());
        }
        let sent = [100 + random.below(rate), if random.one_in(3) { random.below(rate) } else { 0 }];
        sent.into_iter().filter(|samples| *samples > 0).for_each(|samples| send(&studio, samples));
        if is_marked && random.one_in(2) {
            studio.end();
        }
        arrive(&mut studio);
        studio.run_until(studio.now + random.below(1_800_000_000));
        // At any moment of what the pads do.
        let (element, wait) = (studio.element.clone(), Duration::from_micros(random.below(3000)));
        let interruption = std::thread::spawn(move || {
            std::thread::sleep(wait);
            element.emit_by_name::<gst::Structure>("interrupt", &[])
        });
        studio.run_until(studio.now + random.below(3 * FRAME));
        while !interruption.is_finished() {
            studio.wait_for("nothing", |_| true);
        }
        answers.push((is_marked, from, sent.iter().sum::<u64>(), interruption.join().unwrap()));
    }
    studio.run_until(studio.now + 2 * SECOND);
    studio.assert_gapless();
    assert_eq!(studio.complaints(), [""; 0]);
    let heard = heard(&studio);
    let told = studio.told(&UTTERANCE);
    for (i, (is_marked, from, sent, answer)) in answers.iter().enumerate() {
        let until = answers.get(i + 1).map_or(u64::MAX, |next| next.1);
        // What comes from then on is said from then on.
        let said = heard.iter().filter(|time| (*from..until).contains(*time)).count() as u64;
        let name = answer.get::<String>("utterance").ok();
        let mine: Vec<_> = told.iter().filter(|told| text(told, "id") == i.to_string()).collect();
        assert_eq!(mine.len(), if *is_marked { 2 } else { 0 }, "{i}: {mine:?}");
        if !is_marked {
            // What has been shown to its end is not cut short.
            let counted = number(answer, "samples");
            let is_right = counted == said || (counted == 0 && said == *sent);
            assert!(name.is_none() && is_right, "{i}: {said} of {sent}, {answer}");
            continue;
        }
        assert_eq!([mine[0].name(), mine[1].name()], UTTERANCE);
        assert_eq!(number(mine[1], "samples"), said, "{i}: {} {answer}", mine[1]);
        assert_eq!(mine[1].get::<i32>("rate"), Ok(rate as i32));
        assert_eq!(number(mine[1], "duration"), said * SECOND / rate);
        if name.is_some() {
            assert_eq!((name, number(answer, "samples")), (Some(i.to_string()), said), "{answer}");
            assert_eq!(text(mine[1], "reason"), "interrupted");
            cut += 1;
        } else {
            assert_eq!((text(mine[1], "reason").as_str(), said), ("finished", *sent));
            whole += 1;
        }
    }
    println!("{caps}: {cut} cut short, {whole} whole");
    assert!(cut > 60 && whole > 10);
}

#[test]
fn two_hundred_interruptions_are_answered_to_the_sample() {
    interrupt_at_random(MONO_16K, "", 1);
}

#[test]
fn so_they_are_in_another_format_that_goes_out_early() {
    let stereo = "audio/x-raw,format=F32LE,rate=44100,channels=2,layout=interleaved,channel-mask=(bitmask)3";
    interrupt_at_random(stereo, "audio-offset=-21333333", 2);
}

#[test]
fn so_they_are_where_nothing_waits_in_the_queues() {
    interrupt_at_random(MONO_16K, "processing-latency=0", 3);
}

#[test]
fn without_a_pad_for_the_sound_what_is_shown_counts() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    studio.run_until(SECOND);
    let audio = studio.element.static_pad("audio").unwrap();
    studio.element.release_request_pad(&audio);
    // Nobody waits for its sound.
    studio.most = u64::MAX - 1;
    studio.run_until(2 * SECOND);
    studio.begin("a");
    studio.say_now(&[9000; 32_000]);
    studio.run_until(studio.now + studio.latency() + SECOND);
    let answer = studio.interrupt();
    let shown = studio.frames() * FRAME;
    studio.run_until(studio.now + SECOND);
    let told = studio.told(&UTTERANCE);
    let begun = time(&told[0]);
    assert_eq!(time(&answer), shown);
    assert_eq!(number(&answer, "samples"), (shown - begun).div_ceil(SAMPLE), "{answer} {told:?}");
    assert_eq!(number(&told[1], "samples"), number(&answer, "samples"));
}

#[test]
fn an_end_of_the_stream_and_a_stop_end_what_is_being_said() {
    let mut studio = Studio::new(&format!("{} num-buffers=30", avatar("own")), MONO_16K);
    studio.most = 30;
    for id in ["a", "b"] {
        studio.begin(id);
        studio.say(&[9000; 5 * 16_000]);
    }
    studio.run_until(4 * SECOND);
    studio.wait_for("end", |studio| {
        let out = studio.pipeline.by_name("sound").unwrap().downcast::<gst_app::AppSink>().unwrap();
        out.is_eos()
    });
    let said = heard(&studio).len() as u64;
    assert!(said > 5000, "{said}");
    let expected = [start("a"), end("a", "eos", said), start("b"), end("b", "eos", 0)];
    studio.wait_for_messages(|studio| {
        utterances(studio).len() >= expected.len() && !studio.told(&["lipsync-speech-end"]).is_empty()
    });
    assert_eq!(utterances(&mut studio), expected);
    let speech = studio.told(&["lipsync-speech-end"]);
    assert_eq!((speech.len(), text(&speech[0], "reason").as_str()), (1, "eos"));

    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    studio.begin("a");
    studio.say_now(&[9000; 5 * 16_000]);
    studio.run_until(2 * SECOND);
    studio.pipeline.set_state(gst::State::Ready).unwrap();
    let said = heard(&studio).len() as u64;
    let told = utterances(&mut studio);
    assert_eq!(told.len(), 2);
    // One more piece may have been on its way.
    let Some((reason, samples)) = &told[1].1 else { panic!("{told:?}") };
    assert!(reason == "stopped" && samples.abs_diff(said) <= 640, "{told:?}, {said}");
    let speech = studio.told(&["lipsync-speech-end"]);
    assert_eq!((speech.len(), text(&speech[0], "reason").as_str()), (1, "stopped"));
}

#[test]
fn that_the_backlog_has_run_dry_is_told_once_it_has_been_shown() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    studio.run_until(SECOND);
    assert!(studio.told(&["lipsync-drained"]).is_empty());
    let mut ends = Vec::new();
    for _ in 0..2 {
        // A second burst before the first has been shown, though there is a hole between them.
        studio.say_now(&[9000; 3200]);
        studio.run_until(studio.now + 350_000_000);
        studio.say_now(&[9000; 3200]);
        studio.run_until(studio.now + 2 * SECOND);
        ends.push(heard(&studio).last().unwrap() + SAMPLE);
    }
    let told: Vec<u64> = studio.told(&["lipsync-drained"]).iter().map(time).collect();
    assert_eq!(told, ends);
}

#[test]
fn another_avatar_in_an_utterance_is_told_and_ends_nothing() {
    let mut studio = Studio::new(&avatar("own"), MONO_16K);
    studio.begin("a");
    studio.say_now(&[9000; 4 * 16_000]);
    studio.end();
    studio.run_until(2 * SECOND);
    let name = fixture("avatars/own_160").display().to_string();
    studio.element.set_property("avatar", &name);
    let size = |sample: &gst::Sample| sample.buffer().unwrap().size();
    let first = size(&studio.video.lock().unwrap()[0]);
    let changed =
        |studio: &Studio| studio.video.lock().unwrap().iter().position(|sample| size(sample) != first);
    while changed(&studio).is_none() {
        assert!(studio.now < 60 * SECOND);
        studio.run_until(studio.now + FRAME);
        std::thread::sleep(Duration::from_millis(5));
    }
    studio.run_until(studio.now + 6 * SECOND);
    studio.assert_gapless();
    let told = studio.told(&["lipsync-avatar-changed"]);
    assert_eq!(told.len(), 1);
    assert_eq!(text(&told[0], "avatar"), name);
    assert_eq!(time(&told[0]), changed(&studio).unwrap() as u64 * FRAME);
    assert_eq!(utterances(&mut studio), [start("a"), end("a", "finished", 4 * 16_000)]);
    assert_eq!(studio.complaints(), [""; 0]);
}
