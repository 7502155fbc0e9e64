# SPDX-License-Identifier: MPL-2.0
"""The avatar of a person in a film: its loop is the calmest stretch of the film, with closed lips throughout."""

import csv
import shutil

import cv2
import export
import footage
import numpy as np
import torch
from common import NET_MARGIN, NET_SIDE

LOOP = 250  # frames; the loop is played there and back
SHORTEST_LOOP = 75
MOSTLY = 0.97  # share of frames with closed lips that makes a stretch calm
TALKING_COST = 50.0  # pixels of head movement that a stretch with open lips throughout would be worth
QUALITY = 95  # of JPEG, for frames whose lips were closed


def loop(film):
    """Indices of the frames of the loop: successive frames of the film."""
    at = film.marks[:, :52].mean(1)  # outline and brows
    speed = np.linalg.norm(np.diff(at, axis=0, prepend=at[:1]), axis=1)
    joined = np.diff(film.numbers, prepend=film.numbers[0] - 1) == 1
    speed[~joined] = 0
    breaks = np.cumsum(~joined)
    best = None
    for length in (LOOP, 175, 125, SHORTEST_LOOP):
        length = min(length, len(at))
        starts = np.arange(len(at) - length + 1)
        starts = starts[breaks[starts] == breaks[starts + length - 1]]
        if not len(starts):
            continue
        moved, closed = (np.concatenate([[0], np.cumsum(values)]) for values in (speed, film.closed.astype(float)))
        share = (closed[starts + length] - closed[starts]) / length
        cost = (moved[starts + length] - moved[starts]) / length + TALKING_COST * (1 - share)
        first = cost.argmin()
        if best is None or share[first] >= MOSTLY > best[1]:
            best = np.arange(starts[first], starts[first] + length), share[first]
    if best is None:
        raise footage.Unusable(f"{film.folder}: no {SHORTEST_LOOP} successive frames can be used. Film again, in one go")
    return best[0]


def with_closed_lips(film, at, frame):
    """The frame with the lips of its reference (see footage.py)."""
    x, y, side = film.rectangles[at]
    left, top, width, height = film.box
    crop = frame[max(y, 0) : y + side, max(x, 0) : x + side]
    whole = NET_SIDE + 2 * NET_MARGIN
    change = np.zeros((whole, whole, 3), np.float32)
    part = (slice(top + NET_MARGIN, top + NET_MARGIN + height), slice(left + NET_MARGIN, left + NET_MARGIN + width))
    change[part] = film.reference(at).astype(np.float32) - film.wanted(at)
    change = cv2.resize(change, crop.shape[1::-1], interpolation=cv2.INTER_AREA)
    crop[:] = np.clip(crop + change + 0.5, 0, 255)
    return frame


def copy_frames(source, folder, numbers, closed=lambda number, frame: None):
    """Frames and face rectangles of a film as an avatar's; closed(number, frame) may return another frame."""
    (folder / "frames").mkdir(parents=True, exist_ok=True)
    alpha = (source / "alpha").is_dir()
    if alpha:
        (folder / "alpha").mkdir(exist_ok=True)
        shutil.copy(source / "background.png", folder)
    with (folder / "crops.csv").open("w", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["frame", "x", "y", "width", "height"])
        for place, number in enumerate(numbers):
            path = source / "full_body_img" / f"{number}.jpg"
            frame = cv2.imread(str(path))
            height, width = frame.shape[:2]
            x, y, side = footage.face_rectangle(source / "landmarks" / f"{number}.lms")
            changed = closed(number, frame)
            if changed is None:
                shutil.copy(path, folder / "frames" / f"{place}.jpg")
            else:
                coded = cv2.imencode(".jpg", changed, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
                (folder / "frames" / f"{place}.jpg").write_bytes(coded.tobytes())
            if alpha:
                shutil.copy(source / "alpha" / f"{number}.png", folder / "alpha" / f"{place}.png")
            table.writerow([place, x, y, min(side, width - x), min(side, height - y)])


def write(folder, film, encoder, person, silence, report=lambda done, of: None):
    """The whole avatar; the folder appears once it is complete. Returns the number of its frames."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    chosen = loop(film)
    index = {int(film.numbers[at]): at for at in chosen}

    def closed(number, frame):
        at = index[number]
        report(int(at - chosen[0]), len(chosen))
        return None if film.closed[at] else with_closed_lips(film, at, frame)

    copy_frames(film.folder, part, list(index), closed)
    with torch.no_grad():
        export.write_networks(part, encoder, person.generator(silence))
    more = "at_rest = true\n"
    if (part / "alpha").is_dir():
        more = 'alpha = "alpha"\nbackground = "background.png"\n' + more
    about = {"title": folder.name, "licence": "all rights reserved", "more": more}
    (part / "avatar.toml").write_text(export.AVATAR_TOML.format(**about))
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)
    return len(chosen)
