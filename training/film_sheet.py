# SPDX-License-Identifier: MPL-2.0
"""The contact sheet of an avatar of a film: what the film shows, and what was painted."""

import cv2
import numpy as np


def write(path, painted, wanted, each):
    """Film above, painted below: frames spread over the film, the worst ones, and corners of the box three times as large."""
    order = np.argsort(each)
    worst = []
    for at in order:  # of different moments
        if all(abs(at - other) > 12 for other in worst):
            worst.append(at)
        if len(worst) == 6:
            break
    spread = np.linspace(0, len(each) - 1, 8).astype(int)[1:-1]
    rows = []
    for name, chosen in (("spread over the film", spread), ("the worst", worst)):
        strip = [label(np.concatenate([wanted[at], painted[at]]), f"{each[at]:.1f} dB") for at in chosen]
        strip += [np.zeros_like(strip[0])] * (6 - len(strip))
        rows.append(np.concatenate(strip, 1))
    height, width = wanted.shape[1:3]
    size = width // 3, height // 3
    corners = []
    for at, (y, x) in zip((*spread[:3], *worst[:3]), ((0, 0), (0, width - size[0]), (height - size[1], 0)) * 2):
        part = (slice(y, y + size[1]), slice(x, x + size[0]))
        pair = np.concatenate([wanted[at][part], painted[at][part]])
        corners.append(cv2.resize(pair, (width, 2 * height), interpolation=cv2.INTER_CUBIC))
    corners += [np.zeros_like(corners[0])] * (6 - len(corners))
    rows.append(np.concatenate(corners, 1))
    coded = cv2.imencode(path.suffix or ".jpg", np.concatenate(rows))[1]
    part = path.with_name(f"part-{path.name}")
    part.write_bytes(coded.tobytes())
    part.replace(path)


def label(picture, text):
    picture = picture.copy()
    cv2.putText(picture, text, (6, picture.shape[0] - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(picture, text, (6, picture.shape[0] - 8), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    return picture
