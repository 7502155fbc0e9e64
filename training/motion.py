# SPDX-License-Identifier: MPL-2.0
"""Small movements of the head and the body, made by warping the picture.

For a rotation by a degree or two, every point of the still moves by a few pixels, which follow from the mesh:
the head rotates as a rigid body about the top of the neck, the neck follows partially, the shoulders rise with
the breath.  The still and the training pictures of the mouth are warped by the same displacement field, so
the painter is trained on real changes of pose, not just translations.
"""

import functools
from typing import NamedTuple

import cv2
import numpy as np
from common import FRAME_H, FRAME_W, GRID, OWN


class Pose(NamedTuple):
    yaw: float = 0.0  # degrees; to her left
    pitch: float = 0.0  # degrees; down
    roll: float = 0.0  # degrees; clockwise in the picture
    sway: float = 0.0  # pixels to the right, of the whole figure, largest at the top
    breath: float = 0.0  # pixels the shoulders rise
    gaze_x: float = 0.0  # pixels that the irises move relative to the head
    gaze_y: float = 0.0


def smoothstep(low, high, value):
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _filled(where):
    """Extends the depth of the figure into the background, so that edges move with the figure."""
    known = ~np.isnan(where[..., 0])
    _, labels = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    by_label = np.zeros((labels.max() + 1, 3), np.float32)
    by_label[labels[known]] = where[known]
    return by_label[labels]


class Scene:
    """The displacement field of one person's still."""

    CHIN = 0.060  # m above the neck joint: from here up the head is rigid
    PIVOT = np.array([0, 0.010, 0.045])  # from the neck joint to the point that the head rotates about

    def __init__(self, stored):
        where = _filled(stored["where"]).astype(np.float32)
        # The figure is smooth at the scale of these movements; hair and ears are not.
        where[..., 1] = cv2.GaussianBlur(where[..., 1], (0, 0), 2.5)
        neck = stored["neck"]
        self.camera, self.focal = stored["camera"], float(stored["focal"])
        rows, columns = where.shape[:2]
        x, y = np.meshgrid((np.arange(columns) + 0.5) * GRID, (np.arange(rows) + 0.5) * GRID)
        self.at = np.stack([x, y], -1).astype(np.float32)
        # Moved back onto the ray of the pixel, at the smoothed depth.
        self.where = self._unproject(self.at, where)
        height = self.where[..., 2] - neck[2]
        self.head = smoothstep(-0.015, self.CHIN, height).astype(np.float32)
        self.body = smoothstep(-0.14, -0.02, height) * (1 - smoothstep(0.0, 0.06, height)) + 0.45 * self.head
        self.pivot = neck + self.PIVOT
        self.lean = np.clip(1.3 - self.at[..., 1] / FRAME_H, 0, 1).astype(np.float32)

    def _unproject(self, at, near):
        start, turn = self.camera[:3, 3], self.camera[:3, :3]
        view = np.stack([at[..., 0] - FRAME_W / 2, FRAME_H / 2 - at[..., 1], np.full(at.shape[:2], -self.focal)], -1)
        ways = view / self.focal @ turn.T
        distance = ((near - start) * ways).sum(-1) / (ways * ways).sum(-1)
        return start + ways * distance[..., None]

    def project(self, points):
        """Projects points in space to pixels of the still."""
        view = (points - self.camera[:3, 3]) @ self.camera[:3, :3]
        scale = self.focal / -view[..., 2]
        return np.stack([view[..., 0] * scale + FRAME_W / 2, FRAME_H / 2 - view[..., 1] * scale], -1)

    def _turn(self, pose):
        yaw, pitch, roll = np.radians([pose.yaw, pose.pitch, pose.roll])
        about_z = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
        about_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
        about_y = np.array([[np.cos(roll), 0, np.sin(roll)], [0, 1, 0], [-np.sin(roll), 0, np.cos(roll)]])
        return about_y @ about_x @ about_z

    def shift(self, pose):
        """Displacement of every cell of the still, in pixels: [rows, columns, 2]."""
        turned = (self.where - self.pivot) @ self._turn(pose).T + self.pivot
        moved = (self.project(turned) - self.at) * self.head[..., None]
        moved[..., 0] += pose.sway * self.lean
        moved[..., 1] -= pose.breath * self.body
        return moved.astype(np.float32)

    def sources(self, pose, box=(0, 0, FRAME_W, FRAME_H)):
        """For every pixel of a box of the moved picture, its position in the still (two maps for cv2.remap)."""
        left, top, width, height = box
        shift = self.shift(pose)
        x, y = np.meshgrid(np.arange(width, dtype=np.float32) + left, np.arange(height, dtype=np.float32) + top)
        from_x, from_y = x, y
        for _ in range(3):  # fixed-point iteration: the displacement is known at the source, which is the unknown
            there = cv2.remap(
                shift, (from_x + 0.5) / GRID - 0.5, (from_y + 0.5) / GRID - 0.5, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
            )
            from_x, from_y = x - there[..., 0], y - there[..., 1]
        return from_x, from_y

    def shift_at(self, pose, x, y):
        """The displacement of one point of the still, in pixels."""
        row, column = int(y / GRID), int(x / GRID)
        return self.shift(pose)[row, column]


@functools.cache
def scene():
    return Scene(np.load(OWN / "still" / "depth.npz"))
