#!/usr/bin/env python3
"""All that the plugin is to reach, measured in one run: speed, live streams, first frame, memory, parts, limits, scaling.

Prints Markdown tables, and writes all figures to target/bench/targets.json and two pictures into docs/. Everything that
is not played in real time is the median of several rounds in turns. No time is asserted.
"""

import argparse
import functools
import hashlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

import pictures
import whole_job
from full_size import median_seconds
from whole_job import FULL_SIZE, ONE_THREAD, REFERENCE, ROOT, RUNTIME, SCRATCH, TIME_PARTS, X264
from whole_job import Command, MemoryWatch, checkout, describe_machine, lipsync, measure, median, say, spread

IRIS = ROOT / "models/iris"
SAMPLE = ROOT / "examples/sample.wav"
MEASURE = ROOT / "target/release/examples/measure"
TOOL = ROOT / "target/release/lipsync-avatar"
CACHE = SCRATCH / "cache"

FPS = 25
FACE_IN_MEMORY = 1600
"""A cache-size in MiB that holds all that was ever computed of an avatar's frames."""

LIVE_SECONDS = 20.0
LIVE_STREAMS = {"iris": (1, 2, 4, 6, 8), "full-size": (1, 2)}
PARTS_SECONDS, PARTS_ROUNDS = 2.0, 3
"""One core takes its time: fewer rounds than elsewhere."""
START_SECONDS = 0.2
LONG_SOUNDS = (10.0, 60.0, 300.0)


@dataclass
class Job:
    """Something that makes a video of a sound: of a short one and a long one, so that the start can be told apart."""

    avatar: str
    name: str
    command: Callable[[Path], Command]
    short: float
    long: float


# --- material ---------------------------------------------------------------------------------------------------------


@functools.cache
def sound(seconds: float) -> Path:
    """Returns the sample, trimmed or repeated to a length, in a file of its own."""
    return whole_job.cut_sound(SAMPLE, seconds).rename(SCRATCH / f"sound-{seconds:g}.wav")


def prepare() -> None:
    """Makes what is missing."""
    whole_job.prepare()
    os.environ["XDG_CACHE_HOME"] = str(CACHE)
    os.environ.setdefault("ORT_DYLIB_PATH", str(RUNTIME / "libonnxruntime.so"))
    if not has_int8(FULL_SIZE):
        # Made-up weights have no 40 dB to keep.
        quantize(FULL_SIZE, "--psnr", "0")
    if not has_int8(IRIS) and not has_int8(iris_int8()):
        shutil.copytree(IRIS, iris_int8(), dirs_exist_ok=True)
        quantize(iris_int8())
    library = ROOT / "target/release/libgstlipsync.so"
    if not MEASURE.exists() or MEASURE.stat().st_mtime < library.stat().st_mtime:
        say("building the example that plays live streams")
        subprocess.run(["cargo", "build", "--release", "--locked", "--example", "measure"], cwd=ROOT, check=True)


def has_int8(avatar: Path) -> bool:
    return (avatar / "generator.int8.onnx").exists()


def iris_int8() -> Path:
    """Iris with an 8-bit network: as she comes, or a copy."""
    return IRIS if has_int8(IRIS) else SCRATCH / "iris-int8"


def quantize(avatar: Path, *options: str) -> None:
    say(f"making the 8-bit network of {avatar.name}")
    command = [TOOL, "quantize", avatar, "--sound", SAMPLE, *options]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


# --- speed and memory -------------------------------------------------------------------------------------------------


def encoded(avatar: Path, **properties: object) -> Callable[[Path], Command]:
    """Returns what makes an MP4 of a sound."""
    rest = [X264, ["h264parse"], ["mp4mux"], ["filesink", f"location={SCRATCH / 'targets.mp4'}"]]
    return lambda wav: with_properties(lipsync(wav, avatar, *rest), properties)


def painted(avatar: Path, **properties: object) -> Callable[[Path], Command]:
    """The same without a video encoder."""
    return lambda wav: with_properties(lipsync(wav, avatar, ["fakesink"]), properties)


def with_properties(command: Command, properties: dict[str, object]) -> Command:
    words = [f"{name.replace('_', '-')}={value}" for name, value in properties.items()]
    place = command.index("lipsync") + 1
    return [*command[:place], *words, *command[place:]]


def python(avatar: Path) -> Callable[[Path], Command]:
    video = SCRATCH / "targets-python.mp4"
    return lambda wav: [sys.executable, REFERENCE, "--avatar", avatar, "--audio", wav, "--mp4", video]


def jobs(quick: bool) -> list[Job]:
    """What is measured in turns, with seconds of sound. The slow ones get less; their marginal rate is what counts.

    With a large cache the shorter sound is long enough to show every frame once: what the longer has more is kept.
    """
    name = "auto (int8)" if has_int8(IRIS) else "auto (fp32)"
    cache = {"cache_size": FACE_IN_MEMORY}
    result = [
        Job("full-size", "Python", python(FULL_SIZE), 1, 3),
        Job("full-size", "auto (int8)", encoded(FULL_SIZE), 2, 20),
        Job("full-size", f"int8, cache-size={FACE_IN_MEMORY}", encoded(FULL_SIZE, precision="int8", **cache), 16, 24),
        Job("full-size", "fp32", encoded(FULL_SIZE, precision="fp32"), 1, 5),
        Job("full-size", "auto, not encoded", painted(FULL_SIZE), 1, 5),
        Job("iris", "Python", python(IRIS), 1, 4),
        Job("iris", name, encoded(IRIS), 4, 30),
        Job("iris", "auto, not encoded", painted(IRIS), 1, 20),
    ]
    if not has_int8(IRIS):
        result.append(Job("iris", "int8, a quantized copy", encoded(iris_int8(), precision="int8"), 4, 30))
    if quick:
        for job in result:
            job.short, job.long = 0.4, 1.2
    return result


def run_rounds(todo: list[Job], rounds: int) -> list[dict]:
    results = [{"avatar": job.avatar, "name": job.name, "seconds": (job.short, job.long), "short": [], "long": []} for job in todo]
    # Nothing of the first start is to be in the rounds: prepared graphs, the disk's cache.
    say("every job once, to fill caches")
    for job in todo:
        measure(job.command(sound(0.2)))
    for number in range(1, rounds + 1):
        for job, result in zip(todo, results):
            for length in ("short", "long"):
                run = measure(job.command(sound(getattr(job, length))))
                result[length].append(run)
                say(f"round {number} of {rounds}: {job.avatar}, {job.name}, {length}: {run['seconds']:.2f} s")
    for result in results:
        add_rates(result)
    return results


def add_rates(result: dict) -> None:
    """Frames a second with the start, without it, and the start."""
    short, long = (round(seconds * FPS) for seconds in result["seconds"])
    pairs = list(zip(result["short"], result["long"]))
    result["rates"] = [long / run["seconds"] for run in result["long"]]
    result["marginal"] = [(long - short) / (b["seconds"] - a["seconds"]) for a, b in pairs]
    result["start"] = median(result["short"], "seconds") - short / statistics.median(result["marginal"])
    result["memory"] = statistics.median(run["memory"] for run in result["long"])


# --- examples/measure.rs ----------------------------------------------------------------------------------------------


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


# --- parts ------------------------------------------------------------------------------------------------------------


def time_parts(rounds: int, seconds: float, before: Path | None) -> dict[str, dict]:
    """Milliseconds a frame of each step on one core, by avatar and by who does it."""
    wav, frames = sound(seconds), round(seconds * FPS)
    results = {}
    for name, avatar, int8 in (("full-size", FULL_SIZE, FULL_SIZE), ("iris", IRIS, iris_int8())):
        ways: dict[str, Callable[[], dict]] = {"Python": lambda: python_parts(avatar, wav, seconds)}
        if before:
            ways["before"] = lambda: ask([before, avatar, wav])
        ways["fp32"] = lambda: ask([TIME_PARTS, avatar, wav, "fp32"])
        ways["int8"] = lambda: ask([TIME_PARTS, int8, wav, "int8"])
        told: dict[str, list[dict]] = {way: [] for way in ways}
        for number in range(1, rounds + 1):
            for way, work in ways.items():
                say(f"round {number} of {rounds}: parts of {name}, {way}")
                told[way].append(work())
        results[name] = {
            way: {part: median(runs, part) / frames * 1000 for part in PARTS if part in runs[0]}
            for way, runs in told.items()
        }
    return results


PARTS = ("resampling", "mel", "encoder", "decode", "generator", "compositing")


def python_parts(avatar: Path, wav: Path, seconds: float) -> dict[str, float]:
    """The reference's seconds without what its first frames cost more: it loads code when that is first used."""
    first, all_of_it = python_start(avatar), reference_seconds(avatar, wav)
    share = 1 - START_SECONDS / seconds
    return {part: max(0.0, all_of_it[part] - first[part]) / share for part in PARTS if part in all_of_it}


@functools.cache
def python_start(avatar: Path) -> dict[str, float]:
    return reference_seconds(avatar, sound(START_SECONDS))


def reference_seconds(avatar: Path, wav: Path) -> dict[str, float]:
    timings = SCRATCH / "targets-python.json"
    options = ["--threads", "1", "--timings", timings]
    measure([sys.executable, REFERENCE, "--avatar", avatar, "--audio", wav, *options], **ONE_THREAD)
    return json.loads(timings.read_text())["seconds"]


# --- limits of the machine --------------------------------------------------------------------------------------------


def open_session(model: Path | bytes, **options: object) -> onnxruntime.InferenceSession:
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    for name, value in options.items():
        setattr(settings, name, value)
    return onnxruntime.InferenceSession(model if isinstance(model, bytes) else str(model), settings, ["CPUExecutionProvider"])


def example_inputs(session: onnxruntime.InferenceSession) -> dict[str, np.ndarray]:
    """Returns noise of the right shapes; open sizes are 1."""
    rng = np.random.default_rng(3)
    kinds = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int8)": np.int8}
    feeds = {}
    for port in session.get_inputs():
        shape = [size if isinstance(size, int) else 1 for size in port.shape]
        kind = kinds[port.type]
        feeds[port.name] = rng.random(shape, np.float32) if kind == np.float32 else rng.integers(0, 100, shape, kind)
    return feeds


def one_node(op: str, inputs: dict[str, tuple], weights: dict[str, np.ndarray], order: list[str], kind: int, **attributes) -> bytes:
    """Returns a model of a single operation."""
    ports = [onnx.helper.make_tensor_value_info(name, t, shape) for name, (t, shape) in inputs.items()]
    output = onnx.helper.make_tensor_value_info("y", kind, None)
    constants = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = onnx.helper.make_graph([onnx.helper.make_node(op, order, ["y"], **attributes)], op, ports, [output], constants)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


def peak_models() -> dict[str, tuple[str, bytes, float]]:
    """Operations that nothing of the networks can beat: kind of numbers, model, MACs."""
    t, rng, n = onnx.TensorProto, np.random.default_rng(5), 1024
    channels, side = 256, 40
    small = rng.integers(-60, 60, (n, n), np.int8)
    kernel = rng.integers(-60, 60, (channels, channels, 3, 3), np.int8)
    picture = [1, channels, side, side]
    scale, zero = np.float32(0.02), np.uint8(128)
    quantities = {"s": np.array(scale), "z": np.array(zero), "w": kernel, "sw": np.array(scale), "zw": np.array(np.int8(0))}
    order = ["x", "s", "z", "w", "sw", "zw", "s", "z"]
    conv_macs = channels * channels * 9.0 * side * side
    pads = {"pads": [1, 1, 1, 1], "kernel_shape": [3, 3]}
    return {
        "MatMul": ("fp32", one_node("MatMul", {"x": (t.FLOAT, [n, n])}, {"w": small.astype(np.float32)}, ["x", "w"], t.FLOAT), n**3),
        "Conv": ("fp32", one_node("Conv", {"x": (t.FLOAT, picture)}, {"w": kernel.astype(np.float32)}, ["x", "w"], t.FLOAT, **pads), conv_macs),
        "MatMulInteger": ("int8", one_node("MatMulInteger", {"x": (t.UINT8, [n, n])}, {"w": small}, ["x", "w"], t.INT32), n**3),
        "QLinearConv": ("int8", one_node("QLinearConv", {"x": (t.UINT8, picture)}, quantities, order, t.UINT8, **pads), conv_macs),
    }


def measure_machine(rounds: int) -> dict[str, float]:
    """GMAC/s of one core by operation and at most, and GB/s that it copies (read and written)."""
    result: dict[str, float] = {"fp32": 0.0, "int8": 0.0}
    for name, (kind, model, macs) in peak_models().items():
        session = open_session(model)
        feeds = example_inputs(session)
        result[name] = macs / median_seconds(lambda: session.run(None, feeds), 3 * rounds) / 1e9
        result[kind] = max(result[kind], result[name])
    source = np.ones(256 << 20, np.uint8)
    target = np.zeros_like(source)
    result["bandwidth"] = 2 * source.nbytes / median_seconds(lambda: np.copyto(target, source), 3 * rounds) / 1e9
    return result


def prepared(generator: Path) -> dict[str, Path]:
    """Returns the graphs that the plugin keeps of a generator, see src/prepare.rs."""
    place = hashlib.sha256(os.fsencode(generator.resolve())).hexdigest()[:16]
    files = sorted((CACHE / "lipsync/graphs").glob(f"{place}-*.onnx"), key=lambda path: path.stat().st_mtime)
    return {file.stem.rsplit("-", 1)[1]: file for file in files}


def measure_networks(rounds: int, generator: float) -> dict[str, dict]:
    """Measures the networks in Python, with ONNX Runtime's kernels alone.

    `generator` is how many milliseconds the plugin takes for the full-size network in 8 bits, with all around it: its
    own kernels are no part of the graph.
    """
    files = {}
    for name, fp32, int8 in (("full-size", FULL_SIZE, FULL_SIZE), ("iris", IRIS, iris_int8())):
        files[f"{name} fp32, as it came"] = fp32 / "generator.onnx"
        for kind, file in (("fp32", fp32 / "generator.onnx"), ("int8", int8 / "generator.int8.onnx")):
            for part, path in prepared(file).items():
                files[f"{name} {kind} {part}"] = path
    result = {}
    for name, path in files.items():
        say(f"the network {name}")
        session = open_session(path)
        feeds = example_inputs(session)
        seconds = median_seconds(lambda: session.run(None, feeds), 3 * rounds)
        row = count_work(path) | {"seconds": seconds, "kind": "int8" if "int8" in name else "fp32"}
        result[name] = row | {"rate": row["macs"] / seconds / 1e9}
    parts = [row for name, row in result.items() if name.startswith("full-size int8")]
    macs, weights = (sum(row[key] for row in parts) for key in ("macs", "weights"))
    ours = {"macs": macs, "weights": weights, "bytes": None, "seconds": generator / 1000, "kind": "int8"}
    result["full-size int8, by the plugin"] = ours | {"rate": macs / generator / 1e6}
    return result


def count_work(path: Path) -> dict[str, float]:
    """Counts MACs, and bytes that every node reads and writes, as ONNX Runtime has joined the nodes."""
    with tempfile.NamedTemporaryFile(dir=SCRATCH, suffix=".onnx") as file:
        levels = onnxruntime.GraphOptimizationLevel
        open_session(path, optimized_model_filepath=file.name, graph_optimization_level=levels.ORT_ENABLE_EXTENDED)
        model = onnx.load(file.name)
    constants = {w.name: onnx.numpy_helper.to_array(w) for w in model.graph.initializer}
    values = constants | all_values(model)
    macs = size = 0.0
    for node in model.graph.node:
        size += sum(values[name].nbytes for name in [*node.input, *node.output] if name in values)
        macs += node_macs(node, values)
    return {"macs": macs, "bytes": size, "weights": sum(value.nbytes for value in constants.values())}


def all_values(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    """Returns every value of a graph: shapes are what a run gives, whatever the operations are."""
    known = {output.name for output in model.graph.output}
    wanted = [name for node in model.graph.node for name in node.output if name and name not in known]
    more = onnx.ModelProto()
    more.CopyFrom(model)
    more.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    session = open_session(more.SerializeToString(), graph_optimization_level=onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    feeds = example_inputs(session)
    return feeds | dict(zip([output.name for output in session.get_outputs()], session.run(None, feeds)))


def node_macs(node: onnx.NodeProto, values: dict[str, np.ndarray]) -> float:
    """MACs of a convolution or of a product of matrices; nothing for all else."""
    if node.op_type not in ("Conv", "FusedConv", "QLinearConv", "Gemm", "FusedGemm", "QGemm", "MatMul", "FusedMatMul", "QLinearMatMul", "MatMulIntegerToFloat", "DynamicQuantizeMatMul", "MatMulInteger"):
        return 0.0
    output = float(values[node.output[0]].size)
    weight = 3 if node.op_type.startswith("QLinear") else 1
    if "Conv" in node.op_type:
        return output * np.prod(values[node.input[weight]].shape[1:])
    flags = {attribute.name: attribute.i for attribute in node.attribute}
    return output * values[node.input[0]].shape[-2 if flags.get("transA") else -1]


# --- scaling ----------------------------------------------------------------------------------------------------------


def measure_scaling(quick: bool) -> list[dict]:
    """Iris's cost against what there is more or less of; each once, for the long ones take their time."""
    avatar, rows = iris_int8(), []
    lengths = (1.0, 2.0, 4.0) if quick else LONG_SOUNDS
    few = avatar_of_few_frames(avatar, 25)
    todo = [(f"{seconds:g} s of sound", seconds, [], avatar) for seconds in lengths]
    # The cores that this process may use, for it may not be all.
    cores = sorted(os.sched_getaffinity(0))
    for count in sorted({1, min(2, len(cores))}):
        which = ",".join(map(str, cores[:count]))
        todo.append((f"{count} of the cores, {lengths[1] / 4:g} s", lengths[1] / 4, ["taskset", "-c", which], avatar))
    todo.append((f"25 frames instead of 200, {lengths[1] / 4:g} s", lengths[1] / 4, [], few))
    for name, seconds, prefix, folder in todo:
        say(f"scaling: {name}")
        run = measure([*prefix, *encoded(folder)(sound(seconds))])
        rows.append({"name": name, "rate": seconds * FPS / run["seconds"], "memory": run["memory"]})
    return rows


def avatar_of_few_frames(avatar: Path, count: int) -> Path:
    """Returns a copy of an avatar with its first frames only."""
    copy = SCRATCH / f"iris-{count}"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(avatar, copy)
    for folder in ("frames", "alpha"):
        for file in (copy / folder).glob("*"):
            if file.stem.isdigit() and int(file.stem) >= count:
                file.unlink()
    lines = (copy / "crops.csv").read_text().splitlines(keepends=True)
    (copy / "crops.csv").write_text("".join(lines[: count + 1]))
    return copy


# --- report -----------------------------------------------------------------------------------------------------------


def print_table(title: str, head: str, rows: list[list[object]]) -> None:
    columns = head.split(" | ")
    print(f"\n### {title}\n\n| {head} |\n|{'---|' * len(columns)}")
    for row in rows:
        print(f"| {' | '.join(map(str, row))} |")


def find(results: list[dict], avatar: str, name: str) -> dict:
    """Returns the first result of an avatar whose name begins so."""
    return next(r for r in results if r["avatar"] == avatar and r["name"].startswith(name))


def times_python(results: list[dict], result: dict) -> float:
    """How many times as fast, without the start of either."""
    python_alone = find(results, result["avatar"], "Python")
    return statistics.median(result["marginal"]) / statistics.median(python_alone["marginal"])


def megabytes(mebibytes: float) -> str:
    return f"{mebibytes * 1.048576:.0f}"


def print_speed(results: list[dict]) -> None:
    rows = []
    for r in results:
        per_frame = median(r["long"], "cpu") / round(r["seconds"][1] * FPS) * 1000
        rows.append([
            r["avatar"], r["name"], "%g s, %g s" % r["seconds"], spread(r["rates"]), spread(r["marginal"]),
            f"{r['start']:.2f}", f"{times_python(results, r):.2f}", f"{per_frame:.1f}", megabytes(r["memory"]),
        ])  # fmt: skip
    head = "avatar | how | sounds | frames/s, the longer sound, whole process | frames/s, what the longer has more | start, s | ratio to Python | processor, ms/frame | peak memory, MB"
    print_table("Sound to MP4 (720p25, x264 veryfast)", head, rows)
    print("\nThe ratio is that of the frames/s without the start. Peak memory is that of the longer sound.")


def print_live(rows: list[dict]) -> None:
    table = []
    for row in rows:
        streams = row["streams"]
        table.append([
            row["avatar"], row["count"], sum(s["frames"] for s in streams), sum(s["repeated"] for s in streams),
            sum(s["skipped"] for s in streams), max(s["interval"] for s in streams),
            f"{statistics.mean(s['mean'] for s in streams) * 1000:.1f}", f"{max(s['p95'] for s in streams) * 1000:.1f}",
            megabytes(row["memory"]),
        ])  # fmt: skip
    head = "avatar | streams | frames | repeated | skipped | interval | generator, mean ms | 95 % below, ms | peak memory, MB"
    print_table(f"Live: lipsyncsrc in one process, {rows[0]['seconds']:g} s in real time, once", head, table)
    print("\n`stats` knows the mean and the 95th percentile of the generator's time, not the worst.")


def print_starts(starts: dict[str, dict]) -> None:
    rows = []
    for name, s in starts.items():
        empty = [f"{1000 * s['empty'][key]:.1f}" for key in ("ready", "first")]
        rows.append([name, *empty, milliseconds(s["ready"]), milliseconds(s["first"]), milliseconds(s["again"])])
    head = "avatar | nothing prepared, once: to READY | PAUSED to frame | prepared, a new process: to READY | PAUSED to frame | again in the process: PAUSED to frame"
    print_table("First frame, ms", head, rows)


def milliseconds(seconds: list[float]) -> str:
    return spread([1000 * value for value in seconds])


def print_parts(parts: dict[str, dict], seconds: float) -> None:
    ways = list(next(iter(parts.values())))
    rows = []
    for avatar, columns in parts.items():
        for part in PARTS:
            rows.append([avatar, part, *(f"{columns[w][part]:.2f}" if part in columns[w] else "-" for w in ways)])
        rows.append([avatar, "**all**", *(f"**{sum(columns[w].values()):.2f}**" for w in ways)])
    print_table(f"Parts on one core, ms/frame, {seconds:g} s of sound, {PARTS_ROUNDS} rounds at most", f"avatar | part | {' | '.join(ways)}", rows)


def print_limits(machine: dict[str, float], networks: dict[str, dict]) -> None:
    operations = ", ".join(f"{name} {machine[name]:.0f}" for name in peak_models())
    print(f"\n### Limits of one core\n\nGMAC/s: {operations}. Memory: {machine['bandwidth']:.1f} GB/s copied, read and written.")
    rows = []
    for name, row in networks.items():
        share = row["rate"] / machine[row["kind"]]
        moved, speed = "-", "-"
        if row["bytes"]:
            moved, speed = f"{row['bytes'] / 1e6:.0f}", f"{row['bytes'] / row['seconds'] / 1e9:.1f}"
        rows.append([
            name, f"{row['macs'] / 1e6:.0f}", f"{row['weights'] / 1e6:.1f}", moved, f"{row['seconds'] * 1000:.1f}",
            f"{row['rate']:.1f}", f"{share:.0%}", speed,
        ])  # fmt: skip
    head = "network | MMAC | weights, MB | moved by nodes, MB | ms | GMAC/s | of the limit | GB/s"
    print_table("Networks on one core", head, rows)


def print_scaling(rows: list[dict]) -> None:
    table = [[row["name"], f"{row['rate']:.1f}", megabytes(row["memory"])] for row in rows]
    print_table("Scaling: iris, int8, to MP4, whole process, once", "what | frames/s | peak memory, MB", table)


def print_targets(figures: dict) -> None:
    speed, live, rows = figures["speed"], figures["live"], []

    def judge(what: str, target: str, value: str, reached: bool) -> None:
        rows.append([what, target, value, "yes" if reached else "**no**"])

    for avatar, least, most in (("full-size", 25, 400), ("iris", 100, 200)):
        ours, bare = find(speed, avatar, "auto ("), find(speed, avatar, "auto, not encoded")
        for what, rates in (("with the start", ours["rates"]), ("without the start", ours["marginal"])):
            rate = statistics.median(rates)
            judge(f"{avatar}: frames/s, {what}", f">= {least}", f"{rate:.1f}", rate >= least)
        if avatar == "full-size":
            ratio = times_python(speed, ours)
            judge(f"{avatar}: times Python", ">= 4", f"{ratio:.1f}", ratio >= 4)
        for what, run in (("with x264", ours), ("without x264", bare)):
            memory = megabytes(run["memory"])
            judge(f"{avatar}: peak memory {what}, MB", f"< {most}", memory, int(memory) < most)
        first = statistics.median(figures["starts"][avatar]["first"])
        judge(f"{avatar}: first frame, s", "< 0.5", f"{first:.2f}", first < 0.5)
        alone = next(row for row in live if (row["avatar"], row["count"]) == (avatar, 1))["streams"][0]
        judge(f"{avatar}: generator live, 95 % below, ms", "< 40", f"{alone['p95'] * 1000:.1f}", alone["p95"] < 0.04)
    fine = [row["count"] for row in live if row["avatar"] == "iris" and not complaints(row)]
    most = max(fine, default=0)
    judge("iris: live streams without a repeated picture", ">= 4", str(most), most >= 4)
    print_table("Targets", "what | target | measured | reached", rows)


def complaints(row: dict) -> int:
    return sum(s["repeated"] + s["skipped"] + s["interval"] - 1 for s in row["streams"])


# --- command line -----------------------------------------------------------------------------------------------------


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, in turns (default 5)")
    parser.add_argument("--quick", action="store_true", help="one round with hardly any sound: does it work at all?")
    parser.add_argument("--before", type=Path, help="a time_parts of an older commit, which takes AVATAR WAV")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error("--rounds must be above 0")
    rounds = 1 if options.quick else options.rounds
    seconds = 0.4 if options.quick else PARTS_SECONDS

    prepare()
    begin, load, commit = time.monotonic(), os.getloadavg(), checkout()
    avatars = {"full-size": FULL_SIZE, "iris": IRIS}
    figures: dict = {}
    steps: dict[str, Callable[[], object]] = {
        "speed": lambda: run_rounds(jobs(options.quick), rounds),
        "live": lambda: play_live(avatars, options.quick),
        "starts": lambda: start_often(avatars, rounds),
        "parts": lambda: time_parts(min(rounds, PARTS_ROUNDS), seconds, options.before),
        "machine": lambda: measure_machine(rounds),
        "networks": lambda: measure_networks(rounds, figures["parts"]["full-size"]["int8"]["generator"]),
        "scaling": lambda: measure_scaling(options.quick),
    }
    for name, step in steps.items():
        started = time.monotonic()
        figures[name] = step()
        say(f"{name}: took {time.monotonic() - started:.0f} s")
    figures["description"] = describe_machine(rounds, load, commit)
    (SCRATCH / "targets.json").write_text(json.dumps(figures, indent=1) + "\n")

    print(figures["description"])
    print_targets(figures)
    print_speed(figures["speed"])
    print_live(figures["live"])
    print_starts(figures["starts"])
    print_parts(figures["parts"], seconds)
    print_limits(figures["machine"], figures["networks"])
    print_scaling(figures["scaling"])
    # A smoke run must not replace the pictures of a real one.
    folder = SCRATCH if options.quick else ROOT / "docs"
    pictures.draw_stages(figures["parts"], folder / "performance-stages.png")
    pictures.draw_roofline(figures["machine"], figures["networks"], folder / "performance-roofline.png")
    say(f"all of it took {(time.monotonic() - begin) / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
