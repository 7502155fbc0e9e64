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
from expressions import EXPRESSIONS, FACE_BOX


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
def hair():
    """How much of each pixel of the still is hair, which boxes lack; a little more at its edges."""
    matte = read_rgba(OWN / "still" / "hair.png")[..., 3]
    return np.clip(cv2.GaussianBlur(cv2.dilate(matte, np.ones((3, 3), np.uint8)), (0, 0), 1.0) * 1.2, 0, 1)


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


def lack(difference, hair):
    """The shadow of the hair, which a box without hair lacks, from its difference to the still."""
    skin = (1 - hair)[..., None] + 1e-3
    return cv2.GaussianBlur(difference * skin, (0, 0), 8) / cv2.GaussianBlur(skin, (0, 0), 8)[..., None]


def take_over(x, y, box, rest_box, onto=None):
    """The still at (x, y) with the changes of `box` relative to `rest_box` (both RGBA renders).

    Where nothing moved, and where hair hangs, the still; elsewhere the rendered box, colour-corrected by the
    low-frequency difference between the still and the box at rest (the shadow of the hair, which boxes lack).
    `onto`: that part of the still with changes of its own, which stay where the box does not move.
    """
    height, width = box.shape[:2]
    still_part = still_on_wall()[y : y + height, x : x + width]
    onto = still_part if onto is None else onto
    ground = behind(still_part, rest_box[..., 3])
    box, rest_box = over(box, ground), over(rest_box, ground)
    hair_part = hair()[y : y + height, x : x + width]
    shift = lack(still_part - rest_box, hair_part)
    change = cv2.GaussianBlur(np.abs(box - rest_box).max(axis=2), (0, 0), 4) * 255
    moved = (motion.smoothstep(1, 5, change) * (1 - hair_part))[..., None] * box_fade(height, width)
    return np.clip(onto + moved * (box + shift - onto), 0, 1)


@functools.cache
def closed_mouth():
    return read_rgba(OWN / "still" / "closed.png")


def mouth_target(path):
    """The mouth box of the finished frame, from a rendered mouth."""
    return take_over(BOX_X, BOX_Y, read_rgba(path), closed_mouth())


def put(picture, x, y, box):
    """Puts the colours of a box into a still (BGRA), but for the edges: the box includes the background."""
    height, width = box.shape[:2]
    part = picture[y : y + height, x : x + width]
    part[..., :3] = np.where(part[..., 3:] > 0.99, box, part[..., :3])


def still_with_mouth(still_, path):
    """A still (BGRA) with a rendered mouth."""
    picture = still_.copy()
    put(picture, BOX_X, BOX_Y, mouth_target(path))
    return picture


@functools.cache
def flow(name):
    """How far what each pixel of the resting face shows has moved in the expression, in pixels, and the reverse."""
    names = ("rest", name)
    boxes = [read_rgba(OWN / "expressions" / f"{n}.png")[: EXPRESSIONS[name].height] for n in names]
    grey = [np.round(cv2.cvtColor(over(box, 0.5), cv2.COLOR_BGR2GRAY) * 255).astype(np.uint8) for box in boxes]
    finder = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    finder.setFinestScale(0)
    return finder.calc(*grey, None), finder.calc(*grey[::-1], None)


@functools.cache
def full(name):
    """The still's face box in the expression."""
    boxes = [read_rgba(OWN / "expressions" / f"{n}.png")[: EXPRESSIONS[name].height] for n in (name, "rest")]
    return take_over(*FACE_BOX[:2], *boxes)


def between(name, strength):
    """The still's face box on the way to the expression.

    Shapes of the mesh move points in straight lines, so both ends are warped to where the points are by then, and blended.
    """
    x, y, width, _ = FACE_BOX
    part = still_on_wall()[y : y + EXPRESSIONS[name].height, x : x + width]
    at = np.stack(np.meshgrid(np.arange(width), np.arange(len(part))), -1).astype(np.float32)
    ends = []
    for picture, way, amount in zip((part, full(name)), flow(name), (strength, 1 - strength)):
        shift = way * amount
        for _ in range(3):  # the shift is known at the source, as in motion.Scene.sources
            shift = cv2.remap(way, *cv2.split(at - shift), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) * amount
        ends.append(cv2.remap(picture, *cv2.split(at - shift), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE))
    return ends[0] + strength * (ends[1] - ends[0])


def still_with(expression=None, strength=0.0, phase=0):
    """BGRA still with an expression of that strength (0 to 1), and the eyelids in one of the rendered phases (0 is open)."""
    picture = still().copy()
    if expression and strength > 0:
        put(picture, *FACE_BOX[:2], np.clip(between(expression, strength), 0, 1))
    if phase:
        x, y, width, height = EYES_BOX
        boxes = [read_rgba(OWN / "still" / f"blink_{p}.png") for p in (phase, 0)]
        part = picture[y : y + height, x : x + width, :3]
        part[:] = take_over(x, y, *boxes, onto=part)
    return picture


def eyes():
    """Centres of the two irises in the still, in pixels."""
    return motion.scene().project(np.load(OWN / "still" / "depth.npz")["eyes"])
