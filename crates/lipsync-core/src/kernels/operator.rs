//! Blocks as an operator of ONNX Runtime.
//!
//! A node says which block it is by its number; the blocks themselves are not in the graph, so that the sessions of all
//! workers share one copy of their weights.

use std::sync::Arc;

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput,
    ShapeInferenceContext,
};
use ort::value::{DynValueRef, Shape, SymbolicDimensions, TensorElementType, ValueType};

use super::gather::Input;
use super::planes::PackedPlanes;
use super::pointwise::Unit;
use super::rows::{Output, PackedBlock};
use super::{DOMAIN, MOST_SOURCES, NUMBER, PLANES, Taken, operator_name};
use crate::error::caught;

/// All that was taken out of a graph, with its weights in the order of the processor's registers.
pub struct Packed {
    blocks: Vec<PackedBlock>,
    planes: Vec<PackedPlanes>,
}

impl Packed {
    pub fn new(taken: &Taken) -> Self {
        let unit = Unit::best();
        Self {
            blocks: taken.blocks.iter().map(|block| PackedBlock::new(block, unit)).collect(),
            planes: taken.planes.iter().map(|planes| PackedPlanes::new(planes, unit)).collect(),
        }
    }
}

/// The operators for what was taken out of one graph.
pub fn operators(packed: &Arc<Packed>) -> ort::Result<OperatorDomain> {
    let domain = OperatorDomain::new(DOMAIN)?.add(PlanesOperator { packed: packed.clone() })?;
    let mut kinds = (1..=MOST_SOURCES).flat_map(|sources| [(sources, false), (sources, true)]);
    kinds.try_fold(domain, |domain, (sources, is_real)| {
        domain.add(BlockOperator { sources, is_real, packed: packed.clone() })
    })
}

struct BlockOperator {
    sources: usize,
    is_real: bool,
    packed: Arc<Packed>,
}

struct BlockKernel {
    sources: usize,
    number: usize,
    packed: Arc<Packed>,
}

/// The number that a node names, if there are so many.
fn number(number: Option<i64>, count: usize) -> ort::Result<usize> {
    let number = number.and_then(|number| usize::try_from(number).ok());
    number.filter(|number| *number < count).ok_or_else(|| ort::Error::new("no such block"))
}

/// Does what ONNX Runtime has asked for. It is C++, through which no panic may pass: that would end the process.
fn guarded<T>(work: impl FnOnce() -> ort::Result<T>) -> ort::Result<T> {
    caught(work).unwrap_or_else(|panic| Err(ort::Error::new(format!("in a kernel: {panic}"))))
}

/// A tensor of one picture, channels last.
struct Picture<'a> {
    height: usize,
    width: usize,
    channels: usize,
    bytes: &'a [u8],
}

impl<'a> Picture<'a> {
    /// What went in, with sizes that are all above zero, and as many bytes as these say.
    fn of(value: &'a DynValueRef<'_>) -> ort::Result<Self> {
        let (dimensions, bytes) = value.try_extract_tensor::<u8>()?;
        let refused = || ort::Error::new(format!("a kernel takes no picture of the shape {dimensions:?}"));
        let &[1, height, width, channels] = &dimensions[..] else { return Err(refused()) };
        let size = |size| usize::try_from(size).ok().filter(|size| *size > 0).ok_or_else(refused);
        let picture = Self { height: size(height)?, width: size(width)?, channels: size(channels)?, bytes };
        let sizes = [picture.height, picture.width, picture.channels];
        let count = sizes.iter().try_fold(1usize, |count, size| count.checked_mul(*size));
        if count == Some(bytes.len()) { Ok(picture) } else { Err(refused()) }
    }
}

/// Says of what type and shape the output is.
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

impl BlockOperator {
    fn element(&self) -> TensorElementType {
        if self.is_real { TensorElementType::Float32 } else { TensorElementType::Uint8 }
    }
}

impl Operator for BlockOperator {
    type Kernel<'attr> = BlockKernel;

    fn name(&self) -> &str {
        operator_name(self.sources, self.is_real).unwrap_or_default()
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        (0..self.sources).map(|_| OperatorInput::required(TensorElementType::Uint8))
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(self.element())]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<BlockKernel> {
        guarded(|| {
            let number = number(context.get(NUMBER), self.packed.blocks.len())?;
            let block = &self.packed.blocks[number];
            if block.is_real() != self.is_real || block.sources() != self.sources {
                return Err(ort::Error::new("the block is of another kind"));
            }
            Ok(BlockKernel { sources: self.sources, number, packed: self.packed.clone() })
        })
    }

    fn infer_shape(&self, context: &mut ShapeInferenceContext) -> ort::Result<()> {
        guarded(|| {
            let number = number(context.attr(NUMBER).ok(), self.packed.blocks.len())?;
            let inputs = context.inputs();
            let shape = inputs.first().and_then(ValueType::tensor_shape);
            let shape = shape.and_then(|shape| output_shape(&self.packed.blocks[number], shape));
            shape.map_or(Ok(()), |shape| set_output(context, self.element(), shape))
        })
    }
}

/// What comes out where the first source is of that shape; `None` where it cannot be.
fn output_shape(block: &PackedBlock, source: &[i64]) -> Option<[i64; 4]> {
    let &[1, height, width, _] = source else { return None };
    let side = |size: i64| usize::try_from(size).ok().filter(|size| *size > 0);
    let size = block.size(0, [side(height)?, side(width)?])?;
    let [height, width] = size.map(|side| block.output_size(side) as i64);
    Some([1, height, width, block.outputs() as i64])
}

impl Kernel for BlockKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        guarded(|| self.compute_guarded(context))
    }
}

impl BlockKernel {
    fn compute_guarded(&self, context: &ComputeContext) -> ort::Result<()> {
        let block = &self.packed.blocks[self.number];
        let mut values = Vec::with_capacity(self.sources);
        for source in 0..self.sources {
            values.push(context.input(source)?.ok_or_else(|| ort::Error::new("a source is missing"))?);
        }
        let mut inputs = [Input { bytes: &[], channels: 0 }; MOST_SOURCES];
        let mut sizes = [None; MOST_SOURCES];
        for (n, value) in values.iter().enumerate() {
            let Picture { height, width, channels, bytes } = Picture::of(value)?;
            inputs[n] = Input { bytes, channels };
            sizes[n] = block.size(n, [height, width]);
        }
        let (inputs, sizes) = (&inputs[..self.sources], &sizes[..self.sources]);
        let channels = inputs.iter().try_fold(0usize, |sum, input| sum.checked_add(input.channels));
        let fits = channels == Some(block.inputs()) && sizes.iter().all(|size| *size == sizes[0]);
        let Some(size) = sizes[0].filter(|size| fits && block.takes(*size)) else {
            let shapes: Vec<_> = values.iter().filter_map(|value| value.dtype().tensor_shape()).collect();
            let channels = block.inputs();
            return Err(ort::Error::new(format!("a kernel for {channels} channels takes no {shapes:?}")));
        };
        let [height, width] = size.map(|side| block.output_size(side) as i64);
        let shape = [1, height, width, block.outputs() as i64];
        let mut output = context.output(0, shape)?.ok_or_else(|| ort::Error::new("there is no output"))?;
        let to = if block.is_real() {
            Output::Real(output.try_extract_tensor_mut()?.1)
        } else {
            Output::Bytes(output.try_extract_tensor_mut()?.1)
        };
        // SAFETY: blocks are packed only where the processor can compute them (`super::Blocks::new`).
        unsafe { block.run(inputs, size, to) };
        Ok(())
    }
}

struct PlanesOperator {
    packed: Arc<Packed>,
}

struct PlanesKernel {
    number: usize,
    packed: Arc<Packed>,
}

impl Operator for PlanesOperator {
    type Kernel<'attr> = PlanesKernel;

    fn name(&self) -> &str {
        PLANES
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        [OperatorInput::required(TensorElementType::Uint8)]
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Uint8)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<PlanesKernel> {
        guarded(|| {
            let number = number(context.get(NUMBER), self.packed.planes.len())?;
            Ok(PlanesKernel { number, packed: self.packed.clone() })
        })
    }

    fn infer_shape(&self, context: &mut ShapeInferenceContext) -> ort::Result<()> {
        guarded(|| {
            let number = number(context.attr(NUMBER).ok(), self.packed.planes.len())?;
            let inputs = context.inputs();
            match inputs.first().and_then(ValueType::tensor_shape).map(|shape| &shape[..]) {
                Some(&[1, height, width, _]) => {
                    let shape = [1, self.packed.planes[number].outputs() as i64, height, width];
                    set_output(context, TensorElementType::Uint8, shape)
                }
                _ => Ok(()),
            }
        })
    }
}

impl Kernel for PlanesKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        guarded(|| {
            let planes = &self.packed.planes[self.number];
            let input = context.input(0)?.ok_or_else(|| ort::Error::new("the input is missing"))?;
            let Picture { height, width, channels, bytes } = Picture::of(&input)?;
            if channels != planes.inputs() {
                return Err(ort::Error::new(format!(
                    "planes are made of {} channels, not {channels}",
                    planes.inputs()
                )));
            }
            let shape = [1, planes.outputs() as i64, height as i64, width as i64];
            let mut output =
                context.output(0, shape)?.ok_or_else(|| ort::Error::new("there is no output"))?;
            let (_, to) = output.try_extract_tensor_mut::<u8>()?;
            // SAFETY: as for blocks.
            unsafe { planes.run(bytes, to) };
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panics_become_errors() {
        let message = |work: fn() -> ort::Result<()>| guarded(work).unwrap_err().to_string();
        assert!(message(|| panic!("words")).contains("words"));
        assert!(message(|| panic!("{} words", 2)).contains("2 words"));
        assert!(guarded(|| Ok(())).is_ok());
    }
}
