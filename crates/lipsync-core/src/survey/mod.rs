//! Everything that would keep an avatar from playing, looked for without stopping at the first.

pub mod trial;

use std::path::{Path, PathBuf};

use crate::avatar::{Avatar, Problems, frames};
use crate::error::{Error, Result};
use crate::features::Hearing;
use crate::generator::face::Framing;
use crate::inference::precision::int8_file;
use crate::inference::runtime::Engine;
use crate::onnx::{Model, Port, Weights};
use crate::picture::image_file::{ImageFile, read, read_grey, read_sized};
use trial::Step;

/// What an avatar is, and what is wrong with it.
pub struct Survey {
    /// The avatar, as far as it can be read; `None` where nothing can be told of the folder.
    pub avatar: Option<Avatar>,
    /// The generator's file.
    pub generator: Option<NetworkFile>,
    /// Its 8-bit network's, where there is one.
    pub int8: Option<NetworkFile>,
    /// The audio encoder's file, where there is one.
    pub audio_encoder: Option<NetworkFile>,
    /// What the generator hears and how it sees, where it can be opened.
    pub painting: Option<(Hearing, Framing)>,
    /// What is wrong with the folder and the networks; frames are asked for one by one ([`Self::frame`]).
    pub problems: Problems,
}

/// What a network's file says of itself.
#[derive(Debug, Clone)]
pub struct NetworkFile {
    pub path: PathBuf,
    pub bytes: u64,
    pub inputs: Vec<Port>,
    pub outputs: Vec<Port>,
    /// Its weights by type, the most frequent first.
    pub weights: Vec<Weights>,
}

impl Survey {
    /// Reads the folder, and opens and runs both networks once in this process; ONNX Runtime is looked for as in
    /// [`crate::inference::runtime::environment`].
    pub fn open(folder: &Path, engine: &Engine) -> Self {
        Self::open_with(folder, |avatar, problems, tell| {
            trial::run(avatar, problems, engine, tell);
        })
    }

    /// The same, but `try_out` opens and runs them: wherever it likes.
    pub fn open_with(folder: &Path, try_out: impl FnOnce(&Avatar, &Problems, &mut dyn FnMut(Step))) -> Self {
        let mut problems = Problems::default();
        let avatar = Avatar::survey(folder, &mut problems);
        let mut survey = Self {
            avatar: problems.note(avatar),
            generator: None,
            int8: None,
            audio_encoder: None,
            painting: None,
            problems,
        };
        survey.try_background();
        survey.try_networks(try_out);
        survey
    }

    fn try_background(&mut self) {
        // Of frames that cannot be read the size is not known.
        let Some(avatar) = self.avatar.as_ref().filter(|avatar| avatar.image.size != (0, 0)) else { return };
        let Some(background) = &avatar.background else { return };
        let tried = self.trouble(background, || read_sized(background, avatar.image.size, "the frames"));
        tried.into_iter().for_each(|problem| self.problems.add(problem));
    }

    fn try_networks(&mut self, try_out: impl FnOnce(&Avatar, &Problems, &mut dyn FnMut(Step))) {
        let Some(avatar) = &self.avatar else { return };
        // What is no file of the folder is not even looked at.
        let read = |path: &Path| if self.problems.names(path) { None } else { NetworkFile::read(path) };
        self.generator = read(&avatar.generator);
        self.int8 = read(&int8_file(&avatar.generator));
        self.audio_encoder = avatar.audio_encoder.as_deref().and_then(read);
        let mut wrong = Vec::new();
        try_out(avatar, &self.problems, &mut |step| match step {
            Step::Wrong(problem) => wrong.push(problem),
            Step::Paints(hearing, framing) => self.painting = Some((hearing, framing)),
            Step::Loads(_) | Step::Runs(_) | Step::Done => {}
        });
        wrong.into_iter().for_each(|problem| self.problems.add(problem));
    }

    /// What is wrong with the pictures of frame `index`, beyond what is in [`Self::problems`].
    pub fn frame(&self, index: usize) -> Vec<Error> {
        let Some(avatar) = &self.avatar else { return Vec::new() };
        let frame = &avatar.frames[index];
        let size = avatar.image.size;
        let picture = self.trouble(&frame.picture, || frames::read_picture(frame, size));
        let parsing = frame.parsing.iter();
        let parsing = parsing.map(|path| self.trouble(path, || read_sized(path, size, "the frame")));
        let alpha = frame.alpha.iter();
        let alpha = alpha.map(|path| self.trouble(path, || read_grey(path, size, "the frame")));
        let views = frame.views.iter().flat_map(|(face, masked)| [face, masked]);
        let views = views.map(|path| self.trouble(path, || self.read_view(path)));
        std::iter::once(picture).chain(parsing).chain(alpha).chain(views).flatten().collect()
    }

    /// What is wrong with the picture of a frame that has no face rectangle.
    pub fn unplaced_frame(&self, picture: &Path) -> Option<Error> {
        let avatar = self.avatar.as_ref()?;
        self.trouble(picture, || read_sized(picture, avatar.image.size, "the first frame"))
    }

    /// Reads a ready-made picture for the network, whose size is known where the network could be opened.
    fn read_view(&self, path: &Path) -> Result<ImageFile> {
        match self.painting {
            Some((_, Framing { network, .. })) => read_sized(path, (network, network), "the network"),
            None => read(path),
        }
    }

    /// What is wrong with a file, unless that was told already.
    fn trouble<T>(&self, path: &Path, read: impl FnOnce() -> Result<T>) -> Option<Error> {
        if self.problems.names(path) { None } else { read().err() }
    }
}

impl NetworkFile {
    /// Reads a network's file. What is wrong with it is told by those who open it.
    fn read(path: &Path) -> Option<Self> {
        let model = Model::read(path).ok()?;
        Some(Self {
            path: path.into(),
            bytes: std::fs::metadata(path).ok()?.len(),
            inputs: model.inputs(),
            outputs: model.outputs(),
            weights: model.weights(),
        })
    }

    /// How many values it has learnt.
    pub fn parameters(&self) -> u64 {
        self.weights.iter().map(|weights| weights.count).sum()
    }
}
