# SPDX-License-Identifier: MPL-2.0
"""Fit the rendered still to the frames in models/PERSON: OWN/still/still.png, so that new clips have their grain.

    PERSON=theo python match_still.py

A still that is rendered again has another render noise than the frames, if they were rendered with another version of
Blender or otherwise than by this kit, and the picture would change where a clip joins the idle loop.  Here the
frames are warped back and averaged: what they show beyond the still is added to it, some times over, because each
warp blurs a little.  The still as it was rendered is kept as rendered.png.  After `make idle` this changes nothing.
"""

import argparse
import shutil

import cv2
import frames
import motion
import numpy as np
import pictures
import walls
from common import AVATAR, FRAME_H, FRAME_W, GRID, OWN
from make_idle import BLINK, FRAMES, pose_at
from people import PERSON
from tqdm import tqdm

ROUNDS = 3
USED = [n for n in range(0, FRAMES, 4) if not any(b <= n < b + len(BLINK) for b in PERSON.blinks)]


def stored(number):
    """A frame of the avatar without its background: premultiplied BGRA."""
    colour, mask = (
        cv2.imread(str(AVATAR / name), how).astype(np.float32) / 255
        for name, how in ((f"frames/{number}.jpg", cv2.IMREAD_COLOR), (f"alpha/{number}.png", cv2.IMREAD_GRAYSCALE))
    )
    mask = mask[..., None]
    return np.concatenate([colour - walls.wall() * (1 - mask), mask], axis=2)


def destinations(pose, eyes):
    """For every pixel of the still, its position in the moved picture (two maps for cv2.remap)."""
    x, y = np.meshgrid(np.arange(FRAME_W, dtype=np.float32), np.arange(FRAME_H, dtype=np.float32))
    grid = (x + 0.5) / GRID - 0.5, (y + 0.5) / GRID - 0.5
    shift = cv2.remap(motion.scene().shift(pose), *grid, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    gaze_x, gaze_y = frames.gaze_field(pose, eyes, x, y)
    return (x + shift[..., 0] + gaze_x).astype(np.float32), (y + shift[..., 1] + gaze_y).astype(np.float32)


def difference(picture, number, eyes):
    """What the stored frame shows beyond the warped picture."""
    return stored(number) - np.clip(frames.move(picture, pose_at(number), eyes), 0, 1)


def report(picture, eyes):
    found = difference(picture, 0, eyes) * 255
    (x, y, width, height), colour = frames.crop_at(pose_at(0)), np.abs(found[..., :3])
    face = colour[y : y + height, x : x + width]
    return (
        f"mean difference from frame 0: {colour.mean():.2f} levels, {face.mean():.2f} around the face; "
        f"largest {colour.max():.0f}, of the mask {np.abs(found[..., 3]).max():.0f}"
    )


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    path, rendered = OWN / "still" / "still.png", OWN / "still" / "rendered.png"
    if not rendered.exists():
        shutil.copy(path, rendered)
    picture, eyes = frames.premultiplied(pictures.read_rgba(rendered)), pictures.eyes()
    print(report(picture, eyes))
    for _ in range(ROUNDS):
        beyond = np.zeros_like(picture)
        for number in tqdm(USED, leave=False):
            maps = destinations(pose_at(number), eyes)
            beyond += cv2.remap(difference(picture, number, eyes), *maps, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        picture = np.clip(picture + beyond / len(USED), 0, 1)
        print(report(picture, eyes), flush=True)
    mask = picture[..., 3:]
    colours = np.where(mask > 1 / 512, picture[..., :3] / np.maximum(mask, 1 / 512), 0)
    still = np.concatenate([np.clip(colours, 0, 1), mask], axis=2)
    cv2.imwrite(str(path), np.round(still * 65535).astype(np.uint16))


if __name__ == "__main__":
    main()
