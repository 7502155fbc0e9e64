# SPDX-License-Identifier: MPL-2.0
"""The rendered pictures as arrays: still, blinks and mouths, composited into the 1280 x 720 frame.

Mouths and blinks are rendered in small boxes with few samples and without hair.  Comparing them with
a box with the closed mouth (the open eyes), rendered in the same way, shows what moves: only that is
composited.
"""

import functools

import cv2
import motion
import numpy as np
import walls
from common import BOX_X, BOX_Y, EYES_BOX, OWN


def read_rgba(path):
    """BGRA float32 in [0, 1]; colours are not premultiplied."""
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise FileNotFoundError(path)
    return picture.astype(np.float32) / (65535 if picture.dtype == np.uint16 else 255)


def over(picture, ground):
    alpha = picture[..., 3:]
    return picture[..., :3] * alpha + ground * (1 - alpha)


def box_fade(height, width, fade=10):
    def side(n):
        distance = np.minimum(np.arange(n), np.arange(n)[::-1])
        return 0.5 - 0.5 * np.cos(np.pi * np.clip(distance / fade, 0, 1))

    return (side(height)[:, None] * side(width)[None])[..., None].astype(np.float32)


@functools.cache
def still():
    return read_rgba(OWN / "still" / "still.png")


@functools.cache
def still_on_wall():
    return over(still(), walls.wall())


def behind(picture, figure):
    """The background behind the edges of the figure (alpha [H, W]), extrapolated inwards from its surroundings."""
    inside = cv2.dilate((figure > 0.02).astype(np.uint8), np.ones((5, 5), np.uint8))
    if inside.all():
        return picture
    _, labels = cv2.distanceTransformWithLabels(inside, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    outside = inside == 0
    by_label = np.zeros((labels.max() + 1, 3), np.float32)
    by_label[labels[outside]] = picture[outside]
    grown = cv2.GaussianBlur(by_label[labels], (0, 0), 3)
    return np.where(outside[..., None], picture, grown)


def take_over(x, y, box, rest_box):
    """The still at (x, y) with the changes of `box` relative to `rest_box` (both RGBA renders).

    Where nothing moved, the still; elsewhere the rendered box, colour-corrected by the low-frequency
    difference between the still and the box at rest (the shadow of the hair, which boxes lack).
    """
    height, width = box.shape[:2]
    still_part = still_on_wall()[y : y + height, x : x + width]
    ground = behind(still_part, rest_box[..., 3])
    box, rest_box = over(box, ground), over(rest_box, ground)
    shift = cv2.GaussianBlur(still_part - rest_box, (0, 0), 8)
    change = cv2.GaussianBlur(np.abs(box - rest_box).max(axis=2), (0, 0), 4) * 255
    moved = np.clip((change - 1) / 4, 0, 1)
    moved = (moved * moved * (3 - 2 * moved))[..., None] * box_fade(height, width)
    return np.clip(still_part + moved * (box + shift - still_part), 0, 1)


@functools.cache
def closed_mouth():
    return read_rgba(OWN / "still" / "closed.png")


def mouth_target(path):
    """The mouth box of the finished frame, from a rendered mouth."""
    return take_over(BOX_X, BOX_Y, read_rgba(path), closed_mouth())


def still_with_mouth(still_, path):
    """A still (BGRA) with a rendered mouth."""
    box = mouth_target(path)
    picture = still_.copy()
    height, width = box.shape[:2]
    part = picture[BOX_Y : BOX_Y + height, BOX_X : BOX_X + width]
    opaque = part[..., 3:] > 0.99  # the box includes the background: edges are those of the still
    part[..., :3] = np.where(opaque, box, part[..., :3])
    return picture


def still_with_blink(phase):
    """BGRA still with the eyelids in one of the rendered phases (0 is open)."""
    picture = still().copy()
    if phase:
        x, y, width, height = EYES_BOX
        boxes = [read_rgba(OWN / "still" / f"blink_{p}.png") for p in (phase, 0)]
        picture[y : y + height, x : x + width, :3] = take_over(x, y, *boxes)
    return picture


def eyes():
    """Centres of the two irises in the still, in pixels."""
    return motion.scene().project(np.load(OWN / "still" / "depth.npz")["eyes"])
