// SPDX-License-Identifier: MPL-2.0
//! The pads.

use gst::prelude::*;
use gst::subclass::prelude::*;

use super::state::Lipsync;
use crate::CAT;

impl Lipsync {
    /// The pad that sound comes in by.
    pub fn new_sink_pad(template: &gst::PadTemplate) -> gst::Pad {
        gst::Pad::builder_from_template(template)
            .chain_function(|_, parent, buffer| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |this| {
                        let heard = this.with_stream(|stream| this.hear_buffer(stream, buffer));
                        if heard.is_err() {
                            // With its buffer upstream learns what is wrong, and tells the application.
                            this.state().flow_told = true;
                        }
                        heard
                    },
                )
            })
            .event_full_function(|_, parent, event| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::FlowError::Error),
                    |this| this.sink_event(event),
                )
            })
            .query_function(|_, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |this| this.sink_query(query))
            })
            .build()
    }

    /// The pad that video goes out by.
    pub fn new_source_pad(template: &gst::PadTemplate) -> gst::Pad {
        gst::Pad::builder_from_template(template)
            .activatemode_function(|_, parent, mode, active| {
                Self::catch_panic_pad_function(
                    parent,
                    || Err(gst::loggable_error!(CAT, "panic while the source pad was activated")),
                    |this| this.activate_src(mode, active),
                )
            })
            .event_function(|_, parent, event| {
                Self::catch_panic_pad_function(parent, || false, |this| this.src_event(event))
            })
            .query_function(|_, parent, query| {
                Self::catch_panic_pad_function(parent, || false, |this| this.src_query(query))
            })
            .build()
    }

    fn activate_src(&self, mode: gst::PadMode, active: bool) -> Result<(), gst::LoggableError> {
        if mode != gst::PadMode::Push {
            return Err(gst::loggable_error!(CAT, "only push mode is possible"));
        }
        if active {
            self.resume();
            self.start_task()
        } else {
            self.interrupt();
            self.srcpad
                .stop_task()
                .map_err(|_| gst::loggable_error!(CAT, "the source pad's task cannot be stopped"))
        }
    }
}
