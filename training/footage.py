# SPDX-License-Identifier: MPL-2.0
"""Training pictures from filmed footage: a folder in the layout of SyncTalk_2D.

`full_body_img/N.jpg`, `landmarks/N.lms` (N from 0, 25 a second) and `aud.wav`, as `lipsync-avatar new`
makes it from a video.  The face speaks already, so the network is not shown its mouth (HOLE), and learns
to paint what the sound says there.  What the sound says is heard by the kit's own encoder and head.
"""

import cv2
import mel
import numpy as np
import torch
import train_encoder
from common import NET_MARGIN, NET_SIDE, read_wav, resample
from tqdm import tqdm

# In the network's picture of 320 x 320, whose top is the bridge of the nose and whose sides are the cheeks:
# what is painted, and what of it is hidden from the network (x, y, width, height).
BOX = (32, 32, 256, 256)
HOLE = (60, 92, 200, 172)
SOFT = 6.0  # pixels over which the hole begins
HELD_SHARE = 0.08  # of the film, at its end, is kept for judging progress
MOST_FRAMES = 7500  # in memory: five minutes


def hole():
    """1 where the picture is hidden, [BOX height, BOX width]."""
    mask = np.zeros((NET_SIDE, NET_SIDE), np.float32)
    x, y, width, height = HOLE
    mask[y : y + height, x : x + width] = 1
    mask = cv2.GaussianBlur(mask, (0, 0), SOFT)
    left, top, width, height = BOX
    return mask[top : top + height, left : left + width]


def face_rectangle(landmarks):
    """(x, y, side) of the face from a file of 110 points, as SyncTalk_2D cuts it."""
    points = np.array([line.split() for line in landmarks.read_text().splitlines()], float)
    left, right, top = int(points[1, 0]), int(points[31, 0]), int(points[52, 1])
    return left, top, right - left


def network_picture(frame, rectangle):
    """The face as the network sees it, 320 x 320."""
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
        """Cameras and clouds change the light a little: paint what the surroundings say."""
        gain, lift = 1 + rng.normal(0, 0.02), rng.normal(0, 1.5)
        return np.clip(box * gain + lift, 0, 255).astype(np.uint8)

    def held_batches(self):
        for start in range(self.learn, len(self.boxes), 8):
            boxes = self.boxes[start : start + 8]
            yield boxes, self.states[start : start + 8], boxes
