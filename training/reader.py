# SPDX-License-Identifier: MPL-2.0
"""A small network that detects lip landmarks in pictures of one person, and whether the lips are rolled in or rounded.

It is trained on the rendered states (`learn`), for which the mesh gives the landmarks, and tested on the held-out
ground truth; its own error there is printed with everything that is measured with it.

    PERSON=iris python reader.py        # OWN/reader.pt, about five minutes
"""

import argparse
from typing import NamedTuple

import cv2
import landmarks
import mouth
import numpy as np
import renders
import torch
import trainer
from common import BOX_X, BOX_Y, OWN, WORK
from torch import nn

CHECKPOINT = OWN / "reader.pt"
BATCH = 12
SHAPE_WEIGHT = 2.0  # of what the lips do, beside the landmarks' pixels


class Detected(NamedTuple):
    points: np.ndarray  # landmarks [N, COUNT, 2], in pixels of the mouth box
    roll: np.ndarray  # [N], how far the lower lip is rolled in: mouth.ROLL
    rounding: np.ndarray  # [N], how round the lips are: the sum of mouth.ROUNDING


def shape(states):
    """Roll and rounding of mouth states [..., N_UNITS], as [..., 2]."""
    return np.stack([states[..., mouth.ROLL], states[..., mouth.ROUNDING].sum(-1)], -1).astype(np.float32)


class Reader(nn.Module):
    """Mouth box [N, 3, 192, 256] in [0, 1] -> landmarks [N, COUNT, 2] in pixels, and roll and rounding [N, 2]."""

    def __init__(self):
        super().__init__()
        sizes = (12, 32, 48, 64, 96)
        layers = [nn.PixelUnshuffle(2)]
        for a, b in zip(sizes, sizes[1:]):
            layers += [nn.Conv2d(a, b, 3, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(96 * 6 * 8, 128), nn.ReLU(), nn.Linear(128, landmarks.COUNT * 2 + 2))
        self.register_buffer("mean", torch.zeros(landmarks.COUNT, 2))

    def forward(self, box):
        found = self.body(box - 0.5)
        return found[:, :-2].view(-1, landmarks.COUNT, 2) * 4 + self.mean, found[:, -2:]


def in_box(state):
    """Landmarks of a state in pixels of the mouth box, with the head at rest."""
    return (landmarks.positions(state) - [BOX_X, BOX_Y]).astype(np.float32)


def moved(points, mover, amounts):
    """Maps points of the box at rest to the box of a moved head."""
    margin = renders.MARGIN
    at = (points + margin).astype(np.float32)
    shift = sum(a * f for a, f in zip(amounts, mover.fields))
    there = cv2.remap(shift, at[:, 0], at[:, 1], cv2.INTER_LINEAR)[:, 0]
    crop = np.round(sum(a * m for a, m in zip(amounts, mover.middle)))
    return points + there - crop


def load():
    reader = Reader()
    reader.load_state_dict(torch.load(CHECKPOINT, map_location="cpu")["average"])
    return reader.eval()


@torch.no_grad()
def read(reader, boxes):
    """What is Detected in mouth boxes (uint8 BGR)."""
    planes = torch.from_numpy(np.stack(boxes)).permute(0, 3, 1, 2).float() / 255
    points, shapes = (torch.cat(parts).numpy() for parts in zip(*map(reader, planes.split(32))))
    return Detected(points, *shapes.T)


def opening(points):
    """Distance between the lips at the middle, in pixels."""
    return points[:, landmarks.MIDDLE_LOWER, 1] - points[:, landmarks.MIDDLE_UPPER, 1]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    trainer.add_arguments(parser, steps=4000, rate=2e-3)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    poses = np.load(WORK / "poses.npz")
    data = renders.Renders()
    known = data.examples + data.held
    truth = [(poses["truth"][n], box) for n, box in renders.rendered("truth").items()]
    mean = np.mean([in_box(state) for state, _ in known], axis=0)
    reader = Reader().to(trainer.DEVICE)
    reader.mean.copy_(torch.from_numpy(mean))

    def loss(step):
        rng = np.random.default_rng([13, step])
        pictures, wanted, shapes = [], [], []
        for _ in range(BATCH):
            state, box = known[rng.integers(len(known))]
            target = data.rest.copy()
            target[renders.MARGIN : -renders.MARGIN, renders.MARGIN : -renders.MARGIN] = box
            amounts = data.mover.random(rng)
            picture = data.mover.move(target, data.mover.maps(*amounts))
            if rng.random() < 0.5:  # generated mouths are softer than rendered ones
                picture = cv2.GaussianBlur(picture, (0, 0), rng.uniform(0.3, 1.0))
            picture = picture * rng.normal(1, 0.03) + rng.normal(0, 2, picture.shape)
            pictures.append(np.clip(picture, 0, 255).astype(np.uint8))
            wanted.append(moved(in_box(state), data.mover, amounts))
            shapes.append(shape(state))
        planes = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float().to(trainer.DEVICE) / 255
        with trainer.half_precision():
            found = reader(planes)
        off = [
            (side.float() - torch.tensor(np.stack(right), dtype=torch.float32, device=trainer.DEVICE)).abs().mean()
            for side, right in zip(found, (wanted, shapes))
        ]
        return off[0] + SHAPE_WEIGHT * off[1]

    def judge(weights):
        if not truth:
            return "no truth rendered yet"
        copy = Reader()
        copy.load_state_dict({k: v.cpu() for k, v in weights.items()})
        detected = read(copy.eval(), [box for _, box in truth])
        states = np.stack([state for state, _ in truth])
        wanted = np.stack([in_box(state) for state in states])
        apart = np.linalg.norm(detected.points - wanted, axis=2).mean()
        wide = np.abs(opening(detected.points) - opening(wanted)).mean()
        roll, rounding = np.abs(np.stack([detected.roll, detected.rounding], 1) - shape(states)).mean(0)
        return f"truth: landmarks {apart:.2f} px off, opening {wide:.2f} px, roll {roll:.2f}, rounding {rounding:.2f}"

    trainer.train(reader, CHECKPOINT, arguments, loss, judge, judge_every=500)


if __name__ == "__main__":
    main()
