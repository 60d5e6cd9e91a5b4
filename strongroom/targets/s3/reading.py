"""read: a range as it lies, its length checked, and damage on the way told from damage at rest."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from strongroom.container.errors import MissingPiece
from strongroom.errors import TargetError
from strongroom.targets.errors import TargetGarbled, TargetUnavailable
from strongroom.targets.s3.bucket import Bucket
from strongroom.targets.s3.failures import PastEnd, translated
from strongroom.targets.s3.putting import DIGEST
from strongroom.words import plural

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
            self._check_there(name)
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

    def _check_there(self, name: str) -> None:
        if self._bucket.head(name) is None:
            self._bucket.check_there()
            raise MissingPiece(f"{self._bucket.title} does not hold {name}")

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
