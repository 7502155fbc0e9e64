# SPDX-License-Identifier: MPL-2.0
"""The networks alone on one core: work, bytes moved, and how near they come to the limits of the machine."""

import hashlib
import os
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from full_size import median_seconds
from machine import example_inputs, open_session
from material import CACHE, IRIS, iris_int8
from whole_job import FULL_SIZE, SCRATCH, say

PARTS = ("whole", "face", "mouth")
"""What a graph is cut into; other files hold what was found out about it."""
CHECKSUM = 64
"""Characters before a cached graph."""


def prepared(generator: Path) -> dict[str, Path]:
    """Returns the graphs that the plugin keeps of a generator, see
    crates/lipsync-core/src/inference/prepare.rs, as ONNX Runtime alone would run them."""
    place = hashlib.sha256(os.fsencode(generator.resolve())).hexdigest()[:16]
    files = sorted((CACHE / "lipsync/graphs").glob(f"{place}-*.graph"), key=lambda path: path.stat().st_mtime)
    result = {}
    for file in files:
        name = file.stem.rsplit("-", 1)[1]
        if name not in PARTS:
            continue
        model = onnx.load_from_string(file.read_bytes()[CHECKSUM:])
        without_clips(model.graph)
        result[name] = SCRATCH / f"{place}-{name}.onnx"
        onnx.save(model, result[name])
    return result


def without_clips(graph: onnx.GraphProto) -> None:
    """Removes the limits of 7 bits, which only the plugin's kernels gain by. Where ONNX Runtime has made one node of a
    ReLU and a limit, the ReLU stays."""
    values = {initializer.name: initializer for initializer in graph.initializer}
    quantized = {node.input[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
    for clip in [node for node in graph.node if node.op_type == "Clip" and node.output[0] in quantized]:
        if not clip.input[1]:
            quantized[clip.output[0]].input[0] = clip.input[0]
            graph.node.remove(clip)
        elif onnx.numpy_helper.to_array(values[clip.input[1]]) == 0:
            clip.op_type = "Relu"
            del clip.input[1:]


def measure_networks(rounds: int, generator: float) -> dict[str, dict]:
    """Measures the networks in Python, with ONNX Runtime's kernels alone.

    `generator` is how many milliseconds the plugin takes for the full-size network in 8 bits, with all around it: its
    own kernels are no part of the graph.
    """
    files = {}
    for name, fp32, int8 in (("full-size", FULL_SIZE, FULL_SIZE), ("iris", IRIS, iris_int8())):
        files[f"{name} fp32, as it came"] = fp32 / "generator.onnx"
        for kind, file in (("fp32", fp32 / "generator.onnx"), ("int8", int8 / "generator.int8.onnx")):
            for part, path in prepared(file).items():
                files[f"{name} {kind} {part}"] = path
    result = {}
    for name, path in files.items():
        say(f"the network {name}")
        session = open_session(path)
        feeds = example_inputs(session)
        seconds = median_seconds(lambda: session.run(None, feeds), 3 * rounds)
        row = count_work(path) | {"seconds": seconds, "kind": "int8" if "int8" in name else "fp32"}
        result[name] = row | {"rate": row["macs"] / seconds / 1e9}
    parts = [row for name, row in result.items() if name.startswith("full-size int8")]
    macs, weights = (sum(row[key] for row in parts) for key in ("macs", "weights"))
    ours = {"macs": macs, "weights": weights, "bytes": None, "seconds": generator / 1000, "kind": "int8"}
    result["full-size int8, by the plugin"] = ours | {"rate": macs / generator / 1e6}
    return result


def count_work(path: Path) -> dict[str, float]:
    """Counts MACs, and bytes that every node reads and writes, as ONNX Runtime has joined the nodes."""
    with tempfile.NamedTemporaryFile(dir=SCRATCH, suffix=".onnx") as file:
        levels = onnxruntime.GraphOptimizationLevel
        open_session(path, optimized_model_filepath=file.name, graph_optimization_level=levels.ORT_ENABLE_EXTENDED)
        model = onnx.load(file.name)
    constants = {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}
    values = constants | all_values(model)
    macs = size = 0.0
    for node in model.graph.node:
        size += sum(values[name].nbytes for name in [*node.input, *node.output] if name in values)
        macs += node_macs(node, values)
    return {"macs": macs, "bytes": size, "weights": sum(value.nbytes for value in constants.values())}


def all_values(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Returns every value of a graph: shapes are what a run gives, whatever the operations are."""
    known = {output.name for output in model.graph.output}
    wanted = [name for node in model.graph.node for name in node.output if name and name not in known]
    more = onnx.ModelProto()
    more.CopyFrom(model)
    more.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    session = open_session(more.SerializeToString(), graph_optimization_level=onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    feeds = example_inputs(session)
    return feeds | dict(zip([output.name for output in session.get_outputs()], session.run(None, feeds)))


def node_macs(node: onnx.NodeProto, values: dict[str, np.ndarray]) -> float:
    """MACs of a convolution or of a product of matrices; nothing for all else."""
    if node.op_type not in ("Conv", "FusedConv", "QLinearConv", "Gemm", "FusedGemm", "QGemm", "MatMul", "FusedMatMul", "QLinearMatMul", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulInteger"):
        return 0.0
    output = float(values[node.output[0]].size)
    weight = 3 if node.op_type.startswith("QLinear") else 1
    if "Conv" in node.op_type:
        return output * np.prod(values[node.input[weight]].shape[1:])
    flags = {attribute.name: attribute.i for attribute in node.attribute}
    return output * values[node.input[0]].shape[-2 if flags.get("transA") else -1]
