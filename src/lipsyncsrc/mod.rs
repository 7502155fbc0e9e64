//! The element `lipsyncsrc`: a presenter that never stops; sound may come in, in any pace.

mod avatars;
mod backlog;
mod cause;
mod conductor;
mod imp;
mod outlet;
mod overload;
mod pacer;
mod pads;
mod queries;
mod senders;
mod settings;

use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    /// The element `lipsyncsrc`.
    pub struct LipsyncSrc(ObjectSubclass<imp::LipsyncSrc>) @extends gst::Element, gst::Object;
}

/// Makes the element known under its name.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    gst::Element::register(Some(plugin), "lipsyncsrc", gst::Rank::NONE, LipsyncSrc::static_type())
}
