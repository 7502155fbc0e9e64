// SPDX-License-Identifier: MPL-2.0
//! All steps together: sound in, frames out, at once (`presenter`) or in real time (`live_presenter`).

pub mod emphasis;
pub mod listener;
pub mod live;
pub(crate) mod live_presenter;
pub mod pace;
pub mod painter;
pub mod presenter;
pub mod timeline;
pub(crate) mod video_frame;
