"""put: once, only if absent, visible only when right; uploads that were interrupted are gone on with, or
swept."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

from msgspec import Struct, structs

from strongroom.container.errors import MissingPiece, VerificationFailed
from strongroom.errors import TargetError
from strongroom.targets.errors import TargetGarbled, TargetUnavailable
from strongroom.targets.reading import checked
from strongroom.targets.s3.bucket import Bucket, ObjectHead, checksum, encoded, retain
from strongroom.targets.s3.client import Contended, ObjectExists, PastEnd, UploadGone, translated
from strongroom.words import plural

# -- Multipart uploads that an interrupted put left behind: gone on with, or swept --------------


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
            found = [
                Started(key=entry["Key"], id=entry["UploadId"], at=entry["Initiated"])
                for entry in page.get("Uploads", ())
            ]
        yield from (upload for upload in found if upload.key.startswith(prefix))


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


# -- put: once, only if absent, visible only when it is known to be right, then looked at -------
#
# Three replies are not what they seem. "It exists" (412) may be the echo of this very
# writer's request whose reply was lost. "Done" may come from a server that ignores the
# condition (Ceph RGW in versioned buckets). And "done" may leave out a lock or an encryption
# that was asked for. So the object is looked at before and after, and the caller reads back.


DIGEST = "strongroom-sha256"
"""Under this name metadata keep an object's SHA-256 (hex): it tells damage on the way from damage at rest."""

Chunks = Iterable[bytes | memoryview]


class Putter:
    """Stores objects in a bucket. ``clock`` gives the time (UTC) that locks count from."""

    def __init__(self, bucket: Bucket, *, clock: Callable[[], datetime]) -> None:
        self._bucket = bucket
        self._clock = clock

    def put(self, name: str, chunks: Chunks, *, size: int, sha256: bytes) -> bool:
        """Store an object unless there is one; see :meth:`strongroom.targets.Target.put`."""
        if self._bucket.head(name) is not None:
            return False
        small = size <= self._bucket.options.part_bytes
        work = self._put_whole if small else self._put_parts
        try:
            reply = work(name, chunks, size=size, sha256=sha256)
        except ObjectExists:
            return False
        except (Contended, UploadGone):
            if self._bucket.head(name) is None:
                raise
            return False
        head = self._locked(name, self._bucket.head(name))
        self._check(name, head, size=size, checksum=encoded(sha256) if small else None)
        return _is_ours(head, reply)

    # -- in one request --------------------------------------------------------

    def _put_whole(self, name: str, chunks: Chunks, *, size: int, sha256: bytes) -> dict[str, Any]:
        content = next(checked(name, chunks, size=size, sha256=sha256, block=max(size, 1)))
        return self._bucket.call(
            "put_object",
            f"write {name}",
            writing=True,
            Key=self._bucket.key(name),
            Body=content,
            IfNoneMatch="*",
            ChecksumSHA256=encoded(sha256),
            **self._about(sha256),
        )

    # -- in parts --------------------------------------------------------------

    def _put_parts(self, name: str, chunks: Chunks, *, size: int, sha256: bytes) -> dict[str, Any]:
        """Upload part by part, going on where an interrupted put of the same bytes stopped.

        What may pass leaves the parts for the next try; anything else removes them.
        """
        upload = find_upload(self._bucket, name, now=self._clock()) or self._begin(name, sha256)
        part_bytes = self._bucket.options.part_bytes
        try:
            cut = checked(name, chunks, size=size, sha256=sha256, block=part_bytes)
            sent = [self._send(name, upload, number, data) for number, data in enumerate(cut, 1)]
            return self._bucket.call(
                "complete_multipart_upload",
                f"complete {name}",
                writing=True,
                Key=self._bucket.key(name),
                UploadId=upload.id,
                IfNoneMatch="*",
                MultipartUpload={
                    "Parts": [
                        {"PartNumber": part.number, "ETag": part.etag, "ChecksumSHA256": part.checksum}
                        for part in sent
                    ]
                },
            )
        except Exception as error:
            if not isinstance(error, TargetUnavailable) or isinstance(error, Contended | UploadGone):
                self._abort(name, upload)
            raise

    def _begin(self, name: str, sha256: bytes) -> Upload:
        reply = self._bucket.call(
            "create_multipart_upload",
            f"begin {name}",
            writing=True,
            Key=self._bucket.key(name),
            ChecksumAlgorithm="SHA256",
            **self._about(sha256),
        )
        with translated(self._bucket.title, f"begin {name}"):
            return Upload(id=reply["UploadId"])

    def _send(self, name: str, upload: Upload, number: int, data: bytes) -> UploadedPart:
        sha256 = checksum(data)
        part = upload.parts.get(number)
        if part is not None and part.holds(data, sha256):
            return structs.replace(part, checksum=sha256)
        reply = self._bucket.call(
            "upload_part",
            f"write part {number} of {name}",
            writing=True,
            Key=self._bucket.key(name),
            UploadId=upload.id,
            PartNumber=number,
            Body=data,
            ChecksumSHA256=sha256,
        )
        with translated(self._bucket.title, f"write part {number} of {name}"):
            return UploadedPart(number=number, etag=reply["ETag"], size=len(data), checksum=sha256)

    def _abort(self, name: str, upload: Upload) -> None:
        """Best effort: what is left here, a sweep or the bucket's lifecycle removes."""
        with contextlib.suppress(TargetError):
            self._bucket.call(
                "abort_multipart_upload",
                f"abandon {name}",
                writing=True,
                Key=self._bucket.key(name),
                UploadId=upload.id,
            )

    # -- what goes with the content, and what has to be there afterwards ---------

    def _about(self, sha256: bytes) -> dict[str, Any]:
        options = self._bucket.options
        about: dict[str, Any] = {
            "ContentType": "application/octet-stream",
            "Metadata": {DIGEST: sha256.hex()},
        }
        if options.sse is not None:
            about["ServerSideEncryption"] = options.sse
        if options.kms_key_id is not None:
            about |= {"SSEKMSKeyId": options.kms_key_id, "BucketKeyEnabled": True}
        if options.lock is not None:
            about["ObjectLockMode"] = options.lock.mode.upper()
            about["ObjectLockRetainUntilDate"] = self._clock() + timedelta(days=options.lock.days)
        return about

    def _locked(self, name: str, head: ObjectHead | None) -> ObjectHead | None:
        """Lock what was to be locked and is not: some servers forget that of an upload in parts."""
        lock = self._bucket.options.lock
        if lock is None or head is None or head.locked_until is not None:
            return head
        until = self._clock() + timedelta(days=lock.days)
        retain(self._bucket, name, head, mode=lock.mode.upper(), until=until)
        return self._bucket.head(name)

    def _check(self, name: str, head: ObjectHead | None, *, size: int, checksum: str | None) -> None:
        title, options = self._bucket.title, self._bucket.options
        if head is None:
            raise TargetUnavailable(f"{title} took {name} and does not show it: somebody removed it")
        if head.size != size or (checksum and head.checksum not in (None, checksum)):
            raise VerificationFailed(f"{title} took {name} and holds other content under its name")
        if options.lock is not None and (head.locked_until is None or head.locked_until <= self._clock()):
            raise TargetError(f"{title} took {name}, and shows no lock on it", hint=_HINT_UNLOCKED)
        if options.sse is not None and head.sse != options.sse:
            raise TargetError(f"{title} took {name}, and did not encrypt it by {options.sse}")


def _is_ours(head: ObjectHead | None, reply: dict[str, Any]) -> bool:
    """Tell whether what is there now is what this put stored: where conditions are not
    enforced, another writer may have come between."""
    assert head is not None  # the check before refused that
    version = reply.get("VersionId")
    if version:
        return bool(head.version == version)
    # Ceph's gateway ends an upload in parts with an ETag that lacks the quotes.
    return bool(head.etag.strip('"') == reply.get("ETag", head.etag).strip('"'))


_HINT_UNLOCKED = (
    "The copy is there, unprotected. Turn Object Lock on for the bucket, and let the credential read "
    "retention (s3:GetObjectRetention)."
)


# -- read: a range as it lies, its length checked, and damage on the way told from damage at rest ---


READ_BYTES = 1024 * 1024

_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class BucketReader:
    """Reads objects of a bucket."""

    def __init__(self, bucket: Bucket) -> None:
        self._bucket = bucket

    def read(self, name: str, *, offset: int, length: int | None) -> Iterator[bytes]:
        """Stream a range in chunks of at most 1 MiB.

        A whole object is compared with the SHA-256 in its metadata. If it differs and a
        second reading does not, the bytes were changed on the way: TargetGarbled. If they
        lie so, they are given as they lie, for a reader of evidence or a repair to judge
        by the digest that it trusts; the metadata are no such digest.
        """
        if length == 0:
            if self._bucket.head(name) is None:
                self._bucket.check_there()
                raise MissingPiece(f"{self._bucket.title} does not hold {name}")
            return
        whole = offset == 0 and length is None
        reply = self._get(name, offset, length)
        if reply is None:
            return
        expected = reply.get("Metadata", {}).get(DIGEST) if whole else None
        digest = hashlib.sha256()
        for chunk in self._body(name, reply, _expected_length(self._bucket, name, reply, offset, length)):
            if expected:
                digest.update(chunk)
            yield chunk
        if expected and digest.hexdigest() != expected and self._lies_whole(name):
            raise TargetGarbled(f"{self._bucket.title} gave {name}, which lies whole, with other bytes")

    def _get(self, name: str, offset: int, length: int | None) -> dict[str, Any] | None:
        """Ask for a range; ``None`` if it begins at or after the object's end."""
        wanted: dict[str, Any] = {} if offset == 0 and length is None else {"Range": _header(offset, length)}
        try:
            return self._bucket.call("get_object", f"read {name}", Key=self._bucket.key(name), **wanted)
        except MissingPiece:
            raise MissingPiece(f"{self._bucket.title} does not hold {name}") from None
        except PastEnd:
            return None

    def _body(self, name: str, reply: dict[str, Any], expected: int) -> Iterator[bytes]:
        taken = 0
        with closing(reply["Body"]) as body:
            while True:
                with translated(self._bucket.title, f"read {name}"):
                    chunk = body.read(READ_BYTES)
                if not chunk:
                    break
                taken += len(chunk)
                yield chunk
        if taken != expected:
            raise TargetUnavailable(
                f"{self._bucket.title} gave {taken:,} of {plural(expected, 'byte')} of {name} and ended"
            )

    def _lies_whole(self, name: str) -> bool:
        reply = self._get(name, 0, None)
        if reply is None:
            return False
        digest = hashlib.sha256()
        for chunk in self._body(name, reply, _expected_length(self._bucket, name, reply, 0, None)):
            digest.update(chunk)
        return bool(digest.hexdigest() == reply.get("Metadata", {}).get(DIGEST))


def _header(offset: int, length: int | None) -> str:
    return f"bytes={offset}-" if length is None else f"bytes={offset}-{offset + length - 1}"


def _expected_length(
    bucket: Bucket, name: str, reply: dict[str, Any], offset: int, length: int | None
) -> int:
    """Return how many bytes the body must have; refuse a reply to another question."""
    with translated(bucket.title, f"read {name}"):
        announced = int(reply["ContentLength"])
    if offset == 0 and length is None:
        return announced
    match = _RANGE.fullmatch(reply.get("ContentRange", ""))
    if match is None:
        raise TargetError(
            f"{bucket.title} does not give ranges: it answered a range of {name} with the whole"
        )
    first, last, size = map(int, match.groups())
    end = size if length is None else min(size, offset + length)
    if (first, last + 1, announced) != (offset, end, end - offset):
        raise TargetUnavailable(f"{bucket.title} answered with another range of {name} than was asked for")
    return announced
