# SPDX-License-Identifier: MPL-2.0
"""Long layered hair: parted on the side, swept over the forehead, waves in locks that fall over the shoulders.

A few thousand guides grow from the scalp, step by step.  The hair that is rendered lies between them; each lock
then gets its own wave, and its hairs are drawn together towards the tips.  Directions from the centre of the skull
are called `way`; points are in metres.
"""

import face
import numpy as np
from face import normalized
from hair import grow, hairline, scalp_points, tangent
from mathutils import Vector

STEPS = 48
GUIDES = 2600
LOCKS, WISPS = 230, 3200  # locks of hair, and the finer ones that these consist of
PART = 0.030  # m from the middle, to her left
DOWN = np.array([0.0, 0.0, -1.0])
# How far hair may come in front of the face, by its elevation: degrees of azimuth that stay free.
ELEVATIONS = np.radians([-60, -35, -20, -5, 8, 18, 27, 34])
SWEPT_SIDE = np.radians([60, 62, 62, 59, 50, 33, 10, -30])
OTHER_SIDE = np.radians([60, 62, 62, 59, 54, 46, 34, 5])


class Body:
    """Neck and shoulders as a grid of distances, which push hair out of them."""

    LOW, HIGH, CELL = np.array([-0.22, -0.20, 0.38]), np.array([0.22, 0.16, 0.60]), 0.008

    def __init__(self):
        tree = face.surface(face.visible)
        axes = [np.arange(low, high, self.CELL) for low, high in zip(self.LOW, self.HIGH)]
        self.shape = tuple(len(axis) for axis in axes)
        distances = []
        for at in np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 3):
            hit, normal, _, _ = tree.find_nearest(Vector(at))
            away = at - np.array(hit)
            distances.append(np.copysign(np.linalg.norm(away), away @ np.array(normal)))
        self.distance = np.array(distances).reshape(self.shape)
        self.gradient = np.stack(np.gradient(self.distance, self.CELL), -1)

    def _at(self, table, points):
        place = np.clip((points - self.LOW) / self.CELL, 0, np.array(self.shape) - 1.001)
        first = place.astype(int)
        part, total = place - first, 0
        for corner in np.ndindex(2, 2, 2):
            weight = np.prod(np.where(corner, part, 1 - part), axis=-1)
            value = table[tuple((first + corner)[..., axis] for axis in range(3))]
            total = total + (weight[..., None] if value.ndim > weight.ndim else weight) * value
        return total

    def push(self, points, gap):
        """The points, moved to at least `gap` from the skin (chest, shoulders and neck; not the head)."""
        low = points[..., 2] < self.HIGH[2] - 0.01
        near = points[low]
        gap = np.broadcast_to(gap, low.shape)[low]
        missing = np.clip(gap - self._at(self.distance, near), 0, None)
        moved = points.copy()
        moved[low] = near + normalized(self._at(self.gradient, near) + 1e-9) * missing[:, None]
        return moved


def guides(skull, body, rng):
    """Roots [count, 3] as directions, and unwaved strands [count, STEPS, 3]."""
    way = scalp_points(skull, rng, GUIDES)
    count = len(way)
    azimuth, elevation = skull.angles(way)
    swept = way[:, 0] * 0.1 < part_at(way)  # the larger side of the parting
    side = np.where(swept, -1.0, 1.0)
    front = np.clip(-way[:, 1], 0, 1)
    low_root = 1 - np.clip(way[:, 2] / 0.5, 0, 1)  # at the sides and at the nape, hair falls from the root
    above_line = elevation - hairline(azimuth)
    fringe = np.clip(1 - above_line / 0.30, 0, 1) * np.clip(front * 2 - 0.6, 0, 1) * swept
    # Along the parting, hair falls forward from the crown; where it turned back halfway, the scalp would show.
    near_part = np.clip(1.3 - np.abs(way[:, 0] * 0.1 - part_at(way)) / 0.035, 0, 1) * np.clip((0.25 - way[:, 1]) / 0.5, 0, 1)
    near_part = near_part * np.clip((way[:, 1] + 0.80) / 0.25, 0, 1)  # not at the hairline: it would hang into the forehead
    back = (0.45 - 0.15 * front - 0.45 * fringe) * (1 - near_part) - 0.10 * near_part
    comb = np.stack([side * 1.1 * (1 - low_root), back, 0.2 * front * (1 - low_root) - 1.2 * low_root], -1)
    from_part = np.clip(np.abs(way[:, 0] * 0.1 - part_at(way)) / 0.022, 0.35, 1)
    upright = 0.1 + 0.46 * (1 - low_root) * from_part
    direction = normalized(tangent(comb + rng.normal(0, 0.06, comb.shape), way) + way * upright[:, None])

    # Layers: those that frame the face are shorter, and all vary.
    layer = rng.random(count)
    tip = 0.412 + 0.080 * rng.random(count) + 0.070 * layer**3 + 0.05 * fringe * rng.random(count)
    start = skull.centre + way * skull.radius(way)[:, None]
    length = (start[:, 2] - tip) * 1.08 + 0.075 * np.clip(way[:, 2] - 0.1, 0, 1) + 0.02 * fringe
    top = np.clip(way[:, 2] * 1.4, 0, 1)
    lift = 0.003 + (0.005 + 0.015 * top * from_part) * rng.random(count) ** 0.8
    spread = rng.normal(0, np.radians(3.5), count)
    gap = 0.020 + 0.012 * rng.random(count)
    at_front = way[:, 1] < 0.25
    beside_neck = 0.050 + 0.052 * rng.random(count)  # where it hangs below the ears

    def bend(at, away, along, heading):
        azimuth, elevation = skull.angles(away)
        force = DOWN * (0.13 + 0.45 * along)
        limit = np.where(swept, *(np.interp(elevation, ELEVATIONS, side_) for side_ in (SWEPT_SIDE, OTHER_SIDE)))
        # On her own side of the face: hair that is past the limit is deflected outwards and back.
        on_face = np.clip((limit + spread - azimuth * side) / 0.16, 0, 1) * (away[:, 1] < 0)
        outwards = np.stack([side * 0.6, np.full(count, 0.60), np.zeros(count)], -1)
        force = force + outwards * (0.9 * on_face)[:, None]
        # Below the jaw it comes forward over the shoulder, close to the neck, unless it grows at the back.
        below = np.clip((skull.centre[2] - 0.03 - at[:, 2]) / 0.06, 0, 1)
        forward = np.where(at_front, -0.13, 0.06)
        inwards = np.stack([-7.0 * np.sign(at[:, 0]) * (np.abs(at[:, 0]) - beside_neck) * at_front, forward, np.zeros(count)], -1)
        return force + inwards * below[:, None]

    at = grow(skull, way, direction, length, STEPS, bend, lift)
    return way, swept, body.push(at, gap[:, None])


def part_at(way):
    """The parting as a distance from the middle, in m; it bends towards the crown."""
    return PART - 0.020 * np.clip(way[:, 1] + 0.2, 0, 1) + 0.0025 * np.sin(way[:, 1] * 9)


def between(way, swept, strands, roots, roots_swept):
    """Strands at other roots, from the three nearest guides on the same side of the parting."""
    shapes = strands - strands[:, :1]
    found = np.empty((len(roots), *shapes.shape[1:]))
    for these in np.array_split(np.arange(len(roots)), 60):
        near = roots[these] @ way.T - 4.0 * (roots_swept[these][:, None] != swept)
        nearest = np.argpartition(-near, 3, axis=1)[:, :3]
        weight = 1 / (1.0005 - np.take_along_axis(near, nearest, 1))
        weight /= weight.sum(1, keepdims=True)
        found[these] = (shapes[nearest] * weight[..., None, None]).sum(1)
    return found


def cut(strands, share):
    """The strands, each shortened to a share of its length."""
    place = share[:, None] * np.arange(STEPS)
    first = np.minimum(place.astype(int), STEPS - 2)
    rows, part = np.arange(len(strands))[:, None], (place - first)[..., None]
    return strands[rows, first] * (1 - part) + strands[rows, first + 1] * part


def nearest_of(roots, chosen):
    return np.concatenate([(part @ roots[chosen].T).argmax(1) for part in np.array_split(roots, 60)])


def waves(skull, strands, lock, rng):
    """Displacement of every point: a spiral of its own for each lock, which begins below the ears."""
    steps = np.linalg.norm(np.diff(strands, axis=1), axis=2)
    run = np.concatenate([np.zeros((len(strands), 1)), np.cumsum(steps, axis=1)], axis=1)
    drop = np.clip((skull.centre[2] + 0.045 - strands[..., 2]) / 0.13, 0, 1) * np.clip(run / 0.10, 0, 1)
    locks = lock.max() + 1
    length = rng.uniform(0.062, 0.090, locks)[lock][:, None]
    phase = (rng.uniform(0, 2 * np.pi, locks)[lock] + rng.normal(0, 0.22, len(strands)))[:, None]
    size = rng.uniform(0.0045, 0.0120, locks)[lock][:, None] * drop
    turn = rng.choice([-1.0, 1.0], locks)[lock][:, None]
    along = normalized(np.gradient(strands, axis=1) + 1e-9)
    outwards = strands - skull.centre
    outwards[..., 2] = 0
    outwards = normalized(outwards - along * (outwards * along).sum(-1, keepdims=True))
    aside = np.cross(along, outwards)
    angle = 2 * np.pi * run / length + phase
    return outwards * (size * np.cos(angle))[..., None] + aside * (turn * size * 0.9 * np.sin(angle))[..., None]


def draw_together(strands, group, leaders, pull):
    """Towards the leader of each group: `pull` [count, steps]."""
    return strands + (strands[leaders[group]] - strands) * pull[..., None]


def layered(skull, rng, count):
    """Strands [count, STEPS, 3], their radii, and how light each is (0 to 1)."""
    body = Body()
    way, swept, shapes = guides(skull, body, rng)
    roots = scalp_points(skull, rng, count)
    # Four times as dense at the parting, which opens otherwise.
    more = scalp_points(skull, rng, 3 * count)
    roots = np.concatenate([roots, more[(np.abs(more[:, 0] * 0.1 - part_at(more)) < 0.010) & (more[:, 2] > 0.3)]])
    azimuth, elevation = skull.angles(roots)
    roots = roots[~((elevation < 0) & (np.abs(azimuth) < np.radians(95)))]  # no sideburns
    across = 0.0015  # m within which hairs fall to either side
    roots_swept = roots[:, 0] * 0.1 < part_at(roots) + rng.normal(0, 1, len(roots)) * across
    strands = (skull.centre + roots * (skull.radius(roots) - 0.0005)[:, None])[:, None] + between(
        way, swept, shapes, roots, roots_swept
    )
    along = np.linspace(0, 1, STEPS)
    chosen = rng.choice(len(roots), LOCKS, replace=False)
    lock = nearest_of(roots + rng.normal(0, 0.012, roots.shape), chosen)
    # No lock is as long as its neighbour, and none ends in a brush; what grows low is short as it is.
    less = 0.20 * rng.random(LOCKS)[lock] ** 1.5 + 0.26 * rng.random(len(roots)) ** 2
    strands = cut(strands, 1 - less * np.clip((roots[:, 2] + 0.45) / 0.7, 0, 1))
    wisps = rng.choice(len(roots), WISPS, replace=False)
    wisp = nearest_of(roots, wisps)
    strands = strands + waves(skull, strands, lock, rng)
    tightness = rng.uniform(0.45, 0.85, LOCKS)[lock][:, None] * rng.uniform(0.5, 1.1, (len(roots), 1))
    strands = draw_together(strands, lock, chosen, np.clip(tightness * along**1.4, 0, 0.85))
    strands = draw_together(strands, wisp, wisps, np.clip(rng.uniform(0.3, 1.0, (len(roots), 1)) * along**0.7, 0, 0.8))
    # Frizz: no hair is exactly like its neighbour, and a few stray.
    strands = strands + rng.normal(0, 0.0005, (len(roots), 1, 3)) * along[:, None]
    stray = rng.random(len(roots)) < 0.03
    drift = np.cumsum(rng.normal(0, 0.0011, (stray.sum(), STEPS, 3)), axis=1)
    strands[stray] += drift * along[:, None] ** 0.7
    strands = body.push(strands, 0.017)
    # No strand crosses the throat.
    low = strands[..., 2] < skull.centre[2] - 0.075
    before = (np.abs(strands[..., 0]) < 0.053) & (strands[..., 1] < face.NECK[1] - 0.012)
    free = ~(low & before).any(1)
    shade = rng.random(LOCKS)[lock] * 0.6 + rng.random(WISPS)[wisp] * 0.4
    thickness = rng.uniform(0.8, 1.2, (len(roots), 1)) * np.interp(along, [0, 0.6, 1], [1, 0.9, 0.35])
    return strands[free], 0.00008 * thickness[free], shade[free]
