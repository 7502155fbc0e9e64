# SPDX-License-Identifier: MPL-2.0
"""The generator of a shipped avatar, read back from its generator.onnx: the head, and the person's own painter."""

import numpy as np
import onnx
import torch
from common import AVATAR, NET_BOX_X, NET_BOX_Y
from nets import Generator, MouthHead, Painter
from onnx import numpy_helper

FLOAT16 = ".stored_as_float16"  # end of the name of such a weight, also of those that lipsync import --fp16 stores


def generator(path=AVATAR / "generator.onnx"):
    """The nets.Generator of a shipped avatar, by default that of PERSON.

    Raises KeyError or StopIteration where the file holds another network.
    """
    graph = onnx.load(str(path)).graph
    weights = {w.name.removesuffix(FLOAT16): numpy_helper.to_array(w).astype(np.float32) for w in graph.initializer}
    # The exporter has transposed the head's first layer and dropped its name.
    first = next(node for node in graph.node if node.op_type == "MatMul")
    weights["head.row.weight"] = weights[first.input[1]].T

    def part(prefix):
        return {name.removeprefix(prefix): value for name, value in weights.items() if name.startswith(prefix)}

    own = part("painter.")
    height, width = own["window"].shape[2:]
    painter, head = Painter((NET_BOX_X, NET_BOX_Y, width, height)), MouthHead()
    painter.load_state_dict(painter.state_dict() | tensors(own))
    head.load_state_dict(head.state_dict() | tensors(part("head.")))  # older ones know no closures as such
    return Generator(head, painter, torch.from_numpy(weights["silence"])).eval()


def tensors(state):
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in state.items()}
