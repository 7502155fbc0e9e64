//! The element `lipsync`: raw audio in, video of the speaking avatar out.

mod events;
mod imp;
mod output;
mod queries;
mod stream;

use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    /// The element `lipsync`.
    pub struct Lipsync(ObjectSubclass<imp::Lipsync>) @extends gst::Element, gst::Object;
}

/// Makes the element known under its name.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "lipsync", gst::Rank::NONE, Lipsync::static_type())
}
