// SPDX-License-Identifier: MPL-2.0
//! Step 5: the generator, a network from a face and an audio context to the face with its mouth painted.

mod choice;
pub mod face;
pub mod opening;

use std::path::Path;
use std::sync::OnceLock;
use std::time::Duration;

use image::RgbImage;

use crate::error::{Error, Result};
use crate::features::{AudioContextKind, Context, HubertSpan};
use crate::generator::face::{FaceOptions, FaceViews, Framing, INPUT_CHANNELS, Style, decode_output};
use crate::inference::network::{Interrupter, Network, TensorInfo};
use crate::inference::precision::Precision;
use crate::inference::prepare::{GraphParts, InputNames, PreparedGraph};
use crate::inference::runtime::Engine;
use crate::inference::tensors::Tensors;
use crate::limits::{BATCH, LEAST_SIDE, NETWORK_SIDE, VALUES};
use crate::picture::pool::Pooled;

/// A generator whose shapes have been checked.
pub struct Generator {
    networks: Networks,
    /// Indices of the audio input and of the image input; `None` where only the image branch takes the image.
    audio: usize,
    picture: Option<usize>,
    context_kind: AudioContextKind,
    framing: Framing,
    is_int8: bool,
    arithmetic: String,
}

enum Networks {
    Whole(Box<Network>),
    Split { image_branch: Box<Network>, audio_branch: Box<Network> },
}

/// The image input of a frame, with the image branch's output for it, which is computed once.
pub struct FaceInput {
    /// The pictures that [`Framing::write`] makes the image input of: [6, S, S] for a network of side S.
    pub views: FaceViews,
    features: OnceLock<Tensors>,
}

impl FaceInput {
    /// A face whose features have not been computed yet.
    pub fn new(views: FaceViews) -> Self {
        Self { views, features: OnceLock::new() }
    }

    /// Whether its features have been computed.
    pub(crate) fn is_encoded(&self) -> bool {
        self.features.get().is_some()
    }

    /// Bytes of memory.
    pub fn size(&self) -> usize {
        self.views.size() + self.features.get().map_or(0, Tensors::size)
    }
}

impl Generator {
    /// Opens a generator and reads face size and kind of context from its shapes; `threads` are for one run.
    ///
    /// # Errors
    /// As [`Network::open`]; [`Error::Invalid`] with the shapes where they are not those of a known
    /// generator.
    pub fn open(path: &Path, face: FaceOptions, engine: &Engine, threads: usize) -> Result<Self> {
        let one = Self::open_several(path, face, engine, threads, 1)?.pop();
        Ok(one.unwrap_or_else(|| unreachable!("one was asked for")))
    }

    /// Opens `count` generators on one graph; the rest is as for [`Self::open`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(crate) fn open_several(
        path: &Path,
        face: FaceOptions,
        engine: &Engine,
        threads: usize,
        count: usize,
    ) -> Result<Vec<Self>> {
        let precision = Error::guard(path, || choice::precision(path, face, engine))?;
        let engine = &Engine { precision, ..engine.clone() };
        let open = |prepared: &PreparedGraph| {
            // Only 8-bit networks have blocks to fuse.
            let is_int8 = engine.is_processor() && prepared.is_int8();
            let blocks = || Error::guard(&prepared.path, || prepared.with_fused_kernels());
            let prepared = if is_int8 { &blocks()? } else { prepared };
            (0..count).map(|_| Self::open_prepared(prepared, face, engine, threads)).collect()
        };
        let prepared = Self::prepare(path, engine)?;
        match open(&prepared) {
            // The graph in the cache may be damaged: build it again.
            Err(error) if !matches!(error, Error::Interrupted) && prepared.discard() => {
                open(&Self::prepare(path, engine)?)
            }
            opened => opened,
        }
    }

    /// Prepares a generator's graph, which can then be opened any number of times.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn prepare(path: &Path, engine: &Engine) -> Result<PreparedGraph> {
        let inputs = |inputs: &[TensorInfo], outputs: &[TensorInfo]| {
            let ports: Vec<&TensorInfo> = inputs.iter().collect();
            let Roles { picture, audio, .. } = Roles::of(&ports, outputs.first(), path)?;
            let name = |port: usize| inputs[port].name.clone();
            Ok(InputNames { picture: name(picture), audio: name(audio) })
        };
        Error::guard(path, || PreparedGraph::new(path, engine, inputs))
    }

    /// Opens a generator from its prepared graph; the rest is as for [`Self::open`].
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_prepared(
        prepared: &PreparedGraph,
        face: FaceOptions,
        engine: &Engine,
        threads: usize,
    ) -> Result<Self> {
        let open = |graph| Network::open_graph(&prepared.path, graph, engine, threads);
        let networks = match &prepared.graph {
            GraphParts::Whole(graph) => Networks::Whole(Box::new(open(graph)?)),
            GraphParts::Split { image_branch, audio_branch } => Networks::Split {
                image_branch: Box::new(open(image_branch)?),
                audio_branch: Box::new(open(audio_branch)?),
            },
        };
        // The inputs of the whole generator, in whichever branch they are.
        let (Networks::Whole(audio_network) | Networks::Split { audio_branch: audio_network, .. }) =
            &networks;
        let mut ports: Vec<&TensorInfo> = audio_network.inputs().collect();
        let own_inputs = ports.len();
        if let (1, Networks::Split { image_branch, .. }) = (own_inputs, &networks) {
            ports.extend(image_branch.inputs());
        }
        let Roles { picture, audio, side, context_kind } =
            Roles::of(&ports, audio_network.output(), &prepared.path)?;
        let style = match context_kind {
            AudioContextKind::MelRows(_) | AudioContextKind::Hubert(HubertSpan::Sixteen) => Style::SyncTalk,
            AudioContextKind::Hubert(HubertSpan::Eight) => Style::Ultralight,
            AudioContextKind::MelWindow => Style::Wav2Lip,
        };
        let picture = Some(picture).filter(|picture| *picture < own_inputs);
        let framing = Framing::new(side, style, face);
        let arithmetic = match prepared.kernels() {
            Some(isa) => format!("int8, {}", isa.name()),
            None if prepared.is_int8() => "int8".into(),
            None if engine.precision == Precision::Half => choice::name(Precision::Half).into(),
            None => choice::name(Precision::Fp32).into(),
        };
        let is_int8 = prepared.is_int8();
        Ok(Self { networks, audio, picture, context_kind, framing, is_int8, arithmetic })
    }

    /// The kind of audio context that it takes. How mel rows are selected is up to the avatar.
    pub fn context_kind(&self) -> AudioContextKind {
        self.context_kind
    }

    /// How faces are cut out for it, and how its output is pasted.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// How many faces one run paints at most.
    pub(crate) fn batch(&self) -> usize {
        self.network().batch()
    }

    /// How long one run may take; the caller has to enforce it.
    pub(crate) fn run_limit(&self) -> Duration {
        self.network().run_limit()
    }

    /// A handle that interrupts its runs.
    pub fn interrupter(&self) -> Interrupter {
        match &self.networks {
            Networks::Whole(network) => network.interrupter(),
            Networks::Split { image_branch, audio_branch } => {
                Interrupter::of([image_branch, audio_branch].map(|network| network.interrupter()))
            }
        }
    }

    /// The network with the audio input.
    fn network(&self) -> &Network {
        match &self.networks {
            Networks::Whole(network) | Networks::Split { audio_branch: network, .. } => network,
        }
    }

    /// Paints a black face for silence. Some networks load and fail only when they run; and the first run
    /// allocates memory and is slower than the others.
    ///
    /// # Errors
    /// As [`Self::paint`].
    pub fn try_out(&mut self) -> Result<()> {
        let (face, silence) = self.black_face();
        self.paint([(&face, &silence)].into_iter()).map(drop)
    }

    /// A black face and silence, to try it out with.
    fn black_face(&self) -> (FaceInput, Context) {
        let side = self.framing.crop();
        let face = FaceInput::new(FaceViews::of(RgbImage::new(side, side)));
        (face, Context::zeros(self.context_kind.values()))
    }

    /// The file that it was opened from.
    fn path(&self) -> &Path {
        self.network().path()
    }

    /// How it computes: `int8`, `float32` or `half`, and for `int8` by which kernels, as in `int8, avx2`.
    pub fn arithmetic(&self) -> &str {
        &self.arithmetic
    }

    /// Whether it has an image branch of its own, so that face features can be computed ahead of time.
    pub(crate) fn has_image_branch(&self) -> bool {
        matches!(self.networks, Networks::Split { .. })
    }

    /// Computes the features of a face, unless that was done before.
    ///
    /// # Errors
    /// As [`Self::paint`].
    pub(crate) fn encode_face(&mut self, face: &FaceInput) -> Result<()> {
        match &mut self.networks {
            Networks::Whole(_) => Ok(()),
            Networks::Split { image_branch, .. } => encode_face(image_branch, face, self.framing).map(drop),
        }
    }

    /// Paints up to [`Self::batch`] faces, each with the mouth for its audio context.
    ///
    /// # Errors
    /// [`Error::Inference`] where the network fails, or its output has NaN.
    pub fn paint<'a>(
        &mut self,
        faces: impl ExactSizeIterator<Item = (&'a FaceInput, &'a Context)>,
    ) -> Result<Vec<Pooled>> {
        let count = faces.len();
        let framing = self.framing;
        let (network, mut image_branch) = match &mut self.networks {
            Networks::Whole(network) => (network, None),
            Networks::Split { image_branch, audio_branch } => (audio_branch, Some(image_branch)),
        };
        let mut face_features = None;
        let mut views = Vec::with_capacity(count);
        for (item, (face, context)) in faces.enumerate() {
            views.push(&face.views);
            if let Some(image_branch) = &mut image_branch {
                face_features = Some(encode_face(image_branch, face, framing)?);
            }
            if let Some(picture) = self.picture {
                framing.write(&face.views, network.item_mut(picture, item));
            }
            network.item_mut(self.audio, item).copy_from_slice(context);
        }
        // Where a fixed batch is not full, its other items keep their old values.
        let side = framing.network;
        let values = 3 * (side * side) as usize;
        let output = network.run(face_features)?;
        let pictures = output.chunks_exact(values).take(count).map(|output| decode_output(output, side));
        let mut pictures: Option<Vec<Pooled>> = pictures.collect();
        if self.is_int8 {
            let painted = pictures.iter_mut().flatten();
            painted.zip(views).for_each(|(painted, views)| framing.restore_border(views, painted));
        }
        pictures.filter(|pictures| pictures.len() == count).ok_or_else(|| {
            let problem = "painted values that are not numbers (NaN). Export the network again, in float32";
            Error::inference(network.path(), problem)
        })
    }
}

/// Runs the image branch on a face, unless its features are known.
fn encode_face<'a>(image_branch: &mut Network, face: &'a FaceInput, framing: Framing) -> Result<&'a Tensors> {
    if let Some(face_features) = face.features.get() {
        return Ok(face_features);
    }
    framing.write(&face.views, image_branch.item_mut(0, 0));
    let face_features = image_branch.run_part()?;
    // Another worker may have computed the same meanwhile.
    Ok(face.features.get_or_init(|| face_features))
}

/// The roles of a generator's inputs.
struct Roles {
    picture: usize,
    audio: usize,
    side: u32,
    context_kind: AudioContextKind,
}

impl Roles {
    /// # Errors
    /// [`Error::Invalid`] with the shapes, where they are not those of a known generator.
    fn of(inputs: &[&TensorInfo], output: Option<&TensorInfo>, path: &Path) -> Result<Self> {
        let roles = Self::find(inputs, output).ok_or_else(|| {
            let words = |ports: Vec<String>| ports.join(" and ");
            let shapes = words(inputs.iter().map(ToString::to_string).collect());
            let output = words(output.iter().map(ToString::to_string).collect());
            Error::invalid(
                path,
                format!(
                    "is no generator of a known kind: it maps {shapes} to {output}, not a face [N, 6, S, S] and an audio context \
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

    fn find(inputs: &[&TensorInfo], output: Option<&TensorInfo>) -> Option<Self> {
        let [first, second] = inputs[..] else { return None };
        let (picture, audio) =
            if first.shape.get(1) == Some(&(INPUT_CHANNELS as i64)) { (0, 1) } else { (1, 0) };
        let (face_info, audio_info) = ([first, second][picture], [first, second][audio]);
        let side = u16::try_from(*face_info.shape.get(2)?).ok()?.into();
        let fits = face_info.has_item_shape(&[INPUT_CHANNELS, side, side])
            && output?.may_have_item_shape(&[3, side, side])
            && face_info.batch() == audio_info.batch();
        let context_kind = AudioContextKind::from_input(audio_info)?;
        fits.then_some(Self { picture, audio, side: side as u32, context_kind })
    }
}
