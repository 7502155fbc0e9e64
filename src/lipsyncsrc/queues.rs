// SPDX-License-Identifier: MPL-2.0
//! Into and out of the queues: the backlog, and those of the source pads.

use std::collections::VecDeque;
use std::sync::Arc;

use gst::subclass::prelude::*;
use gst_audio::AudioInfo;
use gst_video::VideoInfo;
use lipsync_core::rate::{FrameRate, SECOND};

use super::backlog::{Piece, Sound, Taken};
use super::frame::{Frame, SoundItem, VideoItem};
use super::render_state::{RenderState, Timing};
use super::sound::{Chunk, Position};
use super::state::{LipsyncSrc, State, Waiter};
use crate::CAT;
use crate::clips::Asked;
use crate::ledger::{Cut, Mark, Reason, Stretch};

/// What waits to go out at most, in nanoseconds, beyond what is in work: then the oldest is dropped. Sound is small, and
/// its holes are heard.
pub const MOST_WAITING: u64 = 2 * SECOND;
const MOST_SOUND_WAITING: u64 = 10 * SECOND;

/// Sound that has been taken from the backlog, and what was marked in it.
pub struct TakenSound {
    pub chunk: Chunk,
    /// Times at which what is said is over.
    pub ends: Vec<u64>,
    /// Clips, each with the time at which it begins.
    pub clips: Vec<(u64, Asked)>,
}

impl LipsyncSrc {
    /// Adds sound to the backlog, waiting while that is full.
    ///
    /// # Errors
    /// [`gst::FlowError::Flushing`] where the element is stopped or the sink pad flushing, [`gst::FlowError::Eos`] after the end.
    pub fn add_sound(&self, info: &Arc<AudioInfo>, sound: Sound) -> Result<(), gst::FlowError> {
        let most = self.settings().live.max_backlog.nseconds();
        self.push_sound(info, sound, most)?;
        self.note_backlog();
        Ok(())
    }

    fn push_sound(&self, info: &Arc<AudioInfo>, sound: Sound, most: u64) -> Result<(), gst::FlowError> {
        let mut now = None;
        let mut state = self.state();
        let generation = state.backlog.generation();
        loop {
            if let Some(reason) = state.refusal() {
                return Err(reason);
            }
            if state.backlog.generation() != generation || state.discards {
                return Ok(());
            }
            if state.backlog.length() >= most {
                state = self.wait(state);
            } else if state.backlog.is_starving() && now.is_none() {
                drop(state);
                now = Some(self.now().map_or(0, gst::ClockTime::nseconds));
                state = self.state();
            } else {
                state.backlog.push(info.clone(), sound, now.unwrap_or(0));
                return Ok(());
            }
        }
    }

    /// Takes the sound up to the time `until` from the backlog, as [`super::backlog::Backlog::take`] does.
    pub fn take_sound(&self, position: &mut Position, until: u64, spent: &mut Vec<Piece>) -> TakenSound {
        self.change(|state| {
            let mut taken = Vec::new();
            let chunk = state.backlog.take(position, until, spent, &mut taken);
            let (piece, rate) = (chunk.start, chunk.info.rate());
            let (mut ends, mut clips) = (Vec::new(), Vec::new());
            for taken in taken {
                match taken {
                    Taken::Sound { offset, samples } => {
                        state.ledger.enter(Stretch { piece, offset, samples, rate, pace: rate });
                    }
                    Taken::Mark(Mark::Start(number), _) => state.ledger.begin(number),
                    Taken::Mark(Mark::End(number, reason), time) => state.ledger.end(number, reason, time),
                    Taken::Mark(Mark::Complete, time) => ends.push(time),
                    Taken::Clip(clip, time) => clips.push((time, clip)),
                }
            }
            if state.backlog.is_starving() && !state.backlog.has_sound() {
                state.ledger.run_dry();
            }
            TakenSound { chunk, ends, clips }
        })
    }

    /// Drops all sound that waits to be spoken, also that of those who wait to add it.
    pub fn clear_backlog(&self) {
        let pieces = self.change(State::clear_backlog);
        drop(pieces);
    }

    /// Ends the stream before the next frame; who waits to be spoken waits no longer.
    pub fn end(&self) {
        let pieces = self.change(|state| {
            state.has_ended = true;
            state.clear_backlog()
        });
        drop(pieces);
        self.note_backlog();
    }

    /// Waits until there is something to send by the pad of the video. Returns the time of a frame.
    ///
    /// # Errors
    /// [`gst::FlowError::Flushing`] where nothing is to be sent any more.
    pub fn wait_for_video(&self) -> Result<Option<u64>, gst::FlowError> {
        let time = |item: &VideoItem| item.frame().map(|frame| frame.pts);
        self.wait_for_item(Waiter::Video, |state| state.video_queue.front().map(time))
    }

    /// Waits until there is something to send by the pad of the sound. Returns the time of a piece of sound.
    ///
    /// # Errors
    /// As [`Self::wait_for_video`].
    pub fn wait_for_sound(&self) -> Result<Option<u64>, gst::FlowError> {
        let time = |item: &SoundItem| item.chunk().map(|chunk| chunk.start);
        self.wait_for_item(Waiter::Sound, |state| state.sound_queue.front().map(time))
    }

    fn wait_for_item<T>(
        &self,
        waiter: Waiter,
        find: impl Fn(&State) -> Option<T>,
    ) -> Result<T, gst::FlowError> {
        let mut state = self.state();
        loop {
            if state.is_flushing(waiter) {
                return Err(gst::FlowError::Flushing);
            }
            if let Some(found) = find(&state) {
                return Ok(found);
            }
            state = self.wait(state);
        }
    }

    /// Frames that may be queued for a pad, of which those of `waiting` nanoseconds are due.
    fn most_queued(&self, rate: FrameRate, waiting: u64) -> usize {
        let processing = self.settings().common.processing_latency.nseconds();
        let delay = self.state().timing.map_or(0, Timing::until_scheduled) + processing;
        rate.frames_covering(delay + waiting) as usize
    }

    /// Queues sound for its pad; where nobody takes it, the oldest is dropped.
    pub fn queue_sound(&self, chunk: Chunk, rate: FrameRate) {
        let most = self.most_queued(rate, MOST_SOUND_WAITING);
        let dropped = self.change(|state| {
            if state.is_flushing(Waiter::Sound) {
                return Vec::new();
            }
            let dropped = state.sound_queue.push(SoundItem::Chunk(chunk), most);
            let chunks = dropped.iter().filter_map(SoundItem::chunk);
            chunks.for_each(|chunk| state.ledger.lose_piece(chunk.start));
            dropped
        });
        if !dropped.is_empty() {
            gst::warning!(CAT, imp = self, "downstream does not take the sound: some of it is dropped");
        }
    }

    /// Queues a format for the pad of the video.
    pub fn queue_format(&self, render: &mut RenderState, format: VideoInfo, rate: FrameRate) {
        self.queue_video(render, VideoItem::Format(format), rate);
    }

    /// Queues a frame for its pad; where nobody takes them, the oldest is dropped.
    pub fn queue_frame(&self, render: &mut RenderState, frame: Frame, rate: FrameRate) {
        self.queue_video(render, VideoItem::Frame(frame), rate);
    }

    fn queue_video(&self, render: &mut RenderState, item: VideoItem, rate: FrameRate) {
        let most = self.most_queued(rate, MOST_WAITING);
        let mut guard = self.state();
        if guard.is_flushing(Waiter::Video) {
            drop(guard);
            return;
        }
        let state = &mut *guard;
        let mut dropped = state.video_queue.push(item, most);
        for frame in dropped.iter_mut().filter_map(VideoItem::frame_mut) {
            state.stats.skipped();
            // What begins or ends with it does so with the next one.
            let events = std::mem::take(&mut frame.speech_events);
            match state.video_queue.items_mut().iter_mut().find_map(VideoItem::frame_mut) {
                Some(first) => {
                    first.discont = true;
                    first.speech_events.splice(0..0, events);
                }
                None => {
                    render.speech_events.extend(events);
                    render.discont = true;
                }
            }
        }
        if let Some(last) = dropped.iter().rev().find_map(VideoItem::frame)
            && state.is_flushing(Waiter::Sound)
        {
            state.ledger.lose_until(last.pts + last.duration);
        }
        drop(guard);
        self.notify_changed();
        for frame in dropped.iter().filter_map(VideoItem::frame) {
            let number = frame.number;
            gst::warning!(CAT, imp = self, "downstream does not take the video: frame {number} is dropped");
        }
    }

    /// Ends both pads at that time, behind what is queued for them before it.
    pub fn queue_end(&self, time: u64) {
        let is_shown = self.change(|state| {
            state.sound_queue.items_mut().retain(|item| item.chunk().is_none_or(|chunk| chunk.start < time));
            let mut cut = Cut::Time(time);
            if let Some(chunk) = state.sound_queue.items_mut().back_mut().and_then(SoundItem::chunk_mut) {
                chunk.cut_at(time);
                cut = Cut::Piece(chunk.start, chunk.samples());
            }
            let dropped = std::mem::take(&mut state.dropped);
            let _ = state.ledger.cut(cut, time, time, &dropped, Reason::Eos);
            // Nothing is dropped for an end.
            if !state.is_flushing(Waiter::Sound) {
                let _ = state.sound_queue.push(SoundItem::End, usize::MAX);
            }
            let is_shown = !state.is_flushing(Waiter::Video);
            if is_shown {
                let _ = state.video_queue.push(VideoItem::End(time), usize::MAX);
            }
            is_shown
        });
        if !is_shown {
            self.post_told(&[], u64::MAX);
        }
    }
}

impl State {
    /// Takes out all sound that waits to be spoken, and takes note of it for the ledger.
    #[must_use = "it may hold buffers, which are dropped where no lock is held"]
    pub fn clear_backlog(&mut self) -> VecDeque<Piece> {
        let pieces = self.backlog.clear();
        self.dropped.extend(pieces.iter().filter_map(Piece::dropped));
        pieces
    }
}

#[cfg(test)]
mod tests {
    use gst::glib;
    use gst::prelude::*;

    use super::super::LipsyncSrc as Element;
    use super::*;

    /// An element that has been started, as far as its state goes.
    fn started() -> Element {
        gst::init().unwrap();
        let element = glib::Object::new::<Element>();
        drop(element.imp().state().start());
        element
    }

    fn push(this: &LipsyncSrc, frames: usize) -> Result<(), gst::FlowError> {
        let info = AudioInfo::builder(gst_audio::AUDIO_FORMAT_S16, 1000, 1).build().unwrap();
        this.push_sound(&Arc::new(info), Sound::Silence(frames), SECOND)
    }

    fn length(this: &LipsyncSrc) -> u64 {
        this.state().backlog.length()
    }

    #[test]
    fn who_waits_to_add_sound_is_told_why_it_is_in_vain() {
        type Change = fn(&LipsyncSrc);
        let cases: [(Change, Result<(), gst::FlowError>, u64); 5] = [
            (LipsyncSrc::stop_waiting, Err(gst::FlowError::Flushing), 2 * SECOND),
            (LipsyncSrc::end, Err(gst::FlowError::Eos), 0),
            (
                |this| this.change(|state| state.flushing.sink = true),
                Err(gst::FlowError::Flushing),
                2 * SECOND,
            ),
            (LipsyncSrc::clear_backlog, Ok(()), 0),
            (|this| drop(this.interrupt_speech()), Ok(()), 0),
        ];
        gst::init().unwrap();
        assert_eq!(
            push(glib::Object::new::<Element>().imp(), 1),
            Err(gst::FlowError::Flushing),
            "not started"
        );
        for (change, expected, expected_length) in cases {
            let element = started();
            let this = element.imp();
            push(this, 2000).unwrap();
            std::thread::scope(|scope| {
                let waiting = scope.spawn(|| push(this, 500));
                // Nothing tells that somebody waits.
                while !waiting.is_finished() {
                    // A clearing is for those who wait already: once more, until this one does.
                    change(this);
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                let result = waiting.join().unwrap();
                assert_eq!(result, expected);
            });
            assert!([expected_length, SECOND / 2].contains(&length(this)), "{}", length(this));
        }
    }

    #[test]
    fn sound_comes_in_again_after_a_flush_and_after_the_end() {
        gst::init().unwrap();
        let element = glib::Object::new::<Element>();
        let this = element.imp();
        this.state().flushing.sink = true;
        drop(this.state().start());
        assert_eq!(push(this, 500), Err(gst::FlowError::Flushing), "still");
        this.change(|state| state.flushing.sink = false);
        push(this, 500).unwrap();
        this.end();
        assert_eq!(push(this, 500), Err(gst::FlowError::Eos));
        drop(this.state().start());
        push(this, 500).unwrap();
        assert_eq!(length(this), SECOND / 2);
    }

    /// Sound whose owner asks the element something when it gets it back.
    struct Curious(glib::WeakRef<Element>);

    impl AsRef<[u8]> for Curious {
        fn as_ref(&self) -> &[u8] {
            &[0; 1000]
        }
    }

    impl Drop for Curious {
        fn drop(&mut self) {
            let element = self.0.upgrade().unwrap();
            assert_eq!(element.property::<u64>("backlog"), 0);
            let _ = element.emit_by_name::<gst::Structure>("interrupt", &[]);
        }
    }

    #[test]
    fn who_gets_a_buffer_back_may_ask_the_element() {
        let element = started();
        let this = element.imp();
        let info = AudioInfo::builder(gst_audio::AUDIO_FORMAT_S16, 1000, 1).build().unwrap();
        let changes: [fn(&LipsyncSrc); 3] =
            [LipsyncSrc::clear_backlog, |this| drop(this.interrupt_speech()), LipsyncSrc::end];
        for change in changes {
            let buffer = gst::Buffer::from_slice(Curious(element.downgrade()));
            let sound = Sound::Samples(buffer.into_mapped_buffer_readable().unwrap());
            this.push_sound(&Arc::new(info.clone()), sound, SECOND).unwrap();
            assert_eq!(length(this), SECOND / 2);
            change(this);
            assert_eq!(length(this), 0);
        }
    }

    #[test]
    fn nothing_is_queued_for_a_pad_that_is_not_there() {
        let element = started();
        let this = element.imp();
        this.queue_end(0);
        assert!(this.state().sound_queue.items().is_empty());
        assert_eq!(this.wait_for_sound(), Err(gst::FlowError::Flushing));
        assert_eq!(this.wait_for_video(), Ok(None), "the end");
        this.stop_waiting();
        this.queue_end(1);
        assert_eq!(this.state().video_queue.items().len(), 1);
        assert_eq!(this.wait_for_video(), Err(gst::FlowError::Flushing));
    }
}
