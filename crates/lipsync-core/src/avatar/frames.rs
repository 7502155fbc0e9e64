//! The avatar's frames: decoded when needed, ready for the network and for the video, kept within a budget.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use image::{GrayImage, RgbImage};

use crate::avatar::matte::{Matte, Mattes};
use crate::avatar::{Avatar, AvatarFrameFiles};
use crate::error::{Error, Result};
use crate::generator::Face;
use crate::generator::face::{FaceViews, Framing};
use crate::inference::runtime::Engine;
use crate::inference::shared::{FileStamp, Shared};
use crate::picture::formats::{Canvas, Picture, PictureMut, PixelFormat};
use crate::picture::geometry::Rect;
use crate::picture::image_file::{self, ImageFile};
use crate::picture::pool::{self, Pooled};

/// One frame of the avatar, decoded.
pub struct DecodedFrame {
    /// The whole picture, in the format of the video.
    picture: Picture,
    /// The face rectangle.
    face: Rect,
    /// The same with even corners, and the picture inside it.
    patch: (Rect, RgbImage),
    /// How opaque that is, where it matters.
    matte: Option<Matte>,
    /// Where 255, the face rectangle is never painted over.
    keep: Option<GrayImage>,
    /// What the network sees.
    pub seen: Face,
}

/// A finished mouth: the face rectangle with even corners, and what is to be drawn there.
pub struct Mouth {
    patch: (Rect, Pooled),
}

/// The frames of one avatar in one video format.
///
/// A frame that was not used for longest goes first. Frames are played forward and backward, so that what is
/// kept is met again soon at each turn.
pub struct FrameStore {
    avatar: Arc<Avatar>,
    canvas: Canvas,
    mattes: Mattes,
    framing: Framing,
    /// Bytes that may be kept.
    budget: usize,
    /// One lock a frame, so that it is decoded once however many want it. Taken before `recent`.
    slots: Vec<Mutex<Option<Arc<DecodedFrame>>>>,
    recent: Mutex<RecentlyUsed>,
    /// Mouths at rest, as the network painted them, as far as there is room.
    resting: Mutex<RestingMouths>,
}

/// Mouths at rest by frame, and their bytes.
#[derive(Default)]
struct RestingMouths {
    mouths: HashMap<usize, Arc<Pooled>>,
    bytes: usize,
}

/// What stores that are the same have in common.
#[derive(Debug, Clone, PartialEq)]
struct Key {
    avatar: Arc<Avatar>,
    first: FileStamp,
    /// What was seen in a frame is kept with it.
    generator: FileStamp,
    engine: Engine,
    canvas: Canvas,
    framing: Framing,
    budget: usize,
}

static STORES: Shared<Key, FrameStore> = Shared::new();

/// Frames that are decoded ahead of time at most: a third of a second.
const PREFETCH: usize = 8;
/// Frames for which there must be room beside those.
const IN_WORK: usize = 4;

/// Frames kept and their bytes, the one used last at the back.
#[derive(Default)]
struct RecentlyUsed {
    order: VecDeque<(usize, usize)>,
    bytes: usize,
}

impl RecentlyUsed {
    fn place(&self, index: usize) -> Option<usize> {
        self.order.iter().position(|(kept, _)| *kept == index)
    }
}

impl FrameStore {
    /// A store of frames for a network that sees them in `framing`, keeping `budget` bytes of them.
    pub fn new(avatar: Arc<Avatar>, canvas: Canvas, framing: Framing, budget: usize) -> Self {
        Self {
            slots: avatar.frames.iter().map(|_| Mutex::default()).collect(),
            mattes: Mattes::new(&avatar, canvas),
            avatar,
            canvas,
            framing,
            budget,
            recent: Mutex::default(),
            resting: Mutex::default(),
        }
    }

    /// The store that others in this process already have of the same avatar, engine, format and budget, or a new one.
    pub fn shared(
        avatar: &Arc<Avatar>,
        engine: Engine,
        canvas: Canvas,
        framing: Framing,
        budget: usize,
    ) -> Arc<Self> {
        let first = FileStamp::of(&avatar.frames[0].picture);
        let generator = FileStamp::of(&avatar.generator);
        let key = Key { avatar: avatar.clone(), first, generator, engine, canvas, framing, budget };
        let store = STORES.get(key, || Ok(Self::new(avatar.clone(), canvas, framing, budget)));
        store.unwrap_or_else(|e| unreachable!("a store is made without error: {e}"))
    }

    /// The mouth of frame `index` at rest, if it has been painted and kept.
    pub fn resting(&self, index: usize) -> Option<Arc<Pooled>> {
        self.resting.lock().unwrap_or_else(|e| e.into_inner()).mouths.get(&index).cloned()
    }

    /// Keeps the mouth of frame `index` at rest, if there is room: half of the whole.
    pub fn keep_resting(&self, index: usize, mouth: &Arc<Pooled>) {
        let mut resting = self.resting.lock().unwrap_or_else(|e| e.into_inner());
        if resting.bytes + mouth.len() <= self.budget / 2
            && resting.mouths.insert(index, mouth.clone()).is_none()
        {
            resting.bytes += mouth.len();
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

    /// Whether these are the frames of that avatar, shown like that.
    pub fn shows(&self, avatar: &Avatar, canvas: Canvas) -> bool {
        self.canvas == canvas && *self.avatar == *avatar
    }

    /// DecodedFrame `index`, decoded now if it is not kept.
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Invalid`] for its files.
    pub fn get(&self, index: usize) -> Result<Arc<DecodedFrame>> {
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
        self.drop_kept(self.touch(index, frame.size()));
        Ok(frame)
    }

    /// Notes that a frame has grown by what the network has seen there, unless it is no longer kept.
    pub fn note_growth(&self, index: usize, frame: &DecodedFrame) {
        let is_kept = self.recent.lock().unwrap_or_else(|e| e.into_inner()).place(index).is_some();
        if is_kept {
            self.drop_kept(self.touch(index, frame.size()));
        }
    }

    fn drop_kept(&self, frames: Vec<usize>) {
        for index in frames {
            *self.slots[index].lock().unwrap_or_else(|e| e.into_inner()) = None;
        }
    }

    /// Frames that will be shown after playing step `step` and are not here, the nearest first: as many as fit beside
    /// those in work. With `seen`, those as well that are here, but that the network has not seen.
    pub fn missing_after(&self, step: u64, seen: bool) -> Vec<usize> {
        let recent = self.recent.lock().unwrap_or_else(|e| e.into_inner());
        let Some(size) = recent.bytes.checked_div(recent.order.len()) else { return Vec::new() };
        let ahead = (self.budget / size.max(1)).saturating_sub(IN_WORK).min(PREFETCH);
        (1..=ahead as u64)
            .map(|n| self.avatar.ping_pong(step + n))
            .filter(|index| recent.place(*index).is_none() || (seen && self.is_unseen(*index)))
            .collect()
    }

    /// Whether a frame is here that the network has not seen. One that is being decoded counts as seen.
    fn is_unseen(&self, index: usize) -> bool {
        let frame = self.slots[index].try_lock();
        frame.is_ok_and(|frame| frame.as_ref().is_some_and(|frame| !frame.seen.is_seen()))
    }

    /// Notes that a frame was used and returns those that must go.
    fn touch(&self, index: usize, size: usize) -> Vec<usize> {
        let budget = self.budget - self.resting.lock().unwrap_or_else(|e| e.into_inner()).bytes;
        let mut recent = self.recent.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(place) = recent.place(index)
            && let Some((_, before)) = recent.order.remove(place)
        {
            recent.bytes -= before;
        }
        recent.bytes += size;
        recent.order.push_back((index, size));
        let mut gone = Vec::new();
        // The frame in use stays, however small the budget.
        while recent.bytes > budget
            && recent.order.len() > 1
            && let Some((old, size)) = recent.order.pop_front()
        {
            gone.push(old);
            recent.bytes -= size;
        }
        gone
    }

    fn decode(&self, files: &AvatarFrameFiles) -> Result<DecodedFrame> {
        let size = self.avatar.image.size;
        let ImageFile { mut colours, alpha } = read_picture(files, size)?;
        let face = files.face.within(size).ok_or_else(|| {
            Error::invalid(&files.picture, "its face rectangle lies outside", "Correct the rectangle")
        })?;
        let outer = face.even(size.0, size.1);
        let crop = self.framing.crop_of(&face.cut(&colours));
        let given = match &files.views {
            None => None,
            Some((face, masked)) => {
                let side = self.framing.network;
                let view = |path| Ok(image_file::read_sized(path, (side, side), "the network")?.colours);
                Some([view(face)?, view(masked)?])
            }
        };
        let keep = match &files.parsing {
            None => None,
            Some(parsing) => {
                let parsing = image_file::read_sized(parsing, size, "the frame")?;
                Some(kept(&face.cut(&parsing.colours)))
            }
        };
        let patch = outer.cut(&colours);
        let matte = self.mattes.of(files, alpha)?;
        if let Some(matte) = &matte {
            matte.finish(&mut colours);
        }
        let picture = Picture::new(&colours, matte.as_ref().map(Matte::alpha), self.canvas.format);
        pool::give_back(colours);
        Ok(DecodedFrame {
            picture,
            face,
            patch: (outer, patch),
            matte: matte.map(|matte| matte.cut(outer)),
            keep,
            seen: Face::new(FaceViews { crop, given }),
        })
    }

    /// How the network sees the faces.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// What the network painted into the face of a frame, ready to be drawn.
    pub fn mouth(&self, frame: &DecodedFrame, painted: &RgbImage) -> Mouth {
        let (outer, base) = &frame.patch;
        let at = Rect { x: frame.face.x - outer.x, y: frame.face.y - outer.y, ..frame.face };
        let mut patch = Pooled::copy(base);
        self.framing.paste(&frame.seen.views.crop, painted, &mut patch, at);
        if let Some(keep) = &frame.keep {
            for (x, y, keep) in keep.enumerate_pixels() {
                if keep.0 == [255] {
                    let (x, y) = (at.x + x, at.y + y);
                    patch.put_pixel(x, y, *base.get_pixel(x, y));
                }
            }
        }
        if let Some(matte) = &frame.matte {
            matte.finish(&mut patch);
        }
        Mouth { patch: (*outer, patch) }
    }
}

/// Decodes the picture of a frame, which must have the size of all.
///
/// # Errors
/// [`Error::NotFound`] or [`Error::Invalid`]: also where both an alpha channel and a mask say how opaque it is.
pub fn read_picture(files: &AvatarFrameFiles, size: (u32, u32)) -> Result<ImageFile> {
    let picture = image_file::read_sized(&files.picture, size, "the first frame")?;
    match &files.alpha {
        Some(mask) if picture.alpha.is_some() => Err(Error::invalid(
            &files.picture,
            format!("has an alpha channel, and a mask, {}", mask.display()),
            "Save the frame without alpha, or delete the key alpha in the manifest",
        )),
        _ => Ok(picture),
    }
}

/// What a parsing picture marks to be kept: 255 where it is pure red or pure white.
fn kept(parsing: &RgbImage) -> GrayImage {
    GrayImage::from_fn(parsing.width(), parsing.height(), |x, y| {
        let keep = matches!(parsing.get_pixel(x, y).0, [255, 0, 0] | [255, 255, 255]);
        image::Luma([if keep { 255 } else { 0 }])
    })
}

impl DecodedFrame {
    /// Bytes of memory.
    fn size(&self) -> usize {
        let alpha = self.matte.as_ref().map(Matte::alpha);
        let planes = alpha.into_iter().chain(&self.keep).map(|plane| plane.len());
        self.picture.size() + self.seen.size() + self.patch.1.len() + planes.sum::<usize>()
    }

    /// Writes the frame, with that mouth if there is one, to a picture of its format and size.
    pub fn draw(&self, mouth: Option<&Mouth>, target: &mut PictureMut<'_>) {
        self.picture.copy_to(target);
        if let Some(mouth) = mouth {
            target.draw(&mouth.patch.1, mouth.patch.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::avatar::{FaceRect, Layout};
    use crate::features::ContextKind;
    use crate::generator::face::{FaceOptions, Style};
    use crate::picture::formats::Packed;
    use crate::picture::image_file::ImageInfo;
    use crate::rate::FrameRate;

    const RGB: PixelFormat = PixelFormat::Packed(Packed { bytes: 3, order: [0, 1, 2], alpha: None });
    const RGBA: PixelFormat = PixelFormat::Packed(Packed { bytes: 4, order: [0, 1, 2], alpha: Some(3) });

    /// An avatar of frames of one grey each, which goes up with their number.
    fn avatar(folder: &Path, frames: u8) -> Avatar {
        let face = FaceRect { x: 1, y: 1, width: 9, height: 9 };
        let frames = (0..frames)
            .map(|n| {
                let picture = folder.join(format!("{n}.png"));
                RgbImage::from_pixel(32, 16, image::Rgb([n; 3])).save(&picture).unwrap();
                AvatarFrameFiles { picture, face, views: None, parsing: None, alpha: None }
            })
            .collect();
        Avatar {
            folder: folder.into(),
            layout: Layout::Own,
            title: String::new(),
            audio_encoder: None,
            generator: Default::default(),
            frames,
            rate: FrameRate::NATIVE,
            first_frame: 0,
            image: ImageInfo { size: (32, 16), alpha: false },
            background: None,
            context: ContextKind::Window,
            face: FaceOptions::default(),
            at_rest: false,
        }
    }

    fn store(avatar: &Avatar, format: PixelFormat, background: Option<[u8; 3]>, budget: usize) -> FrameStore {
        let framing = Framing::new(6, Style::SyncTalk, FaceOptions::default());
        FrameStore::new(Arc::new(avatar.clone()), Canvas { format, background }, framing, budget)
    }

    #[test]
    fn frames_are_kept_within_the_budget() {
        let folder = tempfile::tempdir().unwrap();
        let avatar = avatar(folder.path(), 8);
        let one = store(&avatar, RGB, None, 0).get(0).unwrap().size();
        let store = store(&avatar, RGB, None, 3 * one);
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

    #[test]
    fn a_frame_that_has_grown_counts_for_what_it_is_now() {
        let folder = tempfile::tempdir().unwrap();
        let avatar = avatar(folder.path(), 4);
        let one = store(&avatar, RGB, None, 0).get(0).unwrap().size();
        let store = store(&avatar, RGB, None, 3 * one);
        for i in 0..3 {
            store.get(i).unwrap();
        }
        assert_eq!(store.touch(2, 2 * one), [0]);
        assert_eq!(store.recent.lock().unwrap().bytes, 3 * one);
        // One that has gone meanwhile does not come back.
        store.note_growth(3, &store.slots[1].lock().unwrap().clone().unwrap());
        assert_eq!(store.recent.lock().unwrap().bytes, 3 * one);
    }

    #[test]
    fn masks_are_read_only_where_something_else_is_behind() {
        let folder = tempfile::tempdir().unwrap();
        let mut avatar = avatar(folder.path(), 1);
        let mask = folder.path().join("mask.png");
        avatar.frames[0].alpha = Some(mask.clone());
        let without = store(&avatar, RGB, None, 0).get(0).unwrap();
        let problem = |format, background| {
            let error = store(&avatar, format, background, 0).get(0).err().unwrap();
            assert_eq!(error.path(), Some(mask.as_path()), "{error}");
            error.to_string()
        };
        assert!(problem(RGBA, None).contains("no such file"));
        GrayImage::new(9, 9).save(&mask).unwrap();
        assert!(problem(RGB, Some([1, 2, 3])).contains("is 9 x 9, not 32 x 16 as the frame"));
        image::RgbaImage::new(32, 16).save(&mask).unwrap();
        assert!(problem(RGBA, None).contains("has an alpha channel"));

        GrayImage::new(32, 16).save(&mask).unwrap();
        // In the same format a mask kept is what makes the difference.
        let with = store(&avatar, RGB, Some([1, 2, 3]), 0).get(0).unwrap();
        let (patch, _) = with.patch;
        assert_eq!(with.size(), without.size() + (patch.width * patch.height) as usize);
    }

    #[test]
    fn a_mask_beside_an_alpha_channel_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let mut avatar = avatar(folder.path(), 1);
        avatar.frames[0].alpha = Some(folder.path().join("mask.png"));
        image::RgbaImage::new(32, 16).save(&avatar.frames[0].picture).unwrap();
        for background in [None, Some([1, 2, 3])] {
            let error = store(&avatar, RGB, background, 0).get(0).err().unwrap().to_string();
            assert!(error.contains("0.png: has an alpha channel, and a mask"), "{error}");
        }
    }
}
