# SPDX-License-Identifier: MPL-2.0
"""The task, and how jobs come to be tasks."""

import contextlib
import hashlib
import json
import random
import uuid

from celery.exceptions import Ignore
from redis.exceptions import RedisError

from . import settings, target
from .celery import app
from .hold import Hold
from .store import DONE, FAILED, OPEN, Store, connect
from .tool import JobFailed, Tool, TryAgain


@app.task(bind=True, name="lipsync.render", max_retries=None, throws=(JobFailed,))
def render(self, job, folder=None, parts=0, parent=None):
    """Does a job of `lipsync work`, and returns its report. The task's id is the job's.

    Relative paths are those of the folder. With `parts`, the job is split, and the parts are jobs whose `parent` it is.
    """
    store, tool, job_id = Store(), Tool(), self.request.id
    hold = Hold(job_id, uuid.uuid4().hex)
    try:
        is_mine = hold.take()
    except RedisError:
        is_mine = False
    if not is_mine:
        # Another worker has it: this message is a copy, which is needed only if that worker dies.
        raise self.retry(countdown=settings.TIMEOUT / 6 * random.uniform(1, 2))

    def beat():
        store_progress(self, job_id, tool.progress)

    hold.keep(beat, tool.interrupt)
    try:
        record = store.record(job_id)
        if not record:
            # Sent by something else than `submit`.
            store.open(job_id, {"job": job, "folder": folder, "parts": parts, "parent": parent})
            record = store.record(job_id)
        return attempt(self, store, tool, job_id, record)
    finally:
        hold.release()


def store_progress(task, job_id, progress):
    if progress:
        task.update_state(task_id=job_id, state="PROGRESS", meta=progress)


def attempt(task, store, tool, job_id, record):
    """Brings a job on, unless it has ended; its report."""
    if record["state"] == DONE:
        return finish(store, job_id, record, record["report"])
    if record["state"] == FAILED:
        wake(store, record["call"]["parent"])
        raise JobFailed(record["reason"])
    number = store.count_attempt(job_id)
    try:
        if number > settings.ATTEMPTS:
            raise JobFailed(record.get("reason") or "each attempt ended with its worker. Look whether it has memory enough")
        report = work(store, tool, job_id, record)
        store.end(job_id, report)
    except Ignore:
        store.take_back_attempt(job_id)
        raise
    except Exception as error:
        # What nobody foresaw, such as a library that this machine lacks, may not happen on another.
        reason = str(error) if isinstance(error, JobFailed | TryAgain) else f"{type(error).__name__}: {error}"
        if not isinstance(error, JobFailed):
            counts = getattr(error, "counts", True)
            if not counts:
                store.take_back_attempt(job_id)
            if not counts or number < settings.ATTEMPTS:
                store.set_reason(job_id, reason)
                raise task.retry(exc=error, countdown=backoff(number)) from error
        store.fail(job_id, reason)
        wake(store, record["call"]["parent"])
        raise JobFailed(reason) from error
    return finish(store, job_id, record, report)


def finish(store, job_id, record, report):
    """What follows when a job is known to be done: its parts go, and the job whose part it is goes on."""
    if "join" in record:
        # What cannot be removed stays: the video is complete.
        with contextlib.suppress(TryAgain, OSError):
            target.of(record["join"], job_id, record["call"]["folder"]).discard(record["join"]["parts"])
        store.drop_parts(job_id)
    wake(store, record["call"]["parent"])
    return report


def backoff(number):
    """Seconds before the next attempt. A message that waits for longer than the timeout would be given to a second worker."""
    longest = min(settings.BACKOFF * 2 ** (number - 1), settings.TIMEOUT / 2)
    return longest * random.uniform(0.5, 1)


def work(store, tool, job_id, record):
    """Runs the tool. A job with parts is split first, ignored while they are rendered, and joined at the end."""
    call = record["call"]
    if not call["parts"]:
        return do(tool, job_id, call["job"], call["folder"])
    if "parts" not in record:
        if split(store, tool, job_id, call):
            raise Ignore
        return do(tool, job_id, call["job"], call["folder"])
    states = [store.record(part) for part in record["parts"]]
    for number, part in enumerate(states, 1):
        if part.get("state") == FAILED:
            raise JobFailed(f"part {number} of {len(states)}: {part['reason']}")
    if any(part.get("state") == OPEN for part in states):
        raise Ignore
    return do(tool, job_id, record["join"], call["folder"])


def do(tool, job_id, job, folder):
    place = target.of(job, job_id, folder)
    try:
        report = tool.work(place.fetch(), place.folder)
    except JobFailed:
        place.clear()
        raise
    place.deliver()
    return report


def split(store, tool, job_id, call):
    """Sends the parts of a job; false where the video is there already."""
    place = target.of(call["job"], job_id, call["folder"])
    files, join = tool.split(place.fetch(), place.folder, call["parts"])
    if not files:
        place.clear()
        return False
    parts = {}
    for file in files:
        part = {"job": place.shared(target.read(file)), "folder": call["folder"], "parts": 0, "parent": job_id}
        parts[id_of(part)] = part
    for part_id, part in parts.items():
        store.open(part_id, part)
    store.set_parts(job_id, list(parts), place.shared(target.read(join)))
    # Another machine may join them, and what was fetched here would stay.
    place.clear()
    for part_id, part in parts.items():
        send(part_id, part)
    return True


def wake(store, parent):
    """Sends the message of a job whose parts have ended, or one of them has failed."""
    record = store.record(parent) if parent else {}
    if record.get("state") != OPEN:
        return
    states = [store.record(part).get("state") for part in record.get("parts", ())]
    if states and (FAILED in states or OPEN not in states):
        send(parent, record["call"])


def id_of(call):
    """The same for the same job: submitted twice, it is one."""
    named = {key: call[key] for key in ("job", "folder")}
    return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:16]


def send(job_id, call, **options):
    render.apply_async(kwargs=call, task_id=job_id, **options)


def submit(job, folder=None, parts=0, job_id=None, store=None):
    """Submits a job, unless it waits or runs already; its id. Paths are absolute, or those of the folder, or s3://BUCKET/KEY."""
    call = {"job": job, "folder": folder, "parts": parts, "parent": None}
    job_id = job_id or id_of(call)
    if (store or Store()).open(job_id, call):
        send(job_id, call)
    return job_id


def retry(job_id, store):
    """Submits a job again that has failed, and the one whose part it is: it is split again, and what is done stays done."""
    for each in filter(None, (job_id, store.record(job_id)["call"]["parent"])):
        record = store.record(each)
        if record.get("state") == FAILED and store.open(each, record["call"]):
            send(each, record["call"])


def remind():
    """See Reminder."""
    # It runs in the event loop, which does not wait for a Redis that is away.
    store = Store(connect(retries=0))
    for job_id in store.forgotten(app.conf.task_default_queue):
        store.touch(job_id)
        send(job_id, store.record(job_id)["call"], retry=False)
    store.redis.close()
