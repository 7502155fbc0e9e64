# SPDX-License-Identifier: MPL-2.0
"""Machines that render, as processes: a Redis and workers of their own, with the real tool. No time of the clock is asserted."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOL = os.environ.get("LIPSYNC_TOOL") or str(ROOT / "target/release/lipsync")
# A machine with much else to do takes long.
PATIENCE = 900


def until(condition, what):
    """Waits until it is so, with patience; what it is then."""
    end = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < end, f"it does not come to that: {what}"
        time.sleep(0.1)
    return value


def alive(pid):
    """Whether a process runs: none that has ended and waits for its parent to notice."""
    with contextlib.suppress(FileNotFoundError):
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    return False


class Redis:
    """A server on a port of its own, whose data outlive it."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder = folder
        folder.mkdir()
        self.start()

    def start(self):
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder, "--appendonly", "yes", "--save", ""]
        self.process = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
        until(lambda: self.command("PING") == "PONG", "Redis answers")

    def command(self, *words):
        done = subprocess.run(["redis-cli", "-p", str(self.port), *words], capture_output=True, text=True)
        return done.stdout.strip()

    def stop(self, sign=signal.SIGTERM):
        self.process.send_signal(sign)
        self.process.wait()


class Worker:
    """A worker as on a machine of its own; its processes are one group."""

    def __init__(self, farm, name, env):
        command = [sys.executable, "-m", "celery", "-A", "lipsync_batch", "worker", "--hostname", name, "--loglevel", "INFO"]
        with open(farm.folder / f"{name}.log", "a") as log:
            self.process = subprocess.Popen(command, env=farm.env | env, stdout=log, stderr=log, start_new_session=True)

    def kill(self):
        """As when the power fails."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Farm:
    def __init__(self, folder, **env):
        self.folder = folder
        self.runs_file = folder / "runs"
        self.runs_file.touch()
        self.redis = Redis(folder / "redis")
        self.workers = []
        self.env = os.environ | {
            "PYTHONPATH": str(ROOT / "batch"),
            "LIPSYNC_REDIS": f"redis://127.0.0.1:{self.redis.port}/0",
            "LIPSYNC_TOOL": str(Path(__file__).with_name("logged.py")),
            "LIPSYNC_REAL_TOOL": TOOL,
            "LIPSYNC_RUNS": str(self.runs_file),
            "LIPSYNC_TIMEOUT": "10",
            "LIPSYNC_BACKOFF": "0.5",
            "LIPSYNC_SCRATCH": str(folder / "scratch"),
        }
        self.env |= env

    def start(self, name="one", **env):
        worker = Worker(self, name, env)
        self.workers.append(worker)
        return worker

    def close(self):
        for worker in self.workers:
            worker.kill()
        self.redis.stop(signal.SIGKILL)

    def run(self, *arguments):
        """Types a command of `python -m lipsync_batch`."""
        command = [sys.executable, "-m", "lipsync_batch", *map(str, arguments)]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=PATIENCE)

    def submit(self, *files, options=()):
        done = self.run("submit", *files, *options)
        assert not done.returncode, done.stderr
        return done.stdout.split()

    def python(self, code):
        """Runs code of a program that uses the package."""
        subprocess.run([sys.executable, "-c", code], env=self.env, check=True, timeout=PATIENCE)

    def status(self, job):
        done = self.run("status", job)
        assert not done.returncode, done.stderr
        return json.loads(done.stdout)

    def count(self):
        """How many jobs are open, done and failed."""
        return {word: int(number) for word, number in map(str.split, self.run("status").stdout.splitlines())}

    def failed(self):
        entries = map(json.loads, self.run("failed").stdout.splitlines())
        return {entry["id"]: entry for entry in entries}

    def runs(self):
        """What the tool was started for, by whom, and how it ended."""
        return [json.loads(line) for line in self.runs_file.read_text().splitlines()]

    def rendered(self):
        """The videos for which the tool has rendered, each as often as it has."""
        return [run["video"] for run in self.runs() if run.get("already") is False]

    def wait(self, open_jobs=0):
        until(lambda: self.count()["open"] <= open_jobs, "all jobs have ended")


@pytest.fixture
def farm(tmp_path):
    farm = Farm(tmp_path)
    yield farm
    farm.close()


class Jobs:
    """Makes jobs of short pieces of a recording."""

    def __init__(self, folder):
        self.folder = folder

    def sound(self, name, start=0.0, seconds=1.2, loop=0):
        """A piece of the recording, or all of it several times."""
        file = self.folder / name
        command = ["ffmpeg", "-v", "error", "-stream_loop", str(loop), "-ss", str(start), "-t", str(seconds)]
        subprocess.run([*command, "-i", ROOT / "examples/sample.wav", file], check=True)
        return file

    def write(self, name, **job):
        file = self.folder / f"{name}.json"
        file.write_text(json.dumps({"video": f"{name}.mp4", "size": "96x96", **job}))
        return file

    def make(self, name, start=0.0, seconds=1.2, **job):
        self.sound(f"{name}.wav", start, seconds)
        return self.write(name, speech=f"{name}.wav", **job)


@pytest.fixture
def jobs(tmp_path):
    folder = tmp_path / "jobs"
    folder.mkdir()
    return Jobs(folder)


def probe(video):
    """Frames and seconds of a video, all frames of which are decoded."""
    entries = ["-show_entries", "stream=nb_read_frames:format=duration", "-of", "json"]
    done = subprocess.run(
        ["ffprobe", "-v", "error", "-count_frames", "-select_streams", "v", *entries, video], capture_output=True, check=True
    )
    found = json.loads(done.stdout)
    return int(found["streams"][0]["nb_read_frames"]), float(found["format"]["duration"])


def check_video(video, seconds=1.2):
    """A video, its report, and nothing beside them that was not meant to stay."""
    frames, length = probe(video)
    assert (frames, round(length, 1)) == (round(seconds * 25), round(seconds, 1)), video
    report = json.loads(video.with_name(video.name + ".json").read_text())
    assert (report["status"], report["frames"], report["bytes"]) == ("done", frames, video.stat().st_size)


def leftovers(folder):
    """Files and folders of which no job knows."""
    return [path.name for path in folder.rglob("*") if path.name.startswith(".") or path.name.endswith((".parts", ".part", ".tmp"))]
