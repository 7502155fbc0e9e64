#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""All that the plugin is to reach, measured in one run: speed, live streams, first frame, memory, parts, limits, scaling.

Prints Markdown tables, and writes all figures to target/bench/targets.json and two pictures into docs/. Everything that
is not played in real time is the median of several rounds in turns. No time is asserted.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pictures
import tables
from in_process import play_live, start_often
from machine import measure_machine
from material import IRIS, prepare
from networks import measure_networks
from parts import PARTS_ROUNDS, PARTS_SECONDS, time_parts
from scaling import measure_scaling
from speed import jobs, run_rounds
from whole_job import FULL_SIZE, ROOT, SCRATCH, checkout, describe_machine, say


def fastest(columns: dict[str, dict]) -> dict:
    """Milliseconds by step with the kernels that are fastest here."""
    return min((parts for way, parts in columns.items() if way.startswith("int8")), key=lambda parts: parts["generator"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="runs of each, in turns (default 5)")
    parser.add_argument("--quick", action="store_true", help="one round with hardly any sound: does it work at all?")
    parser.add_argument("--before", type=Path, help="a time_parts of an older commit")
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
        "networks": lambda: measure_networks(rounds, fastest(figures["parts"]["full-size"])["generator"]),
        "scaling": lambda: measure_scaling(options.quick),
    }
    for name, step in steps.items():
        started = time.monotonic()
        figures[name] = step()
        # What was measured is not lost where a later step fails.
        (SCRATCH / "targets.json").write_text(json.dumps(figures, indent=1) + "\n")
        say(f"{name}: took {time.monotonic() - started:.0f} s")
    figures["description"] = describe_machine(rounds, load, commit)
    (SCRATCH / "targets.json").write_text(json.dumps(figures, indent=1) + "\n")

    print(figures["description"])
    tables.print_targets(figures)
    tables.print_speed(figures["speed"])
    tables.print_live(figures["live"])
    tables.print_starts(figures["starts"])
    tables.print_parts(figures["parts"], seconds)
    tables.print_limits(figures["machine"], figures["networks"])
    tables.print_scaling(figures["scaling"])
    # A smoke run must not replace the pictures of a real one.
    folder = SCRATCH if options.quick else ROOT / "docs"
    pictures.draw_stages(figures["parts"], folder / "performance-stages.png")
    pictures.draw_roofline(figures["machine"], figures["networks"], folder / "performance-roofline.png")
    say(f"all of it took {(time.monotonic() - begin) / 60:.1f} minutes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
