//! Step 5: the generator network paints the face's mouth from the face and the audio context.

use std::path::Path;

use image::RgbImage;

use crate::avatar::FaceOptions;
use crate::error::{Error, Result};
use crate::face::{FaceViews, Framing, INPUT_CHANNELS, Style, painted};
use crate::features::{Context, Hearing, HubertSpan};
use crate::network::{Interrupter, Network};
use crate::runtime::Engine;

/// The generator, opened and checked.
pub struct Generator {
    network: Network,
    /// Which of its two inputs is the picture and which the sound.
    face: usize,
    audio: usize,
    hearing: Hearing,
    framing: Framing,
}

impl Generator {
    /// Opens a generator and reads from it the size of the face and what it hears; `threads` is for one run.
    ///
    /// # Errors
    /// As [`Network::open`]; [`Error::Invalid`] with the shapes where they are not those of the method.
    pub fn open(
        path: &Path,
        face: FaceOptions,
        engine: &Engine,
        threads: usize,
        beside: Option<&Path>,
    ) -> Result<Self> {
        let network = Network::open(path, engine, threads, beside)?;
        let Some(roles) = Roles::of(&network) else {
            return Err(Error::invalid(
                path,
                format!(
                    "is no generator of the method: it maps {}, not a face [N, 6, S, S] and a sound \
                     ([N, 32, 16, 16] of a mel encoder, [N, 32, 32, 32] or [N, 16, 32, 32] of HuBERT, or \
                     [N, 1, 80, 16] of mel) to [N, 3, S, S]",
                    network.shapes()
                ),
                "Give a generator of SyncTalk_2D (ave or hubert), Ultralight-Digital-Human (hubert) or Wav2Lip, \
                 exported for a fixed picture size",
            ));
        };
        let Roles { face: face_input, audio, side, hearing } = roles;
        let style = match hearing {
            Hearing::Rows(_) | Hearing::Hubert(HubertSpan::Sixteen) => Style::SyncTalk,
            Hearing::Hubert(HubertSpan::Eight) => Style::Ultralight,
            Hearing::Window => Style::Wav2Lip,
        };
        Ok(Self { network, face: face_input, audio, hearing, framing: Framing::new(side, style, face) })
    }

    /// What it hears. Of those that hear rows, the avatar says which.
    pub fn hearing(&self) -> Hearing {
        self.hearing
    }

    /// How it sees faces and how they are put back.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// How many faces one run paints at most.
    pub fn batch(&self) -> usize {
        self.network.batch()
    }

    /// A handle that stops its runs.
    pub fn interrupter(&self) -> Interrupter {
        self.network.interrupter()
    }

    /// Paints up to [`Self::batch`] faces, each with the mouth of its sound.
    ///
    /// # Errors
    /// [`Error::Inference`] where the network fails, or paints what is no number.
    pub fn paint<'a>(
        &mut self,
        faces: impl ExactSizeIterator<Item = (&'a FaceViews, &'a Context)>,
    ) -> Result<Vec<RgbImage>> {
        let count = faces.len();
        for (item, (views, context)) in faces.enumerate() {
            self.framing.write(views, self.network.item_mut(self.face, item));
            self.network.item_mut(self.audio, item).copy_from_slice(context);
        }
        // Where a fixed batch is not full, its other items are painted once more as they were.
        let side = self.framing.network;
        let values = 3 * (side * side) as usize;
        let output = self.network.run()?;
        let pictures = output.chunks_exact(values).take(count).map(|output| painted(output, side));
        let pictures: Option<Vec<RgbImage>> = pictures.collect();
        pictures.filter(|pictures| pictures.len() == count).ok_or_else(|| Error::Inference {
            model: self.network.path().into(),
            problem: "painted values that are not numbers. Export the network again, in float32".into(),
        })
    }
}

/// What the ports of a generator are for.
struct Roles {
    face: usize,
    audio: usize,
    side: u32,
    hearing: Hearing,
}

impl Roles {
    fn of(network: &Network) -> Option<Self> {
        let ports: Vec<_> = network.inputs().collect();
        let [first, second] = ports[..] else { return None };
        let (face, audio) =
            if first.shape.get(1) == Some(&(INPUT_CHANNELS as i64)) { (0, 1) } else { (1, 0) };
        let (picture, sound) = ([first, second][face], [first, second][audio]);
        let side = usize::try_from(*picture.shape.get(2)?).ok()?;
        let fits = picture.holds(&[INPUT_CHANNELS, side, side])
            && network.output().may_hold(&[3, side, side])
            && picture.batch() == sound.batch();
        let hearing = Hearing::of(sound)?;
        fits.then_some(Self { face, audio, side: side as u32, hearing })
    }
}
