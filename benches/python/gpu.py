#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""What an execution provider of a GPU comes to: right pictures, frames a second for 1 to 8 streams, memory of the device.

    make bench-gpu                      # CUDA: fetches ONNX Runtime for it
    make bench-gpu PROVIDER=tensorrt

Takes about ten minutes. The networks run in float32, since 8 bits are for the processor's kernels.
"""

import argparse
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
from material import IRIS, prepare, sound
from whole_job import FULL_SIZE, SCRATCH, Command, checkout, describe_machine, launch, measure, say

STREAMS = (1, 2, 4, 8)
SHORT, LONG, COMPARED = 2, 12, 1
"""Seconds of sound: the difference between both is without the start; and what is compared."""
FPS, HEIGHT, WIDTH, CHANNELS = 25, 720, 1280, 3


class DeviceMemory:
    """The most memory that the GPU had in use, in MiB, by nvidia-smi; none where there is no such program."""

    def __init__(self) -> None:
        self.most, self.running = 0, True
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()

    def watch(self) -> None:
        if not shutil.which("nvidia-smi"):
            return
        command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
        while self.running:
            told = subprocess.run(command, capture_output=True, text=True).stdout.split()
            self.most = max([self.most, *map(int, told)])
            time.sleep(0.2)

    def stop(self) -> int:
        self.running = False
        self.thread.join()
        return self.most


def streams(count: int, avatar: Path, seconds: float, provider: str) -> Command:
    """Returns the command that speaks a sound in several branches of one process."""
    face = ["lipsync", f"avatar={avatar}", f"execution-provider={provider}", "precision=fp32"]
    branch = launch(["filesrc", f"location={sound(seconds)}"], ["wavparse"], face, ["fakesink"])
    return branch + (count - 1) * branch[2:]


def pictures(avatar: Path, provider: str) -> np.ndarray:
    """Returns the frames of a short sound in RGB."""
    raw = SCRATCH / f"gpu-{provider}.rgb"
    face = ["lipsync", f"avatar={avatar}", f"execution-provider={provider}", "precision=fp32"]
    caps = [f"video/x-raw,format=RGB,width={WIDTH},height={HEIGHT}"]
    source = [["filesrc", f"location={sound(COMPARED)}"], ["wavparse"]]
    measure(launch(*source, face, caps, ["filesink", f"location={raw}"]))
    return np.fromfile(raw, np.uint8).reshape(-1, HEIGHT, WIDTH, CHANNELS)


def compare(avatar: Path, provider: str) -> str:
    """Returns how far the pictures are from those of the processor; fails where they are not the same ones."""
    ours, theirs = pictures(avatar, provider), pictures(avatar, "cpu")
    if ours.shape != theirs.shape or len(ours) < COMPARED * FPS:
        sys.exit(f"{provider} paints {ours.shape}, the processor {theirs.shape}")
    difference = np.abs(ours.astype(np.int16) - theirs)
    error = np.mean(np.square(difference, dtype=np.float64))
    psnr = "the same" if error == 0 else f"{10 * np.log10(255**2 / error):.1f} dB"
    if error > 0 and 10 * np.log10(255**2 / error) < 40:
        sys.exit(f"{provider}: the pictures of {avatar.name} are only {psnr} from the processor's")
    return f"{psnr}, {difference.max()} levels at most"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("provider", help="cuda, tensorrt, webgpu, or another that lipsync knows")
    parser.add_argument("--streams", type=int, default=max(STREAMS), help="most streams at once (default 8)")
    options = parser.parse_args()
    prepare()
    load, rows = os.getloadavg(), []
    for name, avatar in (("full-size", FULL_SIZE), ("iris", IRIS)):
        say(f"the pictures of {name}")
        closeness = compare(avatar, options.provider)
        for count in (count for count in STREAMS if count <= options.streams):
            memory = DeviceMemory()
            short, long = (measure(streams(count, avatar, s, options.provider)) for s in (SHORT, LONG))
            rate = count * (LONG - SHORT) * FPS / (long["seconds"] - short["seconds"])
            say(f"{name}, {count} streams: {rate:.1f} frames/s")
            start = short["seconds"] - count * SHORT * FPS / rate
            rows.append([name, count, f"{rate:.1f}", f"{start:.1f}", memory.stop() or "-", f"{long['memory']:.0f}", closeness])
    print(describe_machine(1, load, checkout()))
    print(f"\n| {options.provider} | streams | frames/s, all together | start, s | GPU memory, MiB | memory, MiB | pictures beside the processor's |")
    print("|" + 7 * "---|")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
