# SPDX-License-Identifier: MPL-2.0
"""Speech and videos as objects, on a server that speaks S3's language (moto)."""

import os
import urllib.request

import boto3
import pytest
from moto.server import ThreadedMotoServer

from conftest import Farm, check_video, leftovers, until


@pytest.fixture
def s3(monkeypatch):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL_S3": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    # Its servers share what they hold.
    urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
    client = boto3.client("s3")
    client.create_bucket(Bucket="talks")
    yield client
    server.stop()


@pytest.fixture
def farm(s3, tmp_path):
    # Its environment says where the server is.
    farm = Farm(tmp_path)
    yield farm
    farm.close()


def keys(s3):
    return [item["Key"] for item in s3.list_objects_v2(Bucket="talks").get("Contents", ())]


def fetch(s3, jobs, name):
    for key in (name, name + ".json"):
        s3.download_file("talks", f"out/{key}", str(jobs.folder / key))
    return jobs.folder / name


def test_objects_are_rendered_once_and_survive_a_kill(farm, jobs, s3):
    s3.upload_file(str(jobs.sound("speech.wav", seconds=11)), "talks", "in/speech.wav")
    file = jobs.write("talk", speech="s3://talks/in/speech.wav", video="s3://talks/out/talk.mp4")
    worker = farm.start("one")
    [job] = farm.submit(file)
    until(lambda: farm.status(job).get("progress", {}).get("done"), "it renders")
    worker.kill()
    assert keys(s3) == ["in/speech.wav"]
    # Of a job that somebody else has brought to an end, long ago.
    old = farm.folder / "scratch/lipsync-old"
    old.mkdir()
    os.utime(old, (0, 0))
    farm.start("two")
    farm.wait()
    assert sorted(keys(s3)) == ["in/speech.wav", "out/talk.mp4", "out/talk.mp4.json"]
    check_video(fetch(s3, jobs, "talk.mp4"), 11)
    assert len(farm.rendered()) == 1
    # Another farm, which knows nothing of it, finds it done.
    farm.redis.command("FLUSHALL")
    [job] = farm.submit(file, options=["--wait"])
    assert farm.status(job)["report"]["already"]
    assert len(farm.rendered()) == 1
    assert not list((farm.folder / "scratch").iterdir())


def test_what_is_not_there_is_said(farm, jobs, s3):
    farm.start()
    [job] = farm.submit(jobs.write("talk", speech="s3://talks/in/nothing.wav", video="s3://talks/out/talk.mp4"))
    farm.wait()
    assert farm.failed()[job]["reason"].startswith("s3://talks/in/nothing.wav: no such object")


def test_parts_go_through_the_bucket(farm, jobs, s3):
    s3.upload_file(str(jobs.sound("long.wav", seconds=12, loop=1)), "talks", "in/long.wav")
    for name in ("one", "two"):
        # Machines that share no folder.
        farm.start(name, LIPSYNC_SCRATCH=str(farm.folder / f"scratch-{name}"))
    file = jobs.write("talk", speech="s3://talks/in/long.wav", video="s3://talks/out/talk.mp4")
    [job] = farm.submit(file, options=["--parts", 2, "--wait"])
    assert farm.status(job)["report"]["frames"] == 300
    check_video(fetch(s3, jobs, "talk.mp4"), 12)
    until(lambda: keys(s3) == ["in/long.wav", "out/talk.mp4", "out/talk.mp4.json"], "the parts are removed")


def test_what_nobody_foresaw_is_tried_again_and_said(farm, jobs):
    # boto3 refuses that with an error that is none of its own.
    farm.start(AWS_ENDPOINT_URL_S3="nonsense", LIPSYNC_ATTEMPTS="2")
    [job] = farm.submit(jobs.write("talk", speech="s3://talks/in/speech.wav", video="s3://talks/out/talk.mp4"))
    farm.wait()
    failed = farm.failed()[job]
    assert failed["attempts"] == 2
    assert failed["reason"].startswith("ValueError: ")


def test_speech_of_a_bucket_may_become_a_video_in_a_folder(farm, jobs, s3):
    s3.upload_file(str(jobs.sound("long.wav", seconds=12, loop=1)), "talks", "in/long.wav")
    farm.start()
    for name, options in (("whole", []), ("split", ["--parts", 2])):
        farm.submit(jobs.write(name, speech="s3://talks/in/long.wav"), options=[*options, "--wait"])
        check_video(jobs.folder / f"{name}.mp4", 12)
    until(lambda: not leftovers(jobs.folder), "the parts are removed")
    until(lambda: not list((farm.folder / "scratch").iterdir()), "what was fetched is removed")


def test_an_object_is_not_read_and_written(farm, jobs, s3):
    farm.start()
    [job] = farm.submit(jobs.write("talk", speech="s3://talks/talk.mp4", video="s3://talks/talk.mp4"))
    farm.wait()
    assert "would be read and written" in farm.failed()[job]["reason"]
