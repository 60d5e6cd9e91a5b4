"""Multipart uploads that an interrupted put left behind: gone on with, or swept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct

from strongroom.errors import TargetError
from strongroom.targets.s3.bucket import Bucket
from strongroom.targets.s3.failures import UploadGone, translated

RESUME_WITHIN = timedelta(hours=1)
"""An older upload's lock would end too soon, and tries of one step follow each other in minutes."""


class UploadedPart(Struct, frozen=True, kw_only=True):
    """One part that a bucket holds. ``checksum`` is its SHA-256 in base64."""

    number: int
    etag: str
    size: int
    checksum: str | None

    def holds(self, data: bytes | bytearray, sha256: str) -> bool:
        """Tell whether these bytes are there already.

        A server that keeps no checksums (Ceph's gateway) gives the part's MD5 as its ETag. That
        is no proof against a forger, and need not be one: the whole is read back and compared.
        """
        if self.checksum is not None or self.size != len(data):
            return (self.size, self.checksum) == (len(data), sha256)
        return self.etag.strip('"') == hashlib.md5(data, usedforsecurity=False).hexdigest()


class Upload(Struct, frozen=True, kw_only=True):
    """A multipart upload, and which of its parts are there."""

    id: str
    parts: dict[int, UploadedPart] = {}


class Started(Struct, frozen=True, kw_only=True):
    """A multipart upload as a listing shows it."""

    key: str
    id: str
    at: datetime


def started(bucket: Bucket, prefix: str) -> Iterator[Started]:
    """Yield the uploads of keys that start with ``prefix``, whatever else a server lists."""
    doing = f"list uploads under {prefix}"
    for page in bucket.pages("list_multipart_uploads", doing, Prefix=prefix):
        with translated(bucket.title, doing):
            found = [_started(entry) for entry in page.get("Uploads", ())]
        yield from (upload for upload in found if upload.key.startswith(prefix))


def _started(entry: dict[str, Any]) -> Started:
    return Started(key=entry["Key"], id=entry["UploadId"], at=entry["Initiated"])


def find_upload(bucket: Bucket, name: str, *, now: datetime) -> Upload | None:
    """Return a young upload of this name with its parts, to go on with.

    Each part counts only if its checksum is that of the bytes at hand, so whose upload it
    is does not matter. A credential that may not list starts anew.
    """
    key = bucket.key(name)
    try:
        young = [
            upload for upload in started(bucket, key) if upload.key == key and now - upload.at < RESUME_WITHIN
        ]
        newest = max(young, key=lambda upload: upload.at, default=None)
        return None if newest is None else Upload(id=newest.id, parts=_parts(bucket, newest))
    except TargetError as error:
        if error.transient and not isinstance(error, UploadGone):
            raise
        return None


def _parts(bucket: Bucket, upload: Started) -> dict[int, UploadedPart]:
    doing = "list the parts of an upload"
    pages = bucket.pages("list_parts", doing, Key=upload.key, UploadId=upload.id)
    with translated(bucket.title, doing):
        return {found["PartNumber"]: _part(found) for page in pages for found in page.get("Parts", ())}


def _part(found: dict[str, Any]) -> UploadedPart:
    return UploadedPart(
        number=found["PartNumber"],
        etag=found["ETag"],
        size=found["Size"],
        checksum=found.get("ChecksumSHA256"),
    )


def abort_all(bucket: Bucket, prefix: str) -> int:
    """Remove every upload under a prefix; return how many there were."""
    removed = 0
    for found in list(started(bucket, bucket.key(prefix))):
        try:
            bucket.call(
                "abort_multipart_upload",
                f"sweep {prefix}",
                writing=True,
                Key=found.key,
                UploadId=found.id,
            )
        except UploadGone:  # its writer was quicker
            continue
        removed += 1
    return removed
