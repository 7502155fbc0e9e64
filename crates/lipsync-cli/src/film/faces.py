# SPDX-License-Identifier: MPL-2.0
"""Finds faces and the 468 points of a face's mesh with MediaPipe's networks, run by LiteRT.

The networks are read from the package mediapipe, which itself exists for few versions of Python and is not imported. What
lies between them follows MediaPipe's graphs face_detection and face_landmark_front_cpu of version 0.10.21.
"""

import importlib.util
import math
import os
import sys
from dataclasses import dataclass
from glob import glob

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter

LEAST_SCORE = 0.5
# More overlap, as intersection over union, is the same face.
OVERLAP = 0.3


def of_mediapipe(name):
    """A file of the package mediapipe. Where that is not installed, its wheel lies in the interpreter's environment."""
    sys.path += glob(os.path.join(sys.prefix, "mediapipe-*.whl"))
    package = importlib.util.find_spec("mediapipe")
    if package is None:
        raise SystemExit("the package mediapipe is missing")
    return package.loader.get_data(os.path.join(package.submodule_search_locations[0], name))


class Network:
    """One of MediaPipe's, which has one input, a square of RGB pixels."""

    def __init__(self, name):
        content = of_mediapipe(f"modules/{name}.tflite")
        self.interpreter = Interpreter(model_content=content, num_threads=1)
        self.interpreter.allocate_tensors()
        (self.input,) = self.interpreter.get_input_details()
        self.side = int(self.input["shape"][1])

    def run(self, pixels, low):
        """Outputs, the largest first, for pixels whose 0 to 255 become `low` to 1."""
        values = pixels.astype(np.float32) * ((1 - low) / 255) + low
        self.interpreter.set_tensor(self.input["index"], values[None])
        self.interpreter.invoke()
        outputs = [self.interpreter.get_tensor(output["index"])[0] for output in self.interpreter.get_output_details()]
        return sorted(outputs, key=np.size, reverse=True)


@dataclass
class Region:
    """A turned square of a picture: its middle and side in pixels, its angle in radians."""

    MARGIN = 1.5  # around a face, as a share of it

    middle: np.ndarray
    side: float
    angle: float = 0.0

    @classmethod
    def around(cls, points, eyes):
        """Of some points, so turned that two of them lie level: the one on the left of an upright face, then the other."""
        low, high = points.min(0), points.max(0)
        x, y = eyes[1] - eyes[0]
        return cls((low + high) / 2, cls.MARGIN * float((high - low).max()), math.atan2(y, x))

    def axes(self):
        return np.array([[math.cos(self.angle), math.sin(self.angle)], [-math.sin(self.angle), math.cos(self.angle)]])

    def cut(self, rgb, side, border):
        """Its pixels in side x side of a network."""
        corners = np.array([[-0.5, 0.5], [-0.5, -0.5], [0.5, -0.5], [0.5, 0.5]]) * self.side @ self.axes() + self.middle
        there = np.float32([[0, side], [0, 0], [side, 0], [side, side]])
        matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), there)
        return cv2.warpPerspective(rgb, matrix, (side, side), flags=cv2.INTER_LINEAR, borderMode=border)

    def place(self, points):
        """Points in the picture of points in it, which reaches from 0 to 1."""
        return (points - 0.5) * self.side @ self.axes() + self.middle


class FaceDetector:
    """Finds faces that are near (up to two metres from a telephone's camera), or also far ones."""

    def __init__(self, far=False):
        self.network = Network("face_detection/face_detection_" + ("full_range_sparse" if far else "short_range"))
        grids = [(48, 1)] if far else [(16, 2), (8, 6)]
        self.anchors = np.concatenate([
            np.repeat((np.stack(np.meshgrid(*2 * [np.arange(count)], indexing="xy"), -1).reshape(-1, 2) + 0.5) / count, times, 0)
            for count, times in grids
        ])  # fmt: skip

    def find(self, rgb):
        """Faces, the surest first: [8, 2] in pixels, two corners of the box, eyes, nose, mouth, ears."""
        height, width = rgb.shape[:2]
        whole = Region(np.array([width / 2, height / 2]), max(width, height))
        boxes, scores = self.network.run(whole.cut(rgb, self.network.side, cv2.BORDER_CONSTANT), low=-1)
        scores = 1 / (1 + np.exp(-np.clip(scores[:, 0], -80, 80)))
        sure = np.flatnonzero(scores >= LEAST_SCORE)
        sure = sure[np.argsort(-scores[sure], kind="stable")]
        found = (boxes[sure] / self.network.side).reshape(-1, 8, 2)
        size = found[:, 1].copy()
        found += self.anchors[sure, None]
        found[:, 1] = found[:, 0] + size / 2
        found[:, 0] -= size / 2
        return [whole.place(face) for face in merged(found, scores[sure])]


def merged(faces, scores):
    """One of all that overlap with the surest of them, by their scores."""
    while len(faces):
        low, high = np.maximum(faces[:, 0], faces[0, 0]), np.minimum(faces[:, 1], faces[0, 1])
        common = np.prod(np.clip(high - low, 0, None), 1)
        areas = np.prod(faces[:, 1] - faces[:, 0], 1)
        same = common / (areas + areas[0] - common) > OVERLAP
        same[0] = True
        yield np.average(faces[same], axis=0, weights=scores[same])
        faces, scores = faces[~same], scores[~same]


class FaceMesh:
    """Finds the mesh of one face; following it from frame to frame keeps the mesh from trembling."""

    OUTER_CORNERS = [33, 263]  # of the eyes

    def __init__(self):
        self.network = Network("face_landmark/face_landmark")
        self.region = None

    def find(self, rgb, face):
        """The mesh [468, 3] in pixels and their depth, or None. `face` is looked at unless one is followed."""
        region = self.region or Region.around(face[:2], face[2:4])
        self.region = None
        mesh, score, *_ = self.network.run(region.cut(rgb, self.network.side, cv2.BORDER_REPLICATE), low=0)
        if 1 / (1 + math.exp(-score.item())) <= LEAST_SCORE:
            return None
        mesh = mesh.reshape(-1, 3) / self.network.side
        points = region.place(mesh[:, :2])
        self.region = Region.around(points, points[self.OUTER_CORNERS])
        return np.column_stack([points, mesh[:, 2] * region.side])
