# SPDX-License-Identifier: MPL-2.0
"""Frames of an avatar from stills: warped to the pose of the head, in front of the background, with masks and crops."""

import bisect
import csv
import functools
import io
import shutil

import cv2
import motion
import numpy as np
import pictures
import walls
from common import CROP_SIDE, CROP_X, CROP_Y, FACE_X, FACE_Y
from PIL import Image

EYE_REACH = (13.0, 8.0)  # pixels around an iris that follow it
# Steps of the JPEG quantization, from coarse to fine, of which a frame takes the first that is good enough.
STEPS = np.arange(12.0, 2.0, -0.25)


def gaze_field(pose, eyes, x, y):
    """Displacement of every pixel of the still by the eye rotation, in pixels: [H, W] for x and y."""
    amount = np.zeros(x.shape, np.float32)
    for eye_x, eye_y in eyes:
        near = ((x - eye_x) / EYE_REACH[0]) ** 2 + ((y - eye_y) / EYE_REACH[1]) ** 2
        amount += np.exp(-(near**2))
    return amount * pose.gaze_x, amount * pose.gaze_y


def move(picture, pose, eyes):
    """The premultiplied BGRA picture, warped to that head pose."""
    scene = motion.scene()
    from_x, from_y = scene.sources(pose)
    gaze_x, gaze_y = gaze_field(pose, eyes, from_x, from_y)
    maps = (from_x - gaze_x).astype(np.float32), (from_y - gaze_y).astype(np.float32)
    return cv2.remap(picture, *maps, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)


def crop_at(pose):
    shift = motion.scene().shift_at(pose, FACE_X, FACE_Y)
    return round(CROP_X + float(shift[0])), round(CROP_Y + float(shift[1])), CROP_SIDE, CROP_SIDE


def premultiplied(picture):
    return np.concatenate([picture[..., :3] * picture[..., 3:], picture[..., 3:]], axis=2)


def levels(picture):
    return np.clip(np.round(picture * 255), 0, 255).astype(np.uint8)


def psnr(one, other):
    return float(-10 * np.log10(np.mean((one - other) ** 2)))


def read(folder):
    """Pictures and crops (x, y, width, height) of an avatar's frames, as Writer writes them."""
    with (folder / "crops.csv").open() as file:
        crops = [tuple(int(row[k]) for k in ("x", "y", "width", "height")) for row in csv.DictReader(file)]
    return [cv2.imread(str(folder / "frames" / f"{number}.jpg")) for number in range(len(crops))], crops


def jpeg(picture, step):
    """An 8-bit BGR picture as baseline JPEG, quantized in steps that grow threefold from the lowest to the highest frequency.

    In the tables of the JPEG standard they grow sixfold, and files of the same PSNR are two fifths larger.
    """
    frequency = np.add.outer(np.arange(8), np.arange(8)).ravel()
    luma, chroma = (np.clip(np.round(step * (1 + slope * frequency)), 1, 255).astype(int).tolist() for slope in (0.15, 0.10))
    coded = io.BytesIO()
    Image.fromarray(picture[..., ::-1]).save(coded, "JPEG", qtables=[luma, chroma], subsampling="4:2:0", optimize=True)
    return coded.getvalue()


class Writer:
    """Writes frames/0.jpg ..., alpha/0.png ... and crops.csv into a folder, from which what was there is removed.

    least: the PSNR of a frame in its crop, in dB; the coarsest quantization that reaches it is taken, or else the finest
    """

    SHADES = 32  # of a mask; fewer make smaller files

    def __init__(self, folder, least):
        self.folder, self.least = folder, least
        self.eyes = pictures.eyes()
        self.rows = ["frame,x,y,width,height"]
        self.worst = np.inf  # lowest PSNR so far
        for name in ("frames", "alpha"):
            shutil.rmtree(folder / name, ignore_errors=True)
            (folder / name).mkdir(parents=True)

    def add(self, picture, pose):
        """The next frame, from a premultiplied still."""
        number, crop = len(self.rows) - 1, crop_at(pose)
        moved = np.clip(move(picture, pose, self.eyes), 0, 1)
        frame = moved[..., :3] + walls.wall() * (1 - moved[..., 3:])
        (self.folder / "frames" / f"{number}.jpg").write_bytes(self._jpeg(frame, crop))
        mask = np.round(moved[..., 3] * (self.SHADES - 1)) / (self.SHADES - 1)
        # Masks are smallest unfiltered: they are runs of 0 and of 255, with an edge that no neighbour foretells.
        png = [cv2.IMWRITE_PNG_COMPRESSION, 9, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
        png += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_NONE]
        cv2.imwrite(str(self.folder / "alpha" / f"{number}.png"), levels(mask), png)
        self.rows.append(",".join(str(v) for v in (number, *crop)))

    def _jpeg(self, frame, crop):
        x, y, width, height = crop
        face, picture = (slice(y, y + height), slice(x, x + width)), levels(frame)

        @functools.cache
        def coded(step):
            """The file, and the PSNR of the face."""
            file = jpeg(picture, step)
            decoded = cv2.imdecode(np.frombuffer(file, np.uint8), cv2.IMREAD_COLOR)
            return file, psnr(decoded[face] / np.float32(255), frame[face])

        enough = bisect.bisect_left(STEPS, True, hi=len(STEPS) - 1, key=lambda step: coded(step)[1] >= self.least)
        file, reached = coded(STEPS[enough])
        self.worst = min(self.worst, reached)
        return file

    def close(self):
        (self.folder / "crops.csv").write_text("\n".join(self.rows) + "\n")
