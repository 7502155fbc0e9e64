//! Which avatar plays: how one is loaded, and how another takes over while the first plays on.
//!
//! An avatar that is set while the element plays is loaded by a thread of its own. The conductor takes it over between two
//! frames, if downstream takes its video; what cannot be loaded, painted or shown is told in a warning, the one before goes on, and
//! the property `avatar` names that one again. One that was asked for and neither taken over nor refused when the element
//! stops is asked for again when it starts: it starts with the one that is known to be right.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_video::VideoInfo;

use super::conductor::{Stage, VideoItem};
use super::imp::LipsyncSrc;
use crate::bounded::{self, Canceller};
use crate::elements::loaded::Loaded;
use crate::elements::messages::Stop;
use crate::elements::settings::Settings;
use crate::elements::{CAT, lock, video_output};
use crate::error::Error;
use crate::frames::FrameStore;
use crate::listener::Listener;
use crate::picture::{Canvas, PixelFormat, YuvCoding};
use crate::rate::FrameRate;

/// An avatar with all that is needed to go on with it.
pub struct Ready {
    pub loaded: Loaded,
    pub listener: Listener,
}

impl Ready {
    fn open(settings: Settings, element: &super::LipsyncSrc, canceller: &Canceller) -> Result<Self, Error> {
        let (loaded, listener) = Loaded::open(settings, element, canceller)?;
        Ok(Self { loaded, listener })
    }

    /// The same, and a frame has been painted: on air is not the place to find out that it cannot be.
    fn open_and_try_out(
        settings: Settings,
        element: &super::LipsyncSrc,
        canceller: &Canceller,
    ) -> Result<Self, Error> {
        let ready = Self::open(settings, element, canceller)?;
        let Loaded { avatar, painter, .. } = &ready.loaded;
        let canvas = Canvas { format: PixelFormat::I420(YuvCoding::BT709), background: None };
        let frames = FrameStore::new(avatar.clone(), canvas, painter.framing(), 0);
        let (painter, frames) = (painter.clone(), Arc::new(frames));
        bounded::run(canceller, move || painter.try_out(&frames))?;
        Ok(ready)
    }
}

/// The avatars that are there beside the one on stage.
#[derive(Default)]
pub struct Avatars {
    /// Kept from READY to the first frame.
    pub ready: Option<Ready>,
    /// What plays now, from READY to PAUSED on.
    pub playing: Option<Loaded>,
    /// One that is to take over, and the number of the request.
    next: Option<(u64, Ready)>,
    /// Calls off the loading of one that was to take over.
    loading: Canceller,
    /// Counts the avatars asked for: only the last one takes over.
    requests: u64,
    /// The name of the one that played when another was asked for, as long as that one has not taken over.
    accepted: Option<String>,
}

/// The result of what may panic; the panic is an error.
fn guarded<T>(open: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    std::panic::catch_unwind(AssertUnwindSafe(open)).unwrap_or_else(|panic| {
        let text =
            panic.downcast_ref::<&str>().copied().or(panic.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("no reason is given");
        Err(Error::runtime(format!("loading it panicked: {text}"), "This is a bug: please report it"))
    })
}

impl LipsyncSrc {
    /// Opens the avatar, if that has not been done with the same settings.
    pub(super) fn load(&self) -> Result<(), Error> {
        let mut settings = self.settings();
        let (ready, accepted) = {
            let mut avatars = lock(&self.avatars);
            (avatars.ready.take(), avatars.accepted.clone())
        };
        if let Some(accepted) = accepted {
            settings.avatar = accepted;
        }
        let ready = match ready {
            Some(ready) if ready.loaded.settings.load_the_same(&settings) => ready,
            _ => {
                // Nobody can call it off: a change of state waits for the one before.
                let ready = Ready::open(settings, &self.obj(), &Canceller::default())?;
                gst::info!(CAT, imp = self, "{}", ready.loaded);
                ready
            }
        };
        lock(&self.avatars).ready = Some(ready);
        Ok(())
    }

    /// Takes note that the property `avatar` has been set.
    pub(super) fn avatar_set(&self) {
        {
            let mut avatars = lock(&self.avatars);
            let Some(playing) = &avatars.playing else {
                avatars.accepted = None;
                return;
            };
            let playing = playing.settings.avatar.clone();
            avatars.accepted.get_or_insert(playing);
        }
        self.load_next();
    }

    /// Asks once more for an avatar that was asked for and has not taken over.
    pub(super) fn load_pending(&self) {
        if lock(&self.avatars).accepted.is_some() {
            self.load_next();
        }
    }

    /// Loads another avatar while this one plays, with the settings of the start.
    fn load_next(&self) {
        let name = self.settings().avatar;
        let (number, settings, canceller) = {
            let mut avatars = lock(&self.avatars);
            let Some(playing) = &avatars.playing else { return };
            let settings = Settings { avatar: name.clone(), ..playing.settings.clone() };
            avatars.requests += 1;
            avatars.loading.cancel();
            avatars.loading = Canceller::default();
            (avatars.requests, settings, avatars.loading.clone())
        };
        let element = self.obj().downgrade();
        let load = move || {
            let Some(element) = element.upgrade() else { return };
            let imp = element.imp();
            let ready = guarded(|| Ready::open_and_try_out(settings, &element, &canceller));
            // What is dropped here, or with an older request, is dropped without the lock.
            let mut avatars = lock(&imp.avatars);
            if avatars.requests != number {
                drop(avatars);
                return;
            }
            match ready {
                Ok(ready) => {
                    let old = avatars.next.replace((number, ready));
                    drop(avatars);
                    drop(old);
                }
                Err(error) => {
                    drop(avatars);
                    imp.refuse(number, &name, &error.to_string());
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("lipsync-load".into()).spawn(load) {
            self.refuse(number, &self.settings().avatar, &format!("no thread could be started: {error}"));
        }
    }

    /// Tells that an avatar does not take over, and puts the property back to the one that plays.
    fn refuse(&self, number: u64, name: &str, problem: &str) {
        let Some(playing) = ({
            let mut avatars = lock(&self.avatars);
            // Where another has been asked for meanwhile, the property is about that one.
            let last = avatars.requests == number;
            last.then(|| avatars.accepted.take()).flatten()
        }) else {
            return;
        };
        {
            let mut settings = lock(&self.settings);
            if settings.avatar == name {
                settings.avatar.clone_from(&playing);
            }
        }
        gst::element_imp_warning!(
            self,
            gst::ResourceError::NotFound,
            ("the avatar {name} cannot take over, and the one before, {playing}, goes on: {problem}")
        );
        self.obj().notify("avatar");
    }

    /// Lets no avatar take over any more that has been asked for so far.
    pub(super) fn forget_next(&self) {
        let next = {
            let mut avatars = lock(&self.avatars);
            avatars.requests += 1;
            avatars.loading.cancel();
            avatars.next.take()
        };
        drop(next);
    }

    /// Goes over to an avatar that has been loaded meanwhile, if downstream takes its video.
    pub(super) fn adopt_next_avatar(&self) -> Result<(), Stop> {
        let Some((number, Ready { loaded, listener })) = lock(&self.avatars).next.take() else {
            return Ok(());
        };
        let Some(format) = self.find_format(&loaded) else {
            let (width, height) = loaded.avatar.image.size;
            let wanted = self.srcpad.peer_query_caps(None);
            self.refuse(
                number,
                &loaded.settings.avatar,
                &format!(
                    "downstream takes none of its {width} x {height} video, but {wanted}. Put videoconvert ! videoscale behind lipsyncsrc, or take an avatar of the size of the one before"
                ),
            );
            return Ok(());
        };
        gst::info!(CAT, imp = self, "going over to {loaded}");
        let old = {
            let mut stage = lock(&self.stage);
            let stage = stage.as_mut().ok_or(gst::FlowError::Flushing)?;
            stage.live.replace(listener)?;
            stage.shown = 0;
            stage.held = None;
            let old = std::mem::replace(&mut stage.loaded, loaded.clone());
            self.use_format(stage, format)?;
            old
        };
        let before = {
            let mut avatars = lock(&self.avatars);
            // Else the next one is on its way, and this is what it would be refused in favour of.
            let last = avatars.requests == number;
            avatars.accepted = (!last).then(|| loaded.settings.avatar.clone());
            avatars.playing.replace(loaded)
        };
        drop((old, before));
        // Whoever stops interrupts what plays, which was another until now.
        if self.pacer.is_stopped() { Err(gst::FlowError::Flushing.into()) } else { Ok(()) }
    }

    /// The format in which downstream takes an avatar's video. Asks downstream, so no lock may be held.
    fn find_format(&self, loaded: &Loaded) -> Option<VideoInfo> {
        let format = video_output::negotiate(&self.srcpad, &loaded.avatar).ok()?;
        let caps = format.to_caps().ok()?;
        // Some elements answer a query for what they could take with more than they take now.
        (self.srcpad.peer().is_none() || self.srcpad.peer_query_accept_caps(&caps)).then_some(format)
    }

    /// Agrees with downstream on the format, where that is to be done.
    pub(super) fn negotiate(&self) -> Result<(), Stop> {
        self.negotiating.store(true, Ordering::SeqCst);
        let agreed = self.renegotiate();
        self.negotiating.store(false, Ordering::SeqCst);
        agreed
    }

    fn renegotiate(&self) -> Result<(), Stop> {
        let reconfigure = self.srcpad.check_reconfigure();
        let avatar = {
            let stage = lock(&self.stage);
            let stage = stage.as_ref().ok_or(gst::FlowError::Flushing)?;
            if stage.frames.is_some() && !reconfigure {
                return Ok(());
            }
            stage.loaded.avatar.clone()
        };
        let format = video_output::negotiate(&self.srcpad, &avatar)?;
        let mut stage = lock(&self.stage);
        let stage = stage.as_mut().ok_or(gst::FlowError::Flushing)?;
        self.use_format(stage, format)
    }

    /// From the next frame on the video of the avatar on stage has that format.
    fn use_format(&self, stage: &mut Stage, format: VideoInfo) -> Result<(), Stop> {
        let rate = FrameRate::new(format.fps().numer() as u32, format.fps().denom() as u32)
            .ok_or(gst::FlowError::NotNegotiated)?;
        let Loaded { settings, avatar, painter, .. } = &stage.loaded;
        let canvas =
            Canvas { format: video_output::pixel_format(&format), background: settings.background() };
        let frames =
            FrameStore::shared(avatar, settings.engine(), canvas, painter.framing(), settings.cache_bytes());
        if rate != stage.live.rate() {
            stage.next = rate.frames_covering(stage.live.rate().time_of(stage.next));
            stage.discont = true;
            stage.live.set_rate(rate)?;
        }
        let old: Option<Arc<FrameStore>> = stage.frames.replace(frames);
        drop(old);
        if stage.format.as_ref() != Some(&format) {
            stage.format = Some(format.clone());
            self.hand_over(stage, VideoItem::Format(format), rate);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_while_loading_is_an_error() {
        let error = guarded::<()>(|| panic!("index out of bounds")).unwrap_err().to_string();
        assert!(error.contains("loading it panicked: index out of bounds"), "{error}");
    }
}
