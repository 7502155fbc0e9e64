# SPDX-License-Identifier: MPL-2.0
"""The Celery application, with the settings that matter, and why."""

import subprocess

from celery import Celery, bootsteps, signals

from . import settings, target

app = Celery("lipsync_batch", include=["lipsync_batch.tasks"])
app.conf.update(
    broker_url=settings.REDIS,
    result_backend=settings.REDIS,
    task_default_queue="lipsync",
    # The tool uses all cores: a second render beside it would only make both slower.
    worker_concurrency=1,
    # Where all cores render, a process takes longer to start than the default, 4 s.
    worker_proc_alive_timeout=60,
    # No worker keeps a job that another could begin.
    worker_prefetch_multiplier=1,
    # A message is acknowledged when its job has ended, so it outlives the worker: one whose child was killed gives it back at once.
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    broker_transport_options={
        # That of a machine that is gone comes to another after this time. So does that of every render that takes longer:
        # therefore a job has a lock, and a record of what has become of it.
        "visibility_timeout": settings.TIMEOUT,
        # How often workers look for such messages: the defaults, 10 s and every tenth time, suit a timeout of an hour.
        "unacked_restore_interval": max(settings.TIMEOUT // 6, 1),
        "unacked_restore_throttle": 1,
        # A worker that dies while it looks blocks the others for so long; the default is 5 minutes.
        "unacked_mutex_expire": settings.TIMEOUT,
        "socket_timeout": 30,
        "socket_keepalive": True,
    },
    # A worker whose Redis is away goes on rendering, and waits for as long as it takes; the default gives up after 100 attempts.
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_retry=True,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # The same for messages and results that are sent meanwhile.
    task_publish_retry_policy={"max_retries": None, "interval_start": 0, "interval_step": 0.5, "interval_max": 5},
    result_backend_always_retry=True,
    result_backend_transport_options={"retry_policy": {"max_retries": None, "interval_max": 5}},
    redis_socket_keepalive=True,
    redis_retry_on_timeout=True,
    # Long enough for whoever submits on Friday; Redis holds a few kilobytes for each job.
    result_expires=settings.KEEP,
    # Unset on purpose: how long a render takes depends on its length. One that hangs holds its lock, and is seen in `status`.
    task_time_limit=None,
    task_soft_time_limit=None,
)


@signals.worker_init.connect
def prepare(**_):
    """Refuses to start without the tool: such a worker would use up the attempts of every job."""
    try:
        subprocess.run([settings.TOOL, "--version"], check=True, stdout=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError) as error:
        # Celery logs other exceptions of a handler, and starts.
        raise SystemExit(f"{settings.TOOL}: cannot be run: {error}. Install lipsync, or set LIPSYNC_TOOL") from error
    target.clear_up()


class Reminder(bootsteps.StartStopStep):
    """Sends the messages again that the broker has lost, from the event loop of each worker."""

    requires = ("celery.worker.consumer.tasks:Tasks",)

    def start(self, parent):
        # The timer does not outlive a lost connection, with which this is started again.
        from .tasks import remind

        self.entry = parent.timer.call_repeatedly(settings.TIMEOUT, remind)

    def stop(self, parent):
        self.entry.cancel()


app.steps["consumer"].add(Reminder)
