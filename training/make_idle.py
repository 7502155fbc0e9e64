"""The idle loop: frames/0.jpg ... and crops.csv, from one still and a few blink phases.

    python make_idle.py

The head is moved in the picture: a slow turn about the base of the neck, a shift and a breath of
scale, all sub-pixel, fading to nothing on the shoulders; the shoulders breathe a little.  The
background is put behind afterwards and does not move.  Playback runs forward and then backward, so
every motion has zero speed in the first and in the last frame.
"""

import argparse

import cv2
import numpy as np
import pictures
from common import AVATAR, CROP_SIDE, CROP_X, CROP_Y, FRAME_H, FRAME_W
from tqdm import tqdm

FRAMES = 100
PIVOT = (640.0, 500.0)  # base of the neck
FACE = (640.0, 304.0)  # middle of the crop at rest
BLINK_STARTS = (22, 71)
BLINK = (1, 2, 2, 1)  # lid phase in successive frames
JPEG = [cv2.IMWRITE_JPEG_QUALITY, 92, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]
JPEG += [cv2.IMWRITE_JPEG_OPTIMIZE, 1]


def wave(amplitudes, frame):
    """Sum of half-cosines: smooth, and at rest at both ends of the loop."""
    phase = np.pi * frame / (FRAMES - 1)
    return sum(a * np.cos((k + 1) * phase) for k, a in enumerate(amplitudes))


def motion(frame):
    return {
        "turn": np.radians(wave((0.45, -0.25, 0.20), frame)),
        "x": wave((1.4, 0.9, -0.5), frame),
        "y": wave((0.5, -0.8, 0.3), frame),
        "scale": 1 + wave((0.0020, -0.0022), frame),
        "breath": wave((0.0, 0.9), frame),
    }


def smoothstep(low, high, value):
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def rigid(m, x, y):
    """Where the head's motion takes a point."""
    c, s = np.cos(m["turn"]) * m["scale"], np.sin(m["turn"]) * m["scale"]
    dx, dy = x - PIVOT[0], y - PIVOT[1]
    return PIVOT[0] + c * dx - s * dy + m["x"], PIVOT[1] + s * dx + c * dy + m["y"]


def move(picture, m):
    """Warp a premultiplied BGRA picture by the motion, fading out below the chin."""
    x, y = np.meshgrid(np.arange(FRAME_W, dtype=np.float32), np.arange(FRAME_H, dtype=np.float32))
    head = 1 - smoothstep(430, 570, y)
    head *= 1 - smoothstep(95, 140, np.abs(x - PIVOT[0])) * smoothstep(425, 450, y)
    # Backwards: where does each output pixel come from?  For such small motions the inverse of
    # "p + w * d(p)" is "p - w * d(p)" to within a hundredth of a pixel.
    to_x, to_y = rigid(m, x, y)
    down = m["breath"] * smoothstep(430, 540, y)
    from_x = x - head * (to_x - x)
    from_y = y - head * (to_y - y) - down
    return cv2.remap(
        picture, from_x.astype(np.float32), from_y.astype(np.float32), cv2.INTER_LANCZOS4, borderMode=cv2.BORDER_REPLICATE
    )


def blink_phase(frame):
    for start in BLINK_STARTS:
        if start <= frame < start + len(BLINK):
            return BLINK[frame - start]
    return 0


def frame_and_crop(number, stills):
    m = motion(number)
    picture = stills[blink_phase(number)]
    premultiplied = np.concatenate([picture[..., :3] * picture[..., 3:], picture[..., 3:]], axis=2)
    moved = np.clip(move(premultiplied, m), 0, 1)
    frame = moved[..., :3] + pictures.background() * (1 - moved[..., 3:])
    face_x, face_y = rigid(m, *FACE)
    crop = (round(CROP_X + face_x - FACE[0]), round(CROP_Y + face_y - FACE[1]), CROP_SIDE, CROP_SIDE)
    return np.clip(np.round(frame * 255), 0, 255).astype(np.uint8), crop


def main():
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    stills = {phase: pictures.still_with_blink(phase) for phase in {0, *BLINK}}
    folder = AVATAR / "frames"
    folder.mkdir(parents=True, exist_ok=True)
    rows = ["frame,x,y,width,height"]
    for number in tqdm(range(FRAMES)):
        frame, crop = frame_and_crop(number, stills)
        cv2.imwrite(str(folder / f"{number}.jpg"), frame, JPEG)
        rows.append(",".join(str(v) for v in (number, *crop)))
    (AVATAR / "crops.csv").write_text("\n".join(rows) + "\n")


if __name__ == "__main__":
    main()
