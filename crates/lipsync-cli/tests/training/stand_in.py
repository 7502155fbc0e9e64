#!/usr/bin/python3
# SPDX-License-Identifier: MPL-2.0
"""Stands in for Python with PyTorch in tests of `lipsync train`: called like the interpreter, it does what train_film.py would,
but learns nothing. The avatar gets the networks of the folder that the file `networks` names, and the first frames of the film.

In the folder of this file: `slow` has it wait for a signal in the middle, `fails` has it say what is in that file.
"""

import csv
import json
import os
import shutil
import signal
import sys
import time
from pathlib import Path

LOOP = 60  # frames of the avatar

here = Path(__file__).resolve().parent
if len(sys.argv) == 4:  # asked whether it has the packages
    sys.exit()
isolated, command, _start, _kit, program, _lock, parent, data, avatar, *options = sys.argv[1:]
assert (isolated, command, program) == ("-I", "-c", "train_film.py"), sys.argv
data, avatar = Path(data), Path(avatar)
with (here / "calls").open("a") as calls:
    calls.write(json.dumps(options) + "\n")


def say(**line):
    print(json.dumps(line), flush=True)


def square(number):
    """SyncTalk_2D's crop: from point 1 to point 31, with its top at point 52."""
    points = [[int(value) for value in line.split()] for line in (data / f"landmarks/{number}.lms").read_text().splitlines()]
    return points[1][0], points[52][1], points[31][0] - points[1][0]


rows = list(csv.DictReader((data / "frames.csv").open()))
used = [int(row["frame"]) for row in rows if row["use"] == "1"]
assert (data / "aud.wav").stat().st_size == 44 + 1280 * len(rows)
checkpoint = data / "checkpoint"
if (here / "fails").exists():
    say(error=(here / "fails").read_text())
    sys.exit(1)
print("a library says something", flush=True)
say(stage="read", done=len(rows), of=len(rows))
say(stage="train", done=1, of=4, seconds_left=90)
if (here / "slow").exists():

    def end(*_):
        checkpoint.write_text("half")
        sys.exit(143)

    signal.signal(signal.SIGTERM, end)
    (here / "waiting").write_text("")
    while os.getppid() == int(parent):
        time.sleep(0.05)
say(stage="train", done=4, of=4, seconds_left=0)

avatar.mkdir(exist_ok=True)
(avatar / "frames").mkdir(exist_ok=True)
with (avatar / "crops.csv").open("w") as crops:
    crops.write("frame,x,y,width,height\n")
    for number, frame in enumerate(used[:LOOP]):
        shutil.copy(data / f"full_body_img/{frame}.jpg", avatar / f"frames/{number}.jpg")
        x, y, side = square(frame)
        crops.write(f"{number},{x},{y},{side},{side}\n")
networks = Path((here / "networks").read_text())
for name in ("audio_encoder.onnx", "generator.onnx"):
    shutil.copy(networks / name, avatar / name)
(avatar / "avatar.toml").write_text(
    'format = 1\ntitle = "me"\nlicense = "all rights reserved"\nfps = 25\nframes = "frames"\ncrops = "crops.csv"\n\n'
    '[models]\naudio_encoder = "audio_encoder.onnx"\ngenerator = "generator.onnx"\n'
)
say(stage="export", done=1, of=1)
say(stage="judge", done=1, of=1)
shutil.copy(data / "full_body_img/0.jpg", data / "sheet.png")
# A resumed training is told apart by its closures.
say(
    result={
        "psnr": 33.5,
        "seconds_held_out": 4.0,
        "sharpness": 0.62,
        "rank_opening": 0.75,
        "closures": 0.87 if checkpoint.exists() else 0.9,
        "rank_loudness": 0.3,
        "frames": len(used),
        "sheet": str(data / "sheet.png"),
    }
)
