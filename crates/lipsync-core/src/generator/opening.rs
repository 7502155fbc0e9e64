// SPDX-License-Identifier: MPL-2.0
//! What a generator hears of the lips, without a picture: to compare with what a film shows.

use std::path::Path;

use crate::error::{Error, Result};
use crate::features::{AudioContextKind, Context};
use crate::inference::network::{Graph, Network};
use crate::inference::runtime::Engine;
use crate::onnx::Model;

/// The part of a generator of the training kit that computes the distance of the lips from an audio context.
pub struct LipOpening(Network);

impl LipOpening {
    /// Cuts it out of a generator; `None` where the generator is of another make.
    ///
    /// # Errors
    /// As [`Network::open`].
    pub fn open(path: &Path, engine: &Engine) -> Result<Option<Self>> {
        let model = Error::guard(path, || Model::read(path))?;
        let values = AudioContextKind::default().values();
        let size = |shape: &[String]| -> Option<usize> {
            shape.iter().skip(1).map(|side| side.parse::<usize>().ok()).product()
        };
        let inputs = model.inputs();
        let sound = inputs.iter().find(|input| size(&input.shape) == Some(values));
        let Some(part) = sound.and_then(|sound| model.lip_opening(&sound.name)) else { return Ok(None) };
        let network = Network::open_graph(path, &Graph::of(&part), engine, 1)?;
        let inputs: Vec<_> = network.inputs().map(|input| input.values()).collect();
        let is_one = network.output().is_some_and(|output| output.values() == Some(1));
        Ok((inputs == [Some(values)] && is_one).then_some(Self(network)))
    }

    /// The distance of the lips for an audio context, in millimetres of the kit's mesh: 0 where they are closed.
    ///
    /// # Errors
    /// [`Error::Inference`] where the network fails.
    pub fn of(&mut self, context: &Context) -> Result<f32> {
        self.0.item_mut(0, 0).copy_from_slice(context);
        Ok(self.0.run(None)?.first().map_or(0.0, |opening| opening.max(0.0)))
    }
}
