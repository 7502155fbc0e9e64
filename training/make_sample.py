# SPDX-License-Identifier: MPL-2.0
"""examples/sample.wav: Iris introduces herself, in a voice and with sentences that were not used in training.

    python make_sample.py
"""

import argparse

import numpy as np
from common import HERE, write_wav
from make_speech import HELD_VOICES, kokoro

TEXT = [
    "Hello, I am Iris.",
    "I turn any voice into a talking face, live, on an ordinary computer.",
    "Play me a recording, and watch my lips move with every word.",
]
RATE = 24_000
PEAK = 10 ** (-3 / 20)
ENDS, PAUSE = 0.3, 0.35  # s of silence


def trim(audio, threshold=0.01):
    loud = np.flatnonzero(np.abs(audio) > threshold * np.abs(audio).max())
    return audio[max(0, loud[0] - 240) : loud[-1] + 1200]


def fade(audio, samples=240):
    slope = np.linspace(0, 1, samples)
    audio[:samples] *= slope
    audio[-samples:] *= slope[::-1]
    return audio


def sample(voice):
    pieces = [np.zeros(int(ENDS * RATE))]
    for sentence in TEXT:
        pieces += [fade(trim(kokoro(sentence, {voice: 1.0}).copy())), np.zeros(int(PAUSE * RATE))]
    pieces[-1] = np.zeros(int(ENDS * RATE))
    audio = np.concatenate(pieces)
    return audio * PEAK / np.abs(audio).max()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--voice", default=HELD_VOICES[0])
    parser.add_argument("--out", default=HERE.parent / "examples" / "sample.wav")
    arguments = parser.parse_args()
    write_wav(arguments.out, sample(arguments.voice), RATE)
