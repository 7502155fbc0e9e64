# SPDX-License-Identifier: MPL-2.0
"""The trained audio encoder and head, extracted from a shipped avatar, so that they need not be trained again.

Every avatar of the kit contains the same two: the encoder is its audio_encoder.onnx, the head is the first part of its
generator.onnx.
"""

import numpy as np
import onnx
import torch
from common import HERE
from onnx import numpy_helper

AVATAR = HERE.parent / "models" / "iris"
BATCH_NORM_EPSILON = 1e-5


def read(name):
    """({name: weights}, nodes in order) of a network of the avatar."""
    graph = onnx.load(str(AVATAR / name)).graph
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


def load(model):
    """Gives a train_encoder.Model the shipped weights; its probe, which only training needs, is unchanged."""
    for module, state in ((model.encoder, encoder()), (model.head, head())):
        module.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state.items()})
