//! `quantize`: an 8-bit network beside the generator, as close to it as asked for.

mod sound;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use lipsync_core::audio::resample::SAMPLE_RATE;
use lipsync_core::avatar::Avatar;
use lipsync_core::avatar::frames::FrameStore;
use lipsync_core::features;
use lipsync_core::generator::{Face, Generator};
use lipsync_core::inference::precision::int8_file;
use lipsync_core::inference::runtime::Engine;
use lipsync_core::onnx::{Layer, Model};
use lipsync_core::picture::formats::{Canvas, Packed, PixelFormat};
use lipsync_core::picture::pool::Pooled;
use lipsync_core::quantizer::{Closeness, Quantizer, Sample};
use lipsync_core::rate::FrameRate;

use crate::cli::Quantize;
use crate::{interrupt, plugin, progress, trial, words};

/// Samples by which each layer alone is tried.
const TRIED_ALONE: usize = 3;
/// The part of the sound from which the ranges are taken; the rest is for judging.
const LEARNT: f64 = 0.6;
/// Those of [`FrameRate::NATIVE`], at which the sound is heard.
const FRAMES_A_SECOND: f64 = 25.0;

/// Calibrates, judges, leaves layers in float32 as needed, and writes.
pub fn run(options: &Quantize) -> Result<ExitCode> {
    let beside = plugin::folder();
    let beside = beside.as_deref();
    let folder = plugin::locate(&options.avatar, beside)?;
    let avatar = Avatar::open(&folder)?;
    let file = sound_of(options, &folder)?;
    let sound = sound::read(&file)?;
    trial::check_networks(&avatar, beside)?;
    let engine = Engine::default().with_library_dir(beside);
    let mut quantizer = Quantizer::open(&avatar.generator, avatar.face, &engine)?;
    let count = usize::from(options.samples);
    let contexts = hear(&avatar, &quantizer, &sound, &engine)?;
    let learnt = (contexts.len() as f64 * LEARNT) as usize;
    if learnt < count || contexts.len() - learnt < count {
        let seconds = sound.len() as f64 / f64::from(SAMPLE_RATE);
        let missing = (count as f64 / (1.0 - LEARNT)).ceil() - contexts.len() as f64;
        bail!(
            "{}: its sound is only {seconds:.1} s long, and {count} samples need {:.1} s. \
             Give a longer one with --sound, or fewer --samples",
            file.display(),
            seconds + missing / FRAMES_A_SECOND
        );
    }
    let (learn, judge) = contexts.split_at(learnt);
    let learn = samples(&avatar, &quantizer, learn, count)?;
    let judge = samples(&avatar, &quantizer, judge, count)?;

    let bar = progress::bar(learn.len(), "calibrate");
    let calibrated = quantizer.calibrate(&learn, || {
        bar.inc(1);
        !interrupt::asked()
    });
    interrupt::check()?;
    calibrated?;
    bar.finish();
    let start = Instant::now();
    let wanted = paint(quantizer.original(), &judge)?;
    let before = start.elapsed() / judge.len() as u32;

    let judged = Judged { quantizer: &quantizer, samples: &judge, wanted: &wanted };
    let (model, closeness, in_float) = judged.find(options.psnr)?;
    let mut generator = quantizer.open_quantized(&model)?;
    let start = Instant::now();
    paint(&mut generator, &judge)?;
    let after = start.elapsed() / judge.len() as u32;
    let file = int8_file(&avatar.generator);
    quantizer.write(model, &file)?;

    say!("{}", file.display());
    say!(
        "  size          {}",
        words::change(std::slice::from_ref(&avatar.generator), std::slice::from_ref(&file))
    );
    say!("  layers        {} in 8 bits, {} in float32", quantizer.layers().len() - in_float, in_float);
    say!(
        "  mouths        {:.1} dB from those of float32, the worst {:.1} dB, on {} frames it was not calibrated on",
        closeness.psnr,
        closeness.worst,
        judge.len()
    );
    say!("  time          {after:.1?} a frame on one core, float32 {before:.1?}");
    say!("lipsync plays it from now on (precision=fp32 does not). To be rid of it, delete the file");
    Ok(ExitCode::SUCCESS)
}

/// The sound to calibrate on: the one given, else that of the footage.
fn sound_of(options: &Quantize, folder: &Path) -> Result<PathBuf> {
    let own = folder.join("aud.wav");
    match &options.sound {
        Some(sound) => Ok(sound.clone()),
        None if own.is_file() => Ok(own),
        None => bail!("{}: has no aud.wav. Give some speech with --sound", folder.display()),
    }
}

/// What the generator hears with each frame of the sound.
fn hear(
    avatar: &Avatar,
    quantizer: &Quantizer,
    sound: &[f32],
    engine: &Engine,
) -> Result<Vec<features::Context>> {
    let hearing = quantizer.hearing().chosen(avatar.context, &avatar.generator)?;
    let mut track = avatar.open_features(hearing, features::NO_LIMIT, engine)?;
    track.restart(FrameRate::NATIVE);
    let mut contexts = Vec::new();
    // In pieces, so that what has been used is forgotten.
    for piece in sound.chunks(16_000) {
        track.push(piece);
        while let Some(context) = track.context(contexts.len() as u64)? {
            contexts.push(context);
        }
        interrupt::check()?;
    }
    Ok(contexts)
}

/// So many of the contexts, evenly apart, with frames from all over the avatar.
fn samples(
    avatar: &Avatar,
    quantizer: &Quantizer,
    contexts: &[features::Context],
    count: usize,
) -> Result<Vec<Sample>> {
    let canvas = Canvas {
        format: PixelFormat::Packed(Packed { bytes: 3, order: [0, 1, 2], alpha: None }),
        background: None,
    };
    let store = FrameStore::new(Arc::new(avatar.clone()), canvas, quantizer.framing(), 0);
    (0..count)
        .map(|n| {
            let frame = store.get(n * avatar.frames.len() / count)?;
            let face = Face::new(frame.seen.views.clone());
            Ok((face, contexts[n * contexts.len() / count].clone()))
        })
        .collect()
}

fn paint(generator: &mut Generator, samples: &[Sample]) -> Result<Vec<Pooled>> {
    samples
        .iter()
        .map(|(face, context)| {
            interrupt::check()?;
            let painted = generator.paint([(face, context)].into_iter())?.pop();
            painted.context("nothing was painted")
        })
        .collect()
}

/// The samples by which networks are judged.
struct Judged<'a> {
    quantizer: &'a Quantizer,
    samples: &'a [Sample],
    wanted: &'a [Pooled],
}

impl Judged<'_> {
    /// The network with the most layers in 8 bits that comes within `psnr` dB, how close it is, and how many layers it
    /// has in float32.
    fn find(&self, psnr: f64) -> Result<(Model, Closeness, usize)> {
        let layers = self.quantizer.layers();
        let (model, closeness) = self.judge(layers, self.samples.len())?;
        if closeness.psnr >= psnr {
            return Ok((model, closeness, 0));
        }
        say!(
            "looking for those to blame: with all layers in 8 bits, mouths come to {:.1} dB, less than {psnr}",
            closeness.psnr
        );
        let layers = self.by_blame(layers)?;
        // The least number of the worst that must stay in float32: doubled until it is enough, then halved in between.
        let mut too_few = 0;
        let mut best = None;
        let mut step = 1;
        while best.is_none() {
            let count = (too_few + step).min(layers.len());
            if count == layers.len() {
                bail!("not even one layer can compute in 8 bits and stay within {psnr} dB. Lower --psnr");
            }
            let (model, closeness) = self.judge(&layers[count..], self.samples.len())?;
            if closeness.psnr >= psnr {
                best = Some((model, closeness, count));
            } else {
                (too_few, step) = (count, 2 * step);
            }
        }
        let mut best = best.context("no network was found")?;
        while best.2 - too_few > 1 {
            let count = too_few.midpoint(best.2);
            let (model, closeness) = self.judge(&layers[count..], self.samples.len())?;
            if closeness.psnr >= psnr {
                best = (model, closeness, count);
            } else {
                too_few = count;
            }
        }
        Ok(best)
    }

    /// The layers, that which does most harm alone first.
    fn by_blame(&self, layers: &[Layer]) -> Result<Vec<Layer>> {
        let bar = progress::bar(layers.len(), "layers");
        let mut harm = Vec::with_capacity(layers.len());
        for layer in layers {
            let (_, closeness) = self.judge(std::slice::from_ref(layer), TRIED_ALONE)?;
            harm.push((closeness.psnr, layer.clone()));
            bar.inc(1);
        }
        bar.finish();
        harm.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        Ok(harm.into_iter().map(|(_, layer)| layer).collect())
    }

    fn judge(&self, layers: &[Layer], samples: usize) -> Result<(Model, Closeness)> {
        interrupt::check()?;
        let samples = samples.min(self.samples.len());
        let model = self.quantizer.quantized(layers)?;
        let mut generator = self.quantizer.open_quantized(&model)?;
        let closeness =
            Quantizer::compare(&mut generator, &self.samples[..samples], &self.wanted[..samples])?;
        Ok((model, closeness))
    }
}
