// SPDX-License-Identifier: MPL-2.0
//! Tensors that pass from one branch to another, in the memory that ONNX Runtime allocated.

use ort::session::{SessionInputValue, SessionOutputs};
use ort::value::{DynValue, ValueType};

/// The outputs of a branch by name, for a network with inputs of these names.
#[derive(Debug)]
pub struct Tensors(Vec<(String, DynValue)>);

impl Tensors {
    /// The outputs of a run.
    pub(crate) fn of(outputs: SessionOutputs<'_>) -> Self {
        Self(outputs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }

    /// The tensors as inputs.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = (&str, SessionInputValue<'_>)> {
        self.0.iter().map(|(name, tensor)| (name.as_str(), tensor.into()))
    }

    /// Bytes of memory.
    pub fn size(&self) -> usize {
        self.0.iter().map(|(_, tensor)| size(tensor.dtype())).sum()
    }
}

fn size(tensor: &ValueType) -> usize {
    let values = tensor.tensor_shape().map_or(0, |shape| shape.num_elements());
    let elements = tensor.tensor_type();
    elements.and_then(|element| element.byte_size(values)).unwrap_or(0)
}
