//! Which avatar plays: how one is loaded, and how another takes over while the first plays on.
//!
//! An avatar that is set while the element plays is loaded by a thread of its own, which has a frame of it painted as downstream
//! takes it. Then the conductor takes it over between two frames; what cannot be loaded, painted or shown is told in a warning,
//! the one before goes on, and the property `avatar` names that one again. One that was asked for and neither taken over nor refused when the element
//! stops is asked for again when it starts: it starts with the one that is known to be right.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_video::VideoInfo;
use lipsync_core::avatar::frames::FrameStore;
use lipsync_core::error::{Error, caught};
use lipsync_core::inference::cancellation::{self, Canceller};
use lipsync_core::limits::AVATAR_MEMORY;
use lipsync_core::picture::formats::Canvas;
use lipsync_core::rate::FrameRate;
use lipsync_core::render::listener::Listener;

use super::conductor::{Stage, VideoItem};
use super::imp::LipsyncSrc;
use crate::loaded::{Loaded, plugin_folder};
use crate::loading::Loading;
use crate::messages::Stop;
use crate::settings::Settings;
use crate::{CAT, lock, video_output};

/// An avatar with all that is needed to go on with it.
pub struct Ready {
    pub loaded: Loaded,
    pub listener: Listener,
    /// The frames of which one has been painted, kept so that it need not be read once more.
    tried: Option<Arc<FrameStore>>,
}

impl Ready {
    fn open(settings: Settings, beside: Option<PathBuf>, canceller: &Canceller) -> Result<Self, Error> {
        let (loaded, listener) = Loaded::open(settings, beside, canceller)?;
        Ok(Self { loaded, listener, tried: None })
    }
}

/// The avatars that are there beside the one on stage.
#[derive(Default)]
pub struct Avatars {
    /// Kept from READY to the first frame.
    pub ready: Option<Ready>,
    /// What is to be ready, and is not yet.
    starting: Option<Arc<Loading<Ready>>>,
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

/// Whether there is memory for another avatar: where it ends in the midst of loading, so does the program.
fn check_memory() -> Result<(), String> {
    let mut memory = Vec::<u8>::new();
    let reserved = memory.try_reserve_exact(AVATAR_MEMORY);
    // Else it would not be asked for at all.
    std::hint::black_box(&memory);
    reserved.map_err(|_| {
        let megabytes = AVATAR_MEMORY >> 20;
        format!(
            "there is no memory for it, {megabytes} MB. End other programs, or raise the limit (ulimit -v)"
        )
    })
}

/// The frames of an avatar in a format.
fn frames_in(loaded: &Loaded, format: &VideoInfo) -> Arc<FrameStore> {
    let Loaded { settings, avatar, painter, .. } = loaded;
    let (engine, budget) = (settings.engine(), settings.cache_bytes());
    FrameStore::shared(avatar, engine, canvas_of(loaded, format), painter.framing(), budget)
}

fn canvas_of(loaded: &Loaded, format: &VideoInfo) -> Canvas {
    Canvas { format: video_output::pixel_format(format), background: loaded.settings.background() }
}

impl LipsyncSrc {
    /// Opens the avatar, if that has not been done with the same settings. What takes long is waited for by
    /// [`Self::wait_for_avatar`].
    pub(super) fn load(&self) -> Result<(), Error> {
        let mut settings = self.settings();
        let starting = {
            let avatars = lock(&self.avatars);
            if let Some(accepted) = &avatars.accepted {
                settings.avatar.clone_from(accepted);
            }
            if avatars.ready.as_ref().is_some_and(|ready| ready.loaded.settings.load_the_same(&settings)) {
                return Ok(());
            }
            avatars.starting.clone()
        };
        let ready = match starting.filter(|starting| starting.settings.load_the_same(&settings)) {
            Some(starting) => starting.take(),
            None => {
                self.unload();
                let beside = plugin_folder(&*self.obj());
                let open = |settings, canceller: &_| Ready::open(settings, beside, canceller);
                let starting = Loading::start(&*self.obj(), settings, open)?;
                lock(&self.avatars).starting = Some(starting.clone());
                starting.wait_a_moment()
            }
        };
        ready.map_or(Ok(()), |ready| self.take_ready(ready))
    }

    fn take_ready(&self, ready: Result<Ready, Error>) -> Result<(), Error> {
        let mut avatars = lock(&self.avatars);
        avatars.starting = None;
        let ready = ready?;
        gst::info!(CAT, imp = self, "{}", ready.loaded);
        avatars.ready = Some(ready);
        Ok(())
    }

    /// Gives back the avatar that was to be started with, and calls it off where it is not there yet.
    pub(super) fn unload(&self) {
        let (ready, starting) = {
            let mut avatars = lock(&self.avatars);
            (avatars.ready.take(), avatars.starting.take())
        };
        if let Some(starting) = starting {
            starting.call_off();
        }
        drop(ready);
    }

    /// Waits for an avatar to start with that takes long to load, unless the element stops or the stream ends meanwhile.
    pub(super) fn wait_for_avatar(&self) -> Result<Option<Ready>, Error> {
        let starting = lock(&self.avatars).starting.clone();
        let ready =
            starting.and_then(|starting| starting.wait_long(|| self.pacer.is_stopped() || self.has_ended()));
        ready.map_or(Ok(()), |ready| self.take_ready(ready))?;
        Ok(lock(&self.avatars).ready.take())
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

    /// Asks for an avatar that was asked for before the one that plays now was there.
    pub(super) fn load_pending(&self) {
        let wanted = self.settings().avatar;
        let is_pending =
            lock(&self.avatars).playing.as_ref().is_some_and(|playing| playing.settings.avatar != wanted);
        if is_pending {
            self.avatar_set();
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
            let ready = caught(|| imp.open_and_try_out(settings, &canceller)).flatten();
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
                Err(problem) => {
                    drop(avatars);
                    imp.refuse(number, &name, &problem);
                }
            }
        };
        // Also for the thread: where that gets no memory, it does not even begin.
        let started = check_memory().and_then(|()| {
            let thread = std::thread::Builder::new().name("lipsync-load".into()).spawn(load);
            thread.map_err(|error| format!("no thread could be started: {error}"))
        });
        if let Err(problem) = started {
            self.refuse(number, &self.settings().avatar, &problem);
        }
    }

    /// Opens an avatar and has a frame painted as it will be shown: on air is not the place to find out that it cannot be.
    fn open_and_try_out(&self, settings: Settings, canceller: &Canceller) -> Result<Ready, String> {
        #[cfg(test)]
        assert_ne!(settings.avatar, tests::PANICS, "as asked for");
        let mut ready = Ready::open(settings, plugin_folder(&*self.obj()), canceller)
            .map_err(|error| error.to_string())?;
        let format = self.find_format(&ready.loaded).ok_or_else(|| self.not_taken(&ready.loaded))?;
        let frames = frames_in(&ready.loaded, &format);
        let (painter, shown) = (ready.loaded.painter.clone(), frames.clone());
        let tried = cancellation::run(canceller, move || painter.try_out(&shown));
        tried.map_err(|error| error.to_string())?;
        ready.tried = Some(frames);
        Ok(ready)
    }

    /// Why downstream does not take an avatar's video.
    fn not_taken(&self, loaded: &Loaded) -> String {
        let (width, height) = loaded.avatar.image.size;
        let wanted = self.srcpad.peer_query_caps(None);
        format!(
            "downstream takes none of its {width} x {height} video, but {wanted}. Put videoconvert ! videoscale behind lipsyncsrc, or take an avatar of the size of the one before"
        )
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
        let Some((number, Ready { loaded, listener, tried })) = lock(&self.avatars).next.take() else {
            return Ok(());
        };
        let name = &loaded.settings.avatar;
        // Downstream may want something else by now.
        let Some(format) = self.find_format(&loaded) else {
            self.refuse(number, name, &self.not_taken(&loaded));
            return Ok(());
        };
        gst::info!(CAT, imp = self, "going over to {loaded}");
        let taken_over = {
            let mut stage = lock(&self.stage);
            let stage = stage.as_mut().ok_or(gst::FlowError::Flushing)?;
            match stage.live.replace(listener) {
                Ok(()) => {
                    stage.shown = 0;
                    stage.held = None;
                    // The same folder may hold other files.
                    stage.frames = None;
                    let old = std::mem::replace(&mut stage.loaded, loaded.clone());
                    self.use_format(stage, format)?;
                    Ok(old)
                }
                Err(error) => Err(error),
            }
        };
        let old = match taken_over {
            Ok(old) => old,
            Err(error) => {
                self.refuse(number, name, &error.to_string());
                return Ok(());
            }
        };
        let before = {
            let mut avatars = lock(&self.avatars);
            // Else the next one is on its way, and this is what it would be refused in favour of.
            let last = avatars.requests == number;
            avatars.accepted = (!last).then(|| loaded.settings.avatar.clone());
            avatars.playing.replace(loaded)
        };
        drop((old, before, tried));
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
        let canvas = canvas_of(&stage.loaded, &format);
        // Where they stay the same, what has been read of them stays, too: the files may be gone by now.
        let same = |frames: &Arc<FrameStore>| frames.shows(&stage.loaded.avatar, canvas);
        let frames = stage.frames.take().filter(same).unwrap_or_else(|| frames_in(&stage.loaded, &format));
        if rate != stage.live.rate() {
            stage.next = rate.frames_covering(stage.live.rate().time_of(stage.next));
            stage.discont = true;
            stage.live.set_rate(rate)?;
        }
        stage.frames = Some(frames);
        if stage.format.as_ref() != Some(&format) {
            stage.format = Some(format.clone());
            self.hand_over(stage, VideoItem::Format(format), rate);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::*;

    /// The name of an avatar with which loading panics.
    pub const PANICS: &str = "an avatar that panics";

    fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(60), "no {what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_panic_while_loading_is_told_and_the_next_avatar_takes_over() {
        gst::init().unwrap();
        crate::plugin_register_static().unwrap();
        let avatar = |name: &str| {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fixtures/avatars").join(name);
            path.to_str().unwrap().to_string()
        };
        let (small, large) = (avatar("own_160"), avatar("own"));
        let line = format!("lipsyncsrc name=ls n-threads=1 avatar={small} ! fakesink sync=false");
        let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
        let element = pipeline.by_name("ls").unwrap();
        let bus = pipeline.bus().unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        element.set_property("avatar", PANICS);
        let kinds = [gst::MessageType::Warning, gst::MessageType::Error];
        let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds).expect("a warning");
        let gst::MessageView::Warning(warning) = message.view() else { panic!("{message:?}") };
        let text = warning.error().to_string();
        assert!(text.contains(PANICS) && text.contains("goes on: a panic, "), "{text}");
        wait_for("old name", || element.property::<String>("avatar") == small);
        element.set_property("avatar", &large);
        let pad = element.static_pad("src").unwrap();
        let width = |caps: &gst::Caps| caps.structure(0)?.get::<i32>("width").ok();
        wait_for("other size", || pad.current_caps().as_ref().and_then(width) == Some(480));
        pipeline.set_state(gst::State::Null).unwrap();
        assert!(bus.pop_filtered(&[gst::MessageType::Error]).is_none());
    }
}
