# SPDX-License-Identifier: MPL-2.0
"""The difference between two renders, and its bounds."""

import functools
from dataclasses import replace

import cv2
import numpy as np
from parity_material import HEIGHT, Case

import avatar_folders  # parity_material has put it on the path

LEAST_WITHIN_1, MOST_MEAN, MOST_WORST = 99.9, 0.02, 3
"""The bounds: percent of pixels, levels, levels."""
MOST_MEAN_I420 = 0.1
"""Larger, because the conversion rounds once more."""


class Difference:
    """Histogram of the differences between pictures of the same size. A pixel counts as the largest of its channels."""

    def __init__(self):
        self.pixels = np.zeros(256, np.int64)
        self.values = np.zeros(256, np.int64)

    def add(self, a: np.ndarray, b: np.ndarray) -> None:
        apart = cv2.absdiff(np.ascontiguousarray(a), np.ascontiguousarray(b)).reshape(a.shape)
        self.values += np.bincount(apart.ravel(), minlength=256)
        self.pixels += np.bincount(functools.reduce(np.maximum, np.moveaxis(apart, 2, 0)).ravel(), minlength=256)

    def within(self, levels: int) -> float:
        return 100 * self.pixels[: levels + 1].sum() / self.pixels.sum()

    @property
    def mean(self) -> float:
        return (self.values * np.arange(256)).sum() / self.values.sum()

    @property
    def worst(self) -> int:
        return int(self.pixels.nonzero()[0][-1])

    def in_bounds(self, most_mean: float) -> bool:
        return self.within(1) >= LEAST_WITHIN_1 and self.mean < most_mean and self.worst <= MOST_WORST


def mouth(rect: avatar_folders.Rect) -> tuple[slice, slice]:
    """Returns the mouth region: the lower half of the face rectangle, at half its width."""
    x, y, width, height = rect
    return slice(y + height // 2, y + height), slice(x + width // 4, x + width - width // 4)


class Comparison:
    """The two differences of a table row: whole picture and mouth."""

    def __init__(self, case: Case, name: str, most_mean: float | None):
        """Without `most_mean` nothing is asserted."""
        self.name, self.most_mean = name, most_mean
        self.avatar = avatar_folders.load_avatar(case.avatar)
        self.frames = 0
        self.whole, self.mouth = Difference(), Difference()

    def add(self, a: np.ndarray, b: np.ndarray) -> None:
        """Compares the next frame, or a plane of it at half the size."""
        shrink = HEIGHT // a.shape[0]
        avatar = replace(self.avatar, ping_pong=True)
        x, y, width, height = avatar.rects[avatar.picture_index(self.frames)]
        place = mouth((x // shrink, y // shrink, width // shrink, height // shrink))
        self.whole.add(a, b)
        self.mouth.add(a[place], b[place])
        self.frames += 1

    @property
    def broken(self) -> bool:
        parts = (self.whole, self.mouth)
        return self.most_mean is not None and not all(part.in_bounds(self.most_mean) for part in parts)

    def rows(self) -> list[str]:
        return [
            f"| {self.name} | {part} | {self.frames} | {percent(d.within(1))} | {percent(d.within(3))} "
            f"| {percent(d.within(0))} | {d.mean:.4f} | {d.worst} |"
            for part, d in (("picture", self.whole), ("mouth", self.mouth))
        ]


def percent(value: float) -> str:
    """Rounds down near 100, so that 100 means all of them."""
    return "100" if value == 100 else f"{min(value, 99.999):.3f}"
