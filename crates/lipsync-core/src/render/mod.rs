//! All steps together: sound in, frames out, at once ([`presenter`]) or in real time ([`live_presenter`]).

pub mod listener;
pub mod live;
pub mod live_presenter;
pub mod pace;
pub mod painter;
pub mod presenter;
pub mod video_frame;
