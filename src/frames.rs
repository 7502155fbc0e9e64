//! The avatar's frames: decoded when needed, ready for the network and for the video, kept within a budget.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};

use image::RgbImage;

use crate::avatar::{Avatar, AvatarFrameFiles};
use crate::error::{Error, Result};
use crate::face::{FaceSize, FaceViews, Paste, Rect};
use crate::picture::{Picture, PictureMut, PixelFormat};

/// One frame of the avatar, decoded.
pub struct Frame {
    /// The whole picture, in the format of the video.
    picture: Picture,
    /// The face rectangle.
    face: Rect,
    /// The same with even corners, and the picture inside it.
    patch: (Rect, RgbImage),
    /// The face, scaled for the network.
    crop: RgbImage,
    /// What the network sees.
    pub views: FaceViews,
}

/// A finished mouth: the face rectangle with even corners, and what is to be drawn there.
pub struct Mouth {
    patch: (Rect, RgbImage),
}

/// The frames of one avatar in one video format.
///
/// A frame that was not used for longest goes first. Frames are played forward and backward, so that what is
/// kept is met again soon at each turn.
pub struct FrameStore {
    avatar: Arc<Avatar>,
    format: PixelFormat,
    face_size: FaceSize,
    /// Bytes that may be kept.
    budget: usize,
    /// One lock a frame, so that it is decoded once however many want it. Taken before `recent`.
    slots: Vec<Mutex<Option<Arc<Frame>>>>,
    recent: Mutex<Recent>,
}

/// Frames kept and their bytes, the one used last at the back.
#[derive(Default)]
struct Recent {
    order: VecDeque<(usize, usize)>,
    bytes: usize,
}

impl FrameStore {
    /// A store of frames for a network of `face_size`, keeping `budget` bytes of them.
    pub fn new(avatar: Arc<Avatar>, format: PixelFormat, face_size: FaceSize, budget: usize) -> Self {
        Self {
            slots: avatar.frames.iter().map(|_| Mutex::default()).collect(),
            avatar,
            format,
            face_size,
            budget,
            recent: Mutex::default(),
        }
    }

    /// The avatar whose frames these are.
    pub fn avatar(&self) -> &Avatar {
        &self.avatar
    }

    /// The format of the pictures.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// Frame `index`, decoded now if it is not kept.
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Invalid`] for its files.
    pub fn get(&self, index: usize) -> Result<Arc<Frame>> {
        let frame = {
            let mut slot = self.slots[index].lock().unwrap_or_else(|e| e.into_inner());
            match &*slot {
                Some(frame) => frame.clone(),
                None => {
                    let frame = Arc::new(self.decode(&self.avatar.frames[index])?);
                    slot.insert(frame).clone()
                }
            }
        };
        for old in self.touch(index, frame.size()) {
            *self.slots[old].lock().unwrap_or_else(|e| e.into_inner()) = None;
        }
        Ok(frame)
    }

    /// Notes that a frame was used and returns those that must go.
    fn touch(&self, index: usize, size: usize) -> Vec<usize> {
        let mut recent = self.recent.lock().unwrap_or_else(|e| e.into_inner());
        match recent.order.iter().position(|(i, _)| *i == index) {
            Some(place) => drop(recent.order.remove(place)),
            None => recent.bytes += size,
        }
        recent.order.push_back((index, size));
        let mut gone = Vec::new();
        // The frame in use stays, however small the budget.
        while recent.bytes > self.budget
            && recent.order.len() > 1
            && let Some((old, size)) = recent.order.pop_front()
        {
            gone.push(old);
            recent.bytes -= size;
        }
        gone
    }

    fn decode(&self, files: &AvatarFrameFiles) -> Result<Frame> {
        let rgb = self.read_picture(&files.picture)?;
        let face = files.face.within(rgb.dimensions()).ok_or_else(|| {
            Error::invalid(&files.picture, "its face rectangle lies outside", "Correct the rectangle")
        })?;
        let outer = face.even(rgb.width(), rgb.height());
        let crop = self.face_size.crop_of(&face.cut(&rgb));
        let views = match &files.views {
            None => self.face_size.views(&crop),
            Some((face, masked)) => {
                FaceViews { face: self.read_view(face)?, masked: self.read_view(masked)? }
            }
        };
        Ok(Frame {
            picture: Picture::from_rgb(&rgb, self.format),
            face,
            patch: (outer, outer.cut(&rgb)),
            crop,
            views,
        })
    }

    fn read_picture(&self, path: &Path) -> Result<RgbImage> {
        let picture = read(path)?;
        let (width, height) = self.avatar.size;
        self.expect_size(path, &picture, width, height, "the first frame")?;
        Ok(picture)
    }

    fn read_view(&self, path: &Path) -> Result<RgbImage> {
        let picture = read(path)?;
        let side = self.face_size.network;
        self.expect_size(path, &picture, side, side, "the network")?;
        Ok(picture)
    }

    fn expect_size(
        &self,
        path: &Path,
        picture: &RgbImage,
        width: u32,
        height: u32,
        like: &str,
    ) -> Result<()> {
        if picture.dimensions() == (width, height) {
            return Ok(());
        }
        Err(Error::invalid(
            path,
            format!("is {} x {}, not {width} x {height} as {like}", picture.width(), picture.height()),
            "Bring all frames to one size",
        ))
    }
}

fn read(path: &Path) -> Result<RgbImage> {
    let remedy = "Copy the frame again";
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, &e, remedy))?;
    let picture = image::load_from_memory(&bytes)
        .map_err(|e| Error::invalid(path, format!("is no readable picture: {e}"), remedy))?;
    Ok(picture.into_rgb8())
}

impl Frame {
    /// Bytes of memory.
    fn size(&self) -> usize {
        self.picture.size() + self.patch.1.len() + self.crop.len() + self.views.size()
    }

    /// Puts what the network painted into the face.
    pub fn mouth(&self, painted: &RgbImage, size: FaceSize, paste: Paste) -> Mouth {
        let (outer, base) = &self.patch;
        let face = size.paste(&self.crop, painted, paste, self.face.width, self.face.height);
        let mut patch = base.clone();
        let (x, y) = (self.face.x - outer.x, self.face.y - outer.y);
        image::imageops::replace(&mut patch, &face, x.into(), y.into());
        Mouth { patch: (*outer, patch) }
    }

    /// Writes the frame with that mouth to a picture of its format and size.
    pub fn draw(&self, mouth: &Mouth, target: &mut PictureMut<'_>) {
        self.picture.copy_to(target);
        target.draw(&mouth.patch.1, mouth.patch.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::avatar::FaceRect;
    use crate::features::ContextKind;
    use crate::picture::Packed;
    use crate::rate::FrameRate;

    #[test]
    fn frames_are_kept_within_the_budget() {
        let folder = tempfile::tempdir().unwrap();
        let face = FaceRect { x: 1, y: 1, width: 9, height: 9 };
        let frames = (0..8u8)
            .map(|n| {
                let picture = folder.path().join(format!("{n}.png"));
                RgbImage::from_pixel(32, 16, image::Rgb([n; 3])).save(&picture).unwrap();
                AvatarFrameFiles { picture, face, views: None }
            })
            .collect();
        let avatar = Avatar {
            folder: folder.path().into(),
            title: String::new(),
            audio_encoder: Default::default(),
            generator: Default::default(),
            frames,
            rate: FrameRate::NATIVE,
            first_frame: 0,
            size: (32, 16),
            border: 1,
            context: ContextKind::Window,
            paste: Paste::Inner,
        };
        let format = PixelFormat::Packed(Packed { bytes: 3, order: [0, 1, 2] });
        let size = FaceSize { network: 6, border: 1 };
        let one = FrameStore::new(Arc::new(avatar.clone()), format, size, 0).get(0).unwrap().size();
        let store = FrameStore::new(Arc::new(avatar), format, size, 3 * one);
        let kept = |store: &FrameStore| -> Vec<usize> {
            (0..8).filter(|&i| store.slots[i].lock().unwrap().is_some()).collect()
        };
        for i in [0, 1, 2, 3, 4, 5] {
            store.get(i).unwrap();
        }
        assert_eq!(kept(&store), [3, 4, 5]);
        // On the way back what was shown last is still there.
        for i in [4, 3, 2] {
            store.get(i).unwrap();
        }
        assert_eq!(kept(&store), [2, 3, 4]);
        assert_eq!(store.recent.lock().unwrap().bytes, 3 * one);
    }
}
