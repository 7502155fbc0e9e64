# SPDX-License-Identifier: MPL-2.0
"""Measures what rendering on many machines costs, and computes it for 1 to 100 of them: measure.py [--price P] [--repeat N]

Needs what the tests need (`make test-batch` installs it), and a quiet machine. On another, trust seconds of a core and ratios only.
"""

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).with_name("tests")))

from conftest import TOOL, Farm, Jobs, until

MACHINES = (1, 2, 5, 10, 20, 50, 100)
LONG = 120


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--price", type=float, default=0.04, help="of a core for an hour")
    parser.add_argument("--repeat", type=int, default=5, help="each measurement, of which the median counts")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        (folder / "jobs").mkdir()
        figures = Measurement(Jobs(folder / "jobs"), options.repeat).figures()
        figures["jobs a minute"] = throughput(folder, options.repeat)
    print(json.dumps(figures, indent=2))
    table(figures, options.price * len(os.sched_getaffinity(0)) / 3600)


def used():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


class Measurement:
    """Seconds of a core and of the clock of single runs of the tool."""

    def __init__(self, jobs, repeat):
        self.jobs = jobs
        self.repeat = repeat

    def run(self, name, command=("work",), prefix=(), options=(), **job):
        """The medians of both."""
        cores, clocks = [], []
        for number in range(self.repeat):
            file = self.jobs.write(f"{name}-{number}", **{"size": "1280x720", **job})
            used_before, before = used(), time.monotonic()
            subprocess.run([*prefix, TOOL, *command, file, *options], check=True, stdout=subprocess.DEVNULL)
            clocks.append(time.monotonic() - before)
            cores.append(used() - used_before)
        return statistics.median(cores), statistics.median(clocks)

    def figures(self):
        for seconds in (1, 10):
            self.jobs.sound(f"{seconds}.wav", seconds=seconds)
        self.jobs.sound("long.wav", seconds=LONG, loop=LONG // 11)
        short, short_clock = self.run("short", speech="1.wav")
        longer, longer_clock = self.run("longer", speech="10.wav")
        _, one_core_clock = self.run("one-core", speech="10.wav", prefix=("taskset", "-c", "0"))
        # The job is done, and found so.
        done, _ = self.run("short", speech="1.wav")
        frames = 125
        first, _ = self.run("first", speech="long.wav", frames=[0, frames - 1])
        last, _ = self.run("last", speech="long.wav", frames=[LONG * 25 - frames, LONG * 25 - 1])
        split, _ = self.run("split", command=("split",), options=("--parts", "4"), speech="long.wav")
        self.parts(4)
        join, _ = self.run("join", speech="long.wav", parts=[f"part-{part}-0.mp4" for part in range(4)])
        size = (self.jobs.folder / "longer-0.mp4").stat().st_size / 10
        paint = (longer - short) / 9
        return {
            "start of a job, core seconds": short - paint,
            "start of a job, seconds of the clock": short_clock - (longer_clock - short_clock) / 9,
            "a job that is done already, core seconds": done,
            "a second of video (720p), core seconds": paint,
            "a second of sound before a part, core seconds": (last - first) / (LONG - frames / 25),
            "splitting, core seconds a second": split / LONG,
            "joining, core seconds a second": join / LONG,
            "all cores against one": one_core_clock / longer_clock,
            "bytes a second of video": size,
        }

    def parts(self, count):
        """Parts of the long video, to be joined."""
        step = LONG * 25 // count
        repeat, self.repeat = self.repeat, 1
        for part in range(count):
            self.run(f"part-{part}", speech="long.wav", frames=[part * step, (part + 1) * step - 1])
        self.repeat = repeat


def throughput(folder, repeat):
    """Jobs of four seconds a minute: workers with all cores, and with a core each."""
    cores = sorted(os.sched_getaffinity(0))
    setups = {
        "one worker, all cores": [cores],
        "two workers, all cores": [cores, cores],
        "one worker, one core": [cores[:1]],
        "two workers, one core each": [cores[:1], cores[1:2]],
    }
    found = {}
    for setup, workers in setups.items():
        here = folder / setup.replace(" ", "-")
        here.mkdir()
        (here / "jobs").mkdir()
        jobs = Jobs(here / "jobs")
        count = 6 * repeat
        files = [jobs.make(f"{number}", start=number * 0.2, seconds=4, size="1280x720") for number in range(count)]
        farm = Farm(here, LIPSYNC_TIMEOUT="600")
        try:
            for number, own in enumerate(workers):
                # What it starts inherits it.
                os.sched_setaffinity(0, own)
                farm.start(f"worker-{number}")
            os.sched_setaffinity(0, cores)
            until(lambda here=here: all("ready." in log.read_text() for log in here.glob("worker-*.log")), "the workers are ready")
            before = time.monotonic()
            farm.submit(*files, options=["--wait"])
            found[setup] = count / (time.monotonic() - before) * 60
        finally:
            farm.close()
    return found


def table(figures, price):
    """The model of README.md, for machines such as this one. The price is that of one for a second."""
    start = figures["start of a job, core seconds"]
    paint = figures["a second of video (720p), core seconds"] / figures["all cores against one"]
    hear = figures["a second of sound before a part, core seconds"]
    both = figures["splitting, core seconds a second"] + figures["joining, core seconds a second"]
    long, count, short = 3600, 1000, 60
    alone, job = start + long * paint, start + short * paint
    print("| machines | an hour in parts: minutes | speed-up | price | 1000 jobs of a minute: minutes | speed-up | price |")
    print("|---|---|---|---|---|---|---|")
    for machines in MACHINES:
        around = 0 if machines == 1 else 2 * start + long * both
        # All parts take equally long: see lipsync split.
        elapsed = around + start + long * paint / machines + hear * long * (1 - 1 / machines) / 2
        spent = around + start * machines + long * paint + hear * long * (machines - 1) / 2
        jobs = math.ceil(count / machines) * job
        cells = (elapsed / 60, alone / elapsed, spent * price, jobs / 60, count * job / jobs, count * job * price)
        print(f"| {machines} |", " | ".join(f"{cell:.2f}" if cell < 1 else f"{cell:.3g}" for cell in cells), "|")


if __name__ == "__main__":
    main()
