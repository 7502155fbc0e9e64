// SPDX-License-Identifier: MPL-2.0
//! The fused kernels as custom operators of ONNX Runtime.
//!
//! A node names its block by an index. The blocks themselves are not part of the graph, so that the sessions
//! of all workers share one copy of the weights.

use std::sync::Arc;

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput,
    ShapeInferenceContext,
};
use ort::value::{DynValueRef, Shape, SymbolicDimensions, TensorElementType, ValueType};

use super::concat::InputTensor;
use super::dense_conv::PackedDenseConv;
use super::inverted_residual::{BlockOutput, PackedInvertedResidual};
use super::isa::Isa;
use super::planar::PackedPlanarConv;
use super::{FusedOps, INDEX_ATTRIBUTE, MAX_INPUTS, OP_DOMAIN, PLANAR_CONV, conv_op_type, dispatch, op_type};
use crate::error::caught;

/// All fused operators of a graph, with packed weights.
pub struct Packed {
    blocks: Vec<PackedInvertedResidual>,
    convs: Vec<PackedDenseConv>,
    planes: Vec<PackedPlanarConv>,
}

impl Packed {
    /// Packs the weights for an instruction set that the processor has.
    pub fn new(ops: &FusedOps, isa: Isa) -> Self {
        Self {
            blocks: ops.blocks.iter().map(|block| PackedInvertedResidual::new(block, isa)).collect(),
            convs: ops.convs.iter().map(|conv| PackedDenseConv::new(conv, isa)).collect(),
            planes: ops.planes.iter().map(|planes| PackedPlanarConv::new(planes, isa)).collect(),
        }
    }
}

/// The custom operators for the fused operators of one graph.
pub fn operators(packed: &Arc<Packed>) -> ort::Result<OperatorDomain> {
    let domain = OperatorDomain::new(OP_DOMAIN)?.add(PlanarConvOp { packed: packed.clone() })?;
    let domain = (1..=MAX_INPUTS).try_fold(domain, |domain, input_count| {
        domain.add(DenseConvOp { input_count, packed: packed.clone() })
    })?;
    let mut kinds = (1..=MAX_INPUTS).flat_map(|input_count| [(input_count, false), (input_count, true)]);
    kinds.try_fold(domain, |domain, (input_count, is_float)| {
        domain.add(InvertedResidualOp { input_count, is_float, packed: packed.clone() })
    })
}

struct InvertedResidualOp {
    input_count: usize,
    is_float: bool,
    packed: Arc<Packed>,
}

struct InvertedResidualKernel {
    input_count: usize,
    index: usize,
    packed: Arc<Packed>,
}

/// The index that a node names, if it is in range.
fn index(index: Option<i64>, count: usize) -> ort::Result<usize> {
    let index = index.and_then(|index| usize::try_from(index).ok());
    index.filter(|index| *index < count).ok_or_else(|| ort::Error::new("no such block"))
}

/// Runs a callback of ONNX Runtime. A panic must not unwind into C++, which would abort the process, so it
/// becomes an error.
fn catch_panic<T>(work: impl FnOnce() -> ort::Result<T>) -> ort::Result<T> {
    caught(work).unwrap_or_else(|panic| Err(ort::Error::new(format!("fused kernel: {panic}"))))
}

/// A u8 tensor `[1, height, width, channels]`.
struct ImageTensor<'a> {
    height: usize,
    width: usize,
    channels: usize,
    bytes: &'a [u8],
}

impl<'a> ImageTensor<'a> {
    /// Checks that all dimensions are positive and that the tensor has as many bytes as they say.
    fn of(value: &'a DynValueRef<'_>) -> ort::Result<Self> {
        let (dimensions, bytes) = value.try_extract_tensor::<u8>()?;
        let refused = || ort::Error::new(format!("fused kernel: unsupported input shape {dimensions:?}"));
        let &[1, height, width, channels] = &dimensions[..] else { return Err(refused()) };
        let size = |size| usize::try_from(size).ok().filter(|size| *size > 0).ok_or_else(refused);
        let picture = Self { height: size(height)?, width: size(width)?, channels: size(channels)?, bytes };
        let sizes = [picture.height, picture.width, picture.channels];
        let count = sizes.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
        if count == Some(bytes.len()) { Ok(picture) } else { Err(refused()) }
    }
}

/// Height and width of a tensor `[1, height, width, channels]`.
fn image_size(shape: &[i64]) -> Option<[usize; 2]> {
    let &[1, height, width, _] = shape else { return None };
    let side = |size: i64| usize::try_from(size).ok().filter(|size| *size > 0);
    Some([side(height)?, side(width)?])
}

/// Sets element type and shape of the output.
fn set_output(
    context: &mut ShapeInferenceContext,
    ty: TensorElementType,
    shape: [i64; 4],
) -> ort::Result<()> {
    let ty = ValueType::Tensor {
        ty,
        dimension_symbols: SymbolicDimensions::empty(shape.len()),
        shape: Shape::new(shape),
    };
    context.set_output(0, &ty)
}

impl InvertedResidualOp {
    fn element(&self) -> TensorElementType {
        if self.is_float { TensorElementType::Float32 } else { TensorElementType::Uint8 }
    }
}

impl Operator for InvertedResidualOp {
    type Kernel<'attr> = InvertedResidualKernel;

    fn name(&self) -> &str {
        op_type(self.input_count, self.is_float).unwrap_or_default()
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        (0..self.input_count).map(|_| OperatorInput::required(TensorElementType::Uint8))
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(self.element())]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<InvertedResidualKernel> {
        catch_panic(|| {
            let index = index(context.get(INDEX_ATTRIBUTE), self.packed.blocks.len())?;
            let block = &self.packed.blocks[index];
            if block.is_float() != self.is_float || block.input_count() != self.input_count {
                return Err(ort::Error::new("the block is of another type"));
            }
            Ok(InvertedResidualKernel { input_count: self.input_count, index, packed: self.packed.clone() })
        })
    }

    fn infer_shape(&self, context: &mut ShapeInferenceContext) -> ort::Result<()> {
        catch_panic(|| {
            let index = index(context.attr(INDEX_ATTRIBUTE).ok(), self.packed.blocks.len())?;
            let inputs = context.inputs();
            let shape = inputs.first().and_then(ValueType::tensor_shape);
            let shape = shape.and_then(|shape| output_shape(&self.packed.blocks[index], shape));
            shape.map_or(Ok(()), |shape| set_output(context, self.element(), shape))
        })
    }
}

/// The output shape for a first input of that shape; `None` where the block does not accept it.
fn output_shape(block: &PackedInvertedResidual, source: &[i64]) -> Option<[i64; 4]> {
    let size = block.block_size(0, image_size(source)?)?;
    let [height, width] = size.map(|side| block.output_size(side) as i64);
    Some([1, height, width, block.output_channels() as i64])
}

impl Kernel for InvertedResidualKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        catch_panic(|| self.compute_checked(context))
    }
}

impl InvertedResidualKernel {
    fn compute_checked(&self, context: &ComputeContext) -> ort::Result<()> {
        let block = &self.packed.blocks[self.index];
        let values = input_values(context, self.input_count)?;
        let Inputs { tensors, size } =
            Inputs::of(&values, block.input_channels(), |n, size| block.block_size(n, size))?;
        if !block.supports_size(size) {
            return Err(unsupported(&values, block.input_channels()));
        }
        let [height, width] = size.map(|side| block.output_size(side) as i64);
        let shape = [1, height, width, block.output_channels() as i64];
        let mut output = context.output(0, shape)?.ok_or_else(|| ort::Error::new("there is no output"))?;
        let to = if block.is_float() {
            BlockOutput::F32(output.try_extract_tensor_mut()?.1)
        } else {
            BlockOutput::U8(output.try_extract_tensor_mut()?.1)
        };
        dispatch::inverted_residual(block, &tensors[..self.input_count], size, to);
        Ok(())
    }
}

/// The values of a node's inputs.
fn input_values(context: &ComputeContext, count: usize) -> ort::Result<Vec<DynValueRef<'_>>> {
    let missing = || ort::Error::new("an input is missing");
    (0..count).map(|n| context.input(n)?.ok_or_else(missing)).collect()
}

/// Inputs to concatenate.
struct Inputs<'a> {
    tensors: [InputTensor<'a>; MAX_INPUTS],
    /// Height and width of the result.
    size: [usize; 2],
}

impl<'a> Inputs<'a> {
    /// Checks that the inputs have so many channels together, and that all of them result in the same size.
    fn of(
        values: &'a [DynValueRef<'_>],
        channels: usize,
        size: impl Fn(usize, [usize; 2]) -> Option<[usize; 2]>,
    ) -> ort::Result<Self> {
        let mut tensors = [InputTensor { bytes: &[], channels: 0 }; MAX_INPUTS];
        let mut sizes = [None; MAX_INPUTS];
        for (n, value) in values.iter().enumerate() {
            let ImageTensor { height, width, channels, bytes } = ImageTensor::of(value)?;
            tensors[n] = InputTensor { bytes, channels };
            sizes[n] = size(n, [height, width]);
        }
        let sum = tensors.iter().try_fold(0usize, |sum, input| sum.checked_add(input.channels));
        let is_same = sizes[..values.len()].iter().all(|size| *size == sizes[0]);
        let size = sizes[0].filter(|_| is_same && sum == Some(channels));
        size.map(|size| Self { tensors, size }).ok_or_else(|| unsupported(values, channels))
    }
}

fn unsupported(values: &[DynValueRef<'_>], channels: usize) -> ort::Error {
    let shapes: Vec<_> = values.iter().filter_map(|value| value.dtype().tensor_shape()).collect();
    ort::Error::new(format!("fused kernel: unsupported input shapes {shapes:?} for {channels} channels"))
}

struct DenseConvOp {
    input_count: usize,
    packed: Arc<Packed>,
}

struct DenseConvKernel {
    input_count: usize,
    index: usize,
    packed: Arc<Packed>,
}

impl Operator for DenseConvOp {
    type Kernel<'attr> = DenseConvKernel;

    fn name(&self) -> &str {
        conv_op_type(self.input_count).unwrap_or_default()
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        (0..self.input_count).map(|_| OperatorInput::required(TensorElementType::Uint8))
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Uint8)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<DenseConvKernel> {
        catch_panic(|| {
            let index = index(context.get(INDEX_ATTRIBUTE), self.packed.convs.len())?;
            if self.packed.convs[index].input_count() != self.input_count {
                return Err(ort::Error::new("the convolution is of another type"));
            }
            Ok(DenseConvKernel { input_count: self.input_count, index, packed: self.packed.clone() })
        })
    }

    fn infer_shape(&self, context: &mut ShapeInferenceContext) -> ort::Result<()> {
        catch_panic(|| {
            let index = index(context.attr(INDEX_ATTRIBUTE).ok(), self.packed.convs.len())?;
            let conv = &self.packed.convs[index];
            let inputs = context.inputs();
            let size = inputs.first().and_then(ValueType::tensor_shape).and_then(|shape| image_size(shape));
            let Some([height, width]) = size.and_then(|size| conv.conv_size(0, size)) else { return Ok(()) };
            let [height, width] = [height, width].map(|side| conv.output_size(side) as i64);
            set_output(context, TensorElementType::Uint8, [1, height, width, conv.output_channels() as i64])
        })
    }
}

impl Kernel for DenseConvKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        catch_panic(|| {
            let conv = &self.packed.convs[self.index];
            let values = input_values(context, self.input_count)?;
            let Inputs { tensors, size } =
                Inputs::of(&values, conv.input_channels(), |n, size| conv.conv_size(n, size))?;
            if !conv.supports_size(size) {
                return Err(unsupported(&values, conv.input_channels()));
            }
            let [height, width] = size.map(|side| conv.output_size(side) as i64);
            let shape = [1, height, width, conv.output_channels() as i64];
            let mut output =
                context.output(0, shape)?.ok_or_else(|| ort::Error::new("there is no output"))?;
            let to = output.try_extract_tensor_mut()?.1;
            dispatch::dense_conv(conv, &tensors[..self.input_count], size, to);
            Ok(())
        })
    }
}

struct PlanarConvOp {
    packed: Arc<Packed>,
}

struct PlanarConvKernel {
    index: usize,
    packed: Arc<Packed>,
}

impl Operator for PlanarConvOp {
    type Kernel<'attr> = PlanarConvKernel;

    fn name(&self) -> &str {
        PLANAR_CONV
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(TensorElementType::Uint8)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Uint8)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<PlanarConvKernel> {
        catch_panic(|| {
            let index = index(context.get(INDEX_ATTRIBUTE), self.packed.planes.len())?;
            Ok(PlanarConvKernel { index, packed: self.packed.clone() })
        })
    }

    fn infer_shape(&self, context: &mut ShapeInferenceContext) -> ort::Result<()> {
        catch_panic(|| {
            let index = index(context.attr(INDEX_ATTRIBUTE).ok(), self.packed.planes.len())?;
            let inputs = context.inputs();
            match inputs.first().and_then(ValueType::tensor_shape).map(|shape| &shape[..]) {
                Some(&[1, height, width, _]) => {
                    let shape = [1, self.packed.planes[index].output_channels() as i64, height, width];
                    set_output(context, TensorElementType::Uint8, shape)
                }
                _ => Ok(()),
            }
        })
    }
}

impl Kernel for PlanarConvKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        catch_panic(|| {
            let planes = &self.packed.planes[self.index];
            let input = context.input(0)?.ok_or_else(|| ort::Error::new("the input is missing"))?;
            let ImageTensor { height, width, channels, bytes } = ImageTensor::of(&input)?;
            if channels != planes.input_channels() {
                return Err(ort::Error::new(format!(
                    "the input must have {} channels, not {channels}",
                    planes.input_channels()
                )));
            }
            let shape = [1, planes.output_channels() as i64, height as i64, width as i64];
            let mut output =
                context.output(0, shape)?.ok_or_else(|| ort::Error::new("there is no output"))?;
            let (_, to) = output.try_extract_tensor_mut::<u8>()?;
            dispatch::planar_conv(planes, bytes, to);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_become_errors() {
        let message = |work: fn() -> ort::Result<()>| catch_panic(work).unwrap_err().to_string();
        assert!(message(|| panic!("words")).contains("words"));
        assert!(message(|| panic!("{} words", 2)).contains("2 words"));
        assert!(catch_panic(|| Ok(())).is_ok());
    }
}
