// SPDX-License-Identifier: MPL-2.0
//! ONNX files as such: decoded, changed by everything that changes graphs, and written again.

#![no_main]

use std::collections::HashSet;
use std::path::Path;

use fuzz::mutate;
use libfuzzer_sys::{fuzz_mutator, fuzz_target};
use lipsync_core::onnx::proto::ModelProto;
use lipsync_core::onnx::{BoundaryValue, DataType, Model, Ranges};
use prost::Message;

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutate::network(data, size, max_size, seed)
});

fuzz_target!(|input: &[u8]| {
    // Nothing lies beside it.
    let path = Path::new("/nonexistent/model.onnx");
    drop(Model::decode_unchecked(path, input).map(|model| (model.inputs(), model.weight_counts())));
    let Ok(model) = Model::decode(path, input) else { return };
    if is_ambiguous(input) {
        return;
    }
    let (inputs, outputs) = (model.inputs(), model.outputs());
    inputs.iter().chain(&outputs).for_each(|port| drop(port.to_string()));
    drop((model.weight_counts(), model.op_types().len(), model.opset(), model.metadata("lipsync.made_of")));

    // As `prepare` does it.
    let mut clean = model.clone();
    clean.fix_batch_size();
    clean.remove_noop_pads();
    clean.pad_depthwise_channels();
    again(&clean);
    if let [first, second, ..] = &inputs[..]
        && let Some(mut split) = clean.split_generator(&first.name, &second.name)
    {
        let shapes = [vec![1, 16, 4, 4], vec![1, 3], vec![]];
        let kept = split.boundary.iter().zip(shapes.iter().cycle()).enumerate();
        let kept: Vec<BoundaryValue> = kept
            .map(|(n, (name, shape))| BoundaryValue {
                name: name.clone(),
                data_type: [DataType::Float, DataType::Uint8, DataType::Int8][n % 3],
                shape: shape.clone(),
            })
            .collect();
        split.declare_boundary(&kept);
        again(&split.face);
        again(&split.mouth);
        drop((split.face.fuse_blocks(), split.mouth.fuse_blocks()));
    }
    let mut taken = clean.clone();
    if taken.fuse_blocks().is_some() {
        // Its operators are not for files.
        Model::decode_unchecked(path, &taken.encode()).expect("what was written is read");
    }

    let mut halved = model.clone();
    if halved.convert_weights_to_float16().is_ok() {
        again(&halved);
    }

    // As `quantize` does it.
    let layers = model.quantizable_layers();
    let ranges: Ranges =
        Model::values_to_calibrate(&layers).into_iter().map(|name| (name, (-1.0, 3.0))).collect();
    let mut quantized = model;
    quantized.add_outputs(&Model::values_to_calibrate(&layers));
    quantized.quantize(&layers, &ranges);
    again(&quantized);
    drop(quantized.fuse_blocks());
});

/// What is written can be read, and is allowed.
fn again(model: &Model) {
    Model::decode(Path::new("/nonexistent/again.onnx"), &model.encode()).expect("what was written is read");
}

/// Whether two values have one name, which ONNX Runtime refuses, but for weights that are inputs, too: these count as inputs when
/// nothing uses the weights any more. What passes make of such graphs may not be allowed.
fn is_ambiguous(input: &[u8]) -> bool {
    let graph = ModelProto::decode(input).ok().and_then(|model| model.graph).unwrap_or_default();
    let ports = graph.input.iter().map(|port| port.name());
    let weights = graph.initializer.iter().map(|tensor| tensor.name());
    let made = graph.node.iter().flat_map(|node| node.output.iter().map(String::as_str));
    let mut names = HashSet::new();
    !ports.chain(weights).chain(made).filter(|name| !name.is_empty()).all(|name| names.insert(name))
}
