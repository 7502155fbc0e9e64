# SPDX-License-Identifier: MPL-2.0
"""Milliseconds a frame of each step on one core, beside the Python reference."""

import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from in_process import ask
from material import FPS, IRIS, iris_int8, sound
from whole_job import FULL_SIZE, ONE_THREAD, REFERENCE, ROOT, SCRATCH, TIME_PARTS, measure, median, say

PARTS = ("resampling", "mel", "encoder", "decode", "generator", "compositing")
PARTS_SECONDS, PARTS_ROUNDS = 2.0, 3
"""One core takes its time: fewer rounds than elsewhere."""
START_SECONDS = 0.2


def time_parts(rounds: int, seconds: float, before: Path | None) -> dict[str, dict]:
    """Milliseconds a frame of each step on one core, by avatar and by who does it."""
    wav, frames = sound(seconds), round(seconds * FPS)
    results = {}
    for name, avatar, int8 in (("full-size", FULL_SIZE, FULL_SIZE), ("iris", IRIS, iris_int8())):
        ways: dict[str, Callable[[], dict]] = {"Python": lambda: python_parts(avatar, wav, seconds)}
        if before:
            ways["before"] = lambda: ask([before, avatar, wav, "auto"])
        ways["fp32"] = lambda: ask([TIME_PARTS, avatar, wav, "fp32"])
        for isa in instruction_sets():
            ways[f"int8, {isa}"] = lambda isa=isa: ask(["env", f"LIPSYNC_KERNELS={isa}", TIME_PARTS, int8, wav, "int8"])
        told: dict[str, list[dict]] = {way: [] for way in ways}
        for number in range(1, rounds + 1):
            for way, work in ways.items():
                say(f"round {number} of {rounds}: parts of {name}, {way}")
                told[way].append(work())
        results[name] = {
            way: {part: median(runs, part) / frames * 1000 for part in PARTS if part in runs[0]}
            for way, runs in told.items()
        }
    return results


@functools.cache
def instruction_sets() -> list[str]:
    """The kernels that this processor has, the slower ones first."""
    command = ["scripts/release.sh", "run", "--quiet", "-p", "lipsync-core", "--example", "instruction_sets"]
    first_line = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()[0]
    return first_line.split(":")[1].strip().split(", ")


def python_parts(avatar: Path, wav: Path, seconds: float) -> dict[str, float]:
    """The reference's seconds without what its first frames cost more: it loads code when that is first used."""
    first, all_of_it = python_start(avatar), reference_seconds(avatar, wav)
    share = 1 - START_SECONDS / seconds
    return {part: max(0.0, all_of_it[part] - first[part]) / share for part in PARTS if part in all_of_it}


@functools.cache
def python_start(avatar: Path) -> dict[str, float]:
    return reference_seconds(avatar, sound(START_SECONDS))


def reference_seconds(avatar: Path, wav: Path) -> dict[str, float]:
    timings = SCRATCH / "targets-python.json"
    options = ["--threads", "1", "--timings", timings]
    measure([sys.executable, REFERENCE, "--avatar", avatar, "--audio", wav, *options], **ONE_THREAD)
    return json.loads(timings.read_text())["seconds"]
