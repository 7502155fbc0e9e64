# SPDX-License-Identifier: MPL-2.0
"""What the tests share. They wait for what happens, with much patience, and assert no time of the clock on the wall."""

import asyncio
import os
import random
import sys
import threading
import time
from array import array
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "integrations"))

from lipsync_avatar.presenter import Sound, UtteranceEnd  # noqa: E402

# A machine with much else to do takes long.
PATIENCE = 60
RATE = 24000


@pytest.fixture(scope="session")
def avatar():
    """A small avatar of the tests, whose networks were made by `make fixtures`."""
    folder = ROOT / "target/fixtures/avatars/own"
    assert folder.is_dir(), f"{folder}: no such folder. Run make fixtures"
    return folder


def run(coroutine):
    """Runs it in an event loop of its own, and ends the test that does not end."""

    async def patiently():
        return await asyncio.wait_for(coroutine, PATIENCE)

    return asyncio.run(patiently())


def noise(seconds, rate=RATE, channels=1, seed=1):
    """Sound of which no two pieces are alike."""
    return random.Random(seed).randbytes(round(seconds * rate) * channels * 2)


async def take_until_end(items, ends=1):
    """What comes out until so many utterances have ended."""
    taken = []
    async for item in items:
        taken.append(item)
        if isinstance(item, UtteranceEnd):
            ends -= 1
            if ends == 0:
                return taken
    raise AssertionError(f"{ends} utterances have not ended")


def sound_of(taken, utterance=None):
    """The sound among what was taken."""
    wanted = (item for item in taken if isinstance(item, Sound) and utterance in (None, item.utterance))
    return b"".join(item.data for item in wanted)


def threads():
    """How many threads the process has, also such as Python does not know."""
    return len(os.listdir("/proc/self/task"))


def until(condition):
    """Waits until it is so, with patience."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "it does not come to that"
        time.sleep(0.05)


def own_threads():
    """Python's threads of presenters."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("presenter")]


def fades(sound, since):
    """Whether some sound falls silent from that byte on, and no more than in 5 ms."""
    values = [abs(value) for value in array("h", sound[since:])]
    last = values[-max(len(values) // 5, 1) :]
    return len(values) <= RATE * 0.005 + 1 and max(last, default=0) <= 0.25 * 32768
