// SPDX-License-Identifier: MPL-2.0
//! A session: one avatar, what it says, who watches, and what is recorded of it. All of it blocks; nothing here knows HTTP.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use gst::prelude::*;
use lipsync_core::avatar::Avatar;
use lipsync_core::sync::lock;
use serde_json::{Value, json};
use tempfile::TempPath;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::events::Events;
use super::failure::{Failure, Outcome};
use super::options::Serve;
use super::peer::{Connection, IceServers, Peer, SILENCE};
use super::presenter::Presenter;
use super::push::Push;
use super::recording::Recording;
use super::sound;
use super::utterances::{Utterance, Utterances};
use crate::speech;

/// States that can be asked for.
pub const STATES: [&str; 5] = ["auto", "idle", "listening", "thinking", "speaking"];

/// How often it is looked whether there is room for more sound.
pub const LOOK: Duration = Duration::from_millis(100);

/// Files of sound of a session that may be on their way at a time.
const UPLOADS: usize = 8;

/// A session. It ends when it is closed, or dropped.
pub struct Session {
    pub id: String,
    pub events: Events,
    /// Requests that say something take turns, in the order in which they came.
    pub turn: Arc<tokio::sync::Mutex<()>>,
    /// Places of files of sound that are sent, or wait for their turn.
    pub uploads: Arc<Semaphore>,
    options: Serve,
    runtime: Handle,
    presenter: Presenter,
    avatar: Mutex<Shown>,
    utterances: Mutex<Utterances>,
    viewers: Mutex<HashMap<String, Viewer>>,
    recording: Mutex<Recorded>,
    push: Mutex<Option<Push>>,
    /// Held while a push begins: a server may take its time, and the state of a session can be asked for meanwhile.
    pushing: Mutex<()>,
    last_used: Mutex<Instant>,
    failure: Mutex<Option<String>>,
    closed: AtomicBool,
}

/// The avatar that is shown, and the one that is being loaded in its place.
struct Shown {
    name: String,
    avatar: Avatar,
    next: Option<(String, Avatar)>,
}

struct Viewer {
    peer: Arc<Peer>,
    connected: bool,
}

#[derive(Default)]
struct Recorded {
    running: Option<Recording>,
    /// The last one that was finished.
    file: Option<Arc<TempPath>>,
}

impl Session {
    /// Starts a session. It must be called from a thread of the runtime.
    ///
    /// # Errors
    /// Where the avatar cannot be played.
    pub fn start(id: String, name: String, avatar: Avatar, options: &Serve) -> Outcome<Arc<Self>> {
        let presenter = Presenter::start(&avatar.folder, options)?;
        let session = Arc::new(Self {
            id,
            events: Events::default(),
            turn: Arc::default(),
            uploads: Arc::new(Semaphore::new(UPLOADS)),
            options: options.clone(),
            runtime: Handle::current(),
            presenter,
            avatar: Mutex::new(Shown { name, avatar, next: None }),
            utterances: Mutex::default(),
            viewers: Mutex::default(),
            recording: Mutex::default(),
            push: Mutex::default(),
            pushing: Mutex::default(),
            last_used: Mutex::new(Instant::now()),
            failure: Mutex::default(),
            closed: AtomicBool::new(false),
        });
        session.listen();
        Ok(session)
    }

    /// Tells what the elements tell.
    fn listen(self: &Arc<Self>) {
        let Some(bus) = self.presenter.bus() else { return };
        let session = Arc::downgrade(self);
        let (sender, mut messages) = tokio::sync::mpsc::unbounded_channel();
        // Whoever posts may hold what is needed to tell it: an interruption posts messages while nothing else may be said.
        bus.set_sync_handler(move |_, message| {
            let _ = sender.send(message.clone());
            gst::BusSyncReply::Drop
        });
        self.runtime.spawn(async move {
            while let Some(message) = messages.recv().await {
                match session.upgrade() {
                    Some(session) => session.tell(&message),
                    None => break,
                }
            }
        });
    }

    fn tell(&self, message: &gst::Message) {
        match message.view() {
            gst::MessageView::Element(message) => {
                if let Some(structure) = message.structure() {
                    self.tell_element(structure);
                }
            }
            gst::MessageView::Warning(warning) => {
                self.forget_next();
                self.events.send("warning", json!({ "message": warning.error().message() }));
            }
            gst::MessageView::Error(error) => {
                let sentence = error.error().message().to_string();
                self.events.send("error", json!({ "message": sentence }));
                lock(&self.failure).get_or_insert(sentence);
            }
            _ => {}
        }
    }

    fn tell_element(&self, structure: &gst::StructureRef) {
        let id = structure.get::<&str>("id").unwrap_or_default();
        match structure.name().as_str() {
            "lipsync-speech-start" => self.events.send("speech-start", json!({})),
            "lipsync-speech-end" => self.events.send("speech-end", played(structure)),
            "lipsync-utterance-start" => {
                let reply = lock(&self.utterances).heard(id).map(|time| time.as_millis() as u64);
                self.events.send("utterance-start", json!({ "id": id, "reply_ms": reply }));
            }
            "lipsync-utterance-end" => {
                let mut data = played(structure);
                data["id"] = id.into();
                self.events.send("utterance-end", data);
            }
            "lipsync-drained" => self.events.send("drained", json!({})),
            "lipsync-avatar-changed" => {
                let mut shown = lock(&self.avatar);
                if let Some((name, avatar)) = shown.next.take() {
                    *shown = Shown { name, avatar, next: None };
                }
                let data = json!({ "avatar": shown.name });
                drop(shown);
                self.events.send("avatar-changed", data);
            }
            _ => {}
        }
    }

    /// Where the next avatar cannot be shown, the element sets its property back.
    fn forget_next(&self) {
        let mut shown = lock(&self.avatar);
        let wanted = self.presenter.face().property::<Option<String>>("avatar").unwrap_or_default();
        shown.next = shown.next.take().filter(|(_, next)| next.folder.as_os_str() == wanted.as_str());
    }

    /// Notes that somebody uses it.
    pub fn touch(&self) {
        *lock(&self.last_used) = Instant::now();
    }

    /// Why it has ended by itself, or should be ended: because it failed, or because nobody needs it.
    pub fn is_over(&self) -> Option<String> {
        if let Some(failure) = &*lock(&self.failure) {
            return Some(failure.clone());
        }
        let is_used = !lock(&self.viewers).is_empty()
            || lock(&self.push).is_some()
            || lock(&self.recording).running.is_some()
            || self.presenter.backlog() > 0;
        if is_used {
            self.touch();
        }
        let idle = lock(&self.last_used).elapsed();
        (idle > Duration::from_secs(self.options.idle.into()))
            .then(|| format!("nobody has used it for {} s", self.options.idle))
    }

    /// Looks after what takes care of itself: viewers who never came, recordings that are long enough.
    pub fn tidy(&self) {
        let is_gone = |viewer: &Viewer| viewer.peer.silence() > SILENCE;
        let viewers = lock(&self.viewers);
        let gone: Vec<String> =
            viewers.iter().filter(|(_, viewer)| is_gone(viewer)).map(|(id, _)| id.clone()).collect();
        drop(viewers);
        for id in gone {
            let _ = self.remove_viewer(&id);
        }
        let (is_full, failure) = match &lock(&self.recording).running {
            Some(running) => {
                let limit = Duration::from_secs(self.options.max_recording.into());
                (running.length() >= limit, running.failure())
            }
            None => (false, None),
        };
        if is_full || failure.is_some() {
            let _ = self.stop_recording();
            let why = failure.unwrap_or_else(|| format!("it is {} s long", self.options.max_recording));
            self.events.send("warning", json!({ "message": format!("the recording was ended: {why}") }));
        }
        if lock(&self.push).as_ref().is_some_and(Push::is_lost) {
            let lost = lock(&self.push).take();
            drop(lost);
            self.events.send("warning", json!({ "message": "the server that it was sent to is gone" }));
            self.changed();
        }
    }

    /// Ends everything; later calls do nothing.
    pub fn close(&self, why: &str) {
        if self.closed.swap(true, Ordering::SeqCst) {
            return;
        }
        self.events.send("end", json!({ "reason": why }));
        let viewers = std::mem::take(&mut *lock(&self.viewers));
        let push = lock(&self.push).take();
        let recording = std::mem::take(&mut *lock(&self.recording));
        drop((viewers, push, recording));
        if let Some(bus) = self.presenter.bus() {
            bus.unset_sync_handler();
        }
        self.presenter.stop();
    }

    /// The present state of it.
    pub fn status(&self) -> Value {
        let face = self.presenter.face();
        let speaking: bool = face.property("speaking");
        let asked = face.property_value("state");
        let asked = gst::glib::EnumValue::from_value(&asked).map_or("auto", |(_, value)| value.nick());
        let (shown, next) = {
            let shown = lock(&self.avatar);
            (shown.name.clone(), shown.next.as_ref().map(|(name, _)| name.clone()))
        };
        let state = match asked {
            "auto" if speaking => "speaking",
            "auto" => "idle",
            asked => asked,
        };
        json!({
            "id": self.id,
            "avatar": shown,
            "next_avatar": next,
            "state": state,
            "asked_state": asked,
            "speaking": speaking,
            "clip": face.property::<Option<String>>("clip").unwrap_or_default(),
            "backlog_ms": self.presenter.backlog() / 1_000_000,
            "latency_ms": self.presenter.latency().map(gst::ClockTime::mseconds),
            "viewers": lock(&self.viewers).values().filter(|viewer| viewer.connected).count(),
            "recording": lock(&self.recording).running.is_some(),
            "recorded": lock(&self.recording).file.is_some(),
            "pushing": lock(&self.push).as_ref().map(|push| push.url().to_string()),
        })
    }

    /// Tells all that something of [`Self::status`] has changed, and lets the encoder work if somebody watches.
    fn changed(&self) {
        let watched = !lock(&self.viewers).is_empty()
            || lock(&self.recording).running.is_some()
            || lock(&self.push).is_some();
        self.presenter.encode(watched);
        self.events.send("status", self.status());
    }

    // ---- What is said ----

    /// Something to be said, which [`Self::push`] is given the sound of.
    pub fn ask(&self) -> Utterance {
        self.touch();
        lock(&self.utterances).ask()
    }

    /// Says a part of an utterance; after the last one, nothing waits for more.
    ///
    /// # Errors
    /// 409 where it was interrupted, 429 where too much waits already.
    pub fn push(&self, utterance: &mut Utterance, sound: Vec<u8>, is_last: bool) -> Outcome<()> {
        let utterances = lock(&self.utterances);
        if !utterances.is_wanted(utterance) {
            return Err(interrupted());
        }
        let waiting = self.waiting() + sound::seconds(sound.len());
        let max = self.options.max_sound;
        if waiting > f64::from(max) {
            if utterance.has_begun() {
                self.presenter.mark("end", &utterance.id);
            }
            return Err(Failure::limit(format!(
                "{waiting:.0} s of sound would wait to be spoken, and {max} s may. Wait, interrupt, or start with a larger \
                 --max-sound"
            )));
        }
        if !sound.is_empty() && utterance.begins() {
            self.presenter.mark("start", &utterance.id);
        }
        if !sound.is_empty() {
            self.presenter.push(sound)?;
        }
        if is_last && utterance.has_begun() {
            self.presenter.mark("end", &utterance.id);
        }
        Ok(())
    }

    /// Whether it is still to be said.
    pub fn is_wanted(&self, utterance: &Utterance) -> bool {
        lock(&self.utterances).is_wanted(utterance)
    }

    /// Seconds of sound that wait to be spoken.
    pub fn waiting(&self) -> f64 {
        self.presenter.backlog() as f64 / 1e9
    }

    /// Whether so many seconds more may wait; or whether it is in vain to wait for room, as all of it is free, or it has ended.
    pub fn has_room(&self, seconds: f64) -> bool {
        let waiting = self.waiting();
        waiting + seconds <= f64::from(self.options.max_sound) || waiting == 0.0 || self.is_closed()
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Says a part of a text.
    ///
    /// # Errors
    /// As [`Self::push`]; 422 where the text cannot be spoken.
    pub fn say(
        &self,
        utterance: &mut Utterance,
        text: &str,
        voice: Option<&str>,
        is_last: bool,
    ) -> Outcome<()> {
        if !self.is_wanted(utterance) {
            return Err(interrupted());
        }
        let file = speech::speak(text, voice).map_err(|error| Failure::unusable(format!("{error:#}")));
        let sound = file.and_then(|file| self.decode(utterance, &file));
        // Nothing more comes of it.
        let sound = sound.inspect_err(|_| drop(self.push(utterance, Vec::new(), true)))?;
        let seconds = sound::seconds(sound.len());
        // What follows of a text waits, as nobody is left who could be told to send it later.
        while utterance.has_begun() && self.is_wanted(utterance) && !self.has_room(seconds) {
            std::thread::sleep(LOOK);
        }
        self.push(utterance, sound, is_last)
    }

    /// Decodes a file, as long as it is wanted.
    ///
    /// # Errors
    /// As [`sound::decode`]; 409 where it was interrupted.
    pub fn decode(&self, utterance: &Utterance, file: &Path) -> Outcome<Vec<u8>> {
        let is_wanted = || !self.is_closed() && self.is_wanted(utterance);
        sound::decode(file, self.options.max_sound, is_wanted)?.ok_or_else(interrupted)
    }

    /// Stops speaking; tells what was played.
    pub fn interrupt(&self) -> Value {
        self.touch();
        let mut utterances = lock(&self.utterances);
        utterances.interrupt();
        let answer = self.presenter.interrupt();
        drop(utterances);
        let mut data = played(&answer);
        data["utterance"] = answer.get::<Option<&str>>("utterance").ok().flatten().into();
        self.events.send("interrupted", data.clone());
        data
    }

    // ---- What is shown ----

    /// Plays a clip once.
    ///
    /// # Errors
    /// Where the avatar has none of that name.
    pub fn play_clip(&self, name: &str) -> Outcome<()> {
        self.check_clip(name)?;
        self.presenter.face().emit_by_name::<()>("play-clip", &[&name]);
        Ok(())
    }

    /// Shows a clip until another is asked for; none where the name is empty.
    ///
    /// # Errors
    /// As [`Self::play_clip`].
    pub fn hold_clip(&self, name: &str) -> Outcome<()> {
        if !name.is_empty() {
            self.check_clip(name)?;
        }
        self.presenter.face().set_property("clip", name);
        self.changed();
        Ok(())
    }

    fn check_clip(&self, name: &str) -> Outcome<()> {
        let shown = lock(&self.avatar);
        if shown.avatar.clip(name).is_some() {
            return Ok(());
        }
        let names: Vec<&str> = shown.avatar.clips.iter().map(|clip| clip.name.as_str()).collect();
        let sentence = format!("{} has no clip {name:?}. It has {}", shown.name, names.join(", "));
        Err(Failure::missing(sentence))
    }

    /// Asks for one of [`STATES`].
    ///
    /// # Errors
    /// Where there is no such state.
    pub fn set_state(&self, name: &str) -> Outcome<()> {
        if !STATES.contains(&name) {
            let states = STATES.join(", ");
            return Err(Failure::bad(format!("there is no state {name:?}. There are {states}")));
        }
        self.presenter.face().set_property_from_str("state", name);
        self.changed();
        Ok(())
    }

    /// Shows another avatar, as soon as it is loaded.
    ///
    /// # Errors
    /// While it is recorded: the size of a film does not change.
    pub fn change_avatar(&self, name: String, avatar: Avatar) -> Outcome<()> {
        if lock(&self.recording).running.is_some() {
            return Err(Failure::conflict("it is being recorded. Stop the recording before another avatar"));
        }
        let mut shown = lock(&self.avatar);
        if shown.avatar.folder == avatar.folder && shown.next.is_none() {
            return Ok(());
        }
        self.presenter.face().set_property("clip", "");
        self.presenter.face().set_property("avatar", avatar.folder.to_string_lossy().as_ref());
        shown.next = Some((name, avatar));
        drop(shown);
        self.changed();
        Ok(())
    }

    // ---- Who watches ----

    /// Lets a viewer watch; returns the answer to the offer.
    ///
    /// # Errors
    /// Where there are too many, or the offer cannot be answered.
    pub fn add_viewer(self: &Arc<Self>, id: &str, ice: &IceServers, offer: &str) -> Outcome<String> {
        self.touch();
        let max = usize::from(self.options.max_viewers);
        let full = || Failure::limit(format!("{max} watch already. Start with a larger --max-viewers"));
        if lock(&self.viewers).len() >= max {
            return Err(full());
        }
        let notify = notifier(Arc::downgrade(self), id.to_string(), self.runtime.clone());
        self.presenter.encode(true);
        let (peer, answer) =
            Peer::answer(self.presenter.streams(), ice, offer, notify).inspect_err(|_| self.changed())?;
        let viewer = Viewer { peer: Arc::new(peer), connected: false };
        {
            // Others may have come meanwhile.
            let mut viewers = lock(&self.viewers);
            if viewers.len() >= max {
                return Err(full());
            }
            viewers.insert(id.into(), viewer);
        }
        if self.is_closed() {
            self.remove_viewer(id)?;
            return Err(Failure::missing("the session has ended. Make another"));
        }
        Ok(answer)
    }

    /// A viewer's connection.
    ///
    /// # Errors
    /// Where there is no such viewer.
    pub fn viewer(&self, id: &str) -> Outcome<Arc<Peer>> {
        lock(&self.viewers).get(id).map(|viewer| viewer.peer.clone()).ok_or_else(no_viewer)
    }

    /// Lets a viewer go.
    ///
    /// # Errors
    /// Where there is no such viewer.
    pub fn remove_viewer(&self, id: &str) -> Outcome<()> {
        let viewer = lock(&self.viewers).remove(id).ok_or_else(no_viewer)?;
        drop(viewer);
        self.touch();
        self.changed();
        Ok(())
    }

    fn connection_changed(&self, viewer: &str, connection: Connection) {
        match connection {
            Connection::Connected => {
                if let Some(viewer) = lock(&self.viewers).get_mut(viewer) {
                    viewer.connected = true;
                }
                self.changed();
            }
            Connection::Lost => {
                let _ = self.remove_viewer(viewer);
            }
        }
    }

    // ---- Where else it goes ----

    /// Begins a recording.
    ///
    /// # Errors
    /// Where one runs already, or no file can be written.
    pub fn start_recording(&self) -> Outcome<()> {
        self.touch();
        if lock(&self.avatar).next.is_some() {
            return Err(Failure::conflict("another avatar is being loaded. Record it in a moment"));
        }
        {
            let mut recorded = lock(&self.recording);
            if recorded.running.is_some() {
                return Err(Failure::conflict("it is being recorded already. Stop that recording first"));
            }
            recorded.running = Some(Recording::begin(self.presenter.streams())?);
            recorded.file = None;
        }
        self.changed();
        Ok(())
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// Where none runs, or its file cannot be written.
    pub fn stop_recording(&self) -> Outcome<()> {
        self.touch();
        let running = lock(&self.recording).running.take();
        let running =
            running.ok_or_else(|| Failure::conflict("it is not being recorded. Start a recording first"))?;
        let file = running.finish();
        let file = file.inspect_err(|_| self.changed())?;
        lock(&self.recording).file = Some(Arc::new(file));
        self.changed();
        Ok(())
    }

    /// The last recording.
    ///
    /// # Errors
    /// Where there is none.
    pub fn recorded(&self) -> Outcome<Arc<TempPath>> {
        self.touch();
        lock(&self.recording)
            .file
            .clone()
            .ok_or_else(|| Failure::missing("nothing is recorded. Start and stop a recording first"))
    }

    /// Sends it to a media server by WHIP.
    ///
    /// # Errors
    /// Where it is sent already, or the server does not take it.
    pub fn start_push(&self, ice: &IceServers, url: &str, token: Option<&str>) -> Outcome<()> {
        self.touch();
        let begins = self.pushing.try_lock();
        if begins.is_err() || lock(&self.push).is_some() {
            return Err(Failure::conflict("it is sent to a server already. End that first (DELETE)"));
        }
        self.presenter.encode(true);
        let push = Push::begin(self.presenter.streams(), ice, url, token).inspect_err(|_| self.changed())?;
        *lock(&self.push) = Some(push);
        if self.is_closed() {
            let late = lock(&self.push).take();
            drop(late);
            return Err(Failure::missing("the session has ended meanwhile"));
        }
        self.changed();
        Ok(())
    }

    /// Ends [`Self::start_push`].
    ///
    /// # Errors
    /// Where it is not sent anywhere.
    pub fn stop_push(&self) -> Outcome<()> {
        self.touch();
        let push = lock(&self.push).take();
        drop(push.ok_or_else(|| Failure::conflict("it is not sent to a server"))?);
        self.changed();
        Ok(())
    }
}

/// What is called when a viewer's connection changes, from within webrtcbin, which must not be stopped there.
fn notifier(
    session: Weak<Session>,
    viewer: String,
    runtime: Handle,
) -> impl Fn(Connection) + Send + Sync + 'static {
    move |connection| {
        let (session, viewer) = (session.clone(), viewer.clone());
        runtime.spawn_blocking(move || {
            if let Some(session) = session.upgrade() {
                session.connection_changed(&viewer, connection);
            }
        });
    }
}

fn no_viewer() -> Failure {
    Failure::missing("there is no such viewer: it has left")
}

fn interrupted() -> Failure {
    Failure::conflict("it was interrupted before it was spoken")
}

/// What a message tells about what was played.
fn played(structure: &gst::StructureRef) -> Value {
    let mut data = json!({});
    if let Ok(reason) = structure.get::<&str>("reason") {
        data["reason"] = reason.into();
    }
    if let Ok(samples) = structure.get::<u64>("samples") {
        data["samples"] = samples.into();
    }
    if let Ok(rate) = structure.get::<i32>("rate") {
        data["rate"] = rate.into();
    }
    if let Ok(duration) = structure.get::<u64>("duration") {
        data["duration_ms"] = (duration as f64 / 1e6).into();
    }
    data
}
