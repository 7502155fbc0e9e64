# SPDX-License-Identifier: MPL-2.0
"""Training pictures from renders: the mouth box of the still, warped like in the idle motion."""

import cv2
import motion
import numpy as np
import pictures
from common import BOX_H, BOX_W, BOX_X, BOX_Y, FACE_X, FACE_Y, NET_BOX_X, NET_BOX_Y, OWN, WORK

MARGIN = 12  # pixels around the box, so that warping it never samples outside
REST_SHARE = 0.1  # share of the examples: a mouth at rest is the most common, and must leave the frame unchanged
HELD_EVERY = 20  # of the training states, after the basic shapes, one in so many is held out to measure progress
BASIC = 20
BOX = (BOX_X - MARGIN, BOX_Y - MARGIN, BOX_W + 2 * MARGIN, BOX_H + 2 * MARGIN)


def rendered(kind):
    """{number: composited box uint8 BGR} of all `learn` or `truth` states rendered so far."""
    found = {}
    for path in sorted((OWN / kind).glob("[0-9]*.png")):
        box = pictures.mouth_target(path)
        found[int(path.stem)] = np.round(box * 255).astype(np.uint8)
    return found


class Mover:
    """Warps the mouth box (with its margin) to a head pose, in the face crop that follows the head.

    For such small angles the displacement of a pixel is a linear combination of one field per angle.
    """

    def __init__(self):
        scene = motion.scene()
        left, top, width, height = BOX
        x, y = np.meshgrid(np.arange(width) + left, np.arange(height) + top)
        grid = ((x + 0.5) / motion.GRID - 0.5).astype(np.float32), ((y + 0.5) / motion.GRID - 0.5).astype(np.float32)
        self.fields, self.middle = [], []
        for pose in (motion.Pose(yaw=1), motion.Pose(pitch=1), motion.Pose(roll=1), motion.Pose(sway=1)):
            self.fields.append(cv2.remap(scene.shift(pose), *grid, cv2.INTER_LINEAR))
            self.middle.append(scene.shift_at(pose, FACE_X, FACE_Y))
        self.x, self.y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))

    @staticmethod
    def random(rng):
        """Yaw, pitch, roll and sway, with a somewhat larger range than in the idle motion."""
        return rng.normal(0, 1.5), rng.normal(0, 1.0), rng.normal(0, 0.8), rng.uniform(-4, 4)

    def maps(self, yaw, pitch, roll, sway):
        amounts = (yaw, pitch, roll, sway)
        shift = sum(amount * field for amount, field in zip(amounts, self.fields))
        crop = np.round(sum(amount * middle for amount, middle in zip(amounts, self.middle)))
        return (self.x + crop[0] - shift[..., 0]).astype(np.float32), (self.y + crop[1] - shift[..., 1]).astype(np.float32)

    @staticmethod
    def move(picture, maps):
        moved = cv2.remap(picture, *maps, cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE)
        return moved[MARGIN:-MARGIN, MARGIN:-MARGIN]


class Renders:
    box = (NET_BOX_X, NET_BOX_Y, BOX_W, BOX_H)
    mouth_region = (48, 160, 64, 192)
    hole = None  # the still's mouth is closed, so no mask is needed
    checkpoint = OWN / "painter.pt"

    def __init__(self):
        states = np.load(WORK / "poses.npz")["learn"]
        every = [(states[n], box) for n, box in rendered("learn").items()]
        held = [n >= BASIC and n % HELD_EVERY == 5 for n in range(len(every))]
        self.held = [e for e, h in zip(every, held) if h]
        self.examples = [e for e, h in zip(every, held) if not h]
        frame = np.round(pictures.still_on_wall() * 255).astype(np.uint8)
        left, top, width, height = BOX
        self.rest = frame[top : top + height, left : left + width]
        self.mover = Mover()

    def __str__(self):
        return f"{len(self.examples)} mouths to learn, {len(self.held)} held out"

    def inner(self):
        return self.rest[MARGIN:-MARGIN, MARGIN:-MARGIN]

    def change(self):
        ground = self.inner().astype(np.float32)
        return np.mean([np.abs(box - ground).mean(2) for _, box in self.examples], axis=0)

    def batch(self, rng, size):
        references, states, wanted = [], [], []
        for _ in range(size):
            number = 0 if rng.random() < REST_SHARE else rng.integers(len(self.examples))  # the first is at rest
            state, box = self.examples[number]
            target = self.rest.copy()
            target[MARGIN:-MARGIN, MARGIN:-MARGIN] = box
            maps = self.mover.maps(*self.mover.random(rng))
            quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(86, 97))]  # the frames are JPEG files, of another make
            reference = cv2.imencode(".jpg", self.mover.move(self.rest, maps), quality)[1]
            references.append(cv2.imdecode(reference, cv2.IMREAD_COLOR))
            wanted.append(self.mover.move(target, maps))
            states.append(state)
        return references, states, wanted

    def held_batches(self):
        for start in range(0, len(self.held), 8):
            states, boxes = zip(*self.held[start : start + 8])
            yield [self.inner()] * len(boxes), states, boxes
