//! * src: raw video of the avatar, one frame after the other, for ever
//! * sink (on request): raw audio of any format, in any pace, to be spoken
//! * audio (on request): what is spoken, as it came in; silence otherwise
//!
//! ```bash
//! gst-launch-1.0 lipsyncsrc ! videoconvert ! autovideosink
//! ```
//!
//! # Threads
//!
//! 1. Upstream's thread puts sound into the [`Backlog`], and waits there while it is full.
//! 2. The conductor ([`super::conductor`]) takes up each frame at its moment on the pipeline's clock: it takes the sound
//!    from the backlog, hears it ([`lipsync_core::render::live`]), asks the painter for the picture, and fills both outlets.
//! 3. The painter's workers paint, several at a time.
//! 4. The task of each source pad ([`super::senders`]) sends what is in its outlet when its time has come. A pad whose
//!    downstream blocks keeps nobody else waiting: of what it does not take, the oldest is dropped.
//! 5. A thread of its own loads an avatar ([`crate::loading`]), also one that is set while the element plays.
//! 6. The audio encoder runs beside the conductor ([`lipsync_core::inference::aside`]), so that a stop need not wait for it.
//!
//! # Locks
//!
//! `stage` is held while the conductor takes up a frame (some ms, with a run of the audio encoder), and by an
//! interruption; under it backlog, outlets, painter and small locks are taken, each for a moment, in that order, one
//! at a time. No lock is held across a push, a query, a wait for the clock or a message.
//! To stop, first everybody is woken (pacer, backlog, outlets, networks, buffer pool), then the pads are deactivated,
//! then the conductor is joined.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::thread::JoinHandle;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_audio::AudioInfo;
use lipsync_core::error::Error;
use lipsync_core::inference::network::Interrupter;
use lipsync_core::limits::GAP_SECONDS;
use lipsync_core::rate::{FrameRate, SECOND, mul_div};

use super::avatars::{Avatars, Ready};
use super::backlog::{Backlog, Sound};
use super::cause::{Alarm, Told};
use super::conductor::{SoundItem, Stage, Timing, VideoItem};
use super::outlet::Outlet;
use super::overload::Overload;
use super::pacer::{Pacer, Waiter};
use super::senders::{SoundState, VideoState};
use super::settings::LiveSettings;
use crate::audio_input::{self, AudioInput};
use crate::messages::{error_message, post_latency};
use crate::settings::{self, Settings};
use crate::stats::{self, Stats};
use crate::video_writer::VideoWriter;
use crate::{CAT, lock, video_output};

/// Sound from a live source that waits longer than this, in nanoseconds, is made good in its pauses.
const LIVE_BACKLOG: u64 = 200_000_000;

/// What comes in through the sink pad.
#[derive(Default)]
pub struct Input {
    /// The sound as it comes in.
    arriving: Option<AudioInfo>,
    /// The same with its channels interleaved, as it is spoken and goes out.
    info: Option<Arc<AudioInfo>>,
    segment: Option<gst::FormattedSegment<gst::ClockTime>>,
    live: bool,
    /// What comes in is of no format that can be heard, which has been told.
    is_refused: bool,
}

pub struct LipsyncSrc {
    pub(super) srcpad: gst::Pad,
    pub(super) sinkpad: Mutex<Option<gst::Pad>>,
    pub(super) audiopad: Mutex<Option<gst::Pad>>,
    pub(super) settings: Mutex<Settings>,
    live_settings: Mutex<LiveSettings>,
    pub(super) input: Mutex<Input>,
    /// Those settings that are taken at the start, as they were then.
    started: Mutex<LiveSettings>,
    pub(super) avatars: Mutex<Avatars>,
    pub(super) stage: Mutex<Option<Stage>>,
    conductor: Mutex<Option<JoinHandle<()>>>,
    pub(super) pacer: Pacer,
    pub(super) backlog: Backlog,
    pub(super) video: Outlet<VideoItem>,
    pub(super) sound: Outlet<SoundItem>,
    pub(super) writer: VideoWriter,
    pub(super) video_state: Mutex<VideoState>,
    pub(super) sound_state: Mutex<SoundState>,
    /// Whether the sound's thread is in downstream's hands.
    pub(super) sending_sound: AtomicBool,
    /// Whether the conductor is agreeing with downstream on a format.
    pub(super) negotiating: AtomicBool,
    pub(super) overload: Mutex<Overload>,
    pub(super) alarm: Mutex<Alarm>,
    /// What has been told of frames that cannot be painted or heard.
    pub(super) told: Mutex<Told>,
    pub(super) stats: Mutex<Stats>,
    timing: Mutex<Option<Timing>>,
    speaking: AtomicBool,
    told_backlog: AtomicU64,
    /// The stream is to end before the next frame, or has ended.
    pub(super) ended: AtomicBool,
    group: Mutex<Option<gst::GroupId>>,
}

impl LipsyncSrc {
    pub(super) fn settings(&self) -> Settings {
        lock(&self.settings).clone()
    }

    pub(super) fn live_settings(&self) -> LiveSettings {
        lock(&self.live_settings).clone()
    }

    /// The interval between painted frames for the frame of that time.
    pub(super) fn next_interval(&self, time: u64, load: Option<f64>) -> u32 {
        let least = self.least_interval();
        lock(&self.overload).next(time, least, load)
    }

    pub(super) fn least_interval(&self) -> u32 {
        lock(&self.live_settings).inference_interval
    }

    pub(super) fn group_id(&self) -> gst::GroupId {
        *lock(&self.group).get_or_insert_with(gst::GroupId::next)
    }

    /// Sets whether the presenter speaks; returns whether it did.
    pub(super) fn set_speaking(&self, speaking: bool) -> bool {
        self.speaking.swap(speaking, Ordering::SeqCst)
    }

    /// Whether the stream is to end before the next frame.
    pub(super) fn has_ended(&self) -> bool {
        let most = lock(&self.started).num_buffers;
        let sent = lock(&self.stage).as_ref().map_or(0, Stage::taken_up);
        self.ended.load(Ordering::SeqCst) || (most >= 0 && sent >= most as u64)
    }

    /// Ends the stream before the next frame; who waits to be spoken waits no longer.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::SeqCst);
        self.backlog.end();
        self.note_backlog();
    }

    pub(super) fn frame_rate(&self) -> Option<FrameRate> {
        (*lock(&self.timing)).map(|timing| timing.rate)
    }

    /// Frames that may be in an outlet, of which those of `waiting` nanoseconds are due.
    pub(super) fn outlet_frames(&self, rate: FrameRate, waiting: u64) -> usize {
        let timing = *lock(&self.timing);
        let delay =
            timing.map_or(0, Timing::until_taken_up) + lock(&self.settings).processing_latency.nseconds();
        rate.frames_covering(delay + waiting) as usize
    }

    /// Waits until it is time to send what is of that time; `earlier` by so many nanoseconds.
    pub(super) fn wait_to_send(&self, waiter: Waiter, time: u64, earlier: u64) -> Result<(), gst::FlowError> {
        let moment = gst::ClockTime::from_nseconds(time) + self.latency();
        let moment = moment.saturating_sub(gst::ClockTime::from_nseconds(earlier));
        self.pacer.wait_until(waiter, moment).map_err(|_| gst::FlowError::Flushing)
    }

    /// By how much the sound goes out earlier than its own time says, in nanoseconds.
    pub(super) fn sound_earlier(&self) -> u64 {
        lock(&self.live_settings).audio_offset.min(0).unsigned_abs()
    }

    /// The format of the sound that comes in, once that is known.
    pub(super) fn input_format(&self) -> Option<Arc<AudioInfo>> {
        lock(&self.input).info.clone()
    }

    /// From a frame's time until it goes out.
    pub(super) fn latency(&self) -> gst::ClockTime {
        let processing = lock(&self.settings).processing_latency;
        let timing = *lock(&self.timing);
        // Until there is an avatar: the most that networks with a mel encoder hear, and a frame of the method.
        let before = timing.map_or(
            lipsync_core::features::MAX_MEL_LOOKAHEAD + FrameRate::NATIVE.time_of(1),
            Timing::until_taken_up,
        );
        gst::ClockTime::from_nseconds(before) + processing
    }

    /// Takes note of what the latency depends on and tells the pipeline if it has changed.
    pub(super) fn note_timing(&self, timing: Timing) {
        let before = self.latency();
        *lock(&self.timing) = Some(timing);
        if self.latency() != before {
            post_latency(&*self.obj());
        }
    }

    /// Tells the application if the backlog has changed.
    pub(super) fn note_backlog(&self) {
        let length = self.backlog.length();
        if self.told_backlog.swap(length, Ordering::SeqCst) != length {
            self.obj().notify("backlog");
        }
    }

    /// The format of the sound before any has come in: what downstream of the pad audio likes.
    fn first_format(&self) -> Arc<AudioInfo> {
        if let Some(info) = self.input_format() {
            return info;
        }
        let usual = AudioInfo::builder(gst_audio::AUDIO_FORMAT_S16, 48_000, 2)
            .build()
            .unwrap_or_else(|e| unreachable!("the format is valid: {e}"));
        let pad = lock(&self.audiopad).clone();
        let liked = pad.and_then(|pad| {
            let mut caps = pad.peer_query_caps(Some(&audio_input::interleaved_caps()));
            caps.truncate();
            let structure = caps.make_mut().structure_mut(0)?;
            structure.fixate_field_nearest_int("rate", 48_000);
            structure.fixate_field_nearest_int("channels", 2);
            if structure.has_field("format") {
                structure.fixate_field_str("format", gst_audio::AUDIO_FORMAT_S16.to_str());
            }
            caps.fixate();
            AudioInfo::from_caps(&caps).ok()
        });
        Arc::new(liked.unwrap_or(usual))
    }

    /// Makes a stage for the avatar to start with.
    pub(super) fn set_stage(&self, ready: Ready) -> Result<(), Error> {
        let level = lock(&self.started).silence_level;
        let stage = Stage::new(ready, self.first_format(), level)?;
        if let Some(encoder) = &stage.loaded.encoder {
            encoder.rearm();
        }
        lock(&self.avatars).playing = Some(stage.loaded.clone());
        *lock(&self.timing) = Some(stage.timing());
        *lock(&self.stage) = Some(stage);
        Ok(())
    }

    /// Makes everything ready and starts the conductor, which waits for an avatar that takes long to load.
    fn begin(&self) -> Result<(), Error> {
        self.load()?;
        *lock(&self.started) = self.live_settings();
        let ready = lock(&self.avatars).ready.take();
        ready.map_or(Ok(()), |ready| self.set_stage(ready))?;
        *lock(&self.stats) = Stats::default();
        *lock(&self.overload) = Overload::default();
        *lock(&self.alarm) = Alarm::default();
        *lock(&self.told) = Told::default();
        *lock(&self.video_state) = VideoState::default();
        *lock(&self.sound_state) = SoundState::default();
        *lock(&self.group) = None;
        self.speaking.store(false, Ordering::SeqCst);
        self.ended.store(false, Ordering::SeqCst);
        self.pacer.open();
        self.backlog.open();
        self.video.open();
        if lock(&self.audiopad).is_some() {
            self.sound.open();
        }
        let element = self.obj().clone();
        let conduct = move || {
            let imp = element.imp();
            // A panic becomes an element error.
            imp.catch_panic(|| (), Self::conduct);
        };
        let thread = std::thread::Builder::new()
            .name("lipsync-conduct".into())
            .spawn(conduct)
            .map_err(|e| Error::runtime(format!("no thread could be started: {e}"), "Stop other programs"))?;
        *lock(&self.conductor) = Some(thread);
        self.load_pending();
        Ok(())
    }

    /// Whether there is a conductor.
    pub(super) fn is_running(&self) -> bool {
        lock(&self.conductor).is_some()
    }

    /// Takes back what [`Self::begin`] has begun: no way down from PAUSED will do it.
    fn give_up_start(&self) {
        self.stop();
        self.clean_up();
    }

    /// Wakes whoever waits or runs a network, and lets nobody wait again.
    fn stop(&self) {
        self.pacer.stop();
        self.backlog.close();
        self.video.close();
        self.sound.close();
        self.writer.set_flushing(true);
        let playing = lock(&self.avatars).playing.clone();
        if let Some(playing) = playing {
            playing.painter.interrupt();
            playing.encoder.iter().for_each(Interrupter::interrupt);
        }
    }

    /// Waits for the conductor and gives everything back, the avatar for the next time.
    fn clean_up(&self) {
        let conductor = lock(&self.conductor).take();
        if let Some(conductor) = conductor {
            // It has caught its own panic.
            let _ = conductor.join();
        }
        self.video.clear();
        self.sound.clear();
        self.backlog.clear();
        self.writer.stop();
        self.forget_next();
        let stage = lock(&self.stage).take();
        let playing = lock(&self.avatars).playing.take();
        drop((stage, playing));
        *lock(&self.video_state) = VideoState::default();
        *lock(&self.timing) = None;
        self.speaking.store(false, Ordering::SeqCst);
    }

    fn activate(
        &self,
        pad: &gst::Pad,
        mode: gst::PadMode,
        active: bool,
        send: fn(&Self, &gst::Pad),
    ) -> Result<(), gst::LoggableError> {
        if mode != gst::PadMode::Push {
            return Err(gst::loggable_error!(CAT, "only push mode is possible"));
        }
        if active {
            self.start_sending(pad, send)
                .map_err(|_| gst::loggable_error!(CAT, "the task of {} cannot be started", pad.name()))
        } else {
            pad.stop_task()
                .map_err(|_| gst::loggable_error!(CAT, "the task of {} cannot be stopped", pad.name()))
        }
    }

    /// A source pad that sends by a task of its own.
    pub(super) fn source_pad(template: &gst::PadTemplate, send: fn(&Self, &gst::Pad)) -> gst::Pad {
        gst::Pad::builder_from_template(template)
            .activatemode_function(move |pad, parent, mode, active| {
                if parent.is_none() {
                    return Ok(());
                }
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::loggable_error!(CAT, "panic while a source pad was activated")),
                    |this| this.activate(pad, mode, active, send),
                )
            })
            .event_function(|pad, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |this| this.src_event(pad, event))
            })
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |this| this.src_query(pad, query))
            })
            .build()
    }

    pub(super) fn new_sink_pad(&self, template: &gst::PadTemplate) -> gst::Pad {
        gst::Pad::builder_from_template(template)
            .activatemode_function(|_, parent, _, active| {
                // Where it is not active nothing comes in; whoever waits already is sent away.
                if let Some(element) = parent.and_then(|parent| parent.downcast_ref::<super::LipsyncSrc>()) {
                    element.imp().backlog.set_flushing(!active);
                }
                Ok(())
            })
            .chain_function(|pad, parent, buffer| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |this| this.take_in(pad, buffer),
                )
            })
            .event_function(|pad, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |this| this.sink_event(pad, event))
            })
            .query_function(|pad, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |this| this.sink_query(pad, query))
            })
            .build()
    }

    /// Puts a buffer into the backlog, its channels interleaved.
    fn take_in(&self, pad: &gst::Pad, buffer: gst::Buffer) -> Result<gst::FlowSuccess, gst::FlowError> {
        let (arriving, info, segment, live) = {
            let input = lock(&self.input);
            if input.is_refused {
                return Ok(gst::FlowSuccess::Ok);
            }
            (input.arriving.clone(), input.info.clone(), input.segment.clone(), input.live)
        };
        let fail = |message| {
            self.post_error_message(message);
            gst::FlowError::Error
        };
        let (arriving, info) = arriving.zip(info).ok_or_else(audio_input::no_caps).map_err(fail)?;
        let buffer = audio_input::interleave(buffer, &arriving).map_err(fail)?;
        let buffer = match &segment {
            Some(segment) => {
                gst_audio::audio_buffer_clip(buffer, segment.upcast_ref(), info.rate(), info.bpf())
            }
            None => Some(buffer),
        };
        let Some(buffer) = buffer.filter(|buffer| buffer.size() >= info.bpf() as usize) else {
            return Ok(gst::FlowSuccess::Ok);
        };
        let data = buffer.into_mapped_buffer_readable().map_err(|_| {
            gst::element_imp_error!(self, gst::ResourceError::Read, ("audio buffer cannot be read"));
            gst::FlowError::Error
        })?;
        // A live source with a faster clock than ours would pile up sound for ever.
        if live && self.backlog.length() > LIVE_BACKLOG && self.is_silent(&info, &data) {
            gst::log!(CAT, obj = pad, "left out {} bytes of silence", data.size());
            return Ok(gst::FlowSuccess::Ok);
        }
        self.wait_in_backlog(&info, data)
    }

    fn wait_in_backlog(
        &self,
        info: &Arc<AudioInfo>,
        data: gst::MappedBuffer<gst::buffer::Readable>,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        self.put_in_backlog(info, Sound::Samples(data))
    }

    /// Adds sound to the backlog, waiting while that is full.
    fn put_in_backlog(
        &self,
        info: &Arc<AudioInfo>,
        sound: Sound,
    ) -> Result<gst::FlowSuccess, gst::FlowError> {
        let most = self.live_settings().max_backlog.nseconds();
        let now = || self.pacer.now().map_or(0, gst::ClockTime::nseconds);
        self.backlog.push(info, sound, now, most)?;
        self.note_backlog();
        Ok(gst::FlowSuccess::Ok)
    }

    fn is_silent(&self, info: &AudioInfo, data: &[u8]) -> bool {
        let gate = 10f64.powf(lock(&self.started).silence_level / 20.0) as f32;
        AudioInput::new(info.clone()).read(data).iter().all(|sample| sample.abs() < gate)
    }

    fn sink_event(&self, pad: &gst::Pad, event: gst::Event) -> bool {
        use gst::EventView;
        gst::log!(CAT, obj = pad, "event {event:?}");
        match event.view() {
            EventView::FlushStart(_) => {
                self.backlog.set_flushing(true);
                self.interrupt_speech();
            }
            EventView::FlushStop(_) => self.backlog.set_flushing(false),
            EventView::Caps(caps) => match audio_input::format(caps.caps()) {
                Ok(info) => {
                    let live = upstream_is_live(pad);
                    let mut input = lock(&self.input);
                    input.is_refused = false;
                    input.info = Some(Arc::new(audio_input::interleaved(&info)));
                    input.arriving = Some(info);
                    input.live = live;
                }
                // The presenter goes on without it. Were it turned away, upstream would end the show with an error.
                Err(error) => {
                    {
                        let mut input = lock(&self.input);
                        input.is_refused = true;
                        (input.arriving, input.info) = (None, None);
                    }
                    gst::element_imp_warning!(
                        self,
                        gst::StreamError::Format,
                        ("this sound is not spoken: {error}")
                    );
                }
            },
            EventView::Segment(segment) => {
                lock(&self.input).segment = segment.segment().downcast_ref().cloned();
            }
            EventView::Gap(gap) => {
                // What is longer than any show keeps what is behind it from ever being heard.
                let duration = gap.get().1.filter(|duration| duration.seconds() < GAP_SECONDS);
                return duration.is_none_or(|duration| self.take_in_gap(duration).is_ok());
            }
            // The presenter goes on; what was sent is spoken to its end.
            _ => {}
        }
        true
    }

    /// Puts a gap of the sound into the backlog: silence.
    fn take_in_gap(&self, duration: gst::ClockTime) -> Result<gst::FlowSuccess, gst::FlowError> {
        let (info, live) = {
            let input = lock(&self.input);
            (input.info.clone(), input.live)
        };
        let Some(info) = info else { return Ok(gst::FlowSuccess::Ok) };
        let frames = mul_div(duration.nseconds(), info.rate().into(), SECOND) as usize;
        // As in [`Self::take_in`].
        if frames == 0 || (live && self.backlog.length() > LIVE_BACKLOG) {
            return Ok(gst::FlowSuccess::Ok);
        }
        self.put_in_backlog(&info, Sound::Silence(frames))
    }

    fn sink_query(&self, pad: &gst::Pad, query: &mut gst::QueryRef) -> bool {
        match query.view_mut() {
            gst::QueryViewMut::Caps(caps) => {
                let ours = audio_input::caps();
                let audio = lock(&self.audiopad).clone().filter(|audio| audio.is_linked());
                let possible = match audio {
                    // It goes out as it comes in.
                    Some(audio) => audio_input::of_both_layouts(
                        audio.peer_query_caps(Some(&audio_input::interleaved_caps())),
                    ),
                    None => ours,
                };
                let filter = caps.filter_owned();
                let result = match filter {
                    Some(filter) => filter.intersect_with_mode(&possible, gst::CapsIntersectMode::First),
                    None => possible,
                };
                caps.set_result(&result);
                true
            }
            gst::QueryViewMut::AcceptCaps(accept) if audio_input::is_to_be_told(accept.caps()) => {
                accept.set_result(true);
                true
            }
            // Nothing that upstream sends passes through.
            gst::QueryViewMut::Allocation(_) => false,
            gst::QueryViewMut::Drain(_) => true,
            _ => gst::Pad::query_default(pad, Some(&*self.obj()), query),
        }
    }
}

/// Whether sound comes in as it is made, by a clock.
fn upstream_is_live(pad: &gst::Pad) -> bool {
    let mut query = gst::query::Latency::new();
    pad.peer_query(&mut query) && query.result().0
}

#[glib::object_subclass]
impl ObjectSubclass for LipsyncSrc {
    const NAME: &'static str = "GstLipsyncSrc";
    type Type = super::LipsyncSrc;
    type ParentType = gst::Element;

    fn with_class(klass: &Self::Class) -> Self {
        let template = klass.pad_template("src").unwrap_or_else(|| unreachable!("template src"));
        Self {
            srcpad: Self::source_pad(&template, |this, _| this.send_video()),
            sinkpad: Mutex::default(),
            audiopad: Mutex::default(),
            settings: Mutex::default(),
            live_settings: Mutex::default(),
            input: Mutex::default(),
            started: Mutex::default(),
            avatars: Mutex::default(),
            stage: Mutex::default(),
            conductor: Mutex::default(),
            pacer: Pacer::default(),
            backlog: Backlog::default(),
            video: Outlet::default(),
            sound: Outlet::default(),
            writer: VideoWriter::default(),
            video_state: Mutex::default(),
            sound_state: Mutex::default(),
            sending_sound: AtomicBool::default(),
            negotiating: AtomicBool::default(),
            overload: Mutex::default(),
            alarm: Mutex::default(),
            told: Mutex::default(),
            stats: Mutex::default(),
            timing: Mutex::default(),
            speaking: AtomicBool::default(),
            told_backlog: AtomicU64::default(),
            ended: AtomicBool::default(),
            group: Mutex::default(),
        }
    }
}

impl ObjectImpl for LipsyncSrc {
    fn properties() -> &'static [glib::ParamSpec] {
        static PROPERTIES: LazyLock<Vec<glib::ParamSpec>> = LazyLock::new(|| {
            let mut properties = settings::properties(true);
            properties.extend(super::settings::properties());
            properties.push(stats::property("; and the inference-interval in force"));
            properties
        });
        PROPERTIES.as_ref()
    }

    fn signals() -> &'static [glib::subclass::Signal] {
        static SIGNALS: LazyLock<Vec<glib::subclass::Signal>> = LazyLock::new(|| {
            vec![
                glib::subclass::Signal::builder("interrupt")
                    .action()
                    .class_handler(|values| {
                        if let Ok(element) = values[0].get::<super::LipsyncSrc>() {
                            element.imp().interrupt_speech();
                        }
                        None
                    })
                    .build(),
            ]
        });
        SIGNALS.as_ref()
    }

    fn set_property(&self, _id: usize, value: &glib::Value, pspec: &glib::ParamSpec) {
        let name = pspec.name();
        let known = lock(&self.settings).set(name, value) || lock(&self.live_settings).set(name, value);
        debug_assert!(known, "no property {name}");
        match name {
            "processing-latency" => post_latency(&*self.obj()),
            "avatar" => self.avatar_set(),
            "audio-offset" => {
                let pad = lock(&self.audiopad).clone();
                if let Some(pad) = pad {
                    pad.set_offset(self.live_settings().audio_offset);
                }
            }
            _ => {}
        }
    }

    fn property(&self, _id: usize, pspec: &glib::ParamSpec) -> glib::Value {
        match pspec.name() {
            "speaking" => self.speaking.load(Ordering::SeqCst).to_value(),
            "backlog" => self.backlog.length().to_value(),
            "stats" => {
                let mut structure = lock(&self.stats).structure();
                let interval = lock(&self.overload).interval(self.least_interval());
                structure.set("inference-interval", interval);
                structure.to_value()
            }
            name => {
                let common = lock(&self.settings).get(name);
                let value = common.or_else(|| lock(&self.live_settings).get(name));
                value.unwrap_or_else(|| unreachable!("no property {name}"))
            }
        }
    }

    fn constructed(&self) {
        self.parent_constructed();
        let element = self.obj();
        element.set_element_flags(gst::ElementFlags::SOURCE);
        element.add_pad(&self.srcpad).unwrap_or_else(|e| unreachable!("the pad has a name of its own: {e}"));
    }
}

impl GstObjectImpl for LipsyncSrc {}

impl ElementImpl for LipsyncSrc {
    fn metadata() -> Option<&'static gst::subclass::ElementMetadata> {
        static METADATA: LazyLock<gst::subclass::ElementMetadata> = LazyLock::new(|| {
            gst::subclass::ElementMetadata::new(
                "Lip sync source",
                "Source/Video",
                "A presenter on air: live video of an avatar that idles while nobody speaks and speaks the sound that comes in, in any pace; what is spoken comes out in sync. The action signal interrupt drops what it is saying and what waits to be said: the mouth closes within two frames",
                "The gst-plugin-lipsync authors",
            )
        });
        Some(&*METADATA)
    }

    fn pad_templates() -> &'static [gst::PadTemplate] {
        static TEMPLATES: LazyLock<Vec<gst::PadTemplate>> = LazyLock::new(|| {
            use gst::{PadDirection, PadPresence};
            let template = |name, direction, presence, caps: gst::Caps| {
                gst::PadTemplate::new(name, direction, presence, &caps)
                    .unwrap_or_else(|e| unreachable!("the caps are valid: {e}"))
            };
            vec![
                template("src", PadDirection::Src, PadPresence::Always, video_output::template_caps()),
                template("sink", PadDirection::Sink, PadPresence::Request, audio_input::caps()),
                template("audio", PadDirection::Src, PadPresence::Request, audio_input::interleaved_caps()),
            ]
        });
        TEMPLATES.as_ref()
    }

    fn request_new_pad(
        &self,
        template: &gst::PadTemplate,
        _name: Option<&str>,
        _caps: Option<&gst::Caps>,
    ) -> Option<gst::Pad> {
        self.add_requested(template)
    }

    fn release_pad(&self, pad: &gst::Pad) {
        self.remove_requested(pad);
    }

    fn send_event(&self, event: gst::Event) -> bool {
        if event.type_() == gst::EventType::Eos {
            self.end();
            return true;
        }
        self.parent_send_event(event)
    }

    fn change_state(
        &self,
        transition: gst::StateChange,
    ) -> Result<gst::StateChangeSuccess, gst::StateChangeError> {
        gst::debug!(CAT, imp = self, "changing state {transition:?}");
        let fail = |error: Error| {
            self.post_error_message(error_message(&error));
            gst::StateChangeError
        };
        match transition {
            gst::StateChange::NullToReady => self.load().map_err(fail)?,
            gst::StateChange::ReadyToPaused => self.begin().map_err(|error| {
                self.give_up_start();
                fail(error)
            })?,
            gst::StateChange::PlayingToPaused => self.pacer.pause(),
            // Before the parent deactivates the pads and waits for their threads.
            gst::StateChange::PausedToReady => self.stop(),
            _ => {}
        }
        let changed = self.parent_change_state(transition).inspect_err(|_| {
            if transition == gst::StateChange::ReadyToPaused {
                self.give_up_start();
            }
        })?;
        match transition {
            // A live source has nothing to show in PAUSED.
            gst::StateChange::ReadyToPaused | gst::StateChange::PlayingToPaused => {
                return Ok(gst::StateChangeSuccess::NoPreroll);
            }
            gst::StateChange::PausedToPlaying => {
                let element = self.obj();
                let clock = element.clock().unwrap_or_else(gst::SystemClock::obtain);
                self.pacer.play(clock, element.base_time().unwrap_or_default());
            }
            gst::StateChange::PausedToReady => self.clean_up(),
            gst::StateChange::ReadyToNull => self.unload(),
            _ => {}
        }
        Ok(changed)
    }
}
