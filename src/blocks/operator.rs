//! Blocks as an operator of ONNX Runtime.
//!
//! A node says which block it is by its number; the blocks themselves are not in the graph, so that the sessions of all
//! workers share one copy of their weights.

use std::sync::Arc;

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput,
    ShapeInferenceContext,
};
use ort::value::{Shape, SymbolicDimensions, TensorElementType, ValueType};

use super::gather::Input;
use super::rows::Packed;
use super::{DOMAIN, MOST_SOURCES, NUMBER, operator_name};

/// The operators for the blocks of one graph.
pub fn operators(blocks: &Arc<[Packed]>) -> ort::Result<OperatorDomain> {
    (1..=MOST_SOURCES).try_fold(OperatorDomain::new(DOMAIN)?, |domain, sources| {
        domain.add(BlockOperator { sources, blocks: blocks.clone() })
    })
}

struct BlockOperator {
    sources: usize,
    blocks: Arc<[Packed]>,
}

struct BlockKernel {
    sources: usize,
    number: usize,
    blocks: Arc<[Packed]>,
}

impl BlockOperator {
    fn number(&self, number: Option<i64>) -> ort::Result<usize> {
        let number = number.and_then(|number| usize::try_from(number).ok());
        number.filter(|number| *number < self.blocks.len()).ok_or_else(|| ort::Error::new("no such block"))
    }
}

impl Operator for BlockOperator {
    type Kernel<'attr> = BlockKernel;

    fn name(&self) -> &str {
        operator_name(self.sources).unwrap_or_default()
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        (0..self.sources).map(|_| OperatorInput::required(TensorElementType::Uint8))
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Uint8)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<BlockKernel> {
        let number = self.number(context.get(NUMBER))?;
        Ok(BlockKernel { sources: self.sources, number, blocks: self.blocks.clone() })
    }

    fn infer_shape(&self, context: &mut ShapeInferenceContext) -> ort::Result<()> {
        let block = &self.blocks[self.number(context.attr(NUMBER).ok())?];
        let inputs = context.inputs();
        let Some(shape) = inputs.first().and_then(ValueType::tensor_shape) else { return Ok(()) };
        let Some(shape) = output_shape(block, shape) else { return Ok(()) };
        let ty = ValueType::Tensor {
            ty: TensorElementType::Uint8,
            dimension_symbols: SymbolicDimensions::empty(shape.len()),
            shape: Shape::new(shape),
        };
        context.set_output(0, &ty)
    }
}

/// What comes out where the first source is of that shape; `None` where it cannot be.
fn output_shape(block: &Packed, source: &[i64]) -> Option<[i64; 4]> {
    let &[1, height, width, _] = source else { return None };
    let side = |size: i64| usize::try_from(size).ok().filter(|size| *size > 0);
    let size = block.size(0, [side(height)?, side(width)?]);
    let [height, width] = size.map(|side| block.output_size(side) as i64);
    Some([1, height, width, block.outputs() as i64])
}

impl Kernel for BlockKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let block = &self.blocks[self.number];
        let mut values = Vec::with_capacity(self.sources);
        for source in 0..self.sources {
            values.push(context.input(source)?.ok_or_else(|| ort::Error::new("a source is missing"))?);
        }
        let mut inputs = [Input { bytes: &[], channels: 0 }; MOST_SOURCES];
        let mut sizes = [[0; 2]; MOST_SOURCES];
        let mut shape = None;
        for (n, value) in values.iter().enumerate() {
            let (dimensions, bytes) = value.try_extract_tensor::<u8>()?;
            let &[1, height, width, channels] = &dimensions[..] else {
                return Err(ort::Error::new(format!("a block takes no {dimensions:?}")));
            };
            inputs[n] = Input { bytes, channels: channels as usize };
            sizes[n] = block.size(n, [height as usize, width as usize]);
            shape = shape.or_else(|| output_shape(block, dimensions));
        }
        let (inputs, sizes) = (&inputs[..self.sources], &sizes[..self.sources]);
        let channels: usize = inputs.iter().map(|input| input.channels).sum();
        let (Some(shape), true, true) =
            (shape, channels == block.inputs(), sizes.iter().all(|size| *size == sizes[0]))
        else {
            return Err(ort::Error::new(format!("a block of {} channels takes no {sizes:?}", block.inputs())));
        };
        let mut output =
            context.output(0, shape)?.ok_or_else(|| ort::Error::new("there is no output"))?;
        let (_, to) = output.try_extract_tensor_mut::<u8>()?;
        // SAFETY: blocks are packed only where the processor can compute them (`super::Blocks::new`).
        unsafe { block.run(inputs, sizes[0], to) };
        Ok(())
    }
}
