#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""A very long avatar: plays a set of full-HD frames from disk and prints speed, memory and late frames.

Makes the set under target/long_set first (10,000 frames: 2 GB, some minutes), with the small network of the fixtures,
so that frames, not the network, are the work. Needs `make fixtures` and the plugin (`make`).
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from multiprocessing import Pool
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
FIXTURES = ROOT / "target" / "fixtures"
WIDTH, HEIGHT = 1920, 1080
FACE = (800, 300, 336, 336)
MANIFEST = f"""format = 1
title = "Long set"
license = "CC0-1.0"
fps = 25
frames = "frames"
crop = {list(FACE)}

[models]
audio_encoder = "audio_encoder.onnx"
generator = "generator.onnx"
"""


def scene() -> np.ndarray:
    """Returns a picture larger than a frame, as busy as a room: frames are windows into it."""
    rng = np.random.default_rng(1)
    shape = (HEIGHT + 100, WIDTH + 200)
    layers = [cv2.resize(rng.random((n, 2 * n, 3), np.float32), shape[::-1], interpolation=cv2.INTER_CUBIC) for n in (4, 16, 64, 256)]
    grain = rng.normal(0, 0.02, (*shape, 3)).astype(np.float32)
    return np.clip((sum(layers) / len(layers) + grain) * 255, 0, 255).astype(np.uint8)


def write_frame(job: tuple[Path, int]) -> None:
    folder, number = job
    global SCENE
    if SCENE is None:
        SCENE = scene()
    x, y = int(100 + 99 * np.sin(number / 50)), int(50 + 49 * np.cos(number / 70))
    frame = SCENE[y : y + HEIGHT, x : x + WIDTH].copy()
    cv2.putText(frame, str(number), (60, 160), cv2.FONT_HERSHEY_SIMPLEX, 5, (255, 255, 255), 8, cv2.LINE_AA)
    cv2.imwrite(str(folder / f"{number}.jpg"), frame, [cv2.IMWRITE_JPEG_QUALITY, 88])


SCENE = None


def make_set(folder: Path, frames: int) -> None:
    """Writes what is missing of a set of so many frames."""
    (folder / "frames").mkdir(parents=True, exist_ok=True)
    (folder / "avatar.toml").write_text(MANIFEST, encoding="utf-8")
    shutil.copy(FIXTURES / "models" / "encoder.onnx", folder / "audio_encoder.onnx")
    shutil.copy(FIXTURES / "models" / "generator_160.onnx", folder / "generator.onnx")
    missing = [(folder / "frames", n) for n in range(frames) if not (folder / "frames" / f"{n}.jpg").exists()]
    with Pool() as pool:
        for done, _ in enumerate(pool.imap_unordered(write_frame, missing, chunksize=20), 1):
            if done % 100 == 0 or done == len(missing):
                print(f"\r{folder.name}: {done} of {len(missing)} frames written", end="", flush=True, file=sys.stderr)
    if missing:
        print(file=sys.stderr)


def play(avatar: Path, seconds: int, live: bool, properties: str) -> dict:
    """Plays so many seconds; returns frames a second, peak memory in MiB and the number of late frames."""
    drop_caches()
    source = f"audiotestsrc wave=ticks samplesperbuffer=1600 num-buffers={seconds * 10} is-live={str(live).lower()}"
    line = f"{source} ! audio/x-raw,rate=16000,channels=1 ! lipsync avatar={avatar} {properties} ! fakesink sync={str(live).lower()} qos=true"
    start = time.perf_counter()
    process = subprocess.Popen(["gst-launch-1.0", "-m", *line.split()], stdout=subprocess.PIPE, text=True)
    peak, late = 0, 0
    for text in process.stdout:
        late += "GstMessageQOS" in text
        peak = max(peak, peak_memory(process.pid))
    if process.wait() != 0:
        sys.exit(f"failed: {line}")
    return {"rate": seconds * 25 / (time.perf_counter() - start), "memory": peak, "late": late}


def peak_memory(pid: int) -> int:
    """Returns the most memory that a process has had resident, in MiB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")), 0)


def drop_caches() -> None:
    """Makes the next reads come from the disk, where that is allowed."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3", encoding="utf-8")
    except OSError:
        print("(files may be in memory: dropping the system's cache is not allowed)", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=10_000, help="frames of the long set")
    parser.add_argument("--live", type=int, default=60, help="seconds of the live run")
    options = parser.parse_args()

    folder = ROOT / "target" / "long_set"
    make_set(folder / "short", 100)
    make_set(folder / "long", options.frames)
    print("| set | how | cache-size | frames/s | peak memory, MiB | late frames |")
    print("|---|---|---|---|---|---|")
    for name, frames in (("short", 100), ("long", options.frames)):
        for how, live, cache in (("as fast as it goes", False, 192), ("as fast as it goes", False, 0), ("live", True, 192)):
            seconds = options.live if live else options.frames // 25
            if cache == 0:
                seconds = min(seconds, 100)
            result = play(folder / name, seconds, live, f"cache-size={cache}")
            print(f"| {frames} frames | {how}, {seconds} s | {cache} | {result['rate']:.1f} | {result['memory']} | {result['late']} |", flush=True)


if __name__ == "__main__":
    main()
