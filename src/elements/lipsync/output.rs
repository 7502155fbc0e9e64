//! The source pad's streaming thread: takes items from the queue, in order, and sends them downstream.

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_video::VideoInfo;

use super::imp::Lipsync;
use crate::elements::messages::{Failure, Stop};
use crate::elements::queue::Item as QueueItem;
use crate::elements::video_writer::stamp;
use crate::elements::{CAT, lock};
use crate::painter::Ticket;

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
    pub ticket: Option<Ticket>,
}

impl Lipsync {
    /// One turn of the source pad's task.
    pub fn send_next(&self) {
        let Ok(item) = self.queue.pop() else {
            let _ = self.srcpad.pause_task();
            return;
        };
        let Err(stop) = self.send(item) else { return };
        match stop {
            Stop::Flow(flow) => {
                gst::debug!(CAT, imp = self, "stopping: {flow}");
                self.queue.stop(flow);
                // Upstream gets the flow with its next buffer; after its last one nobody else would tell.
                let fatal = !matches!(flow, gst::FlowError::Flushing | gst::FlowError::Eos);
                if fatal && self.input_ended() {
                    gst::element_imp_error!(
                        self,
                        gst::StreamError::Failed,
                        ("downstream refused the video: {flow}")
                    );
                }
                if flow == gst::FlowError::Eos || (fatal && self.input_ended()) {
                    // A sink that has had enough waits for the event.
                    self.srcpad.push_event(gst::event::Eos::new());
                }
            }
            Stop::Failure(failure) => {
                // To upstream this is an orderly end, so that this message stays the only one.
                self.queue.stop(gst::FlowError::Eos);
                self.post_error_message(failure.into_message(self.source().as_deref()));
                self.srcpad.push_event(gst::event::Eos::new());
            }
        }
        let _ = self.srcpad.pause_task();
    }

    fn send(&self, item: Item) -> Result<(), Stop> {
        match item {
            Item::Event(event) => {
                gst::log!(CAT, imp = self, "sending {event:?}");
                self.srcpad.push_event(event);
                Ok(())
            }
            Item::Format(info) => self.send_format(info),
            Item::Frame(frame) => self.send_frame(frame),
            Item::Failure(failure) => Err(Stop::Failure(failure)),
        }
    }

    fn send_format(&self, info: VideoInfo) -> Result<(), Stop> {
        self.writer.set_format(&self.srcpad, info)?;
        *lock(&self.last) = None;
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
        self.srcpad.push(buffer)?;
        Ok(())
    }
}
