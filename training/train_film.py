# SPDX-License-Identifier: MPL-2.0
"""From the data set of a film to an avatar that speaks: trains the painter, exports, judges on held-out seconds.

    python train_film.py me avatars/me                  # 30 minutes on two cores
    python train_film.py me avatars/me --minutes 10 --threads 1 --sheet me.jpg

The data set is a folder in SyncTalk_2D's layout (see footage.py).  Interrupted, the same command resumes.  Progress goes
to stdout, a line of JSON each: {"stage": "read", "done": 120, "of": 9000, "seconds_left": 1700}; at the end {"result":
{...}}, or {"error": "what is wrong, and the remedy"} and exit code 1.  Interrupted by a signal, the exit code is 130.
"""

import argparse
import contextlib
import hashlib
import json
import os
import signal
import sys
import time
from pathlib import Path

# Threads of PyTorch that wait must not spin: beside other programs, that made training five times slower.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

DEFAULT_MINUTES = 30.0
JUDGE_SECONDS = 75.0  # of the time for exporting and judging, at most
STEPS = 14_000  # where a GPU reaches them and no minutes are given; on two cores the minutes end first
STAGES = ("read", "train", "export", "judge")
RATE = 2e-3


class Progress:
    """Writes lines of JSON, a few a second at most."""

    EVERY = 0.5  # s

    def __init__(self, out, deadline):
        self.out, self.deadline, self.last = out, deadline, ("", 0.0)

    def write(self, **line):
        print(json.dumps(line), file=self.out, flush=True)

    def stage(self, stage):
        def report(done, of):
            now = time.time()
            if self.last[0] == stage and now - self.last[1] < self.EVERY and done < of:
                return
            self.last = stage, now
            self.write(stage=stage, done=int(done), of=int(of), seconds_left=max(0, round(self.deadline - now)))

        report(0, 1)
        return report


def fingerprint(film, examples):
    """Tells checkpoints of other data sets, of another hearing, of other networks or another optimizer from this one's."""
    import film_painter

    digest = hashlib.sha256()
    for part in (film.numbers, film.marks, examples.silence.numpy(), film.box):
        digest.update(repr(part).encode() if isinstance(part, tuple) else part.tobytes())
    person = film_painter.Person(examples)
    digest.update(repr([(name, tuple(value.shape)) for name, value in person.state_dict().items()]).encode())
    digest.update(repr([len(group["params"]) for group in person.groups()]).encode())
    return digest.hexdigest()[:12]


def run(arguments, out, stop):
    begun = time.time()
    minutes = 60 * (arguments.minutes or DEFAULT_MINUTES)
    progress = Progress(out, begun + minutes)
    report = progress.stage("read")
    import cv2
    import film_avatar
    import film_painter
    import footage
    import judge_film
    import shipped
    import torch
    import train_encoder

    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(1)
    film = footage.Footage(arguments.dataset, report, arguments.threads)
    film_avatar.loop(film)  # a film without one is refused before it is trained on
    examples = film_painter.Examples(film, arguments.threads)
    print(film, file=sys.stderr, flush=True)

    report = progress.stage("train")
    checkpoint = arguments.dataset / f"painter-{fingerprint(film, examples)}.pt"
    for other in arguments.dataset.glob("painter-*.pt"):
        if other != checkpoint:
            other.unlink()
    judging = min(JUDGE_SECONDS, minutes / 6)
    left = max(minutes - (time.time() - begun) - judging, minutes / 4)
    steps = STEPS if arguments.minutes is None else 1_000_000
    plan = argparse.Namespace(steps=steps, minutes=left / 60, rate=RATE, threads=arguments.threads, restart=False)
    first = None  # share and time: where an interrupted training goes on, or a GPU is fast, less is left than was planned

    def trained(share):
        nonlocal first
        first = first or (share, time.time())
        since, gone = share - first[0], time.time() - first[1]
        progress.deadline = time.time() + judging + (1 - share) * (gone / since if since > 0.005 else left)
        report(1000 * share, 1000)
        stop.check()

    stop.training = True
    begin_with = None
    if arguments.begin_with:
        try:
            begin_with = shipped.generator(arguments.begin_with).painter
        except (KeyError, StopIteration, RuntimeError):
            print(f"{arguments.begin_with}: is another network, so the mouth is learned from nothing", file=sys.stderr)
    film_painter.train(examples, checkpoint, plan, trained, begin_with)
    stop.training = False

    report = progress.stage("export")
    person = film_painter.load(checkpoint, examples)
    frames = film_avatar.write(arguments.avatar, film, train_encoder.load().encoder, person, examples.silence, report)

    report = progress.stage("judge")
    sheet = arguments.sheet or arguments.avatar.with_name(f"{arguments.avatar.name}-sheet.jpg")
    result = judge_film.judge(person, examples, sheet, report)
    result = {key: round(value, 3) if isinstance(value, float) else value for key, value in result.items()}
    progress.write(result=result | {"sheet": str(sheet), "frames": frames})


class Stop:
    """What a signal does: ends the program at once, or, while the painter is trained, at the next step's checkpoint."""

    def __init__(self):
        self.training = self.wanted = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._signal)

    def _signal(self, *_):
        if not self.training or self.wanted:
            os._exit(130)  # threads that read pictures are not waited for; files appear by renaming only
        self.wanted = True

    def check(self):
        if self.wanted:
            raise KeyboardInterrupt


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("avatar", type=Path, help="folder to write; what it held is replaced once the new avatar is complete")
    parser.add_argument("--minutes", type=float, help=f"all of this takes (default: {DEFAULT_MINUTES:g}, less with a GPU)")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--begin-with", type=Path, help="generator.onnx of iris or theo: a mouth is not learned from nothing")
    parser.add_argument("--sheet", type=Path, help="contact sheet to write (default: AVATAR-sheet.jpg)")
    arguments = parser.parse_args()
    stop = Stop()
    out = sys.stdout
    error = None
    with contextlib.redirect_stdout(sys.stderr):  # what libraries and other steps print
        try:
            check(arguments)
            run(arguments, out, stop)
        except KeyboardInterrupt:
            os._exit(130)
        except SystemExit as refused:
            error = str(refused)
        except MemoryError:
            error = f"{arguments.dataset}: memory does not suffice. Close other programs, or train on a shorter film"
        except RuntimeError as failed:
            if "PytorchStreamWriter" not in str(failed) and "write" not in str(failed):
                raise
            error = f"{arguments.dataset}: the checkpoint cannot be written. Make room on the disk, and repeat"
        except OSError as failed:
            where = failed.filename or arguments.avatar
            error = f"{where}: {failed.strerror or failed}. Make room or allow writing there, and repeat"
    if error:
        print(json.dumps({"error": error}), file=out, flush=True)
        os._exit(1)


def check(arguments):
    """Refuses what cannot work before anything is loaded."""
    for part in ("full_body_img", "landmarks", "aud.wav"):
        if not (arguments.dataset / part).exists():
            raise SystemExit(f"{arguments.dataset / part}: not found. Make the data set of a film first: lipsync new me.mp4 me")
    if arguments.minutes is not None and not arguments.minutes > 0:
        raise SystemExit(f"--minutes {arguments.minutes:g}: must be more than 0")


if __name__ == "__main__":
    main()
