// SPDX-License-Identifier: MPL-2.0
//! Loads in the background, so that a slow or endless load never blocks a change of state.
//!
//! GStreamer lets a change of state wait for the one before. So a change of state waits for an avatar for no more than
//! [`MOMENT`]; nearly all are there by then. Otherwise it goes on without the avatar, tells the application so by a
//! message of type PROGRESS, as other elements do that open something slow, and whoever needs the avatar waits for it: the streaming thread
//! of `lipsync`, the scheduler of `lipsyncsrc`.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use gst::glib;
use gst::prelude::*;
use lipsync_core::error::{Error, Result, caught};
use lipsync_core::inference::cancellation::Canceller;
use lipsync_core::sync::wait_timeout_while;

use super::lock;
use super::settings::Settings;

/// How long a change of state waits.
const MOMENT: Duration = Duration::from_secs(1);

/// How often those who wait look whether they still have to.
const LOOK: Duration = Duration::from_millis(50);

/// An avatar that is being loaded for an element, with what else that makes of it.
pub struct Loading<T> {
    element: glib::WeakRef<gst::Element>,
    /// What it is loaded with.
    pub settings: Settings,
    canceller: Canceller,
    shared: Arc<Shared<T>>,
    /// The application has been told that it takes long, and not yet that it is over.
    told: AtomicBool,
}

struct Shared<T> {
    result: Mutex<Option<Result<T>>>,
    there: Condvar,
}

impl<T: Send + 'static> Loading<T> {
    /// Begins to load in a thread of its own.
    ///
    /// # Errors
    /// [`Error::System`] where no thread can be started.
    pub fn start(
        element: &impl IsA<gst::Element>,
        settings: Settings,
        open: impl FnOnce(Settings, &Canceller) -> Result<T> + Send + 'static,
    ) -> Result<Arc<Self>> {
        let shared = Arc::new(Shared { result: Mutex::default(), there: Condvar::new() });
        let canceller = Canceller::default();
        let element = element.upcast_ref().downgrade();
        let loading = Self { element, settings, canceller, shared, told: AtomicBool::default() };
        let (settings, canceller) = (loading.settings.clone(), loading.canceller.clone());
        let shared = loading.shared.clone();
        let load = move || {
            #[cfg(test)]
            tests::wait_at_gate(&settings.avatar);
            let result = caught(|| open(settings, &canceller));
            let result = result.unwrap_or_else(|panic| {
                Err(Error::system(format!("the avatar cannot be loaded: {panic}"), "Take another avatar"))
            });
            *lock(&shared.result) = Some(result);
            shared.there.notify_all();
        };
        let thread = std::thread::Builder::new().name("lipsync-load".into()).spawn(load);
        thread.map_err(Error::no_thread)?;
        Ok(Arc::new(loading))
    }

    /// What has been loaded, if it is there by `until`, and nobody gives up on it.
    fn wait(&self, until: Option<Instant>, given_up: impl Fn() -> bool) -> Option<Result<T>> {
        let mut result = lock(&self.shared.result);
        while result.is_none() && until.is_none_or(|until| Instant::now() < until) {
            drop(result);
            if given_up() {
                return None;
            }
            result = lock(&self.shared.result);
            result = wait_timeout_while(&self.shared.there, result, LOOK, |result| result.is_none()).0;
        }
        result.take()
    }

    /// What has been loaded, if that takes no more than a moment: for a change of state. Otherwise the application is told.
    pub fn wait_a_moment(&self) -> Option<Result<T>> {
        let result = self.wait(Some(Instant::now() + MOMENT), || false);
        if result.is_none() {
            self.told.store(true, Ordering::SeqCst);
            self.post(gst::ProgressType::Start, "Loading");
        }
        result
    }

    /// What has been loaded, if it is there.
    pub fn take(&self) -> Option<Result<T>> {
        lock(&self.shared.result).take().inspect(|result| self.tell_end(result))
    }

    /// Waits for it, unless that is given up: for a streaming thread.
    pub fn wait_long(&self, given_up: impl Fn() -> bool) -> Option<Result<T>> {
        self.wait(None, given_up).inspect(|result| self.tell_end(result))
    }

    fn tell_end(&self, result: &Result<T>) {
        match result {
            Ok(_) => self.post_end(gst::ProgressType::Complete, "Loaded"),
            Err(_) => self.post_end(gst::ProgressType::Error, "Cannot load"),
        }
    }

    fn post_end(&self, kind: gst::ProgressType, what: &str) {
        if self.told.swap(false, Ordering::SeqCst) {
            self.post(kind, what);
        }
    }

    fn post(&self, kind: gst::ProgressType, what: &str) {
        let Some(element) = self.element.upgrade() else { return };
        let text = format!("{what} the avatar {}", self.settings.avatar);
        let message = gst::message::Progress::builder(kind, "load", &text).src(&element).build();
        let _ = element.post_message(message);
    }

    /// Calls it off. Its thread comes to its end by itself.
    pub fn call_off(&self) {
        self.canceller.cancel();
        self.post_end(gst::ProgressType::Canceled, "Stopped loading");
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Once;
    use std::sync::mpsc::channel;

    use super::*;

    /// Avatars that are not loaded yet.
    static GATE: Mutex<Vec<String>> = Mutex::new(Vec::new());

    pub fn wait_at_gate(avatar: &String) {
        while lock(&GATE).contains(avatar) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn element() -> gst::Element {
        gst::init().unwrap();
        gst::Bin::new().upcast()
    }

    #[test]
    fn a_panic_while_loading_is_an_error() {
        let loading =
            Loading::<()>::start(&element(), Settings::default(), |_, _| panic!("index out of bounds"));
        let error = loading.unwrap().wait_long(|| false).unwrap().unwrap_err().to_string();
        assert!(error.contains("index out of bounds") && error.contains("cannot be loaded"), "{error}");
    }

    #[test]
    fn what_takes_long_is_waited_for_and_told() {
        let element = element();
        let bus = gst::Bus::new();
        element.set_bus(Some(&bus));
        let (begin, begins) = channel::<()>();
        let open = move |_, canceller: &Canceller| {
            begins.recv().unwrap();
            if canceller.is_cancelled() { Err(Error::Interrupted) } else { Ok(1) }
        };
        let loading = Loading::start(&element, Settings::default(), open).unwrap();
        assert!(loading.wait_a_moment().is_none() && loading.take().is_none());
        assert!(loading.wait_long(|| true).is_none());
        begin.send(()).unwrap();
        assert_eq!(loading.wait_long(|| false).unwrap().unwrap(), 1);
        loading.call_off();
        let told: Vec<_> = std::iter::from_fn(|| bus.pop_filtered(&[gst::MessageType::Progress]))
            .map(|message| {
                let gst::MessageView::Progress(progress) = message.view() else {
                    unreachable!("as asked for")
                };
                let (kind, code, text) = progress.get();
                (kind, code.to_string(), text.to_string())
            })
            .collect();
        let message = |kind, text: &str| (kind, "load".to_string(), format!("{text} the avatar iris"));
        let expected =
            [message(gst::ProgressType::Start, "Loading"), message(gst::ProgressType::Complete, "Loaded")];
        assert_eq!(told, expected);
    }

    #[test]
    fn what_is_called_off_hears_of_it() {
        let (hears, heard) = channel();
        let loading = Loading::<()>::start(&element(), Settings::default(), move |_, canceller| {
            while !canceller.is_cancelled() {
                std::thread::yield_now();
            }
            hears.send(()).unwrap();
            Err(Error::Interrupted)
        });
        loading.unwrap().call_off();
        heard.recv().unwrap();
    }

    /// Starts a pipeline with an avatar that takes long to load, and then is there, or is not. What comes of it: the
    /// frames at the sink `out`, and what was told.
    fn play(line: &str, avatar: &str) -> (Vec<gst::Buffer>, Vec<String>) {
        static REGISTERED: Once = Once::new();
        gst::init().unwrap();
        REGISTERED.call_once(|| crate::plugin_register_static().unwrap());
        let line = line.replace("AVATAR", avatar);
        let pipeline = gst::parse::launch(&line).unwrap().downcast::<gst::Pipeline>().unwrap();
        let out = pipeline.by_name("out").unwrap();
        let frames = Arc::new(Mutex::new(Vec::new()));
        let taken = frames.clone();
        let pad = out.static_pad("sink").unwrap();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            lock(&taken).extend(info.buffer().map(|buffer| buffer.copy_deep().unwrap()));
            gst::PadProbeReturn::Ok
        });
        lock(&GATE).push(avatar.to_string());
        pipeline.set_state(gst::State::Playing).unwrap();
        assert!(lock(&frames).is_empty());
        lock(&GATE).retain(|other| other != avatar);
        let bus = pipeline.bus().unwrap();
        let mut told = Vec::new();
        loop {
            let kinds = [gst::MessageType::Eos, gst::MessageType::Error, gst::MessageType::Progress];
            let message = bus.timed_pop_filtered(gst::ClockTime::from_seconds(60), &kinds);
            match message.expect("an end").view() {
                gst::MessageView::Eos(_) => break,
                gst::MessageView::Error(error) => {
                    told.push(error.error().to_string());
                    break;
                }
                gst::MessageView::Progress(progress) => told.push(format!("{:?}", progress.type_())),
                _ => unreachable!("as asked for"),
            }
        }
        pipeline.set_state(gst::State::Null).unwrap();
        let frames = lock(&frames).drain(..).collect();
        (frames, told)
    }

    const LINES: [&str; 2] = [
        "audiotestsrc num-buffers=10 samplesperbuffer=1600 ! audio/x-raw,rate=16000 ! lipsync avatar=AVATAR ! fakesink name=out",
        "lipsyncsrc num-buffers=20 avatar=AVATAR ! fakesink name=out",
    ];

    #[test]
    fn an_avatar_that_takes_long_is_played_when_it_is_there() {
        let avatar = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/fixtures/avatars/own_160");
        for (line, count) in LINES.iter().zip([25, 20]) {
            let (frames, told) = play(line, avatar.to_str().unwrap());
            assert_eq!(told, ["Start", "Complete"]);
            assert_eq!(frames.len(), count);
            assert!(frames.windows(2).all(|two| two[0].pts() < two[1].pts()));
        }
    }

    #[test]
    fn an_avatar_that_is_not_there_in_the_end_is_told_once() {
        for line in LINES {
            let (frames, told) = play(line, "/not/there");
            assert!(frames.is_empty());
            let [start, cannot, error] = &told[..] else { panic!("{told:?}") };
            assert_eq!([start, cannot], ["Start", "Error"]);
            assert!(error.contains("/not/there"), "{error}");
        }
    }
}
