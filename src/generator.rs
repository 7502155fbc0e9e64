//! Step 5: the generator network paints the face's mouth from the face and the audio context.

use std::path::Path;

use image::RgbImage;

use crate::error::{Error, Result};
use crate::face::{FaceViews, INPUT_CHANNELS, painted};
use crate::features::{CONTEXT, Context};
use crate::network::{Interrupter, Network};
use crate::runtime::Engine;

/// The generator, opened and checked.
pub struct Generator {
    network: Network,
    /// Which of its two inputs is the picture and which the sound.
    face: usize,
    audio: usize,
    side: u32,
}

/// The audio input's shape: the 16 rows of 512 values seen as 32 planes.
const AUDIO_SHAPE: [usize; 3] = [32, 16, 16];

impl Generator {
    /// Opens a generator and reads from it the size of the face; `threads` is for one run.
    ///
    /// # Errors
    /// As [`Network::open`]; [`Error::Invalid`] with the shapes where they are not those of the method.
    pub fn open(path: &Path, engine: &Engine, threads: usize, beside: Option<&Path>) -> Result<Self> {
        let network = Network::open(path, engine, threads, beside)?;
        let roles = Self::roles(&network);
        let Some((face, audio, side)) = roles else {
            let inputs: Vec<String> = network.inputs().map(|port| port.to_string()).collect();
            return Err(Error::invalid(
                path,
                format!(
                    "is no generator of the method: it maps {} to {}, not [N, 6, S, S] and [N, 32, 16, 16] to [N, 3, S, S]",
                    inputs.join(" and "),
                    network.output()
                ),
                "Give a SyncTalk_2D generator with the ave audio encoder, exported for a fixed picture size",
            ));
        };
        Ok(Self { network, face, audio, side })
    }

    /// Input of the picture, input of the sound, and the picture's side.
    fn roles(network: &Network) -> Option<(usize, usize, u32)> {
        let ports: Vec<_> = network.inputs().collect();
        let [first, second] = ports[..] else { return None };
        let (face, audio) = if second.holds(&AUDIO_SHAPE) { (0, 1) } else { (1, 0) };
        let picture = [first, second][face];
        let side = usize::try_from(*picture.shape.get(2)?).ok()?;
        let fits = [first, second][audio].holds(&AUDIO_SHAPE)
            && picture.shape[2..] == [side as i64; 2]
            && picture.holds(&[INPUT_CHANNELS, side, side])
            && network.output().may_hold(&[3, side, side]);
        fits.then_some((face, audio, side as u32))
    }

    /// Side of the square it sees and paints, in pixels.
    pub fn side(&self) -> u32 {
        self.side
    }

    /// A handle that stops its runs.
    pub fn interrupter(&self) -> Interrupter {
        self.network.interrupter()
    }

    /// Paints the face with the mouth of that sound.
    ///
    /// # Errors
    /// [`Error::Inference`] where the network fails, or paints what is no number.
    pub fn paint(&mut self, views: &FaceViews, context: &Context) -> Result<RgbImage> {
        views.write(self.network.input_mut(self.face));
        self.network.input_mut(self.audio)[..CONTEXT].copy_from_slice(context);
        let side = self.side;
        let output = self.network.run()?;
        let complete = output.len() == 3 * (side * side) as usize;
        let picture = complete.then(|| painted(output, side)).flatten();
        picture.ok_or_else(|| Error::Inference {
            model: self.network.path().into(),
            problem: "painted values that are not numbers. Export the network again, in float32".into(),
        })
    }
}
