// SPDX-License-Identifier: MPL-2.0
//! Agreeing with downstream on formats.

use std::sync::Arc;

use gst::prelude::*;
use gst_audio::AudioInfo;
use gst_video::VideoInfo;
use lipsync_core::avatar::frames::FrameStore;
use lipsync_core::picture::formats::Canvas;
use lipsync_core::rate::FrameRate;

use super::render_state::RenderState;
use super::state::LipsyncSrc;
use crate::loaded::Loaded;
use crate::messages::Stop;
use crate::{audio_input, video_output};

fn canvas_of(loaded: &Loaded, format: &VideoInfo) -> Canvas {
    Canvas { format: video_output::pixel_format(format), background: loaded.settings.background() }
}

/// The frame rate of a format, if it has one.
pub fn frame_rate(format: &VideoInfo) -> Option<FrameRate> {
    let (frames, seconds) = (format.fps().numer(), format.fps().denom());
    FrameRate::new(frames.try_into().ok()?, seconds.try_into().ok()?)
}

/// The frames of an avatar in a format.
pub fn frames_in(loaded: &Loaded, format: &VideoInfo) -> Arc<FrameStore> {
    let Loaded { settings, avatar, painter, .. } = loaded;
    let (engine, budget) = (settings.engine(), settings.cache_bytes());
    FrameStore::shared(avatar, engine, canvas_of(loaded, format), painter.framing(), budget)
}

impl LipsyncSrc {
    /// The format of the sound before any has come in: what downstream of the pad audio likes.
    pub fn first_sound_format(&self) -> Arc<AudioInfo> {
        let (input, pad) = {
            let state = self.state();
            (state.input.info.clone(), state.requested.audio.clone())
        };
        if let Some(info) = input {
            return info;
        }
        let usual = AudioInfo::builder(gst_audio::AUDIO_FORMAT_S16, 48_000, 2)
            .build()
            .unwrap_or_else(|e| unreachable!("the format is valid: {e}"));
        let liked = pad.and_then(|pad| {
            let mut caps = pad.peer_query_caps(Some(&audio_input::interleaved_caps()));
            caps.truncate();
            let structure = caps.make_mut().structure_mut(0)?;
            structure.fixate_field_nearest_int("rate", 48_000);
            structure.fixate_field_nearest_int("channels", 2);
            if structure.has_field("format") {
                structure.fixate_field_str("format", gst_audio::AUDIO_FORMAT_S16.to_str());
            }
            caps.fixate();
            AudioInfo::from_caps(&caps).ok()
        });
        Arc::new(liked.unwrap_or(usual))
    }

    /// The format in which downstream takes an avatar's video. Asks downstream, so no lock may be held.
    pub fn find_format(&self, loaded: &Loaded) -> Option<VideoInfo> {
        let format = video_output::negotiate(&self.srcpad, &loaded.avatar).ok()?;
        let caps = format.to_caps().ok()?;
        // Some elements answer a query for what they could take with more than they take now.
        (self.srcpad.peer().is_none() || self.srcpad.peer_query_accept_caps(&caps)).then_some(format)
    }

    /// Agrees with downstream on the format of the video, where that is to be done.
    pub fn negotiate(&self) -> Result<(), Stop> {
        self.state().is_negotiating = true;
        let agreed = self.renegotiate();
        self.state().is_negotiating = false;
        agreed
    }

    fn renegotiate(&self) -> Result<(), Stop> {
        let reconfigure = self.srcpad.check_reconfigure();
        let avatar = {
            let render = self.render_state();
            let render = render.as_ref().ok_or(gst::FlowError::Flushing)?;
            if render.frames.is_some() && !reconfigure {
                return Ok(());
            }
            render.loaded.avatar.clone()
        };
        let format = video_output::negotiate(&self.srcpad, &avatar)?;
        let mut render = self.render_state();
        let render = render.as_mut().ok_or(gst::FlowError::Flushing)?;
        self.use_format(render, format)
    }

    /// From the next frame on the video has that format.
    fn use_format(&self, render: &mut RenderState, format: VideoInfo) -> Result<(), Stop> {
        let rate = frame_rate(&format).ok_or(gst::FlowError::NotNegotiated)?;
        let before = render.live.rate();
        if rate != before {
            render.live.set_rate(rate)?;
        }
        self.go_on_in(render, before, format);
        Ok(())
    }

    /// Goes on in that format, for whose frame rate the presenter listens already, behind video of the rate `before`.
    pub fn go_on_in(&self, render: &mut RenderState, before: FrameRate, format: VideoInfo) {
        let rate = render.live.rate();
        let canvas = canvas_of(&render.loaded, &format);
        // Where they stay the same, what has been read of them stays, too: the files may be gone by now.
        let same = |frames: &Arc<FrameStore>| frames.shows(&render.loaded.avatar, canvas);
        let frames = render.frames.take().filter(same).unwrap_or_else(|| frames_in(&render.loaded, &format));
        if rate != before {
            render.next = rate.frames_covering(before.time_of(render.next));
            render.discont = true;
        }
        render.frames = Some(frames);
        if render.format.as_ref() != Some(&format) {
            render.format = Some(format.clone());
            self.queue_format(render, format, rate);
        }
    }
}
