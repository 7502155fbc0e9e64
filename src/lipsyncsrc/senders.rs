//! The threads of the source pads: each sends what is in its outlet, at its time, whatever the other does.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use lipsync_core::error::{Error, caught};
use lipsync_core::rate::SECOND;
use lipsync_core::render::live::Speech;
use lipsync_core::render::painter::Painted;

use super::backlog::Chunk;
use super::cause::{Situation, cause_of};
use super::conductor::{Frame, SoundItem, VideoItem};
use super::imp::LipsyncSrc;
use super::pacer::Waiter;
use crate::messages::{Late, Stop};
use crate::video_writer::stamp;
use crate::{CAT, lock};

/// How long the first picture of a new format is waited for, in nanoseconds. Until then the last one would have to do, which may be of
/// another avatar.
const FIRST_PICTURE: u64 = SECOND;

/// What only the video's thread uses.
#[derive(Default)]
pub struct VideoState {
    begun: bool,
    /// The format that goes out.
    format: Option<gst_video::VideoInfo>,
    /// The last picture, and its format.
    last: Option<(gst_video::VideoInfo, gst::Buffer)>,
    /// A frame has been left out since then.
    lost: bool,
    /// Time and number of the last frame that went out.
    pub place: (u64, u64),
}

/// What only the sound's thread uses.
#[derive(Default)]
pub struct SoundState {
    begun: bool,
    pub info: Option<gst_audio::AudioInfo>,
    /// Where the sound that went out ends.
    pub end: Option<u64>,
}

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

    /// Ends a pad: nothing more goes out by it. Without the picture the presenter is at its end: what waits to be spoken, and
    /// who waits to send more, waits in vain.
    fn end_of_pad(&self, pad: &gst::Pad) {
        if *pad == self.srcpad {
            let (time, _) = lock(&self.video_state).place;
            self.tell(&[Speech::Ends(time)]);
            self.video.close();
            self.end();
        } else {
            self.sound.close();
        }
        pad.push_event(gst::event::Eos::new());
    }

    fn next_video(&self) -> Result<(), Stop> {
        self.begin_video();
        let pts = self.video.peek(|item| match item {
            VideoItem::Frame(frame) => Some(frame.pts),
            _ => None,
        });
        if let Some(pts) = pts.ok_or(gst::FlowError::Flushing)? {
            self.wait_to_send(Waiter::Video, pts, 0)?;
        }
        let sent = match self.video.pop() {
            Some(VideoItem::Format(info)) => self.send_format(info),
            Some(VideoItem::Frame(frame)) => self.send_frame(frame),
            Some(VideoItem::End(time)) => {
                self.tell(&[Speech::Ends(time)]);
                Err(gst::FlowError::Eos.into())
            }
            None => Ok(()),
        };
        match sent {
            // Downstream wants another format by now; what is still under way in the old one it does not take.
            Err(Stop::Flow(gst::FlowError::NotNegotiated)) if self.is_renegotiating() => {
                gst::debug!(CAT, imp = self, "downstream has changed its mind: a frame is left out");
                lock(&self.stats).skipped();
                lock(&self.video_state).lost = true;
                Ok(())
            }
            sent => sent,
        }
    }

    fn send_format(&self, info: gst_video::VideoInfo) -> Result<(), Stop> {
        lock(&self.video_state).format = Some(info.clone());
        self.writer.set_format(&self.srcpad, info)?;
        self.send_segment(&self.srcpad);
        Ok(())
    }

    /// Whether another format is on its way, or will be. Asked in the order in which the conductor passes it on.
    fn is_renegotiating(&self) -> bool {
        self.srcpad.needs_reconfigure()
            || self.negotiating.load(Ordering::SeqCst)
            || self.video.change(|items| items.iter().any(|item| matches!(item, VideoItem::Format(_))))
    }

    fn begin_video(&self) {
        if !std::mem::replace(&mut lock(&self.video_state).begun, true) {
            self.send_stream_start(&self.srcpad, "video");
        }
    }

    fn send_stream_start(&self, pad: &gst::Pad, name: &str) {
        let id = pad.create_stream_id(&*self.obj(), Some(name));
        let event = gst::event::StreamStart::builder(&id).group_id(self.group_id()).build();
        pad.push_event(event);
    }

    fn send_segment(&self, pad: &gst::Pad) {
        pad.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
    }

    fn send_frame(&self, frame: Frame) -> Result<(), Stop> {
        self.tell(&frame.news);
        let (format, last) = {
            let state = lock(&self.video_state);
            (state.format.clone().ok_or(gst::FlowError::NotNegotiated)?, state.last.clone())
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
        let lost = std::mem::take(&mut lock(&self.video_state).lost);
        stamp(
            &mut buffer,
            gst::ClockTime::from_nseconds(frame.pts),
            gst::ClockTime::from_nseconds(frame.duration),
            frame.number,
            frame.discont || lost,
        );
        {
            let mut state = lock(&self.video_state);
            state.last = Some((format, buffer.clone()));
            state.place = (frame.pts, frame.number);
        }
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
        if painted.inference.is_some()
            && let Some(asked_at) = frame.asked_at
        {
            lock(&self.overload).in_time(asked_at, self.least_interval());
        }
        lock(&self.stats).painted(painted.inference);
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
            let painted = frame.ticket.wait_for(PIECE);
            if self.pacer.is_stopped() {
                return Err(gst::FlowError::Flushing.into());
            }
            if painted.is_some() {
                return Ok(painted);
            }
            if latest.is_some_and(|latest| self.pacer.now().is_some_and(|now| now.nseconds() >= latest)) {
                return Ok(None);
            }
        }
    }

    /// Takes note that the last picture goes out once more because this one cannot be painted.
    fn note_failed(&self, frame: &Frame, error: &Error) {
        lock(&self.stats).repeated();
        gst::debug!(CAT, imp = self, "frame {} cannot be painted: {error}", frame.number);
        if lock(&self.told).is_due(cause_of(error), frame.pts) {
            gst::element_imp_warning!(
                self,
                gst::StreamError::Failed,
                (
                    "frame {} cannot be painted, and the last picture is shown once more: {error}",
                    frame.number
                )
            );
        }
    }

    /// Takes note that the last picture goes out once more because the next one is not ready.
    fn note_late(&self, frame: &Frame) {
        let (painted, repeated) = {
            let mut stats = lock(&self.stats);
            stats.repeated();
            stats.processed_and_dropped()
        };
        let time = gst::ClockTime::from_nseconds(frame.pts);
        Late {
            running_time: time,
            stream_time: Some(time),
            pts: time,
            duration: gst::ClockTime::from_nseconds(frame.duration),
            jitter: frame.duration as i64,
            processed: painted,
            dropped: repeated,
        }
        .post(&*self.obj());
        let pace = frame.painter.pace();
        let duration = Duration::from_nanos(frame.duration);
        let least = self.least_interval();
        let interval = {
            let mut overload = lock(&self.overload);
            if let Some(asked_at) = frame.asked_at {
                overload.late(frame.pts, asked_at, least, pace.load(duration));
            }
            overload.interval(least)
        };
        if lock(&self.alarm).late(frame.pts) {
            let declared = self.settings().processing_latency.into();
            let situation = Situation { pace, frame: duration, declared, least, interval };
            gst::element_imp_warning!(self, gst::ResourceError::Busy, ("{}", situation.sentence()));
        }
    }

    /// Tells the application what begins or ends with the frame that goes out now.
    fn tell(&self, news: &[Speech]) {
        for speech in news {
            let (name, time, speaking) = match *speech {
                Speech::Starts(time) => ("lipsync-speech-start", time, true),
                Speech::Ends(time) => ("lipsync-speech-end", time, false),
            };
            // An interruption ends what may not have begun.
            if self.set_speaking(speaking) == speaking {
                continue;
            }
            let structure = gst::Structure::builder(name)
                .field("running-time", gst::ClockTime::from_nseconds(time))
                .build();
            let element = self.obj();
            let _ = element.post_message(gst::message::Element::builder(structure).src(&*element).build());
            element.notify("speaking");
        }
    }

    fn next_sound(&self, pad: &gst::Pad) -> Result<(), Stop> {
        if !std::mem::replace(&mut lock(&self.sound_state).begun, true) {
            self.in_downstream(|| self.send_stream_start(pad, "audio"));
        }
        let start = self.sound.peek(|item| match item {
            SoundItem::Chunk(chunk) => Some(chunk.start),
            SoundItem::End => None,
        });
        if let Some(start) = start.ok_or(gst::FlowError::Flushing)? {
            self.wait_to_send(Waiter::Sound, start, self.sound_earlier())?;
        }
        self.in_downstream(|| match self.sound.pop() {
            Some(SoundItem::Chunk(chunk)) => self.send_chunk(pad, chunk),
            Some(SoundItem::End) => Err(gst::FlowError::Eos.into()),
            None => Ok(()),
        })
    }

    /// Sends what may be held up by whoever is behind the pad of the sound.
    fn in_downstream<T>(&self, send: impl FnOnce() -> T) -> T {
        self.sending_sound.store(true, Ordering::SeqCst);
        let sent = send();
        self.sending_sound.store(false, Ordering::SeqCst);
        sent
    }

    fn send_chunk(&self, pad: &gst::Pad, mut chunk: Chunk) -> Result<(), Stop> {
        let end = chunk.end();
        // What the pad's offset would move to before the beginning, muxers take for anything.
        chunk.cut_before(self.sound_earlier());
        if chunk.bytes.is_empty() {
            return Ok(());
        }
        let (same, follows) = {
            let mut state = lock(&self.sound_state);
            let same = state.info.as_ref() == Some(&*chunk.info);
            let follows = state.end == Some(chunk.start);
            state.info = Some((*chunk.info).clone());
            state.end = Some(end);
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

    /// Starts a source pad's task; a panic in it becomes an element error.
    pub fn start_sending(&self, pad: &gst::Pad, send: fn(&Self, &gst::Pad)) -> Result<(), glib::BoolError> {
        let element = self.obj().downgrade();
        let pad_weak = pad.downgrade();
        pad.start_task(move || {
            let (Some(element), Some(pad)) = (element.upgrade(), pad_weak.upgrade()) else { return };
            let sent = element.imp().catch_panic(
                || false,
                |imp| {
                    send(imp, &pad);
                    true
                },
            );
            if !sent {
                let _ = pad.pause_task();
            }
        })
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
        Ok(target)
    };
    convert().map_err(|error: glib::BoolError| {
        Stop::message(gst::error_msg!(
            gst::StreamError::Failed,
            ("the last picture cannot be shown in another format: {error}. Set the caps before the start")
        ))
    })
}
