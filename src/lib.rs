//! **gst-plugin-lipsync**: a GStreamer plugin that makes a face speak.
//!
//! The core knows nothing of GStreamer: audio in, frames out ([`presenter::Presenter`]). Its modules are the
//! steps of the method, in the order in which data passes:
//!
//! | step | module | from | to |
//! |---|---|---|---|
//! | 1 | [`audio`] | any interleaved samples | 16 kHz mono |
//! | 2 | [`mel`] | 16 kHz mono | 80-band mel frames, every 12.5 ms |
//! | 3 | [`features`] | 16 kHz mono, mel frames | for each video frame a context: what the generator hears |
//! | 4 | [`face`] | an avatar frame ([`frames`]) | the face and the masked face |
//! | 5 | [`generator`] | context and face | the face with its mouth painted |
//! | 6 | [`face`] | the painted face | the face rectangle of the frame |
//! | 7 | [`picture`] | frame and face rectangle | a picture in the format of the video ([`matte`]: where it is not opaque) |
//!
//! [`listener`] is steps 1 to 3 as a stream, [`painter`] steps 4 to 6 on several cores ([`pace`]: how fast). [`avatar`] reads folders,
//! [`survey`] finds all that is wrong with one ([`trial`]: runs its networks once; [`limits`]: what it may ask for; [`file`](mod@file): how it is
//! read; [`text`]: how its texts are shown), [`onnx`] changes networks' files,
//! [`image_file`] pictures, [`runtime`] and [`network`] are ONNX Runtime, [`blocks`] what we compute in its place
//! ([`bounded`], [`aside`]: how all that can be stopped),
//! [`rate`] is the time grid of the video. The elements, in `elements`, connect the core to GStreamer and are left out without the feature `gst`.

pub mod aside;
pub mod audio;
pub mod avatar;
pub mod blocks;
pub mod bounded;
pub mod error;
pub mod face;
pub mod features;
pub mod file;
pub mod frames;
pub mod generator;
pub mod image_file;
mod installation;
pub mod limits;
pub mod listener;
pub mod live;
pub mod matte;
pub mod mel;
pub mod network;
pub mod onnx;
pub mod pace;
pub mod painter;
pub mod picture;
pub mod pool;
pub mod precision;
pub mod prepare;
pub mod presenter;
pub mod quantizer;
pub mod rate;
pub mod resize;
pub mod runtime;
pub mod shared;
pub mod survey;
pub mod tensors;
pub mod text;
pub mod trial;

#[cfg(feature = "gst")]
mod elements;
#[cfg(feature = "gst")]
pub use elements::plugin_register_static;
