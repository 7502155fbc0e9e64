//! Errors of the core as GStreamer error messages.

use crate::error::Error;

/// The message that tells an error to the application, or `None` where there is nothing to tell.
pub fn error_message(error: &Error) -> Option<gst::ErrorMessage> {
    let text = error.to_string();
    Some(match error {
        Error::NotFound { .. } => gst::error_msg!(gst::ResourceError::NotFound, ["{text}"]),
        Error::Invalid { .. } => gst::error_msg!(gst::ResourceError::Read, ["{text}"]),
        Error::Runtime { .. } => gst::error_msg!(gst::LibraryError::Init, ["{text}"]),
        Error::Inference { .. } => gst::error_msg!(gst::StreamError::Failed, ["{text}"]),
        Error::Audio { .. } => gst::error_msg!(gst::StreamError::Decode, ["{text}"]),
        Error::Interrupted => return None,
    })
}
