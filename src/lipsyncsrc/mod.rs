// SPDX-License-Identifier: MPL-2.0
//! The element `lipsyncsrc`: a presenter that never stops; sound may come in, in any pace.
//!
//! * src: raw video of the avatar, one frame after the other, for ever
//! * sink (on request): raw audio of any format, in any pace, to be spoken
//! * audio (on request): what is spoken, as it came in; silence otherwise
//!
//! ```bash
//! gst-launch-1.0 lipsyncsrc ! videoconvert ! autovideosink
//! ```
//!
//! # Threads
//!
//! 1. Upstream's thread ([`input`]) puts sound into the backlog, and waits there while it is full.
//! 2. The scheduler ([`scheduler`]) takes up each frame at its moment on the pipeline's clock: it takes the sound
//!    from the backlog, hears it ([`lipsync_core::render::live`]), asks the painter for the picture, and fills the queues of
//!    both source pads.
//! 3. The painter's workers paint, several at a time.
//! 4. The task of each source pad ([`pad_tasks`]) sends what is in its queue when its time has come. A pad whose
//!    downstream blocks keeps nobody else waiting: of what it does not take, the oldest is dropped.
//! 5. A thread of its own loads the avatar to start with ([`crate::loading`]), another one each avatar that is set while the
//!    element plays ([`avatars`]).
//! 6. The audio encoder runs beside the scheduler (`inference/encoder_thread.rs` of the core), so that a stop need not wait for it.
//!
//! What they have in common, and the order of the locks, is in [`state`]; how they are woken to stop is in [`lifecycle`].
//!
//! # Files
//!
//! Each uses only those before it:
//!
//! 1. `cause`, `overload`, `settings`, `sound`, `backlog`, `output_queue`, `frame`, `ready`, `render_state`: data without locks
//! 2. `state`: what the threads have in common, and its locks
//! 3. `clock`, `reports`, `queues`, `formats`, `avatars`: what several threads do with it
//! 4. `scheduler`, `input`, `pad_tasks`, `queries`: what each of them does
//! 5. `pads`, `lifecycle`: how they begin and end
//! 6. `imp`: the class

// The documentation of the element, for hotdoc, belongs to no item.
#![allow(unused_doc_comments)]

mod avatars;
mod backlog;
mod cause;
mod clock;
mod formats;
mod frame;
mod imp;
mod input;
mod lifecycle;
mod output_queue;
mod overload;
mod pad_tasks;
mod pads;
mod queries;
mod queues;
mod ready;
mod render_state;
mod reports;
mod scheduler;
mod settings;
mod sound;
mod state;

/**
 * SECTION:element-lipsyncsrc
 * @see_also: lipsync
 *
 * `lipsyncsrc` is a live source: a talking avatar who is always there. It is idle while there is no sound, and speaks the
 * sound that comes in through the request pad `sink`, at whatever speed that comes. The request pad `audio` gives the same
 * sound back in step with the picture.
 *
 * The action signal #GstLipsyncSrc::interrupt discards what waits to be spoken and closes the mouth. It returns a #GstStructure
 * `lipsync-interrupted`, which tells how much came out of the pad `audio`, to the sample. #GstLipsyncSrc:avatar may be set while it
 * plays.
 *
 * ## Utterances
 *
 * Custom downstream events in the sound mark utterances: `lipsync-utterance-start` with the field `id` (a string), and
 * `lipsync-utterance-end`, which also says that for now this was all.
 *
 * ## Messages
 *
 * Element messages, each with its `running-time`, are posted with the frame that shows what they tell:
 *
 * * `lipsync-utterance-start` (`id`) and `lipsync-utterance-end` (`id`, `reason`, `samples`, `rate`, `duration`)
 * * `lipsync-speech-start` (`utterance`) and `lipsync-speech-end` (`utterance`, `reason`, `samples`, `rate`, `duration`)
 * * `lipsync-drained`: all that came in has been shown
 * * `lipsync-avatar-changed` (`avatar`)
 * * `lipsync-interrupted` (`utterance`, `samples`, `rate`, `duration`, `speech-samples`, `speech-duration`), at once
 *
 * A `reason` is `finished`, `interrupted`, `eos`, `stopped` or `lost`. The types are in docs/embedding.md.
 *
 * Each frame has a #GstVideoRegionOfInterestMeta of type `face`.
 *
 * The avatar's clips are chosen by #GstLipsyncSrc:clip and #GstLipsyncSrc:state, once by the signal #GstLipsyncSrc::play-clip, or, in
 * step with a word, by the custom downstream event `lipsync-clip` with the field `clip`.
 *
 * ## Example launch line
 * |[
 * gst-launch-1.0 filesrc location=speech.wav ! wavparse ! ls.sink lipsyncsrc name=ls ! videoconvert ! autovideosink \
 *     ls.audio ! queue ! audioconvert ! autoaudiosink
 * ]| The presenter speaks the file, and goes on idling behind it.
 *
 * Since: 0.1.0
 */
use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    /// The element `lipsyncsrc`.
    pub struct LipsyncSrc(ObjectSubclass<state::LipsyncSrc>) @extends gst::Element, gst::Object;
}

/// Makes the element known under its name.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "lipsyncsrc", gst::Rank::NONE, LipsyncSrc::static_type())
}
