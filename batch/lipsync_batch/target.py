# SPDX-License-Identifier: MPL-2.0
"""Where speech comes from and videos go to: folders that all machines share, or S3 and what speaks its language."""

import contextlib
import json
import shutil
import time
from pathlib import Path
from urllib.parse import quote

from . import settings
from .tool import JobFailed, TryAgain

S3 = "s3://"


def of(job, job_id, folder):
    """The target of a job: its speech, its video, or both may be objects of S3."""
    if not isinstance(job, dict):
        raise JobFailed("is no job: write a JSON object. lipsync work --help says what a job is")
    is_remote = any(map(is_object, places_of(job)))
    return Bucket(job, job_id, folder) if is_remote else Directory(job, folder)


def places_of(job):
    """What a job reads and, last, what it writes."""
    parts = job.get("parts")
    places = [job.get("speech"), *(parts if isinstance(parts, list) else ()), job.get("video")]
    return [place for place in places if place is not None]


class Directory:
    """Shared folders: the tool reads and writes there itself."""

    def __init__(self, job, folder):
        self.job = job
        self.folder = folder or "/"

    def fetch(self):
        """The job with paths on this machine."""
        return self.job

    def deliver(self):
        """Brings what the tool has written to its place."""

    def clear(self):
        """Removes what lies on this machine for other attempts."""

    def shared(self, job):
        """A job that the tool has made of this one, as other machines are to get it."""
        return job

    def discard(self, parts):
        """Removes what `lipsync split` and the jobs of the parts have written."""
        for place in map(Path, parts):
            for file in (place, report_of(place), place.with_suffix(".json"), place.with_name("join.json")):
                file.unlink(missing_ok=True)
            # The last one leaves it empty.
            with contextlib.suppress(OSError):
                place.parent.rmdir()


class Bucket(Directory):
    """Objects, in a folder of this machine that is the same for each attempt at the job: a killed run is resumed there.

    What is no object is in folders, as it is without S3.
    """

    def __init__(self, job, job_id, folder):
        # boto3 takes endpoint, region and keys from the environment: AWS_ENDPOINT_URL_S3 and the like.
        import boto3

        super().__init__(job, folder)
        # Where all is in S3, machines need not share the folder.
        if not Path(self.folder).is_dir() and all(map(is_object, places_of(job))):
            self.folder = "/"
        # The id may be anything: with its slashes, it would be a path to somewhere else.
        self.scratch = Path(settings.SCRATCH).absolute() / f"lipsync-{quote(job_id, safe='')}"
        self.s3 = boto3.client("s3")
        # Those of the job's places that are not on this machine, by where they are meanwhile.
        self.remote = {}

    def fetch(self):
        *sources, video = places_of(self.job)
        if video in sources:
            raise JobFailed(f'{video}: would be read and written. Choose another "video"')
        with storage():
            job = dict(self.job)
            if is_object(job.get("speech")):
                job["speech"] = self._get(job["speech"], "speech")
            if job.get("parts"):
                job["parts"] = [self._get(part, "parts") if is_object(part) else part for part in job["parts"]]
            if is_object(job.get("video")):
                job["video"] = self._get_done(job["video"])
            return job

    def _place(self, uri, folder):
        place = self.scratch / folder / uri.rsplit("/", 1)[1]
        # Others on this machine are to see neither the speech nor the video.
        self.scratch.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        self.remote[str(place)] = uri
        return place

    def _get(self, uri, folder):
        place = self._place(uri, folder)
        if not self._try_get(uri, place):
            raise JobFailed(f"{uri}: no such object. Upload it first")
        return str(place)

    def _get_done(self, uri):
        """A video that is there already, too: if it is what the job asks for, the tool sees that."""
        place = self._place(uri, "video")
        if not place.exists() and self._try_get(uri + ".json", report_of(place)):
            self._try_get(uri, place)
        return str(place)

    def _try_get(self, uri, place):
        from botocore.exceptions import ClientError

        try:
            self.s3.download_file(*bucket_and_key(uri), str(place))
        except ClientError as error:
            if error.response["Error"]["Code"] in ("404", "NoSuchKey", "NoSuchBucket"):
                return False
            raise
        return True

    def deliver(self):
        with storage():
            for place, uri in self.remote.items():
                if uri == self.job["video"]:
                    # The report is last: where it is, the video is complete.
                    self.s3.upload_file(place, *bucket_and_key(uri))
                    self.s3.upload_file(place + ".json", *bucket_and_key(uri + ".json"))
        self.clear()

    def clear(self):
        shutil.rmtree(self.scratch, ignore_errors=True)

    def shared(self, job):
        def back(value):
            if isinstance(value, list):
                return [back(item) for item in value]
            for place, uri in self.remote.items():
                if isinstance(value, str) and (value == place or value.startswith(place + ".parts/")):
                    return uri + value[len(place) :]
            return value

        return {key: back(value) for key, value in job.items()}

    def discard(self, parts):
        super().discard(part for part in parts if not is_object(part))
        with storage():
            for part in filter(is_object, parts):
                for uri in (part, part + ".json"):
                    bucket, key = bucket_and_key(uri)
                    self.s3.delete_object(Bucket=bucket, Key=key)


def is_object(place):
    return isinstance(place, str) and place.startswith(S3)


def bucket_and_key(uri):
    bucket, _, key = uri[len(S3) :].partition("/")
    if not bucket or not key:
        raise JobFailed(f"{uri}: is no object. Write s3://BUCKET/KEY")
    return bucket, key


def report_of(video):
    return video.with_name(video.name + ".json")


@contextlib.contextmanager
def storage():
    """What fails there may succeed later."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError, OSError) as error:
        raise TryAgain(f"S3: {error}") from error


def clear_up():
    """Removes the folders of jobs that have ended elsewhere: in those of jobs that run, files are written."""
    for folder in Path(settings.SCRATCH).glob("lipsync-*"):
        with contextlib.suppress(OSError):
            newest = max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))
            if newest < time.time() - settings.KEEP:
                shutil.rmtree(folder, ignore_errors=True)


def read(file):
    return json.loads(Path(file).read_text())
