"""Train the painter: closed-mouth box + mouth state -> box with that mouth.

    python train_painter.py --minutes 30

Learns from WORK/mouths/<number>.png and poses.npy, whatever has been rendered so far.
Checkpoint: WORK/painter.pt (also an average of the weights, which is what gets exported).
"""

import argparse
import copy
import math
import os
import time

import cv2
import numpy as np
import pictures
import torch
from common import BOX_H, BOX_W, BOX_X, BOX_Y, WORK
from nets import Painter
from torch import nn
from tqdm import tqdm

CHECKPOINT = WORK / "painter.pt"
BATCH = 4
HELD_EVERY = 10  # every tenth state after the basic shapes is kept for judging
BASIC = 20
MARGIN = 12  # pixels round the box, so that warping it never needs what lies outside


def rendered():
    """[(number, mouth state, finished box uint8 BGR)] of everything rendered so far."""
    poses = np.load(WORK / "mouths" / "poses.npy")
    closed = pictures.read_rgba(WORK / "mouths" / "0000.png")
    found = []
    for number, pose in enumerate(poses):
        path = WORK / "mouths" / f"{number:04}.png"
        if path.exists():
            box = pictures.mouth_target(pictures.read_rgba(path), closed)
            found.append((number, pose, np.round(box * 255).astype(np.uint8)))
    return found


def is_held(number):
    return number >= BASIC and number % HELD_EVERY == 5


def surround():
    """The still, uint8, cut to the box and its margin."""
    frame = np.round(pictures.still_on_wall() * 255).astype(np.uint8)
    return frame[BOX_Y - MARGIN : BOX_Y + BOX_H + MARGIN, BOX_X - MARGIN : BOX_X + BOX_W + MARGIN]


def random_motion(rng):
    """A small rotation, scale and shift about the middle of the box, as the idle motion makes."""
    centre = (BOX_W / 2 + MARGIN, BOX_H / 2 + MARGIN)
    matrix = cv2.getRotationMatrix2D(centre, rng.normal(0, 0.6), 1 + rng.normal(0, 0.006))
    matrix[:, 2] += rng.uniform(-1.6, 1.6, 2)
    return matrix


def move(picture, matrix):
    size = (BOX_W + 2 * MARGIN, BOX_H + 2 * MARGIN)
    moved = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return moved[MARGIN:-MARGIN, MARGIN:-MARGIN]


def batch(rng, examples, rest, size):
    references, states, wanted = [], [], []
    for _ in range(size):
        _, state, box = examples[rng.integers(len(examples))]
        target = rest.copy()
        target[MARGIN:-MARGIN, MARGIN:-MARGIN] = box
        matrix = random_motion(rng)
        reference, target = move(rest, matrix), move(target, matrix)
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(86, 97))]  # the frames are JPEG files
        reference = cv2.imdecode(cv2.imencode(".jpg", reference, quality)[1], cv2.IMREAD_COLOR)
        references.append(reference)
        wanted.append(target)
        states.append(state)

    def tensor(pictures_):
        return torch.from_numpy(np.stack(pictures_)).permute(0, 3, 1, 2).float() / 255

    return tensor(references), torch.tensor(np.stack(states)), tensor(wanted)


def importance(examples, rest):
    """[1, 1, H, W]: 1 where nothing ever moves, up to 6 at the lips."""
    ground = rest[MARGIN:-MARGIN, MARGIN:-MARGIN].astype(np.float32)
    change = np.mean([np.abs(box - ground).mean(2) for _, _, box in examples], axis=0)
    change = cv2.GaussianBlur(change, (0, 0), 3)
    return torch.tensor(1 + 5 * np.clip(change / np.percentile(change, 97), 0, 1)).float()[None, None]


def loss_of(painted, wanted, weight):
    """Weighted L1 at three scales, plus L1 on gradients, which keeps lip and teeth edges sharp."""
    error = (painted - wanted) * weight
    loss = error.abs().mean()
    for scale in (2, 4):
        loss = loss + 0.5 * nn.functional.avg_pool2d(error, scale).abs().mean()
    for dy, dx in ((1, 0), (0, 1)):
        gradient = error[:, :, dy:, dx:] - error[:, :, : error.shape[2] - dy, : error.shape[3] - dx]
        loss = loss + gradient.abs().mean()
    return loss


@torch.no_grad()
def held_psnr(painter, held, rest):
    """PSNR on states never trained on, over the inner half of the box (the mouth), no motion."""
    if not held:
        return float("nan")
    painter.eval()
    reference = torch.from_numpy(rest[MARGIN:-MARGIN, MARGIN:-MARGIN].copy()).permute(2, 0, 1)[None].float() / 255
    inner = (slice(None), slice(None), slice(48, 160), slice(64, 192))
    errors = []
    for _, state, box in held:
        painted = painter(reference, torch.tensor(state)[None])
        wanted = torch.from_numpy(box).permute(2, 0, 1)[None].float() / 255
        errors.append(float(((painted - wanted)[inner] ** 2).mean()))
    return float(np.mean(-10 * np.log10(errors)))


def save(painter, average, optimizer, step):
    part = CHECKPOINT.with_suffix(".part")
    state = {"model": painter.state_dict(), "average": average.state_dict()}
    torch.save({**state, "optimizer": optimizer.state_dict(), "step": step}, part)
    os.replace(part, CHECKPOINT)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop (and anneal) by then, whatever the steps")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--restart", action="store_true", help="go on from the weights with a fresh schedule")
    arguments = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(arguments.threads)
    rest = surround()
    examples = rendered()
    held = [e for e in examples if is_held(e[0])]
    examples = [e for e in examples if not is_held(e[0])]
    weight = importance(examples, rest)
    print(f"{len(examples)} states to learn, {len(held)} held out")

    painter = Painter().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(painter.parameters(), lr=arguments.rate, weight_decay=1e-4)
    start = 0
    average = copy.deepcopy(painter)
    if CHECKPOINT.exists():
        saved = torch.load(CHECKPOINT)
        painter.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
        if not arguments.restart:
            optimizer.load_state_dict(saved["optimizer"])
            start = saved["step"]
    begun, smooth = time.time(), None
    bar = tqdm(range(start, arguments.steps), initial=start, total=arguments.steps, mininterval=10)
    for step in bar:
        progress = max(step / arguments.steps, (time.time() - begun) / 60 / arguments.minutes)
        if progress >= 1:
            break
        rate = arguments.rate * min(1, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in optimizer.param_groups:
            group["lr"] = rate
        references, states, wanted = batch(np.random.default_rng([11, step]), examples, rest, BATCH)
        painted = painter(references.to(memory_format=torch.channels_last), states)
        loss = loss_of(painted, wanted, weight)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(painter.parameters(), 1.0)
        optimizer.step()
        keep = min(0.995, 1 - 1 / (step - start + 2))
        with torch.no_grad():
            for mean, value in zip(average.parameters(), painter.parameters()):
                mean.lerp_(value, 1 - keep)
        smooth = loss.item() if smooth is None else 0.98 * smooth + 0.02 * loss.item()
        bar.set_postfix(loss=f"{smooth:.4f}", rate=f"{rate:.1e}")
        if step % 200 == 199:
            save(painter, average, optimizer, step + 1)
            bar.write(f"step {step + 1}: held-out mouths {held_psnr(average, held, rest):.2f} dB")
            painter.train()
    save(painter, average, optimizer, arguments.steps)
    print(f"held-out mouths {held_psnr(average, held, rest):.2f} dB")


if __name__ == "__main__":
    main()
