# SPDX-License-Identifier: MPL-2.0
"""The figures as Markdown tables, and the targets beside them."""

import statistics

from machine import peak_models
from material import FPS
from parts import PARTS, PARTS_ROUNDS
from whole_job import median, spread

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
