//! Inference with ONNX Runtime: loading it, preparing and caching graphs, running networks, and cancelling
//! all of that.

pub mod cancellation;
pub mod encoder_thread;
pub mod network;
pub mod precision;
pub mod prepare;
pub mod runtime;
pub mod shared;
pub mod tensors;
