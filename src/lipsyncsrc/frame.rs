// SPDX-License-Identifier: MPL-2.0
//! What the scheduler has for the source pads: frames that are being painted, and pieces of the sound.

use std::path::PathBuf;
use std::sync::Arc;

use gst_video::VideoInfo;
use lipsync_core::avatar::frames::{FrameStore, Shot};
use lipsync_core::render::live::Speech;
use lipsync_core::render::painter::{Painter, PendingFrame};

use super::output_queue::Item;
use super::sound::Chunk;
use crate::ledger::Reason;

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
    pub pending: PendingFrame,
    /// The interval at which a new mouth was asked for, if one was.
    pub asked_at: Option<u32>,
    /// The picture of the avatar.
    pub shot: Shot,
    pub frames: Arc<FrameStore>,
    /// Kept so that a change of the avatar does not call it off.
    pub painter: Arc<Painter>,
    /// What begins and ends with this frame.
    pub speech_events: Vec<SpeechEvent>,
}

/// The beginning or the end of speech, at a time in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpeechEvent {
    Starts(u64),
    Ends(u64, Reason),
}

impl SpeechEvent {
    /// When it happens.
    pub fn time(self) -> u64 {
        match self {
            Self::Starts(time) | Self::Ends(time, _) => time,
        }
    }
}

impl From<Speech> for SpeechEvent {
    fn from(speech: Speech) -> Self {
        match speech {
            Speech::Starts(time) => Self::Starts(time),
            Speech::Ends(time) => Self::Ends(time, Reason::Finished),
        }
    }
}

impl Frame {
    /// The file of the network that paints it.
    pub fn network(&self) -> PathBuf {
        self.frames.avatar().generator.clone()
    }
}

impl VideoItem {
    /// The frame, if it is one.
    pub fn frame(&self) -> Option<&Frame> {
        match self {
            Self::Frame(frame) => Some(frame),
            _ => None,
        }
    }

    /// The frame, if it is one, to be changed.
    pub fn frame_mut(&mut self) -> Option<&mut Frame> {
        match self {
            Self::Frame(frame) => Some(frame),
            _ => None,
        }
    }
}

impl Item for VideoItem {
    fn may_be_dropped(&self) -> bool {
        self.frame().is_some()
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

impl SoundItem {
    /// The sound, if it is not the end.
    pub fn chunk(&self) -> Option<&Chunk> {
        match self {
            Self::Chunk(chunk) => Some(chunk),
            Self::End => None,
        }
    }

    /// The sound, if it is not the end, to be changed.
    pub fn chunk_mut(&mut self) -> Option<&mut Chunk> {
        match self {
            Self::Chunk(chunk) => Some(chunk),
            Self::End => None,
        }
    }
}

impl Item for SoundItem {
    fn may_be_dropped(&self) -> bool {
        self.chunk().is_some()
    }

    fn replaces(&self, _before: &Self) -> bool {
        false
    }
}
