# SPDX-License-Identifier: MPL-2.0
"""How well a painter paints the held-out stretches of a film, in numbers and in a picture; train_film.py calls it.

Lips in painted frames are measured in the picture: a regression from small pictures of the mouth to the landmarks'
distance of the lips, fitted to the film's own frames.  How well it measures is judged on the film's held-out frames.
"""

import cv2
import film_painter
import film_sheet
import footage
import mel
import numpy as np
import torch
from scipy.stats import spearmanr

BLUR = 2.0  # pixels: a step that is seen is wider than the noise
BORDER = 14  # pixels along the border of the box in which a step would be
SHUT, NEARLY = 2.0, 3.5  # pixels by which lips are apart at most that are shut in the film; and painted
ROWS, COLUMNS = 24, 32  # of the small pictures
PATTERNS = 40  # principal components of them


class Lips:
    """Measures how far lips are apart in boxes of one film, in pixels of the network's picture."""

    def __init__(self, film, most=1200):
        self.film = film
        points = film.points[:, footage.OUTER_LIPS]
        left, top = film.box[:2]
        middle = np.median(points.mean(1), axis=0) - [left, top]
        reach = 0.75 * np.percentile(np.ptp(points[..., 0], axis=1), 95)
        x, y = middle - reach * np.array([1, 0.6])
        self.part = (slice(max(0, int(y)), int(y + 1.5 * reach)), slice(max(0, int(x)), int(x + 2 * reach)))
        chosen = np.flatnonzero(film.learn)
        chosen = chosen[:: max(1, len(chosen) // most)]
        pictures = self._small([film.wanted(at) for at in chosen])
        self.mean = pictures.mean(0)
        patterns = np.linalg.svd(pictures - self.mean, full_matrices=False)
        self.patterns = patterns[2][:PATTERNS].T / (patterns[1][:PATTERNS] / np.sqrt(len(pictures)) + 1e-3)
        known = film.opening[chosen]
        self.known = (pictures - self.mean) @ self.patterns
        self.middle = known.mean()
        self.width = np.sqrt(PATTERNS) * 1.5
        kernel = self._kernel(self.known)
        self.amounts = np.linalg.solve(kernel + 0.05 * np.eye(len(kernel)), known - self.middle)

    def _small(self, boxes):
        found = []
        for box in boxes:
            grey = cv2.cvtColor(box[self.part], cv2.COLOR_BGR2GRAY)
            small = cv2.resize(grey, (COLUMNS, ROWS), interpolation=cv2.INTER_AREA).astype(np.float64)
            found.append(((small - small.mean()) / (small.std() + 4)).ravel())
        return np.array(found)

    def _kernel(self, patterns):
        distance = ((patterns[:, None] - self.known[None]) ** 2).sum(-1)
        return np.exp(-distance / (2 * self.width**2))

    def __call__(self, boxes):
        return self._kernel((self._small(boxes) - self.mean) @ self.patterns) @ self.amounts + self.middle


def detail(boxes):
    """The finest detail of boxes uint8 [N, H, W, 3], in levels."""
    with torch.no_grad():
        planes = torch.from_numpy(boxes).permute(0, 3, 1, 2).float()
        return np.concatenate([film_painter.fine(part).numpy()[:, 0] for part in planes.split(64)])


def successive(film, held):
    """Indices into `held` of frames that the film's next frame follows there."""
    return np.flatnonzero((np.diff(held) == 1) & (np.diff(film.numbers[held]) == 1))


def noise_energy(details, pairs):
    """Mean square of what flickers in the finest detail, from blocks in which nothing moves."""
    change = (details[pairs + 1] - details[pairs]) ** 2 / 2
    blocks = change[:, : change.shape[1] // 16 * 16, : change.shape[2] // 16 * 16]
    blocks = blocks.reshape(len(change), change.shape[1] // 16, 16, -1, 16).mean((2, 4))
    return float(np.percentile(blocks, 20))


def loudness(audio, numbers):
    """Level of the sound around frames, in dB."""
    side = mel.SAMPLE_RATE // mel.FPS
    padded = np.pad(audio, side)
    level = [np.sqrt(np.mean(padded[n * side : (n + 3) * side] ** 2) + 1e-9) for n in numbers]
    return 20 * np.log10(level)


def rank(one, other):
    value = spearmanr(one, other).statistic
    return 0.0 if np.isnan(value) else float(value)


def judge(person, examples, sheet=None, report=lambda done, of: None):
    """A dictionary of numbers; writes a contact sheet."""
    film = examples.film
    held = np.flatnonzero(film.held)
    painted, wanted = [], []
    for start in range(0, len(held), 32):
        for side, found in zip((painted, wanted), film_painter.paint(person, examples, held[start : start + 32])):
            side.append(found)
        report(min(start + 32, len(held)), len(held))
    painted, wanted = (np.concatenate(side) for side in (painted, wanted))
    holes = np.stack([film.hole(at) for at in held])
    inside = holes > 0.5
    miss = ((painted.astype(np.float32) - wanted) ** 2).mean(3)
    each = np.array([-10 * np.log10(m[i].mean() / 255**2 + 1e-9) for m, i in zip(miss, inside)])
    pairs = successive(film, held)
    details = [detail(boxes) for boxes in (painted, wanted)]
    noise = noise_energy(details[1], pairs)
    energy = [max((d**2)[inside].mean() - noise, 1e-3) for d in details]

    border = np.ones(inside.shape[1:], bool)
    border[BORDER:-BORDER, BORDER:-BORDER] = False

    def blurred(pictures):
        return np.stack([cv2.GaussianBlur(picture, (0, 0), BLUR) for picture in pictures])

    step = blurred(painted.astype(np.float32).mean(3) - wanted.astype(np.float32).mean(3))[:, border]
    grey = wanted.astype(np.float32).mean(3)
    flicker = blurred(grey[pairs + 1] - grey[pairs])[:, border] / np.sqrt(2)
    greys = (boxes.astype(np.float32).mean(3) for boxes in (painted, wanted))
    change = [np.abs(boxes[pairs + 1] - boxes[pairs])[inside[pairs]].mean() for boxes in greys]

    lips = Lips(film)
    seen, made = lips(wanted), lips(painted)
    truth = film.opening[held]
    shut = seen < film.rest + SHUT
    result = {
        "psnr": float(each.mean()),
        "psnr_worst": float(each.min()),
        "seconds_held_out": len(held) / mel.FPS,
        "sharpness": float(np.sqrt(energy[0] / energy[1])),
        "seam_step": float(np.sqrt((step**2).mean())),
        "seam_noise": float(np.sqrt(np.percentile((flicker**2).mean(1), 20))),  # of the stillest frames
        "jitter": float(change[0] / change[1]),
        "rank_opening": rank(made, truth),
        "rank_measured": rank(seen, truth),  # of the film itself: how well openings are measured
        "closures": float((made[shut] < film.rest + NEARLY).mean()) if shut.any() else 1.0,
        "frames_shut": int(shut.sum()),
        "rank_loudness": rank(loudness(film.audio, film.numbers[held]), truth),
    }
    if sheet:
        film_sheet.write(sheet, painted, wanted, each)
    return result
