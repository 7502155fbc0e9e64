//! Networks that run: ONNX Runtime, the graphs that are prepared for it, and what goes in and comes out.

pub mod cancellation;
pub mod encoder_thread;
pub mod network;
pub mod precision;
pub mod prepare;
pub mod runtime;
pub mod shared;
pub mod tensors;
