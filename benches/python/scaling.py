# SPDX-License-Identifier: MPL-2.0
"""How the cost grows with the sound, and shrinks with cores and frames."""

import os
import shutil
from pathlib import Path

from material import FPS, iris_int8, sound
from speed import encoded
from whole_job import SCRATCH, measure, say

LONG_SOUNDS = (10.0, 60.0, 300.0)


def measure_scaling(quick: bool) -> list[dict]:
    """Iris's cost against what there is more or less of; each once, for the long ones take their time."""
    avatar, rows = iris_int8(), []
    lengths = (1.0, 2.0, 4.0) if quick else LONG_SOUNDS
    few = avatar_of_few_frames(avatar, 25)
    todo = [(f"{seconds:g} s of sound", seconds, [], avatar) for seconds in lengths]
    # The cores that this process may use, for it may not be all.
    cores = sorted(os.sched_getaffinity(0))
    for count in sorted({1, min(2, len(cores))}):
        which = ",".join(map(str, cores[:count]))
        todo.append((f"{count} of the cores, {lengths[1] / 4:g} s", lengths[1] / 4, ["taskset", "-c", which], avatar))
    todo.append((f"25 frames instead of 200, {lengths[1] / 4:g} s", lengths[1] / 4, [], few))
    for name, seconds, prefix, folder in todo:
        say(f"scaling: {name}")
        run = measure([*prefix, *encoded(folder)(sound(seconds))])
        rows.append({"name": name, "rate": seconds * FPS / run["seconds"], "memory": run["memory"]})
    return rows


def avatar_of_few_frames(avatar: Path, count: int) -> Path:
    """Returns a copy of an avatar with its first frames only."""
    copy = SCRATCH / f"iris-{count}"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(avatar, copy)
    for folder in ("frames", "alpha"):
        for file in (copy / folder).glob("*"):
            if file.stem.isdigit() and int(file.stem) >= count:
                file.unlink()
    lines = (copy / "crops.csv").read_text().splitlines(keepends=True)
    (copy / "crops.csv").write_text("".join(lines[: count + 1]))
    return copy
