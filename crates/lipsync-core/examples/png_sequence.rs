// SPDX-License-Identifier: MPL-2.0
//! Converts a recording to a folder of PNG files, without GStreamer.
//!
//! ```sh
//! cargo run --release -p lipsync-core --example png_sequence -- iris examples/sample.wav frames
//! ```
//!
//! writes `frames/00000.png`, `frames/00001.png`, ...: 25 pictures for each second of audio, transparent where the avatar is.
//! ONNX Runtime must be installed (`make runtime`).

use std::error::Error;
use std::path::Path;

use image::RgbaImage;
use indicatif::{ProgressBar, ProgressStyle};
use lipsync_core::{Avatar, PixelFormat, Presenter, PresenterOptions};

/// Samples of each channel that are pushed at a time.
const BLOCK: usize = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [avatar, sound, folder] = &words[..] else {
        return Err("usage: png_sequence AVATAR WAV FOLDER".into());
    };
    let (samples, spec) = read_sound(Path::new(sound))?;
    let channels = usize::from(spec.channels);
    std::fs::create_dir_all(folder)?;

    let avatar = Avatar::find(avatar, None)?;
    let options = PresenterOptions::default().format(PixelFormat::RGBA8);
    let mut presenter = Presenter::open(avatar, &options)?;
    // Mono is the mean of the channels.
    presenter.set_input(spec.sample_rate, vec![1.0 / channels as f32; channels])?;

    let duration = samples.len() as u64 / channels as u64 * 1_000_000_000 / u64::from(spec.sample_rate);
    let progress = ProgressBar::new(presenter.rate().frames_covering(duration));
    progress.set_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} frames, {eta} left")?);
    for block in samples.chunks(BLOCK * channels) {
        presenter.push(block)?;
        write_frames(&mut presenter, Path::new(folder), &progress)?;
    }
    presenter.finish()?;
    write_frames(&mut presenter, Path::new(folder), &progress)?;
    progress.finish();
    Ok(())
}

/// Writes all frames whose audio is complete.
fn write_frames(
    presenter: &mut Presenter,
    folder: &Path,
    progress: &ProgressBar,
) -> Result<(), Box<dyn Error>> {
    let (width, height) = presenter.size();
    while let Some(frame) = presenter.pull()? {
        let picture = RgbaImage::from_raw(width, height, frame.to_vec()).ok_or("a frame of another size")?;
        picture.save(folder.join(format!("{:05}.png", frame.index())))?;
        progress.inc(1);
    }
    Ok(())
}

/// The interleaved samples of a WAV file, from -1 to 1, and their format.
fn read_sound(path: &Path) -> Result<(Vec<f32>, hound::WavSpec), Box<dyn Error>> {
    let mut wav = hound::WavReader::open(path)?;
    let spec = wav.spec();
    let samples: Result<Vec<f32>, _> = match spec.sample_format {
        hound::SampleFormat::Float => wav.samples::<f32>().collect(),
        hound::SampleFormat::Int => {
            let full = (1u64 << (spec.bits_per_sample - 1)) as f32;
            wav.samples::<i32>().map(|sample| Ok(sample? as f32 / full)).collect()
        }
    };
    Ok((samples?, spec))
}
