# SPDX-License-Identifier: MPL-2.0
"""What is measured: sounds, avatars and their 8-bit networks, made where they are missing."""

import functools
import os
import shutil
import subprocess
from pathlib import Path

import whole_job
from whole_job import FULL_SIZE, ROOT, RUNTIME, SCRATCH, say

IRIS = ROOT / "models/iris"
SAMPLE = ROOT / "examples/sample.wav"
TOOL = ROOT / "target/release/lipsync"
MEASURE = ROOT / "target/release/examples/measure"
CACHE = SCRATCH / "cache"

FPS = 25


@functools.cache
def sound(seconds: float) -> Path:
    """Returns the sample, trimmed or repeated to a length, in a file of its own."""
    return whole_job.cut_sound(SAMPLE, seconds).rename(SCRATCH / f"sound-{seconds:g}.wav")


def prepare() -> None:
    """Makes what is missing."""
    whole_job.prepare()
    os.environ["XDG_CACHE_HOME"] = str(CACHE)
    os.environ.setdefault("ORT_DYLIB_PATH", str(RUNTIME / "libonnxruntime.so"))
    if not has_int8(FULL_SIZE):
        quantize(FULL_SIZE)
    if not has_int8(IRIS) and not has_int8(iris_int8()):
        shutil.copytree(IRIS, iris_int8(), dirs_exist_ok=True)
        quantize(iris_int8())
    library = ROOT / "target/release/libgstlipsync.so"
    if not MEASURE.exists() or MEASURE.stat().st_mtime < library.stat().st_mtime:
        say("building the example that plays live streams")
        subprocess.run(["scripts/release.sh", "build", "--example", "measure"], cwd=ROOT, check=True)


def has_int8(avatar: Path) -> bool:
    return (avatar / "generator.int8.onnx").exists()


def iris_int8() -> Path:
    """Iris with an 8-bit network: as she comes, or a copy."""
    return IRIS if has_int8(IRIS) else SCRATCH / "iris-int8"


def quantize(avatar: Path, *options: str) -> None:
    say(f"making the 8-bit network of {avatar.name}")
    command = [TOOL, "quantize", avatar, "--sound", SAMPLE, *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
