//! The source pad's streaming thread: takes items from the queue, in order, and sends them downstream.

use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_video::VideoInfo;

use super::imp::{CAT, Lipsync, lock};
use crate::elements::messages::Failure;
use crate::elements::queue::Item as QueueItem;
use crate::elements::video_output;
use crate::error::Error;
use crate::painter::{Painted, Ticket};

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

/// What only the source's streaming thread changes.
#[derive(Default)]
pub struct Output {
    format: Option<VideoInfo>,
    last: Option<gst::Buffer>,
}

/// Why nothing more goes through one of the pads.
pub enum Stop {
    Flow(gst::FlowError),
    Failure(Failure),
}

impl Stop {
    /// A failure with a message of its own.
    pub fn message(message: gst::ErrorMessage) -> Self {
        Self::Failure(Failure::Message(message))
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        match error {
            // By a flush or a stop.
            Error::Interrupted => Self::Flow(gst::FlowError::Flushing),
            error => Self::Failure(Failure::Core(error)),
        }
    }
}

impl From<gst::FlowError> for Stop {
    fn from(flow: gst::FlowError) -> Self {
        Self::Flow(flow)
    }
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
        let caps = info.to_caps().map_err(|_| gst::FlowError::NotNegotiated)?;
        gst::debug!(CAT, imp = self, "video is {caps}");
        self.srcpad.push_event(gst::event::Caps::new(&caps));
        let pool = video_output::buffer_pool(&self.srcpad, &info).map_err(|error| {
            gst::error!(CAT, imp = self, "no buffer pool: {error}");
            gst::FlowError::NotNegotiated
        })?;
        self.set_pool(Some(pool));
        *lock(&self.output) = Output { format: Some(info), last: None };
        Ok(())
    }

    fn send_frame(&self, frame: Frame) -> Result<(), Stop> {
        let mut buffer = match frame.ticket {
            Some(ticket) => {
                let painted = ticket.wait()?;
                let buffer = self.draw(&painted)?;
                lock(&self.stats).painted(painted.inference);
                buffer
            }
            None => {
                let Some(last) = lock(&self.output).last.clone() else {
                    lock(&self.stats).skipped();
                    return Ok(());
                };
                lock(&self.stats).repeated();
                last
            }
        };
        {
            let buffer = buffer.make_mut();
            buffer.set_pts(frame.pts);
            buffer.set_duration(frame.duration);
            buffer.set_offset(frame.number);
            buffer.set_offset_end(frame.number + 1);
            buffer.unset_flags(gst::BufferFlags::DISCONT);
            if frame.number == 0 {
                buffer.set_flags(gst::BufferFlags::DISCONT);
            }
        }
        lock(&self.output).last = Some(buffer.clone());
        self.srcpad.push(buffer)?;
        Ok(())
    }

    fn draw(&self, painted: &Painted) -> Result<gst::Buffer, Stop> {
        let format = lock(&self.output).format.clone();
        let (Some(info), Some(pool)) = (format, self.pool()) else {
            return Err(gst::FlowError::NotNegotiated.into());
        };
        let mut buffer = pool.acquire_buffer(None)?;
        video_output::with_picture(buffer.make_mut(), &info, |picture| painted.draw(picture)).map_err(
            |error| {
                Stop::message(gst::error_msg!(
                    gst::ResourceError::Write,
                    ("buffer cannot be written: {error}")
                ))
            },
        )?;
        Ok(buffer)
    }
}
