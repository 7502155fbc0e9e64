// SPDX-License-Identifier: MPL-2.0
//! The files of frames as a manifest names them: a folder of pictures, their face rectangles, and folders beside it.

use std::path::{Path, PathBuf};

use super::files::{accompanying_pictures, numbered_pictures, read_text};
use super::manifest::Crop;
use super::{AvatarFrameFiles, FaceRect, Problems};
use crate::error::{Error, Result};
use crate::file::Inside;
use crate::limits::TEXT_BYTES;

/// Where avatar frames are, and what goes with them.
pub struct FrameSet<'a> {
    /// The file that names all this.
    pub manifest: &'a Path,
    /// Folder of the pictures.
    pub frames: &'a Path,
    pub crop: Option<[i64; 4]>,
    pub crops: Option<&'a Path>,
    /// Folders of ready-made pictures: the face, and the masked face.
    pub views: [Option<&'a Path>; 2],
    pub parsing: Option<&'a Path>,
    pub alpha: Option<&'a Path>,
}

impl FrameSet<'_> {
    /// The pictures, in the order of their numbers.
    pub fn pictures(&self, inside: &Inside, problems: &mut Problems) -> Vec<PathBuf> {
        numbered_pictures(self.frames, 0, inside, problems)
    }

    /// All files of the frames with these pictures, of which those without a face rectangle are set aside.
    pub fn read(
        &self,
        folder: &Path,
        pictures: Vec<PathBuf>,
        inside: &Inside,
        problems: &mut Problems,
    ) -> Vec<AvatarFrameFiles> {
        let faces = match (self.crop, self.crops) {
            (Some([x, y, width, height]), None) => Ok(vec![FaceRect { x, y, width, height }; pictures.len()]),
            // It has been told already that there are none.
            (None, Some(_)) if pictures.is_empty() => Ok(Vec::new()),
            (None, Some(file)) => read_crops(inside, &folder.join(file), pictures.len()),
            _ => Err(Error::invalid(
                self.manifest,
                "must have either crop or crops",
                "Give crop = [x, y, width, height], or crops = \"crops.csv\"",
            )),
        };
        let faces = problems.note(faces).unwrap_or_else(|| {
            pictures.iter().for_each(|picture| problems.set_aside(picture.clone()));
            Vec::new()
        });
        let mut beside = |name: Option<&Path>| match name {
            Some(name) => {
                let pictures = accompanying_pictures(&folder.join(name), 0, pictures.len(), inside, problems);
                pictures.into_iter().map(Some).collect()
            }
            None => vec![None; pictures.len()],
        };
        let [face_views, masked] = self.views.map(&mut beside);
        let views = face_views.into_iter().zip(masked);
        let parsing = beside(self.parsing);
        let alpha = beside(self.alpha);
        (faces.into_iter().zip(views).zip(parsing.into_iter().zip(alpha)))
            .zip(pictures)
            .map(|(((face, (whole, masked)), (parsing, alpha)), picture)| AvatarFrameFiles {
                picture,
                face,
                views: whole.zip(masked),
                parsing,
                alpha,
            })
            .collect()
    }
}

fn read_crops(inside: &Inside, path: &Path, frames: usize) -> Result<Vec<FaceRect>> {
    let remedy = "Give the header frame,x,y,width,height and a line for each frame, counted from 0";
    let text = read_text(inside, path, TEXT_BYTES, remedy)?;
    let crops: Vec<Crop> = csv::Reader::from_reader(text.as_bytes())
        .deserialize()
        .collect::<std::result::Result<_, _>>()
        .map_err(|e| Error::invalid(path, format!("cannot be read: {e}"), remedy))?;
    let in_order = crops.iter().enumerate().all(|(i, crop)| crop.frame == i);
    if crops.len() != frames || !in_order {
        return Err(Error::invalid(
            path,
            format!("has {} lines for {frames} frames, or not in their order", crops.len()),
            remedy,
        ));
    }
    Ok(crops.into_iter().map(|Crop { x, y, width, height, .. }| FaceRect { x, y, width, height }).collect())
}
