# SPDX-License-Identifier: MPL-2.0
"""The idle loop: frames/0.jpg ..., alpha/0.png ..., background.png and crops.csv, from one still and its blinks.

    PERSON=iris python make_idle.py

The head turns, tilts and sways a little, the shoulders rise and fall with the breath, and the eyes stay on the
viewer (motion.py).  The background is added afterwards and does not move.  Playback runs forward and then
backward, so every motion has zero velocity in the first and the last frame.
"""

import argparse
import shutil

import cv2
import motion
import numpy as np
import pictures
import walls
from common import AVATAR, CROP_SIDE, CROP_X, CROP_Y, FACE_X, FACE_Y
from motion import Pose
from people import NAME
from tqdm import tqdm

FRAMES = 200  # 8 s forward and 8 s back
BLINKS = (31, 92, 158)  # first frames
BLINK = (1, 2, 3, 3, 2, 1)  # eyelid phase in successive frames
# Half-cosines 1, 2, 3, ... over the loop, in the units of Pose.
MOTION = {
    "yaw": (0.3, 0.9, -0.5, 0.55, 0.35, -0.2),
    "pitch": (-0.25, 0.3, 0.35, -0.2, 0.25, 0.15),
    "roll": (0.25, -0.45, 0.30, 0.2, -0.15),
    "sway": (1.2, 1.6, -0.8, 0.6),
    "breath": (0, 0, 0, 1.1, 0, 0.2),  # two breaths in 8 s
}
# The gaze jumps between nearby targets: (first frame, x, y) in pixels.
GLANCES = ((0, 0.0, 0.0), (48, 0.9, -0.2), (70, 0.0, 0.0), (118, -0.8, 0.3), (140, 0.1, 0.0))
GAZE_PER_DEGREE = 0.32  # pixels that the iris moves per degree of head rotation, so that the gaze stays on the viewer
EYE_REACH = (13.0, 8.0)  # pixels around an iris that follow it
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
JPEG += [cv2.IMWRITE_JPEG_OPTIMIZE, 1]


def pose_at(number):
    phase = np.pi * number / (FRAMES - 1)
    # The signs of the waves differ, so that people do not move alike.
    signs = np.random.default_rng(list(NAME.encode())).choice([-1, 1], (len(MOTION), 6))
    values = {
        name: sum(s * a * np.cos((k + 1) * phase) for k, (a, s) in enumerate(zip(amounts, row)))
        for (name, amounts), row in zip(MOTION.items(), signs)
    }
    glance_x, glance_y = next((x, y) for start, x, y in reversed(GLANCES) if number >= start)
    return Pose(
        gaze_x=glance_x - GAZE_PER_DEGREE * values["yaw"], gaze_y=glance_y - GAZE_PER_DEGREE * values["pitch"], **values
    )


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


def blink_phase(number):
    return next((BLINK[number - start] for start in BLINKS if start <= number < start + len(BLINK)), 0)


def crop_at(pose):
    shift = motion.scene().shift_at(pose, FACE_X, FACE_Y)
    return round(CROP_X + float(shift[0])), round(CROP_Y + float(shift[1])), CROP_SIDE, CROP_SIDE


def premultiplied(picture):
    return np.concatenate([picture[..., :3] * picture[..., 3:], picture[..., 3:]], axis=2)


def levels(picture):
    return np.clip(np.round(picture * 255), 0, 255).astype(np.uint8)


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    eyes = pictures.eyes()
    stills = {phase: premultiplied(pictures.still_with_blink(phase)) for phase in {0, *BLINK}}
    for folder in ("frames", "alpha"):
        shutil.rmtree(AVATAR / folder, ignore_errors=True)
        (AVATAR / folder).mkdir(parents=True)
    cv2.imwrite(str(AVATAR / "background.png"), levels(walls.wall()))
    rows = ["frame,x,y,width,height"]
    for number in tqdm(range(FRAMES)):
        pose = pose_at(number)
        moved = np.clip(move(stills[blink_phase(number)], pose, eyes), 0, 1)
        frame = moved[..., :3] + walls.wall() * (1 - moved[..., 3:])
        cv2.imwrite(str(AVATAR / "frames" / f"{number}.jpg"), levels(frame), JPEG)
        cv2.imwrite(str(AVATAR / "alpha" / f"{number}.png"), levels(moved[..., 3]), [cv2.IMWRITE_PNG_COMPRESSION, 9])
        rows.append(",".join(str(v) for v in (number, *crop_at(pose))))
    (AVATAR / "crops.csv").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
