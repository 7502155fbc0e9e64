// SPDX-License-Identifier: MPL-2.0
//! What a program without GStreamer gets from the core: frames that know their place, in the format that it asks for.

#![allow(clippy::expect_used, clippy::unwrap_used)]

mod common;

use std::time::Duration;

use common::{array, avatar, render};
use lipsync_core::{
    FrameRate, LivePresenter, PixelFormat, Presenter, PresenterOptions, Result, Sound, Speech, VideoFrame,
};
use ndarray::Array1;

/// A second and a half of somebody speaking, 16 kHz mono.
fn speech() -> Vec<f32> {
    let samples: Array1<f32> = array("golden/audio_16k");
    samples.iter().copied().take(24_000).collect()
}

fn options() -> PresenterOptions {
    PresenterOptions::default().threads(2).cache(8 << 20)
}

fn present(options: &PresenterOptions, samples: &[f32]) -> Result<Vec<VideoFrame>> {
    let mut presenter = Presenter::open(avatar("own"), options)?;
    presenter.set_input(16_000, vec![1.0])?;
    presenter.push(samples)?;
    presenter.finish()?;
    std::iter::from_fn(|| presenter.pull().transpose()).collect()
}

#[test]
fn a_frame_knows_its_place() {
    let rate = FrameRate::new(30, 1).unwrap();
    let frames = present(&options().rate(rate), &speech()).unwrap();
    assert_eq!(frames.len(), 45);
    for (n, frame) in (0..).zip(&frames) {
        assert_eq!((frame.index(), frame.time()), (n, Duration::from_nanos(rate.time_of(n))));
        assert_eq!((frame.size(), frame.format()), (avatar("own").size(), PixelFormat::RGB8));
    }
    assert!(frames.iter().any(|frame| frame.inference().is_some()));
}

#[test]
fn a_frame_has_the_format_that_was_asked_for() {
    let samples = speech();
    let expected = render(avatar("own"), &samples, 400, FrameRate::NATIVE);
    let (width, height) = avatar("own").size();
    let pixels = (width * height) as usize;
    let bytes = |format: PixelFormat| -> Vec<Vec<u8>> {
        let frames = present(&options().format(format), &samples).unwrap();
        frames.iter().map(VideoFrame::to_vec).collect()
    };
    let bgr = |frame: &Vec<u8>, pixel: usize| -> Vec<u8> {
        frame.chunks_exact(pixel).flat_map(|pixel| [pixel[2], pixel[1], pixel[0]]).collect()
    };
    let rgb = bytes(PixelFormat::RGB8);
    assert!(rgb.iter().map(|frame| bgr(frame, 3)).eq(expected.iter().cloned()));
    let rgba = bytes(PixelFormat::RGBA8);
    assert!(rgba.iter().map(|frame| bgr(frame, 4)).eq(expected.iter().cloned()));
    assert!(rgba.iter().all(|frame| frame.iter().skip(3).step_by(4).all(|alpha| *alpha == 255)));
    let i420 = bytes(PixelFormat::I420_BT709);
    let chroma = (width.div_ceil(2) * height.div_ceil(2)) as usize;
    assert_eq!(i420[0].len(), pixels + 2 * chroma);
    // Luma of the first pixel, to the nearest level.
    let [red, green, blue] = [rgb[0][0], rgb[0][1], rgb[0][2]].map(f64::from);
    let luma = 16.0 + (0.2126 * red + 0.7152 * green + 0.0722 * blue) * 219.0 / 255.0;
    assert!((f64::from(i420[0][0]) - luma).abs() <= 1.0, "{} for {luma}", i420[0][0]);
}

#[test]
fn on_air_an_avatar_speaks_what_it_would_speak_otherwise_and_rests() {
    let mut samples = speech();
    let spoken = present(&options(), &samples).unwrap();
    samples.extend([0.0; 48_000]);
    let mut presenter = LivePresenter::open(avatar("own"), &options(), -60.0).unwrap();
    presenter.set_input(16_000, vec![1.0]).unwrap();
    let (mut heard, mut events, mut frames) = (0, Vec::new(), Vec::new());
    while frames.len() < 100 {
        let until = (presenter.needs().as_nanos() * 16_000 / 1_000_000_000) as usize;
        let start = heard as u64 * 1_000_000_000 / 16_000;
        let piece = Sound { start, samples: &samples[heard..until] };
        frames.push(presenter.step(piece).unwrap().wait().unwrap());
        events.extend(presenter.speech());
        heard = until;
    }
    // Those of the beginning may come before anything loud, and those of the end hear what comes behind it.
    for (live, other) in frames.iter().zip(&spoken).skip(10).take(15) {
        assert_eq!((live.index(), live.time()), (other.index(), other.time()));
        assert!(live.to_vec() == other.to_vec(), "frame {}", live.index());
    }
    assert!(matches!(events[..], [Speech::Starts(_), .., Speech::Ends(_)]), "{events:?}");
    assert!(
        frames[80..].iter().all(|frame| frame.inference().is_none()),
        "the mouth at rest is painted once"
    );
}
