//! Step 5: the generator network paints the face's mouth from the face and the audio context.

pub mod face;

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use image::RgbImage;

use crate::error::{Error, Result};
use crate::features::{Context, Hearing, HubertSpan};
use crate::generator::face::{FaceOptions, FaceViews, Framing, INPUT_CHANNELS, Style, painted};
use crate::inference::network::{Interrupter, Network, Port};
use crate::inference::prepare::{Inputs, Parts, Prepared};
use crate::inference::runtime::Engine;
use crate::inference::tensors::Tensors;
use crate::limits::{BATCH, LEAST_SIDE, NETWORK_SIDE, VALUES};
use crate::picture::pool::Pooled;

/// The generator, opened and checked.
pub struct Generator {
    parts: Networks,
    /// Which inputs of the network that hears are the sound and, unless it has no use for it, the picture.
    sound: usize,
    picture: Option<usize>,
    hearing: Hearing,
    framing: Framing,
}

enum Networks {
    Whole(Box<Network>),
    Apart { face: Box<Network>, mouth: Box<Network> },
}

/// A face for a generator, with what it has seen there once and for all.
pub struct Face {
    pub views: FaceViews,
    seen: OnceLock<Tensors>,
}

impl Face {
    /// A face that no generator has seen yet.
    pub fn new(views: FaceViews) -> Self {
        Self { views, seen: OnceLock::new() }
    }

    /// Whether the generator has seen it.
    pub fn is_seen(&self) -> bool {
        self.seen.get().is_some()
    }

    /// Bytes of memory.
    pub fn size(&self) -> usize {
        self.views.size() + self.seen.get().map_or(0, Tensors::size)
    }
}

impl Generator {
    /// Opens a generator and reads from it the size of the face and what it hears; `threads` is for one run.
    ///
    /// # Errors
    /// As [`Network::open`]; [`Error::Invalid`] with the shapes where they are not those of the method.
    pub fn open(path: &Path, face: FaceOptions, engine: &Engine, threads: usize) -> Result<Self> {
        let one = Self::open_several(path, face, engine, threads, 1)?.pop();
        Ok(one.unwrap_or_else(|| unreachable!("one was asked for")))
    }

    /// Opens as many as asked for; the rest is as for [`Self::open`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_several(
        path: &Path,
        face: FaceOptions,
        engine: &Engine,
        threads: usize,
        count: usize,
    ) -> Result<Vec<Self>> {
        let open = |prepared: &Prepared| {
            // Other networks have no blocks to look for.
            let is_int8 = engine.is_processor() && prepared.path != path;
            let blocks = || Error::guard(&prepared.path, || prepared.with_blocks());
            let prepared = if is_int8 { &blocks()? } else { prepared };
            (0..count).map(|_| Self::open_prepared(prepared, face, engine, threads)).collect()
        };
        let prepared = Self::prepare(path, engine)?;
        match open(&prepared) {
            // A graph in the cache may have come to harm there.
            Err(error) if !matches!(error, Error::Interrupted) && prepared.discard() => {
                open(&Self::prepare(path, engine)?)
            }
            opened => opened,
        }
    }

    /// Makes a generator's graph ready to be opened, any number of times.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn prepare(path: &Path, engine: &Engine) -> Result<Prepared> {
        let inputs = |inputs: &[Port], outputs: &[Port]| {
            let ports: Vec<&Port> = inputs.iter().collect();
            let Roles { picture, sound, .. } = Roles::of(&ports, outputs.first(), path)?;
            let name = |port: usize| inputs[port].name.clone();
            Ok(Inputs { picture: name(picture), sound: name(sound) })
        };
        Error::guard(path, || Prepared::new(path, engine, inputs))
    }

    /// Opens a generator that is ready; the rest is as for [`Self::open`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_prepared(
        prepared: &Prepared,
        face: FaceOptions,
        engine: &Engine,
        threads: usize,
    ) -> Result<Self> {
        let open = |graph| Network::open_graph(&prepared.path, graph, engine, threads);
        let parts = match &prepared.graph {
            Parts::Whole(graph) => Networks::Whole(Box::new(open(graph)?)),
            Parts::Apart { face, mouth } => {
                Networks::Apart { face: Box::new(open(face)?), mouth: Box::new(open(mouth)?) }
            }
        };
        // The ports of the whole, wherever they are.
        let (Networks::Whole(hears) | Networks::Apart { mouth: hears, .. }) = &parts;
        let mut ports: Vec<&Port> = hears.inputs().collect();
        let own = ports.len();
        if let (1, Networks::Apart { face, .. }) = (own, &parts) {
            ports.extend(face.inputs());
        }
        let Roles { picture, sound, side, hearing } = Roles::of(&ports, hears.output(), &prepared.path)?;
        let style = match hearing {
            Hearing::Rows(_) | Hearing::Hubert(HubertSpan::Sixteen) => Style::SyncTalk,
            Hearing::Hubert(HubertSpan::Eight) => Style::Ultralight,
            Hearing::Window => Style::Wav2Lip,
        };
        let picture = Some(picture).filter(|picture| *picture < own);
        Ok(Self { parts, sound, picture, hearing, framing: Framing::new(side, style, face) })
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
        self.network().batch()
    }

    /// How long one run may take; whoever waits for it sees to that.
    pub fn run_limit(&self) -> Duration {
        self.network().run_limit()
    }

    /// A handle that stops its runs.
    pub fn interrupter(&self) -> Interrupter {
        match &self.parts {
            Networks::Whole(network) => network.interrupter(),
            Networks::Apart { face, mouth } => {
                Interrupter::of([face, mouth].map(|network| network.interrupter()))
            }
        }
    }

    /// The network that hears.
    fn network(&self) -> &Network {
        match &self.parts {
            Networks::Whole(network) | Networks::Apart { mouth: network, .. } => network,
        }
    }

    /// Paints a black face in silence: a network may load and fail only when it runs, and its first run takes memory and
    /// is slower than all others.
    ///
    /// # Errors
    /// As [`Self::paint`].
    pub fn try_out(&mut self) -> Result<()> {
        let side = self.framing.crop();
        let face = Face::new(FaceViews::of(RgbImage::new(side, side)));
        let silence = Context::zeros(self.hearing.values());
        self.paint([(&face, &silence)].into_iter()).map(drop)
    }

    /// Whether it computes what it sees by itself, so that it can be done ahead of time.
    pub fn sees_ahead(&self) -> bool {
        matches!(self.parts, Networks::Apart { .. })
    }

    /// Sees a face, unless it has been seen, for a mouth to be painted later.
    ///
    /// # Errors
    /// As [`Self::paint`].
    pub fn see(&mut self, face: &Face) -> Result<()> {
        match &mut self.parts {
            Networks::Whole(_) => Ok(()),
            Networks::Apart { face: eyes, .. } => see(eyes, face, self.framing).map(drop),
        }
    }

    /// Paints up to [`Self::batch`] faces, each with the mouth of its sound.
    ///
    /// # Errors
    /// [`Error::Inference`] where the network fails, or paints what is no number.
    pub fn paint<'a>(
        &mut self,
        faces: impl ExactSizeIterator<Item = (&'a Face, &'a Context)>,
    ) -> Result<Vec<Pooled>> {
        let count = faces.len();
        let framing = self.framing;
        let (network, mut eyes) = match &mut self.parts {
            Networks::Whole(network) => (network, None),
            Networks::Apart { face, mouth } => (mouth, Some(face)),
        };
        let mut seen = None;
        for (item, (face, context)) in faces.enumerate() {
            if let Some(eyes) = &mut eyes {
                seen = Some(see(eyes, face, framing)?);
            }
            if let Some(picture) = self.picture {
                framing.write(&face.views, network.item_mut(picture, item));
            }
            network.item_mut(self.sound, item).copy_from_slice(context);
        }
        // Where a fixed batch is not full, its other items are painted once more as they were.
        let side = framing.network;
        let values = 3 * (side * side) as usize;
        let output = network.run(seen)?;
        let pictures = output.chunks_exact(values).take(count).map(|output| painted(output, side));
        let pictures: Option<Vec<Pooled>> = pictures.collect();
        pictures.filter(|pictures| pictures.len() == count).ok_or_else(|| {
            Error::inference(
                network.path(),
                "painted values that are not numbers. Export the network again, in float32",
            )
        })
    }
}

/// What the first part sees in a face, now if it has not been there before.
fn see<'a>(eyes: &mut Network, face: &'a Face, framing: Framing) -> Result<&'a Tensors> {
    if let Some(seen) = face.seen.get() {
        return Ok(seen);
    }
    framing.write(&face.views, eyes.item_mut(0, 0));
    let seen = eyes.run_part()?;
    // Another worker may have seen the same meanwhile.
    Ok(face.seen.get_or_init(|| seen))
}

/// What the ports of a generator are for.
struct Roles {
    picture: usize,
    sound: usize,
    side: u32,
    hearing: Hearing,
}

impl Roles {
    /// # Errors
    /// [`Error::Invalid`] with the shapes, where they are not those of the method.
    fn of(inputs: &[&Port], output: Option<&Port>, path: &Path) -> Result<Self> {
        let roles = Self::find(inputs, output).ok_or_else(|| {
            let words = |ports: Vec<String>| ports.join(" and ");
            let shapes = words(inputs.iter().map(ToString::to_string).collect());
            let output = words(output.iter().map(ToString::to_string).collect());
            Error::invalid(
                path,
                format!(
                    "is no generator of the method: it maps {shapes} to {output}, not a face [N, 6, S, S] and a sound \
                     ([N, 32, 16, 16] of a mel encoder, [N, 32, 32, 32] or [N, 16, 32, 32] of HuBERT, or \
                     [N, 1, 80, 16] of mel) to [N, 3, S, S]",
                ),
                "Give a generator of SyncTalk_2D (ave or hubert), Ultralight-Digital-Human (hubert) or Wav2Lip, \
                 exported for a fixed picture size",
            )
        })?;
        let (side, batch) = (roles.side as usize, inputs[roles.picture].batch());
        let values = batch.saturating_mul(INPUT_CHANNELS * side * side);
        let fits = (LEAST_SIDE..=NETWORK_SIDE).contains(&roles.side) && batch <= BATCH as usize;
        if fits && values as u64 <= VALUES {
            return Ok(roles);
        }
        let problem = format!(
            "paints {batch} faces of {side} x {side} pixels at a time, not at most {BATCH} of {LEAST_SIDE} to {NETWORK_SIDE} a side"
        );
        Err(Error::invalid(
            path,
            problem,
            "Give a generator for pictures of such a size, exported with a free first size",
        ))
    }

    fn find(inputs: &[&Port], output: Option<&Port>) -> Option<Self> {
        let [first, second] = inputs[..] else { return None };
        let (picture, sound) =
            if first.shape.get(1) == Some(&(INPUT_CHANNELS as i64)) { (0, 1) } else { (1, 0) };
        let (face, audio) = ([first, second][picture], [first, second][sound]);
        let side = u16::try_from(*face.shape.get(2)?).ok()?.into();
        let fits = face.holds(&[INPUT_CHANNELS, side, side])
            && output?.may_hold(&[3, side, side])
            && face.batch() == audio.batch();
        let hearing = Hearing::of(audio)?;
        fits.then_some(Self { picture, sound, side: side as u32, hearing })
    }
}
