# SPDX-License-Identifier: MPL-2.0
"""The idle loop: frames/0.jpg ..., alpha/0.png ..., background.png and crops.csv, from one still and its blinks.

    PERSON=iris python make_idle.py

The head turns, tilts and sways a little, the shoulders rise and fall with the breath, and the eyes stay on the
viewer (motion.py).  The background is added afterwards and does not move.  Playback runs forward and then
backward, so every motion has zero velocity in the first and the last frame.
"""

import argparse

import cv2
import frames
import numpy as np
import pictures
import walls
from common import AVATAR
from motion import Pose
from people import NAME, PERSON
from tqdm import tqdm

FRAMES = 200  # 8 s forward and 8 s back
LEAST_PSNR = 41.0  # dB around the face
BLINK = (1, 2, 3, 3, 2, 1)  # eyelid phase in successive frames
# Half-cosines 1, 2, 3, ... over the loop, in the units of Pose.
MOTION = {
    "yaw": (0.3, 0.9, -0.5, 0.55, 0.35, -0.2),
    "pitch": (-0.25, 0.3, 0.35, -0.2, 0.25, 0.15),
    "roll": (0.25, -0.45, 0.30, 0.2, -0.15),
    "sway": (1.2, 1.6, -0.8, 0.6),
    "breath": (0, 0, 0, 1.1, 0, 0.2),  # two breaths in 8 s
}
GAZE_PER_DEGREE = 0.32  # pixels that the iris moves per degree of head rotation, so that the gaze stays on the viewer


def pose_at(number):
    phase = np.pi * number / (FRAMES - 1)
    # The signs of the waves differ, so that people do not move alike.
    signs = np.random.default_rng(list(NAME.encode())).choice([-1, 1], (len(MOTION), 6))
    values = {
        name: sum(s * a * np.cos((k + 1) * phase) for k, (a, s) in enumerate(zip(amounts, row)))
        for (name, amounts), row in zip(MOTION.items(), signs)
    }
    glance_x, glance_y = next((x, y) for start, x, y in reversed(PERSON.glances) if number >= start)
    return Pose(
        gaze_x=glance_x - GAZE_PER_DEGREE * values["yaw"], gaze_y=glance_y - GAZE_PER_DEGREE * values["pitch"], **values
    )


def blink_phase(number):
    return next((BLINK[number - start] for start in PERSON.blinks if start <= number < start + len(BLINK)), 0)


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    stills = {phase: frames.premultiplied(pictures.still_with(phase=phase)) for phase in {0, *BLINK}}
    AVATAR.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(AVATAR / "background.png"), frames.levels(walls.wall()))
    writer = frames.Writer(AVATAR, LEAST_PSNR)
    for number in tqdm(range(FRAMES)):
        writer.add(stills[blink_phase(number)], pose_at(number))
    writer.close()


if __name__ == "__main__":
    main()
