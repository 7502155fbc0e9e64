#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""The sound that both machines speak, and the comparison of what they paint.

    frames.py cut WAV SECONDS PART           the beginning of a recording
    frames.py compare FILE FILE LEVELS       raw 8-bit pictures: none of their bytes may differ by more than LEVELS
"""

import sys
import wave

import numpy as np


def cut(source: str, seconds: str, part: str) -> None:
    with wave.open(source) as sound, wave.open(part, "wb") as beginning:
        beginning.setparams(sound.getparams())
        beginning.writeframes(sound.readframes(round(float(seconds) * sound.getframerate())))


def compare(one: str, other: str, levels: str) -> None:
    pictures = [np.fromfile(path, np.uint8) for path in (one, other)]
    sizes = [picture.size for picture in pictures]
    if sizes[0] != sizes[1] or sizes[0] == 0:
        sys.exit(f"FAIL {sizes[0]} and {sizes[1]} bytes of pictures")
    differences = np.abs(np.subtract(*pictures, dtype=np.int16))
    differ = np.count_nonzero(differences)
    print(f"    {differ} of {sizes[0]} bytes differ, by {differences.max()} at most")
    if differences.max() > int(levels):
        sys.exit(f"FAIL they may differ by {levels} at most")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["cut", *words] if len(words) == 3:
            cut(*words)
        case ["compare", *words] if len(words) == 3:
            compare(*words)
        case _:
            sys.exit(__doc__)
