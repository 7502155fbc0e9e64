//! The element `lipsync`: raw audio in, video of the speaking avatar out.

mod imp;
mod output;
mod settings;
mod stats;
mod stream;

use gst::glib;
use gst::prelude::*;

glib::wrapper! {
    /// The element `lipsync`.
    pub struct Lipsync(ObjectSubclass<imp::Lipsync>) @extends gst::Element, gst::Object;
}

/// Makes the element known under its name.
pub fn register(plugin: &gst::Plugin) -> Result<(), glib::BoolError> {
    {
        use settings::{Context, Paste, Provider};
        let nothing = gst::PluginAPIFlags::empty();
        Provider::static_type().mark_as_plugin_api(nothing);
        Context::static_type().mark_as_plugin_api(nothing);
        Paste::static_type().mark_as_plugin_api(nothing);
    }
    gst::Element::register(Some(plugin), "lipsync", gst::Rank::NONE, Lipsync::static_type())
}
