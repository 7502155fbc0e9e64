//! An 8-bit network of a generator: made by what its values range over, and compared with what it is made of.

use std::path::{Path, PathBuf};

use image::RgbImage;
use ort::session::Session;
use ort::value::TensorRef;

use crate::error::{Error, Result};
use crate::features::{Context, Hearing};
use crate::file;
use crate::generator::face::{FaceOptions, Framing, INPUT_CHANNELS};
use crate::generator::{Face, Generator};
use crate::inference::network::{self, Graph, Optimisation};
use crate::inference::precision::{MADE_OF, Precision, sum};
use crate::inference::prepare::{self, Parts, Prepared};
use crate::inference::runtime::Engine;
use crate::limits::NETWORK_BYTES;
use crate::onnx::{Layer, Model, Ranges};
use crate::picture::pool::Pooled;

/// Makes 8-bit networks of one generator.
pub struct Quantizer {
    path: PathBuf,
    engine: Engine,
    options: FaceOptions,
    model: Model,
    layers: Vec<Layer>,
    ranges: Ranges,
    original: Generator,
}

/// A face and what it is to say.
pub type Sample = (Face, Context);

/// How far the mouths of two networks are apart.
#[derive(Debug, Clone, Copy)]
pub struct Closeness {
    /// Peak signal-to-noise ratio of all mouths together, in dB.
    pub psnr: f64,
    /// That of the worst.
    pub worst: f64,
}

impl Quantizer {
    /// Opens a generator in float32, on the processor: what `engine` says of the precision is left aside for the original.
    ///
    /// # Errors
    /// As [`Generator::open`]; [`Error::Invalid`] where it has no layer that can compute in 8 bits.
    pub fn open(path: &Path, options: FaceOptions, engine: &Engine) -> Result<Self> {
        let float = Engine { precision: Precision::Fp32, ..engine.clone() };
        let original = Generator::open(path, options, &float, 1)?;
        if original.batch() != 1 {
            let problem = format!("paints {} faces at a time", original.batch());
            return Err(Error::invalid(path, problem, "Export it with a free first size, or a size of 1"));
        }
        let model = prepare::simplified(path, engine)?;
        let layers = model.layers();
        if layers.is_empty() {
            return Err(Error::invalid(path, "has no convolution to be quantised", "Use it as it is"));
        }
        let engine = engine.clone();
        Ok(Self { path: path.into(), engine, options, model, layers, ranges: Ranges::new(), original })
    }

    /// The generator itself.
    pub fn original(&mut self) -> &mut Generator {
        &mut self.original
    }

    /// What it hears.
    pub fn hearing(&self) -> Hearing {
        self.original.hearing()
    }

    /// How it sees faces.
    pub fn framing(&self) -> Framing {
        self.original.framing()
    }

    /// The layers that can compute in 8 bits.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Sees what the values range over when these samples are painted; `go_on` is asked after each.
    ///
    /// # Errors
    /// [`Error::Inference`] where the network fails, [`Error::Interrupted`] where `go_on` says no.
    pub fn calibrate(&mut self, samples: &[Sample], mut go_on: impl FnMut() -> bool) -> Result<()> {
        let values = Model::values(&self.layers);
        let mut model = self.model.clone();
        model.add_outputs(&values);
        let mut session = self.load(&model)?;
        for sample in samples {
            self.watch(&mut session, sample, &values)?;
            if !go_on() {
                return Err(Error::Interrupted);
            }
        }
        Ok(())
    }

    fn watch(&mut self, session: &mut Session, (face, context): &Sample, values: &[String]) -> Result<()> {
        let framing = self.original.framing();
        let side = framing.network as usize;
        let mut picture = vec![0.0; INPUT_CHANNELS * side * side];
        framing.write(&face.views, &mut picture);
        let inputs = self.model.inputs();
        let shape = |port: &crate::onnx::Port| -> Vec<i64> {
            port.shape.iter().map(|size| size.parse().unwrap_or(1)).collect()
        };
        let failed = |e: ort::Error| {
            Error::inference(&self.path, format!("the network failed: {e}")).with_source(network::copy(&e))
        };
        let is_picture = |port: &&crate::onnx::Port| port.shape.get(1) == Some(&INPUT_CHANNELS.to_string());
        let feeds = inputs.iter().map(|port| {
            let values: &[f32] = if is_picture(&port) { &picture } else { context };
            Ok((port.name.clone(), TensorRef::from_array_view((shape(port), values))?))
        });
        let feeds = feeds.collect::<ort::Result<Vec<_>>>().map_err(failed)?;
        let outputs = session.run(feeds).map_err(failed)?;
        for name in values {
            // Inputs of the network are values, too.
            let seen: &[f32] = match (outputs.get(name), inputs.iter().find(|port| port.name == *name)) {
                (Some(value), _) => value.try_extract_tensor::<f32>().map_err(failed)?.1,
                (None, Some(port)) if is_picture(&port) => &picture,
                _ => context,
            };
            let range = self.ranges.entry(name.clone()).or_insert((0.0, 0.0));
            *range = seen.iter().fold(*range, |(low, high), value| (low.min(*value), high.max(*value)));
        }
        Ok(())
    }

    /// The network in which these layers compute in 8 bits; the other weights are stored as float16.
    ///
    /// # Errors
    /// As [`Model::halve_weights`].
    pub fn quantized(&self, layers: &[Layer]) -> Result<Model> {
        let mut model = self.model.clone();
        model.quantize(layers, &self.ranges);
        model.halve_weights()?;
        Ok(model)
    }

    /// Writes the file of the 8-bit network, with the notes by which it is known.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it cannot be written.
    pub fn write(&self, mut model: Model, file: &Path) -> Result<()> {
        let bytes = file::read(&self.path, NETWORK_BYTES, network::MODEL_REMEDY)?;
        model.set_entry(MADE_OF, sum(&bytes));
        model.write(file)
    }

    /// A generator that paints with such a network.
    ///
    /// # Errors
    /// As [`Generator::open`].
    pub fn open_quantized(&self, model: &Model) -> Result<Generator> {
        let graph = prepare::take_blocks(model.clone()).unwrap_or_else(|| Graph::of(model));
        let prepared = Prepared::of(&self.path, Parts::Whole(graph));
        Generator::open_prepared(&prepared, self.options, &self.engine, 1)
    }

    /// Compares what a network paints with the pictures that the original has painted of the same samples.
    ///
    /// # Errors
    /// As [`Generator::paint`].
    pub fn compare(generator: &mut Generator, samples: &[Sample], wanted: &[Pooled]) -> Result<Closeness> {
        let (mut sum, mut worst) = (0.0, 0f64);
        for ((face, context), wanted) in samples.iter().zip(wanted) {
            let painted = generator.paint([(face, context)].into_iter())?;
            let error = mouth_error(&painted[0], wanted);
            sum += error;
            worst = worst.max(error);
        }
        let decibels = |error: f64| 10.0 * (255.0 * 255.0 / error.max(1e-9)).log10();
        Ok(Closeness { psnr: decibels(sum / samples.len().max(1) as f64), worst: decibels(worst) })
    }

    fn load(&self, model: &Model) -> Result<Session> {
        let graph = Graph::of(model);
        network::load(&self.path, &graph, &self.engine, 1, Optimisation::Full)
    }
}

/// Mean square difference in the middle half of the face, where the mouth is, in levels.
fn mouth_error(a: &RgbImage, b: &RgbImage) -> f64 {
    let side = a.width();
    let middle = side / 4..side - side / 4;
    let mut sum = 0.0;
    for (x, y) in middle.clone().flat_map(|y| middle.clone().map(move |x| (x, y))) {
        let pair = a.get_pixel(x, y).0.into_iter().zip(b.get_pixel(x, y).0);
        sum += pair.map(|(a, b)| f64::from(a.abs_diff(b)).powi(2)).sum::<f64>();
    }
    sum / (3 * middle.len() * middle.len()) as f64
}
