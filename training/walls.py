# SPDX-License-Identifier: MPL-2.0
"""Backgrounds: procedural BGR float32 pictures in [0, 1], out of focus."""

import functools

import cv2
import numpy as np
from common import FRAME_H, FRAME_W
from people import PERSON


def _light(near, far, x=0.5, y=0.42, reach=0.42):
    """A pool of light on a plain wall; 8-bit colours."""
    across = (np.arange(FRAME_W) / FRAME_W - x)[None]
    down = (np.arange(FRAME_H) / FRAME_W - y * FRAME_H / FRAME_W)[:, None]
    light = np.exp(-(across**2 + (1.25 * down) ** 2) / reach**2)[..., None]
    near, far = np.array(near) / 255, np.array(far) / 255
    return far + (near - far) * light


def studio():
    """A blue-grey studio with two soft bars of light and a darker floor line."""
    wall = _light((168, 152, 136), (104, 88, 76))
    bars = np.zeros((FRAME_H, FRAME_W, 3), np.float32)
    for x, width, colour in ((130, 16, (60, 74, 84)), (196, 5, (36, 45, 52)), (1120, 22, (66, 60, 46)), (1052, 6, (40, 36, 30))):
        cv2.rectangle(bars, (x, -20), (x + width, FRAME_H + 20), [c / 255 for c in colour], -1)
    return wall + cv2.GaussianBlur(bars, (0, 0), 22) * 1.7


def shelves():
    """A bookcase, strongly out of focus, in the light of a lamp."""
    rng = np.random.default_rng(2)
    wall = np.full((FRAME_H, FRAME_W, 3), (34, 44, 58), np.float32)
    for shelf in range(-1, 5):
        bottom = 30 + shelf * 190
        x = int(rng.integers(-30, 0))
        while x < FRAME_W:
            if rng.random() < 0.16:  # a gap
                x += int(rng.integers(40, 140))
                continue
            width, height = int(rng.integers(16, 44)), int(rng.integers(105, 165))
            shade = rng.uniform(0.5, 1.1)
            colour = [(60, 70, 128), (110, 92, 62), (140, 150, 160), (62, 96, 84), (54, 84, 140), (96, 70, 66)][rng.integers(6)]
            cv2.rectangle(wall, (x, bottom - height), (x + width, bottom), [c * shade for c in colour], -1)
            x += width + int(rng.integers(0, 5))
        cv2.rectangle(wall, (0, bottom), (FRAME_W, bottom + 16), (48, 66, 92), -1)
    wall = cv2.GaussianBlur(wall, (0, 0), 17) / 255
    return wall * (0.45 + 0.95 * _light((255, 255, 255), (40, 40, 40), 0.72, 0.30, 0.50))


def plain():
    """A white wall next to a window."""
    return _light((206, 204, 196), (150, 152, 156), 0.85, 0.4, 0.8)


@functools.cache
def wall():
    """The person's background, with a little dither against banding."""
    picture = {"studio": studio, "shelves": shelves, "plain": plain}[PERSON.wall]() * np.array(PERSON.wall_light, np.float32)
    dither = np.random.default_rng(0).normal(0, 0.7 / 255, (FRAME_H, FRAME_W, 1))
    picture = np.clip(picture + dither, 0, 1)
    return (np.round(picture * 255) / 255).astype(np.float32)  # the precision of the shipped background.png
