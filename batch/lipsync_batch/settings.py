# SPDX-License-Identifier: MPL-2.0
"""What can be set, all of it by environment variables; submitters and workers need the same LIPSYNC_REDIS."""

import os

REDIS = os.environ.get("LIPSYNC_REDIS", "redis://localhost:6379/0")
TOOL = os.environ.get("LIPSYNC_TOOL", "lipsync")
# So often a job is tried before it goes to the failed list. What is wrong with the job itself is tried once.
ATTEMPTS = int(os.environ.get("LIPSYNC_ATTEMPTS", "5"))
# Seconds before the second attempt; they double with each, up to half the timeout.
BACKOFF = float(os.environ.get("LIPSYNC_BACKOFF", "5"))
# Seconds without a sign of life after which a worker counts as dead, and its job is given to another.
TIMEOUT = int(os.environ.get("LIPSYNC_TIMEOUT", "60"))
# Seconds for which results and the records of finished jobs are kept: a week.
KEEP = int(os.environ.get("LIPSYNC_KEEP", "604800"))
# Where jobs with objects in S3 are worked on. Not in /tmp: a run that a reboot has ended is to be resumed.
SCRATCH = os.environ.get("LIPSYNC_SCRATCH", f"/var/tmp/lipsync-batch-{os.getuid()}")
