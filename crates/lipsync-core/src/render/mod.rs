//! All steps together: sound in, frames out, at once ([`presenter`]) or in real time ([`live`]).

pub mod listener;
pub mod live;
pub mod pace;
pub mod painter;
pub mod presenter;
