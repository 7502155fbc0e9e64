#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""Judges what a browser received of `lipsync serve`: are the lips in step with the sound?

As scripts/on_air/judge.py does, whose measures these are: the sound is placed by correlating it with the recording that is
spoken, the picture by correlating the movement of the mouth with that of the same recording, spoken offline. Only the offset
is judged: a browser's recording of what it shows has a cadence of its own.

    judge.py SPEECH.wav RECEIVED...
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "on_air"))
import judge  # noqa: E402, the path has to be known first

LIMIT_MS = 40.0
"""One frame."""
PIECE = judge.RATE
"""Samples of a piece of the sound."""
LEAST = 5
"""Pieces that have to be found."""


def place_of_sound(samples, spoken):
    """Where the recording begins in the samples: browsers stretch and shorten what they play, so it is placed by pieces."""
    places = []
    for begin in range(0, len(spoken) - PIECE, PIECE // 2):
        piece = spoken[begin : begin + PIECE]
        if np.abs(piece).max() > 0.05:
            places += [place - begin for place in judge.places_of_sound(samples, piece)[:1]]
    if len(places) < LEAST:
        raise judge.Failed(f"only {len(places)} pieces of the recording are in the sound")
    return float(np.median(places))


def offset(face, wanted, spoken, received):
    """By how many milliseconds the picture is after the sound, and how alike the movement of the mouth is."""
    times, levels, _ = judge.pictures(received)
    sound_times, lengths, samples = judge.sound(received)
    start = np.median(sound_times - np.concatenate([[0], np.cumsum(lengths)[:-1]]))
    begin = start + place_of_sound(samples, spoken) / judge.RATE
    seen, alike, _ = judge.place_of_mouth(times, face.movement(levels)[0], wanted, begin)
    return (seen - begin) * 1000, alike


def main():
    speech, *files = map(Path, sys.argv[1:])
    face, wanted = judge.reference(speech)
    spoken = judge.sound(speech)[2]
    verdict = judge.Judge()
    for file in files:
        try:
            late, alike = offset(face, wanted, spoken, file)
        except judge.Failed as problem:
            verdict.check(False, file.name, str(problem))
            continue
        verdict.check(alike > 0.8, file.name, f"the mouth moves as offline: {alike:.3f} of 1")
        verdict.check(abs(late) <= LIMIT_MS, file.name, f"picture {late:+.1f} ms after the sound, {LIMIT_MS:.0f} ms allowed")
    return verdict.failed


if __name__ == "__main__":
    sys.exit(main())
