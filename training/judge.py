# SPDX-License-Identifier: MPL-2.0
"""How good is a person's avatar? Measured on the shipped files, on speech that no training step heard.

    PERSON=iris python judge.py                 # prints the tables
    PERSON=iris python judge.py --write         # and puts them into models/README.md, with the worst frames

Truth is rendered: what the mesh looks like in the mouth states that `mouth.trajectory` makes of the phone
times, in the same pose of the head, put into the same frame.  What is painted is read back from the pixels
(reader.py).  Two simple baselines hear differently and paint with the same painter: `loudness` opens the jaw
by the level of the sound, `first avatar` hears with the networks of the first Iris.
"""

import argparse
import functools
import subprocess
from pathlib import Path

import cv2
import landmarks
import make_idle
import mel
import motion
import mouth
import numpy as np
import onnx
import onnxruntime
import pictures
import reader
import speech_data
import torch
import train_encoder
import train_generator
import walls
from common import AVATAR, BOX_H, BOX_W, BOX_X, BOX_Y, CROP_X, CROP_Y, HERE, OWN, WORK
from people import NAME
from preview import Avatar, tile
from scipy.interpolate import CubicSpline
from scipy.stats import spearmanr
from tqdm import tqdm

FIRST_AVATAR = "ebe9090"  # the commit whose models/iris was the first
UNSEEN = ("jf_nezumi", "jf_tebukuro", "human")
GROUPS = {  # how the names of held-out clips begin
    "flite, known voices": ("slt", "rms", "awb", "kal16"),
    "Kokoro, known voices": ("jf_gongitsune", "jm_kumo", "jf_alpha"),
    "espeak-ng, four languages": ("de_", "fr_", "es_", "it_"),
    "Kokoro, unseen voices": ("jf_nezumi", "jf_tebukuro"),
    "human reader, unseen": ("human",),
}
FULL_MM = float(mouth.opening(mouth.shape_vector("aa")))
SHUT_MM = 0.05 * FULL_MM
INNER = (slice(48, 160), slice(64, 192))  # lips, chin and the corners of the nose, of the mouth box
LAGS = np.arange(-200, 201)  # ms


# ------------------------------------------------------------- hearing


def onnx_session(model):
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])


@functools.cache
def first_avatar():
    """The networks of the first Iris: encoder, and the head cut out of the generator."""
    encoder, generator = (
        subprocess.run(["git", "show", f"{FIRST_AVATAR}:models/iris/{name}.onnx"], cwd=HERE, capture_output=True, check=True).stdout
        for name in ("audio_encoder", "generator")
    )
    model = onnx.load_from_string(generator)
    clip = next(i for i, node in enumerate(model.graph.node) if node.op_type == "Clip")
    states = model.graph.node[clip].output[0]
    del model.graph.node[clip + 1 :]
    del model.graph.output[:]
    model.graph.output.append(onnx.ValueInfoProto(name=states))
    return onnx_session(encoder), onnx_session(model.SerializeToString())


def hear_first(audio):
    encoder, head = first_avatar()
    frames = len(audio) * mel.FPS // mel.SAMPLE_RATE
    windows = mel.windows(mel.mel_spectrogram(torch.from_numpy(audio)), frames).numpy()
    rows = torch.from_numpy(encoder.run(None, {encoder.get_inputs()[0].name: windows})[0])
    contexts = mel.contexts(rows).reshape(frames, 32, 16, 16).numpy()
    inputs = {"audio": contexts}
    if any(i.name == "input" for i in head.get_inputs()):
        inputs["input"] = np.zeros((frames, 6, 320, 320), np.float32)
    return head.run(None, inputs)[0]


def hear_loudness(audio):
    """The jaw follows the level: an `aa` at the loudest, shut below -40 dB of it."""
    frames = len(audio) * mel.FPS // mel.SAMPLE_RATE
    level = np.convolve(audio**2, np.hanning(1280) / np.hanning(1280).sum(), "same")
    level = 10 * np.log10(np.interp(np.arange(frames) * 640, np.arange(len(level)), level) + 1e-10)
    amount = np.clip(1 + (level - level.max()) / 40, 0, 1) ** 2
    return amount[:, None] * mouth.shape_vector("aa")


# ------------------------------------------------------------- pictures


class Painted:
    """Mouth boxes of a clip, painted by the shipped files."""

    def __init__(self, avatar):
        self.avatar = avatar
        self.painter = train_generator.load(OWN / "painter.pt")

    def box_place(self, number):
        x, y, _, _ = self.avatar.crops[self.avatar.ping_pong(number)]
        return x + BOX_X - CROP_X, y + BOX_Y - CROP_Y

    def cut(self, frame, number):
        x, y = self.box_place(number)
        return frame[y : y + BOX_H, x : x + BOX_W]

    def shipped(self, audio):
        return [self.cut(self.avatar.paint(n, c), n) for n, c in enumerate(self.avatar.contexts(audio))]

    @torch.no_grad()
    def of_states(self, states):
        """The same for mouth states heard by something else."""
        boxes = [self.cut(self.avatar.frames[self.avatar.ping_pong(n)], n) for n in range(len(states))]
        planes = torch.from_numpy(np.stack(boxes)).permute(0, 3, 1, 2).float() / 255
        out = torch.cat([self.painter(p, s) for p, s in zip(planes.split(16), torch.tensor(states).float().split(16))])
        return list((out * 255).round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy())


def rendered_truth(painted):
    """{clip: (states, mouth boxes as they would be in the avatar's frames, landmarks in them)}."""
    poses = np.load(WORK / "poses.npz")
    eyes, scene = pictures.eyes(), motion.scene()
    found, index = {}, 0
    bar = tqdm(total=len(poses["truth"]), desc="truth")
    for name, frames in zip(poses["truth_clips"], poses["truth_frames"]):
        boxes, points = [], []
        for number in range(frames):
            pose = make_idle.pose_at(painted.avatar.ping_pong(number))
            picture = pictures.still_with_mouth(pictures.still(), OWN / "truth" / f"{index:04}.png")
            moved = np.clip(make_idle.move(make_idle.premultiplied(picture), pose, eyes), 0, 1)
            frame = make_idle.levels(moved[..., :3] + walls.wall() * (1 - moved[..., 3:]))
            boxes.append(painted.cut(frame, number))
            at = landmarks.positions(poses["truth"][index])
            shift = cv2.remap(scene.shift(pose), *((at.astype(np.float32) + 0.5) / motion.GRID - 0.5).T, cv2.INTER_LINEAR)
            points.append(at + shift[:, 0] - painted.box_place(number))
            index += 1
            bar.update()
        found[str(name)] = (poses["truth"][index - frames : index], boxes, np.stack(points))
    return found


def psnr(a, b):
    return -10 * np.log10(np.mean((a[INNER].astype(float) - b[INNER]) ** 2) / 255**2 + 1e-12)


def ssim(a, b):
    """Structural similarity of the luma (Wang et al. 2004: Gaussian window of 1.5 pixels)."""

    def blur(picture):
        return cv2.GaussianBlur(picture, (11, 11), 1.5)

    a, b = (cv2.cvtColor(x[INNER], cv2.COLOR_BGR2GRAY).astype(float) for x in (a, b))
    mean_a, mean_b = blur(a), blur(b)
    var_a, var_b, cov = blur(a * a) - mean_a**2, blur(b * b) - mean_b**2, blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    return float(np.mean((2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))))


# ------------------------------------------------------------- numbers


def opening_mm(points):
    """Distance between the lips read from pictures, in mm over that at rest."""
    rest = landmarks.positions(np.zeros(mouth.N_UNITS))[None]
    pixels_per_mm = pixels_of_jaw() / float(mouth.OPENING_MM[0])
    return (reader.opening(points) - reader.opening(rest)) / pixels_per_mm


@functools.cache
def pixels_of_jaw():
    jaw = np.eye(mouth.N_UNITS)[0] * 0.4
    states = np.stack([landmarks.positions(jaw), landmarks.positions(jaw * 0)])
    return float(np.diff(reader.opening(states)[::-1])[0]) / 0.4


def best_lag(signals, tracks):
    """Shift in ms by which the signals (one value a frame) are behind the true opening, in steps of 1 ms."""
    products = np.zeros((len(LAGS), 5))
    for signal, track in zip(signals, tracks):
        time = np.arange(0, (len(signal) - 1) / mel.FPS, 0.001)
        heard = CubicSpline(np.arange(len(signal)) / mel.FPS, signal)(time)
        for row, lag in enumerate(LAGS):
            true = mouth.opening(mouth.at_times(track, time - lag / 1000))
            products[row] += (heard @ true, heard.sum(), true.sum(), heard @ heard, true @ true)
    count = sum(len(np.arange(0, (len(s) - 1) / mel.FPS, 0.001)) for s in signals)
    ab, a, b, aa, bb = products.T / count
    return int(LAGS[np.argmax((ab - a * b) / np.sqrt((aa - a * a) * (bb - b * b)))])


def closures(clip, opening):
    """For every p, b and m of a clip: did the lips shut in a frame within it (or the frames beside it)?"""
    shut = []
    for name, start, end in clip.phones:
        if name in mouth.CLOSED_PHONES:
            near = opening[max(0, int(start * mel.FPS)) : int(np.ceil(end * mel.FPS)) + 1]
            shut += [near.min() < SHUT_MM] if len(near) else []
    return shut


def true_opening(clip, frames, rate=mel.FPS):
    return mouth.opening(mouth.at_times(clip.track, np.arange(frames) / rate))


def movement(openings):
    return np.mean([np.abs(np.diff(o)).mean() for o in openings])


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows])


def judge_pictures(painted, read, truth, worst_path):
    """PSNR, SSIM and landmarks against rendered truth, for the avatar and the baselines."""
    clips = {clip.name: clip for clip in speech_data.load_clips("held")}
    hearers = {NAME.capitalize(): None, "first avatar": hear_first, "loudness": hear_loudness}
    rows, worst = [], []
    for label, hearer in hearers.items():
        values = {"unseen": [], "all": []}
        for name, (_, boxes, points) in truth.items():
            audio = clips[name].audio
            got = painted.shipped(audio) if hearer is None else painted.of_states(hearer(audio))
            apart = np.linalg.norm(reader.read(read, got) - points, axis=2).mean(1)
            each = [(psnr(a, b), ssim(a, b), d) for a, b, d in zip(got, boxes, apart)]
            values["all"] += each
            values["unseen"] += each if name.startswith(UNSEEN) else []
            if hearer is None:
                worst += [(e[0], b, g) for e, b, g in zip(each, boxes, got)]
        for which, found in values.items():
            p, s, d = np.array(found).T
            rows.append([f"{label}, {which}", len(found), f"{p.mean():.1f} (lowest {p.min():.1f})", f"{s.mean():.3f}", f"{d.mean():.2f}"])
    found = [np.linalg.norm(reader.read(read, boxes) - points, axis=2).mean() for _, boxes, points in truth.values()]
    rows.append(["the rendered truth itself (error of the method)", sum(len(b) for _, b, _ in truth.values()), "", "", f"{np.mean(found):.2f}"])
    worst.sort(key=lambda item: item[0])
    cells = [np.concatenate([b[16:176, 32:224], g[16:176, 32:224]]) for _, b, g in worst[:8]]
    cv2.imwrite(str(worst_path), tile(cells, 8), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return table(["", "frames", "PSNR of the mouth, dB", "SSIM", "lip landmarks apart, px"], rows)


def judge_speech(painted, read):
    """Opening, closures, offset and movement, by the pixels, for every group of held-out speech."""
    rows = []
    for group, names in GROUPS.items():
        clips = [clip for name in names for clip in speech_data.load_clips("held", name)]
        openings = [
            opening_mm(reader.read(read, painted.shipped(clip.audio))) for clip in tqdm(clips, desc=group, leave=False)
        ]
        truths = [true_opening(clip, len(o)) for clip, o in zip(clips, openings)]
        a, b = np.concatenate(openings), np.concatenate(truths)
        shut = [s for clip, o in zip(clips, openings) for s in closures(clip, o)]
        possible = [s for clip, t in zip(clips, truths) for s in closures(clip, t)]
        lag = best_lag(openings, [clip.track for clip in clips])
        rows.append([
            group, f"{sum(len(c.audio) for c in clips) / mel.SAMPLE_RATE:.0f} s", f"{spearmanr(a, b).statistic:.3f}",
            f"{lag:+d} ms", f"{np.mean(shut):.1%} of {len(shut)} ({np.mean(possible):.1%})", f"{movement(openings) / movement(truths):.2f}",
        ])  # fmt: skip
    head = ["held-out speech", "length", "rank correlation of the opening", "late by", "p, b, m shut (truth)", "movement against truth"]
    return table(head, rows)


def steady_vowel(seconds=3):
    """A sung `ah` that does not change: pulses through four resonances."""
    pulses = np.zeros(seconds * mel.SAMPLE_RATE)
    pulses[:: mel.SAMPLE_RATE // 125] = 1
    from scipy.signal import lfilter

    for hertz, width in ((730, 90), (1090, 110), (2440, 160), (3400, 250)):
        radius = np.exp(-np.pi * width / mel.SAMPLE_RATE)
        pulses = lfilter([1 - radius], [1, -2 * radius * np.cos(2 * np.pi * hertz / mel.SAMPLE_RATE), radius**2], pulses)
    return (0.3 * pulses / np.abs(pulses).max()).astype(np.float32)


def judge_quiet(painted, read):
    """What must not move the mouth, and a sound that must hold it still."""
    rng = np.random.default_rng(99)
    count = 6 * mel.SAMPLE_RATE
    sounds = {
        "digital silence": np.zeros(count, np.float32),
        "white noise at -50 dBFS": rng.standard_normal(count, np.float32) * 10 ** (-50 / 20),
        "white noise at -30 dBFS": rng.standard_normal(count, np.float32) * 10 ** (-30 / 20),
        "coloured noise at -30 dBFS, ten kinds": [speech_data.noise(rng, count) * 10 ** (-30 / 20) for _ in range(10)],
        "music at -20 dBFS, ten pieces": [speech_data.music(rng, count) * 0.1 for _ in range(10)],
    }
    rows = []
    for label, audio in sounds.items():
        audio = audio if isinstance(audio, list) else [audio]
        heard = np.concatenate([opening_mm(reader.read(read, painted.shipped(a.astype(np.float32)))) for a in audio])
        share = np.maximum(heard, 0) / FULL_MM
        rows.append([label, f"{share.mean():.1%}", f"{np.percentile(share, 95):.1%}", f"{share.max():.1%}"])
    vowel = opening_mm(reader.read(read, painted.shipped(steady_vowel())))[20:-20] / FULL_MM
    text = table(["sound", "opening, mean", "95 % of frames below", "most"], rows)
    return f"{text}\n\nA steady sung vowel: open by {vowel.mean():.0%} of full, with a standard deviation of {vowel.std():.1%}."


def judge_lookahead():
    """Rank, distance of landmarks (from the mesh) and closures against the sound known ahead; unseen voices."""
    model = train_encoder.load()
    clips = [clip for name in UNSEEN for clip in speech_data.load_clips("held", name)]
    rows = []
    for future in range(mel.FUTURE_ROWS, mel.SHORTEST_FUTURE - 1, -1):
        openings, truths, apart, shut = [], [], [], []
        for clip in clips:
            states = train_encoder.hear(model, clip.audio, future)
            wanted = mouth.at_times(clip.track, np.arange(len(states)) / mel.FPS)
            openings.append(mouth.opening(states))
            truths.append(mouth.opening(wanted))
            for s, w in zip(states[::5], wanted[::5]):
                apart.append(np.linalg.norm(landmarks.positions(s) - landmarks.positions(w), axis=1).mean())
            shut += closures(clip, openings[-1])
        rank = spearmanr(np.concatenate(openings), np.concatenate(truths)).statistic
        jitter = movement(openings) / movement(truths)
        rows.append([f"{mel.lookahead_ms(future):.1f} ms", f"{rank:.3f}", f"{np.mean(apart):.2f} px", f"{np.mean(shut):.1%}", f"{jitter:.2f}"])
    return table(["sound known behind the frame", "rank correlation", "landmarks apart", "p, b, m shut", "movement"], rows)


def judge_rates():
    """Is the movement as smooth at 50 frames a second as at 25? Change per frame against truth's."""
    model = train_encoder.load()
    clips = [clip for name in UNSEEN for clip in speech_data.load_clips("held", name)]
    rows = []
    for step in (1, 2):
        openings = [mouth.opening(train_encoder.hear(model, clip.audio, step=step)) for clip in clips]
        truths = [true_opening(clip, len(o), mel.FPS * step) for clip, o in zip(clips, openings)]
        turns = [np.abs(np.diff(o, 2)).mean() / np.abs(np.diff(t, 2)).mean() for o, t in zip(openings, truths)]
        rows.append([mel.FPS * step, f"{movement(openings) / movement(truths):.2f}", f"{np.mean(turns):.2f}"])
    return table(["frames a second", "change from frame to frame, against truth", "change of that change, against truth"], rows)


def write_section(path, mark, text):
    """Between the marks in a document."""
    path = HERE.parent / path
    begin, end = f"<!-- {mark} -->", f"<!-- end of {mark} -->"
    before, _, rest = path.read_text().partition(begin)
    path.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the tables into models/README.md and docs/live.md")
    parser.add_argument("--worst", type=Path, default=HERE.parent / "models" / f"{NAME}-worst.jpg")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    painted, read = Painted(Avatar(AVATAR)), reader.load()
    parts = []
    if (OWN / "truth").exists():
        parts.append(judge_pictures(painted, read, rendered_truth(painted), arguments.worst))
    parts += [judge_speech(painted, read), judge_quiet(painted, read)]
    if NAME == "iris":  # hearing is the same for all
        parts.append(judge_rates())
        lookahead = judge_lookahead()
        print(lookahead)
        if arguments.write:
            write_section("docs/live.md", "lookahead", lookahead)
    text = "\n\n".join(parts)
    print(text)
    if arguments.write:
        write_section("models/README.md", f"judged: {NAME}", text)


if __name__ == "__main__":
    main()
