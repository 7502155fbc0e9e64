#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Judges what a receiver got of the presenter on air: is there every frame, all the sound, and are they in step?

The place of the sound is found by correlating it with the recording that is spoken; the place of the picture by
correlating the movement of the mouth with that of the same recording, spoken offline at 100 frames a second. Both are
places on the receiver's own clock, so what is measured is what a viewer sees and hears, with every encoder, muxer and
server in between.

    judge.py RECEIVED --speech examples/sample.wav [--seconds N] [--log SENDER.log]
"""

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = Path(os.environ.get("GST_PLUGIN_PATH", ROOT / "target/plugin"))
CACHE = ROOT / "target/on_air"

RATE = 48_000
"""Samples a second, of all sound that is compared."""
DENSE = 100
"""Frames a second of the reference, so that the place of a mouth is known far better than a frame."""
FULL = 1280
"""Width of the avatar's frames."""
WIDTH, HEIGHT = 320, 180
"""Size at which pictures are compared."""
REACH = 0.6
"""Seconds that picture and sound may be apart and still be recognised."""
TOLERANCE_MS = 1.0
"""Of time stamps: FLV and Matroska round to whole milliseconds."""
OFFSET_MS = 20.0
"""Half a frame: nobody can be better than that without knowing when a screen is lit."""
HELD = 0.002
"""Share of the pictures that may be shown twice: where the machine was busy for a moment, time is kept, not the picture."""
COMPLAINTS = re.compile(
    r"\blost\b|\b(too |arrived )?late\b|dropp|non.monoton|backwards|WARN.*(clock|\btime\b|timestamp)", re.IGNORECASE
)
HARMLESS = re.compile(r"Dropping caller .*Connection was broken|ignored SEGMENT event in time format")
"""How srtsink says that a receiver has left, and hlssink2 that a new segment begins."""
PROBLEM = re.compile(r"matches no streams|No such file|Invalid data|Error opening|Could not")


class Failed(Exception):
    """What was received cannot be judged at all."""


# ---- what a file holds


def decode(arguments, shown):
    """What ffmpeg decodes to, and the fields of each frame that its filter `shown` prints."""
    with tempfile.TemporaryFile() as log, tempfile.TemporaryFile() as out:
        command = ["ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-copyts", *arguments, "-"]
        status = subprocess.run(command, stdout=out, stderr=log, check=False).returncode
        log.seek(0)
        text = log.read().decode(errors="replace")
        if status:
            said = text.strip().splitlines()
            raise Failed(f"ffmpeg cannot read it: {next((line for line in said if PROBLEM.search(line)), said[-1])}")
        out.seek(0)
        frames = [line for line in text.splitlines() if f"Parsed_{shown}_" in line and " pts_time:" in line]
        return out.read(), [dict(re.findall(r"(\w+): *(-?[\w.]+)", line)) for line in frames], text


def pictures(path):
    """Times and grey pictures of the video, and how many of them are damaged."""
    scale = f"showinfo=checksum=0,scale={WIDTH}:{HEIGHT}:flags=area,format=gray"
    raw, frames, text = decode(
        ["-i", path, "-map", "0:v:0", "-fps_mode", "passthrough", "-vf", scale, "-f", "rawvideo"], "showinfo"
    )
    levels = np.frombuffer(raw, np.uint8).reshape(-1, HEIGHT, WIDTH)
    if not len(levels):
        raise Failed("there is no picture in it")
    # Not `pts_time`, which has but six digits.
    base = Fraction(re.search(r"config in time_base: (\d+/\d+)", text)[1])
    times = np.array([float(int(frame["pts"]) * base) for frame in frames])[: len(levels)]
    # Damaged frames are an error of the way, even where a decoder hides it.
    damaged = len(re.findall(r"error while decoding|concealing|corrupt", text))
    return times, levels, damaged


def sound(path):
    """Times and durations of the decoded frames of sound, and the samples."""
    raw, frames, _ = decode(
        ["-i", path, "-map", "0:a:0", "-af", f"ashowinfo,aresample={RATE}", "-ac", "1", "-f", "f32le"],
        "ashowinfo",
    )
    samples = np.frombuffer(raw, np.float32)
    if not len(samples):
        raise Failed("there is no sound in it")
    # Sound is filtered in a time base of its samples.
    times = np.array([int(frame["pts"]) / int(frame["rate"]) for frame in frames])
    lengths = np.array([int(frame["nb_samples"]) / int(frame["rate"]) for frame in frames])
    return times, lengths, samples


# ---- the mouth


class Face:
    """Where the avatar's face is, and how its frames look with the mouth at rest."""

    def __init__(self, avatar, resting):
        lines = (avatar / "crops.csv").read_text().split()[1:]
        self.boxes = np.array([[int(word) for word in line.split(",")[1:]] for line in lines])
        # Small pictures of everything but what is painted anew: they tell which of the avatar's frames is shown.
        self.around = np.ones((HEIGHT, WIDTH), bool)
        x, y, width, height = (self.boxes * WIDTH / FULL).T
        self.around[int((y + height / 2).min()) : int((y + height).max()) + 1,
                    int(x.min()) : int((x + width).max()) + 1] = False
        self.looks = self._look(resting)
        self.rest = [self._mouth(picture, n) for n, picture in enumerate(resting)]

    def _look(self, levels):
        masked = np.where(self.around, levels, 0).reshape(len(levels), HEIGHT // 4, 4, WIDTH // 4, 4)
        looks = masked.mean((2, 4), dtype=np.float32).reshape(len(levels), -1)
        return looks - looks.mean(1, keepdims=True)

    def _mouth(self, picture, number):
        """The light of the lower half of the face: a mouth that opens is dark. Finer signals depend on the pose."""
        x, y, width, height = (round(value * WIDTH / FULL) for value in self.boxes[number])
        return picture[y + height // 2 : y + height, x : x + width].mean(dtype=np.float64)

    def movement(self, levels):
        """How much darker each picture's mouth is than that of the same frame at rest; how strange the pictures are."""
        moved, worst = np.empty(len(levels)), 0.0
        for begin in range(0, len(levels), 500):
            looks = self._look(levels[begin : begin + 500])
            distances = (looks**2).sum(1)[:, None] - 2 * looks @ self.looks.T + (self.looks**2).sum(1)
            worst = max(worst, float(distances.min(1).max()) / looks.shape[1])
            for n, shown in enumerate(distances.argmin(1), begin):
                moved[n] = self.rest[shown] - self._mouth(levels[n], shown)
        return moved, worst**0.5


def speak(sound_file, rate, out):
    """Speaks a WAV offline, the way that is not judged here."""
    environment = os.environ | {"GST_PLUGIN_PATH": str(PLUGIN)}
    line = (
        f"gst-launch-1.0 -q filesrc location={sound_file} ! wavparse ! lipsync ! video/x-raw,framerate={rate}/1 "
        f"! x264enc speed-preset=ultrafast pass=quant quantizer=8 ! matroskamux ! filesink location={out}"
    )
    subprocess.run(line.split(), env=environment, check=True)


def reference(speech):
    """The face, and the movement of its mouth with this speech. Made once, and kept."""
    avatar = PLUGIN / "lipsync/iris"
    key = hashlib.sha256(speech.read_bytes() + (avatar / "generator.onnx").read_bytes()).hexdigest()[:16]
    kept = CACHE / f"reference-{key}.npz"
    if not kept.exists():
        print("==> speaking the recording offline, to compare with", flush=True)
        CACHE.mkdir(parents=True, exist_ok=True)
        frames = len((avatar / "crops.csv").read_text().split()) - 1
        with tempfile.TemporaryDirectory() as folder:
            silence = Path(folder) / "silence.wav"
            with wave.open(str(silence), "wb") as file:
                file.setnchannels(1), file.setsampwidth(2), file.setframerate(16_000)
                file.writeframes(bytes(2 * 16_000 * frames // 25))
            speak(silence, 25, f"{folder}/rest.mkv")
            speak(speech, DENSE, f"{folder}/spoken.mkv")
            np.savez_compressed(kept, resting=pictures(f"{folder}/rest.mkv")[1], spoken=pictures(f"{folder}/spoken.mkv")[1])
    with np.load(kept) as arrays:
        face = Face(avatar, arrays["resting"])
        return face, face.movement(arrays["spoken"])[0]


# ---- places


def peak(scores):
    """The place of the highest score, between samples, by a parabola through it and its neighbours."""
    at = int(np.argmax(scores))
    if 0 < at < len(scores) - 1:
        before, here, after = scores[at - 1 : at + 2]
        return at + 0.5 * (before - after) / (before - 2 * here + after)
    return float(at)


def places_of_sound(samples, spoken):
    """Where the recording begins in the samples, for each time that it is in there as a whole."""
    if len(samples) < len(spoken):
        return []
    size = 1 << (len(samples) + len(spoken)).bit_length()
    product = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(spoken, size).conj(), size)
    product = product[: len(samples) - len(spoken) + 1]
    sums = np.concatenate([[0], np.cumsum(samples.astype(np.float64) ** 2)])
    energy = np.sqrt(np.maximum(sums[len(spoken) :] - sums[: -len(spoken)], 1e-6) * (spoken.astype(np.float64) ** 2).sum())
    scores = product / energy
    found = []
    while scores.max(initial=0) > 0.7:
        at = int(scores.argmax())
        found.append(at - 1 + peak(scores[max(at - 1, 0) : at + 2]) if at else 0.0)
        # A speech does not begin within another.
        scores[max(at - len(spoken), 0) : at + len(spoken)] = 0
    return sorted(found)


def place_of_mouth(times, moved, wanted, about):
    """When the speech begins in the picture, near `about`; how alike the movements are (1 = the same); frames held.

    A frame is held where the mouth is not as it should be, but as it should have been a frame before: the element
    repeats a picture when it is too late to paint one. Of those only the ones in a movement are seen.
    """
    length = len(wanted) / DENSE
    lags = np.arange(-REACH, REACH, 0.001)
    # The same frames for all lags, or scores could not be compared.
    inside = (times >= about + REACH) & (times <= about + length - REACH)
    if inside.sum() < 2 * 25:
        return about, 0.0, 0
    shown, received = times[inside] - about, moved[inside]

    def expected(lag):
        # Between the dense pictures the mouth moves evenly.
        return np.interp(shown - lag, np.arange(len(wanted)) / DENSE, wanted)

    def alike(lag):
        return np.corrcoef(received, expected(lag))[0, 1]

    scores = np.array([alike(lag) for lag in lags])
    best = lags[0] + 0.001 * peak(scores)
    # An encoder's colours may be a little off, and so all levels.
    bias = np.median(received - expected(best))
    now, before = (np.abs(received - bias - expected(best + late)) for late in (0, np.median(np.diff(shown))))
    return about + best, scores.max(), int(((now > 0.2) & (before < 0.1)).sum())


# ---- the checks


class Judge:
    def __init__(self):
        self.failed = False

    def check(self, good, name, text):
        self.failed |= not good
        print(f"{'ok  ' if good else 'FAIL'} {name}: {text}", flush=True)


def check_steps(judge, name, times, steps, what):
    """That each time is its step after the one before."""
    wrong = np.abs(np.diff(times) - steps) * 1000
    # Half a millisecond of rounding at either end is what the tolerance stands for; a hair more for floats.
    holes = np.flatnonzero(wrong > TOLERANCE_MS + 0.01)
    text = f"{len(times)} {what} in {times[-1] - times[0]:.2f} s, worst step off by {wrong.max(initial=0):.2f} ms"
    if len(holes):
        text += f", {len(holes)} wrong, the first at {times[holes[0]]:.3f} s"
    judge.check(not len(holes), name, text)


def judge_file(judge, arguments):
    face, wanted = reference(arguments.speech)
    times, levels, damaged = pictures(arguments.received)
    sound_times, lengths, samples = sound(arguments.received)

    if arguments.seconds:
        length = times[-1] - times[0]
        # What ffmpeg asks of a server begins before the first key frame.
        judge.check(length > arguments.seconds - 3, "length", f"{length:.1f} s of {arguments.seconds:.0f} s asked for")
    check_steps(judge, "cadence", times, 1 / arguments.fps, "frames")
    expected = round((times[-1] - times[0]) * arguments.fps) + 1
    judge.check(len(times) == expected, "frames", f"{len(times)} of {expected} that fit in between")
    judge.check(not damaged, "damage", f"{damaged} complaints of the decoder about the picture")
    check_steps(judge, "sound", sound_times, lengths[:-1], "pieces of sound")

    # Time stamps are rounded, their mean is not.
    start = np.median(sound_times - np.concatenate([[0], np.cumsum(lengths)[:-1]]))
    spoken = sound(arguments.speech)[2]
    begins = [start + at / RATE for at in places_of_sound(samples, spoken)]
    moved, strangeness = face.movement(levels)
    judge.check(strangeness < 4, "picture", f"it is the avatar's, {strangeness:.1f} levels off at worst")
    speeches = []
    for begin in begins:
        if times[0] <= begin + REACH and begin + len(wanted) / DENSE - REACH <= times[-1]:
            seen, alike, held = place_of_mouth(times, moved, wanted, begin)
            speeches.append(((seen - begin) * 1000, alike, held))
            if arguments.verbose:
                print(f"     speech at {begin:.3f} s: picture {speeches[-1][0]:+.1f} ms after the sound, alike {alike:.3f}")
    if not speeches:
        judge.check(False, "lips", f"the recording is not in there as a whole ({len(begins)} times in the sound)")
        return
    offsets, alike, held = (np.array(column) for column in zip(*speeches, strict=True))
    judge.check(min(alike) > 0.9, "mouth", f"moves as offline: {min(alike):.3f} to {max(alike):.3f} of 1")
    allowed = int(arguments.held * len(times))
    judge.check(sum(held) <= allowed, "held", f"{sum(held)} pictures of a moving mouth shown twice, {allowed} allowed")
    judge.check(
        max(map(abs, offsets)) <= arguments.limit, "lips",
        f"picture {np.mean(offsets):+.1f} ms after the sound "
        f"({min(offsets):+.1f} to {max(offsets):+.1f} in {len(offsets)} speeches), {arguments.limit:.0f} ms allowed",
    )


def judge_arrival(judge, received):
    """Only that there is picture and sound: a busy machine may have been late with both."""
    times, _, _ = pictures(received)
    judge.check(len(times) > 1, "picture", f"{len(times)} frames in {times[-1] - times[0]:.2f} s")
    _, lengths, samples = sound(received)
    loudest = float(np.abs(samples).max())
    judge.check(loudest > 0.01, "sound", f"{lengths.sum():.2f} s, {loudest:.2f} of 1 at its loudest")


def judge_browser(judge, folder, speech):
    """Pictures that a browser showed, in a folder: the mouth must move, or it shows but a still."""
    face, wanted = reference(speech)
    _, levels, _ = pictures(folder / "%03d.png")
    moved, strangeness = face.movement(levels)
    judge.check(strangeness < 4, "browser", f"{len(levels)} pictures of the avatar, {strangeness:.1f} levels off at worst")
    share = moved.std() / wanted.std()
    judge.check(share > 0.5, "mouth", f"moves {share:.2f} times as much as in the whole recording")


def judge_log(judge, log):
    lines = [line for line in log.read_text(errors="replace").splitlines() if COMPLAINTS.search(line)]
    lines = [line for line in lines if not HARMLESS.search(line)]
    judge.check(not lines, "log", f"{len(lines)} lines about loss, lateness or time in that of the {log.stem}")
    for line in lines[:10]:
        print(f"     {line[:220]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("received", type=Path, nargs="?", help="what a receiver wrote, or a folder of a browser's pictures")
    parser.add_argument("--speech", type=Path, default=ROOT / "examples/sample.wav", help="the recording that is spoken")
    parser.add_argument("--what", choices=["everything", "arrival"], default="everything", help="what is judged")
    parser.add_argument("--prepare", action="store_true", help="make what the speech is compared with, and no more")
    parser.add_argument("--seconds", type=float, help="so much of it must have come")
    parser.add_argument("--fps", type=float, default=25)
    parser.add_argument("--limit", type=float, default=OFFSET_MS, help="milliseconds that picture and sound may be apart")
    parser.add_argument("--held", type=float, default=HELD, help="share of the pictures that may be shown twice")
    parser.add_argument("--log", type=Path, nargs="+", default=[], help="logs in which nothing may be lost or late")
    parser.add_argument("--verbose", action="store_true", help="show every speech")
    arguments = parser.parse_args()
    if arguments.prepare:
        reference(arguments.speech)
        return
    judge = Judge()
    try:
        if arguments.what == "arrival":
            judge_arrival(judge, arguments.received)
        elif arguments.received.is_dir():
            judge_browser(judge, arguments.received, arguments.speech)
        else:
            judge_file(judge, arguments)
    except Failed as reason:
        judge.check(False, "received", str(reason))
    for log in arguments.log if arguments.what == "everything" else []:
        judge_log(judge, log)
    sys.exit(judge.failed)


if __name__ == "__main__":
    main()
