// SPDX-License-Identifier: MPL-2.0
//! `quantize`: makes an 8-bit network beside the generator, as close to the original as requested.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use indicatif::ProgressBar;
use lipsync_core::audio::resample::SAMPLE_RATE;
use lipsync_core::avatar::Avatar;
use lipsync_core::avatar::frames::FrameStore;
use lipsync_core::features;
use lipsync_core::file;
use lipsync_core::generator::{FaceInput, Generator};
use lipsync_core::inference::precision::int8_file;
use lipsync_core::inference::runtime::Engine;
use lipsync_core::onnx::{ActivationBits, Layer, Model};
use lipsync_core::picture::formats::{Canvas, Packed, PixelFormat};
use lipsync_core::picture::pool::Pooled;
use lipsync_core::quantizer::{MouthPsnr, Quantizer, Sample};

use crate::audio_contexts::audio_contexts;
use crate::cli::Quantize;
use crate::film::sound_file;
use crate::{format, interrupt, plugin, progress, trial};

/// Samples for measuring the sensitivity of each layer.
const SENSITIVITY_SAMPLES: usize = 3;
/// Share of the audio for the calibration; the rest is for the evaluation.
const CALIBRATION_SHARE: f64 = 0.6;
/// Frame rate of [`FrameRate::NATIVE`], which the audio contexts are computed for.
const FRAMES_PER_SECOND: f64 = 25.0;

/// Whether it says what it does beside what it returns.
#[derive(Clone, Copy, PartialEq)]
pub enum Talk {
    Aloud,
    Silent,
}

/// How a generator was quantized.
pub struct Quantized {
    /// The file of the 8-bit network.
    pub file: PathBuf,
    /// The generator's own file.
    pub original: PathBuf,
    mouth_psnr: MouthPsnr,
    layers: [usize; 3],
    samples: usize,
    time: Duration,
    time_before: Duration,
    /// How lipsync computes from now on, if not in float32 as before.
    pub arithmetic: Option<String>,
}

/// Calibrates, evaluates, keeps layers in float32 as needed, and writes the network.
pub fn run(options: &Quantize) -> Result<ExitCode> {
    let library_dir = plugin::library_dir();
    let folder = plugin::locate(&options.avatar, library_dir.as_deref())?;
    let file = sound_of(options, &folder)?;
    let mut bar = None;
    let made = quantize(
        &folder,
        &file,
        (usize::from(options.samples), options.psnr),
        library_dir.as_deref(),
        Talk::Aloud,
        &mut |done, of| {
            let bar = bar.get_or_insert_with(|| progress::bar(of, "calibrate"));
            bar.set_position(done as u64);
            if done == of {
                bar.finish();
            }
        },
    )?;
    made.print();
    Ok(ExitCode::SUCCESS)
}

/// Quantizes the generator of an avatar's folder, calibrated on `samples` frames of the sound in `file`, so that `psnr` dB are reached.
/// `progress` is told how many of them are done.
pub fn quantize(
    folder: &Path,
    file: &Path,
    (count, psnr): (usize, f64),
    library_dir: Option<&Path>,
    talk: Talk,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Quantized> {
    let avatar = Avatar::open(folder)?;
    let network = int8_file(&avatar.generator);
    file::check_replaceable(&network, "Quantize a copy of your own, which lipsync import makes")?;
    let sound = sound_file::read(file)?;
    trial::check_networks(&avatar, library_dir)?;
    let engine = Engine::default().with_library_dir(library_dir);
    let mut quantizer = Quantizer::open(&avatar.generator, avatar.face, &engine)?;
    let contexts = audio_contexts(&avatar, quantizer.context_kind(), &sound, &engine)?;
    let calibration_count = (contexts.len() as f64 * CALIBRATION_SHARE) as usize;
    if calibration_count < count || contexts.len() - calibration_count < count {
        let seconds = sound.len() as f64 / f64::from(SAMPLE_RATE);
        let missing = (count as f64 / (1.0 - CALIBRATION_SHARE)).ceil() - contexts.len() as f64;
        bail!(
            "{}: its sound is only {seconds:.1} s long, and {count} samples need {:.1} s. \
             Give a longer one with --sound, or fewer --samples",
            file.display(),
            seconds + missing / FRAMES_PER_SECOND
        );
    }
    let (calibration_samples, evaluation_samples) = contexts.split_at(calibration_count);
    let calibration_samples = samples(&avatar, &quantizer, calibration_samples, count)?;
    let evaluation_samples = samples(&avatar, &quantizer, evaluation_samples, count)?;

    let mut done = 0;
    let calibrated = quantizer.calibrate(&calibration_samples, || {
        done += 1;
        progress(done, calibration_samples.len());
        !interrupt::requested()
    });
    interrupt::check()?;
    calibrated?;
    let start = Instant::now();
    let expected = paint(quantizer.original(), &evaluation_samples)?;
    let time_before = start.elapsed() / evaluation_samples.len() as u32;

    let evaluation =
        Evaluation { quantizer: &quantizer, samples: &evaluation_samples, expected: &expected, talk };
    let Found { model, mouth_psnr, float_layers, layers_in_7_bits } = evaluation.find(psnr)?;
    let mut generator = quantizer.open_quantized(&model)?;
    let start = Instant::now();
    paint(&mut generator, &evaluation_samples)?;
    let time = start.elapsed() / evaluation_samples.len() as u32;
    quantizer.write(model, &network)?;
    let played = Generator::open(&avatar.generator, avatar.face, &engine, 1)?;
    Ok(Quantized {
        file: network,
        original: avatar.generator.clone(),
        mouth_psnr,
        layers: [layers_in_7_bits, quantizer.layers().len() - layers_in_7_bits - float_layers, float_layers],
        samples: evaluation_samples.len(),
        time,
        time_before,
        arithmetic: Some(played.arithmetic().to_string()).filter(|name| name.starts_with("int8")),
    })
}

impl Quantized {
    fn print(&self) {
        print_line!("{}", self.file.display());
        print_line!(
            "  size          {}",
            format::change(std::slice::from_ref(&self.original), std::slice::from_ref(&self.file))
        );
        let [in_7_bits, in_8_bits, in_float32] = self.layers;
        print_line!("  layers        {in_7_bits} in 7 bits, {in_8_bits} in 8 bits, {in_float32} in float32");
        print_line!(
            "  mouths        {:.1} dB PSNR against float32, the worst {:.1} dB, on {} frames not used for calibration",
            self.mouth_psnr.overall,
            self.mouth_psnr.worst,
            self.samples
        );
        print_line!(
            "  time          {:.1?} a frame on one core, float32 {:.1?}",
            self.time,
            self.time_before
        );
        if let Some(arithmetic) = &self.arithmetic {
            print_line!(
                "lipsync uses it from now on ({arithmetic}), except with precision=fp32. To undo this, delete the file"
            );
        } else {
            print_line!(
                "this processor is faster in float32, so that lipsync uses the 8-bit network only on others, or with \
                 precision=int8. To undo this, delete the file"
            );
        }
    }
}

/// The audio to calibrate on: the given file, else that of the data set.
fn sound_of(options: &Quantize, folder: &Path) -> Result<PathBuf> {
    let own = folder.join("aud.wav");
    match &options.sound {
        Some(sound) => Ok(sound.clone()),
        None if own.is_file() => Ok(own),
        None => bail!("{}: has no aud.wav. Give some speech with --sound", folder.display()),
    }
}

/// `count` contexts, evenly spaced, with frames from the whole avatar.
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
            let face = FaceInput::new(frame.seen.views.clone());
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

/// The samples for the evaluation.
struct Evaluation<'a> {
    quantizer: &'a Quantizer,
    samples: &'a [Sample],
    expected: &'a [Pooled],
    talk: Talk,
}

/// A network that is close enough.
struct Found {
    model: Model,
    mouth_psnr: MouthPsnr,
    float_layers: usize,
    /// Convolutions that read 7 bits.
    layers_in_7_bits: usize,
}

impl Evaluation<'_> {
    /// A network that reaches `psnr` dB with few layers in float32, and few of the others in 8 bits rather than 7.
    fn find(&self, psnr: f64) -> Result<Found> {
        let layers = self.quantizer.layers();
        let (model, mouth_psnr) = self.evaluate(layers, self.samples.len())?;
        if mouth_psnr.overall >= psnr {
            return Ok(Found { model, mouth_psnr, float_layers: 0, layers_in_7_bits: in_7_bits(layers) });
        }
        if self.talk == Talk::Aloud {
            print_line!(
                "measuring the sensitivity of each layer: with all of them in 7 bits, the PSNR is {:.1} dB, less than {psnr}",
                mouth_psnr.overall
            );
        }
        let layers = self.rank_by_sensitivity(layers)?;
        // The most sensitive layers in float32, those that follow in 8 bits, the rest in 7.
        let try_out = |float_layers: usize, layers_with_8_bits: usize| {
            let mut layers = layers[float_layers..].to_vec();
            for layer in &mut layers[..layers_with_8_bits] {
                layer.bits = ActivationBits::Eight;
            }
            let (model, mouth_psnr) = self.evaluate(&layers, self.samples.len())?;
            let found = Found { model, mouth_psnr, float_layers, layers_in_7_bits: in_7_bits(&layers) };
            Ok(Some(found).filter(|found| found.mouth_psnr.overall >= psnr))
        };
        let Some(found) = least(0, layers.len() - 1, |count| try_out(count, layers.len() - count))? else {
            bail!("not even one layer can be quantized without falling below {psnr} dB. Lower --psnr");
        };
        let float_layers = found.float_layers;
        // Without any of both it was tried first.
        let first = usize::from(float_layers == 0);
        let few = least(first, layers.len() - float_layers - 1, |count| try_out(float_layers, count))?;
        Ok(few.unwrap_or(found))
    }

    /// Sorts layers by the error that each one contributes when only it is quantized, the largest error
    /// first.
    fn rank_by_sensitivity(&self, layers: &[Layer]) -> Result<Vec<Layer>> {
        let bar = match self.talk {
            Talk::Aloud => progress::bar(layers.len(), "layers"),
            Talk::Silent => ProgressBar::hidden(),
        };
        let mut error_contribution = Vec::with_capacity(layers.len());
        for layer in layers {
            let (_, mouth_psnr) = self.evaluate(std::slice::from_ref(layer), SENSITIVITY_SAMPLES)?;
            error_contribution.push((mouth_psnr.overall, layer.clone()));
            bar.inc(1);
        }
        bar.finish();
        error_contribution.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        Ok(error_contribution.into_iter().map(|(_, layer)| layer).collect())
    }

    fn evaluate(&self, layers: &[Layer], samples: usize) -> Result<(Model, MouthPsnr)> {
        interrupt::check()?;
        let samples = samples.min(self.samples.len());
        let model = self.quantizer.quantized(layers)?;
        let mut generator = self.quantizer.open_quantized(&model)?;
        let mouth_psnr =
            Quantizer::compare(&mut generator, &self.samples[..samples], &self.expected[..samples])?;
        Ok((model, mouth_psnr))
    }
}

fn in_7_bits(layers: &[Layer]) -> usize {
    layers.iter().filter(|layer| layer.takes_7_bits()).count()
}

/// The least count from `first` to `most` with which `try_out` succeeds, where more never fail: doubles its steps until
/// the count is enough, then bisects.
fn least<T>(first: usize, most: usize, try_out: impl Fn(usize) -> Result<Option<T>>) -> Result<Option<T>> {
    let (mut failing, mut count, mut step) = (first.checked_sub(1), first, 1);
    let mut best = loop {
        if let Some(found) = try_out(count)? {
            break found;
        }
        if count >= most {
            return Ok(None);
        }
        failing = Some(count);
        (count, step) = ((count + step).min(most), 2 * step);
    };
    let mut enough = count;
    while let Some(too_few) = failing.filter(|too_few| enough - too_few > 1) {
        let count = too_few.midpoint(enough);
        match try_out(count)? {
            Some(found) => (best, enough) = (found, count),
            None => failing = Some(count),
        }
    }
    Ok(Some(best))
}
