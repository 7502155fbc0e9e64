//! The source pad's streaming thread: takes items from the queue, in order, and sends them downstream.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_video::VideoInfo;
use lipsync_core::render::painter::PendingFrame;

use super::imp::Lipsync;
use crate::messages::{Failure, Stop};
use crate::queue::Item as QueueItem;
use crate::video_writer::stamp;
use crate::{CAT, lock};

/// A pipeline that gets no sound of a file for that long has stalled.
const STALL: Duration = Duration::from_secs(5);

/// What goes from the sink's thread to the source's.
pub enum Item {
    /// An event for downstream.
    Event(gst::Event),
    /// From here on frames have this format.
    Format(VideoInfo),
    /// A frame of video.
    Frame(Frame),
    /// The sound cannot be followed any further: tell the application and end the stream.
    Failure(Failure),
}

impl Item {
    /// The event, if it is one.
    pub fn into_event(self) -> Option<gst::Event> {
        match self {
            Self::Event(event) => Some(event),
            _ => None,
        }
    }
}

impl QueueItem for Item {
    fn is_frame(&self) -> bool {
        matches!(self, Self::Frame(_))
    }
}

/// A frame of video that is being painted.
pub struct Frame {
    pub pts: gst::ClockTime,
    pub duration: gst::ClockTime,
    /// Number since the last discontinuity; 0 is marked as one.
    pub number: u64,
    /// `None`: it would be late, so the last picture is shown once more.
    pub ticket: Option<PendingFrame>,
}

impl Lipsync {
    /// One turn of the source pad's task.
    pub fn send_next(&self) {
        let item = match self.queue.pop(STALL) {
            Ok(Some(item)) => item,
            Ok(None) => return self.note_stall(),
            Err(_) => {
                let _ = self.srcpad.pause_task();
                // Who has opened the queue meanwhile started a task that was not paused yet.
                if self.queue.flow().is_ok() {
                    let _ = self.start_task();
                }
                return;
            }
        };
        match self.send(item) {
            Ok(()) => {}
            Err(Stop::Flow(flow)) => {
                gst::debug!(CAT, imp = self, "stopping: {flow}");
                if flow == gst::FlowError::Eos {
                    // A sink that has had enough waits for the event.
                    self.send_end();
                }
                self.stop_sending(flow);
                // Upstream gets the flow with its next buffer; after its last one nobody else would tell.
                if self.input_ended() {
                    self.tell_refusal(flow);
                }
            }
            Err(Stop::Failure(failure)) => {
                self.post_error_message(failure.into_message(self.source().as_deref()));
                self.send_end();
                // To upstream this is an orderly end, so that this message stays the only one.
                self.stop_sending(gst::FlowError::Eos);
            }
        }
    }

    /// Lets nothing through any more. The task is paused first: whoever opens the queue again starts it behind that.
    pub fn stop_sending(&self, flow: gst::FlowError) {
        let _ = self.srcpad.pause_task();
        self.queue.stop(flow);
    }

    /// Tells the application, once, that downstream refused the video, where upstream has not been told so, and ends it.
    pub fn tell_refusal(&self, flow: gst::FlowError) {
        let fatal = !matches!(flow, gst::FlowError::Flushing | gst::FlowError::Eos);
        if fatal && !self.flow_told.swap(true, Ordering::SeqCst) {
            gst::element_imp_error!(self, gst::StreamError::Failed, ("downstream refused the video: {flow}"));
            self.send_end();
        }
    }

    /// Sends an end of our own, as part of what the current segment belongs to.
    fn send_end(&self) {
        let segment = self.srcpad.sticky_event::<gst::event::Segment>(0);
        let end = gst::event::Eos::builder().seqnum_if_some(segment.map(|segment| segment.seqnum()));
        self.srcpad.push_event(end.build());
    }

    /// Warns, once, where the pipeline stands still because the sound stays away: the other way of a tee is full.
    fn note_stall(&self) {
        if !self.is_starving() || self.stall_told.swap(true, Ordering::Relaxed) {
            return;
        }
        gst::element_imp_warning!(
            self,
            gst::StreamError::Failed,
            ("the pipeline stands still: no more sound comes in, and downstream waits for more video. If the sound also goes another way, behind a tee, the queue of that way is full: give it max-size-time=0 max-size-bytes=0 max-size-buffers=0, because a frame waits for sound that comes after it, and encoders of video look further ahead than the queue holds")
        );
    }

    fn send(&self, item: Item) -> Result<(), Stop> {
        match item {
            Item::Event(event) => {
                gst::log!(CAT, imp = self, "sending {event:?}");
                if !self.srcpad.push_event(event.clone())
                    && self.queue.flow() == Err(gst::FlowError::Flushing)
                {
                    // A flush keeps those that are sticky.
                    self.queue.put_back(Item::Event(event));
                }
                Ok(())
            }
            Item::Format(info) => self.send_format(info),
            Item::Frame(frame) => self.send_frame(frame),
            Item::Failure(failure) => Err(Stop::Failure(failure)),
        }
    }

    fn send_format(&self, info: VideoInfo) -> Result<(), Stop> {
        if self.writer.set_format(&self.srcpad, info)? {
            *lock(&self.last) = None;
        }
        Ok(())
    }

    fn send_frame(&self, frame: Frame) -> Result<(), Stop> {
        let mut buffer = match frame.ticket {
            Some(ticket) => {
                let painted = ticket.wait()?;
                let buffer = self.writer.draw(&painted)?;
                lock(&self.stats).painted(painted.inference);
                buffer
            }
            None => {
                let Some(last) = lock(&self.last).clone() else {
                    lock(&self.stats).skipped();
                    return Ok(());
                };
                lock(&self.stats).repeated();
                last
            }
        };
        stamp(&mut buffer, frame.pts, frame.duration, frame.number, frame.number == 0);
        *lock(&self.last) = Some(buffer.clone());
        *lock(&self.sent_until) = Some(frame.pts + frame.duration);
        self.srcpad.push(buffer)?;
        Ok(())
    }
}
