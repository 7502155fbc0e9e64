# SPDX-License-Identifier: MPL-2.0
"""Forty jobs while machines die, Redis is restarted and a disk is full: each job is done exactly once."""

import os
import signal
import subprocess

import pytest

from conftest import alive, check_video, leftovers, until

MEGABYTE = 1 << 20


@pytest.fixture
def small_disk(jobs):
    """A disk of its own of three megabytes."""
    if os.geteuid():
        pytest.skip("only root can mount a disk that is soon full")
    folder = jobs.folder / "disk"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder]).returncode:
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", folder], check=True)


def rendering(farm):
    """Process ids of the tools that run."""
    begun = {run["pid"] for run in farm.runs() if "code" not in run} - {run["pid"] for run in farm.runs() if "code" in run}
    return [pid for pid in begun if alive(pid)]


def test_a_storm(farm, jobs, small_disk):
    # Patience with the disk.
    farm.env["LIPSYNC_ATTEMPTS"] = "1000"
    names = [f"talk-{number}" for number in range(36)]
    files = [jobs.make(name, start=number * 0.25) for number, name in enumerate(names)]
    stored = [jobs.make(f"stored-{number}", start=number, video=f"disk/stored-{number}.mp4") for number in range(4)]
    poison = [
        jobs.write("no-speech", speech="nothing.wav"),
        jobs.make("no-avatar", avatar="nobody"),
        jobs.make("no-key", sise="1x1"),
    ]
    filler = small_disk / "filler"
    filler.write_bytes(bytes(3 * MEGABYTE - 16384))

    farm.submit(*stored, *files[:20])
    wrong = farm.submit(*poison)
    farm.submit(*files[20:])
    one, _ = farm.start("one"), farm.start("two")

    # A machine dies while it renders.
    until(lambda: len(farm.rendered()) >= 4 and rendering(farm), "some are done, and one is being rendered")
    one.kill()
    farm.start("three")
    # Redis is restarted, and then it dies.
    for done, sign in ((10, signal.SIGTERM), (18, signal.SIGKILL)):
        until(lambda done=done: len(farm.rendered()) >= done and rendering(farm), f"{done} are done, and one is being rendered")
        farm.redis.stop(sign)
        # Its workers go on without it, and wait at the end of what they are at.
        until(lambda: not rendering(farm), "what was being rendered ends")
        farm.redis.start()
    # The disk was full all the time.
    until(lambda: farm.count()["open"] <= len(stored), "all others are done")
    assert not [video for video in farm.rendered() if video.startswith("disk/")]
    filler.unlink()
    farm.wait()

    assert farm.failed().keys() == set(wrong)
    for name in names:
        check_video(jobs.folder / f"{name}.mp4")
    for number in range(len(stored)):
        check_video(small_disk / f"stored-{number}.mp4")
    rendered = farm.rendered()
    assert len(rendered) == len(set(rendered)) == 40
    assert farm.count() == {"open": 0, "done": 40, "failed": 3}
    assert not leftovers(jobs.folder)
    assert not rendering(farm)
