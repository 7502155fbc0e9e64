"""Write models/iris/audio_encoder.onnx, generator.onnx and avatar.toml from the checkpoints.

    python export.py
"""

import time

import numpy as np
import onnx
import onnxruntime
import torch
import train_audio
import train_painter
from common import AVATAR, BOX_H, BOX_W, NET_BOX_X, NET_BOX_Y
from nets import Generator, Painter

AVATAR_TOML = """\
# A lipsync avatar. See models/README.md for every key.
format = 1
title = "Iris, a rendered presenter"
license = "CC0-1.0"
fps = 25
frames = "frames"
crops = "crops.csv"

[models]
audio_encoder = "audio_encoder.onnx"
generator = "generator.onnx"
"""


def load_audio():
    model = train_audio.Model()
    model.load_state_dict(torch.load(train_audio.CHECKPOINT)["model"])
    return model.eval()


def load_painter():
    painter = Painter()
    painter.load_state_dict(torch.load(train_painter.CHECKPOINT)["average"])
    return painter.eval()


def write(module, name, inputs, output):
    """Export with a dynamic batch axis and compare with torch."""
    path = AVATAR / name
    examples = tuple(inputs.values())
    axes = {key: {0: "N"} for key in (*inputs, output)}
    torch.onnx.export(
        module, examples, str(path), input_names=list(inputs), output_names=[output],
        dynamic_axes=axes, opset_version=17, dynamo=False,
    )  # fmt: skip
    model = onnx.load(str(path))
    with torch.no_grad():
        sizes = module(*examples).shape[1:]
    # The exporter leaves names for these; readers of the model want numbers.
    for dimension, size in zip(model.graph.output[0].type.tensor_type.shape.dim[1:], sizes):
        dimension.dim_value = size
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, str(path))
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    got = session.run(None, {k: v.numpy() for k, v in inputs.items()})[0]
    with torch.no_grad():
        worst = float(np.abs(got - module(*examples).numpy()).max())
    print(f"{name}: {path.stat().st_size / 1e6:.2f} MB, differs from torch by {worst:.1e}")
    assert worst < 1e-3


def macs(path, inputs):
    """Multiply-adds of the convolutions and matrix products for one item, in millions."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(str(path))).graph
    weights = {w.name: list(w.dims) for w in graph.initializer}
    names = [n.output[0] for n in graph.node if n.op_type in ("Conv", "Gemm", "MatMul")]
    model = onnx.load(str(path))
    model.graph.output.extend(onnx.ValueInfoProto(name=n) for n in names)
    values = onnxruntime.InferenceSession(model.SerializeToString()).run(names, inputs)
    total = 0
    for node, value in zip([n for n in graph.node if n.output[0] in names], values):
        shape = weights.get(node.input[1])
        if node.op_type == "Conv":
            total += value.size * np.prod(shape[1:])
        else:
            total += np.prod(shape) * value.size // shape[0 if node.op_type == "Gemm" else 1]
    return total / 1e6


def speed(path, inputs):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    times = []
    for _ in range(25):
        begun = time.perf_counter()
        session.run(None, inputs)
        times.append(time.perf_counter() - begun)
    return np.median(times) * 1e3, min(times) * 1e3


def main():
    AVATAR.mkdir(parents=True, exist_ok=True)
    audio, painter = load_audio(), load_painter()
    torch.manual_seed(0)
    mel = {"mel": torch.randn(2, 1, 80, 16)}
    write(audio.encoder, "audio_encoder.onnx", mel, "emb")
    pair = {"input": torch.rand(2, 6, 320, 320), "audio": torch.randn(2, 32, 16, 16)}
    with torch.no_grad():
        silence = audio.encoder(torch.full((1, 1, 80, 16), -4.0))
    generator = Generator(audio.head, painter, NET_BOX_X, NET_BOX_Y, BOX_W, BOX_H, silence).eval()
    write(generator, "generator.onnx", pair, "output")
    (AVATAR / "avatar.toml").write_text(AVATAR_TOML)
    for name, inputs in (("audio_encoder.onnx", mel), ("generator.onnx", pair)):
        one = {k: v[:1].numpy() for k, v in inputs.items()}
        middle, best = speed(AVATAR / name, one)
        work = macs(AVATAR / name, one)
        print(f"{name}: {work:.1f} MMAC, {middle:.1f} ms on one thread (fastest {best:.1f})")


if __name__ == "__main__":
    main()
