//! The conductor's thread: at each frame's moment it hears what is to be spoken, asks for the picture, and hands picture
//! and sound to the threads of the source pads.
//!
//! Frame `n` is shown at `t = n / rate` of running time and needs the sound up to `t + lookahead`. Sound may come a frame
//! late, so the conductor takes up frame `n` at `t + lookahead + 1 frame`; it goes out when it had the processing latency
//! to be painted. Between these two moments it waits in the outlet, where an interruption can still change it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use gst::subclass::prelude::*;
use gst_audio::AudioInfo;
use gst_video::VideoInfo;
use lipsync_core::avatar::frames::FrameStore;
use lipsync_core::error::{Error, caught};
use lipsync_core::features::Context;
use lipsync_core::rate::{FrameRate, SECOND};
use lipsync_core::render::live::{Live, Sound, Speech};
use lipsync_core::render::painter::{MouthRequest, Painter, PendingFrame};

use super::avatars::Ready;
use super::backlog::{Chunk, Position};
use super::cause::cause_of;
use super::imp::LipsyncSrc;
use super::outlet::Item;
use super::pacer::Waiter;
use crate::audio_input::AudioInput;
use crate::loaded::Loaded;
use crate::messages::{Stop, post_latency};
use crate::{CAT, lock};

/// What goes to the source pad of the video.
pub enum VideoItem {
    /// From here on frames have this format.
    Format(VideoInfo),
    Frame(Frame),
    /// The end, at that time.
    End(u64),
}

/// A frame that is being painted.
pub struct Frame {
    pub pts: u64,
    pub duration: u64,
    pub number: u64,
    /// It does not follow the one before.
    pub discont: bool,
    pub ticket: PendingFrame,
    /// The interval at which a new mouth was asked for, if one was.
    pub asked_at: Option<u32>,
    /// What plays at this step of the avatar.
    step: u64,
    frames: Arc<FrameStore>,
    /// Kept so that a change of the avatar does not call it off.
    pub painter: Arc<Painter>,
    pub news: Vec<Speech>,
}

impl Frame {
    /// The file of the network that paints it.
    pub fn network(&self) -> PathBuf {
        self.frames.avatar().generator.clone()
    }
}

/// What is wrong with a frame that goes out all the same.
#[derive(Default)]
struct Wrong {
    /// The first sample that is no number.
    sample: Option<f32>,
    /// Why it is at rest, though somebody speaks.
    unheard: Option<(u64, Error)>,
}

impl Item for VideoItem {
    fn may_be_dropped(&self) -> bool {
        matches!(self, Self::Frame(_))
    }

    fn replaces(&self, before: &Self) -> bool {
        matches!((before, self), (Self::Format(_), Self::Format(_)))
    }
}

/// What goes to the source pad of the sound.
pub enum SoundItem {
    Chunk(Chunk),
    End,
}

impl Item for SoundItem {
    fn may_be_dropped(&self) -> bool {
        matches!(self, Self::Chunk(_))
    }

    fn replaces(&self, _before: &Self) -> bool {
        false
    }
}

/// Rounding between samples and nanoseconds must not make a frame miss a sample.
const MARGIN: u64 = 1_000_000;
/// What waits to go out at most, in nanoseconds, beyond what is in work: then the oldest is dropped. Sound is small, and
/// its holes are heard.
pub const MOST_WAITING: u64 = LOST;
const MOST_SOUND_WAITING: u64 = 10 * SECOND;
/// When the conductor is so late, time is given up instead of being made good. What it makes good waits for a moment.
const LOST: u64 = 2 * SECOND;

/// What the latency consists of, beside the processing latency.
#[derive(Clone, Copy)]
pub struct Timing {
    /// Sound that must be there behind a frame's time, in nanoseconds.
    pub lookahead: u64,
    pub rate: FrameRate,
}

impl Timing {
    /// The timing of a presenter that hears sound of `sample_rate`: the same for all but uncommonly low rates, so that a
    /// change of the sound changes nothing.
    fn of(live: &Live, sample_rate: u32) -> Self {
        const LOW: u32 = 8000;
        let rate = live.rate();
        Self { lookahead: live.lookahead(sample_rate.min(LOW)).max(rate.time_of(1)) + MARGIN, rate }
    }

    /// From a frame's time until it is taken up.
    pub fn until_taken_up(self) -> u64 {
        self.lookahead + self.rate.time_of(1)
    }
}

/// What the conductor works with. Locked while it takes up a frame, and by an interruption.
pub struct Stage {
    pub(super) loaded: Loaded,
    pub(super) live: Live,
    pub(super) format: Option<VideoInfo>,
    pub(super) frames: Option<Arc<FrameStore>>,
    position: Position,
    input: AudioInput,
    /// The frame that is next.
    pub(super) next: u64,
    /// Frames that this avatar has shown so far: what its loop goes by.
    pub(super) shown: u64,
    taken_up: u64,
    /// Frames since the last new mouth; `None` where the next one that speaks is to have one.
    pub(super) held: Option<u32>,
    pub(super) discont: bool,
    /// News that no frame has taken along yet.
    news: Vec<Speech>,
    /// A warning about broken samples has been given.
    warned: bool,
}

impl Stage {
    /// A stage for an avatar, silent so far in sound of that format.
    pub fn new(ready: Ready, info: Arc<AudioInfo>, level: f64) -> Result<Self, Error> {
        let Ready { loaded, listener, .. } = ready;
        let rate = loaded.avatar.rate;
        let mut stage = Self {
            live: Live::new(listener, rate, level)?,
            loaded,
            format: None,
            frames: None,
            position: Position::new(info.clone(), 0),
            input: AudioInput::new((*info).clone()),
            next: 0,
            shown: 0,
            taken_up: 0,
            held: None,
            discont: true,
            news: Vec::new(),
            warned: false,
        };
        stage.set_input(info)?;
        Ok(stage)
    }

    /// Frames taken up so far, by all avatars.
    pub fn taken_up(&self) -> u64 {
        self.taken_up
    }

    fn set_input(&mut self, info: Arc<AudioInfo>) -> Result<(), Error> {
        self.input = AudioInput::new((*info).clone());
        self.live.set_input(info.rate(), self.input.mono_weights())
    }

    /// What the latency consists of.
    pub fn timing(&self) -> Timing {
        Timing::of(&self.live, self.input.info().rate())
    }
}

impl LipsyncSrc {
    /// The life of the conductor's thread.
    pub fn conduct(&self) {
        let end = loop {
            match self.wait_for_stage().and_then(|there| if there { self.conduct_one() } else { Ok(false) }) {
                Ok(true) => {}
                Ok(false) => break true,
                Err(Stop::Flow(flow)) => {
                    gst::debug!(CAT, imp = self, "conductor stops: {flow}");
                    break false;
                }
                // A stop interrupts the networks, which is no failure.
                Err(Stop::Failure(_)) if self.pacer.is_stopped() => break false,
                Err(Stop::Failure(failure)) => {
                    self.post_error_message(failure.into_message(None));
                    break true;
                }
            }
        };
        if end {
            self.end_outlets();
        }
    }

    /// Waits until there is a stage, where its avatar takes long to load; false at the end of the stream.
    fn wait_for_stage(&self) -> Result<bool, Stop> {
        if lock(&self.stage).is_some() {
            return Ok(true);
        }
        let ready = self.wait_for_avatar()?;
        if self.pacer.is_stopped() {
            return Err(gst::FlowError::Flushing.into());
        }
        let Some(ready) = ready else { return Ok(false) };
        let before = self.latency();
        self.set_stage(ready)?;
        if self.latency() != before {
            post_latency(&*self.obj());
        }
        self.load_pending();
        Ok(true)
    }

    /// Waits for the next frame's moment and takes it up; false at the end of the stream.
    fn conduct_one(&self) -> Result<bool, Stop> {
        let stopped = |_| Stop::Flow(gst::FlowError::Flushing);
        let now = self.pacer.wait_for_play(Waiter::Conductor).map_err(stopped)?.nseconds();
        self.adopt_next_avatar()?;
        self.negotiate()?;
        let (time, timing) = {
            let mut stage = lock(&self.stage);
            let stage = stage.as_mut().ok_or(gst::FlowError::Flushing)?;
            let timing = stage.timing();
            self.catch_up(stage, timing, now);
            (timing.rate.time_of(stage.next), timing)
        };
        self.note_timing(timing);
        let moment = gst::ClockTime::from_nseconds(time + timing.until_taken_up());
        self.pacer.wait_until(Waiter::Conductor, moment).map_err(stopped)?;
        if self.has_ended() {
            return Ok(false);
        }
        let wrong = {
            let mut stage = lock(&self.stage);
            let stage = stage.as_mut().ok_or(gst::FlowError::Flushing)?;
            self.take_up(stage, timing)?
        };
        self.tell_wrong(wrong);
        self.note_backlog();
        Ok(true)
    }

    fn tell_wrong(&self, wrong: Wrong) {
        if let Some(sample) = wrong.sample {
            gst::element_imp_warning!(
                self,
                gst::StreamError::Decode,
                ("the sound has samples that are no finite numbers ({sample}): they are taken for silence. Repair the source, or convert it to an integer format first")
            );
        }
        let Some((time, error)) = wrong.unheard else { return };
        gst::debug!(CAT, imp = self, "the sound is not heard: {error}");
        if lock(&self.told).is_due(cause_of(&error), time) {
            gst::element_imp_warning!(
                self,
                gst::StreamError::Failed,
                ("the sound cannot be heard, and the mouth is at rest meanwhile: {error}")
            );
        }
    }

    /// Goes to the present, where the element comes late to a pipeline that plays or the machine has stood still. Else
    /// the first frame is number 0, also where the start has taken a while: what is within the latency is not late.
    fn catch_up(&self, stage: &mut Stage, timing: Timing, now: u64) {
        let time = timing.rate.time_of(stage.next);
        let begun = stage.taken_up > 0;
        let due = if begun { timing.until_taken_up() + LOST } else { self.latency().nseconds() };
        if now <= time + due {
            return;
        }
        let lost = timing.rate.frames_covering(now - time);
        if begun {
            gst::warning!(CAT, imp = self, "{lost} frames late: they are left out");
            (0..lost).for_each(|_| lock(&self.stats).skipped());
        }
        stage.next += lost;
        stage.discont = true;
        stage.live.interrupt();
        stage.news.push(Speech::Ends(time));
        stage.position = Position::new(stage.position.info.clone(), timing.rate.time_of(stage.next));
    }

    /// Hears the sound up to what frame `n` needs; a panic is an error, behind which it begins to listen anew.
    fn hear(stage: &mut Stage, n: u64, sound: Sound<'_>) -> Result<Option<Context>, Error> {
        caught(|| stage.live.step(n, sound)).unwrap_or_else(|panic| {
            stage.live.interrupt();
            stage.news.push(Speech::Ends(stage.live.rate().time_of(n)));
            let avatar = &stage.loaded.avatar;
            let model = avatar.audio_encoder.clone().unwrap_or_else(|| avatar.generator.clone());
            Err(Error::inference(model, format!("the sound is not heard: {panic}")))
        })
    }

    /// Hears what frame `next` needs, and asks for its picture. Returns what is wrong with it.
    fn take_up(&self, stage: &mut Stage, timing: Timing) -> Result<Wrong, Stop> {
        let Some(frames) = stage.frames.clone() else { return Err(gst::FlowError::NotNegotiated.into()) };
        let n = stage.next;
        let (pts, end) = (timing.rate.time_of(n), timing.rate.time_of(n + 1));
        if stage.taken_up == 0
            && let Some(info) = self.input_format()
        {
            // So early the sound that comes in may still say of what format the silence before it is to be.
            stage.position.info = info;
        }
        let chunk = self.backlog.take(&mut stage.position, pts + timing.lookahead);
        if chunk.info.as_ref() != stage.input.info() {
            gst::debug!(CAT, imp = self, "sound is {:?}", chunk.info);
            stage.set_input(chunk.info.clone())?;
        }
        let mut samples = stage.input.read(&chunk.bytes).to_vec();
        let broken = samples.iter().copied().find(|sample| !sample.is_finite());
        let broken = broken.filter(|_| !std::mem::replace(&mut stage.warned, true));
        samples.iter_mut().filter(|sample| !sample.is_finite()).for_each(|sample| *sample = 0.0);
        let mut unheard = None;
        let heard = Self::hear(stage, n, Sound { start: chunk.start, samples: &samples });
        let context = heard.unwrap_or_else(|error| {
            unheard = Some((pts, error));
            None
        });
        if self.pacer.is_stopped() {
            // Which interrupts the encoder.
            return Err(gst::FlowError::Flushing.into());
        }
        if !chunk.bytes.is_empty() {
            let most = self.outlet_frames(timing.rate, MOST_SOUND_WAITING);
            if !self.sound.push(SoundItem::Chunk(chunk), most).is_empty() {
                gst::warning!(CAT, imp = self, "downstream does not take the sound: some of it is dropped");
            }
        }
        let mut news = std::mem::take(&mut stage.news);
        news.extend(stage.live.speech_events(n));
        let painter = stage.loaded.painter.clone();
        let step = timing.rate.convert_index(stage.shown, stage.loaded.avatar.rate);
        let interval = self.next_interval(pts, painter.pace().load(Duration::from_nanos(end - pts)));
        let due = stage.held.is_none_or(|held| held + 1 >= interval);
        let (wish, asked_at, held) = match context {
            Some(context) if due => (MouthRequest::Speech(context), Some(interval), Some(0)),
            Some(_) => (MouthRequest::Repeat, None, stage.held.map(|held| held + 1)),
            // Once painted, or not at all.
            None => (MouthRequest::Rest, None, None),
        };
        stage.held = held;
        let ticket = painter.submit(&frames, step, wish);
        let frame = Frame {
            pts,
            duration: end - pts,
            number: n,
            discont: std::mem::replace(&mut stage.discont, false),
            ticket,
            asked_at,
            step,
            frames,
            painter,
            news,
        };
        stage.next += 1;
        stage.shown += 1;
        stage.taken_up += 1;
        self.hand_over(stage, VideoItem::Frame(frame), timing.rate);
        Ok(Wrong { sample: broken, unheard })
    }

    /// Puts an item into the video's outlet; where nobody takes them, the oldest frame is dropped.
    pub(super) fn hand_over(&self, stage: &mut Stage, item: VideoItem, rate: FrameRate) {
        for old in self.video.push(item, self.outlet_frames(rate, MOST_WAITING)) {
            let VideoItem::Frame(Frame { number, mut news, .. }) = old else { continue };
            gst::warning!(CAT, imp = self, "downstream does not take the video: frame {number} is dropped");
            lock(&self.stats).skipped();
            // Its news goes with the next one.
            let first = self.video.change(|items| {
                let first = items.iter_mut().find_map(|item| match item {
                    VideoItem::Frame(frame) => Some(frame),
                    _ => None,
                });
                first.is_some_and(|frame| {
                    frame.discont = true;
                    news.append(&mut frame.news);
                    std::mem::swap(&mut frame.news, &mut news);
                    true
                })
            });
            if !first {
                stage.news.extend(news);
                stage.discont = true;
            }
        }
    }

    /// Drops everything queued and in flight: the mouth closes, the sound falls silent.
    pub fn interrupt_speech(&self) {
        self.backlog.clear();
        let mut stage = lock(&self.stage);
        let Some(stage) = stage.as_mut() else { return };
        stage.live.interrupt();
        stage.held = None;
        self.sound.change(|items| {
            let chunks = items.iter_mut().filter_map(|item| match item {
                SoundItem::Chunk(chunk) => Some(chunk),
                SoundItem::End => None,
            });
            for (i, chunk) in chunks.enumerate() {
                if i == 0 { chunk.fade_out() } else { chunk.silence() }
            }
        });
        self.video.change(|items| {
            let mut first = true;
            for item in items {
                let VideoItem::Frame(frame) = item else { continue };
                let wish = if first { MouthRequest::Closing } else { MouthRequest::Rest };
                frame.ticket = frame.painter.resubmit(&frame.ticket, &frame.frames, frame.step, wish);
                frame.asked_at = None;
                frame.news.clear();
                if std::mem::replace(&mut first, false) {
                    frame.news.push(Speech::Ends(frame.pts));
                }
            }
            if first {
                stage.news = vec![Speech::Ends(stage.live.rate().time_of(stage.next))];
            }
        });
        self.note_backlog();
    }

    /// Ends both outlets at the time of the next frame; nothing more is taken in.
    fn end_outlets(&self) {
        self.end();
        let end = lock(&self.stage).as_ref().map_or(0, |stage| stage.live.rate().time_of(stage.next));
        self.sound.change(|items| {
            items.retain(|item| !matches!(item, SoundItem::Chunk(chunk) if chunk.start >= end));
            if let Some(SoundItem::Chunk(chunk)) = items.back_mut() {
                chunk.cut_at(end);
            }
        });
        self.sound.push(SoundItem::End, usize::MAX);
        self.video.push(VideoItem::End(end), usize::MAX);
    }
}
