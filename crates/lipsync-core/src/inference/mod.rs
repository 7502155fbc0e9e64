// SPDX-License-Identifier: MPL-2.0
//! Inference with ONNX Runtime: loading it, preparing and caching graphs, running networks, and cancelling
//! all of that.

pub mod cancellation;
pub(crate) mod encoder_thread;
pub mod network;
pub mod precision;
#[allow(missing_docs)]
pub mod prepare;
pub mod runtime;
pub(crate) mod shared;
pub(crate) mod tensors;
