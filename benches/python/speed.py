# SPDX-License-Identifier: MPL-2.0
"""Speed and memory of whole jobs: a sound in, an MP4 out."""

import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from material import FPS, IRIS, has_int8, iris_int8, sound
from whole_job import FULL_SIZE, REFERENCE, SCRATCH, X264, Command, lipsync, measure, median, say

FACE_IN_MEMORY = 1600
"""A cache-size in MiB that holds all that was ever computed of an avatar's frames."""


@dataclass
class Job:
    """Something that makes a video of a sound: of a short one and a long one, so that the start can be told apart."""

    avatar: str
    name: str
    command: Callable[[Path], Command]
    short: float
    long: float


def encoded(avatar: Path, **properties: object) -> Callable[[Path], Command]:
    """Returns what makes an MP4 of a sound."""
    rest = [X264, ["h264parse"], ["mp4mux"], ["filesink", f"location={SCRATCH / 'targets.mp4'}"]]
    return lambda wav: with_properties(lipsync(wav, avatar, *rest), properties)


def painted(avatar: Path, **properties: object) -> Callable[[Path], Command]:
    """The same without a video encoder."""
    return lambda wav: with_properties(lipsync(wav, avatar, ["fakesink"]), properties)


def with_properties(command: Command, properties: dict[str, object]) -> Command:
    words = [f"{name.replace('_', '-')}={value}" for name, value in properties.items()]
    place = command.index("lipsync") + 1
    return [*command[:place], *words, *command[place:]]


def by_kernels(isa: str, command: Callable[[Path], Command]) -> Callable[[Path], Command]:
    """The same with the kernels of another instruction set than the processor's best."""
    return lambda wav: ["env", f"LIPSYNC_KERNELS={isa}", *command(wav)]


def python(avatar: Path) -> Callable[[Path], Command]:
    video = SCRATCH / "targets-python.mp4"
    return lambda wav: [sys.executable, REFERENCE, "--avatar", avatar, "--audio", wav, "--mp4", video]


def jobs(quick: bool) -> list[Job]:
    """What is measured in turns, with seconds of sound. The slow ones get less; their marginal rate is what counts.

    With a large cache the shorter sound is long enough to show every frame once: what the longer has more is kept.
    """
    name = "auto (int8)" if has_int8(IRIS) else "auto (fp32)"
    cache = {"cache_size": FACE_IN_MEMORY}
    result = [
        Job("full-size", "Python", python(FULL_SIZE), 1, 3),
        Job("full-size", "auto (int8)", encoded(FULL_SIZE), 2, 20),
        Job("full-size", f"int8, cache-size={FACE_IN_MEMORY}", encoded(FULL_SIZE, precision="int8", **cache), 16, 24),
        Job("full-size", "fp32", encoded(FULL_SIZE, precision="fp32"), 1, 5),
        Job("full-size", "auto, not encoded", painted(FULL_SIZE), 1, 5),
        Job("full-size", "int8 on avx2", by_kernels("avx2", encoded(FULL_SIZE, precision="int8")), 2, 10),
        Job("full-size", "int8 on avx2, not encoded", by_kernels("avx2", painted(FULL_SIZE, precision="int8")), 1, 5),
        Job("iris", "Python", python(IRIS), 1, 4),
        Job("iris", name, encoded(IRIS), 4, 30),
        Job("iris", "auto, not encoded", painted(IRIS), 1, 20),
        Job("iris", "int8 on avx2", by_kernels("avx2", encoded(iris_int8(), precision="int8")), 4, 20),
        Job("iris", "int8 on avx2, not encoded", by_kernels("avx2", painted(iris_int8(), precision="int8")), 1, 20),
    ]
    if not has_int8(IRIS):
        result.append(Job("iris", "int8, a quantized copy", encoded(iris_int8(), precision="int8"), 4, 30))
    if quick:
        for job in result:
            job.short, job.long = 0.4, 1.2
    return result


def run_rounds(todo: list[Job], rounds: int) -> list[dict]:
    results = [{"avatar": job.avatar, "name": job.name, "seconds": (job.short, job.long), "short": [], "long": []} for job in todo]
    # Nothing of the first start is to be in the rounds: prepared graphs, the disk's cache.
    say("every job once, to fill caches")
    for job in todo:
        measure(job.command(sound(0.2)))
    for number in range(1, rounds + 1):
        for job, result in zip(todo, results):
            for length in ("short", "long"):
                run = measure(job.command(sound(getattr(job, length))))
                result[length].append(run)
                say(f"round {number} of {rounds}: {job.avatar}, {job.name}, {length}: {run['seconds']:.2f} s")
    for result in results:
        add_rates(result)
    return results


def add_rates(result: dict) -> None:
    """Frames a second with the start, without it, and the start."""
    short, long = (round(seconds * FPS) for seconds in result["seconds"])
    pairs = list(zip(result["short"], result["long"]))
    result["rates"] = [long / run["seconds"] for run in result["long"]]
    result["marginal"] = [(long - short) / (b["seconds"] - a["seconds"]) for a, b in pairs]
    result["start"] = median(result["short"], "seconds") - short / statistics.median(result["marginal"])
    result["memory"] = statistics.median(run["memory"] for run in result["long"])
