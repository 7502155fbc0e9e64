# SPDX-License-Identifier: MPL-2.0
"""Write an avatar folder from the checkpoints: the two ONNX files and avatar.toml, which lists the clips that are there.

    PERSON=iris python export.py                        # into models/iris, whose frames make_idle.py writes
    PERSON=iris python export.py --keep-painter         # only the hearing is new; the painter is that of the avatar that is there
"""

import argparse
import time
from pathlib import Path

import clips
import numpy as np
import onnx
import onnxruntime
import shipped
import torch
import train_encoder
import train_generator
from common import AVATAR, OWN
from nets import Generator
from onnx import numpy_helper
from people import PERSON
from shipped import FLOAT16

MIN_ELEMENTS = 256  # of a weight that is stored as float16; smaller ones hardly count

AVATAR_TOML = """\
# A lipsync avatar. See models/README.md for every key.
format = 1
title = "{title}"
license = "{licence}"
fps = 25
frames = "frames"
crops = "crops.csv"
{more}
[models]
audio_encoder = "audio_encoder.onnx"
generator = "generator.onnx"

[audio]
windows = "averaged"
"""
RENDERED = """\
alpha = "alpha"
background = "background.png"
at_rest = true
"""


def convert_weights_to_float16(model):
    """Stores large weights as float16, with a Cast to float32 behind each: half the size, and the computation stays in float32.

    What lipsync import --fp16 does (crates/lipsync-core/src/onnx/float16.rs), with the same names: the kit runs without the tool.
    """
    graph, casts = model.graph, []
    for weight in graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32 and values.size >= MIN_ELEMENTS and np.abs(values).max() <= np.finfo(np.float16).max:
            name = weight.name
            weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), name + FLOAT16))
            casts.append(onnx.helper.make_node("Cast", [weight.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def write(module, path, inputs, output):
    """Export with a dynamic batch axis and weights in float16, and compare with torch."""
    examples = tuple(inputs.values())
    axes = {key: {0: "N"} for key in (*inputs, output)}
    torch.onnx.export(
        module, examples, str(path), input_names=list(inputs), output_names=[output],
        dynamic_axes=axes, opset_version=17, dynamo=False,
    )  # fmt: skip
    model = onnx.load(str(path))
    with torch.no_grad():
        wanted = module(*examples).numpy()
    # The exporter leaves symbolic names for these; consumers of the model expect numbers.
    for dimension, size in zip(model.graph.output[0].type.tensor_type.shape.dim[1:], wanted.shape[1:]):
        dimension.dim_value = size

    def off():
        onnx.checker.check_model(model, full_check=True)
        session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
        return float(np.abs(session.run(None, {k: v.numpy() for k, v in inputs.items()})[0] - wanted).max())

    worst = off()
    assert worst < 1e-3
    convert_weights_to_float16(model)
    onnx.save(model, str(path))
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, differs from torch by {worst:.1e}, with weights in float16 by {off():.1e}")


def macs(path, inputs):
    """MMAC of the convolutions and matrix products for one item."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(str(path))).graph
    weights = {w.name.removesuffix(FLOAT16): list(w.dims) for w in graph.initializer}
    weights |= {n.output[0]: list(n.attribute[0].t.dims) for n in graph.node if n.op_type == "Constant"}
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


def write_networks(folder, encoder, generator):
    """audio_encoder.onnx and generator.onnx, from modules on the CPU."""
    torch.manual_seed(0)
    mel = {"mel": torch.randn(2, 1, 80, 16)}
    write(encoder, folder / "audio_encoder.onnx", mel, "emb")
    pair = {"input": torch.rand(2, 6, 320, 320), "audio": torch.randn(2, 32, 16, 16)}
    write(generator.eval(), folder / "generator.onnx", pair, "output")
    for name, inputs in (("audio_encoder.onnx", mel), ("generator.onnx", pair)):
        one = {k: v[:1].numpy() for k, v in inputs.items()}
        middle, best = speed(folder / name, one)
        print(f"{name}: {macs(folder / name, one):.1f} MMAC, {middle:.1f} ms on one thread (fastest {best:.1f})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=AVATAR, help="the avatar folder (default: the person's in models/)")
    parser.add_argument("--keep-painter", action="store_true", help="take the painter from models/PERSON, not from WORK")
    arguments = parser.parse_args()
    arguments.to.mkdir(parents=True, exist_ok=True)
    model = train_encoder.load()
    painter = shipped.generator().painter if arguments.keep_painter else train_generator.load(OWN / "painter.pt")
    with torch.no_grad():
        silence = model.encoder(torch.full((1, 1, 80, 16), -4.0))
    write_networks(arguments.to, model.encoder, Generator(model.head, painter, silence))
    about = {"title": PERSON.title, "licence": "CC0-1.0", "more": RENDERED}
    (arguments.to / "avatar.toml").write_text(AVATAR_TOML.format(**about) + clips.manifest(arguments.to))


if __name__ == "__main__":
    main()
