#!/usr/bin/env python3
# SPDX-License-Identifier: MPL-2.0
"""The real tool, with a line in a log for the beginning and the end of each run. "killer.wav" kills whoever wants it spoken."""

import ctypes
import json
import os
import signal
import subprocess
import sys

PR_SET_PDEATHSIG = 1


def log(**entry):
    line = json.dumps({"pid": os.getpid(), "arguments": sys.argv[1:], **entry})
    # One write: several processes add to the file.
    file = os.open(os.environ["LIPSYNC_RUNS"], os.O_WRONLY | os.O_APPEND)
    os.write(file, f"{line}\n".encode())
    os.close(file)


if sys.argv[1] not in ("work", "split"):
    os.execvp(os.environ["LIPSYNC_REAL_TOOL"], ["lipsync", *sys.argv[1:]])
ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
text = sys.stdin.read()
job = json.loads(text)
log(video=job.get("video"))
if job.get("speech") == "killer.wav":
    os.kill(os.getppid(), signal.SIGKILL)
command = [os.environ["LIPSYNC_REAL_TOOL"], *sys.argv[1:]]
process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
signal.signal(signal.SIGTERM, lambda *_: process.terminate())
process.stdin.write(text)
process.stdin.close()
last = "{}"
for last in process.stdout:
    print(last, end="", flush=True)
code = process.wait()
result = json.loads(last).get("result", {})
log(video=job.get("video"), code=code, already=result.get("already"), error=json.loads(last).get("error"))
sys.exit(code)
