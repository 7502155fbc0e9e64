//! A face that speaks: audio in, frames out ([`Presenter`]), without GStreamer.
//!
//! The method, step by step, in the order in which data passes:
//!
//! | step | module | from | to |
//! |---|---|---|---|
//! | 1 | [`audio::resample`] | any interleaved samples | 16 kHz mono |
//! | 2 | [`audio::mel`] | 16 kHz mono | 80-band mel frames, every 12.5 ms |
//! | 3 | [`features`] | 16 kHz mono, mel frames | for each video frame a context: what the generator hears |
//! | 4 | [`generator::face`] | an avatar frame ([`avatar::frames`]) | the face and the masked face |
//! | 5 | [`generator`] | context and face | the face with its mouth painted |
//! | 6 | [`generator::face`] | the painted face | the face rectangle of the frame |
//! | 7 | [`picture`] | frame and face rectangle | a picture in the format of the video ([`avatar::matte`]: where it is not opaque) |
//!
//! The modules lie on floors, and import from those below their own only (`tests/layers.rs` holds them to it):
//!
//! | floor | modules |
//! |---|---|
//! | tools | [`survey`] finds all that is wrong with an avatar, and tries out its networks; [`quantizer`] makes 8-bit networks |
//! | [`render`] | all steps together: steps 1 to 3 as a stream, 4 to 6 on several cores, at once or in real time |
//! | [`avatar`] | folders of avatars, their frames and mattes |
//! | [`generator`] | steps 4 to 6 |
//! | [`features`] | step 3 |
//! | [`inference`] | networks that run: ONNX Runtime, what is prepared for it, and how all that can be stopped |
//! | [`onnx`], [`picture`] | networks' files and what is changed in them; pictures, their files, formats and sizes |
//! | [`audio`], [`file`](mod@file), [`kernels`] | steps 1 and 2; how files are read; what is computed in ONNX Runtime's place |
//! | [`error`](mod@error) | what can go wrong |
//! | [`limits`], [`rate`], [`sync`], [`text`] | what may be asked for; the time grid of the video; locks that outlive a panic; how texts of strangers are shown |

pub mod audio;
pub mod avatar;
pub mod error;
pub mod features;
pub mod file;
pub mod generator;
pub mod inference;
mod installation;
pub mod kernels;
pub mod limits;
pub mod onnx;
pub mod picture;
pub mod quantizer;
pub mod rate;
pub mod render;
pub mod survey;
pub mod sync;
pub mod text;

pub use avatar::Avatar;
pub use error::{Error, Result};
pub use inference::runtime::Engine;
pub use rate::FrameRate;
pub use render::painter::Painted;
pub use render::presenter::{Presenter, PresenterOptions};
