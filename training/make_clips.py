# SPDX-License-Identifier: MPL-2.0
"""The clips of a rendered person: clips/NAME/frames, alpha and crops.csv, from the still, blinks and expressions.

    PERSON=iris python make_clips.py                # all of clips.py
    PERSON=iris python make_clips.py nod smile      # only these
    PERSON=iris python make_clips.py --sheet clips.png

Every clip begins in the pose of the first frame of the idle loop, and gestures end in it, at rest.  For each clip a
line says how long and how large it is, the lowest PSNR of its frames around the face, and how far the face moves
from one frame to the next.
"""

import argparse
from pathlib import Path

import cv2
import frames
import motion
import numpy as np
import pictures
from clips import CLIPS
from common import AVATAR, FACE_X, FACE_Y
from expressions import EXPRESSIONS
from make_idle import BLINK, GAZE_PER_DEGREE, pose_at
from people import NAME
from scipy.interpolate import PchipInterpolator
from tqdm import tqdm

LEAST_PSNR = 40.0  # dB around the face
SHEET_BOX = (420, 40, 440)  # left, top and side of what a contact sheet shows of a frame


def curve(keys, count):
    """The value at each of `count` frames; smooth, also at the first and the last key, where it stops."""
    at, values = np.array(keys, float).T
    # Mirrored at its ends, where the interpolation then turns round.
    at = np.r_[2 * at[0] - at[:0:-1], at, 2 * at[-1] - at[-2::-1]]
    values = np.r_[values[:0:-1], values, values[-2::-1]]
    first, last = keys[0][0], keys[-1][0]
    return PchipInterpolator(at, values)(np.clip(np.arange(count), first, last))


def poses(clip):
    """The pose in each frame.  Away from an expression that turns the eyes, the gaze stays on the viewer."""
    rest = pose_at(0)
    moves = {name: getattr(rest, name) + curve(keys, clip.frames) for name, keys in clip.motion.items()}
    looking = 1 - strengths(clip) if clip.expression == "aside" else np.ones(clip.frames)
    found = []
    for number in range(clip.frames):
        pose = rest._replace(**{name: float(values[number]) for name, values in moves.items()})
        glance_x, glance_y = next(((x, y) for start, x, y in reversed(clip.glances) if number >= start), (0.0, 0.0))
        gaze_x = glance_x - GAZE_PER_DEGREE * pose.yaw * looking[number]
        gaze_y = glance_y - GAZE_PER_DEGREE * pose.pitch * looking[number]
        found.append(pose._replace(gaze_x=gaze_x, gaze_y=gaze_y))
    return found


def strengths(clip):
    return curve(clip.strength, clip.frames) if clip.strength else np.zeros(clip.frames)


def blink_phase(clip, number):
    phase = next((BLINK[number - start] for start in clip.blinks if start <= number < start + len(BLINK)), 0)
    # The rendered blinks look at the viewer: lids that open show eyes that have turned only once they are open.
    turned = clip.expression and any(EXPRESSIONS[clip.expression].eyes) and strengths(clip)[number] > 0
    return 0 if turned and phase == 1 else phase


def make(name, clip, folder):
    """Writes the clip; returns the line about it."""
    writer = frames.Writer(folder, LEAST_PSNR)
    for number, (pose, strength) in enumerate(zip(tqdm(poses(clip), name, leave=False), strengths(clip))):
        still = pictures.still_with(clip.expression, float(strength), blink_phase(clip, number))
        writer.add(frames.premultiplied(still), pose)
    writer.close()
    places = [motion.scene().shift_at(pose, FACE_X, FACE_Y) for pose in poses(clip)]
    fastest = np.hypot(*np.diff(places, axis=0).T).max()
    sizes = [sum(path.stat().st_size for path in (folder / part).iterdir()) / 1e6 for part in ("frames", "alpha")]
    return (
        f"{name:10} {clip.frames:3} frames, {sizes[0]:.2f} + {sizes[1]:.2f} MB, {writer.worst:.1f} dB, "
        f"face moves by {fastest:.1f} px a frame at most"
    )


def sheet(path, width, columns):
    """A contact sheet of the clips of all people: a row for each clip, with its name and the numbers of the frames."""
    (left, top, side), rows = SHEET_BOX, []
    for name, clip in CLIPS.items():
        row = []
        for folder in sorted(AVATAR.parent.glob(f"*/clips/{name}/frames")):
            for number in np.linspace(0, clip.frames - 1, columns).round().astype(int):
                picture = cv2.imread(str(folder / f"{number}.jpg"))[top : top + side, left : left + side]
                picture = cv2.resize(picture, (width, width), interpolation=cv2.INTER_AREA)
                where, size = (4, int(width * 0.05) + 6), 0.24 + width / 1000
                cv2.putText(picture, f"{name} {number}", where, cv2.FONT_HERSHEY_SIMPLEX, size, (255, 255, 255), 1, cv2.LINE_AA)
                row.append(picture)
        if row:
            rows.append(np.concatenate(row, 1))
    cv2.imwrite(str(path), np.concatenate(rows), [cv2.IMWRITE_JPEG_QUALITY, 70] if path.suffix == ".jpg" else [])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", metavar="clip", help=f"of {', '.join(CLIPS)}; default: all")
    parser.add_argument("--to", type=Path, default=AVATAR / "clips", help="folder (default: in the person's avatar)")
    parser.add_argument("--sheet", type=Path, help="write a contact sheet of everybody's clips instead")
    parser.add_argument("--width", type=int, default=320, help="of a picture in the sheet, in pixels (default: 320)")
    parser.add_argument("--columns", type=int, default=6, help="pictures of a clip and person in the sheet (default: 6)")
    arguments = parser.parse_args()
    unknown = set(arguments.clips) - set(CLIPS)
    if unknown:
        parser.error(f"no such clip: {', '.join(sorted(unknown))}")
    if arguments.sheet:
        sheet(arguments.sheet, arguments.width, arguments.columns)
        return
    for name in arguments.clips or CLIPS:
        print(make(name, CLIPS[name], arguments.to / name), flush=True)
    total = sum(path.stat().st_size for path in arguments.to.rglob("*") if path.is_file())
    print(f"{NAME}: {total / 1e6:.2f} MB in {arguments.to}")


if __name__ == "__main__":
    main()
