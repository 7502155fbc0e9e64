# SPDX-License-Identifier: MPL-2.0
"""Film a shipped avatar with the plugin: a folder of footage, for a network that is to paint what the avatar's own does.

    PERSON=iris python film_avatar.py             # into WORK/iris/own

The folder is in SyncTalk_2D's layout (see footage.py): the avatar speaks in all voices of flite, as `lipsync precision=fp32` paints
it, and its crops serve as landmarks.  The end, by which training is judged, is sentences that are not learned.  `at_rest/N.jpg` is
the frame before the mouth was painted, and `listen.wav` more speech, without pictures.
"""

import argparse
import csv
import itertools
import os
import shutil
import subprocess
from pathlib import Path

import footage
import make_speech
import numpy as np
from common import AVATAR, HERE, OWN, write_wav
from tqdm import tqdm

PAUSE = 0.25  # s between sentences
JPEG_QUALITY = 98
POINTS = 110  # in a file of landmarks, of which the three at the edges of the crop matter


def sentences(held):
    return [s for n, s in enumerate(make_speech.sentences()) if (n % make_speech.HELD_EVERY == 0) == held]


def speech(seconds, held):
    """Sentences in turns of the voices, at 16 kHz."""
    pause = np.zeros(int(PAUSE * make_speech.RATE), np.float32)
    voices = itertools.cycle(make_speech.FLITE_VOICES)
    audio = np.zeros(0, np.float32)
    for sentence, voice in zip(itertools.cycle(sentences(held)), voices):
        audio = np.concatenate([audio, make_speech.flite(sentence, voice)[0], pause])
        if len(audio) >= seconds * make_speech.RATE:
            return audio[: int(seconds * make_speech.RATE)]


def more_speech():
    """Every learned sentence in every voice."""
    parts = [make_speech.flite(s, voice)[0] for voice in make_speech.FLITE_VOICES for s in tqdm(sentences(False), desc=voice)]
    return np.concatenate(parts)


def film(avatar, sound, folder):
    """Has the plugin paint every frame; returns how many there are."""
    line = ["gst-launch-1.0", "-q", "filesrc", f"location={sound}", "!", "wavparse", "!", "audioconvert", "!"]
    line += ["lipsync", f"avatar={avatar}", "precision=fp32", "!", "video/x-raw,format=BGR,framerate=25/1", "!"]
    line += ["jpegenc", f"quality={JPEG_QUALITY}", "!", "multifilesink", f"location={folder}/%d.jpg"]
    built = {"GST_PLUGIN_PATH": str(HERE.parent / "target" / "plugin")}
    subprocess.run(line, check=True, env=built | os.environ)
    return len(list(folder.glob("*.jpg")))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=90, help="of speech")
    parser.add_argument("--out", type=Path, default=OWN / "own")
    arguments = parser.parse_args()
    shutil.rmtree(arguments.out, ignore_errors=True)
    for part in ("full_body_img", "landmarks", "at_rest"):
        (arguments.out / part).mkdir(parents=True)
    held = footage.HELD_SHARE * arguments.seconds
    said = np.concatenate([speech(arguments.seconds - held, False), speech(held, True)])
    write_wav(arguments.out / "aud.wav", said, make_speech.RATE)
    write_wav(arguments.out / "listen.wav", more_speech(), make_speech.RATE)
    count = film(AVATAR, arguments.out / "aud.wav", arguments.out / "full_body_img")
    with (AVATAR / "crops.csv").open() as file:
        crops = [tuple(map(int, row))[1:] for row in list(csv.reader(file))[1:]]
    for number in tqdm(range(count)):
        # The frames of an avatar play forward, then backward, the first and the last once each time.
        shown = number % (2 * len(crops) - 2)
        shown = min(shown, 2 * len(crops) - 2 - shown)
        left, top, side, _ = crops[shown]
        points = np.full((POINTS, 2), (left, top))
        points[31, 0] = left + side
        (arguments.out / "landmarks" / f"{number}.lms").write_text("".join(f"{x} {y}\n" for x, y in points))
        os.link(AVATAR / "frames" / f"{shown}.jpg", arguments.out / "at_rest" / f"{number}.jpg")
    print(f"{arguments.out}: {count} frames")


if __name__ == "__main__":
    main()
