# SPDX-License-Identifier: MPL-2.0
"""Film the stranger: an MP4 with sound of a person that was not used in training, who talks and moves.

    PERSON=stranger python film.py stranger.mp4

Every frame shows the rendered mouth for its time (render.py footage) on a head that turns and nods, with
blinks, in front of a background, as a camera would record it.  It stands in for real footage in tests of the trainer.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import cv2
import make_idle
import mel
import motion
import numpy as np
import pictures
import walls
from common import FRAME_H, FRAME_W, OWN, WORK, write_wav
from frames import levels, move, premultiplied
from tqdm import tqdm

AMOUNT = {"yaw": 2.0, "pitch": 1.3, "roll": 1.0, "sway": 4.0, "breath": 0.8}  # standard deviations, as in motion.Pose
SLOW = 14  # frames: time constant of the head movement
BLINK_EVERY = 67
MP4 = ["-c:v", "libx264", "-crf", "15", "-preset", "fast", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "160k"]


def wander(rng, count, amount):
    """A smooth random walk around zero."""
    steps = cv2.GaussianBlur(rng.normal(0, 1, (1, count + 8 * SLOW)).astype(np.float32), (0, 0), SLOW)[0]
    steps = steps[4 * SLOW : 4 * SLOW + count]
    return steps / steps.std() * amount


def sound():
    """The clips concatenated, each cut to whole frames."""
    stored = np.load(WORK / "poses.npz")
    parts = []
    for name, frames in zip(stored["footage_clips"], stored["footage_frames"]):
        audio = np.load(WORK / "speech" / "held" / f"{name}.npz")["audio"].astype(np.float32) / 32768
        parts.append(audio[: frames * mel.SAMPLE_RATE // mel.FPS])
    return np.concatenate(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mp4", type=Path)
    arguments = parser.parse_args()
    paths = sorted((OWN / "footage").glob("[0-9]*.png"))
    rng = np.random.default_rng(5)
    walks = {name: wander(rng, len(paths), amount) for name, amount in AMOUNT.items()}
    eyes = pictures.eyes()
    stills = [pictures.still_with(phase=phase) for phase in range(4)]
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "sound.wav"
        write_wav(wav, sound()[: len(paths) * mel.SAMPLE_RATE // mel.FPS], mel.SAMPLE_RATE)
        encode = ["ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "bgr24"]
        encode += ["-s", f"{FRAME_W}x{FRAME_H}", "-r", str(mel.FPS), "-i", "-", "-i", str(wav), *MP4, str(arguments.mp4)]
        with subprocess.Popen(encode, stdin=subprocess.PIPE) as process:
            for number, path in enumerate(tqdm(paths)):
                pose = motion.Pose(**{name: float(walk[number]) for name, walk in walks.items()})
                blink = number % BLINK_EVERY
                phase = make_idle.BLINK[blink] if blink < len(make_idle.BLINK) else 0
                picture = premultiplied(pictures.still_with_mouth(stills[phase], path))
                moved = np.clip(move(picture, pose, eyes), 0, 1)
                process.stdin.write(levels(moved[..., :3] + walls.wall() * (1 - moved[..., 3:])).tobytes())
            process.stdin.close()
    if process.returncode:
        raise SystemExit(f"ffmpeg failed with exit code {process.returncode}")


if __name__ == "__main__":
    main()
