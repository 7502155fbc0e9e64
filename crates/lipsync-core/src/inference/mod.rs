// SPDX-License-Identifier: MPL-2.0
//! Inference with ONNX Runtime: loading it, preparing and caching graphs, running networks, and cancelling
//! all of that.

pub mod cancellation;
pub(crate) mod encoder_thread;
pub(crate) mod library;
pub mod network;
pub(crate) mod placement;
pub mod precision;
pub mod prepare;
pub(crate) mod provider;
pub mod runtime;
pub(crate) mod shared;
pub(crate) mod tensors;
