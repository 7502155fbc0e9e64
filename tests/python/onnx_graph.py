# SPDX-License-Identifier: MPL-2.0
"""A few lines around onnx.helper, so that a network reads like its layer list."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
"""What exporters of the time of opset 17 write; older than what onnx would choose by itself."""

FLOAT = TensorProto.FLOAT
FLOAT16 = TensorProto.FLOAT16
INT64 = TensorProto.INT64


class Graph:
    """Collects nodes and weights; every method that adds something returns its name."""

    def __init__(self, name: str):
        self.name = name
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: list, element: int = FLOAT) -> str:
        """Adds an input; a string in the shape is a dimension left open."""
        self.inputs.append(helper.make_tensor_value_info(name, element, shape))
        return name

    def weight(self, array: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def add(self, operation: str, *inputs: str, **attributes) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, list(inputs), [name], name=f"{operation}_{name}", **attributes))
        return name

    def model(self, output: str, name: str, shape: list, element: int = FLOAT) -> onnx.ModelProto:
        """Closes the graph: the value `output` becomes the model's only output, under the given name."""
        self.nodes.append(helper.make_node("Identity", [output], [name], name=f"output_{name}"))
        value = helper.make_tensor_value_info(name, element, shape)
        graph = helper.make_graph(self.nodes, self.name, self.inputs, [value], self.weights)
        opset = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=IR_VERSION, producer_name="lipsync tests")
        onnx.checker.check_model(model)
        return model


def write_models(folder: Path, models: dict[str, Callable[[], onnx.ModelProto]]) -> None:
    """Writes each model to a file of its name."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in models.items():
        (folder / f"{name}.onnx").write_bytes(model().SerializeToString())
