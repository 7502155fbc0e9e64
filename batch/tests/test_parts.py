# SPDX-License-Identifier: MPL-2.0
"""A long sound, rendered in parts by several workers at once."""

import re
import subprocess

from conftest import check_video, leftovers, until

SECONDS = 18


def test_parts_make_the_same_video_as_one_piece(farm, jobs):
    farm.start("one")
    farm.start("two")
    jobs.sound("long.wav", seconds=SECONDS, loop=1)
    whole, split = (jobs.write(name, speech="long.wav", size="160x160") for name in ("whole", "split"))
    [job] = farm.submit(split, options=["--parts", 3])
    until(lambda: len(farm.status(job).get("parts", ())) == 3, "it is split")
    farm.submit(whole, options=["--wait"])
    farm.wait()
    assert farm.status(job)["state"] == "done"
    for video in ("whole", "split"):
        check_video(jobs.folder / f"{video}.mp4", SECONDS)
    assert sound(jobs.folder / "whole.mp4") == sound(jobs.folder / "split.mp4")
    assert likeness(jobs.folder / "whole.mp4", jobs.folder / "split.mp4") > 45
    assert len([video for video in farm.rendered() if ".parts/" in video]) == 3
    until(lambda: not leftovers(jobs.folder), "the parts are removed")


def test_a_part_that_fails_is_named_and_can_be_retried(farm, jobs):
    farm.start("one")
    farm.start("two")
    jobs.sound("long.wav", seconds=SECONDS, loop=1)
    job = jobs.write("talk", speech="long.wav")
    # Somebody's own file where a part is to be.
    (jobs.folder / "talk.mp4.parts").mkdir()
    obstacle = jobs.folder / "talk.mp4.parts/2.mp4"
    obstacle.write_text("mine")
    done = farm.run("submit", job, "--parts", "3", "--wait")
    [parent] = done.stdout.split()
    assert done.returncode == 1
    assert re.search(r"part 2 of 3: .*2\.mp4.*is there already", done.stderr)
    farm.wait()
    failed = farm.failed()
    assert parent in failed
    assert len(failed) == 2
    obstacle.unlink()
    assert not farm.run("retry", parent).returncode
    farm.wait()
    assert not farm.failed()
    assert farm.status(parent)["state"] == "done"
    check_video(jobs.folder / "talk.mp4", SECONDS)
    # The other parts were not rendered again.
    assert len(set(farm.rendered())) == len(farm.rendered()) == 4
    until(lambda: not leftovers(jobs.folder), "the parts are removed")


def sound(video):
    """The decoded sound's checksum."""
    command = ["ffmpeg", "-v", "error", "-i", video, "-map", "0:a", "-f", "md5", "-"]
    return subprocess.run(command, capture_output=True, check=True).stdout


def likeness(one, other):
    """Mean PSNR of the frames of two videos; infinite if they are the same."""
    command = ["ffmpeg", "-i", one, "-i", other, "-lavfi", "[0:v][1:v]psnr", "-f", "null", "-"]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return float(re.search(r"PSNR.* average:(\S+)", told)[1])
