# SPDX-License-Identifier: MPL-2.0
"""python -m lipsync_batch: submits jobs, and shows what has become of them."""

import argparse
import json
import sys
import time
from pathlib import Path

from .store import FAILED, OPEN, Store, connect
from .tasks import render, retry, submit


def main():
    parser = argparse.ArgumentParser(prog="lipsync_batch", description="Videos rendered by many machines.")
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("submit", help="submit jobs of `lipsync work`; prints their ids")
    command.add_argument("files", nargs="+", metavar="JOB.json", type=Path)
    command.add_argument("--parts", type=int, default=0, metavar="N", help="split each into so many, rendered at once")
    command.add_argument("--id", help="the job's own; by default it is derived from the job")
    command.add_argument("--wait", action="store_true", help="until all have ended; fails if one has")
    command.set_defaults(run=run_submit)
    command = commands.add_parser("status", help="how many jobs there are in which state, or all about one")
    command.add_argument("id", nargs="?")
    command.set_defaults(run=run_status)
    command = commands.add_parser("failed", help="list what has failed, a line of JSON each")
    command.set_defaults(run=run_failed)
    command = commands.add_parser("retry", help="submit again what has failed")
    command.add_argument("id", metavar="ID|all")
    command.set_defaults(run=run_retry)
    options = parser.parse_args()
    client = connect(retries=2)
    client.ping()
    sys.exit(options.run(options, Store()))


def run_submit(options, store):
    if options.id and len(options.files) > 1:
        return "--id is for one job"
    jobs = []
    for file in options.files:
        try:
            jobs.append((json.loads(file.read_text()), str(file.parent.absolute())))
        except (OSError, ValueError) as error:
            return f"{file}: is no job: {error}"
    ids = {submit(job, folder, options.parts, options.id, store): None for job, folder in jobs}
    print(*ids, sep="\n")
    return wait(ids, store) if options.wait else None


def wait(ids, store):
    """Until all have ended. The records are asked, not Celery, whose results expire."""
    failures = 0
    for job_id in ids:
        while (record := store.record(job_id))["state"] == OPEN:
            time.sleep(0.5)
        if record["state"] == FAILED:
            failures += 1
            print(f"{job_id}: {record['reason']}", file=sys.stderr)
    return min(failures, 1)


def run_status(options, store):
    if not options.id:
        counts = store.counts()
        print(*(f"{state} {count}" for state, count in counts.items()), sep="\n")
        return None
    record = store.record(options.id)
    if not record:
        return f"{options.id}: no such job"
    if record["state"] == OPEN:
        progress = render.AsyncResult(options.id)
        record["state"] = "running" if store.is_held(options.id) else "waiting"
        if progress.state == "PROGRESS":
            record["progress"] = progress.info
    print(json.dumps(record, indent=2))
    return None


def run_failed(options, store):
    for job_id, entry in store.failed().items():
        print(json.dumps({"id": job_id, **entry}))


def run_retry(options, store):
    failed = store.failed()
    if options.id not in (*failed, "all"):
        return f"{options.id}: is not among the failed"
    for job_id in failed if options.id == "all" else [options.id]:
        retry(job_id, store)
    return None


if __name__ == "__main__":
    main()
