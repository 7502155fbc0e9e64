# SPDX-License-Identifier: MPL-2.0
"""What examples/measure.rs measures inside a program of its own: live streams, and the first frame."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from material import MEASURE, SAMPLE, sound
from whole_job import SCRATCH, Command, MemoryWatch, say

LIVE_SECONDS = 20.0
LIVE_STREAMS = {"iris": (1, 2, 4, 6, 8), "full-size": (1, 2)}


def ask(command: Command, **environment: str) -> dict:
    """Runs a program that prints JSON; returns that with its peak memory."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env=os.environ | environment)
    memory = MemoryWatch(process.pid)
    output, _ = process.communicate()
    peak = memory.stop()
    if process.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))} failed")
    return json.loads(output) | {"memory": peak}


def play_live(avatars: dict[str, Path], quick: bool) -> list[dict]:
    seconds = 3.0 if quick else LIVE_SECONDS
    rows = []
    for name, counts in LIVE_STREAMS.items():
        for count in counts[:2] if quick else counts:
            say(f"live: {count} of {name} for {seconds:g} s")
            wav = sound(seconds + 2)
            result = ask([MEASURE, "streams", avatars[name], wav, str(count), str(seconds), "auto"])
            rows.append({"avatar": name, "count": count} | result)
    return rows


def start_often(avatars: dict[str, Path], rounds: int) -> dict[str, dict]:
    results: dict[str, dict] = {}
    for name, avatar in avatars.items():
        command = [MEASURE, "first-frame", avatar, SAMPLE, "auto"]
        with tempfile.TemporaryDirectory(dir=SCRATCH) as empty:
            say(f"first frame of {name}, nothing prepared")
            results[name] = {"empty": ask(command, XDG_CACHE_HOME=empty), "ready": [], "first": [], "again": []}
    for number in range(1, rounds + 1):
        for name, avatar in avatars.items():
            say(f"round {number} of {rounds}: first frame of {name}")
            told = ask([MEASURE, "first-frame", avatar, SAMPLE, "auto"])
            results[name]["ready"].append(told["ready"])
            results[name]["first"].append(told["first"])
            results[name]["again"] += told["again"]
    return results
