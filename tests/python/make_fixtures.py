#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Makes everything that the tests compare against: sounds, tiny models, avatars, golden vectors and golden clips.

The result depends on nothing but these scripts and the pinned packages. A second run over the same folder does nothing
unless a script has changed.
"""

import argparse
import hashlib
import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np

from fixtures import avatars, endless, golden, hostile_networks, models, sounds

HERE = Path(__file__).resolve().parent
PARTS = ("models", "hostile_networks", "endless", "audio", "avatars", "golden", "clips")


def scripts_hash() -> str:
    """Returns a digest of every script here and of the pinned packages."""
    digest = hashlib.sha256()
    for path in sorted([*HERE.glob("**/*.py"), HERE / "requirements.txt"]):
        digest.update(path.relative_to(HERE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def make(out: Path) -> None:
    """Writes all parts, each from those before it."""
    speech, short = sounds.synthetic_speech(), sounds.short_sound()
    steps = {
        "models": lambda: models.write_models(out / "models"),
        "hostile_networks": lambda: hostile_networks.write_hostile_networks(out / "hostile_networks"),
        "endless": lambda: endless.write_endless(out / "endless"),
        "audio": lambda: sounds.write_sounds(out / "audio", speech),
        "avatars": lambda: avatars.write_avatars(out / "avatars", out / "models"),
        "golden": lambda: golden.write_golden(out / "golden", out / "models", speech, short),
        "clips": lambda: golden.write_clips(out / "clips", out / "avatars", out / "audio" / "speech.wav"),
    }
    for name in PARTS:
        started = time.perf_counter()
        steps[name]()
        files = sum(1 for path in (out / name).rglob("*") if path.is_file())
        print(f"{name:16} {files:3} files  {time.perf_counter() - started:5.1f} s")


def write_index(out: Path) -> None:
    """Lists every array with its type and shape, for people and for tests that loop over cases."""
    index = {}
    for path in sorted([*(out / "golden").glob("*.npy"), *(out / "clips").glob("*.npy")]):
        array = np.load(path, mmap_mode="r")
        index[path.relative_to(out).as_posix()] = {"type": array.dtype.name, "shape": list(array.shape)}
    (out / "index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path, help="folder to fill, for instance target/fixtures")
    parser.add_argument("--force", action="store_true", help="make everything anew even where nothing has changed")
    options = parser.parse_args()

    out, stamp = options.out, options.out / "stamp"
    wanted = scripts_hash()
    if not options.force and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        print(f"{out}: up to date")
        return 0

    # The stamp goes first and comes last: an interrupted run is never taken for a finished one.
    stamp.unlink(missing_ok=True)
    for part in PARTS:
        shutil.rmtree(out / part, ignore_errors=True)
    out.mkdir(parents=True, exist_ok=True)
    make(out)
    write_index(out)
    stamp.write_text(wanted, encoding="utf-8")
    print(f"{out}: done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
