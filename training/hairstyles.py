# SPDX-License-Identifier: MPL-2.0
"""Haircuts: strands that grow from the scalp."""

import numpy as np
from face import normalized
from hair import add_curves, gather, grow, hairline, scalp_points, tangent
from layered_hair import layered


def swept(skull, rng, count):
    """Combed back from the forehead, behind the ears, held at the nape."""
    way = scalp_points(skull, rng, count)
    comb = np.array([0.0, 1.0, 0.1]) + np.stack([way[:, 0] * 0.6, 0 * way[:, 0], 0.6 * np.clip(-way[:, 1], 0, 1)], -1)
    direction = tangent(comb + way * 0.2 + rng.normal(0, 0.05, comb.shape), way)
    nape = normalized(np.array([0.0, 0.93, -0.36]))
    lift = 0.003 + 0.010 * rng.random(len(way)) + 0.006 * np.clip(way[:, 2], 0, 1)

    def bend(at, away, along, heading):
        return tangent(nape - away + rng.normal(0, 0.03, at.shape), away) * 0.5

    length = np.arccos(np.clip(way @ nape, -1, 1)) * 0.105 + 0.01
    return gather(grow(skull, way, direction, length, 16, bend, lift), way, rng, 1200, 0.45)


def short(skull, rng, count):
    """A short cut: longer and brushed aside on top, a few millimetres at the sides."""
    way = scalp_points(skull, rng, count)
    azimuth, elevation = skull.angles(way)
    top = np.clip((elevation - np.radians(24)) / np.radians(30), 0, 1)
    front = np.clip(-way[:, 1] + 0.2, 0, 1)
    length = (0.010 + 0.026 * top + 0.010 * top * front) * rng.uniform(0.75, 1.15, len(way))
    aside = np.stack([0.75 + 0 * top, -0.25 + 0.1 * front, 0.35 * front], -1)
    down = np.stack([0 * top, 0.25 + 0 * top, -1 + 0 * top], -1)
    comb = aside * top[:, None] + down * (1 - top)[:, None]
    upright = (0.55 + 0.65 * top * front)[:, None]
    direction = normalized(tangent(comb + rng.normal(0, 0.22, comb.shape), way) + way * upright)
    lift = 0.0015 + (0.003 + 0.010 * top) * rng.random(len(way)) ** 1.5

    def bend(at, away, along, heading):
        return tangent(comb, away) * (0.10 + 0.25 * top)[:, None] - away * 0.10

    strands = grow(skull, way, direction, length, 8, bend, lift)
    return gather(strands, way, rng, 1500, 0.6)


def quiff(skull, rng, count):
    """Short at the sides; on top it stands up from the forehead and falls back and aside, in locks."""
    way = scalp_points(skull, rng, count)
    azimuth, elevation = skull.angles(way)
    top = np.clip((elevation - np.radians(20)) / np.radians(26), 0, 1)
    front = np.clip(-way[:, 1] + 0.1, 0, 1)
    edge = np.clip((elevation - hairline(azimuth)) / 0.12, 0.25, 1)  # the first rows are shorter and finer
    length = (0.007 + (0.028 + 0.016 * front) * top * edge) * rng.uniform(0.7, 1.15, len(way))
    back = np.stack([0.35 + 0.5 * way[:, 0], 0.75 + 0 * top, 0.15 + 0 * top], -1)
    down = np.stack([0 * top, 0.30 + 0 * top, -1 + 0 * top], -1)
    comb = back * top[:, None] + down * (1 - top)[:, None]
    upright = (0.35 + 0.95 * top * front * edge)[:, None]
    direction = normalized(tangent(comb + rng.normal(0, 0.16, comb.shape), way) + way * upright)
    lift = 0.0012 + (0.003 + 0.013 * top) * rng.random(len(way)) ** 1.2

    def bend(at, away, along, heading):
        return tangent(comb, away) * (0.10 + 0.22 * top)[:, None] - away * (0.06 + 0.10 * along)

    strands = grow(skull, way, direction, length, 10, bend, lift)
    strands = gather(strands, way, rng, 260, 0.35)
    return gather(strands, way, rng, 2600, 0.7)


STYLES = {"layered": (layered, 90_000), "swept": (swept, 80_000), "short": (short, 90_000), "quiff": (quiff, 90_000)}


def add_hair(skull, material, style):
    make, count = STYLES[style]
    made = make(skull, np.random.default_rng(3), count)
    if isinstance(made, tuple):
        return add_curves("hair", *made[:2], material, made[2])
    return add_curves("hair", made, np.full(made.shape[:2], 0.00008) * np.linspace(1, 0.6, made.shape[1]), material)
