# SPDX-License-Identifier: MPL-2.0
"""The trained networks, extracted from a shipped avatar, so that they need not be trained again.

Every avatar of the kit contains the same audio encoder and head: the encoder is its audio_encoder.onnx, the head is the first part
of its generator.onnx.  The painter, the rest of it, is the person's own.
"""

import numpy as np
import onnx
import torch
from common import AVATAR, HERE, NET_BOX_X, NET_BOX_Y
from nets import Generator, MouthHead, Painter
from onnx import numpy_helper

IRIS = HERE.parent / "models" / "iris"
BATCH_NORM_EPSILON = 1e-5


def read(name, avatar=IRIS):
    """({name: weights}, nodes in order) of a network of an avatar."""
    graph = onnx.load(str(avatar / name)).graph
    return {weights.name: numpy_helper.to_array(weights).copy() for weights in graph.initializer}, graph.node


def encoder():
    """Weights of nets.AudioEncoder.  The exporter has folded each batch normalisation into its convolution."""
    weights, nodes = read("audio_encoder.onnx")
    state = {name: value for name, value in weights.items() if name.startswith("body.")}
    for number, node in enumerate(node for node in nodes if node.op_type == "Conv"):
        kernel, bias = (weights[name] for name in node.input[1:])
        state[f"body.{number}.0.weight"] = kernel
        # A batch normalisation that only adds the bias.
        norm = {
            "weight": np.full_like(bias, np.sqrt(1 + BATCH_NORM_EPSILON)),
            "bias": bias,
            "running_mean": np.zeros_like(bias),
            "running_var": np.ones_like(bias),
            "num_batches_tracked": np.array(0),
        }
        state |= {f"body.{number}.1.{name}": value for name, value in norm.items()}
    return state


def head():
    """Weights of nets.MouthHead.  The exporter has transposed its first layer and dropped the name."""
    weights, nodes = read("generator.onnx")
    first = next(node for node in nodes if node.op_type == "MatMul")
    state = {name.removeprefix("head."): value for name, value in weights.items() if name.startswith("head.")}
    return state | {"row.weight": weights[first.input[1]].T}


def generator():
    """The nets.Generator of the shipped avatar of PERSON."""
    weights = read("generator.onnx", AVATAR)[0]
    own = {name.removeprefix("painter."): value for name, value in weights.items() if name.startswith("painter.")}
    height, width = own["window"].shape[2:]
    painter, head_ = Painter((NET_BOX_X, NET_BOX_Y, width, height)), MouthHead()
    painter.load_state_dict(painter.state_dict() | tensors(own))
    head_.load_state_dict(tensors(head()))
    return Generator(head_, painter, torch.from_numpy(weights["silence"])).eval()


def tensors(state):
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state.items()}


def load(model):
    """Gives a train_encoder.Model the shipped weights; its probe, which only training needs, is unchanged."""
    for module, state in ((model.encoder, encoder()), (model.head, head())):
        module.load_state_dict(tensors(state))
