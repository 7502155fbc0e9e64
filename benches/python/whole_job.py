#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""The whole job, WAV to H.264 MP4, by the plugin and by the plain Python reference: same networks, machine, run, sound.

Both encode the same 4:2:0 pictures with x264 (veryfast), without sound, in turns, as processes of their own. Printed are
frames a second over the whole process (start, loading and encoding included), their ratio, the parts, peak memory and
the time to the first frame. No time is asserted; that both made the same pictures is.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import wave
from importlib.metadata import version
from pathlib import Path

import cv2

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/python"))

import avatar_folders
import compositing
import features

REFERENCE = ROOT / "tests/python/reference.py"
PLUGIN = ROOT / "target/plugin"
RUNTIME = ROOT / "target/onnxruntime"
TIME_PARTS = ROOT / "target/release/examples/time_parts"
FULL_SIZE = ROOT / "target/full-size"
WEIGHTS = ROOT / "benches/full-size.npz"
"""Of the full-size generator, trained to paint what Iris's own paints: see training/README.md."""
SCRATCH = ROOT / "target/bench"

X264 = ["x264enc", "speed-preset=veryfast"]
RAW_FRAMES = 100
"""Frames for the measurement of the video encoder alone."""

SAME_PICTURE = 3.0
"""Levels that two lossy encodings of the same picture may differ, mean of the whole picture."""
SAME_MOUTH = 4.0
"""The same around the mouth. Right frames were below 2.8, frames one late above 5.7 and a wrong sound above 10."""

ONE_THREAD = {"OPENCV_FOR_THREADS_NUM": "1", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}

Command = list[str | Path]


def say(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


# --- processes --------------------------------------------------------------------------------------------------------


def family(pid: int) -> list[int]:
    """Returns a process and all that descend from it."""
    members = [pid]
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for child in task.read_text().split():
                members += family(int(child))
        except OSError:
            pass  # it ended meanwhile
    return members


class MemoryWatch:
    """Adds up the peak memory of a process and its children: Python's video encoder is a process of its own."""

    def __init__(self, pid: int):
        self.pid = pid
        self.peaks: dict[int, int] = {}
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch)
        self.thread.start()

    def watch(self) -> None:
        while not self.ended.wait(0.1):
            for pid in family(self.pid):
                try:
                    status = Path(f"/proc/{pid}/status").read_text()
                except OSError:
                    continue
                for line in status.splitlines():
                    if line.startswith("VmHWM"):
                        self.peaks[pid] = int(line.split()[1])

    def stop(self) -> float:
        """Returns the sum of the peaks in MiB."""
        self.ended.set()
        self.thread.join()
        return sum(self.peaks.values()) / 1024


def measure(command: Command, **environment: str) -> dict[str, float]:
    """Runs a command and returns its wall seconds, processor seconds and peak memory, its children's included."""
    with tempfile.TemporaryFile() as output:
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | environment)
        memory = MemoryWatch(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = memory.stop()
        if process.returncode != 0:
            output.seek(0)
            sys.exit(f"{' '.join(map(str, command))} failed:\n{output.read().decode(errors='replace')}")
    return {"seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime, "memory": peak}


def launch(*elements: list[str]) -> Command:
    """Returns the command that runs a pipeline."""
    line = ["gst-launch-1.0", "-q"]
    for element in elements:
        line += [*element, "!"]
    return line[:-1]


def lipsync(sound: Path, avatar: Path, *rest: list[str]) -> Command:
    # The one loop of frames that the reference shows, too, and no gestures.
    element = ["lipsync", f"avatar={avatar}", "clip=idle", "emphasis=0"]
    return launch(["filesrc", f"location={sound}"], ["wavparse"], element, *rest)


# --- the same pictures ------------------------------------------------------------------------------------------------


def check_same_pictures(ours: Path, theirs: Path, folder: Path, frames: int) -> dict[str, float]:
    """Fails unless both videos have the same frames; returns the largest mean differences in levels."""
    avatar = avatar_folders.load_avatar(folder)
    videos = [cv2.VideoCapture(str(path)) for path in (ours, theirs)]
    counts, worst, worst_mouth = [0, 0], 0.0, 0.0
    while True:
        (more, our_picture), (more_theirs, their_picture) = (video.read() for video in videos)
        counts = [counts[0] + more, counts[1] + more_theirs]
        if not (more or more_theirs):
            break
        if more and more_theirs and counts[0] % 5 == 1:
            x, y, width, height = avatar.rects[avatar.picture_index(counts[0] - 1)]
            difference = cv2.absdiff(our_picture, their_picture)
            mouth = difference[y + height // 2 : y + height, x + width // 4 : x + width * 3 // 4]
            worst, worst_mouth = max(worst, difference.mean()), max(worst_mouth, mouth.mean())
    if counts != [frames, frames]:
        sys.exit(f"{ours} has {counts[0]} frames and {theirs} {counts[1]}; the sound has {frames}")
    if worst > SAME_PICTURE or worst_mouth > SAME_MOUTH:
        sys.exit(f"{ours} and {theirs} differ by {worst:.1f} levels, {worst_mouth:.1f} around the mouth")
    return {"picture": float(worst), "mouth": float(worst_mouth)}


# --- measuring --------------------------------------------------------------------------------------------------------


def compare(name: str, avatar: Path, sound: Path, frames: int, rounds: int) -> dict:
    ours_file, theirs_file, timings = (SCRATCH / f"{name}-{end}" for end in ("plugin.mp4", "python.mp4", "python.json"))
    to_file = [X264, ["h264parse"], ["mp4mux"], ["filesink", f"location={ours_file}"]]
    python = [sys.executable, REFERENCE, "--avatar", avatar, "--audio", sound]
    jobs = {
        "plugin": lipsync(sound, avatar, *to_file),
        "python": [*python, "--mp4", theirs_file, "--timings", timings],
        "plugin_first": lipsync(sound, avatar, ["fakesink", "num-buffers=1"]),
        "python_first": [*python, "--frames", "1"],
        "plugin_no_encoding": lipsync(sound, avatar, ["fakesink"]),
    }
    say(f"{name}: both once for the first frame, to fill the disk's cache")
    for job in ("plugin_first", "python_first"):
        measure(jobs[job])
    result: dict = {"frames": frames} | {job: [] for job in jobs} | {"python_parts_all": []}
    for number in range(1, rounds + 1):
        for job, command in jobs.items():
            run = measure(command)
            result[job].append(run)
            say(f"{name}: round {number} of {rounds}, {job}: {run['seconds']:.2f} s")
            if job == "python":
                result["python_parts_all"].append(json.loads(timings.read_text())["seconds"])
    result["difference"] = check_same_pictures(ours_file, theirs_file, avatar, frames)

    say(f"{name}: Python's parts on one thread")
    measure([*python, "--threads", "1", "--timings", timings], **ONE_THREAD)
    report = json.loads(timings.read_text())
    result["python_parts"] = report["seconds"] | {"first_frame": report["first_frame_seconds"]}
    if TIME_PARTS.exists():
        say(f"{name}: the plugin's parts on one thread")
        environment = {"ORT_DYLIB_PATH": str(RUNTIME / "libonnxruntime.so")} | os.environ
        output = subprocess.run([TIME_PARTS, avatar, sound], env=environment, check=True, stdout=subprocess.PIPE)
        result["plugin_parts"] = json.loads(output.stdout)
    result["encoding_alone"] = measure_encoding(sound, avatar)
    return result


def measure_encoding(sound: Path, avatar: Path) -> dict[str, float]:
    """Encodes raw frames that are there already."""
    say("the video encoder alone")
    with tempfile.NamedTemporaryFile(dir=SCRATCH, suffix=".yuv") as raw:
        first_frames = ["identity", f"eos-after={RAW_FRAMES + 1}"]
        measure(lipsync(sound, avatar, first_frames, ["filesink", f"location={raw.name}"]))
        height, width, _ = compositing.read_picture(avatar_folders.load_avatar(avatar).frames[0]).shape
        frames = Path(raw.name).stat().st_size / (width * height * 3 / 2)
        caps = ["rawvideoparse", "format=i420", f"width={width}", f"height={height}", "framerate=25/1"]
        run = measure(launch(["filesrc", f"location={raw.name}"], caps, X264, ["fakesink"]))
    return {"seconds": run["seconds"] / frames, "cpu": run["cpu"] / frames}


# --- report -----------------------------------------------------------------------------------------------------------


def median(runs: list[dict], key: str) -> float:
    return statistics.median(run[key] for run in runs)


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.1f} ({min(values):.1f} to {max(values):.1f})"


def print_table(name: str, result: dict) -> None:
    frames = result["frames"]
    ours, theirs = result["plugin"], result["python"]
    rates = [[frames / run["seconds"] for run in runs] for runs in (ours, theirs)]
    faster = statistics.median(rates[0]) / statistics.median(rates[1])
    print(f"\n### {name}: {frames} frames\n\n| | plugin | Python | ratio |\n|---|---|---|---|")
    print(f"| frames/s, whole process | {spread(rates[0])} | {spread(rates[1])} | {faster:.2f} |")

    bare = [frames / run["seconds"] for run in result["plugin_no_encoding"]]
    print(f"| frames/s without encoding | {spread(bare)} | | |")
    a, b = median(ours, "cpu"), median(theirs, "cpu")
    print(f"| processor seconds | {a:.1f} | {b:.1f} | {b / a:.2f} |")
    a, b = (max(run["memory"] for run in runs) for runs in (ours, theirs))
    print(f"| peak memory with the encoder, MiB | {a:.0f} | {b:.0f} | {b / a:.2f} |")
    a, b = median(result["plugin_first"], "seconds"), median(result["python_first"], "seconds")
    print(f"| first frame, s, whole process until it ends | {a:.2f} | {b:.2f} | {b / a:.2f} |")
    print_parts(frames, result)
    difference = result["difference"]
    print(
        f"\nBoth videos have {frames} frames. They differ by {difference['picture']:.2f} levels at most (mean of a "
        f"frame, after encoding), around the mouth by {difference['mouth']:.2f}."
    )


def print_parts(frames: int, result: dict) -> None:
    ours, theirs = result.get("plugin_parts", {}), result["python_parts"]
    own = result["python_parts_all"]
    print("\n| ms/frame | plugin, one thread | Python, one thread | ratio | Python, its own threads, beside the encoder |")
    print("|---|---|---|---|---|")
    for part in ("resampling", "mel", "encoder", "decode", "generator", "compositing"):
        a, b = (parts[part] / frames * 1000 if part in parts else None for parts in (ours, theirs))
        row = ["-" if a is None else f"{a:.2f}", "-" if b is None else f"{b:.2f}"]
        row.append(f"{b / a:.2f}" if a and b else "")
        row.append(f"{median(own, part) / frames * 1000:.2f}" if part in own[0] else "-")
        print(f"| {part} | {' | '.join(row)} |")
    alone = result["encoding_alone"]
    both = f"{alone['seconds'] * 1000:.2f} alone on all cores ({alone['cpu'] * 1000:.2f} of processor time)"
    print(f"| video encoding | {both} | the same | | {median(own, 'encoding') / frames * 1000:.2f} waiting |")
    first = f"{ours['first_frame']:.2f} s" if ours.get("first_frame") else "-"
    print(f"| first frame, program started | {first} | {theirs['first_frame']:.2f} s | | |")


NOTES = """
The plugin's *decode* includes cutting out and scaling the face, once for each picture of the avatar, which it keeps;
Python reads the picture for every frame and scales the face under *compositing*. Python resamples while it loads. The
plugin's audio encoder works window by window, as sound arrives; Python's has the whole clip at once. Parts on one thread
were measured once, without the video encoder. A ratio above 1 favours the plugin. Peak memory adds up each process's own.
"""


def checkout() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.strip() or "no git"


def describe_machine(rounds: int, load: tuple[float, ...], commit: str) -> str:
    cpu = next((x.split(":")[1].strip() for x in open("/proc/cpuinfo") if x.startswith("model name")), "unknown CPU")
    gstreamer = subprocess.run(["gst-launch-1.0", "--version"], capture_output=True, text=True, check=True).stdout
    runtime = RUNTIME / "version"
    versions = [
        f"checkout {commit}, the plugin's ONNX Runtime {runtime.read_text().strip() if runtime.exists() else '?'}",
        gstreamer.splitlines()[1],
        f"Python {platform.python_version()}",
        *(f"{package} {version(package)}" for package in ("onnxruntime", "librosa", "opencv-python-headless", "numpy")),
    ]
    return (
        f"{cpu}, {len(os.sched_getaffinity(0))} cores, {platform.platform()}; rounds in turns: {rounds}, median (range); "
        f"load (1 minute): {load[0]:.1f} before, {os.getloadavg()[0]:.1f} after.\n\n{', '.join(versions)}."
    )


# --- command line -----------------------------------------------------------------------------------------------------


def cut_sound(sound: Path, seconds: float) -> Path:
    """Writes a WAV of the given length: the beginning of the sound, or the sound again and again."""
    with wave.open(str(sound)) as file:
        parameters, samples = file.getparams(), file.readframes(file.getnframes())
    size = round(seconds * parameters.framerate) * parameters.nchannels * parameters.sampwidth
    cut = SCRATCH / "sound.wav"
    with wave.open(str(cut), "wb") as file:
        file.setparams(parameters)
        file.writeframes((samples * (size // len(samples) + 1))[:size])
    return cut


def prepare() -> None:
    """Makes what is missing."""
    if not (PLUGIN / "libgstlipsync.so").exists():
        sys.exit(f"{PLUGIN}: the plugin is not there; run make first")
    os.environ.setdefault("GST_PLUGIN_PATH", str(PLUGIN))
    os.environ.setdefault("GST_REGISTRY", str(ROOT / "target/gst-registry.bin"))
    SCRATCH.mkdir(parents=True, exist_ok=True)
    if not (FULL_SIZE / "generator.onnx").exists():
        say("making the full-size avatar")
        maker = Path(__file__).with_name("full_size.py")
        command = [sys.executable, maker, FULL_SIZE, "--frames-from", ROOT / "models/iris", "--weights", WEIGHTS]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    library = ROOT / "target/release/libgstlipsync.so"
    if not TIME_PARTS.exists() or library.exists() and TIME_PARTS.stat().st_mtime < library.stat().st_mtime:
        say("building the example that times the steps")
        subprocess.run(["scripts/release.sh", "build", "--example", "time_parts"], cwd=ROOT, check=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turns (default 3)")
    parser.add_argument("--sound", type=Path, default=ROOT / "examples/sample.wav", help="16 bit WAV to speak")
    parser.add_argument("--seconds", type=float, help="trim or repeat the sound to this length")
    parser.add_argument("--output", type=Path, help="write all figures to this JSON file")
    options = parser.parse_args()
    if options.rounds < 1 or (options.seconds is not None and options.seconds <= 0):
        parser.error("--rounds and --seconds must be above 0")

    prepare()
    sound = cut_sound(options.sound, options.seconds) if options.seconds else options.sound.resolve()
    _, frames = features.read_sound(sound)
    load, commit = os.getloadavg(), checkout()
    say(f"load of the machine before: {load[0]:.1f} on {len(os.sched_getaffinity(0))} cores")
    results = {}
    for name, avatar in (("full-size", FULL_SIZE), ("iris", ROOT / "models/iris")):
        results[name] = compare(name, avatar, sound, frames, options.rounds)
    machine = describe_machine(options.rounds, load, commit)
    print(machine)
    for name, result in results.items():
        print_table(name, result)
    print(NOTES, end="")
    if options.output:
        options.output.write_text(json.dumps({"machine": machine, "networks": results}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
