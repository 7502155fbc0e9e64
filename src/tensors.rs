//! Tensors that pass from one network to another: kept as they came, and given without being copied.

use ort::session::{SessionInputValue, SessionOutputs};
use ort::value::{DynValue, PrimitiveTensorElementType, Shape, TensorElementType, TensorRef};

/// The outputs of a network by name, for a network that has inputs of those names.
#[derive(Debug)]
pub struct Tensors(Vec<(String, Tensor)>);

#[derive(Debug)]
struct Tensor {
    shape: Shape,
    values: Values,
}

#[derive(Debug)]
enum Values {
    Float(Box<[f32]>),
    Byte(Box<[u8]>),
    SignedByte(Box<[i8]>),
}

impl Tensors {
    /// Copies the outputs of a run, so that the runtime can use its memory again.
    pub(crate) fn of(outputs: &SessionOutputs<'_>) -> ort::Result<Self> {
        let copies = outputs.keys().map(|name| Ok((name.to_owned(), Tensor::of(&outputs[name])?)));
        copies.collect::<ort::Result<_>>().map(Self)
    }

    /// The tensors as inputs.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = ort::Result<(&str, SessionInputValue<'_>)>> {
        self.0.iter().map(|(name, tensor)| Ok((name.as_str(), tensor.input()?)))
    }

    /// Bytes of memory.
    pub fn size(&self) -> usize {
        self.0.iter().map(|(_, tensor)| tensor.values.size()).sum()
    }
}

impl Tensor {
    fn of(value: &DynValue) -> ort::Result<Self> {
        fn copy<T: PrimitiveTensorElementType + Clone>(
            value: &DynValue,
            kind: fn(Box<[T]>) -> Values,
        ) -> ort::Result<Tensor> {
            let (shape, values) = value.try_extract_tensor::<T>()?;
            Ok(Tensor { shape: shape.clone(), values: kind(values.into()) })
        }
        match value.dtype().tensor_type() {
            Some(TensorElementType::Uint8) => copy(value, Values::Byte),
            Some(TensorElementType::Int8) => copy(value, Values::SignedByte),
            _ => copy(value, Values::Float),
        }
    }

    fn input(&self) -> ort::Result<SessionInputValue<'_>> {
        fn view<'a, T: PrimitiveTensorElementType + Clone + std::fmt::Debug + 'static>(
            shape: &Shape,
            values: &'a [T],
        ) -> ort::Result<SessionInputValue<'a>> {
            Ok(TensorRef::from_array_view((shape.clone(), values))?.into())
        }
        match &self.values {
            Values::Float(values) => view(&self.shape, values),
            Values::Byte(values) => view(&self.shape, values),
            Values::SignedByte(values) => view(&self.shape, values),
        }
    }
}

impl Values {
    fn size(&self) -> usize {
        match self {
            Self::Float(values) => size_of_val::<[f32]>(values),
            Self::Byte(values) => values.len(),
            Self::SignedByte(values) => values.len(),
        }
    }
}
