//! The avatar's frames: decoded when needed, ready for the network and for the video, kept within a budget.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};

use image::{GrayImage, RgbImage, imageops};

use crate::avatar::{Avatar, AvatarFrameFiles};
use crate::error::{Error, Result};
use crate::face::{FaceViews, Framing, Rect};
use crate::image_file;
use crate::picture::{Canvas, Picture, PictureMut, PixelFormat};

/// One frame of the avatar, decoded.
pub struct Frame {
    /// The whole picture, in the format of the video.
    picture: Picture,
    /// The face rectangle.
    face: Rect,
    /// The same with even corners, and the picture inside it.
    patch: (Rect, RgbImage),
    /// Its alpha, where the picture has it.
    alpha: Option<GrayImage>,
    /// Where 255, the face rectangle is never painted over.
    keep: Option<GrayImage>,
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
    canvas: Canvas,
    framing: Framing,
    /// Bytes that may be kept.
    budget: usize,
    /// One lock a frame, so that it is decoded once however many want it. Taken before `recent`.
    slots: Vec<Mutex<Option<Arc<Frame>>>>,
    recent: Mutex<Recent>,
}

/// Frames that are decoded ahead of time at most: a third of a second.
const READ_AHEAD: usize = 8;
/// Frames for which there must be room beside those.
const IN_WORK: usize = 4;

/// Frames kept and their bytes, the one used last at the back.
#[derive(Default)]
struct Recent {
    order: VecDeque<(usize, usize)>,
    bytes: usize,
}

impl FrameStore {
    /// A store of frames for a network that sees them in `framing`, keeping `budget` bytes of them.
    pub fn new(avatar: Arc<Avatar>, canvas: Canvas, framing: Framing, budget: usize) -> Self {
        Self {
            slots: avatar.frames.iter().map(|_| Mutex::default()).collect(),
            avatar,
            canvas,
            framing,
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
        self.canvas.format
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

    /// Frames that will be shown after playing step `step` and are not here, the nearest first: as many as fit beside
    /// those in work.
    pub fn missing_after(&self, step: u64) -> Vec<usize> {
        let recent = self.recent.lock().unwrap_or_else(|e| e.into_inner());
        let Some(size) = recent.bytes.checked_div(recent.order.len()) else { return Vec::new() };
        let ahead = (self.budget / size.max(1)).saturating_sub(IN_WORK).min(READ_AHEAD);
        (1..=ahead as u64)
            .map(|n| self.avatar.ping_pong(step + n))
            .filter(|index| !recent.order.iter().any(|(kept, _)| kept == index))
            .collect()
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
        let size = self.avatar.image.size;
        let image_file::ImageFile { mut colours, alpha } = read(&files.picture, size, "the first frame")?;
        let face = files.face.within(size).ok_or_else(|| {
            Error::invalid(&files.picture, "its face rectangle lies outside", "Correct the rectangle")
        })?;
        let outer = face.even(size.0, size.1);
        let crop = self.framing.crop_of(&face.cut(&colours));
        let views = match &files.views {
            None => self.framing.views(&crop),
            Some((face, masked)) => {
                let side = self.framing.network;
                let view = |path| Ok(read(path, (side, side), "the network")?.colours);
                FaceViews { face: view(face)?, masked: view(masked)? }
            }
        };
        let keep = match &files.parsing {
            None => None,
            Some(parsing) => Some(kept(&face.cut(&read(parsing, size, "the frame")?.colours))),
        };
        let patch = outer.cut(&colours);
        let patch_alpha = alpha
            .as_ref()
            .map(|alpha| imageops::crop_imm(alpha, outer.x, outer.y, outer.width, outer.height).to_image());
        self.canvas.flatten(&mut colours, alpha.as_ref());
        Ok(Frame {
            picture: Picture::new(&colours, alpha.as_ref(), self.canvas.format),
            face,
            patch: (outer, patch),
            alpha: patch_alpha,
            keep,
            crop,
            views,
        })
    }

    /// What the network painted into the face of a frame, ready to be drawn.
    pub fn mouth(&self, frame: &Frame, painted: &RgbImage) -> Mouth {
        let (outer, base) = &frame.patch;
        let Rect { x, y, width, height } = frame.face;
        let mut face = self.framing.paste(&frame.crop, painted, width, height);
        let (x, y) = (x - outer.x, y - outer.y);
        if let Some(keep) = &frame.keep {
            let original = imageops::crop_imm(base, x, y, width, height).to_image();
            for ((pixel, original), keep) in face.pixels_mut().zip(original.pixels()).zip(keep.iter()) {
                if *keep == 255 {
                    *pixel = *original;
                }
            }
        }
        let mut patch = base.clone();
        imageops::replace(&mut patch, &face, x.into(), y.into());
        self.canvas.flatten(&mut patch, frame.alpha.as_ref());
        Mouth { patch: (*outer, patch) }
    }
}

/// Reads a picture that must have a size, as `like` has it.
pub(crate) fn read(path: &Path, size: (u32, u32), like: &str) -> Result<image_file::ImageFile> {
    let picture = image_file::read(path)?;
    let (width, height) = picture.colours.dimensions();
    if (width, height) != size {
        return Err(Error::invalid(
            path,
            format!("is {width} x {height}, not {} x {} as {like}", size.0, size.1),
            "Bring all frames to one size",
        ));
    }
    Ok(picture)
}

/// What a parsing picture marks to be kept: 255 where it is pure red or pure white.
fn kept(parsing: &RgbImage) -> GrayImage {
    GrayImage::from_fn(parsing.width(), parsing.height(), |x, y| {
        let keep = matches!(parsing.get_pixel(x, y).0, [255, 0, 0] | [255, 255, 255]);
        image::Luma([if keep { 255 } else { 0 }])
    })
}

impl Frame {
    /// Bytes of memory.
    fn size(&self) -> usize {
        let planes = [&self.alpha, &self.keep].into_iter().flatten().map(|plane| plane.len());
        let pictures = [&self.patch.1, &self.crop].map(|picture| picture.len());
        self.picture.size() + self.views.size() + planes.chain(pictures).sum::<usize>()
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
    use crate::avatar::{FaceOptions, FaceRect, Layout};
    use crate::face::Style;
    use crate::features::ContextKind;
    use crate::image_file::ImageInfo;
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
                AvatarFrameFiles { picture, face, views: None, parsing: None }
            })
            .collect();
        let avatar = Avatar {
            folder: folder.path().into(),
            layout: Layout::Own,
            title: String::new(),
            audio_encoder: None,
            generator: Default::default(),
            frames,
            rate: FrameRate::NATIVE,
            first_frame: 0,
            image: ImageInfo { size: (32, 16), alpha: false },
            context: ContextKind::Window,
            face: FaceOptions::default(),
        };
        let format = PixelFormat::Packed(Packed { bytes: 3, order: [0, 1, 2], alpha: None });
        let canvas = Canvas { format, background: [0; 3] };
        let framing = Framing::new(6, Style::SyncTalk, FaceOptions::default());
        let one = FrameStore::new(Arc::new(avatar.clone()), canvas, framing, 0).get(0).unwrap().size();
        let store = FrameStore::new(Arc::new(avatar), canvas, framing, 3 * one);
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
