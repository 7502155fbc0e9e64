// SPDX-License-Identifier: MPL-2.0
//! Times each step of the method separately, on one thread, for an avatar and a WAV file.
//!
//! ```sh
//! cargo run --release --example time_parts -- models/iris examples/sample.wav auto
//! ```
//!
//! The last argument is the precision: auto, fp32 or int8.
//!
//! Prints the seconds per step for the whole file as one line of JSON.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use lipsync_core::audio::resample::ToMono16k;
use lipsync_core::avatar::Avatar;
use lipsync_core::avatar::frames::FrameStore;
use lipsync_core::features;
use lipsync_core::generator::Generator;
use lipsync_core::inference::precision::Precision;
use lipsync_core::inference::runtime::Engine;
use lipsync_core::picture::formats::{Canvas, Picture, PixelFormat, YuvCoding};
use lipsync_core::rate::FrameRate;

type Failure = Box<dyn std::error::Error>;

/// Runs `work` and adds the seconds it took to `sum`.
fn timed<T>(sum: &mut f64, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    *sum += start.elapsed().as_secs_f64();
    result
}

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, sound, precision] = &arguments[..] else {
        return Err("usage: time_parts AVATAR WAV auto|fp32|int8".into());
    };
    let precision = match precision.as_str() {
        "fp32" => Precision::Fp32,
        "int8" => Precision::Int8,
        _ => Precision::Auto,
    };
    let start = Instant::now();
    let (mut resampling, mut mel, mut encoder, mut decode, mut generator, mut compositing) =
        (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
    let mut first_frame = None;

    let avatar = Arc::new(Avatar::open(Path::new(folder))?);
    let engine = Engine { precision, ..Engine::default() };
    let mut network = Generator::open(&avatar.generator, avatar.face, &engine, 1)?;
    let format = PixelFormat::I420(YuvCoding::BT709);
    let canvas = Canvas { format, background: None };
    let store = FrameStore::new(avatar.clone(), canvas, network.framing(), usize::MAX);

    let mut wav = hound::WavReader::open(sound)?;
    let spec = wav.spec();
    let samples: Vec<f32> =
        wav.samples::<i16>().map(|s| s.map(|s| f32::from(s) / 32768.0)).collect::<Result<_, _>>()?;
    let channels = usize::from(spec.channels);
    let mut input = ToMono16k::new(spec.sample_rate, vec![1.0 / channels as f32; channels])?;
    let mut mono = Vec::new();
    timed(&mut resampling, || input.push(&samples, &mut mono).and_then(|()| input.finish(&mut mono)))?;

    let context_kind = network.context_kind().with_rows(avatar.context, &avatar.generator)?;
    let mut track = avatar.open_features(context_kind, features::NO_LIMIT, &engine)?;
    track.restart(FrameRate::NATIVE);
    timed(&mut mel, || {
        track.push(&mono);
        track.finish();
    });

    let frames = (mono.len() as u64 * 25).div_ceil(16_000);
    let (width, height) = avatar.image.size;
    let mut memory = Picture::new(&image::RgbImage::new(width, height), None, format);
    for n in 0..frames {
        let context = timed(&mut encoder, || track.context(n))?.ok_or("a context is missing")?;
        let frame = timed(&mut decode, || store.get(avatar.idle().frame_at(n)))?;
        let item = std::iter::once((&frame.seen, &context));
        let painted = timed(&mut generator, || network.paint(item))?;
        timed(&mut compositing, || {
            let mouth = store.mouth(&frame, &painted[0]);
            frame.draw(Some(&mouth), &mut memory.as_mut());
        });
        first_frame.get_or_insert(start.elapsed().as_secs_f64());
    }
    println!(
        "{}",
        serde_json::json!({
            "frames": frames, "resampling": resampling, "mel": mel, "encoder": encoder, "decode": decode,
            "generator": generator, "compositing": compositing, "first_frame": first_frame,
        })
    );
    Ok(())
}
