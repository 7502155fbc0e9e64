// SPDX-License-Identifier: MPL-2.0
//! The element's state, and the locks that it is behind.
//!
//! # Locks
//!
//! 1. `render_state` is held while a frame is scheduled (some ms, with a run of the audio encoder), and by an interruption. Who
//!    interrupts cancels that run before it takes the lock, and lets none start until it has it ([`State::interruptions`]).
//! 2. `state` is held for moments only, by whoever looks at it or changes it. All who wait, for the clock, for something to send,
//!    or for room in the backlog, wait on the one condition `changed`; who waits for a moment of the clock leaves its clock id
//!    in the state, and is woken by having that unscheduled.
//! 3. `settings`, the writer's lock, and those of the painter are taken last, each for a moment, one at a time.
//!
//! They are taken in this order, and `settings` never together with `state`. No lock is held across a push, a query, a wait
//! for the clock, a look at the clock, a message or a notification; none but `render_state` across a run of a network. What
//! may hold something of somebody else's (a buffer, a pad, a clock), or may be the last of an avatar, is taken out and
//! dropped where `state` is free.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;

use gst_audio::AudioInfo;
use lipsync_core::inference::network::Interrupter;
use lipsync_core::rate::FrameRate;
use lipsync_core::sync;

use super::backlog::Backlog;
use super::cause::{Alarm, Told};
use super::frame::{SoundItem, VideoItem};
use super::output_queue::OutputQueue;
use super::overload::Overload;
use super::ready::Avatars;
use super::render_state::{RenderState, Timing};
use super::settings::{LiveSettings, Settings};
use crate::clips::Asked;
use crate::ledger::{Dropped, Ledger};
use crate::loaded::Loaded;
use crate::lock;
use crate::stats::Stats;
use crate::video_writer::VideoWriter;

/// The element `lipsyncsrc`.
pub struct LipsyncSrc {
    /// The pad of the video.
    pub srcpad: gst::Pad,
    /// The values of the properties.
    settings: Mutex<Settings>,
    /// All that the threads have in common.
    state: Mutex<State>,
    /// Something in the state has changed that somebody may wait for.
    changed: Condvar,
    /// What the scheduler works with, once there is an avatar.
    render_state: Mutex<Option<RenderState>>,
    /// Draws into downstream's buffers.
    pub writer: VideoWriter,
}

/// Who waits for a moment on the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiter {
    Scheduler,
    Video,
    Sound,
}

/// Pads through which nothing goes for the moment, and on whose behalf nobody waits.
pub struct Flushing {
    /// The sink pad flushes or is not active.
    pub sink: bool,
    /// The pad of the video has come to its end.
    pub video: bool,
    /// The pad of the sound is not there, or has come to its end.
    pub sound: bool,
}

/// What comes in through the sink pad.
#[derive(Default, Clone)]
pub struct Input {
    /// The sound as it comes in.
    pub arriving: Option<AudioInfo>,
    /// The same with its channels interleaved, as it is spoken and goes out.
    pub info: Option<Arc<AudioInfo>>,
    /// Where in its stream it is heard.
    pub segment: Option<gst::FormattedSegment<gst::ClockTime>>,
    /// It comes in as it is made, by a clock.
    pub live: bool,
    /// What comes in is of no format that can be heard, which has been told.
    pub is_refused: bool,
}

/// The pads that come and go.
#[derive(Default)]
pub struct RequestedPads {
    /// What is to be spoken comes in here.
    pub sink: Option<gst::Pad>,
    /// What is spoken goes out here.
    pub audio: Option<gst::Pad>,
}

/// What the task of the video's pad remembers.
#[derive(Default)]
pub struct VideoTask {
    /// The start of the stream has been sent.
    pub begun: bool,
    /// The format that goes out.
    pub format: Option<gst_video::VideoInfo>,
    /// The last picture, and its format.
    pub last: Option<(gst_video::VideoInfo, gst::Buffer)>,
    /// A frame has been left out since then.
    pub lost: bool,
    /// Time and number of the last frame that went out.
    pub place: (u64, u64),
}

/// What the task of the sound's pad remembers.
#[derive(Default)]
pub struct SoundTask {
    /// The start of the stream has been sent.
    pub begun: bool,
    /// The format that goes out.
    pub info: Option<AudioInfo>,
    /// Where the sound that went out ends.
    pub end: Option<u64>,
}

/// All that the element's threads have in common.
pub struct State {
    /// The element is shut down, or about to be: nobody waits for anything.
    pub is_stopped: bool,
    /// Pads through which nothing goes for the moment.
    pub flushing: Flushing,
    /// The stream is to end before the next frame, or has ended.
    pub has_ended: bool,
    /// The thread of the scheduler, from READY to PAUSED on.
    pub scheduler: Option<JoinHandle<()>>,
    /// The clock, and the time on it that is running time 0, while the pipeline plays.
    pub playing: Option<(gst::Clock, gst::ClockTime)>,
    /// Those who wait for a moment on the clock.
    pub clock_waits: Vec<(Waiter, gst::SingleShotClockId)>,
    /// Those settings that are taken at the start, as they were then.
    pub started: LiveSettings,
    /// The avatars that are there or to come.
    pub avatars: Avatars,
    /// The pads that have been requested.
    pub requested: RequestedPads,
    /// Interruptions that have not been dealt with yet: until they are, the audio encoder does not run.
    pub interruptions: usize,
    /// What comes in through the sink pad.
    pub input: Input,
    /// Sound that waits to be spoken.
    pub backlog: Backlog,
    /// Clips that are to be played once, from the next frame on.
    pub clips_asked: VecDeque<Asked>,
    /// Length of the backlog that the application has been told.
    pub told_backlog: u64,
    /// What waits for its time to go out by the pad of the video.
    pub video_queue: OutputQueue<VideoItem>,
    /// What waits for its time to go out by the pad of the sound.
    pub sound_queue: OutputQueue<SoundItem>,
    /// What the task of the video's pad remembers.
    pub video_task: VideoTask,
    /// What the task of the sound's pad remembers.
    pub sound_task: SoundTask,
    /// Whether the task of the sound's pad is in downstream's hands.
    pub is_sending_sound: bool,
    /// Whether the scheduler is agreeing with downstream on a format.
    pub is_negotiating: bool,
    /// What the latency consists of, once there is an avatar.
    pub timing: Option<Timing>,
    /// The group of the streams that go out.
    pub group: Option<gst::GroupId>,
    /// Since when the presenter speaks, if it does in the picture that goes out.
    pub speaking: Option<u64>,
    /// The utterances under way, and how much of each has come out.
    pub ledger: Ledger,
    /// The utterance that comes in.
    pub open: Option<u64>,
    /// The one that comes in has been interrupted: the rest of it is dropped.
    pub discards: bool,
    /// What waited to be spoken and was dropped, as far as the ledger has not been told.
    pub dropped: Vec<Dropped>,
    /// The utterance in the picture that goes out.
    pub shown: Option<String>,
    /// How often a new mouth is painted.
    pub overload: Overload,
    /// When a warning about late frames is due.
    pub alarm: Alarm,
    /// What has been told of frames that cannot be painted or heard.
    pub told: Told,
    /// Counts since the start.
    pub stats: Stats,
}

impl Default for State {
    /// Shut down, as an element is before its first start.
    fn default() -> Self {
        Self {
            is_stopped: true,
            flushing: Flushing { sink: false, video: false, sound: true },
            has_ended: false,
            scheduler: None,
            playing: None,
            clock_waits: Vec::new(),
            started: LiveSettings::default(),
            avatars: Avatars::default(),
            requested: RequestedPads::default(),
            interruptions: 0,
            input: Input::default(),
            backlog: Backlog::default(),
            clips_asked: VecDeque::new(),
            told_backlog: 0,
            video_queue: OutputQueue::default(),
            sound_queue: OutputQueue::default(),
            video_task: VideoTask::default(),
            sound_task: SoundTask::default(),
            is_sending_sound: false,
            is_negotiating: false,
            timing: None,
            group: None,
            speaking: None,
            ledger: Ledger::default(),
            open: None,
            discards: false,
            dropped: Vec::new(),
            shown: None,
            overload: Overload::default(),
            alarm: Alarm::default(),
            told: Told::default(),
            stats: Stats::default(),
        }
    }
}

impl State {
    /// Begins a new run: everybody may wait again. Returns what the run before has left, to be dropped without the lock.
    #[must_use = "it is to be dropped without the lock"]
    pub fn start(&mut self) -> Self {
        let sound = self.requested.audio.is_none();
        let fresh = Self {
            is_stopped: false,
            flushing: Flushing { sink: self.flushing.sink, video: false, sound },
            started: self.started.clone(),
            avatars: std::mem::take(&mut self.avatars),
            requested: std::mem::take(&mut self.requested),
            interruptions: self.interruptions,
            input: std::mem::take(&mut self.input),
            backlog: std::mem::take(&mut self.backlog),
            told_backlog: self.told_backlog,
            timing: self.timing,
            ..Self::default()
        };
        let old = std::mem::replace(self, fresh);
        self.rearm_encoder();
        old
    }

    /// Takes note of the avatar that plays from now on, and returns the one before.
    #[must_use = "it is to be dropped without the lock"]
    pub fn set_playing(&mut self, loaded: Loaded) -> Option<Loaded> {
        if self.interruptions > 0 {
            loaded.encoder.iter().for_each(Interrupter::interrupt);
        }
        self.avatars.playing.replace(loaded)
    }

    /// Cancels what the audio encoder does, and lets it do nothing until as many interruptions have ended as have begun.
    pub fn begin_interruption(&mut self) {
        self.interruptions += 1;
        self.encoder().into_iter().for_each(Interrupter::interrupt);
    }

    /// Lets the audio encoder run again, unless another interruption is under way or the element is stopped.
    pub fn end_interruption(&mut self) {
        self.interruptions -= 1;
        self.rearm_encoder();
    }

    fn rearm_encoder(&self) {
        if self.interruptions == 0 && !self.is_stopped {
            self.encoder().into_iter().for_each(Interrupter::rearm);
        }
    }

    /// What interrupts the audio encoder of the avatar that plays.
    fn encoder(&self) -> Option<&Interrupter> {
        self.avatars.playing.as_ref()?.encoder.as_ref()
    }

    /// Whether one who waits is to wait no longer.
    pub fn is_flushing(&self, waiter: Waiter) -> bool {
        self.is_stopped
            || match waiter {
                Waiter::Scheduler => false,
                Waiter::Video => self.flushing.video,
                Waiter::Sound => self.flushing.sound,
            }
    }

    /// Why no sound can be added to the backlog.
    pub fn refusal(&self) -> Option<gst::FlowError> {
        match () {
            () if self.is_stopped || self.flushing.sink => Some(gst::FlowError::Flushing),
            () if self.has_ended => Some(gst::FlowError::Eos),
            () => None,
        }
    }
}

impl LipsyncSrc {
    /// An element with that pad, shut down.
    pub fn new(srcpad: gst::Pad) -> Self {
        Self {
            srcpad,
            settings: Mutex::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            render_state: Mutex::default(),
            writer: VideoWriter::default(),
        }
    }

    /// The values of the properties, locked.
    pub fn settings(&self) -> MutexGuard<'_, Settings> {
        lock(&self.settings)
    }

    /// The state, locked.
    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Changes the state and wakes whoever waits for that.
    pub fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let changed = change(&mut self.state());
        self.notify_changed();
        changed
    }

    /// Wakes whoever waits for the state to change.
    pub fn notify_changed(&self) {
        self.changed.notify_all();
    }

    /// Waits until the state has changed.
    pub fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        sync::wait(&self.changed, state)
    }

    /// What the scheduler works with, locked. The state must not be.
    pub fn render_state(&self) -> MutexGuard<'_, Option<RenderState>> {
        lock(&self.render_state)
    }

    /// Whether everybody is to wait no longer.
    pub fn is_stopped(&self) -> bool {
        self.state().is_stopped
    }

    /// Whether the stream is to end before the next frame.
    pub fn has_ended(&self) -> bool {
        let most = self.state().started.num_buffers;
        let scheduled = self.render_state().as_ref().map_or(0, |render| render.scheduled);
        self.state().has_ended || (most >= 0 && scheduled >= most as u64)
    }

    /// From a frame's time until it goes out.
    pub fn latency(&self) -> gst::ClockTime {
        let processing = self.settings().common.processing_latency;
        let timing = self.state().timing;
        // Until there is an avatar: the most that networks with a mel encoder hear, and a frame of the method.
        let before = timing.map_or(
            lipsync_core::features::MAX_MEL_LOOKAHEAD + FrameRate::NATIVE.time_of(1),
            Timing::until_scheduled,
        );
        gst::ClockTime::from_nseconds(before) + processing
    }

    /// The interval between painted frames that the user wants at least.
    pub fn least_interval(&self) -> u32 {
        self.settings().live.inference_interval
    }

    /// The interval between painted frames for the frame of that time.
    pub fn next_interval(&self, time: u64, load: Option<f64>) -> u32 {
        let least = self.least_interval();
        self.state().overload.next(time, least, load)
    }

    /// The format of the sound that comes in, once that is known.
    pub fn input_format(&self) -> Option<Arc<AudioInfo>> {
        self.state().input.info.clone()
    }
}
