# SPDX-License-Identifier: MPL-2.0
"""Lip landmarks in the picture, projected from the mesh: 22 points on the contours of the lips."""

import functools

import motion
import numpy as np
from common import OWN
from mouth import face_shapes
from people import PERSON

# (across, height over the middle of the lips) of the points at rest, in mm: outer and inner contour of
# the upper and of the lower lip in five places, and the corners.
_ACROSS = (-15, -8, 0, 8, 15)
CONTOURS = {
    "upper_outer": [(x, 9.5 - 0.020 * x * x) for x in _ACROSS],
    "upper_inner": [(x, -3.5 + 0.002 * x * x) for x in _ACROSS],
    "lower_inner": [(x, -7.5 + 0.006 * x * x) for x in _ACROSS],
    "lower_outer": [(x, -16.5 + 0.020 * x * x) for x in _ACROSS],
    "corners": [(-24, -4.5), (24, -4.5)],
}
COUNT = sum(len(points) for points in CONTOURS.values())
MIDDLE_UPPER, MIDDLE_LOWER = 5 + 2, 10 + 2  # the two points whose distance defines the opening


@functools.cache
def _mesh():
    stored = np.load(OWN / "mesh.npz")
    units = {name[5:]: stored[name] for name in stored.files if name.startswith("unit_")}
    return stored["points"], units


@functools.cache
def vertices():
    """Indices of the mesh vertices nearest to the landmarks, each on the correct lip."""
    from prepare_mesh import BODY_VERTICES, LIPS

    points, units = _mesh()
    points = points[:BODY_VERTICES]
    upper = np.linalg.norm(units["mouthRollUpper"][:BODY_VERTICES], axis=1)
    lower = np.linalg.norm(units["mouthRollLower"][:BODY_VERTICES], axis=1)
    chosen = []
    for name, wanted in CONTOURS.items():
        allowed = points[:, 1] < LIPS[1] + 0.012
        if name != "corners":
            here, other = (upper, lower) if name.startswith("upper") else (lower, upper)
            allowed &= here > 2 * other
        for across, height in wanted:
            at = LIPS[[0, 2]] + np.array([across, height]) * 0.001 * PERSON.size
            distance = np.where(allowed, np.linalg.norm(points[:, [0, 2]] - at, axis=1), np.inf)
            chosen.append(int(distance.argmin()))
    return np.array(chosen)


def positions(state):
    """Pixels of the points in the still's frame for a mouth state, [COUNT, 2]."""
    points, units = _mesh()
    chosen = vertices()
    weights = dict(PERSON.resting_face())
    for name, weight in face_shapes(state).items():
        weights[name] = weights.get(name, 0) + weight
    moved = points[chosen] + sum(units[name][chosen] * weight for name, weight in weights.items())
    return motion.scene().project(moved)
