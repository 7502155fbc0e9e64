// SPDX-License-Identifier: MPL-2.0
//! The shipped avatars: the mouth is shut in silence and moves with speech, painted by their networks.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::{compare, render};
use lipsync_core::audio::resample::ToMono16k;
use lipsync_core::avatar::Avatar;
use lipsync_core::picture::image_file;
use lipsync_core::rate::FrameRate;

const PRESENTERS: [&str; 2] = ["iris", "theo"];

/// Mean difference, in levels, of each frame from the avatar's own frame of that moment, in the mouth's part.
fn movement(name: &str, samples: &[f32]) -> Vec<f64> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let avatar = Avatar::open(&root.join("models").join(name)).unwrap();
    let width = avatar.image.size.0 as usize;
    let shown = render(avatar.clone(), samples, 4096, FrameRate::NATIVE);
    (0..)
        .zip(shown)
        .map(|(n, frame)| {
            let index = avatar.idle().frame_at(n);
            let still = image_file::read(&avatar.frames[index].picture).unwrap().colours;
            let face = avatar.frames[index].face.within(avatar.image.size).unwrap();
            let (x, y) = (face.x + face.width / 4, face.y + face.height / 2);
            let mut levels = (Vec::new(), Vec::new());
            for line in y..face.y + face.height {
                for column in x..x + face.width / 2 {
                    let place = (line as usize * width + column as usize) * 3;
                    // Ours is blue, green, red.
                    levels.0.extend(frame[place..place + 3].iter().rev());
                    levels.1.extend(still.get_pixel(column, line).0);
                }
            }
            compare(&levels.0, &levels.1).mean
        })
        .collect()
}

#[test]
fn the_mouth_is_shut_in_silence() {
    for name in PRESENTERS {
        let moved = movement(name, &[0.0; 24_000]);
        println!("{name}: {moved:.1?}");
        let worst = moved.into_iter().fold(0.0, f64::max);
        assert!(worst < 1.0, "{name} moves by {worst} levels");
    }
}

/// The sample recording as the networks hear it.
fn sample() -> Vec<f32> {
    let sound = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/sample.wav");
    let mut wav = hound::WavReader::open(sound).unwrap();
    let samples: Vec<f32> = wav.samples::<i16>().map(|s| f32::from(s.unwrap()) / 32768.0).collect();
    let mut converter = ToMono16k::new(wav.spec().sample_rate, vec![1.0]).unwrap();
    let mut mono = Vec::new();
    converter.push(&samples, &mut mono).unwrap();
    converter.finish(&mut mono).unwrap();
    mono
}

#[test]
fn the_mouth_moves_with_speech_and_rests_before_and_after() {
    let mono = sample();
    for name in PRESENTERS {
        let moved = movement(name, &mono);
        println!("{name}: {moved:.1?}");
        // The recording has 0.3 s of silence at each end.
        let rest = moved[..5].iter().chain(&moved[moved.len() - 5..]).fold(0.0, |a: f64, b| a.max(*b));
        let speech = &moved[15..moved.len() - 15];
        let open = speech.iter().filter(|&&m| m > 3.0 * rest.max(0.5)).count();
        assert!(rest < 1.5, "{name} is not at rest: {rest}");
        assert!(open > speech.len() / 3, "{name} is open in {open} of {} frames", speech.len());
        // It goes to and fro: several times a second from open to nearly shut.
        let middle = speech.iter().sum::<f64>() / speech.len() as f64;
        let turns = speech.windows(2).filter(|pair| (pair[0] > middle) != (pair[1] > middle)).count();
        assert!(turns > 20, "{name}: only {turns} turns");
    }
}

#[test]
fn the_loop_is_long_and_shows_a_whole_person_before_anything() {
    for name in PRESENTERS {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("models").join(name);
        let avatar = Avatar::open(&root).unwrap();
        assert!(avatar.frames.len() >= 200, "{name}: {} frames", avatar.frames.len());
        assert_eq!(avatar.image.size, (1280, 720), "{name}");
        assert!(avatar.has_alpha(), "{name} has no alpha");
        // No frame jumps: two in a row differ little, at the turn of the loop and everywhere.
        let step = |a: usize, b: usize| {
            let picture = |n: usize| image_file::read(&avatar.frames[n].picture).unwrap().colours.into_raw();
            compare(&picture(a), &picture(b)).mean
        };
        let last = avatar.frames.len() - 1;
        for (a, b) in [(0, 1), (60, 61), (120, 121), (last - 1, last)] {
            let change = step(a, b);
            assert!(change < 1.5, "{name}: frames {a} and {b} differ by {change} levels");
        }
        assert!(step(0, 100) > 0.5, "{name} does not move");
    }
}
