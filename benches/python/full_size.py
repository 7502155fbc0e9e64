#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Builds the full-size SyncTalk_2D networks with made-up weights, as an avatar folder for speed measurements.

Speed does not depend on what the weights say, so a network of the right shape measures the same as a trained one. What does
depend on them is which layers 8 bits suffice for: --weights takes trained ones. The layers are in
tests/python/synctalk_networks.py.
"""

import argparse
import shutil
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "python"))

import avatar_folders
import compositing
import features
import inference
from fixtures import avatars
from synctalk_networks import HALF_WIDTHS, WIDTHS, Builder, Trained, audio_encoder, generator, trained_generator

# Millions of parameters with batch normalisation still apart, as its authors count them; and GMAC per frame.
EXPECTED_GENERATOR = (12.19, 4.89)
EXPECTED_ENCODER = (2.81, 0.093)

SYNTHETIC_FRAMES = 25


def read_weights(file: Path) -> Trained:
    """Yields the weights and bias of each convolution, as training/train_fullsize.py packed them."""
    with np.load(file) as arrays:
        for n in range(sum(name.startswith("bias") for name in arrays)):
            weights = arrays[f"weights{n}"].astype(np.float32)
            if f"scale{n}" in arrays:
                weights *= arrays[f"scale{n}"][:, np.newaxis, np.newaxis, np.newaxis]
            yield weights, arrays[f"bias{n}"]


# --- avatar folder ----------------------------------------------------------------------------------------------------


def take_frames(folder: Path, source: Path) -> list[avatar_folders.Rect]:
    """Copies the frames of another avatar into the folder and returns their crops."""
    avatar = avatar_folders.load_avatar(source)
    for i, frame in enumerate(avatar.frames):
        shutil.copyfile(frame, folder / f"{i}{frame.suffix}")
    return avatar.rects


def draw_frames(folder: Path) -> list[avatar_folders.Rect]:
    """Draws 1280 x 720 frames whose crop is exactly the network's."""
    rects = []
    for i in range(SYNTHETIC_FRAMES):
        cv2.imwrite(str(folder / f"{i}.jpg"), avatars.draw_frame(i, 1280, 720), avatars.JPEG)
        rects.append((470 + i % 7, 200 + i % 5, 328, 328))
    return rects


def write_avatar(out: Path, source: Path | None, title: str) -> None:
    frames = out / "frames"
    frames.mkdir(parents=True, exist_ok=True)
    for old in frames.iterdir():
        old.unlink()
    rects = take_frames(frames, source) if source else draw_frames(frames)
    avatars.write_crops(out / "crops.csv", rects)
    text = avatars.description(title, crop='crops = "crops.csv"')
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


def median_seconds(work, runs: int) -> float:
    """Times some work, after a first time that is not counted."""
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def measure(out: Path, threads: int) -> None:
    """Runs both networks on the avatar's first frame and prints how long they take."""
    avatar = avatar_folders.load_avatar(out)
    encoder = inference.AudioEncoder(avatar.audio_encoder, threads)
    draw = inference.Generator(avatar.generator, threads)
    speech = np.random.default_rng(14).standard_normal(16_000).astype(np.float32) * 0.1
    sequence = encoder.sequence(speech, avatar.windows)
    frame = compositing.read_picture(avatar.frames[0])
    face = compositing.face_crop(frame, avatar.rects[0], draw.size, compositing.STYLES["synctalk"].border)
    picture = compositing.network_input(face, compositing.hide_mouth(face))
    context = features.window_context(sequence, 12)
    output = draw.draw(picture, context)

    low, middle, high = np.percentile(output, [2, 50, 98])
    print(f"embeddings: {np.mean(sequence > 0):.0%} above zero, mean {sequence.mean():.2f}")
    print(f"output: 2 % below {low:.2f}, median {middle:.2f}, 2 % above {high:.2f}")
    windows = features.mel_windows(speech, avatar.windows)[:1]
    print(f"audio encoder: {1e3 * median_seconds(lambda: encoder.run(mel=windows), 50):.2f} ms per window")
    print(f"generator: {1e3 * median_seconds(lambda: draw.draw(picture, context), 15):.1f} ms per frame")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="avatar folder to write, for instance target/full-size")
    parser.add_argument("--frames-from", type=Path, help="take frames and crops from this avatar folder, if it exists")
    parser.add_argument("--half", action="store_true", help="half the channels everywhere: the mobile variant")
    parser.add_argument(
        "--weights",
        type=Path,
        help="the generator's, packed by training/train_fullsize.py; the audio encoder is then the other avatar's",
    )
    parser.add_argument("--threads", type=int, default=0, help="threads of the timing (default: ONNX Runtime's choice)")
    options = parser.parse_args()

    source = options.frames_from if options.frames_from and options.frames_from.is_dir() else None
    if options.weights and (options.half or not source):
        parser.error("--weights are those of the whole network, and need --frames-from")
    write_avatar(options.out, source, f"Full-size networks, {'trained' if options.weights else 'made-up'} weights")
    if options.weights:
        model, built = trained_generator(read_weights(options.weights))
        shutil.copyfile(source / "audio_encoder.onnx", options.out / "audio_encoder.onnx")
    else:
        model, built = generator(HALF_WIDTHS if options.half else WIDTHS)
        encoder, encoder_built = audio_encoder()
        check_size("audio encoder", encoder_built, EXPECTED_ENCODER)
        onnx.save(encoder, options.out / "audio_encoder.onnx")
    check_size("generator", built, None if options.half else EXPECTED_GENERATOR)
    onnx.save(model, options.out / "generator.onnx")
    measure(options.out, options.threads)
    return 0


if __name__ == "__main__":
    sys.exit(main())
