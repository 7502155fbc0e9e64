// SPDX-License-Identifier: MPL-2.0
//! The element `lipsync`: raw audio in, video of the speaking avatar out.
//!
//! * sink: raw audio of any format
//! * src: raw video of the avatar speaking it
//!
//! ```bash
//! gst-launch-1.0 playbin uri=file:///home/me/speech.mp3 flags=0x0b vis-plugin=lipsync
//! ```
//!
//! # Threads
//!
//! 1. Upstream's thread runs the sink pad ([`events`], [`input`]): it hears the sound and asks the painter for frames.
//!    The audio encoder runs beside it (`inference/encoder_thread.rs` of the core), so that it can leave at any time.
//! 2. The painter's workers paint them, several at a time.
//! 3. The source pad's task ([`output`]) takes frames and events from the queue in order, waits for the
//!    painter where it must, draws into downstream's buffers and pushes.
//!
//! The queue is bounded, so a slow sink slows the source down. What the networks need is loaded from NULL to READY, by a
//! thread of its own ([`crate::loading`]); where that takes long, upstream's thread waits for it.
//!
//! What they have in common, and the locks, are in [`state`].
//!
//! # Files
//!
//! Each uses only those before it:
//!
//! 1. `settings`, `item`, `stream`: data without locks
//! 2. `state`: what the threads have in common, and its locks
//! 3. `avatar`, `output`, `input`, `events`, `queries`: what each of them does
//! 4. `pads`, `imp`: the pads and the class

// The documentation of the element, for hotdoc, belongs to no item.
#![allow(unused_doc_comments)]

mod avatar;
mod events;
mod imp;
mod input;
mod item;
mod output;
mod pads;
mod queries;
mod settings;
mod state;
mod stream;

/**
 * SECTION:element-lipsync
 * @see_also: lipsyncsrc
 *
 * `lipsync` turns raw audio into raw video of a talking avatar: frame `n` is at the time of the first sample plus
 * `n / framerate`. Two neural networks paint the mouth (the method of SyncTalk_2D); #GstLipsync:avatar names the avatar or its
 * folder. It can be the visualization of a playbin.
 *
 * Custom downstream events in the sound mark utterances, as with #lipsyncsrc: `lipsync-utterance-start` with the field `id`, and
 * `lipsync-utterance-end`, behind which no frame waits for more sound. They go on downstream in their places.
 *
 * Element messages: `lipsync-utterance-start` (`id`, `running-time`), `lipsync-utterance-end` (`id`, `running-time`, `reason`, `samples`,
 * `rate`, `duration`), `lipsync-interrupted` (`utterance`, `running-time`, `samples`, `rate`, `duration`) where a flush cuts one
 * short, and `lipsync-progress` (`position`, `duration`, `percent`, `frames`, `running-time`, `speed`) once a second, unless upstream is
 * live. The types are in docs/embedding.md.
 *
 * The avatar's clips are chosen by #GstLipsync:clip and #GstLipsync:state, once by the signal #GstLipsync::play-clip, or, in step
 * with a word, by the custom downstream event `lipsync-clip` with the field `clip`.
 *
 * Each frame has a #GstVideoRegionOfInterestMeta of type `face`.
 *
 * ## Example launch line
 * |[
 * gst-launch-1.0 filesrc location=speech.wav ! decodebin ! tee name=sound sound. ! queue ! lipsync ! x264enc ! video. \
 *     sound. ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 ! audioconvert ! audioresample \
 *     ! audio/x-raw,rate=48000 ! avenc_aac ! mp4mux name=video ! filesink location=out.mp4
 * ]| Writes a video of the avatar speaking the file.
 *
 * Since: 0.1.0
 */
use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    /// The element `lipsync`.
    pub struct Lipsync(ObjectSubclass<state::Lipsync>) @extends gst::Element, gst::Object;
}

/// Makes the element known under its name.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "lipsync", gst::Rank::NONE, Lipsync::static_type())
}
