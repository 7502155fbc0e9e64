#!/usr/bin/env python3
"""Builds the full-size SyncTalk_2D networks with made-up weights, as an avatar folder for speed measurements.

Speed does not depend on what the weights say, so a network of the right shape measures the same as a trained one. The
weights are seeded and scaled so that no layer saturates or dies: zeros and subnormals would be a different load.
Batch normalisation is folded into the convolutions, as an exporter does for a trained model.
"""

import argparse
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "python"))

import reference
from fixtures import avatars
from onnx_graph import Graph

SIZE = 320
WIDTHS = [32, 64, 128, 256, 512]

# Millions of parameters with batch normalisation still apart, as its authors count them; and GMAC per frame.
EXPECTED_GENERATOR = (12.19, 4.89)
EXPECTED_ENCODER = (2.81, 0.093)

SYNTHETIC_FRAMES = 25


@dataclass(frozen=True)
class Tensor:
    """A value in the graph and its shape, without the batch."""

    name: str
    channels: int
    height: int
    width: int


class Builder:
    """Adds layers to a graph and keeps count of parameters and of multiply-accumulates."""

    def __init__(self, name: str, seed: int):
        self.graph = Graph(name)
        self.rng = np.random.default_rng(seed)
        self.parameters = 0
        self.macs: dict[str, int] = {}
        self.part = ""

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
        name = self.graph.add(
            "Conv",
            x.name,
            self.graph.weight(weights.astype(np.float32)),
            self.graph.weight(bias.astype(np.float32)),
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


def unet(widths: list[int]) -> tuple[Builder, Tensor]:
    """Builds the network up to its last layer, before the sigmoid."""
    b = Builder("synctalk_2d_generator", seed=11)
    picture = b.input("input", 6, SIZE, SIZE)
    audio = b.input("audio", 32, 16, 16)

    b.part = "inc"
    skips = [inverted_residual(b, picture, widths[0])]
    b.part = "down1-5"
    for out in [widths[0], widths[1], widths[2], widths[3], widths[4]]:
        skips.append(pair(b, skips[-1], out, stride=2))
    b.part = "audio"
    sound = audio_branch(b, audio, widths)
    b.part = "fuse"
    x = pair(b, b.concat(skips.pop(), sound), widths[4])
    x = pair(b, x, widths[3])
    for k, out in enumerate([widths[3] // 2, widths[2] // 2, widths[1] // 2, widths[0], widths[0] // 2], 1):
        b.part = f"up{k}"
        x = pair(b, b.concat(b.double(x), skips.pop()), out)
    return b, b.conv(x, 3, kernel=1, normalised=False, gain=1.0)


def as_model(b: Builder, output: Tensor) -> onnx.ModelProto:
    return b.graph.model(output.name, "output", ["batch", 3, SIZE, SIZE])


def generator(widths: list[int]) -> tuple[onnx.ModelProto, Builder]:
    """Builds the network; its outputs are about 0.2 to 0.8 for a picture and speech."""
    values = last_layer_output(as_model(*unet(widths)))
    contrast = 0.5 / values.std(axis=(1, 2)).mean()
    b, logits = unet(widths)
    scale_last_layer(b.graph, contrast, -contrast * values.mean(axis=(1, 2)))
    return as_model(b, b.apply("Sigmoid", logits)), b


def last_layer_output(model: onnx.ModelProto) -> np.ndarray:
    """Runs a model on a drawn face and on features like the audio encoder's."""
    face = avatars.draw_frame(0, SIZE, SIZE)
    picture = reference.network_input(face, reference.hide_mouth(face))[np.newaxis]
    audio = np.maximum(0, 2 * np.random.default_rng(12).standard_normal((1, 32, 16, 16))).astype(np.float32)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"input": picture, "audio": audio})[0][0]


def scale_last_layer(graph: Graph, contrast: float, offset: np.ndarray) -> None:
    """Replaces the last layer's weights w and bias c by contrast * w and contrast * c + offset."""
    weights, bias = (onnx.numpy_helper.to_array(w) for w in graph.weights[-2:])
    for tensor, values in zip(graph.weights[-2:], (weights * contrast, bias * contrast + offset), strict=True):
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float32), tensor.name))


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


# --- avatar folder ----------------------------------------------------------------------------------------------------


def take_frames(folder: Path, source: Path) -> list[reference.Rect]:
    """Links the frames of another avatar into the folder and returns their crops."""
    avatar = reference.load_avatar(source)
    for i, frame in enumerate(avatar.frames):
        (folder / f"{i}{frame.suffix}").symlink_to(frame.resolve())
    return avatar.rects


def draw_frames(folder: Path) -> list[reference.Rect]:
    """Draws 1280 x 720 frames whose crop is exactly the network's."""
    rects = []
    for i in range(SYNTHETIC_FRAMES):
        cv2.imwrite(str(folder / f"{i}.jpg"), avatars.draw_frame(i, 1280, 720), avatars.JPEG)
        rects.append((470 + i % 7, 200 + i % 5, 328, 328))
    return rects


def write_avatar(out: Path, source: Path | None) -> None:
    frames = out / "frames"
    frames.mkdir(parents=True, exist_ok=True)
    for old in frames.iterdir():
        old.unlink()
    rects = take_frames(frames, source) if source else draw_frames(frames)
    avatars.write_crops(out / "crops.csv", rects)
    text = avatars.description("Full-size networks, made-up weights", crop='crops = "crops.csv"')
    (out / "avatar.toml").write_text(text, encoding="utf-8")
    print(f"{len(rects)} frames from {source or 'the drawing board'}")


# --- report -----------------------------------------------------------------------------------------------------------


def check_size(name: str, b: Builder, expected: tuple[float, float] | None) -> None:
    """Prints parameters and MACs and, given what they must be, asserts it."""
    millions, giga = b.parameters / 1e6, sum(b.macs.values()) / 1e9
    stored = sum(onnx.numpy_helper.to_array(w).size for w in b.graph.weights if w.data_type == onnx.TensorProto.FLOAT)
    print(f"{name}: {millions:.2f} M parameters ({stored * 4 / 1e6:.1f} MB stored), {giga:.3f} GMAC")
    print("  " + ", ".join(f"{part} {macs / 1e9:.2f}" for part, macs in b.macs.items()))
    if expected:
        assert abs(millions - expected[0]) < 0.005, f"{name}: {millions} M parameters, not {expected[0]}"
        assert abs(giga - expected[1]) < 0.005, f"{name}: {giga} GMAC, not {expected[1]}"


def median_ms(work, runs: int) -> float:
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def measure(out: Path, threads: int) -> None:
    """Runs both networks on the avatar's first frame and prints how long they take."""
    avatar = reference.load_avatar(out)
    encoder = reference.AudioEncoder(avatar.audio_encoder, threads)
    draw = reference.Generator(avatar.generator, threads)
    speech = np.random.default_rng(14).standard_normal(16_000).astype(np.float32) * 0.1
    sequence = encoder.sequence(speech)
    frame = reference.read_picture(avatar.frames[0])
    face = reference.face_crop(frame, avatar.rects[0], draw.size, avatar.border)
    picture = reference.network_input(face, reference.hide_mouth(face))
    context = reference.window_context(sequence, 12)
    output = draw.draw(picture, context)

    low, middle, high = np.percentile(output, [2, 50, 98])
    print(f"embeddings: {np.mean(sequence > 0):.0%} above zero, mean {sequence.mean():.2f}")
    print(f"output: 2 % below {low:.2f}, median {middle:.2f}, 2 % above {high:.2f}")
    windows = reference.mel_windows(reference.mel_spectrogram(speech))[:1]
    print(f"audio encoder: {median_ms(lambda: encoder.run(mel=windows), 50):.2f} ms per window")
    print(f"generator: {median_ms(lambda: draw.draw(picture, context), 15):.1f} ms per frame")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="avatar folder to write, for instance target/full-size")
    parser.add_argument("--frames-from", type=Path, help="take frames and crops from this avatar folder, if it exists")
    parser.add_argument("--half", action="store_true", help="half the channels everywhere: the mobile variant")
    parser.add_argument("--threads", type=int, default=0, help="threads of the timing (default: ONNX Runtime's choice)")
    options = parser.parse_args()

    source = options.frames_from if options.frames_from and options.frames_from.is_dir() else None
    write_avatar(options.out, source)
    widths = [w // 2 for w in WIDTHS] if options.half else WIDTHS
    model, built = generator(widths)
    check_size("generator", built, None if options.half else EXPECTED_GENERATOR)
    onnx.save(model, options.out / "generator.onnx")
    model, built = audio_encoder()
    check_size("audio encoder", built, EXPECTED_ENCODER)
    onnx.save(model, options.out / "audio_encoder.onnx")
    measure(options.out, options.threads)
    return 0


if __name__ == "__main__":
    sys.exit(main())
