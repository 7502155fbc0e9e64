// SPDX-License-Identifier: MPL-2.0
//! A face that speaks: audio in, frames out, without GStreamer.
//!
//! A [`Presenter`] takes sound as it comes and gives one frame after the other; a [`LivePresenter`] goes through time frame by
//! frame, speaking while there is sound and at rest while there is none. Both are opened with an [`Avatar`], which is a folder
//! of pictures and networks, and with [`PresenterOptions`]; both hand out [`VideoFrame`]s. The networks run in ONNX Runtime,
//! a library that is loaded when the first of them is opened.
//!
//! ```no_run
//! use lipsync_core::{Avatar, PixelFormat, Presenter, PresenterOptions};
//!
//! # fn main() -> lipsync_core::Result<()> {
//! let avatar = Avatar::find("iris", None)?;
//! let options = PresenterOptions::default().format(PixelFormat::RGBA8);
//! let mut presenter = Presenter::open(avatar, &options)?;
//! presenter.set_input(48_000, vec![0.5, 0.5])?;
//! presenter.push(&[0.0; 2 * 48_000])?;
//! presenter.finish()?;
//! while let Some(frame) = presenter.pull()? {
//!     let (_time, _pixels) = (frame.time(), frame.to_vec());
//! }
//! # Ok(())
//! # }
//! ```
//!
//! What is listed here is the crate's interface. Its modules are public, but hidden, for the elements and the tool in this
//! repository only: what is in them may change with every version.

#![warn(missing_docs)]

// The method, step by step, in the order in which data passes:
//
// | step | module | from | to |
// |---|---|---|---|
// | 1 | `audio::resample` | any interleaved samples | 16 kHz mono |
// | 2 | `audio::mel` | 16 kHz mono | 80-band mel frames, every 12.5 ms |
// | 3 | `features` | 16 kHz mono, mel frames | for each video frame a context: what the generator hears |
// | 4 | `generator::face` | an avatar frame (`avatar::frames`) | the face and the masked face |
// | 5 | `generator` | context and face | the face with its mouth painted |
// | 6 | `generator::face` | the painted face | the face rectangle of the frame |
// | 7 | `picture` | frame and face rectangle | a picture in the format of the video (`avatar::matte`: where it is not opaque) |
//
// The modules lie on floors, and import from those below their own only: docs/architecture.md.

// Hidden from the documentation only: `missing_docs` looks at what is in them.
#[cfg_attr(doc, doc(hidden))]
pub mod audio;
#[cfg_attr(doc, doc(hidden))]
pub mod avatar;
#[cfg_attr(doc, doc(hidden))]
pub mod error;
#[cfg_attr(doc, doc(hidden))]
pub mod features;
#[cfg_attr(doc, doc(hidden))]
pub mod file;
#[cfg_attr(doc, doc(hidden))]
pub mod generator;
#[cfg_attr(doc, doc(hidden))]
pub mod inference;
mod installation;
#[cfg_attr(doc, doc(hidden))]
pub mod kernels;
#[cfg_attr(doc, doc(hidden))]
pub mod limits;
#[cfg_attr(doc, doc(hidden))]
pub mod onnx;
#[cfg_attr(doc, doc(hidden))]
pub mod picture;
#[cfg_attr(doc, doc(hidden))]
pub mod quantizer;
#[cfg_attr(doc, doc(hidden))]
pub mod rate;
#[cfg_attr(doc, doc(hidden))]
pub mod render;
#[cfg_attr(doc, doc(hidden))]
pub mod survey;
#[cfg_attr(doc, doc(hidden))]
pub mod sync;
#[cfg_attr(doc, doc(hidden))]
pub mod text;

pub use avatar::{Avatar, Layout, Listed};
pub use error::{Error, Result};
pub use inference::cancellation::set_log;
pub use inference::precision::Precision;
pub use inference::runtime::{Engine, ExecutionProvider};
pub use picture::formats::{Canvas, Matrix, Packed, PictureMut, PixelFormat, Range, YuvCoding};
pub use rate::FrameRate;
pub use render::live::{Sound, Speech};
pub use render::live_presenter::{LivePresenter, PendingVideoFrame};
pub use render::presenter::{Presenter, PresenterOptions};
pub use render::timeline::{State, Timeline};
pub use render::video_frame::VideoFrame;

/// What can be sent to another thread.
const _: () = {
    const fn is_send<T: Send>() {}
    is_send::<Avatar>();
    is_send::<Error>();
    is_send::<LivePresenter>();
    is_send::<PendingVideoFrame>();
    is_send::<Presenter>();
    is_send::<PresenterOptions>();
    is_send::<VideoFrame>();
};
