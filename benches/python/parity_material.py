# SPDX-License-Identifier: MPL-2.0
"""Inputs of the comparison between plugin and reference: avatars, networks, audio."""

import hashlib
import os
import shutil
import sys
import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import soundfile
import soxr

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/python"))

import avatar_folders
import synctalk_networks
from fixtures import avatars, models

SCRATCH = ROOT / "target/parity"
SAMPLE = ROOT / "examples/sample.wav"

WIDTH, HEIGHT = 1280, 720
AVATAR_FRAMES = 64
FRAMES = 250


def say(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Case:
    """An avatar and how it is rendered."""

    name: str
    networks: str
    layout: str
    context: str = "window"
    paste: str = "inner"

    @property
    def avatar(self) -> Path:
        return SCRATCH / "avatars" / self.networks / self.layout


def cases() -> list[Case]:
    return [
        case
        for networks in ("full size", "tiny")
        for case in (
            Case("SyncTalk_2D", networks, "synctalk"),
            Case("SyncTalk_2D, parsing", networks, "synctalk_parsing"),
            Case("digital-clone, window, inner", networks, "digital_clone"),
            Case("digital-clone, tile, full", networks, "digital_clone", "tile", "full"),
        )
    ]


def squares() -> list[tuple[int, int, int]]:
    """Returns x, y and side of a moving face whose size varies from 300 to 420 pixels; some are exactly 328."""
    result = []
    for i in range(AVATAR_FRAMES):
        side = 328 if i % 16 == 7 else round(360 + 60 * np.sin(0.37 * i))
        x = round(WIDTH * 0.5 + 20 * np.sin(i) - side / 2)
        result.append((x, round(HEIGHT * 0.52 + 160 - 0.72 * side), side))
    return result


def scripts_hash() -> str:
    """Returns a digest of every script that the avatars depend on."""
    paths = [Path(__file__), *sorted((ROOT / "tests/python").glob("**/*.py"))]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()


def write_networks(folder: Path) -> None:
    """Writes networks with SyncTalk_2D's architecture and random weights, and the tiny ones of the tests."""
    full_size, _ = synctalk_networks.generator(synctalk_networks.WIDTHS, lively=1.0)
    for name, generator, encoder in (
        ("full size", full_size, synctalk_networks.audio_encoder()[0]),
        ("tiny", models.generator(320), models.audio_encoder()),
    ):
        (folder / name).mkdir(parents=True)
        onnx.save(generator, folder / name / "generator.onnx")
        onnx.save(encoder, folder / name / "audio_encoder.onnx")


def write_avatars(folder: Path) -> None:
    """Writes each layout with each pair of networks, unless that has been done before."""
    stamp = folder / "stamp"
    if stamp.exists() and stamp.read_text() == scripts_hash():
        return
    shutil.rmtree(folder, ignore_errors=True)
    say("building the networks")
    write_networks(folder / "networks")
    pictures, size = folder / "pictures", (WIDTH, HEIGHT)
    say(f"drawing {AVATAR_FRAMES} frames for each layout")
    avatars.write_synctalk_pictures(pictures / "synctalk", squares(), size, ".jpg", avatars.JPEG)
    shutil.copytree(pictures / "synctalk", pictures / "synctalk_parsing", copy_function=os.link)
    avatars.write_parsing(pictures / "synctalk_parsing" / "parsing", AVATAR_FRAMES, size)
    avatars.write_clone_pictures(pictures / "digital_clone", squares(), size)
    for networks in (folder / "networks").iterdir():
        for layout in pictures.iterdir():
            target = folder / networks.name / layout.name
            shutil.copytree(layout, target, copy_function=os.link)
            shutil.copytree(networks, target / "models", copy_function=os.link)
            if layout.name == "digital_clone":
                avatars.write_clone_config(target)
    stamp.write_text(scripts_hash())


def write_sound(path: Path, rate: int | None) -> None:
    """Writes the first ten seconds of the sample, at 16 kHz so that neither side resamples, or at its own rate."""
    samples, found = soundfile.read(SAMPLE, dtype="float32")
    if rate:
        samples = soxr.resample(samples, found, rate)
    rate = rate or found
    samples = samples[: FRAMES * rate // avatar_folders.FPS]
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(np.clip(np.round(samples * 32768), -32768, 32767).astype("<i2").tobytes())
