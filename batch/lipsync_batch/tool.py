# SPDX-License-Identifier: MPL-2.0
"""Runs `lipsync work` and `lipsync split`, and says what became of it."""

import collections
import json
import signal
import subprocess
import threading

from . import settings


class JobFailed(Exception):
    """The job is in the failed list, or is about to be: no further attempt is made."""


class TryAgain(Exception):
    """Another attempt may succeed. It does not count where nothing was wrong: another worker is at it, or it was interrupted."""

    def __init__(self, reason, counts=True):
        super().__init__(reason)
        self.counts = counts


class Tool:
    """One run of the tool at a time, which another thread may interrupt."""

    def __init__(self):
        self.process = None
        self.interrupted = threading.Event()
        self.progress = None

    def interrupt(self):
        """Stops it as a shutdown does: what it has rendered is kept."""
        self.interrupted.set()
        if self.process:
            self.process.terminate()

    def work(self, job, folder):
        """Does a job; its report."""
        return self._run(["work", "-", "--with-parent"], job, folder)["result"]

    def split(self, job, folder, parts):
        """Splits a job: the files of its parts, and that of the job that joins them."""
        answer = self._run(["split", "-", "--parts", str(parts)], job, folder)
        return answer["parts"], answer["join"]

    def _run(self, arguments, job, folder):
        # From the main thread: with --with-parent, it ends with the thread that starts it.
        command = [settings.TOOL, *arguments]
        pipe = subprocess.PIPE
        try:
            self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, cwd=folder, text=True, errors="replace")
        except OSError as error:
            # The tool, or the folder, which this machine may lack.
            raise TryAgain(f"{error.filename}: {error.strerror}") from error
        with self.process as process:
            if self.interrupted.is_set():
                process.terminate()
            # The last line alone is often a hint that says nothing of the error.
            notes = collections.deque(maxlen=5)
            listener = threading.Thread(target=lambda: notes.extend(process.stderr), daemon=True)
            listener.start()
            try:
                process.stdin.write(json.dumps(job))
                process.stdin.close()
            except BrokenPipeError:
                # How it ended says why.
                pass
            last = {}
            for line in process.stdout:
                last = json.loads(line)
                if "stage" in last:
                    self.progress = last
            listener.join()
        return outcome(process.returncode, last, " ".join("".join(notes).split()))


def outcome(code, last, note):
    """What the last line says, or the exception for how it ended."""
    if code == 0:
        return last
    if code in (130, -signal.SIGTERM):
        raise TryAgain("interrupted", counts=False)
    if code < 0:
        raise TryAgain(f"lipsync was ended by {signal.Signals(-code).name}. Look whether the machine has memory enough")
    reason = last.get("error") or note or f"lipsync ended with exit status {code}"
    if code in (2, 3):
        raise JobFailed(reason)
    raise TryAgain(reason, counts=not last.get("busy", False))
