// SPDX-License-Identifier: MPL-2.0
//! The fused kernels at any size and with any weights, against the reference implementation. Does nothing on
//! processors that do not support them.

#![no_main]

use fuzz::{fault, mutate::Random};
use libfuzzer_sys::arbitrary::{Result, Unstructured};
use libfuzzer_sys::{Corpus, fuzz_target};
use lipsync_core::kernels::{BlockInput, InvertedResidual, Projection, QuantConv, QuantParams, bare};

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
    let params = params(input)?;
    let block = InvertedResidual {
        inputs: vec![BlockInput { params, upsample_2x: false }],
        expand_input: params,
        expand: layer(input, &mut random, wide, inputs)?,
        depthwise: layer(input, &mut random, wide, 9)?,
        stride,
        project: Projection::Quantized(layer(input, &mut random, outputs, wide)?),
        residual: None,
    };
    let is_dull: bool = input.arbitrary()?;
    let level: u8 = input.arbitrary()?;
    let from: Vec<u8> =
        (0..inputs * height * width).map(|_| if is_dull { level } else { random.number() as u8 }).collect();
    if let Some(to) = bare::run(&block, &[(&from, inputs)], [height, width]) {
        let expected = bare::inverted_residual(&block, &from, [height, width]);
        assert!(
            to == expected,
            "the kernel differs for {inputs}-{wide}-{outputs} at {height} x {width} by {stride}"
        );
    }
    Ok(())
}

fn params(input: &mut Unstructured<'_>) -> Result<QuantParams> {
    Ok(QuantParams { scale: 0.03, zero_point: input.arbitrary()? })
}

/// A layer whose accumulators fit 32 bits, and their scaled values 24.
fn layer(
    input: &mut Unstructured<'_>,
    random: &mut Random,
    outputs: usize,
    weights: usize,
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
            zero_point: if input.arbitrary()? { 0 } else { input.arbitrary()? },
        },
    })
}
