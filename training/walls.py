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
    """A room far out of focus: a bright window with a plant on the left, a lamp and a picture on the right."""
    rng = np.random.default_rng(5)
    wall = _light((150, 162, 170), (84, 92, 100), 0.62, 0.40, 0.55).astype(np.float32)

    def blurred(amount, draw):
        layer = np.zeros((FRAME_H, FRAME_W, 4), np.float32)
        draw(layer)
        layer = cv2.GaussianBlur(layer, (0, 0), amount)
        wall[:] = wall * (1 - layer[..., 3:]) + layer[..., :3]

    def window(layer):
        for x in (-60, 96):
            cv2.rectangle(layer, (x, -40), (x + 138, 520), (0.86, 0.83, 0.78, 1), -1)
        cv2.rectangle(layer, (-60, 528), (246, 552), (0.62, 0.66, 0.70, 1), -1)

    def plant(layer):
        for _ in range(170):
            angle, length = rng.uniform(-2.6, -0.5), rng.uniform(60, 190)
            tip = (int(252 + length * np.cos(angle)), int(610 + length * np.sin(angle) * 1.3))
            shade = rng.uniform(0.5, 1.2)
            size, green = (int(rng.uniform(18, 34)), 10), (0.17 * shade, 0.32 * shade, 0.20 * shade, 1)
            cv2.ellipse(layer, tip, size, np.degrees(angle), 0, 360, green, -1)
        cv2.rectangle(layer, (212, 610), (296, 760), (0.42, 0.50, 0.60, 1), -1)

    def furniture(layer):
        cv2.rectangle(layer, (1010, 90), (1170, 300), (0.34, 0.36, 0.38, 1), -1)
        cv2.rectangle(layer, (1026, 106), (1154, 284), (0.60, 0.62, 0.60, 1), -1)
        cv2.rectangle(layer, (960, 560), (1300, 740), (0.22, 0.30, 0.40, 1), -1)
        cv2.rectangle(layer, (1192, 470), (1202, 560), (0.20, 0.22, 0.26, 1), -1)

    def lamp(layer):
        cv2.ellipse(layer, (1198, 430), (58, 46), 0, 0, 360, (0.52, 0.74, 0.92, 1), -1)

    blurred(26, window)
    blurred(18, plant)
    blurred(18, furniture)
    blurred(20, lamp)
    glow = _light((90, 130, 165), (0, 0, 0), 1198 / FRAME_W, 430 / FRAME_W, 0.17)
    return wall * 0.9 + 0.35 * glow


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
