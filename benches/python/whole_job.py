#!/usr/bin/env python3
"""The whole job, WAV to H.264 MP4, by the plugin and by the plain Python reference: same networks, machine, run, sound.

Both write 720p video with x264 (veryfast) and run in turns, as processes of their own. Printed are frames a second over
the whole process (start, loading and encoding included), their ratio, the parts, peak memory and the time to the first
frame. Nothing is asserted of times; that both made the same pictures is.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "tests/python/reference.py"
TIME_PARTS = ROOT / "target/release/examples/time_parts"
ENCODER = "x264enc speed-preset=veryfast ! mp4mux ! filesink location={}"
SAME_PICTURE = 3.0
"""Mean difference in levels that two lossy encodings of the same picture may have."""


def say(text: str) -> None:
    print(f"... {text}", file=sys.stderr, flush=True)


def measure(command: list) -> dict:
    """Runs a command and returns its wall and processor seconds and its peak memory in MiB."""
    started = time.perf_counter()
    with tempfile.TemporaryFile() as output:
        process = subprocess.Popen([str(word) for word in command], stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - started
        if status != 0:
            output.seek(0)
            sys.exit(f"{' '.join(map(str, command))} failed:\n{output.read().decode()}")
    return {"seconds": seconds, "cpu": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss / 1024}


def launch(sound: Path, avatar: Path, rest: str) -> list:
    line = f"gst-launch-1.0 -q filesrc location={sound} ! wavparse ! lipsync avatar={avatar} ! {rest}"
    return line.split()


def frames_of(sound: Path) -> int:
    with wave.open(str(sound)) as file:
        return -(-file.getnframes() * 25 // file.getframerate())


def check_same_pictures(ours: Path, theirs: Path) -> float:
    """Fails unless both videos have the same frames; returns the largest mean difference in levels."""
    videos = [cv2.VideoCapture(str(path)) for path in (ours, theirs)]
    worst = count = 0
    while True:
        pictures = [video.read() for video in videos]
        if pictures[0][0] != pictures[1][0]:
            sys.exit(f"{ours} and {theirs} have different numbers of frames")
        if not pictures[0][0]:
            break
        if count % 20 == 0:
            worst = max(worst, np.abs(pictures[0][1].astype(int) - pictures[1][1]).mean())
        count += 1
    if count == 0 or worst > SAME_PICTURE:
        sys.exit(f"{ours} and {theirs} differ by {worst:.1f} levels over {count} frames")
    return float(worst)


def compare(name: str, avatar: Path, sound: Path, rounds: int, folder: Path) -> dict:
    ours_file, theirs_file, timings = folder / f"{name}-plugin.mp4", folder / f"{name}-python.mp4", folder / "t.json"
    reference = [sys.executable, REFERENCE, "--avatar", avatar, "--audio", sound]
    ours, theirs, first = [], [], []
    for number in range(1, rounds + 1):
        say(f"{name}: round {number} of {rounds}, plugin")
        ours.append(measure(launch(sound, avatar, ENCODER.format(ours_file))))
        first.append(measure(launch(sound, avatar, "fakesink num-buffers=1"))["seconds"])
        say(f"{name}: round {number} of {rounds}, Python")
        theirs.append(measure([*reference, "--mp4", theirs_file, "--timings", timings]))
    report = json.loads(timings.read_text())
    result = {
        "frames": frames_of(sound),
        "plugin": ours,
        "python": theirs,
        "first_frame": [statistics.median(first), report["first_frame_seconds"]],
        "python_parts": report["seconds"],
        "difference": check_same_pictures(ours_file, theirs_file),
    }
    if TIME_PARTS.exists():
        say(f"{name}: the plugin's parts on one thread")
        environment = {"ORT_DYLIB_PATH": str(ROOT / "target/onnxruntime/libonnxruntime.so"), **os.environ}
        output = subprocess.run([TIME_PARTS, avatar, sound], env=environment, check=True, capture_output=True)
        result["plugin_parts"] = json.loads(output.stdout)
    return result


def print_table(name: str, result: dict) -> None:
    frames = result["frames"]
    rate = {who: [frames / run["seconds"] for run in result[who]] for who in ("plugin", "python")}
    middle = {who: statistics.median(rates) for who, rates in rate.items()}
    memory = {who: max(run["memory"] for run in result[who]) for who in rate}
    cpu = {who: statistics.median(run["cpu"] for run in result[who]) for who in rate}
    print(f"\n### {name}: {frames} frames\n\n| | plugin | Python | ratio |\n|---|---|---|---|")
    spread = {who: f"{middle[who]:.1f} ({min(rates):.1f} to {max(rates):.1f})" for who, rates in rate.items()}
    print(f"| frames/s, whole process | {spread['plugin']} | {spread['python']} | {middle['plugin'] / middle['python']:.2f} |")
    ratio = cpu["python"] / cpu["plugin"]
    print(f"| processor seconds | {cpu['plugin']:.1f} | {cpu['python']:.1f} | {ratio:.2f} |")
    ratio = memory["python"] / memory["plugin"]
    print(f"| peak memory, MiB | {memory['plugin']:.0f} | {memory['python']:.0f} | {ratio:.2f} |")
    first = result["first_frame"]
    print(f"| first frame, s | {first[0]:.2f} (whole process) | {first[1]:.2f} (imports excluded) | |")
    parts = result.get("plugin_parts", {})
    names = {"resampling": "load", "mel": "mel", "encoder": "encoder", "decode": "decode", "generator": "generator",
             "compositing": "compositing"}
    for part, theirs in names.items():
        ours = f"{parts[part] / frames * 1000:.2f}" if part in parts else "-"
        seconds = result["python_parts"].get(theirs)
        other = f"{seconds / frames * 1000:.2f}" if seconds is not None and part != "resampling" else "-"
        print(f"| {part}, ms/frame (plugin: one thread) | {ours} | {other} | |")
    encoding = result["python_parts"].get("encoding", 0) / frames * 1000
    print(f"| encoding, ms/frame | beside the rest | {encoding:.2f} | |")
    print(f"\nThe pictures differ by {result['difference']:.2f} levels at most (mean of a frame, after encoding).")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turns (default 3)")
    parser.add_argument("--sound", type=Path, default=ROOT / "examples/sample.wav", help="WAV to speak")
    parser.add_argument("--output", type=Path, help="write all figures to this JSON file")
    options = parser.parse_args()

    full_size = ROOT / "target/full-size"
    if not (full_size / "generator.onnx").exists():
        say("making the full-size networks with made-up weights")
        maker = Path(__file__).with_name("full_size.py")
        command = [sys.executable, maker, full_size, "--frames-from", ROOT / "models/iris"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    if not TIME_PARTS.exists():
        say("building the example that times the steps")
        subprocess.run(["cargo", "build", "--release", "--locked", "--example", "time_parts"], cwd=ROOT, check=True)
    say(f"load of the machine before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, avatar in (("iris", ROOT / "models/iris"), ("full-size", full_size)):
            results[name] = compare(name, avatar, options.sound, options.rounds, Path(folder))
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    print(f"{cpu}, {os.cpu_count()} cores, {platform.platform()}; {options.rounds} rounds, median (range)")
    for name, result in results.items():
        print_table(name, result)
    if options.output:
        options.output.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
