// SPDX-License-Identifier: MPL-2.0
//! The tasks of the source pads: each sends what is queued for its pad, at its time, whatever the other does.

use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use lipsync_core::error::{Error, caught};
use lipsync_core::rate::SECOND;
use lipsync_core::render::painter::Painted;

use super::frame::{Frame, SoundItem, SpeechEvent, VideoItem};
use super::sound::Chunk;
use super::state::{LipsyncSrc, Waiter};
use crate::CAT;
use crate::ledger::Reason;
use crate::messages::Stop;
use crate::video_writer::{scale_face, stamp};

/// How long the first picture of a new format is waited for, in nanoseconds. Until then the last one would have to do, which may be of
/// another avatar.
const FIRST_PICTURE: u64 = SECOND;

impl LipsyncSrc {
    /// One turn of the video pad's task.
    pub fn send_video(&self) {
        let sent = self.next_video();
        self.settle(&self.srcpad, sent);
    }

    /// One turn of the audio pad's task.
    pub fn send_sound(&self, pad: &gst::Pad) {
        let sent = match self.next_sound(pad) {
            // The picture does not need somebody to listen.
            Err(Stop::Flow(gst::FlowError::NotLinked)) => Ok(()),
            sent => sent,
        };
        self.settle(pad, sent);
    }

    /// Pauses a pad's task where nothing more goes through, and tells the application if that is a failure.
    fn settle(&self, pad: &gst::Pad, sent: Result<(), Stop>) {
        let Err(stop) = sent else { return };
        match stop {
            Stop::Flow(gst::FlowError::Flushing) => {}
            Stop::Flow(flow) => {
                if flow != gst::FlowError::Eos {
                    gst::element_imp_error!(
                        self,
                        gst::StreamError::Failed,
                        ("streaming from the pad {} stopped: {flow}", pad.name())
                    );
                }
                self.end_of_pad(pad);
            }
            Stop::Failure(failure) => {
                self.post_error_message(failure.into_message(None));
                self.end_of_pad(pad);
            }
        }
        let _ = pad.pause_task();
    }

    /// Ends a pad: nothing more goes out by it. Without video the element is finished: queued speech is dropped, and whoever waits
    /// to send more is released.
    fn end_of_pad(&self, pad: &gst::Pad) {
        if *pad == self.srcpad {
            let (time, _) = self.state().video_task.place;
            self.post_told(&[SpeechEvent::Ends(time, Reason::Eos)], time);
            self.change(|state| state.flushing.video = true);
            self.end();
        } else {
            self.change(|state| state.flushing.sound = true);
        }
        let end = || pad.push_event(gst::event::Eos::new());
        // A sink that is paused holds it up.
        if *pad == self.srcpad {
            end()
        } else {
            self.in_downstream(end)
        };
    }

    fn next_video(&self) -> Result<(), Stop> {
        self.begin_video();
        if let Some(pts) = self.wait_for_video()? {
            self.wait_to_send(Waiter::Video, pts, 0)?;
        }
        let item = {
            let mut state = self.state();
            let item = state.video_queue.pop();
            // What nobody listens to has come out where it is shown.
            if let Some(frame) = item.as_ref().and_then(VideoItem::frame)
                && state.is_flushing(Waiter::Sound)
            {
                state.ledger.play_until(frame.pts + frame.duration);
            }
            item
        };
        let sent = match item {
            Some(VideoItem::Format(info)) => self.send_format(info),
            Some(VideoItem::Frame(frame)) => self.send_frame(frame),
            Some(VideoItem::End(time)) => {
                self.post_told(&[SpeechEvent::Ends(time, Reason::Eos)], u64::MAX);
                Err(gst::FlowError::Eos.into())
            }
            None => Ok(()),
        };
        match sent {
            // Downstream wants another format by now; what is still under way in the old one it does not take.
            Err(Stop::Flow(gst::FlowError::NotNegotiated)) if self.is_renegotiating() => {
                gst::debug!(CAT, imp = self, "downstream has changed its mind: a frame is left out");
                let mut state = self.state();
                state.stats.skipped();
                state.video_task.lost = true;
                Ok(())
            }
            sent => sent,
        }
    }

    fn send_format(&self, info: gst_video::VideoInfo) -> Result<(), Stop> {
        self.state().video_task.format = Some(info.clone());
        self.writer.set_format(&self.srcpad, info)?;
        self.send_segment(&self.srcpad);
        Ok(())
    }

    /// Whether another format is on its way, or will be. Asked in the order in which the scheduler passes it on.
    fn is_renegotiating(&self) -> bool {
        if self.srcpad.needs_reconfigure() {
            return true;
        }
        let state = self.state();
        state.is_negotiating
            || state.video_queue.items().iter().any(|item| matches!(item, VideoItem::Format(_)))
    }

    fn begin_video(&self) {
        let begun = std::mem::replace(&mut self.state().video_task.begun, true);
        if !begun {
            self.send_stream_start(&self.srcpad, "video");
        }
    }

    fn send_stream_start(&self, pad: &gst::Pad, name: &str) {
        let id = pad.create_stream_id(&*self.obj(), Some(name));
        let group = *self.state().group.get_or_insert_with(gst::GroupId::next);
        let event = gst::event::StreamStart::builder(&id).group_id(group).build();
        pad.push_event(event);
    }

    fn send_segment(&self, pad: &gst::Pad) {
        pad.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    }

    fn send_frame(&self, frame: Frame) -> Result<(), Stop> {
        self.post_told(&frame.speech_events, frame.pts + frame.duration);
        let (format, last) = {
            let task = &self.state().video_task;
            (task.format.clone().ok_or(gst::FlowError::NotNegotiated)?, task.last.clone())
        };
        let patience = match &last {
            Some((before, _)) if *before == format => Some(frame.duration / 2),
            Some(_) => Some(FIRST_PICTURE),
            None => None,
        };
        let drawn = match self.wait_for_picture(&frame, patience)? {
            Some(Ok(painted)) => self.draw(&frame, &painted)?,
            Some(Err(error)) => Err(error),
            None => Err(Error::Interrupted),
        };
        let mut buffer = match (drawn, last) {
            (Ok(buffer), _) => buffer,
            (Err(error), Some(last)) => {
                match error {
                    Error::Interrupted => self.note_late(&frame),
                    // A file that has gone, say: the show goes on.
                    error => self.note_failed(&frame, &error),
                }
                convert(last, &format)?
            }
            (Err(error), None) => return Err(error.into()),
        };
        let lost = std::mem::take(&mut self.state().video_task.lost);
        stamp(
            &mut buffer,
            gst::ClockTime::from_nseconds(frame.pts),
            gst::ClockTime::from_nseconds(frame.duration),
            frame.number,
            frame.discont || lost,
        );
        let old = {
            let task = &mut self.state().video_task;
            task.place = (frame.pts, frame.number);
            task.last.replace((format, buffer.clone()))
        };
        drop(old);
        self.srcpad.push(buffer)?;
        Ok(())
    }

    /// A buffer with the picture, or why there is none; a panic, too, costs no more than a picture.
    fn draw(&self, frame: &Frame, painted: &Painted) -> Result<Result<gst::Buffer, Error>, Stop> {
        let model = || frame.network();
        let buffer = match caught(|| self.writer.draw(painted)) {
            Ok(Ok(buffer)) => buffer,
            Ok(Err(Stop::Flow(gst::FlowError::Error))) => {
                let problem = "there is no memory for its picture";
                return Ok(Err(Error::inference(model(), problem)));
            }
            Ok(Err(stop)) => return Err(stop),
            Err(panic) => {
                let problem = format!("its picture is not drawn: {panic}");
                return Ok(Err(Error::inference(model(), problem)));
            }
        };
        let least = self.least_interval();
        let mut state = self.state();
        if painted.inference.is_some()
            && let Some(asked_at) = frame.asked_at
        {
            state.overload.in_time(asked_at, least);
        }
        state.stats.painted(painted.inference);
        Ok(Ok(buffer))
    }

    /// The picture, if it is ready within so many nanoseconds behind its time: what comes later comes too late, unless there is
    /// nothing else to show. By the pipeline's clock, so that no picture is late where that clock is not that of the machine.
    fn wait_for_picture(
        &self,
        frame: &Frame,
        patience: Option<u64>,
    ) -> Result<Option<Result<Painted, Error>>, Stop> {
        const PIECE: Duration = Duration::from_millis(2);
        let latest = patience.map(|patience| frame.pts + self.latency().nseconds() + patience);
        loop {
            let painted = frame.pending.wait_for(PIECE);
            if self.is_stopped() {
                return Err(gst::FlowError::Flushing.into());
            }
            if painted.is_some() {
                return Ok(painted);
            }
            if latest.is_some_and(|latest| self.now().is_some_and(|now| now.nseconds() >= latest)) {
                return Ok(None);
            }
        }
    }

    fn next_sound(&self, pad: &gst::Pad) -> Result<(), Stop> {
        let begun = std::mem::replace(&mut self.state().sound_task.begun, true);
        if !begun {
            self.in_downstream(|| self.send_stream_start(pad, "audio"));
        }
        if let Some(start) = self.wait_for_sound()? {
            self.wait_to_send(Waiter::Sound, start, self.sound_earlier())?;
        }
        let earlier = self.sound_earlier();
        self.in_downstream(|| {
            let item = {
                let mut state = self.state();
                let mut item = state.sound_queue.pop();
                if let Some(chunk) = item.as_mut().and_then(SoundItem::chunk_mut) {
                    let (piece, end, samples) = (chunk.start, chunk.end(), chunk.samples());
                    // Muxers mishandle timestamps that the pad's offset would make negative.
                    chunk.cut_before(earlier);
                    state.ledger.skip(piece, samples - chunk.samples());
                    state.ledger.play_piece(piece, end);
                }
                item
            };
            match item {
                Some(SoundItem::Chunk(chunk)) => self.send_chunk(pad, chunk),
                Some(SoundItem::End) => Err(gst::FlowError::Eos.into()),
                None => Ok(()),
            }
        })
    }

    /// Sends what may be held up by whoever is behind the pad of the sound.
    fn in_downstream<T>(&self, send: impl FnOnce() -> T) -> T {
        /// Also where `send` panics.
        struct Sending<'a>(&'a LipsyncSrc);

        impl Drop for Sending<'_> {
            fn drop(&mut self) {
                self.0.state().is_sending_sound = false;
            }
        }

        self.state().is_sending_sound = true;
        let _sending = Sending(self);
        send()
    }

    /// By how much the sound goes out earlier than its own time says, in nanoseconds.
    fn sound_earlier(&self) -> u64 {
        self.settings().live.audio_offset.min(0).unsigned_abs()
    }

    /// Waits until it is time to send what is of that time; `earlier` by so many nanoseconds.
    fn wait_to_send(&self, waiter: Waiter, time: u64, earlier: u64) -> Result<(), gst::FlowError> {
        let moment = gst::ClockTime::from_nseconds(time) + self.latency();
        self.wait_until(waiter, moment.saturating_sub(gst::ClockTime::from_nseconds(earlier)))
    }

    fn send_chunk(&self, pad: &gst::Pad, chunk: Chunk) -> Result<(), Stop> {
        let end = chunk.end();
        if chunk.bytes.is_empty() {
            return Ok(());
        }
        let (same, follows) = {
            let task = &mut self.state().sound_task;
            let same = task.info.as_ref() == Some(&*chunk.info);
            let follows = task.end == Some(chunk.start);
            task.info = Some((*chunk.info).clone());
            task.end = Some(end);
            (same, follows)
        };
        if !same {
            let caps = chunk.info.to_caps().map_err(|_| gst::FlowError::NotNegotiated)?;
            gst::debug!(CAT, imp = self, "sound out is {caps}");
            pad.push_event(gst::event::Caps::new(&caps));
            self.send_segment(pad);
        }
        let (start, duration) = (chunk.start, end - chunk.start);
        let mut buffer = gst::Buffer::from_mut_slice(chunk.bytes);
        {
            let buffer = buffer.make_mut();
            buffer.set_pts(gst::ClockTime::from_nseconds(start));
            buffer.set_duration(gst::ClockTime::from_nseconds(duration));
            if !follows {
                buffer.set_flags(gst::BufferFlags::DISCONT);
            }
        }
        match pad.push(buffer) {
            Err(gst::FlowError::NotNegotiated) => Err(Stop::message(gst::error_msg!(
                gst::CoreError::Negotiation,
                ("downstream does not take the sound as it came in. Put audioconvert ! audioresample behind the pad audio")
            ))),
            sent => Ok(sent.map(drop)?),
        }
    }
}

/// A picture in another format and size: what there is to show of one format where there is nothing yet in another.
fn convert(
    (before, picture): (gst_video::VideoInfo, gst::Buffer),
    format: &gst_video::VideoInfo,
) -> Result<gst::Buffer, Stop> {
    if before == *format {
        return Ok(picture);
    }
    let convert = || {
        // The rate is none of a picture.
        let before = gst_video::VideoInfo::builder_from_info(&before).fps(format.fps()).build()?;
        let converter = gst_video::VideoConverter::new(&before, format, None)?;
        let mut target = gst::Buffer::with_size(format.size())?;
        {
            let source = gst_video::VideoFrameRef::from_buffer_ref_readable(&picture, &before)?;
            let target = target.make_mut();
            let mut target = gst_video::VideoFrameRef::from_buffer_ref_writable(target, format)?;
            converter.frame_ref(&source, &mut target);
        }
        scale_face((&picture, &before), (target.make_mut(), format));
        Ok(target)
    };
    convert().map_err(|error: glib::BoolError| {
        Stop::message(gst::error_msg!(
            gst::StreamError::Failed,
            ("the last picture cannot be shown in another format: {error}. Set the caps before the start")
        ))
    })
}
