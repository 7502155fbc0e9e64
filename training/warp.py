# SPDX-License-Identifier: MPL-2.0
"""The mouth of any state, from the renders of states nearby: each is warped to where the mesh is in the new state.

The surface (OWN/surface.npz of render.py) is dense: a cell is about a pixel wide.  Every pixel of the new picture is
traced to the point of the surface that is seen there, and from there to where that point was in each render, unless
something hid it there.  Shades, which no warp moves, come from several renders, the nearer ones weighing more.
"""

import functools

import cv2
import motion
import mouth
import numpy as np
import pictures
from common import BOX_H, BOX_W, BOX_X, BOX_Y, OWN
from prepare_mesh import LIPS

NEAREST = 4  # renders that a picture is made of
LEVELS = 60_000  # of distance, by which points are sorted
APART = 0.0012  # m; what lies farther behind the surface of a render is hidden in it
STILL = 0.0001  # m
MOUTH_REACH = 0.035  # m from the middle of the lips to the last teeth
EDGE = 24  # pixels around the box in which cells still matter


class Surface:
    def __init__(self):
        stored = np.load(OWN / "surface.npz")
        scene = motion.scene()
        at = scene.project(stored["rest"])[stored["quads"]] - [BOX_X, BOX_Y]
        inside = ((at > -EDGE) & (at < np.array([BOX_W, BOX_H]) + EDGE)).all((1, 2))
        # Skin that no unit moves by a fifth of a pixel stays where it is. Teeth, which do not move either, come and go.
        far = np.linalg.norm(stored["rest"][:, [0, 2]] - LIPS[[0, 2]], axis=1) > MOUTH_REACH
        still = far & (np.linalg.norm(stored["moved"], axis=2).max(0) < STILL)
        inside &= ~still[stored["quads"]].all(1)
        quads = stored["quads"][inside]
        used, quads = np.unique(quads, return_inverse=True)
        self.quads = quads.reshape(-1, 4)
        self.skin = np.flatnonzero(inside) < stored["skin_quads"]
        self.rest, self.moved = stored["rest"][used], stored["moved"][:, used]
        # Points on each cell, close enough together that no pixel falls between them, also where skin stretches.
        across = np.abs(np.roll(at[inside], 1, 1) - at[inside]).max((1, 2))
        count = np.clip(np.ceil(1.5 * across).astype(int), 1, 14)
        cells, weights = [], []
        for n in np.unique(count):
            u, v = (g.ravel() for g in np.meshgrid(*[(np.arange(n) + 0.5) / n] * 2))
            corner = np.stack([(1 - u) * (1 - v), u * (1 - v), u * v, (1 - u) * v], 1).astype(np.float32)
            those = np.flatnonzero(count == n)
            cells.append(np.repeat(those, n * n))
            weights.append(np.tile(corner, (len(those), 1)))
        self.cells, self.weights = np.concatenate(cells), np.concatenate(weights)

    def places(self, state):
        """Pixel (in the box) and distance from the camera of every vertex, [V, 3]."""
        where = self.rest + np.tensordot(state, self.moved, 1)
        scene = motion.scene()
        distance = -((where - scene.camera[:3, 3]) @ scene.camera[:3, :3])[..., 2]
        return np.concatenate([scene.project(where) - [BOX_X, BOX_Y], distance[:, None]], 1).astype(np.float32)

    def points(self, places, chosen=slice(None)):
        """The same of points on the cells."""
        corners = places[self.quads[self.cells[chosen]]]
        return np.einsum("ncd,nc->nd", corners, self.weights[chosen])

    def seen(self, state):
        """Places of the vertices and of all points, which point is seen at every pixel (-1: none), and how far away it is."""
        places = self.places(state)
        points = self.points(places)
        column, row = np.floor(points[:, 0]).astype(np.int32), np.floor(points[:, 1]).astype(np.int32)
        inside = np.flatnonzero((column >= 0) & (column < BOX_W) & (row >= 0) & (row < BOX_H))
        far = points[inside, 2]
        level = ((far.max() - far) / np.ptp(far) * LEVELS).astype(np.uint16)
        inside = inside[np.argsort(level, kind="stable")]  # the nearest is written last
        nearest = np.full(BOX_W * BOX_H, -1)
        nearest[row[inside] * BOX_W + column[inside]] = inside
        distance = np.where(nearest < 0, np.inf, points[nearest, 2]).astype(np.float32)
        return places, points, nearest.reshape(BOX_H, BOX_W), distance.reshape(BOX_H, BOX_W)


@functools.cache
def surface():
    return Surface()


class Renders:
    """The rendered mouths of a folder, for making others of."""

    def __init__(self, folder, states, metric):
        self.metric = metric
        self.apart = states @ metric
        self.boxes, self.places, self.distance = [], [], []
        self.rest = surface().places(np.zeros(mouth.N_UNITS, np.float32))
        for number, state in enumerate(states):
            box = np.ascontiguousarray(pictures.mouth_target(folder / f"{number:04}.png"))
            places, _, _, distance = surface().seen(state)
            self.boxes.append(box)
            self.places.append(places)
            # The farthest of the neighbours: at an edge, a point is hidden only if all around is nearer.
            self.distance.append(cv2.dilate(np.where(np.isfinite(distance), distance, 9.0), np.ones((3, 3))))

    def nearest(self, state):
        """Numbers and weights of the renders to use: weights change continuously with the state."""
        apart = np.linalg.norm(self.apart - state @ self.metric, axis=1) + 1e-3
        order = np.argsort(apart)
        reach = apart[order[NEAREST]]
        weights = ((reach - apart) / (reach * apart)).clip(0)[order[:NEAREST]] ** 2
        return order[:NEAREST], weights / weights.sum()

    def picture(self, state):
        """The mouth box in that state, [BOX_H, BOX_W, 3] in 0 to 1.

        Also where its pixels are in the box at rest (two maps), and which of them show skin.
        """
        places, points, nearest, _ = surface().seen(state)
        height, width = nearest.shape
        x, y = np.meshgrid((np.arange(width) + 0.5), (np.arange(height) + 0.5))
        there = nearest >= 0
        chosen = nearest[there]
        total, weight = np.zeros((height, width, 3), np.float32), np.full((height, width, 1), 1e-6, np.float32)
        for number, share in zip(*self.nearest(state)):
            source = surface().points(self.places[number], chosen)
            shift = np.zeros((height, width, 2), np.float32)
            shift[there] = source[:, :2] - points[chosen, :2]
            maps = (x + shift[..., 0] - 0.5).astype(np.float32), (y + shift[..., 1] - 0.5).astype(np.float32)
            box = cv2.remap(self.boxes[number], *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            hidden = np.zeros((height, width), np.float32)
            depth = cv2.remap(self.distance[number], *maps, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
            hidden[there] = source[:, 2] - APART > depth[there]
            amount = (share * (1 - hidden))[..., None].astype(np.float32)
            total += amount * box
            weight += amount
        # What is hidden in all of them looks like what is around it.
        near, near_weight = (cv2.GaussianBlur(side, (0, 0), 0.8) for side in (total, weight))
        lost = (1 - weight).clip(0) ** 4
        total, weight = total + lost * near, weight + lost * near_weight.reshape(weight.shape)
        shift = np.zeros((height, width, 2), np.float32)
        shift[there] = surface().points(self.rest, chosen)[:, :2] - points[chosen, :2]
        skin = np.ones((height, width), np.float32)
        skin[there] = surface().skin[surface().cells[chosen]]
        return total / weight, tuple((at - 0.5 + shift[..., axis]).astype(np.float32) for axis, at in enumerate((x, y))), skin


def check(light):
    """PSNR of states that were rendered but not used, and of the nearest render as it is."""
    plan = np.load(OWN.parent / OWN.name.split("-")[0] / "film.npz")
    light = plan["lights"].tolist().index(OWN.name)
    renders = Renders(OWN / "film", plan["rendered"][light], plan["metric"])
    for number, state in enumerate(plan["checked"][light]):
        truth = pictures.mouth_target(OWN / "check" / f"{number:04}.png")
        part = (slice(48, 160), slice(64, 192))
        made, near = renders.picture(state)[0][part], renders.boxes[renders.nearest(state)[0][0]][part]
        yield [-10 * np.log10(np.mean((other - truth[part]) ** 2)) for other in (made, near)], mouth.opening(state)
