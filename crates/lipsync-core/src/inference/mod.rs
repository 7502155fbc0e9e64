//! Networks that run: ONNX Runtime, the graphs that are prepared for it, and what goes in and comes out.

pub mod aside;
pub mod bounded;
#[allow(missing_docs)]
pub mod network;
pub mod precision;
#[allow(missing_docs)]
pub mod prepare;
pub mod runtime;
pub mod shared;
pub(crate) mod tensors;
