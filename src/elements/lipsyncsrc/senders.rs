//! The threads of the source pads: each sends what is in its outlet, at its time, whatever the other does.

use std::time::Duration;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;

use super::backlog::Chunk;
use super::conductor::{Frame, SoundItem, VideoItem};
use super::imp::LipsyncSrc;
use crate::elements::messages::{Late, Stop};
use crate::elements::video_writer::stamp;
use crate::elements::{CAT, lock};
use crate::error::Error;
use crate::live::Speech;
use crate::painter::Painted;

/// What only the video's thread uses.
#[derive(Default)]
pub struct VideoState {
    begun: bool,
    last: Option<gst::Buffer>,
}

/// What only the sound's thread uses.
#[derive(Default)]
pub struct SoundState {
    begun: bool,
    info: Option<gst_audio::AudioInfo>,
    end: Option<u64>,
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
                pad.push_event(gst::event::Eos::new());
            }
            Stop::Failure(failure) => {
                self.post_error_message(failure.into_message(None));
                pad.push_event(gst::event::Eos::new());
            }
        }
        let _ = pad.pause_task();
    }

    fn next_video(&self) -> Result<(), Stop> {
        self.begin_video();
        let pts = self.video.peek(|item| match item {
            VideoItem::Frame(frame) => Some(frame.pts),
            _ => None,
        });
        if let Some(pts) = pts.ok_or(gst::FlowError::Flushing)? {
            self.wait_to_send(pts, 0)?;
        }
        match self.video.pop() {
            Some(VideoItem::Format(info)) => {
                self.writer.set_format(&self.srcpad, info)?;
                lock(&self.video_state).last = None;
                self.send_segment(&self.srcpad);
                Ok(())
            }
            Some(VideoItem::Frame(frame)) => self.send_frame(frame),
            Some(VideoItem::End(time)) => {
                self.tell(&[Speech::Ends(time)]);
                Err(gst::FlowError::Eos.into())
            }
            None => Ok(()),
        }
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
        let last = lock(&self.video_state).last.clone();
        let painted = match last {
            Some(_) => self.wait_for_picture(&frame)?,
            None => Some(frame.ticket.wait()),
        };
        let mut buffer = match (painted, last) {
            (Some(Ok(painted)), _) => {
                if painted.inference.is_some() {
                    lock(&self.overload).in_time(self.least_interval());
                }
                lock(&self.stats).painted(painted.inference);
                self.writer.draw(&painted)?
            }
            (None | Some(Err(Error::Interrupted)), Some(last)) => {
                self.note_late(frame.pts, frame.duration);
                last
            }
            (Some(Err(error)), _) => return Err(error.into()),
            (None, None) => return Ok(()),
        };
        stamp(
            &mut buffer,
            gst::ClockTime::from_nseconds(frame.pts),
            gst::ClockTime::from_nseconds(frame.duration),
            frame.number,
            frame.discont,
        );
        lock(&self.video_state).last = Some(buffer.clone());
        self.srcpad.push(buffer)?;
        Ok(())
    }

    /// The picture, if it is ready within half a frame: what comes later comes too late. By the pipeline's clock, so that
    /// no picture is late where that clock is not that of the machine.
    fn wait_for_picture(&self, frame: &Frame) -> Result<Option<Result<Painted, Error>>, Stop> {
        const PIECE: Duration = Duration::from_millis(2);
        let latest = frame.pts + self.latency().nseconds() + frame.duration / 2;
        loop {
            if let Some(painted) = frame.ticket.wait_for(PIECE) {
                return Ok(Some(painted));
            }
            if self.pacer.is_stopped() {
                return Err(gst::FlowError::Flushing.into());
            }
            if self.pacer.now().is_some_and(|now| now.nseconds() >= latest) {
                return Ok(None);
            }
        }
    }

    /// Takes note that the last picture goes out once more because the next one is not ready.
    fn note_late(&self, pts: u64, duration: u64) {
        let (painted, repeated) = {
            let mut stats = lock(&self.stats);
            stats.repeated();
            stats.processed_and_dropped()
        };
        let time = gst::ClockTime::from_nseconds(pts);
        Late {
            running_time: time,
            stream_time: Some(time),
            pts: time,
            duration: gst::ClockTime::from_nseconds(duration),
            jitter: duration as i64,
            processed: painted,
            dropped: repeated,
        }
        .post(&*self.obj());
        if lock(&self.overload).late() {
            let needed = lock(&self.stats).mean_inference();
            let declared = self.settings().processing_latency;
            gst::element_imp_warning!(
                self,
                gst::ResourceError::Busy,
                (
                    "the machine cannot keep up: the generator takes {:.0} ms a frame, and {:.0} ms are declared as processing-latency, of frames of {:.0} ms. Raise processing-latency or inference-interval, lower the frame rate, or use a smaller network or a GPU",
                    needed.as_secs_f64() * 1e3,
                    declared.nseconds() as f64 / 1e6,
                    duration as f64 / 1e6
                )
            );
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
            self.send_stream_start(pad, "audio");
        }
        let start = self.sound.peek(|item| match item {
            SoundItem::Chunk(chunk) => Some(chunk.start),
            SoundItem::End => None,
        });
        if let Some(start) = start.ok_or(gst::FlowError::Flushing)? {
            self.wait_to_send(start, self.sound_earlier())?;
        }
        match self.sound.pop() {
            Some(SoundItem::Chunk(chunk)) => self.send_chunk(pad, chunk),
            Some(SoundItem::End) => Err(gst::FlowError::Eos.into()),
            None => Ok(()),
        }
    }

    fn send_chunk(&self, pad: &gst::Pad, chunk: Chunk) -> Result<(), Stop> {
        let (same, follows) = {
            let mut state = lock(&self.sound_state);
            let same = state.info.as_ref() == Some(&*chunk.info);
            let follows = state.end == Some(chunk.start);
            state.info = Some((*chunk.info).clone());
            state.end = Some(chunk.end());
            (same, follows)
        };
        if !same {
            let caps = chunk.info.to_caps().map_err(|_| gst::FlowError::NotNegotiated)?;
            gst::debug!(CAT, imp = self, "sound out is {caps}");
            pad.push_event(gst::event::Caps::new(&caps));
            self.send_segment(pad);
        }
        let (start, duration) = (chunk.start, chunk.end() - chunk.start);
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
