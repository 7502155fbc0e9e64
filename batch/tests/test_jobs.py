# SPDX-License-Identifier: MPL-2.0
"""One job at a time: what is wrong with it, what kills its worker, what comes twice or is lost."""

import fcntl
import json

from conftest import PATIENCE, check_video, leftovers, until


def test_a_job_is_done_with_its_progress_and_its_report(farm, jobs):
    farm.start()
    [job] = farm.submit(jobs.make("talk", seconds=3), options=["--wait"])
    check_video(jobs.folder / "talk.mp4", 3)
    status = farm.status(job)
    assert status["state"] == "done"
    report = json.loads((jobs.folder / "talk.mp4.json").read_text())
    assert report.items() <= status["report"].items()
    assert farm.count() == {"open": 0, "done": 1, "failed": 0}
    assert not leftovers(jobs.folder)


def test_the_same_job_is_one_job(farm, jobs):
    file = jobs.make("talk")
    first = farm.submit(file)
    assert farm.submit(file) == first
    # The broker may deliver a message twice.
    call = {"job": json.loads(file.read_text()), "folder": str(jobs.folder), "parts": 0, "parent": None}
    farm.python(f"from lipsync_batch.tasks import send; send({first[0]!r}, {call!r})")
    farm.start("one")
    farm.start("two")
    assert farm.submit(file, options=["--wait"]) == first
    until(
        lambda: farm.redis.command("LLEN", "lipsync") == "0" and farm.redis.command("HLEN", "unacked") == "0", "no message is left"
    )
    assert len(farm.rendered()) == 1
    check_video(jobs.folder / "talk.mp4")


def test_what_is_wrong_with_a_job_is_said_at_once_and_can_be_put_right(farm, jobs):
    files = {
        "no-speech": jobs.write("no-speech", speech="missing.wav"),
        "no-avatar": jobs.make("no-avatar", avatar="nobody"),
        "no-key": jobs.make("no-key", sise="96x96"),
    }
    farm.start()
    ids = dict(zip(files, farm.submit(*files.values()), strict=True))
    farm.wait()
    failed = farm.failed()
    assert failed.keys() == set(ids.values())
    reasons = {name: failed[job]["reason"] for name, job in ids.items()}
    assert "missing.wav" in reasons["no-speech"]
    assert "nobody" in reasons["no-avatar"]
    assert "sise" in reasons["no-key"]
    assert all(entry["attempts"] == 1 for entry in failed.values())
    done = farm.run("submit", files["no-avatar"], "--wait")
    assert done.returncode == 1
    assert "nobody" in done.stderr
    jobs.sound("missing.wav")
    assert not farm.run("retry", "all").returncode
    farm.wait()
    assert farm.failed().keys() == {ids["no-avatar"], ids["no-key"]}
    check_video(jobs.folder / "no-speech.mp4")


def test_what_is_no_object_has_failed_at_once(farm, jobs):
    file = jobs.folder / "list.json"
    file.write_text("[]")
    farm.start()
    [job] = farm.submit(file)
    farm.wait()
    assert farm.failed()[job]["reason"].startswith("is no job")


def test_a_job_that_kills_its_worker_each_time_ends_in_the_failed_list(farm, jobs):
    farm.start(LIPSYNC_ATTEMPTS="2")
    [job, _] = farm.submit(jobs.write("killer", speech="killer.wav"), jobs.make("good"))
    farm.wait()
    assert farm.failed().keys() == {job}
    assert "ended with its worker" in farm.failed()[job]["reason"]
    assert [run["video"] for run in farm.runs()].count("killer.mp4") == 2
    check_video(jobs.folder / "good.mp4")


def test_a_message_that_was_lost_is_sent_again(farm, jobs):
    file = jobs.make("talk")
    farm.submit(file)
    # Taken by a worker that died before it had noted that.
    assert farm.redis.command("RPOP", "lipsync")
    farm.start()
    farm.wait()
    check_video(jobs.folder / "talk.mp4")


def test_a_job_is_not_begun_while_another_process_makes_its_video(farm, jobs):
    """Such as a worker of another queue, or one whose lock Redis has lost."""
    file = jobs.make("talk")
    folder = jobs.folder / ".talk.mp4.work"
    folder.mkdir()
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        farm.start(LIPSYNC_ATTEMPTS="2")
        [job] = farm.submit(file)
        until(lambda: "another process" in farm.status(job).get("reason", ""), "an attempt is refused")
        until(lambda: len(farm.runs()) >= 6, "it is tried three times")
    farm.wait()
    assert farm.status(job)["attempts"] == "1"
    check_video(jobs.folder / "talk.mp4")


def test_a_worker_without_the_tool_does_not_start(farm):
    worker = farm.start("one", LIPSYNC_TOOL="no-such-tool")
    assert worker.process.wait(PATIENCE) == 1
    assert "no-such-tool: cannot be run" in (farm.folder / "one.log").read_text()
