// SPDX-License-Identifier: MPL-2.0
//! Which avatar plays: how one is loaded, and how another takes over while the first plays on.
//!
//! An avatar that is set while the element plays is loaded by a thread of its own, which has a frame of it painted as downstream
//! takes it. Then the scheduler takes it over between two frames. If it cannot be loaded, painted or shown, a warning says so,
//! the one before goes on, and the property `avatar` names that one again. If the element stops before either has happened, it
//! starts with the one before next time, which is known to be right, and asks for the other again.

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_video::VideoInfo;
use lipsync_core::error::{Error, caught};
use lipsync_core::inference::cancellation::{self, Canceller};
use lipsync_core::inference::network::Interrupter;
use lipsync_core::limits::AVATAR_MEMORY;
use lipsync_core::render::listener::Listener;

use super::formats::{frame_rate, frames_in};
use super::ready::Ready;
use super::render_state::RenderState;
use super::state::LipsyncSrc;
use crate::CAT;
use crate::clips::Director;
use crate::loaded::{Loaded, library_dir};
use crate::loading::Loading;
use crate::messages::Stop;
use crate::settings::Settings;

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

impl LipsyncSrc {
    /// Opens the avatar, if that has not been done with the same settings. What takes long is waited for by
    /// [`Self::wait_for_avatar`].
    pub fn load(&self) -> Result<(), Error> {
        let mut settings = self.settings().common.clone();
        let starting = {
            let avatars = &self.state().avatars;
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
                let library_dir = library_dir(&*self.obj());
                let open = |settings, canceller: &_| Ready::open(settings, library_dir, canceller);
                let starting = Loading::start(&*self.obj(), settings, open)?;
                self.state().avatars.starting = Some(starting.clone());
                starting.wait_a_moment()
            }
        };
        ready.map_or(Ok(()), |ready| self.take_ready(ready))
    }

    fn take_ready(&self, ready: Result<Ready, Error>) -> Result<(), Error> {
        let starting = self.state().avatars.starting.take();
        drop(starting);
        let ready = ready?;
        gst::info!(CAT, imp = self, "{}", ready.loaded);
        let old = self.state().avatars.ready.replace(ready);
        drop(old);
        Ok(())
    }

    /// Gives back the avatar that was to be started with, and calls it off where it is not there yet.
    pub fn unload(&self) {
        let (ready, starting) = {
            let avatars = &mut self.state().avatars;
            (avatars.ready.take(), avatars.starting.take())
        };
        if let Some(starting) = starting {
            starting.call_off();
        }
        drop(ready);
    }

    /// Waits for an avatar to start with that takes long to load, unless the element stops or the stream ends meanwhile.
    pub fn wait_for_avatar(&self) -> Result<Option<Ready>, Error> {
        let starting = self.state().avatars.starting.clone();
        let ready =
            starting.and_then(|starting| starting.wait_long(|| self.is_stopped() || self.has_ended()));
        ready.map_or(Ok(()), |ready| self.take_ready(ready))?;
        Ok(self.state().avatars.ready.take())
    }

    /// Starts with an avatar.
    pub fn start_with(&self, ready: Ready) -> Result<(), Error> {
        let level = self.state().started.silence_level;
        let render = RenderState::new(ready, self.first_sound_format(), level)?;
        if let Some(encoder) = &render.loaded.encoder {
            encoder.rearm();
        }
        let before = {
            let mut state = self.state();
            state.timing = Some(render.timing());
            state.set_playing(render.loaded.clone())
        };
        drop(before);
        *self.render_state() = Some(render);
        Ok(())
    }

    /// Interrupts what paints and hears for the avatar that plays.
    pub fn interrupt_networks(&self) {
        let playing = self.state().avatars.playing.clone();
        if let Some(playing) = playing {
            playing.painter.interrupt();
            playing.encoder.iter().for_each(Interrupter::interrupt);
        }
    }

    /// Gives back the avatar that plays, and lets none take over.
    pub fn give_back_avatar(&self) {
        self.forget_next();
        let render = self.render_state().take();
        let playing = self.state().avatars.playing.take();
        drop((render, playing));
    }

    /// Takes note that the property `avatar` has been set.
    pub fn avatar_set(&self) {
        {
            let avatars = &mut self.state().avatars;
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
    pub fn load_pending(&self) {
        let wanted = self.settings().common.avatar.clone();
        let playing = self.state().avatars.playing.as_ref().map(|playing| playing.settings.avatar.clone());
        if playing.is_some_and(|playing| playing != wanted) {
            self.avatar_set();
        }
    }

    /// Loads another avatar while this one plays, with the settings of the start.
    fn load_next(&self) {
        let name = self.settings().common.avatar.clone();
        let (number, settings, canceller, before) = {
            let avatars = &mut self.state().avatars;
            let Some(playing) = &avatars.playing else { return };
            let settings = Settings { avatar: name.clone(), ..playing.settings.clone() };
            avatars.requests += 1;
            let before = std::mem::take(&mut avatars.loading);
            (avatars.requests, settings, avatars.loading.clone(), before)
        };
        before.cancel();
        let element = self.obj().downgrade();
        let load = move || {
            let Some(element) = element.upgrade() else { return };
            let this = element.imp();
            let ready = caught(|| this.open_and_try_out(settings, &canceller)).flatten();
            match ready {
                Ok(ready) => this.offer_next(number, ready),
                Err(problem) => this.refuse(number, &name, &problem),
            }
        };
        // Also for the thread: where that gets no memory, it does not even begin.
        let started = check_memory().and_then(|()| {
            let thread = std::thread::Builder::new().name("lipsync-load".into()).spawn(load);
            thread.map_err(|error| format!("no thread could be started: {error}"))
        });
        if let Err(problem) = started {
            let name = self.settings().common.avatar.clone();
            self.refuse(number, &name, &problem);
        }
    }

    /// Lets an avatar take over that has been loaded, unless another has been asked for meanwhile.
    fn offer_next(&self, number: u64, ready: Ready) {
        let not_wanted = {
            let avatars = &mut self.state().avatars;
            if avatars.requests == number {
                avatars.next.replace((number, ready))
            } else {
                Some((number, ready))
            }
        };
        drop(not_wanted);
    }

    /// Opens an avatar and has a frame painted as it will be shown: on air is not the place to find out that it cannot be.
    fn open_and_try_out(&self, settings: Settings, canceller: &Canceller) -> Result<Ready, String> {
        #[cfg(test)]
        assert_ne!(settings.avatar, tests::PANICS, "as asked for");
        let mut ready =
            Ready::open(settings, library_dir(&*self.obj()), canceller).map_err(|error| error.to_string())?;
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
        let playing = {
            let avatars = &mut self.state().avatars;
            // Where another has been asked for meanwhile, the property is about that one.
            let last = avatars.requests == number;
            last.then(|| avatars.accepted.take()).flatten()
        };
        let Some(playing) = playing else { return };
        {
            let settings = &mut self.settings().common;
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
    fn forget_next(&self) {
        let (next, loading) = {
            let avatars = &mut self.state().avatars;
            avatars.requests += 1;
            (avatars.next.take(), avatars.loading.clone())
        };
        loading.cancel();
        drop(next);
    }

    /// Goes over to an avatar that has been loaded meanwhile, if downstream takes its video.
    pub fn adopt_next_avatar(&self) -> Result<(), Stop> {
        let next = self.state().avatars.next.take();
        let Some((number, Ready { loaded, listener, tried })) = next else { return Ok(()) };
        let name = &loaded.settings.avatar;
        // Downstream may want something else by now.
        let Some(format) = self.find_format(&loaded) else {
            self.refuse(number, name, &self.not_taken(&loaded));
            return Ok(());
        };
        gst::info!(CAT, imp = self, "going over to {loaded}");
        let taken_over = {
            let mut render = self.render_state();
            let render = render.as_mut().ok_or(gst::FlowError::Flushing)?;
            let taken_over = self.take_over(render, loaded.clone(), listener, format);
            if taken_over.is_ok() {
                let time = render.live.rate().time_of(render.next);
                self.state().ledger.change_avatar(name.clone(), time);
            }
            taken_over
        };
        let old = match taken_over {
            Ok(old) => old,
            Err(problem) => {
                self.refuse(number, name, &problem);
                return Ok(());
            }
        };
        let before = {
            let mut state = self.state();
            // Else the next one is on its way, and this is what it would be refused in favour of.
            let last = state.avatars.requests == number;
            state.avatars.accepted = (!last).then(|| loaded.settings.avatar.clone());
            state.set_playing(loaded)
        };
        drop((old, before, tried));
        // Whoever stops interrupts what plays, which was another until now.
        if self.is_stopped() { Err(gst::FlowError::Flushing.into()) } else { Ok(()) }
    }

    /// Goes over to another avatar in video of that format, and returns the one before; or what is wrong, where nothing has changed.
    fn take_over(
        &self,
        render: &mut RenderState,
        loaded: Loaded,
        listener: Listener,
        format: VideoInfo,
    ) -> Result<Loaded, String> {
        let rate = frame_rate(&format).ok_or("its video has no frame rate")?;
        let before = render.live.rate();
        // Nothing that follows can fail.
        render.live.replace(listener, rate).map_err(|error| error.to_string())?;
        render.shown = 0;
        render.director = Director::new(loaded.avatar.clone());
        render.held = None;
        // The same folder may hold other files.
        render.frames = None;
        let old = std::mem::replace(&mut render.loaded, loaded);
        self.go_on_in(render, before, format);
        Ok(old)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::{Duration, Instant};

    use lipsync_core::rate::FrameRate;

    use super::super::LipsyncSrc as Element;
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

    /// The folder of an avatar for tests.
    fn avatar(name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fixtures/avatars").join(name);
        path.to_str().unwrap().to_string()
    }

    #[test]
    fn an_avatar_that_cannot_be_shown_is_refused_and_nothing_has_changed() {
        gst::init().unwrap();
        crate::plugin_register_static().unwrap();
        let element = gst::ElementFactory::make("lipsyncsrc").property("avatar", avatar("own_160"));
        let element = element.property("n-threads", 1u32).build().unwrap().downcast::<Element>().unwrap();
        let this = element.imp();
        let open = |name: &str| {
            let settings = Settings { avatar: avatar(name), ..this.settings().common.clone() };
            Ready::open(settings, library_dir(&element), &Canceller::default()).unwrap()
        };
        this.start_with(open("own_160")).unwrap();
        let format = |rate| {
            gst_video::VideoInfo::builder(gst_video::VideoFormat::Rgb, 480, 360)
                .fps(gst::Fraction::new(rate, 1))
                .build()
                .unwrap()
        };
        let mut render = this.render_state();
        let render = render.as_mut().unwrap();
        (render.next, render.shown) = (10, 10);

        let Ready { loaded, listener, .. } = open("own");
        let problem = this.take_over(render, loaded, listener, format(0)).err().unwrap();
        assert!(problem.contains("frame rate"), "{problem}");
        assert_eq!((render.next, render.shown, render.live.rate()), (10, 10, FrameRate::NATIVE));
        assert_eq!(render.loaded.settings.avatar, avatar("own_160"));

        let Ready { loaded, listener, .. } = open("own");
        let old = this.take_over(render, loaded, listener, format(50)).unwrap();
        assert_eq!(old.settings.avatar, avatar("own_160"));
        assert_eq!(render.loaded.settings.avatar, avatar("own"));
        assert_eq!((render.next, render.shown, render.live.rate().num()), (20, 0, 50));
        assert!(render.discont && render.frames.is_some() && render.format == Some(format(50)));
    }

    #[test]
    fn a_panic_while_loading_is_told_and_the_next_avatar_takes_over() {
        gst::init().unwrap();
        crate::plugin_register_static().unwrap();
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
