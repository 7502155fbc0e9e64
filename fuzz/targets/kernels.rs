// SPDX-License-Identifier: MPL-2.0
//! The fused kernels at any size and with any weights, of all instruction sets that the processor has, against the
//! reference implementation.

#![no_main]

use fuzz::{fault, mutate::Random};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::{Corpus, fuzz_target};
use lipsync_core::kernels::bare::{self, InputTensor};
use lipsync_core::kernels::{BlockInput, InvertedResidual, Projection, QuantConv, QuantParams};

fuzz_target!(|input: &[u8]| -> Corpus {
    fault::tell();
    match compare(&mut Unstructured::new(input)) {
        Ok(()) => Corpus::Keep,
        Err(_) => Corpus::Reject,
    }
});

fn compare(input: &mut Unstructured<'_>) -> Result<()> {
    let inputs: usize = input.int_in_range(1..=70)?;
    let wide = input.int_in_range(1..=140)?;
    let outputs = 16 * input.int_in_range(1..=6)?;
    let (height, width) = (input.int_in_range(1..=24)?, input.int_in_range(1..=40)?);
    let stride = input.int_in_range(1..=2)?;
    // Weights are made from a seed: they would take more bytes than fuzz inputs have.
    let mut random = Random::new(input.arbitrary()?);
    let max = if input.arbitrary()? { 127 } else { u8::MAX };
    let params = QuantParams { scale: 0.03, zero_point: input.int_in_range(0..=max)?, max };
    let block = InvertedResidual {
        inputs: vec![BlockInput { params, upsample_2x: false }],
        expand_input: params,
        expand: layer(input, &mut random, [wide, inputs], max)?,
        depthwise: layer(input, &mut random, [wide, 9], max)?,
        stride,
        project: Projection::Quantized(layer(input, &mut random, [outputs, wide], max)?),
        residual: None,
    };
    let is_dull: bool = input.arbitrary()?;
    let level = input.int_in_range(0..=max)?;
    let mut byte = || if is_dull { level } else { (random.number() % (u64::from(max) + 1)) as u8 };
    let from: Vec<u8> = (0..inputs * height * width).map(|_| byte()).collect();
    let from = [InputTensor { bytes: &from, channels: inputs }];
    let expected = bare::expected(&block, &from, [height, width]);
    for (isa, to) in bare::run(&block, &from, [height, width]) {
        assert!(
            to == expected,
            "{} differs for {inputs}-{wide}-{outputs} at {height} x {width} by {stride}, {max}",
            isa.name()
        );
    }
    Ok(())
}

/// A layer whose accumulators fit 32 bits, and their scaled values 24.
fn layer(
    input: &mut Unstructured<'_>,
    random: &mut Random,
    [outputs, weights]: [usize; 2],
    max: u8,
) -> Result<QuantConv> {
    let largest = input.int_in_range(0..=255u64)?;
    let bias = i64::from(input.int_in_range(1..=1i32 << 20)?);
    let requant_scales = f32::from(input.int_in_range(0..=1000u16)?) / 20_000.0;
    Ok(QuantConv {
        weights: (0..outputs * weights).map(|_| (random.number() % (largest + 1)) as u8 as i8).collect(),
        bias: (0..outputs).map(|_| ((random.number() as i64) % bias) as i32).collect(),
        requant_scales: (0..outputs).map(|_| requant_scales * (1 + random.number() % 4) as f32).collect(),
        output: QuantParams {
            scale: 0.05,
            zero_point: if input.arbitrary()? { 0 } else { input.int_in_range(0..=max)? },
            max,
        },
    })
}
