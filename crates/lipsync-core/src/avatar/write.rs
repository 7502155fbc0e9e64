// SPDX-License-Identifier: MPL-2.0
//! Our own layout, written: the manifest and the face rectangles of an avatar of any layout.

use std::collections::BTreeMap;
use std::path::Path;

use super::clips::Clip;
use super::manifest::{Audio, ClipKeys, Crop, FORMAT, Face, MANIFEST, Manifest, Models};
use super::{Avatar, Layout};
use crate::error::{Error, Result};
use crate::file;
use crate::limits::MANIFEST_BYTES;

/// Names of the files and folders in a folder of our own layout that this program writes.
pub mod names {
    use std::path::{Path, PathBuf};

    /// Folder of the frames: `0.*`, `1.*`, ...
    pub const FRAMES: &str = "frames";
    /// Folder of parsing masks.
    pub const PARSING: &str = "parsing";
    /// Folder of masks that say how opaque frames are.
    pub const ALPHA: &str = "alpha";
    /// Folders of ready-made pictures for the network: the face, and the masked face.
    pub const VIEWS: [&str; 2] = ["faces", "masked"];
    /// The face rectangles.
    pub const CROPS: &str = "crops.csv";
    /// The audio encoder network.
    pub const AUDIO_ENCODER: &str = "audio_encoder.onnx";
    /// The generator network.
    pub const GENERATOR: &str = "generator.onnx";

    /// What frames with masks show behind the person: of the same kind as the original.
    pub fn background(original: &Path) -> PathBuf {
        Path::new("background").with_extension(original.extension().unwrap_or_default())
    }
}

impl Avatar {
    /// The licence that the avatar states, which only our own layout does.
    pub fn license(&self) -> Option<String> {
        if self.layout != Layout::Own {
            return None;
        }
        let text = file::read_text(&self.folder.join(MANIFEST), MANIFEST_BYTES, "").ok()?;
        Some(toml::from_str::<Manifest>(&text).ok()?.license)
    }

    /// Writes the manifest and the face rectangles to a folder that holds everything else under [`names`].
    ///
    /// # Errors
    /// [`Error::Invalid`] where a file cannot be written.
    pub fn write_own(&self, folder: &Path, title: &str, license: &str) -> Result<()> {
        let remedy = "Make room or choose another folder";
        let write = |name: &str, bytes: &[u8]| file::replace(&folder.join(name), bytes);
        let failed = |name: &str, e: String| {
            Error::invalid(folder.join(name), format!("cannot be written: {e}"), remedy)
        };
        let manifest =
            toml::to_string(&self.manifest(title, license)).map_err(|e| failed(MANIFEST, e.to_string()))?;
        write(MANIFEST, format!("# A lipsync avatar.\n{manifest}").as_bytes())?;
        let mut crops = csv::Writer::from_writer(Vec::new());
        for (frame, files) in self.frames.iter().enumerate() {
            let super::FaceRect { x, y, width, height } = files.face;
            let crop = Crop { frame, x, y, width, height };
            crops.serialize(crop).map_err(|e| failed(names::CROPS, e.to_string()))?;
        }
        let crops = crops.into_inner().map_err(|e| failed(names::CROPS, e.to_string()))?;
        write(names::CROPS, &crops)
    }

    fn manifest(&self, title: &str, license: &str) -> Manifest {
        let views = self.frames.iter().any(|frame| frame.views.is_some());
        let parsing = self.frames.iter().any(|frame| frame.parsing.is_some());
        let alpha = self.frames.iter().any(|frame| frame.alpha.is_some());
        let [faces, masked] = names::VIEWS.map(|name| views.then(|| name.into()));
        Manifest {
            format: FORMAT,
            title: title.into(),
            license: license.into(),
            fps: self.rate.num(),
            frames: names::FRAMES.into(),
            crop: None,
            crops: Some(names::CROPS.into()),
            parsing: parsing.then(|| names::PARSING.into()),
            alpha: alpha.then(|| names::ALPHA.into()),
            background: self.background.as_deref().map(names::background),
            first_frame: self.idle().frames.start + self.idle().start,
            at_rest: self.at_rest,
            models: Models {
                audio_encoder: self.audio_encoder.as_ref().map(|_| names::AUDIO_ENCODER.into()),
                generator: names::GENERATOR.into(),
            },
            face: Face {
                style: self.face.style,
                border: self.face.border,
                paste: self.face.paste,
                faces,
                masked,
            },
            audio: Audio { context: self.context, windows: self.windows },
            clips: self.clip_keys(),
        }
    }

    /// The clips, as ranges of all frames; none where there is but one, which needs no name.
    fn clip_keys(&self) -> BTreeMap<String, ClipKeys> {
        let keys = |clip: &Clip| ClipKeys {
            range: Some([clip.frames.start, clip.frames.end - 1]),
            used_for: clip.used_for,
            play: clip.play,
            mouth: clip.mouth,
            ..ClipKeys::default()
        };
        match self.clips.as_slice() {
            [_] => BTreeMap::new(),
            clips => clips.iter().map(|clip| (clip.name.clone(), keys(clip))).collect(),
        }
    }
}
