# SPDX-License-Identifier: MPL-2.0
"""The record of each job in Redis. Messages may be lost, or come twice; the record says what is to be done.

lipsync:job:ID     hash: call (what the task was called with), state, attempts, reason, report, parts, join
lipsync:open       sorted set of the jobs that are neither done nor failed, by when something was last heard of them
lipsync:done       sorted set of those that are done, by when
lipsync:failed     hash: ID -> what failed, why, after how many attempts, when
lipsync:lock:ID    token of the worker that is at it
"""

import json
import time

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from . import settings

OPEN, DONE, FAILED = "open", "done", "failed"


def connect(retries=-1):
    """A client that waits for a Redis that is away: forever, unless a number of retries is given."""
    return redis.Redis.from_url(
        settings.REDIS,
        decode_responses=True,
        socket_timeout=10,
        socket_connect_timeout=5,
        health_check_interval=30,
        retry=Retry(ExponentialWithJitterBackoff(base=0.1, cap=5), retries),
    )


class Store:
    def __init__(self, client=None):
        self.redis = client or connect()

    @staticmethod
    def key(job):
        return f"lipsync:job:{job}"

    def record(self, job):
        """What is known of a job; empty where nothing is."""
        record = self.redis.hgetall(self.key(job))
        for field in ("call", "report", "parts", "join"):
            if field in record:
                record[field] = json.loads(record[field])
        return record

    def open(self, job, call):
        """Makes a record of a job, or begins that of one anew that has ended. Says whether it was not open before."""
        if self.redis.hget(self.key(job), "state") == OPEN:
            return False
        with self.redis.pipeline() as pipe:
            pipe.hset(self.key(job), mapping={"call": json.dumps(call), "state": OPEN, "attempts": 0})
            pipe.hdel(self.key(job), "reason", "report", "parts", "join")
            pipe.persist(self.key(job))
            pipe.hdel("lipsync:failed", job)
            pipe.zrem("lipsync:done", job)
            pipe.zadd("lipsync:open", {job: time.time()})
            pipe.execute()
        return True

    def count_attempt(self, job):
        """Counts an attempt when it begins: one that takes its worker with it counts, too."""
        self.touch(job)
        return self.redis.hincrby(self.key(job), "attempts", 1)

    def take_back_attempt(self, job):
        self.redis.hincrby(self.key(job), "attempts", -1)

    def set_reason(self, job, reason):
        """Keeps why the last attempt failed."""
        self.redis.hset(self.key(job), "reason", reason)

    def set_parts(self, job, parts, join):
        """Keeps of which jobs a long one consists, and the one that joins them."""
        self.redis.hset(self.key(job), mapping={"parts": json.dumps(parts), "join": json.dumps(join), "attempts": 1})

    def touch(self, *jobs):
        self.redis.zadd("lipsync:open", dict.fromkeys(jobs, time.time()), xx=True)

    def end(self, job, report):
        with self.redis.pipeline() as pipe:
            pipe.hset(self.key(job), mapping={"state": DONE, "report": json.dumps(report)})
            pipe.expire(self.key(job), settings.KEEP)
            pipe.zrem("lipsync:open", job)
            pipe.zadd("lipsync:done", {job: time.time()})
            pipe.zremrangebyscore("lipsync:done", 0, time.time() - settings.KEEP)
            pipe.execute()

    def drop_parts(self, job):
        self.redis.hdel(self.key(job), "parts", "join")

    def fail(self, job, reason):
        record = self.record(job)
        entry = {"job": record["call"]["job"], "reason": reason, "attempts": int(record["attempts"]), "time": int(time.time())}
        with self.redis.pipeline() as pipe:
            pipe.hset(self.key(job), mapping={"state": FAILED, "reason": reason})
            pipe.zrem("lipsync:open", job)
            pipe.hset("lipsync:failed", job, json.dumps(entry))
            pipe.execute()

    def counts(self):
        return {
            "open": self.redis.zcard("lipsync:open"),
            "done": self.redis.zcard("lipsync:done"),
            "failed": self.redis.hlen("lipsync:failed"),
        }

    def failed(self):
        return {job: json.loads(entry) for job, entry in self.redis.hgetall("lipsync:failed").items()}

    def is_held(self, job):
        return bool(self.redis.exists(f"lipsync:lock:{job}"))

    def forgotten(self, queue):
        """Open jobs of which no message can be left: the queue is empty, and nothing was heard of them for long.

        The broker can lose a message: between Redis handing it over and Celery noting that it has it, either may die.
        """
        if self.redis.llen(queue):
            return []
        silent = self.redis.zrangebyscore("lipsync:open", 0, time.time() - 2 * settings.TIMEOUT)
        return [job for job in silent if not self.is_held(job)]
