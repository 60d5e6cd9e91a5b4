"""put: once, only if absent, visible only when it is known to be right, then looked at.

Three replies are not what they seem. "It exists" (412) may be the echo of this very
writer's request whose reply was lost. "Done" may come from a server that ignores the
condition (Ceph RGW in versioned buckets). And "done" may leave out a lock or an encryption
that was asked for. So the object is looked at before and after, and the caller reads back.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from msgspec import structs

from strongroom.container.errors import VerificationFailed
from strongroom.errors import TargetError
from strongroom.targets.blocks import checked
from strongroom.targets.errors import TargetUnavailable
from strongroom.targets.s3.bucket import Bucket, ObjectHead
from strongroom.targets.s3.content import checksum, encoded
from strongroom.targets.s3.failures import Contended, ObjectExists, UploadGone, translated
from strongroom.targets.s3.locks import retain
from strongroom.targets.s3.uploads import Upload, UploadedPart, find_upload

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
            return self._complete(name, upload, sent)
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

    def _complete(self, name: str, upload: Upload, sent: list[UploadedPart]) -> dict[str, Any]:
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
