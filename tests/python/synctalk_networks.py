# SPDX-License-Identifier: MPL-2.0
"""SyncTalk_2D's own networks, layer by layer, with made-up weights, or with given ones.

Made-up weights are seeded and scaled so that no layer saturates or dies: zeros and subnormals would be a different load.
Batch normalisation is folded into the convolutions, as an exporter does for a trained model.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime

import compositing
from fixtures import avatars
from onnx_graph import FLOAT, Graph

SIZE = 320
WIDTHS = [32, 64, 128, 256, 512]
HALF_WIDTHS = [w // 2 for w in WIDTHS]
"""The mobile variant."""
EIGHTH_WIDTHS = [w // 8 for w in WIDTHS]
"""As many layers, in little time."""


Trained = Iterator[tuple[np.ndarray, np.ndarray]]
"""Weights and bias of each convolution, in the order in which they are built."""


@dataclass(frozen=True)
class Tensor:
    """A value in the graph and its shape, without the batch."""

    name: str
    channels: int
    height: int
    width: int


class Builder:
    """Adds layers to a graph and keeps count of parameters and of multiply-accumulates."""

    def __init__(self, name: str, seed: int, half_weights: bool = False, trained: Trained | None = None):
        self.graph = Graph(name)
        self.trained = trained
        self.half_weights = half_weights
        self.rng = np.random.default_rng(seed)
        self.parameters = 0
        self.macs: dict[str, int] = {}
        self.part = ""

    def weight(self, array: np.ndarray) -> str:
        """Adds trained values, which may be stored in 16 bits."""
        if self.half_weights:
            return self.graph.add("Cast", self.graph.weight(array.astype(np.float16)), to=FLOAT)
        return self.graph.weight(array.astype(np.float32))

    def input(self, name: str, channels: int, height: int, width: int) -> Tensor:
        return Tensor(self.graph.input(name, ["batch", channels, height, width]), channels, height, width)

    def conv(
        self,
        x: Tensor,
        out: int,
        kernel: int = 3,
        stride: int | tuple[int, int] = 1,
        pad: int = 0,
        groups: int = 1,
        normalised: bool = True,
        gain: float = 2.0,
        has_bias: bool = True,
    ) -> Tensor:
        """A convolution. `normalised`: batch normalisation followed it; `has_bias`: it had its own bias besides."""
        strides = (stride, stride) if isinstance(stride, int) else stride
        fan_in = x.channels // groups * kernel * kernel
        weights = self.rng.standard_normal((out, x.channels // groups, kernel, kernel)) * np.sqrt(gain / fan_in)
        bias = self.rng.standard_normal(out) * 0.05
        if self.trained:
            shape = weights.shape
            weights, bias = next(self.trained)
            assert weights.shape == shape, f"weights for {weights.shape}, not {shape}"
        name = self.graph.add(
            "Conv",
            x.name,
            self.weight(weights),
            self.weight(bias),
            kernel_shape=[kernel, kernel],
            strides=list(strides),
            pads=[pad] * 4,
            group=groups,
        )
        height = (x.height + 2 * pad - kernel) // strides[0] + 1
        width = (x.width + 2 * pad - kernel) // strides[1] + 1
        self.parameters += weights.size + out * (2 * normalised + has_bias)
        self.macs[self.part] = self.macs.get(self.part, 0) + weights.size * height * width
        return Tensor(name, out, height, width)

    def apply(self, operation: str, x: Tensor, *others: str) -> Tensor:
        """Adds an operation that keeps the shape."""
        return Tensor(self.graph.add(operation, x.name, *others), x.channels, x.height, x.width)

    def relu(self, x: Tensor) -> Tensor:
        return self.apply("Relu", x)

    def concat(self, a: Tensor, b: Tensor) -> Tensor:
        return Tensor(self.graph.add("Concat", a.name, b.name, axis=1), a.channels + b.channels, a.height, a.width)

    def pad_like(self, x: Tensor, model: Tensor) -> Tensor:
        """Pads to the size of another, which x has already: what PyTorch writes of F.pad with sizes that it traced."""
        add, weight = self.graph.add, self.graph.weight

        def numbers(*values: int) -> str:
            return weight(np.array(values, np.int64))

        pads = [numbers(0, 0), numbers(0, 0)]
        for axis in (2, 3):
            sizes = [add("Gather", add("Shape", t.name), numbers(axis), axis=0) for t in (model, x)]
            missing = add("Sub", *sizes)
            before = add("Div", missing, numbers(2))
            for end, amount in enumerate((before, add("Sub", missing, before))):
                pads[end] = add("Concat", pads[end], amount, axis=0)
        return self.apply("Pad", x, add("Concat", *pads, axis=0))

    def double(self, x: Tensor) -> Tensor:
        """Bilinear, twice the size, corners aligned."""
        scales = self.graph.weight(np.array([1, 1, 2, 2], np.float32))
        mode = {"mode": "linear", "coordinate_transformation_mode": "align_corners"}
        return Tensor(self.graph.add("Resize", x.name, "", scales, **mode), x.channels, 2 * x.height, 2 * x.width)


# --- generator --------------------------------------------------------------------------------------------------------


def inverted_residual(b: Builder, x: Tensor, out: int, stride: int = 1, residual: bool = False) -> Tensor:
    """Widen twofold, filter each channel alone, narrow."""
    wide = b.relu(b.conv(x, 2 * x.channels, kernel=1, has_bias=False))
    filtered = b.relu(b.conv(wide, wide.channels, stride=stride, pad=1, groups=wide.channels, has_bias=False))
    # No ReLU follows, hence half the gain; still less in residual branches, so that the sum does not grow with depth.
    narrow = b.conv(filtered, out, kernel=1, has_bias=False, gain=0.25 if residual else 1.0)
    return b.apply("Add", narrow, x.name) if residual else narrow


def pair(b: Builder, x: Tensor, out: int, stride: int = 1) -> Tensor:
    return inverted_residual(b, inverted_residual(b, x, out, stride), out, residual=True)


def audio_branch(b: Builder, x: Tensor, widths: list[int]) -> Tensor:
    x = inverted_residual(b, x, widths[1])
    x = inverted_residual(b, x, widths[2])
    x = b.relu(b.conv(x, widths[3], pad=1))
    x = inverted_residual(b, x, widths[3], residual=True)
    x = b.relu(b.conv(x, widths[4], stride=2, pad=3))
    x = inverted_residual(b, x, widths[4], residual=True)
    return inverted_residual(b, x, widths[4], residual=True)


def steps(widths: list[int], size: int) -> tuple[list[int], list[int]]:
    """Returns the widths of the steps down and up. Both sizes end at 10 x 10, where the audio joins."""
    down = [widths[1], widths[2], widths[3], widths[4]]
    up = [widths[3] // 2, widths[2] // 2, widths[1] // 2, widths[0]]
    return {160: (down, up), 320: ([widths[0], *down], [*up, widths[0] // 2])}[size]


def unet(
    widths: list[int],
    size: int = SIZE,
    half_weights: bool = False,
    padded: bool = False,
    trained: Trained | None = None,
) -> tuple[Builder, Tensor]:
    """Builds the network up to its last layer, before the sigmoid; `padded` as its training code pads, by nothing."""
    b = Builder("synctalk_2d_generator", seed=11, half_weights=half_weights, trained=trained)
    picture = b.input("input", 6, size, size)
    down, up = steps(widths, size)
    audio = b.input("audio", 32, 16, 16)

    b.part = "inc"
    skips = [inverted_residual(b, picture, widths[0])]
    b.part = f"down1-{len(down)}"
    for out in down:
        skips.append(pair(b, skips[-1], out, stride=2))
    b.part = "audio"
    sound = audio_branch(b, audio, widths)
    b.part = "fuse"
    x = pair(b, b.concat(skips.pop(), sound), widths[4])
    x = pair(b, x, widths[3])
    for k, out in enumerate(up, 1):
        b.part = f"up{k}"
        skip, x = skips.pop(), b.double(x)
        x = pair(b, b.concat(b.pad_like(x, skip) if padded else x, skip), out)
    return b, b.conv(x, 3, kernel=1, normalised=False, gain=1.0)


def as_model(b: Builder, output: Tensor) -> onnx.ModelProto:
    return b.graph.model(output.name, "output", ["batch", output.channels, output.height, output.width])


def generator(
    widths: list[int], size: int = SIZE, half_weights: bool = False, lively: float = 0.5, padded: bool = False
) -> tuple[onnx.ModelProto, Builder]:
    """Builds the network; its outputs are about 0.2 to 0.8 for a picture and speech.

    `lively` is the deviation of the outputs before the sigmoid.
    """
    values = last_layer_output(as_model(*unet(widths, size, half_weights)), size)
    contrast = lively / values.std(axis=(1, 2)).mean()
    b, logits = unet(widths, size, half_weights, padded)
    scale_last_layer(b.graph, contrast, -contrast * values.mean(axis=(1, 2)))
    return as_model(b, b.apply("Sigmoid", logits)), b


def trained_generator(trained: Trained) -> tuple[onnx.ModelProto, Builder]:
    """Builds the full-size network with weights that something was learned with."""
    b, logits = unet(WIDTHS, trained=trained)
    assert next(trained, None) is None, "weights are left over"
    return as_model(b, b.apply("Sigmoid", logits)), b


def last_layer_output(model: onnx.ModelProto, size: int) -> np.ndarray:
    """Runs a model on a drawn face and on features like the audio encoder's."""
    face = avatars.draw_frame(0, size, size)
    picture = compositing.network_input(face, compositing.hide_mouth(face))[np.newaxis]
    audio = np.maximum(0, 2 * np.random.default_rng(12).standard_normal((1, 32, 16, 16))).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": picture, "audio": audio})[0][0]


def scale_last_layer(graph: Graph, contrast: float, offset: np.ndarray) -> None:
    """Replaces the last layer's weights w and bias c by contrast * w and contrast * c + offset."""
    weights, bias = (onnx.numpy_helper.to_array(w) for w in graph.weights[-2:])
    for tensor, values in zip(graph.weights[-2:], (weights * contrast, bias * contrast + offset), strict=True):
        values = values.astype(weights.dtype)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


# --- audio encoder ----------------------------------------------------------------------------------------------------


def encoder_block(
    b: Builder, x: Tensor, out: int, stride=1, residual: bool = False, kernel: int = 3, pad: int = 1
) -> Tensor:
    y = b.conv(x, out, kernel=kernel, stride=stride, pad=pad, gain=0.5 if residual else 2.0)
    return b.relu(b.apply("Add", y, x.name) if residual else y)


def audio_encoder() -> tuple[onnx.ModelProto, Builder]:
    b = Builder("synctalk_2d_audio_encoder", seed=13)
    b.part = "encoder"
    x = b.input("mel", 1, 80, 16)
    x = encoder_block(b, x, 32)
    for out, stride, repeats in [(32, None, 2), (64, (3, 1), 2), (128, 3, 2), (256, (3, 2), 1)]:
        if stride is not None:
            x = encoder_block(b, x, out, stride)
        for _ in range(repeats):
            x = encoder_block(b, x, out, residual=True)
    x = encoder_block(b, x, 512, pad=0)
    x = encoder_block(b, x, 512, kernel=1, pad=0)
    assert (x.height, x.width) == (1, 1)
    flat = b.graph.add("Flatten", x.name, axis=1)
    return b.graph.model(flat, "emb", ["batch", 512]), b
