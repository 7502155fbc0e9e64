# SPDX-License-Identifier: MPL-2.0
"""Paths, geometry, and small helpers that every step uses."""

import os
import wave
from pathlib import Path

import numpy as np
from people import NAME

HERE = Path(__file__).resolve().parent
AVATAR = HERE.parent / "models" / NAME
# Large files go here: source data, speech, checkpoints of the audio networks ...
WORK = Path(os.environ.get("WORK", HERE / "work"))
# ... and what belongs to one person: mesh, renders, painter.
OWN = WORK / NAME

# Geometry, in pixels of the 1280 x 720 frame at rest (before the idle motion moves the head).
FRAME_W, FRAME_H = 1280, 720
GRID = 4  # pixels per cell of the depth map
CROP_SIDE = 328
CROP_X, CROP_Y = 476, 140
FACE_X, FACE_Y = CROP_X + CROP_SIDE // 2, CROP_Y + CROP_SIDE // 2  # its centre, which the crop follows
NET_SIDE = 320  # the network input is the crop without its outer 4 pixels
NET_MARGIN = 4
# The part of the picture that speech can change: only this is rendered and generated.
BOX_X, BOX_Y, BOX_W, BOX_H = 512, 272, 256, 192
# The part that a blink changes, and how far the eyelids are closed in the rendered phases.
EYES_BOX = (528, 160, 224, 144)
BLINKS = (0.0, 0.3, 0.65, 1.0)
# The mouth box inside the 320 x 320 network picture.
NET_BOX_X = BOX_X - CROP_X - NET_MARGIN
NET_BOX_Y = BOX_Y - CROP_Y - NET_MARGIN


def read_wav(path):
    """Mono float32 in [-1, 1] and the sample rate (16-bit files; channels are averaged)."""
    with wave.open(str(path)) as file:
        data = np.frombuffer(file.readframes(file.getnframes()), "<i2").reshape(-1, file.getnchannels())
        return data.mean(1).astype(np.float32) / 32768, file.getframerate()


def write_wav(path, audio, rate):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((np.clip(audio, -1, 1) * 32767).astype("<i2").tobytes())


def resample(audio, old_rate, new_rate):
    """Polyphase resampling (scipy)."""
    if old_rate == new_rate:
        return audio
    from math import gcd

    from scipy.signal import resample_poly

    common = gcd(old_rate, new_rate)
    return resample_poly(audio, new_rate // common, old_rate // common).astype(np.float32)
