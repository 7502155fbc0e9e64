# SPDX-License-Identifier: MPL-2.0
"""The lock of a job, renewed while the job is worked on."""

import contextlib
import threading

from redis.exceptions import LockError, RedisError

from . import settings
from .store import connect


class Hold:
    """Holds the lock of a job, and calls `beat` every few seconds. While Redis is away, the work goes on.

    `lost` is called where another worker has the lock: this one was away for longer than the timeout.
    """

    def __init__(self, job, token):
        # A beat that fails is not repeated: the next one is near.
        self.client = connect(retries=0)
        self.lock = self.client.lock(f"lipsync:lock:{job}", timeout=settings.TIMEOUT, blocking=False, thread_local=False)
        self.token = token
        self.over = threading.Event()
        self.thread = None

    def take(self):
        """Whether it could be taken."""
        return self.lock.acquire(token=self.token)

    def keep(self, beat, lost):
        self.thread = threading.Thread(target=self._keep, args=(beat, lost), name="hold", daemon=True)
        self.thread.start()

    def _keep(self, beat, lost):
        while not self.over.wait(settings.TIMEOUT / 12):
            try:
                if not self._renew():
                    lost()
                    return
                beat()
            except RedisError:
                continue

    def _renew(self):
        try:
            return self.lock.reacquire()
        except LockError:
            # Gone, as after a Redis that had not kept it: it is taken again, unless another worker has.
            return self.take()

    def release(self):
        self.over.set()
        if self.thread:
            self.thread.join()
        # Else it is another's, or ends by itself.
        with contextlib.suppress(LockError, RedisError):
            self.lock.release()
        self.client.close()
