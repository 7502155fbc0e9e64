# SPDX-License-Identifier: MPL-2.0
"""What the reference can write its frames to."""

import argparse
import subprocess
from pathlib import Path

import cv2
import numpy as np

from avatar_folders import FPS


class ArrayFile:
    """Collects frames in one .npy file, frames x height x width x 3 (4 with alpha), u8."""

    def __init__(self, path: Path, frames: int, shape: tuple[int, ...]):
        self.array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(frames, *shape))
        self.count = 0

    def write(self, frame: np.ndarray) -> None:
        self.array[self.count] = frame
        self.count += 1

    def close(self) -> None:
        self.array.flush()


class PictureFolder:
    """Writes frames as 00000.png, 00001.png, ..."""

    def __init__(self, path: Path):
        self.path = path
        self.path.mkdir(parents=True, exist_ok=True)
        self.count = 0

    def write(self, frame: np.ndarray) -> None:
        cv2.imwrite(str(self.path / f"{self.count:05d}.png"), frame)
        self.count += 1

    def close(self) -> None:
        pass


class Mp4File:
    """Pipes raw frames into a GStreamer encoder."""

    def __init__(self, path: Path, shape: tuple[int, ...]):
        height, width, _ = shape
        caps = f"rawvideoparse format=bgr width={width} height={height} framerate={FPS}/1"
        # Without a format, BGR would become 4:4:4, which few players show and which costs more to encode.
        encode = "videoconvert ! video/x-raw,format=I420 ! x264enc speed-preset=veryfast ! mp4mux ! filesink"
        command = f"gst-launch-1.0 -q fdsrc fd=0 ! {caps} ! {encode}".split() + [f"location={path}"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE)

    def write(self, frame: np.ndarray) -> None:
        self.process.stdin.write(frame.tobytes())

    def close(self) -> None:
        self.process.stdin.close()
        if self.process.wait() != 0:
            raise RuntimeError("the encoding pipeline failed")


def open_outputs(options: argparse.Namespace, frames: int, shape: tuple[int, ...]) -> list:
    outputs = []
    if options.out:
        to_array = options.out.suffix == ".npy"
        outputs.append(ArrayFile(options.out, frames, shape) if to_array else PictureFolder(options.out))
    if options.mp4:
        outputs.append(Mp4File(options.mp4, shape))
    return outputs
