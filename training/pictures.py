"""The rendered pictures as arrays: still, blinks and mouths, put together in the 1280 x 720 frame.

Mouths and blinks are rendered in small boxes with few samples and without hair.  A box with the
closed mouth (the open eyes), rendered alike, tells what really moves: only that is taken over.
"""

import functools

import cv2
import numpy as np
from common import BOX_X, BOX_Y, EYES_BOX, FRAME_H, FRAME_W, WORK


def read_rgba(path):
    """BGRA float32 in [0, 1]; colours are not premultiplied."""
    picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise FileNotFoundError(path)
    return picture.astype(np.float32) / (65535 if picture.dtype == np.uint16 else 255)


@functools.cache
def background():
    """A soft studio wall, BGR: a light pool behind the head, darker corners, a touch of dither."""
    x = (np.arange(FRAME_W) - 0.5 * FRAME_W) / FRAME_W
    y = (np.arange(FRAME_H) - 0.42 * FRAME_H) / FRAME_W
    distance = np.sqrt(x[None] ** 2 + (1.25 * y[:, None]) ** 2)
    light = np.exp(-((distance / 0.42) ** 2))[..., None]
    near, far = np.array([170, 156, 141]) / 255, np.array([116, 100, 86]) / 255
    dither = np.random.default_rng(0).normal(0, 0.7 / 255, (FRAME_H, FRAME_W, 1))
    return (far + (near - far) * light + dither).astype(np.float32)


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
    return read_rgba(WORK / "still" / "still.png")


@functools.cache
def still_on_wall():
    return over(still(), background())


def take_over(x, y, box, rest_box):
    """The still's part at (x, y) with what `box` changed against `rest_box` (both RGBA renders).

    Where nothing moved, the still; elsewhere the rendered box, its colour shifted by the slow
    difference between the still and the box at rest (the shadow of the hair).
    """
    height, width = box.shape[:2]
    part = (slice(y, y + height), slice(x, x + width))
    still_part, ground = still_on_wall()[part], background()[part]
    box, rest_box = over(box, ground), over(rest_box, ground)
    shift = cv2.GaussianBlur(still_part - rest_box, (0, 0), 8)
    change = cv2.GaussianBlur(np.abs(box - rest_box).max(axis=2), (0, 0), 4) * 255
    moved = np.clip((change - 1) / 4, 0, 1)
    moved = (moved * moved * (3 - 2 * moved))[..., None] * box_fade(height, width)
    return np.clip(still_part + moved * (box + shift - still_part), 0, 1)


def mouth_target(mouth, closed):
    """The mouth box of the finished frame: `mouth` rendered, `closed` the same box at rest."""
    return take_over(BOX_X, BOX_Y, mouth, closed)


def still_with_blink(phase):
    """BGRA still with the lids in one of the rendered phases (0 is open)."""
    picture = still().copy()
    if phase:
        x, y, width, height = EYES_BOX
        boxes = [read_rgba(WORK / "still" / f"blink_{p}.png") for p in (phase, 0)]
        picture[y : y + height, x : x + width, :3] = take_over(x, y, *boxes)
    return picture
