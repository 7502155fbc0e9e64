# SPDX-License-Identifier: MPL-2.0
"""Training pictures from filmed footage: a folder in the layout of SyncTalk_2D.

`full_body_img/N.jpg`, `landmarks/N.lms` (N from 0, 25 per second) and `aud.wav`, as `lipsync new`
makes it from a video.  The mouth is already moving, so it is masked in the network's input (HOLE), and the
network learns to fill it in from the mouth states that the kit's encoder and head predict from the audio.
"""

import cv2
import mel
import numpy as np
import torch
import train_encoder
from common import NET_MARGIN, NET_SIDE, read_wav, resample
from tqdm import tqdm

# In the network's 320 x 320 picture, whose top is at the bridge of the nose and whose sides are at the cheeks:
# the box that is generated, and the part of it that is masked in the input (x, y, width, height).
BOX = (32, 32, 256, 256)
HOLE = (60, 92, 200, 172)
SOFT = 6.0  # width of the soft edge of the mask, in pixels
HELD_SHARE = 0.08  # share of the video, at its end, that is held out to measure progress
MOST_FRAMES = 7500  # frames kept in memory: five minutes


def hole():
    """The input mask: 1 where the picture is hidden, [BOX height, BOX width]."""
    mask = np.zeros((NET_SIDE, NET_SIDE), np.float32)
    x, y, width, height = HOLE
    mask[y : y + height, x : x + width] = 1
    mask = cv2.GaussianBlur(mask, (0, 0), SOFT)
    left, top, width, height = BOX
    return mask[top : top + height, left : left + width]


def face_rectangle(landmarks):
    """(x, y, side) of the face square from a file of 110 landmarks, as SyncTalk_2D crops it."""
    points = np.array([line.split() for line in landmarks.read_text().splitlines()], float)
    left, right, top = int(points[1, 0]), int(points[31, 0]), int(points[52, 1])
    return left, top, right - left


def network_picture(frame, rectangle):
    """The face as the network gets it, 320 x 320."""
    x, y, side = rectangle
    crop = frame[y : y + side, x : x + side]
    whole = NET_SIDE + 2 * NET_MARGIN
    crop = cv2.resize(crop, (whole, whole), interpolation=cv2.INTER_CUBIC)
    return crop[NET_MARGIN:-NET_MARGIN, NET_MARGIN:-NET_MARGIN]


class Footage:
    box = BOX
    mouth_region = (48, 208, 48, 208)

    def __init__(self, folder):
        self.hole = hole()
        self.checkpoint = folder / "painter.pt"
        audio, rate = read_wav(folder / "aud.wav")
        audio = resample(audio, rate, mel.SAMPLE_RATE)
        with torch.no_grad():
            states = train_encoder.hear(train_encoder.load(), audio)
        pictures = sorted((folder / "full_body_img").glob("*.jpg"), key=lambda path: int(path.stem))
        count = min(len(pictures), len(states), MOST_FRAMES)
        if count < 250:
            raise SystemExit(f"{folder}: {count} frames with sound; at least 250 (10 s) are needed, 3 minutes are good")
        left, top, width, height = BOX
        boxes = []
        for path in tqdm(pictures[:count], desc="reading faces"):
            rectangle = face_rectangle(folder / "landmarks" / f"{path.stem}.lms")
            boxes.append(network_picture(cv2.imread(str(path)), rectangle)[top : top + height, left : left + width])
        self.boxes, self.states = np.stack(boxes), states[:count]
        self.learn = count - max(25, int(count * HELD_SHARE))

    def __str__(self):
        return f"{self.learn} frames to learn, {len(self.boxes) - self.learn} held out"

    def change(self):
        return self.boxes[: self.learn : 5].astype(np.float32).std(axis=0).mean(axis=2)

    def batch(self, rng, size):
        chosen = rng.integers(self.learn, size=size)
        boxes = [self._brighter(rng, self.boxes[n]) for n in chosen]
        return boxes, self.states[chosen], boxes

    @staticmethod
    def _brighter(rng, box):
        """Randomizes the brightness a little, as cameras and clouds do: the output must match the surroundings."""
        gain, lift = 1 + rng.normal(0, 0.02), rng.normal(0, 1.5)
        return np.clip(box * gain + lift, 0, 255).astype(np.uint8)

    def held_batches(self):
        for start in range(self.learn, len(self.boxes), 8):
            boxes = self.boxes[start : start + 8]
            yield boxes, self.states[start : start + 8], boxes
