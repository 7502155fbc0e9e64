// SPDX-License-Identifier: MPL-2.0
//! Post-training quantization of a generator to 8 bits: calibrated on samples, and compared with the
//! original.

use std::path::{Path, PathBuf};

use image::RgbImage;
use ort::session::Session;
use ort::value::TensorRef;

use crate::error::{Error, Result};
use crate::features::{AudioContextKind, Context};
use crate::file::{self, sha256_hex};
use crate::generator::face::{FaceOptions, Framing, INPUT_CHANNELS};
use crate::generator::{FaceInput, Generator};
use crate::inference::network::{self, Graph, Optimization};
use crate::inference::precision::{Precision, SOURCE_SHA256};
use crate::inference::prepare::{self, GraphParts, PreparedGraph};
use crate::inference::runtime::Engine;
use crate::limits::NETWORK_BYTES;
use crate::onnx::{Layer, Model, Ranges};
use crate::picture::pool::Pooled;

/// Quantizes one generator.
pub struct Quantizer {
    path: PathBuf,
    engine: Engine,
    options: FaceOptions,
    model: Model,
    layers: Vec<Layer>,
    ranges: Ranges,
    original: Generator,
}

/// A face and the audio context to paint it for.
pub type Sample = (FaceInput, Context);

/// How close the mouths of two networks are.
#[derive(Debug, Clone, Copy)]
pub struct MouthPsnr {
    /// Peak signal-to-noise ratio over all samples, in dB.
    pub overall: f64,
    /// That of the worst sample.
    pub worst: f64,
}

impl Quantizer {
    /// Opens a generator in float32, on the processor: what `engine` says of the precision is left aside for the original.
    ///
    /// # Errors
    /// As [`Generator::open`]; [`Error::Invalid`] where it has no layer that can be quantized.
    pub fn open(path: &Path, options: FaceOptions, engine: &Engine) -> Result<Self> {
        let float = Engine { precision: Precision::Fp32, ..engine.clone() };
        let original = Generator::open(path, options, &float, 1)?;
        if original.batch() != 1 {
            let problem = format!("paints {} faces at a time", original.batch());
            return Err(Error::invalid(path, problem, "Export it with a free first size, or a size of 1"));
        }
        let model = prepare::simplified(path, engine)?;
        let layers = model.quantizable_layers();
        if layers.is_empty() {
            return Err(Error::invalid(path, "has no convolution that can be quantized", "Use it as it is"));
        }
        let engine = engine.clone();
        Ok(Self { path: path.into(), engine, options, model, layers, ranges: Ranges::new(), original })
    }

    /// The original generator.
    pub fn original(&mut self) -> &mut Generator {
        &mut self.original
    }

    /// The kind of audio context that it takes.
    pub fn context_kind(&self) -> AudioContextKind {
        self.original.context_kind()
    }

    /// How faces are cut out for it.
    pub fn framing(&self) -> Framing {
        self.original.framing()
    }

    /// The layers that can be quantized.
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// Records the range of every value while these samples are painted; `go_on` is asked after each.
    ///
    /// Where the border of the face is restored after painting ([`Framing::restore_border`]), what feature maps have there
    /// is left out: it is several times larger than what mouths are painted from, which would be left with few levels.
    ///
    /// # Errors
    /// [`Error::Inference`] where the network fails, [`Error::Interrupted`] where `go_on` returns false.
    pub fn calibrate(&mut self, samples: &[Sample], mut go_on: impl FnMut() -> bool) -> Result<()> {
        let values = Model::values_to_calibrate(&self.layers);
        let mut model = self.model.clone();
        model.add_outputs(&values);
        let mut session = self.load(&model)?;
        for sample in samples {
            self.record_ranges(&mut session, sample, &values)?;
            if !go_on() {
                return Err(Error::Interrupted);
            }
        }
        Ok(())
    }

    fn record_ranges(
        &mut self,
        session: &mut Session,
        (face, context): &Sample,
        values: &[String],
    ) -> Result<()> {
        let framing = self.original.framing();
        let side = framing.network as usize;
        let mut picture = vec![0.0; INPUT_CHANNELS * side * side];
        framing.write(&face.views, &mut picture);
        let inputs = self.model.inputs();
        let shape = |port: &crate::onnx::ValueInfo| -> Vec<i64> {
            port.shape.iter().map(|size| size.parse().unwrap_or(1)).collect()
        };
        let failed = |e: ort::Error| {
            Error::inference(&self.path, format!("the network failed: {e}")).with_source(network::copy(&e))
        };
        let is_picture =
            |port: &&crate::onnx::ValueInfo| port.shape.get(1) == Some(&INPUT_CHANNELS.to_string());
        let feeds = inputs.iter().map(|port| {
            let values: &[f32] = if is_picture(&port) { &picture } else { context };
            Ok((port.name.clone(), TensorRef::from_array_view((shape(port), values))?))
        });
        let feeds = feeds.collect::<ort::Result<Vec<_>>>().map_err(failed)?;
        let outputs = session.run(feeds).map_err(failed)?;
        for name in values {
            // The network's inputs are quantized as well.
            let (shape, observed): (&[i64], &[f32]) =
                match (outputs.get(name), inputs.iter().find(|port| port.name == *name)) {
                    (Some(value), _) => {
                        let (shape, observed) = value.try_extract_tensor::<f32>().map_err(failed)?;
                        (shape, observed)
                    }
                    (None, Some(port)) if is_picture(&port) => (&[], &picture),
                    _ => (&[], context),
                };
            let range = self.ranges.entry(name.clone()).or_insert((0.0, 0.0));
            *range = inside_border(framing, shape, observed)
                .fold(*range, |(low, high), value| (low.min(*value), high.max(*value)));
        }
        Ok(())
    }

    /// The network with these layers quantized; the other weights are stored as float16.
    ///
    /// # Errors
    /// As [`Model::convert_weights_to_float16`].
    pub fn quantized(&self, layers: &[Layer]) -> Result<Model> {
        let mut model = self.model.clone();
        model.quantize(layers, &self.ranges);
        model.convert_weights_to_float16()?;
        Ok(model)
    }

    /// Writes the 8-bit network with the metadata that [`Precision`] checks.
    ///
    /// # Errors
    /// [`Error::Invalid`] where it cannot be written.
    pub fn write(&self, mut model: Model, file: &Path) -> Result<()> {
        let bytes = file::read(&self.path, NETWORK_BYTES, network::MODEL_REMEDY)?;
        model.set_metadata(SOURCE_SHA256, sha256_hex(&bytes));
        model.write(file)
    }

    /// A generator that runs such a network.
    ///
    /// # Errors
    /// As [`Generator::open`].
    pub fn open_quantized(&self, model: &Model) -> Result<Generator> {
        let graph = prepare::for_this_processor(model.clone());
        let prepared = PreparedGraph::of(&self.path, GraphParts::Whole(graph));
        Generator::open_prepared(&prepared, self.options, &self.engine, 1)
    }

    /// Compares a generator's output with that of the original for the same samples.
    ///
    /// # Errors
    /// As [`Generator::paint`].
    pub fn compare(generator: &mut Generator, samples: &[Sample], expected: &[Pooled]) -> Result<MouthPsnr> {
        let (mut sum, mut worst) = (0.0, 0f64);
        for ((face, context), expected) in samples.iter().zip(expected) {
            let painted = generator.paint([(face, context)].into_iter())?;
            let error = mouth_mse(&painted[0], expected);
            sum += error;
            worst = worst.max(error);
        }
        let decibels = |error: f64| 10.0 * (255.0 * 255.0 / error.max(1e-9)).log10();
        Ok(MouthPsnr { overall: decibels(sum / samples.len().max(1) as f64), worst: decibels(worst) })
    }

    fn load(&self, model: &Model) -> Result<Session> {
        let graph = Graph::of(model);
        network::load(&self.path, &graph, &self.engine, 1, Optimization::All)
    }
}

/// The values of square feature maps [1, C, S, S] that are not in the border of the face; all of anything else.
fn inside_border<'a>(framing: Framing, shape: &[i64], values: &'a [f32]) -> impl Iterator<Item = &'a f32> {
    let side = match *shape {
        [1, _, height, width] if height == width => usize::try_from(width).unwrap_or(0),
        _ => 0,
    };
    let border = framing.restored_border(side);
    let (width, inside) =
        if border > 0 { (side, border..side - border) } else { (values.len().max(1), 0..values.len()) };
    let rows = values.chunks_exact(width).enumerate();
    let rows = rows.filter(move |(row, _)| border == 0 || inside.contains(&(row % side)));
    rows.flat_map(move |(_, row)| &row[border..width - border])
}

/// Mean squared error in the middle half of the face, where the mouth is, in squared levels.
fn mouth_mse(a: &RgbImage, b: &RgbImage) -> f64 {
    let side = a.width();
    let middle = side / 4..side - side / 4;
    let mut sum = 0.0;
    for (x, y) in middle.clone().flat_map(|y| middle.clone().map(move |x| (x, y))) {
        let pair = a.get_pixel(x, y).0.into_iter().zip(b.get_pixel(x, y).0);
        sum += pair.map(|(a, b)| f64::from(a.abs_diff(b)).powi(2)).sum::<f64>();
    }
    sum / (3 * middle.len() * middle.len()) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::face::Style;

    #[test]
    fn the_border_of_a_face_widens_no_range() {
        let framing_of = |network, style| Framing::new(network, style, FaceOptions::default());
        let framing = |style| framing_of(320, style);
        let side = 64; // of which the border is 2
        let mut map = vec![1.0; 2 * side * side];
        map[side + 5] = 9.0;
        map[side * side + 20 * side + 62] = 9.0;
        map[side * side + 20 * side + 61] = 2.0;
        let most =
            |style, shape: &[i64]| inside_border(framing(style), shape, &map).fold(0f32, |a, b| a.max(*b));
        assert_eq!(most(Style::SyncTalk, &[1, 2, 64, 64]), 2.0);
        assert_eq!(most(Style::SyncTalk, &[1, 128, 64]), 9.0);
        // Of its face the upper half is not masked, and not restored.
        assert_eq!(most(Style::Wav2Lip, &[1, 2, 64, 64]), 9.0);
        let left =
            |network| inside_border(framing_of(network, Style::SyncTalk), &[1, 2, 64, 64], &map).count();
        assert_eq!(
            [left(320), left(64), left(40), left(39), left(16)],
            [60, 44, 32, 64, 64].map(|n| 2 * n * n)
        );
    }
}
