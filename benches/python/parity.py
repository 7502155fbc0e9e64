#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""How far the plugin's pictures are from those of the independent Python reference, written to docs/parity.md.

Both get the same avatars, with 1280 x 720 JPEG frames like those of the public projects, the same networks and the same audio.
Every frame is compared: the whole picture, and the mouth separately. Bounds are asserted: the exit status says whether they
hold. Rows without a bound show how much public programs differ from each other, for comparison.

The plugin is the one that GStreamer finds: set GST_PLUGIN_PATH.
"""

import argparse
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import cv2
import numpy as np
from parity_differences import LEAST_WITHIN_1, MOST_MEAN, MOST_MEAN_I420, MOST_WORST, Comparison
from parity_material import AVATAR_FRAMES, FRAMES, HEIGHT, ROOT, SCRATCH, WIDTH, Case, cases, say, write_avatars, write_sound
from parity_renders import (
    Image,
    i420_planes,
    paste_by_pillow,
    run_plugin,
    run_reference,
    to_ycc,
    with_ipp,
    with_mel_in_single_precision,
)

import compositing  # parity_material has put it on the path
import features

REPORT = ROOT / "docs/parity.md"


def progress(case: str, frames: int, pairs: Iterator) -> Iterator:
    """Yields the first `frames` pairs and prints the progress every ten seconds."""
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
    """Compares luma and chroma separately."""
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
    """Compares two variants of the reference."""
    say(name)
    comparison = Comparison(case, name, None)
    for one, other in progress(name, frames, zip(a, b)):
        comparison.add(one, other)
    return comparison


def explain(frames: int, sound: Path) -> list[Comparison]:
    """Returns how much public programs differ."""
    synctalk, _, _, clone = cases()[:4]
    ways = with_mel_in_single_precision(run_reference(synctalk, sound)), run_reference(synctalk, sound)
    results = [compare_references(synctalk, frames, "librosa in float32 and in float64", *ways)]
    if hasattr(cv2, "ipp"):
        ways = with_ipp(run_reference(synctalk, sound)), run_reference(synctalk, sound)
        results.append(compare_references(synctalk, frames, "OpenCV with and without Intel IPP", *ways))
    if Image:
        compositing.PASTES["pillow"] = paste_by_pillow
        ways = run_reference(replace(clone, paste="pillow"), sound), run_reference(clone, sound)
        results.append(compare_references(clone, frames, "digital-clone's Pillow resize and OpenCV's", *ways))
    else:
        say("Pillow is not installed, so its row is left out")
    return results


# --- report -----------------------------------------------------------------------------------------------------------

HEADER = [
    "| case | part | frames | within 1 level, % of pixels | within 3, % | identical, % | mean difference, levels | worst |",
    "|---|---|---|---|---|---|---|---|",
]

TEXT = """# The plugin's pictures compared with the reference's

The plugin and `tests/python/reference.py`, which shares no code with it, rendered the same {frames} frames of 1280 x 720.
`benches/python/parity.py` compared all of them and wrote this file.

- The difference of a pixel is the largest of its three channels. The mean is over all values.
- The mouth region is the lower half of the face rectangle, at half its width.
- Avatars: {avatar_frames} synthetic JPEG frames with a face of 300 to 420 pixels, in the layouts of SyncTalk_2D and digital-clone.
- Networks: SyncTalk_2D's architecture with random weights (full size), and the small networks of the tests (tiny).
- Audio: ten seconds of `examples/sample.wav`, at 16 kHz.

## Plugin and reference

Asserted: at least {least} % of pixels within one level, all within {worst}, mean below {mean}. {verdict}

{bounded}

Resampling and colour conversion. At 24 kHz each side uses its own resampler, with the same bounds. I420 is compared
with a floating-point conversion (BT.709, chroma averaged over 2 x 2 pixels); its mean must be below {mean_i420}.

{others}

## Differences between public programs

To put this in perspective: the same frames, rendered by the reference alone with two libraries or builds that are both in use, with
the full-size networks. librosa computes in float32 or float64, depending on its input. Most prebuilt OpenCV packages use Intel IPP.
digital-clone's script scales the generated face with Pillow, SyncTalk_2D's with OpenCV.

The generator's output is truncated to integers, so a rounding error in a sum can change a pixel by one level. The first row shows
how many pixels that affects.

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
