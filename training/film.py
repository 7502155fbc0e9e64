# SPDX-License-Identifier: MPL-2.0
"""Film a person that was not used in training: an MP4 with sound, who talks, moves and blinks, in three lights.

    PERSON=guest python film.py plan           # what is said and which mouths to render: OWN/film.npz
    PERSON=guest-dim python film.py light      # this light's part without sound: OWN/light.mp4
    PERSON=guest python film.py film guest.mp4 # all lights; guest.csv beside it is the truth

A film needs a mouth for each of 4500 frames.  Those of 40 states in each light are rendered (render.py film); the mouth
of a frame is made of the nearest ones, each warped along the mesh (warp.py).  The film then passes through a camera:
head and eyelids move, exposure wanders, the sensor adds noise, H.264 codes.  It stands in for real footage in tests.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import make_idle
import mel
import motion
import mouth
import numpy as np
import pictures
import walls
from common import BOX_H, BOX_W, BOX_X, BOX_Y, FRAME_H, FRAME_W, OWN, WORK, write_wav
from frames import levels, premultiplied
from people import NAME
from tqdm import tqdm

AMOUNT = {"yaw": 2.0, "pitch": 1.3, "roll": 1.0, "sway": 4.0, "breath": 0.8}  # standard deviations, as in motion.Pose
SLOW = 14  # frames: time constant of the head movement
BLINK_EVERY = 67
VIDEO = ["-c:v", "libx264", "-crf", "17", "-preset", "veryfast", "-pix_fmt", "yuv420p", "-threads", "1"]
SOUND = ["-c:a", "aac", "-b:a", "160k"]
PART = 60 * mel.FPS  # frames of each light
# The lights, what is said in each (prefixes of held-out clips), and standard deviations of the camera's exposure (a
# slow walk) and of the sensor's noise, in levels.
LIGHTS = {
    "guest": (("human", "awb"), 0.004, 1.2),
    "guest-evening": (("jf_tebukuro", "jf_nezumi", "jm_kumo"), 0.006, 1.6),
    "guest-dim": (("rms", "kal16", "slt", "de_m1"), 0.035, 2.6),
}
LISTENS = 11.0  # s in the first light, after the first four sentences: the mouth is closed
RENDERED = 40  # mouths in each light
CHECKED = 4  # states between them that are rendered as well, to measure what warping loses


def wander(rng, count, amount, slow=SLOW):
    """A smooth random walk around zero."""
    steps = cv2.GaussianBlur(rng.normal(0, 1, (1, count + 8 * slow)).astype(np.float32), (0, 0), slow)[0]
    steps = steps[4 * slow : 4 * slow + count]
    return steps / steps.std() * amount


def script(rng, prefixes, listens):
    """Sound of one light and the mouth state of each frame: clips with pauses in between."""
    import speech_data

    clips = [clip for prefix in prefixes for clip in speech_data.load_clips("held", prefix)]
    audio, track = [], []
    length = 0
    for number, clip in enumerate(clips):
        pause = LISTENS if listens and number == 4 else rng.uniform(0.25, 0.9)
        audio += [clip.audio / np.abs(clip.audio).max() * 0.5, np.zeros(int(pause * mouth.RATE) * speech_data.STEP)]
        steps = len(clip.audio) // speech_data.STEP
        audio[-2] = audio[-2][: steps * speech_data.STEP]
        track += [clip.track[:steps], np.zeros((int(pause * mouth.RATE), mouth.N_UNITS))]
        length += steps + int(pause * mouth.RATE)
        if length >= PART / mel.FPS * mouth.RATE:
            break
    else:
        raise SystemExit(f"{prefixes}: {length / mouth.RATE:.0f} s of speech are too little. Make more: make -C training speech")
    states = mouth.at_times(np.concatenate(track), np.arange(PART) / mel.FPS)
    return np.concatenate(audio)[: PART * mel.SAMPLE_RATE // mel.FPS], states.astype(np.float32)


def moves():
    """[N_UNITS, N_UNITS]: states times this are apart as far as the points of the face are, in mm RMS."""
    from prepare_mesh import BODY_VERTICES

    stored = np.load(OWN / "mesh.npz")
    shapes = [sum(stored["unit_" + shape][:BODY_VERTICES] for shape in shapes).ravel() for shapes in mouth.UNITS.values()]
    pairs = np.stack(shapes) @ np.stack(shapes).T + 1e-9 * np.eye(mouth.N_UNITS)
    return np.linalg.cholesky(pairs) * 1000 / np.sqrt(np.abs(np.stack(shapes)).max(0).astype(bool).sum() / 3)


def plan():
    from choose_poses import farthest_points

    rng = np.random.default_rng(5)
    metric = moves()
    audio, states, rendered, checked = [], [], [], []
    for name, (prefixes, _, _) in LIGHTS.items():
        sound, track = script(rng, prefixes, name == next(iter(LIGHTS)))
        apart = track @ metric
        seen = farthest_points(apart, [apart[np.abs(apart).sum(1).argmin()]], RENDERED * 2 // 3 - 1)
        chosen = [int(np.linalg.norm(apart - one, axis=1).argmin()) for one in seen]
        free = np.setdiff1d(np.flatnonzero(np.linalg.norm(apart, axis=1) > 0.05), chosen)
        drawn = rng.choice(free, RENDERED - len(chosen) + CHECKED, replace=False)
        rendered.append(track[[*chosen, *drawn[CHECKED:]]])
        checked.append(track[drawn[:CHECKED]])
        audio.append(sound)
        states.append(track)
    np.savez(
        OWN / "film.npz", audio=np.concatenate(audio).astype(np.float32), states=np.stack(states), rendered=np.stack(rendered),
        checked=np.stack(checked), metric=metric, lights=list(LIGHTS),
    )  # fmt: skip
    print(f"{len(LIGHTS)} lights of {PART} frames, {RENDERED} mouths to render in each")


class Skin:
    """Pores and stubble, which renders with few samples lack: how much each pixel of the still is lighter, [H, W]."""

    MIDDLE, REACH = (640, 345), (100, 120)  # pixels: what is covered around the mouth
    LIPS = (640, 352, 50, 15)  # centre and radii; lips are smooth
    PORES, STUBBLE = 0.022, 0.20

    def __init__(self):
        rng = np.random.default_rng(3)
        shape = FRAME_H, FRAME_W
        pores = cv2.GaussianBlur(rng.normal(0, 1, shape).astype(np.float32), (0, 0), 0.7)
        hairs = cv2.GaussianBlur((rng.random(shape) < 0.045).astype(np.float32), (0, 0), 0.55)
        y, x = np.mgrid[:FRAME_H, :FRAME_W].astype(np.float32)
        far = np.hypot((x - self.MIDDLE[0]) / self.REACH[0], (y - self.MIDDLE[1]) / self.REACH[1])
        lips = np.hypot((x - self.LIPS[0]) / self.LIPS[2], (y - self.LIPS[1]) / self.LIPS[3])
        beard = motion.smoothstep(325, 350, y + 0.25 * np.abs(x - self.MIDDLE[0]))
        amount = pores / pores.std() * self.PORES - hairs / hairs.max() * self.STUBBLE * beard
        self.lighter = amount * motion.smoothstep(1.0, 0.75, far) * motion.smoothstep(0.9, 1.2, lips)
        self.still = 1 + self.lighter[..., None]

    def at(self, x, y, skin):
        """The same for a mouth box whose pixels are in other places of the box at rest."""
        moved = cv2.remap(self.lighter, x + BOX_X, y + BOX_Y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return 1 + (moved * skin)[..., None]


def smooth_sources(pose):
    """motion.Scene.sources of the whole frame, computed on a quarter of its pixels a side."""
    scene = motion.scene()
    shift = scene.shift(pose)
    there = shift
    for _ in range(3):
        at = (scene.at - there) / motion.GRID - 0.5
        there = cv2.remap(shift, *cv2.split(at.astype(np.float32)), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    there = cv2.resize(there, (FRAME_W, FRAME_H), interpolation=cv2.INTER_LINEAR)
    x, y = np.meshgrid(np.arange(FRAME_W, dtype=np.float32), np.arange(FRAME_H, dtype=np.float32))
    return x - there[..., 0], y - there[..., 1]


class Camera:
    """Slow changes of the exposure, and the noise of the sensor: both in levels."""

    def __init__(self, rng, count, exposure, noise):
        self.gain = 1 + wander(rng, count, exposure, 60)
        self.rng = rng
        # Neighbouring pixels share noise, as after the interpolation of colours in a camera.
        fields = rng.normal(0, 1, (8, FRAME_H, FRAME_W, 3)).astype(np.float32)
        fields = [cv2.GaussianBlur(field, (0, 0), 0.6) for field in fields]
        self.noise = [np.round(field / field.std() * noise).astype(np.int8) for field in fields]

    def picture(self, number, frame):
        noise = self.noise[self.rng.integers(len(self.noise))]
        noise = np.roll(noise, tuple(self.rng.integers((FRAME_H, FRAME_W))), (0, 1))[:: self.rng.choice([-1, 1])]
        return cv2.add(cv2.convertScaleAbs(frame, alpha=float(self.gain[number])), noise, dtype=cv2.CV_8U)


def encoder(path, inputs=(), options=()):
    command = ["ffmpeg", "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "bgr24", "-s", f"{FRAME_W}x{FRAME_H}"]
    command += ["-r", str(mel.FPS), "-i", "-", *inputs, *options, str(path)]
    return subprocess.Popen(command, stdin=subprocess.PIPE)


def light(count=None):
    """This light's part of the film without sound: OWN/light.mp4."""
    import warp

    plan = np.load(WORK / NAME.split("-")[0] / "film.npz")
    place = plan["lights"].tolist().index(NAME)
    states = plan["states"][place][:count]
    rng = np.random.default_rng([5, place])
    walks = {name: wander(rng, len(plan["states"][place]), amount) for name, amount in AMOUNT.items()}
    camera = Camera(rng, len(plan["states"][place]), *LIGHTS[NAME][1:])
    there = len(list((OWN / "film").glob("[0-9]*.png")))  # the first ones cover speech as well as that many can
    renders = warp.Renders(OWN / "film", plan["rendered"][place][:there], plan["metric"])
    skin = Skin()
    stills = []
    for phase in range(4):
        still = pictures.still_with(phase=phase)
        still[..., :3] *= skin.still
        stills.append(levels(premultiplied(still)))
    box = (slice(BOX_Y, BOX_Y + BOX_H), slice(BOX_X, BOX_X + BOX_W))
    figure = pictures.still()[box][..., 3:] > 0.99
    wall = levels(walls.wall())
    part = OWN / "part-light.mp4"
    with encoder(part, options=VIDEO) as process:
        for number, state in enumerate(tqdm(states, mininterval=5)):
            pose = motion.Pose(**{name: float(walk[number]) for name, walk in walks.items()})
            blink = (number + 31 * place) % BLINK_EVERY
            picture = stills[make_idle.BLINK[blink] if blink < len(make_idle.BLINK) else 0].copy()
            mouth_box, maps, is_skin = renders.picture(state)
            mouth_box = levels(mouth_box * skin.at(*maps, is_skin))
            picture[box][..., :3] = np.where(figure, mouth_box, picture[box][..., :3])
            moved = cv2.remap(picture, *smooth_sources(pose), cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
            alpha = cv2.merge([moved[..., 3]] * 3)
            frame = cv2.add(moved[..., :3], cv2.multiply(wall, cv2.bitwise_not(alpha), scale=1 / 255))
            process.stdin.write(camera.picture(number, frame).tobytes())
        process.stdin.close()
    if process.returncode:
        raise SystemExit(f"ffmpeg failed with exit code {process.returncode}")
    os.replace(part, OWN / "light.mp4")


def film(mp4):
    """All lights with sound, and beside it what the mouth really did: a line for each frame."""
    plan = np.load(OWN / "film.npz")
    for name in LIGHTS:
        if not (WORK / name / "light.mp4").exists():
            subprocess.run([sys.executable, __file__, "light"], env=os.environ | {"PERSON": name}, check=True)
    with tempfile.TemporaryDirectory() as folder:
        wav, parts = Path(folder) / "sound.wav", Path(folder) / "parts.txt"
        write_wav(wav, plan["audio"], mel.SAMPLE_RATE)
        parts.write_text("".join(f"file '{WORK / name / 'light.mp4'}'\n" for name in LIGHTS))
        command = ["ffmpeg", "-y", "-loglevel", "error", "-f", "concat", "-safe", "0", "-i", str(parts), "-i", str(wav)]
        subprocess.run([*command, "-c:v", "copy", *SOUND, str(mp4)], check=True)
    states = plan["states"].reshape(-1, mouth.N_UNITS)
    rows = (f"{number},{opening:.2f}\n" for number, opening in enumerate(mouth.opening(states)))
    mp4.with_suffix(".csv").write_text("frame,opening_mm\n" + "".join(rows))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["plan", "light", "film"])
    parser.add_argument("mp4", type=Path, nargs="?")
    parser.add_argument("--count", type=int, help="only so many frames of the light")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if arguments.what == "plan":
        plan()
    elif arguments.what == "light":
        light(arguments.count)
    elif arguments.mp4:
        film(arguments.mp4)
    else:
        parser.error("say which file to write: film guest.mp4")


if __name__ == "__main__":
    main()
