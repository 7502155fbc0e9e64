// SPDX-License-Identifier: MPL-2.0
//! The avatar's frames: decoded when needed, ready for the network and for the video, kept within a budget.

mod cache;
mod decode;
mod decoded_frame;
mod shot;

use std::sync::{Arc, Mutex, MutexGuard};

use image::RgbImage;

use crate::avatar::Avatar;
use crate::error::Result;
use crate::generator::face::Framing;
use crate::inference::runtime::Engine;
use crate::inference::shared::{FileStamp, Shared};
use crate::picture::formats::{Canvas, PixelFormat};
use crate::picture::pool::Pooled;
use crate::sync;

use cache::FrameCache;
use decode::Decoder;
pub use decode::read_picture;
pub use decoded_frame::{DecodedFrame, Mouth};
pub use shot::{FrameRef, PREFETCH, Shot};

/// The frames of one avatar in one video format.
///
/// The least recently used frame goes first. Frames are played forward and backward, so that what is kept is met again
/// soon at each turn.
pub struct FrameStore {
    avatar: Arc<Avatar>,
    decoder: Decoder,
    /// One lock a frame, so that it is decoded once however many want it. Taken before `cache`.
    decoding: Vec<Mutex<()>>,
    cache: Mutex<FrameCache>,
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

/// Frames for which there must be room beside those.
const IN_WORK: usize = 4;

impl FrameStore {
    /// A store of frames for a network that sees them in `framing`, keeping `budget` bytes of them.
    pub fn new(avatar: Arc<Avatar>, canvas: Canvas, framing: Framing, budget: usize) -> Self {
        Self {
            decoder: Decoder::new(&avatar, canvas, framing),
            decoding: avatar.frames.iter().map(|_| Mutex::default()).collect(),
            cache: Mutex::new(FrameCache::new(budget)),
            avatar,
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
        let key =
            Key { avatar: avatar.clone(), first, generator, engine: engine.key(), canvas, framing, budget };
        let store = STORES.get(key, || Ok(Self::new(avatar.clone(), canvas, framing, budget)));
        store.unwrap_or_else(|e| unreachable!("a store is made without error: {e}"))
    }

    fn cache(&self) -> MutexGuard<'_, FrameCache> {
        sync::lock(&self.cache)
    }

    /// The avatar whose frames these are.
    pub fn avatar(&self) -> &Arc<Avatar> {
        &self.avatar
    }

    /// The format of the pictures.
    pub fn format(&self) -> PixelFormat {
        self.decoder.canvas.format
    }

    /// How the network sees the faces.
    pub fn framing(&self) -> Framing {
        self.decoder.framing
    }

    /// Whether these are the frames of that avatar, shown like that.
    pub fn shows(&self, avatar: &Avatar, canvas: Canvas) -> bool {
        self.decoder.canvas == canvas && *self.avatar == *avatar
    }

    /// A picture, decoded now if it is not kept.
    ///
    /// # Errors
    /// [`Error::NotFound`](crate::Error::NotFound) or [`Error::Invalid`](crate::Error::Invalid) for its files.
    pub fn get(&self, at: impl Into<FrameRef>) -> Result<Arc<DecodedFrame>> {
        let at = at.into();
        if let Some(frame) = self.kept(at) {
            return Ok(frame);
        }
        let (FrameRef::Single(index) | FrameRef::Between { to: index, .. }) = at;
        let _decoding = sync::lock(&self.decoding[index]);
        // Another may have decoded it meanwhile.
        if let Some(frame) = self.kept(at) {
            return Ok(frame);
        }
        let files = |index: usize| &self.avatar.frames[index];
        let frame = Arc::new(match at {
            FrameRef::Single(index) => self.decoder.decode(files(index))?,
            FrameRef::Between { from, to, weight } => self.decoder.blend([files(from), files(to)], weight)?,
        });
        // Evicted frames are dropped after the cache is unlocked.
        let _evicted = self.cache().insert(at, &frame);
        Ok(frame)
    }

    /// A picture that is kept, counted for what it takes now.
    fn kept(&self, at: FrameRef) -> Option<Arc<DecodedFrame>> {
        let mut cache = self.cache();
        let frame = cache.get(at)?;
        let evicted = cache.recount(at, frame.size());
        drop(cache);
        drop(evicted);
        Some(frame)
    }

    /// Notes that a picture has grown by what the network has seen there, unless it is no longer kept.
    pub(crate) fn note_growth(&self, at: FrameRef, frame: &DecodedFrame) {
        let _evicted = self.cache().recount(at, frame.size());
    }

    /// Of the pictures that will be shown soon, the nearest first, those that are not here: as many as fit beside
    /// those in work. With `seen`, those as well that are here, but that the network has not seen.
    pub fn missing(&self, ahead: &[FrameRef], seen: bool) -> Vec<FrameRef> {
        let cache = self.cache();
        let Some(capacity) = cache.capacity() else { return Vec::new() };
        let room = capacity.saturating_sub(IN_WORK);
        let is_missing = |at: FrameRef| cache.peek(at).is_none_or(|frame| seen && !frame.seen.is_encoded());
        ahead.iter().copied().take(room).filter(|at| is_missing(*at)).collect()
    }

    /// The mouth of a picture at rest, if it has been painted and kept.
    pub(crate) fn resting(&self, at: FrameRef) -> Option<Arc<Pooled>> {
        self.cache().resting(at)
    }

    /// Keeps the mouth of one of the avatar's frames at rest, if there is room: half of the whole.
    pub(crate) fn keep_resting(&self, at: FrameRef, mouth: &Arc<Pooled>) {
        if matches!(at, FrameRef::Single(_)) {
            self.cache().insert_resting(at, mouth);
        }
    }

    /// What the network painted into the face of a frame, ready to be drawn.
    pub fn mouth(&self, frame: &DecodedFrame, painted: &RgbImage) -> Mouth {
        frame.mouth(self.decoder.framing, painted)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use image::GrayImage;

    use super::*;
    use crate::avatar::clips::Clip;
    use crate::avatar::{AvatarFrameFiles, FaceRect, Layout};
    use crate::features::{MelWindows, RowSelection};
    use crate::generator::face::{FaceOptions, Style};
    use crate::picture::formats::Packed;
    use crate::picture::image_file::ImageInfo;
    use crate::rate::FrameRate;

    const RGB: PixelFormat = PixelFormat::Packed(Packed { bytes: 3, order: [0, 1, 2], alpha: None });
    const RGBA: PixelFormat = PixelFormat::Packed(Packed { bytes: 4, order: [0, 1, 2], alpha: Some(3) });

    /// An avatar of frames of one grey each, which goes up with their number.
    fn avatar(folder: &Path, count: u8) -> Avatar {
        let face = FaceRect { x: 1, y: 1, width: 9, height: 9 };
        let frames = (0..count)
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
            clips: vec![Clip::idle(usize::from(count), 0)],
            frames,
            rate: FrameRate::NATIVE,
            image: ImageInfo { size: (32, 16), alpha: false },
            background: None,
            context: RowSelection::Window,
            windows: MelWindows::default(),
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
            (0..8).filter(|&i| store.cache().peek(i.into()).is_some()).collect()
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
        assert_eq!(store.cache().frame_bytes(), 3 * one);
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
        assert_eq!(store.cache().recount(2.into(), 2 * one).len(), 1);
        assert!(store.cache().peek(0.into()).is_none());
        assert_eq!(store.cache().frame_bytes(), 3 * one);
        // One that has gone meanwhile does not come back.
        let another = store.cache().get(1.into()).unwrap();
        store.note_growth(3.into(), &another);
        assert_eq!(store.cache().frame_bytes(), 3 * one);
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
