# SPDX-License-Identifier: MPL-2.0
"""What one core can do at most, by operations that nothing of the networks can beat."""

import numpy as np
import onnx
import onnxruntime
from pathlib import Path

from full_size import median_seconds

def open_session(model: Path | bytes, **options: object) -> onnxruntime.InferenceSession:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    for name, value in options.items():
        setattr(settings, name, value)
    return onnxruntime.InferenceSession(model if isinstance(model, bytes) else str(model), settings, ["CPUExecutionProvider"])


def example_inputs(session: onnxruntime.InferenceSession) -> dict[str, np.ndarray]:
    """Returns noise of the right shapes; open sizes are 1."""
    rng = np.random.default_rng(3)
    kinds = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}
    feeds = {}
    for port in session.get_inputs():
        shape = [size if isinstance(size, int) else 1 for size in port.shape]
        kind = kinds[port.type]
        feeds[port.name] = rng.random(shape, np.float32) if kind == np.float32 else rng.integers(0, 100, shape, kind)
    return feeds


def one_node(op: str, inputs: dict[str, tuple], weights: dict[str, np.ndarray], order: list[str], kind: int, **attributes) -> bytes:
    """Returns a model of a single operation."""
    ports = [onnx.helper.make_tensor_value_info(name, t, shape) for name, (t, shape) in inputs.items()]
    output = onnx.helper.make_tensor_value_info("y", kind, None)
    constants = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = onnx.helper.make_graph([onnx.helper.make_node(op, order, ["y"], **attributes)], op, ports, [output], constants)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def peak_models() -> dict[str, tuple[str, bytes, float]]:
    """Operations that nothing of the networks can beat: kind of numbers, model, MACs."""
    t, rng, n = onnx.TensorProto, np.random.default_rng(5), 1024
    channels, side = 256, 40
    small = rng.integers(-60, 60, (n, n), np.int8)
    kernel = rng.integers(-60, 60, (channels, channels, 3, 3), np.int8)
    picture = [1, channels, side, side]
    scale, zero = np.float32(0.02), np.uint8(128)
    quantities = {"s": np.array(scale), "z": np.array(zero), "w": kernel, "sw": np.array(scale), "zw": np.array(np.int8(0))}
    order = ["x", "s", "z", "w", "sw", "zw", "s", "z"]
    conv_macs = channels * channels * 9.0 * side * side
    pads = {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}
    return {
        "MatMul": ("fp32", one_node("MatMul", {"x": (t.FLOAT, [n, n])}, {"w": small.astype(np.float32)}, ["x", "w"], t.FLOAT), n**3),
        "Conv": ("fp32", one_node("Conv", {"x": (t.FLOAT, picture)}, {"w": kernel.astype(np.float32)}, ["x", "w"], t.FLOAT, **pads), conv_macs),
        "MatMulInteger": ("int8", one_node("MatMulInteger", {"x": (t.UINT8, [n, n])}, {"w": small}, ["x", "w"], t.INT32), n**3),
        "QLinearConv": ("int8", one_node("QLinearConv", {"x": (t.UINT8, picture)}, quantities, order, t.UINT8, **pads), conv_macs),
    }


def measure_machine(rounds: int) -> dict[str, float]:
    """GMAC/s of one core by operation and at most, and GB/s that it copies (read and written)."""
    result: dict[str, float] = {"fp32": 0.0, "int8": 0.0}
    for name, (kind, model, macs) in peak_models().items():
        session = open_session(model)
        feeds = example_inputs(session)
        result[name] = macs / median_seconds(lambda: session.run(None, feeds), 3 * rounds) / 1e9
        result[kind] = max(result[kind], result[name])
    source = np.ones(256 << 20, np.uint8)
    target = np.zeros_like(source)
    result["bandwidth"] = 2 * source.nbytes / median_seconds(lambda: np.copyto(target, source), 3 * rounds) / 1e9
    return result
