#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""How far the plugin's pictures are from those of the independent Python reference, written to docs/parity.md.

Both get the same avatars, of 1280 x 720 JPEG frames as the public projects have, the same networks and the same sound.
Every frame is compared, the whole picture and the mouth apart. Bounds are asserted: the exit status says whether they
hold. Rows without a bound show how far public programs are from each other, so that the rest has a scale.

The plugin is the one that GStreamer finds: set GST_PLUGIN_PATH.
"""

import argparse
import functools
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import time
import wave
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import cv2
import librosa
import numpy as np
import onnx
import soundfile
import soxr

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/python"))

import avatar_folders
import compositing
import features
import reference
import synctalk_networks
from fixtures import avatars, models

try:
    from PIL import Image
except ImportError:
    Image = None

SCRATCH = ROOT / "target/parity"
SAMPLE = ROOT / "examples/sample.wav"
REPORT = ROOT / "docs/parity.md"

WIDTH, HEIGHT = 1280, 720
AVATAR_FRAMES = 64
FRAMES = 250

LEAST_WITHIN_1, MOST_MEAN, MOST_WORST = 99.9, 0.02, 3
MOST_MEAN_I420 = 0.1
"""The conversion rounds once more."""
"""The bounds: percent of pixels, levels, levels."""


def say(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


# --- what both are given ----------------------------------------------------------------------------------------------


def squares() -> list[tuple[int, int, int]]:
    """Returns x, y, side of a face that moves and comes nearer, 300 to 420 pixels wide; some are exactly 328."""
    result = []
    for i in range(AVATAR_FRAMES):
        side = 328 if i % 16 == 7 else round(360 + 60 * np.sin(0.37 * i))
        x = round(WIDTH * 0.5 + 20 * np.sin(i) - side / 2)
        result.append((x, round(HEIGHT * 0.52 + 160 - 0.72 * side), side))
    return result


def scripts_hash() -> str:
    """Returns a digest of every script that the avatars are made by."""
    paths = [Path(__file__), *sorted((ROOT / "tests/python").glob("**/*.py"))]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in paths)).hexdigest()


def write_networks(folder: Path) -> None:
    """Writes SyncTalk_2D's own networks, with made-up weights, and the tiny ones of the tests."""
    full_size, _ = synctalk_networks.generator(synctalk_networks.WIDTHS, lively=1.0)
    for name, generator, encoder in (
        ("full size", full_size, synctalk_networks.audio_encoder()[0]),
        ("tiny", models.generator(320), models.audio_encoder()),
    ):
        (folder / name).mkdir(parents=True)
        onnx.save(generator, folder / name / "generator.onnx")
        onnx.save(encoder, folder / name / "audio_encoder.onnx")


def write_avatars(folder: Path) -> None:
    """Writes each layout with each pair of networks, unless that has been done before."""
    stamp = folder / "stamp"
    if stamp.exists() and stamp.read_text() == scripts_hash():
        return
    shutil.rmtree(folder, ignore_errors=True)
    say("building the networks")
    write_networks(folder / "networks")
    pictures, size = folder / "pictures", (WIDTH, HEIGHT)
    say(f"drawing {AVATAR_FRAMES} frames for each layout")
    avatars.write_synctalk_pictures(pictures / "synctalk", squares(), size, ".jpg", avatars.JPEG)
    shutil.copytree(pictures / "synctalk", pictures / "synctalk_parsing", copy_function=os.link)
    avatars.write_parsing(pictures / "synctalk_parsing" / "parsing", AVATAR_FRAMES, size)
    avatars.write_clone_pictures(pictures / "digital_clone", squares(), size)
    for networks in (folder / "networks").iterdir():
        for layout in pictures.iterdir():
            target = folder / networks.name / layout.name
            shutil.copytree(layout, target, copy_function=os.link)
            shutil.copytree(networks, target / "models", copy_function=os.link)
            if layout.name == "digital_clone":
                avatars.write_clone_config(target)
    stamp.write_text(scripts_hash())


def write_sound(path: Path, rate: int | None) -> None:
    """Writes the sample's first ten seconds, at 16 kHz so that no resampler has a say, or at its own rate."""
    samples, found = soundfile.read(SAMPLE, dtype="float32")
    if rate:
        samples = soxr.resample(samples, found, rate)
    rate = rate or found
    samples = samples[: FRAMES * rate // avatar_folders.FPS]
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", ""))
        file.writeframes(np.clip(np.round(samples * 32768), -32768, 32767).astype("<i2").tobytes())


# --- the plugin -------------------------------------------------------------------------------------------------------


def run_plugin(case: "Case", frames: int, form: str, sound: Path) -> np.ndarray:
    """Returns the plugin's frames as a mapped file, one row each."""
    out = SCRATCH / f"plugin.{form}"
    caps = f"video/x-raw,format={form},framerate={avatar_folders.FPS}/1"
    if form == "I420":
        caps += ",colorimetry=bt709"
    line = ["gst-launch-1.0", "-q", "filesrc", f"location={sound}", "!", "wavparse", "!"]
    line += ["lipsync", f"avatar={case.avatar}", f"context={case.context}", f"paste={case.paste}", "precision=fp32", "!", caps]
    process = subprocess.Popen([*line, "!", "filesink", f"location={out}"])
    size = WIDTH * HEIGHT * 3 // (2 if form == "I420" else 1)
    shown = time.monotonic()
    while process.poll() is None:
        time.sleep(0.1)
        if time.monotonic() > shown + 10:
            shown = time.monotonic()
            say(f"    plugin: {out.stat().st_size // size if out.exists() else 0} of {FRAMES} frames")
    if process.returncode != 0:
        sys.exit("the plugin's pipeline failed; is GST_PLUGIN_PATH set?")
    result = np.memmap(out, np.uint8, "r").reshape(-1, size)
    if len(result) != FRAMES:
        sys.exit(f"the plugin made {len(result)} frames of {FRAMES}")
    out.unlink()  # it lives until the array is gone
    return result[:frames]


def i420_planes(data: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns luma, H x W x 1, and chroma, H/2 x W/2 x 2, of one frame."""
    luma = data[: WIDTH * HEIGHT].reshape(HEIGHT, WIDTH, 1)
    chroma = data[WIDTH * HEIGHT :].reshape(2, HEIGHT // 2, WIDTH // 2)
    return luma, np.ascontiguousarray(chroma.transpose(1, 2, 0))


# --- the reference ----------------------------------------------------------------------------------------------------


def run_reference(case: "Case", sound: Path) -> Iterator[np.ndarray]:
    """Yields frames. Where the avatar's last frame has been shown, it goes backward, as the plugin does."""
    avatar = replace(avatar_folders.load_avatar(case.avatar), context=case.context, paste=case.paste, ping_pong=True)
    audio, _ = features.read_sound(sound)
    return reference.render(avatar, audio, FRAMES)


def with_ipp(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Lets each frame be made with Intel's primitives in OpenCV, as the usual build does, and no other's."""
    while True:
        cv2.ipp.setUseIPP(True)
        frame = next(frames, None)
        cv2.ipp.setUseIPP(False)
        if frame is None:
            return
        yield frame


def mel_in_single_precision(audio: np.ndarray) -> np.ndarray:
    """Returns T x 80 mel levels, summed in the 32 bits that librosa takes for sound of 32 bits."""
    emphasised = np.append(audio[:1], audio[1:] - np.float32(0.97) * audio[:-1])
    magnitude = np.abs(librosa.stft(emphasised, n_fft=800, hop_length=200, win_length=800))
    filters = librosa.filters.mel(sr=16_000, n_fft=800, n_mels=80, fmin=55, fmax=7600)
    level = 20 * np.log10(np.maximum(1e-5, filters @ magnitude)) - 20
    return np.clip(8 * (level + 100) / 100 - 4, -4, 4).T.astype(np.float32)


def with_mel_in_single_precision(frames: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Lets the mel, which is made before the first frame, be made in single precision."""
    usual = reference.mel_spectrogram
    reference.mel_spectrogram = mel_in_single_precision
    first = next(frames)
    reference.mel_spectrogram = usual
    yield first
    yield from frames


def paste_by_pillow(
    frame: np.ndarray, rect: avatar_folders.Rect, face: np.ndarray, border: int, interpolation: int
) -> None:
    """Stretches the face over the rectangle with Pillow's bicubic kernel."""
    x, y, width, height = rect
    frame[y : y + height, x : x + width] = np.asarray(Image.fromarray(face).resize((width, height), Image.BICUBIC))


def to_ycc(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns BT.709 luma, H x W x 1, and chroma, H/2 x W/2 x 2, in limited range; chroma of the mean of 2 x 2."""
    blue, green, red = np.moveaxis(frame.astype(np.float64) / 255, 2, 0)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    chroma = np.stack([(blue - luma) / 1.8556, (red - luma) / 1.5748], axis=2)
    chroma = chroma.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 2).mean(axis=(1, 3))
    return np.rint(16 + 219 * luma).astype(np.uint8)[..., np.newaxis], np.rint(128 + 224 * chroma).astype(np.uint8)


# --- comparing --------------------------------------------------------------------------------------------------------


class Difference:
    """Adds up how far pictures of the same size are apart. A pixel counts with the worst of its channels."""

    def __init__(self):
        self.pixels = np.zeros(256, np.int64)
        self.values = np.zeros(256, np.int64)

    def add(self, a: np.ndarray, b: np.ndarray) -> None:
        apart = cv2.absdiff(np.ascontiguousarray(a), np.ascontiguousarray(b)).reshape(a.shape)
        self.values += np.bincount(apart.ravel(), minlength=256)
        self.pixels += np.bincount(functools.reduce(np.maximum, np.moveaxis(apart, 2, 0)).ravel(), minlength=256)

    def within(self, levels: int) -> float:
        return 100 * self.pixels[: levels + 1].sum() / self.pixels.sum()

    @property
    def mean(self) -> float:
        return (self.values * np.arange(256)).sum() / self.values.sum()

    @property
    def worst(self) -> int:
        return int(self.pixels.nonzero()[0][-1])

    def in_bounds(self, most_mean: float) -> bool:
        return self.within(1) >= LEAST_WITHIN_1 and self.mean < most_mean and self.worst <= MOST_WORST


def mouth(rect: avatar_folders.Rect) -> tuple[slice, slice]:
    """Returns where the mouth is: the lower half of the face rectangle, half as wide."""
    x, y, width, height = rect
    return slice(y + height // 2, y + height), slice(x + width // 4, x + width - width // 4)


class Comparison:
    """One row's two differences: of the whole picture, and of the mouth."""

    def __init__(self, case: "Case", name: str, most_mean: float | None):
        """Without a largest mean nothing is asserted."""
        self.name, self.most_mean = name, most_mean
        self.avatar = avatar_folders.load_avatar(case.avatar)
        self.frames = 0
        self.whole, self.mouth = Difference(), Difference()

    def add(self, a: np.ndarray, b: np.ndarray) -> None:
        """Compares the next frame, or plane of it at half the size."""
        shrink = HEIGHT // a.shape[0]
        avatar = replace(self.avatar, ping_pong=True)
        x, y, width, height = avatar.rects[avatar.picture_index(self.frames)]
        place = mouth((x // shrink, y // shrink, width // shrink, height // shrink))
        self.whole.add(a, b)
        self.mouth.add(a[place], b[place])
        self.frames += 1

    @property
    def broken(self) -> bool:
        parts = (self.whole, self.mouth)
        return self.most_mean is not None and not all(part.in_bounds(self.most_mean) for part in parts)

    def rows(self) -> list[str]:
        return [
            f"| {self.name} | {part} | {self.frames} | {percent(d.within(1))} | {percent(d.within(3))} "
            f"| {percent(d.within(0))} | {d.mean:.4f} | {d.worst} |"
            for part, d in (("picture", self.whole), ("mouth", self.mouth))
        ]


def percent(value: float) -> str:
    """Returns 100 only for all of them."""
    return "100" if value == 100 else f"{min(value, 99.999):.3f}"


# --- the cases --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """An avatar and how it is painted."""

    name: str
    networks: str
    layout: str
    context: str = "window"
    paste: str = "inner"

    @property
    def avatar(self) -> Path:
        return SCRATCH / "avatars" / self.networks / self.layout


def cases() -> list[Case]:
    return [
        case
        for networks in ("full size", "tiny")
        for case in (
            Case("SyncTalk_2D", networks, "synctalk"),
            Case("SyncTalk_2D, parsing", networks, "synctalk_parsing"),
            Case("digital-clone, window, inner", networks, "digital_clone"),
            Case("digital-clone, tile, full", networks, "digital_clone", "tile", "full"),
        )
    ]


def progress(case: str, frames: int, pairs: Iterator) -> Iterator:
    """Passes on as many as wanted, and says now and then how far it is."""
    shown = time.monotonic()
    for i, pair in zip(range(frames), pairs):
        if time.monotonic() > shown + 10:
            shown = time.monotonic()
            say(f"    {case}: {i} of {frames} frames compared")
        yield pair


def compare_with_plugin(case: Case, frames: int, sound: Path, name: str) -> Comparison:
    """Compares BGR."""
    say(name)
    comparison = Comparison(case, name, MOST_MEAN)
    painted = run_plugin(case, frames, "BGR", sound)
    for ours, theirs in progress(name, frames, zip(painted, run_reference(case, sound))):
        comparison.add(ours.reshape(HEIGHT, WIDTH, 3), theirs)
    return comparison


def compare_i420(case: Case, frames: int, sound: Path) -> list[Comparison]:
    """Compares luma and chroma, apart."""
    name = f"{case.name}, I420"
    say(name)
    both = [Comparison(case, f"{name}, {part}", MOST_MEAN_I420) for part in ("luma", "chroma")]
    painted = run_plugin(case, frames, "I420", sound)
    for ours, theirs in progress(name, frames, zip(painted, run_reference(case, sound))):
        for comparison, a, b in zip(both, i420_planes(ours), to_ycc(theirs), strict=True):
            comparison.add(a, b)
    return both


def compare_references(
    case: Case, frames: int, name: str, a: Iterator[np.ndarray], b: Iterator[np.ndarray]
) -> Comparison:
    """Compares two ways of the reference."""
    say(name)
    comparison = Comparison(case, name, None)
    for one, other in progress(name, frames, zip(a, b)):
        comparison.add(one, other)
    return comparison


def explain(frames: int, sound: Path) -> list[Comparison]:
    """Returns how far apart public programs are."""
    synctalk, _, _, clone = cases()[:4]
    ways = with_mel_in_single_precision(run_reference(synctalk, sound)), run_reference(synctalk, sound)
    results = [compare_references(synctalk, frames, "librosa in 32 bits, and in 64", *ways)]
    if hasattr(cv2, "ipp"):
        ways = with_ipp(run_reference(synctalk, sound)), run_reference(synctalk, sound)
        results.append(compare_references(synctalk, frames, "OpenCV with Intel's primitives, and without", *ways))
    if Image:
        compositing.PASTES["pillow"] = paste_by_pillow
        ways = run_reference(replace(clone, paste="pillow"), sound), run_reference(clone, sound)
        results.append(compare_references(clone, frames, "digital-clone's Pillow paste, and OpenCV's", *ways))
    else:
        say("Pillow is not there, so its row is left out")
    return results


# --- report -----------------------------------------------------------------------------------------------------------

HEADER = [
    "| case | part | frames | within 1 level, % of pixels | within 3, % | identical, % | mean difference, levels | worst |",
    "|---|---|---|---|---|---|---|---|",
]

TEXT = """# The plugin's pictures beside the reference's

The plugin and `tests/python/reference.py`, which shares no code with it, painted the same {frames} frames of 1280 x 720.
`benches/python/parity.py` compared all of them and wrote this file.

- A pixel counts with the worst of its three channels. The mean is over all values.
- The mouth is the lower half of the face rectangle, half as wide.
- Avatars: {avatar_frames} drawn JPEG frames, a face of 300 to 420 pixels, in the layouts of SyncTalk_2D and digital-clone.
- Networks: SyncTalk_2D's own layers with made-up weights (full size), and the small ones of the tests (tiny).
- Sound: ten seconds of `examples/sample.wav`, at 16 kHz.

## Plugin and reference

Asserted: at least {least} % of pixels within one level, all within {worst}, mean below {mean}. {verdict}

{bounded}

What surrounds the painting. At 24 kHz each side resamples the sound in its own way, within the same bounds. I420 is compared
with a conversion in floating point, BT.709, chroma of the mean of four pixels; its mean must be below {mean_i420}.

{others}

## Public programs among themselves

For a scale: the same frames by the reference alone, in two ways that are both in use, with the full-size networks. librosa
computes in 32 or 64 bits, after the sound it is given. Most ready-made builds of OpenCV use Intel's primitives.
digital-clone's script scales the painted face with Pillow, SyncTalk_2D's with OpenCV.

The painted face is cut off to whole levels, so a sum that differs in its last digit can move a pixel by one. The first row
shows how many do.

{public}

{versions}
"""


def table(results: list[Comparison]) -> str:
    return "\n".join(HEADER + [row for result in results for row in result.rows()])


def plugin_version() -> str:
    plugin = subprocess.run(["gst-inspect-1.0", "lipsync"], capture_output=True, text=True)
    if plugin.returncode != 0:
        sys.exit("GStreamer does not find the plugin: set GST_PLUGIN_PATH to its folder")
    return next(line.split()[1] for line in plugin.stdout.splitlines() if line.strip().startswith("Version"))


def versions(lipsync: str) -> str:
    pillow = f", Pillow {version('pillow')}" if Image else ""
    return (
        f"lipsync {lipsync}; OpenCV {cv2.__version__}, ONNX Runtime {version('onnxruntime')}, "
        f"librosa {version('librosa')}, NumPy {np.__version__}{pillow}, {platform.machine()}."
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--frames", type=int, default=FRAMES, help=f"compare the first frames only (default: {FRAMES})")
    parser.add_argument("--only", help="only cases whose layout and networks have this in their name")
    parser.add_argument("--out", type=Path, help="file to write (default: docs/parity.md, or none for part of the work)")
    options = parser.parse_args()
    lipsync = plugin_version()

    SCRATCH.mkdir(parents=True, exist_ok=True)
    write_avatars(SCRATCH / "avatars")
    sound, own_rate = SCRATCH / "sound_16k.wav", SCRATCH / "sound_24k.wav"
    write_sound(sound, features.SAMPLE_RATE)
    write_sound(own_rate, None)

    bounded, others, public = [], [], []
    for case in cases():
        name = f"{case.name}, {case.networks}"
        if not options.only or options.only in f"{case.layout} {case.networks}":
            bounded.append(compare_with_plugin(case, options.frames, sound, name))
            print("\n".join(bounded[-1].rows()), flush=True)
    if not options.only:
        first = cases()[0]
        name = "SyncTalk_2D, full size, sound of 24 kHz"
        others = [compare_with_plugin(first, options.frames, own_rate, name)]
        others += compare_i420(first, options.frames, sound)
        public = explain(options.frames, sound)
        print(table([*others, *public]), flush=True)

    broken = [result.name for result in [*bounded, *others] if result.broken]
    whole = not options.only and options.frames == FRAMES
    if options.out or whole:
        text = TEXT.format(
            frames=options.frames,
            avatar_frames=AVATAR_FRAMES,
            least=LEAST_WITHIN_1,
            worst=MOST_WORST,
            mean=MOST_MEAN,
            mean_i420=MOST_MEAN_I420,
            verdict="All hold." if not broken else f"Broken by: {'; '.join(broken)}.",
            bounded=table(bounded),
            others=table(others),
            public=table(public),
            versions=versions(lipsync),
        )
        (options.out or REPORT).write_text(text, encoding="utf-8")
    for name in broken:
        print(f"out of bounds: {name}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
