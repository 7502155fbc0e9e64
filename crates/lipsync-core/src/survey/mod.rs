// SPDX-License-Identifier: MPL-2.0
//! Finds everything that would keep an avatar from playing, without stopping at the first problem.

pub mod trial;

use std::path::{Path, PathBuf};

use crate::avatar::{Avatar, Problems, frames};
use crate::error::{Error, Result};
use crate::features::AudioContextKind;
use crate::generator::face::Framing;
use crate::inference::precision::int8_file;
use crate::inference::runtime::Engine;
use crate::onnx::{Model, ValueInfo, WeightCount};
use crate::picture::image_file::{ImageFile, read, read_grey, read_sized};
use trial::TrialEvent;

/// An avatar and its problems.
pub struct Survey {
    /// The avatar, as far as it can be read; `None` where the folder is not an avatar at all.
    pub avatar: Option<Avatar>,
    /// The generator's file.
    pub generator: Option<NetworkFile>,
    /// The file of its 8-bit network, where there is one.
    pub int8: Option<NetworkFile>,
    /// The audio encoder's file, where there is one.
    pub audio_encoder: Option<NetworkFile>,
    /// The generator's kind of audio context and framing, where it can be opened.
    pub generator_info: Option<(AudioContextKind, Framing)>,
    /// Problems of the folder and the networks; frames are checked one by one ([`Self::frame`]).
    pub problems: Problems,
}

/// Information from a network's file.
#[derive(Debug, Clone)]
pub struct NetworkFile {
    /// The file, `.onnx`.
    pub path: PathBuf,
    /// Its size in bytes, without weights in files of their own.
    pub bytes: u64,
    /// Names, shapes and types of the inputs, in the order of the file.
    pub inputs: Vec<ValueInfo>,
    /// The same of the outputs.
    pub outputs: Vec<ValueInfo>,
    /// Its weights by type, the most frequent type first.
    pub weights: Vec<WeightCount>,
}

impl Survey {
    /// Reads the folder, and opens and runs both networks once in this process; `library_dir` is as for
    /// [`crate::inference::runtime::environment`].
    pub fn open(folder: &Path, engine: &Engine) -> Self {
        Self::open_with(folder, |avatar, problems, report| {
            trial::run(avatar, problems, engine, report);
        })
    }

    /// The same, but `try_out` opens and runs the networks, for example in another process.
    pub fn open_with(
        folder: &Path,
        try_out: impl FnOnce(&Avatar, &Problems, &mut dyn FnMut(TrialEvent)),
    ) -> Self {
        let mut problems = Problems::default();
        let avatar = Avatar::survey(folder, &mut problems);
        let mut survey = Self {
            avatar: problems.note(avatar),
            generator: None,
            int8: None,
            audio_encoder: None,
            generator_info: None,
            problems,
        };
        survey.try_background();
        survey.try_networks(try_out);
        survey
    }

    fn try_background(&mut self) {
        // Without a readable frame the size is not known.
        let Some(avatar) = self.avatar.as_ref().filter(|avatar| avatar.image.size != (0, 0)) else { return };
        let Some(background) = &avatar.background else { return };
        let tried = self.problem_with(background, || read_sized(background, avatar.image.size, "the frames"));
        tried.into_iter().for_each(|problem| self.problems.add(problem));
    }

    fn try_networks(&mut self, try_out: impl FnOnce(&Avatar, &Problems, &mut dyn FnMut(TrialEvent))) {
        let Some(avatar) = &self.avatar else { return };
        // Paths that lead out of the folder, which are problems already, are not opened.
        let read = |path: &Path| if self.problems.names(path) { None } else { NetworkFile::read(path) };
        self.generator = read(&avatar.generator);
        self.int8 = read(&int8_file(&avatar.generator));
        self.audio_encoder = avatar.audio_encoder.as_deref().and_then(read);
        let mut found = Vec::new();
        try_out(avatar, &self.problems, &mut |event| match event {
            TrialEvent::Problem(problem) => found.push(problem),
            TrialEvent::Generator(context_kind, framing) => {
                self.generator_info = Some((context_kind, framing))
            }
            TrialEvent::Loading(_) | TrialEvent::Running(_) | TrialEvent::Finished => {}
        });
        found.into_iter().for_each(|problem| self.problems.add(problem));
    }

    /// Problems with the pictures of frame `index`, counted from 0, that are not in [`Self::problems`].
    ///
    /// # Panics
    /// Where the avatar has no such frame.
    pub fn frame(&self, index: usize) -> Vec<Error> {
        let Some(avatar) = &self.avatar else { return Vec::new() };
        let frame = &avatar.frames[index];
        let size = avatar.image.size;
        let picture = self.problem_with(&frame.picture, || frames::read_picture(frame, size));
        let parsing = frame.parsing.iter();
        let parsing = parsing.map(|path| self.problem_with(path, || read_sized(path, size, "the frame")));
        let alpha = frame.alpha.iter();
        let alpha = alpha.map(|path| self.problem_with(path, || read_grey(path, size, "the frame")));
        let views = frame.views.iter().flat_map(|(face, masked)| [face, masked]);
        let views = views.map(|path| self.problem_with(path, || self.read_view(path)));
        std::iter::once(picture).chain(parsing).chain(alpha).chain(views).flatten().collect()
    }

    /// The problem with the picture of a frame that has no face rectangle, if any.
    pub fn unplaced_frame(&self, picture: &Path) -> Option<Error> {
        let avatar = self.avatar.as_ref()?;
        self.problem_with(picture, || read_sized(picture, avatar.image.size, "the first frame"))
    }

    /// Reads a ready-made view; its size is checked where the network could be opened.
    fn read_view(&self, path: &Path) -> Result<ImageFile> {
        match self.generator_info {
            Some((_, Framing { network, .. })) => read_sized(path, (network, network), "the network"),
            None => read(path),
        }
    }

    /// The problem with a file, unless it has been reported already.
    fn problem_with<T>(&self, path: &Path, read: impl FnOnce() -> Result<T>) -> Option<Error> {
        if self.problems.names(path) { None } else { read().err() }
    }
}

impl NetworkFile {
    /// Reads a network's file. Errors are reported where the network is opened.
    fn read(path: &Path) -> Option<Self> {
        let model = Model::read(path).ok()?;
        Some(Self {
            path: path.into(),
            bytes: std::fs::metadata(path).ok()?.len(),
            inputs: model.inputs(),
            outputs: model.outputs(),
            weights: model.weight_counts(),
        })
    }

    /// Number of parameters: values in all weights, of whatever type.
    pub fn parameters(&self) -> u64 {
        self.weights.iter().map(|weights| weights.count).sum()
    }
}
