//! * sink: raw audio of any format
//! * src: raw video of the avatar speaking it
//!
//! ```bash
//! gst-launch-1.0 playbin uri=file:///home/me/speech.mp3 flags=0x0b vis-plugin=lipsync
//! ```
//!
//! # Threads
//!
//! 1. Upstream's thread runs the sink pad ([`super::events`], [`super::stream`]): it hears the sound and asks the painter for frames.
//!    The audio encoder runs beside it ([`lipsync_core::inference::aside`]), so that it can leave at any time.
//! 2. The painter's workers paint them, several at a time.
//! 3. The source pad's task ([`super::output`]) takes frames and events from the queue in order, waits for the
//!    painter where it must, draws into downstream's buffers and pushes.
//!
//! The queue is bounded, so a slow sink slows the source down. What the networks need is loaded from NULL to READY, by a
//! thread of its own ([`crate::loading`]); where that takes long, upstream's thread waits for it.
//!
//! # Locks
//!
//! `stream` is held while upstream's thread is in the sink pad, which the pad serialises: nobody waits for it but
//! a change of state when that thread has gone. All others are held for a moment, one at a time, and never across
//! a push, a query, a run of a network or a message. To stop, first everybody is woken (queue, painter, encoder,
//! buffer pool), then the pads are deactivated.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use lipsync_core::error::Error;
use lipsync_core::rate::FrameRate;
use lipsync_core::render::listener::Listener;

use super::output::Item;
use super::stream::Stream;
use crate::loaded::{Loaded, Opened, plugin_folder};
use crate::loading::Loading;
use crate::messages::{Failure, Late, Stop, error_message, post_latency};
use crate::queue::Queue;
use crate::settings::{self, Settings};
use crate::stats::{self, Stats};
use crate::video_writer::VideoWriter;
use crate::{CAT, audio_input, lock, video_output};

/// The default of the property `qos`.
const QOS: bool = true;

/// The parts of the declared latency.
struct Latency {
    /// Nanoseconds of sound behind a frame that it waits for.
    lookahead: u64,
    frame_rate: FrameRate,
}

impl Latency {
    fn of(listener: &Listener, sample_rate: u32) -> Self {
        Self { lookahead: listener.lookahead(sample_rate), frame_rate: listener.rate() }
    }
}

/// Until there is a listener: the most that networks with a mel encoder hear.
impl Default for Latency {
    fn default() -> Self {
        Self { lookahead: lipsync_core::features::MAX_MEL_LOOKAHEAD, frame_rate: FrameRate::NATIVE }
    }
}

pub struct Lipsync {
    pub(super) sinkpad: gst::Pad,
    pub(super) srcpad: gst::Pad,
    settings: Mutex<Settings>,
    qos: AtomicBool,
    loaded: Mutex<Option<Loaded>>,
    /// What is not there yet.
    loading: Mutex<Option<Arc<Loading<Opened>>>>,
    /// The sink's streaming thread's own.
    pub(super) stream: Mutex<Option<Stream>>,
    pub(super) queue: Queue<Item>,
    pub(super) writer: VideoWriter,
    /// The last picture. The source's streaming thread's own.
    pub(super) last: Mutex<Option<gst::Buffer>>,
    latency: Mutex<Latency>,
    /// Frames of an earlier running time come too late: what downstream says.
    pub(super) earliest: Mutex<Option<gst::ClockTime>>,
    pub(super) stats: Mutex<Stats>,
    /// Upstream has sent its last.
    pub(super) ended: AtomicBool,
    /// Upstream or the application has been told why no video goes out any more.
    pub(super) flow_told: AtomicBool,
    /// Where the last frame that went out ends.
    pub(super) sent_until: Mutex<Option<gst::ClockTime>>,
    /// The pipeline has been in PLAYING since it started.
    has_played: AtomicBool,
    /// A warning about a stall has been given.
    pub(super) stall_told: AtomicBool,
}

impl Lipsync {
    pub(super) fn settings(&self) -> Settings {
        lock(&self.settings).clone()
    }

    pub(super) fn loaded(&self) -> Option<Loaded> {
        lock(&self.loaded).clone()
    }

    pub(super) fn input_ended(&self) -> bool {
        self.ended.load(Ordering::SeqCst)
    }

    /// Whether the sound should come, but does not. Not so while the application lets the pipeline pause, and not where
    /// sound comes as it is made or sent, by a clock or without a known end.
    pub(super) fn is_starving(&self) -> bool {
        let runs = match self.obj().current_state() {
            gst::State::Playing => true,
            gst::State::Paused => !self.has_played.load(Ordering::Relaxed),
            _ => false,
        };
        let mut latency = gst::query::Latency::new();
        let live = self.sinkpad.peer_query(&mut latency) && latency.result().0;
        let has_end = self.sinkpad.peer_query_duration::<gst::ClockTime>().is_some();
        runs && !live && has_end && self.sinkpad.has_current_caps() && !self.input_ended()
    }

    /// The address of the file that the sound comes from, if upstream knows one.
    pub(super) fn source(&self) -> Option<String> {
        let mut query = gst::query::Uri::new();
        let answered = self.sinkpad.peer_query(&mut query);
        query.uri().filter(|_| answered).map(Into::into)
    }

    /// Opens avatar, ONNX Runtime and networks, if that has not been done with the same settings. What takes long is
    /// waited for by [`Self::wait_for_stream`].
    fn load(&self) -> Result<(), Error> {
        let settings = self.settings();
        if self.loaded().is_some_and(|loaded| loaded.settings.load_the_same(&settings)) {
            return Ok(());
        }
        let loading = lock(&self.loading).clone();
        let loaded = match loading.filter(|loading| loading.settings.load_the_same(&settings)) {
            Some(loading) => loading.take(),
            None => {
                self.unload();
                let beside = plugin_folder(&*self.obj());
                let open = |settings, canceller: &_| Loaded::open(settings, beside, canceller);
                let loading = Loading::start(&*self.obj(), settings, open)?;
                *lock(&self.loading) = Some(loading.clone());
                loading.wait_a_moment()
            }
        };
        if let Some(loaded) = loaded {
            *lock(&self.loading) = None;
            self.take_loaded(loaded?);
        }
        Ok(())
    }

    fn take_loaded(&self, (loaded, listener): Opened) {
        gst::info!(CAT, imp = self, "{loaded}");
        *lock(&self.latency) = Latency::of(&listener, lipsync_core::audio::resample::SAMPLE_RATE);
        *lock(&self.loaded) = Some(loaded);
        *lock(&self.stream) = Some(Stream::new(listener));
    }

    /// Gives everything back that has been loaded, and calls off what has not.
    fn unload(&self) {
        let loading = lock(&self.loading).take();
        if let Some(loading) = loading {
            loading.call_off();
        }
        let stream = lock(&self.stream).take();
        let loaded = lock(&self.loaded).take();
        // Joins the workers, with no lock held.
        drop((stream, loaded));
    }

    /// Waits for what takes long to load.
    fn wait_for_stream(&self) -> Result<(), gst::FlowError> {
        let loading = lock(&self.loading).clone();
        let Some(loading) = loading else { return Ok(()) };
        let loaded = loading.wait_long(|| self.queue.flow().is_err());
        // A flush or a stop, which leaves it for the next time.
        let loaded = loaded.ok_or(gst::FlowError::Flushing)?;
        *lock(&self.loading) = None;
        match loaded {
            Ok(loaded) => {
                let before = self.own_latency();
                self.take_loaded(loaded);
                if self.own_latency() != before {
                    post_latency(&*self.obj());
                }
                Ok(())
            }
            Err(error) => {
                self.queue.push(Item::Failure(Failure::Core(error)), 0)?;
                Err(gst::FlowError::Eos)
            }
        }
    }

    fn restart_stream(&self) -> Result<(), Error> {
        lock(&self.stream).as_mut().map_or(Ok(()), Stream::restart)
    }

    /// Wakes whoever waits or runs a network, and lets nobody wait again.
    pub(super) fn interrupt(&self) {
        self.queue.stop(gst::FlowError::Flushing);
        if let Some(loaded) = self.loaded() {
            loaded.painter.interrupt();
            if let Some(encoder) = loaded.encoder {
                encoder.interrupt();
            }
        }
        self.writer.set_flushing(true);
    }

    /// Lets work begin again after [`Self::interrupt`].
    pub(super) fn resume(&self) {
        self.writer.set_flushing(false);
        if let Some(encoder) = self.loaded().and_then(|loaded| loaded.encoder) {
            encoder.rearm();
        }
        self.ended.store(false, Ordering::SeqCst);
        *lock(&self.earliest) = None;
        *lock(&self.sent_until) = None;
        self.flow_told.store(false, Ordering::SeqCst);
        self.queue.open();
    }

    pub(super) fn start_task(&self) -> Result<(), gst::LoggableError> {
        let element = self.obj().downgrade();
        self.srcpad
            .start_task(move || {
                if let Some(element) = element.upgrade() {
                    // A panic becomes an element error; the queue is closed so that upstream sees it.
                    let imp = element.imp();
                    let sent = imp.catch_panic(
                        || false,
                        |imp| {
                            imp.send_next();
                            true
                        },
                    );
                    if !sent {
                        imp.flow_told.store(true, Ordering::SeqCst);
                        imp.stop_sending(gst::FlowError::Error);
                    }
                }
            })
            .map_err(|_| gst::loggable_error!(CAT, "the source pad's task cannot be started"))
    }

    fn activate_src(&self, mode: gst::PadMode, active: bool) -> Result<(), gst::LoggableError> {
        if mode != gst::PadMode::Push {
            return Err(gst::loggable_error!(CAT, "only push mode is possible"));
        }
        if active {
            self.resume();
            self.start_task()
        } else {
            self.interrupt();
            self.srcpad
                .stop_task()
                .map_err(|_| gst::loggable_error!(CAT, "the source pad's task cannot be stopped"))
        }
    }

    /// Runs `hear` on the stream and settles what comes of it.
    pub(super) fn with_stream(
        &self,
        hear: impl FnOnce(&mut Stream) -> Result<(), Stop>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.wait_for_stream()?;
        let mut stream = lock(&self.stream);
        self.queue.flow()?;
        // Where it could not be loaded, that has been told.
        let stream = stream.as_mut().ok_or(gst::FlowError::Eos)?;
        let heard = hear(stream);
        self.settle(stream, heard)
    }

    /// From a sample's arrival to its frame's leaving: the sound that must follow it, the frame, the painting.
    pub(super) fn own_latency(&self) -> gst::ClockTime {
        let processing = lock(&self.settings).processing_latency;
        let latency = lock(&self.latency);
        gst::ClockTime::from_nseconds(latency.lookahead + latency.frame_rate.time_of(1)) + processing
    }

    /// Takes note of what the latency depends on and tells the pipeline if it has changed.
    pub(super) fn note_latency(&self, listener: &Listener, sample_rate: u32) {
        let before = self.own_latency();
        *lock(&self.latency) = Latency::of(listener, sample_rate);
        if self.own_latency() != before {
            post_latency(&*self.obj());
        }
    }

    /// Whether a frame would come too late to be shown; then it is told on the bus.
    pub(super) fn note_if_late(
        &self,
        running_time: gst::ClockTime,
        segment: &gst::FormattedSegment<gst::ClockTime>,
        pts: gst::ClockTime,
        duration: gst::ClockTime,
    ) -> bool {
        let Some(earliest) = *lock(&self.earliest) else { return false };
        if !self.qos.load(Ordering::Relaxed) || running_time >= earliest {
            return false;
        }
        let (processed, dropped) = lock(&self.stats).processed_and_dropped();
        let jitter = (earliest - running_time).nseconds() as i64;
        let stream_time = segment.to_stream_time(pts);
        Late { running_time, stream_time, pts, duration, jitter, processed, dropped: dropped + 1 }
            .post(&*self.obj());
        true
    }
}

#[glib::object_subclass]
impl ObjectSubclass for Lipsync {
    const NAME: &'static str = "GstLipsync";
    type Type = super::Lipsync;
    type ParentType = gst::Element;

    fn with_class(klass: &Self::Class) -> Self {
        let template = |name| klass.pad_template(name).unwrap_or_else(|| unreachable!("template {name}"));
        let sinkpad = gst::Pad::builder_from_template(&template("sink"))
            .chain_function(|_, parent, buffer| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |this| {
                        let heard = this.with_stream(|stream| this.hear_buffer(stream, buffer));
                        if heard.is_err() {
                            // With its buffer upstream learns what is wrong, and tells the application.
                            this.flow_told.store(true, Ordering::SeqCst);
                        }
                        heard
                    },
                )
            })
            .event_full_function(|_, parent, event| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |this| this.sink_event(event),
                )
            })
            .query_function(|_, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |this| this.sink_query(query))
            })
            .build();
        let srcpad = gst::Pad::builder_from_template(&template("src"))
            .activatemode_function(|_, parent, mode, active| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::loggable_error!(CAT, "panic while the source pad was activated")),
                    |this| this.activate_src(mode, active),
                )
            })
            .event_function(|_, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |this| this.src_event(event))
            })
            .query_function(|_, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |this| this.src_query(query))
            })
            .build();
        Self {
            sinkpad,
            srcpad,
            settings: Mutex::default(),
            qos: AtomicBool::new(QOS),
            loaded: Mutex::default(),
            loading: Mutex::default(),
            stream: Mutex::default(),
            queue: Queue::default(),
            writer: VideoWriter::default(),
            last: Mutex::default(),
            latency: Mutex::default(),
            earliest: Mutex::default(),
            stats: Mutex::default(),
            ended: AtomicBool::default(),
            flow_told: AtomicBool::default(),
            sent_until: Mutex::default(),
            has_played: AtomicBool::default(),
            stall_told: AtomicBool::default(),
        }
    }
}

impl ObjectImpl for Lipsync {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let mut properties = settings::properties(false);
            properties.push(
                glib::ParamSpecBoolean::builder("qos")
                    .nick("Quality of service")
                    .blurb(
                        "Repeat the last picture instead of painting one that would be too late to be shown",
                    )
                    .default_value(QOS)
                    .mutable_playing()
                    .build(),
            );
            properties.push(stats::property(""));
            properties
        });
        PROPERTIES.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        match pspec.name() {
            "qos" => self.qos.store(settings::get(value), Ordering::Relaxed),
            name => {
                lock(&self.settings).set(name, value);
            }
        }
        if pspec.name() == "processing-latency" {
            post_latency(&*self.obj());
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "qos" => self.qos.load(Ordering::Relaxed).to_value(),
            "stats" => lock(&self.stats).structure().to_value(),
            name => lock(&self.settings).get(name).unwrap_or_else(|| unreachable!("no property {name}")),
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        for pad in [&self.sinkpad, &self.srcpad] {
            element.add_pad(pad).unwrap_or_else(|e| unreachable!("the pads have names of their own: {e}"));
        }
    }
}

impl GstObjectImpl for Lipsync {}

impl ElementImpl for Lipsync {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Lip sync",
                "Visualization",
                "Makes a face speak: turns audio into video of a talking avatar, its mouth painted by neural networks (the method of SyncTalk_2D). Example: gst-launch-1.0 playbin uri=file:///home/me/speech.mp3 flags=0x0b vis-plugin=lipsync",
                "The gst-plugin-lipsync authors",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            let always = |name, direction, caps: gst::Caps| {
                gst::PadTemplate::new(name, direction, gst::PadPresence::Always, &caps)
                    .unwrap_or_else(|e| unreachable!("the caps are valid: {e}"))
            };
            vec![
                always("sink", gst::PadDirection::Sink, audio_input::caps()),
                always("src", gst::PadDirection::Src, video_output::template_caps()),
            ]
        });
        TEMPLATES.as_ref()
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        gst::debug!(CAT, imp = self, "changing state {transition:?}");
        match transition {
            // Again from READY on, where properties may have changed.
            gst::StateChange::NullToReady | gst::StateChange::ReadyToPaused => {
                *lock(&self.stats) = Stats::default();
                self.has_played.store(false, Ordering::Relaxed);
                self.stall_told.store(false, Ordering::Relaxed);
                if let Err(error) = self.load().and_then(|()| self.restart_stream()) {
                    self.post_error_message(error_message(&error));
                    return Err(gst::StateChangeError);
                }
            }
            gst::StateChange::PausedToPlaying => self.has_played.store(true, Ordering::Relaxed),
            // Before the parent deactivates the pads and waits for their threads.
            gst::StateChange::PausedToReady => self.interrupt(),
            _ => {}
        }
        let changed = self.parent_change_state(transition)?;
        match transition {
            gst::StateChange::PausedToReady => {
                drop(self.queue.take());
                self.writer.stop();
                *lock(&self.last) = None;
            }
            gst::StateChange::ReadyToNull => self.unload(),
            _ => {}
        }
        Ok(changed)
    }
}
