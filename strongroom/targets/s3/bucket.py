"""One bucket under one prefix: names to keys, calls with their errors translated."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct

from strongroom.container.errors import MissingPiece
from strongroom.targets.errors import TargetAbsent
from strongroom.targets.s3.client import Clients
from strongroom.targets.s3.failures import Unexplained, translated
from strongroom.targets.s3.options import S3Options


class ObjectHead(Struct, frozen=True, kw_only=True):
    """What a bucket says of an object's current version.

    ``checksum`` is its SHA-256 in base64 where the server keeps one of the whole object.
    """

    size: int
    etag: str
    version: str | None
    checksum: str | None
    locked_until: datetime | None
    mode: str | None
    held: bool
    sse: str | None


class Bucket:
    """Calls on one bucket, every one with the owner check."""

    def __init__(self, options: S3Options, *, title: str) -> None:
        self.options = options
        self.title = title
        self._clients = Clients(options)
        owner = options.expected_bucket_owner
        self._common = {"Bucket": options.bucket} | ({"ExpectedBucketOwner": owner} if owner else {})
        self._prefix = f"{options.prefix}/" if options.prefix else ""

    def key(self, name: str) -> str:
        """Return the key of an object, or of a prefix."""
        return self._prefix + name

    def name(self, key: str) -> str | None:
        """Return what a key is the object of, or ``None`` for another prefix's."""
        return key.removeprefix(self._prefix) if key.startswith(self._prefix) else None

    def call(self, operation: str, doing: str, *, writing: bool = False, **params: Any) -> dict[str, Any]:
        """Make one request; raises our errors."""
        with translated(self.title, doing, writing=writing):
            reply: dict[str, Any] = getattr(self._clients.get(), operation)(**self._common, **params)
        return reply

    def pages(self, operation: str, doing: str, **params: Any) -> Iterator[dict[str, Any]]:
        """Yield a listing page by page."""
        with translated(self.title, doing):
            pages = iter(self._clients.get().get_paginator(operation).paginate(**self._common, **params))
        while True:
            with translated(self.title, doing):
                page = next(pages, None)
            if page is None:
                return
            yield page

    def head(self, name: str) -> ObjectHead | None:
        """Return what is there; a delete marker is nothing."""
        doing = f"look at {name}"
        try:
            reply = self.call("head_object", doing, Key=self.key(name), ChecksumMode="ENABLED")
        except MissingPiece:
            return None
        except Unexplained:
            self.call("get_object", doing, Key=self.key(name), Range="bytes=0-0")["Body"].close()
            raise  # who may read and not look is refused all the same
        with translated(self.title, doing):
            return _head(reply)

    def check_there(self) -> None:
        """Raise if there is no such bucket: a reply to HEAD does not say which of the two is missing."""
        try:
            self.call("head_bucket", "find its bucket")
        except MissingPiece:
            raise TargetAbsent(f"{self.title} has no bucket of that name") from None


def _head(reply: dict[str, Any]) -> ObjectHead:
    # Of parts, servers give a checksum of checksums, which says nothing about the whole.
    whole = reply.get("ChecksumType") == "FULL_OBJECT"
    until = reply.get("ObjectLockRetainUntilDate")
    return ObjectHead(
        size=reply["ContentLength"],
        etag=reply.get("ETag", ""),
        version=reply.get("VersionId"),
        checksum=reply.get("ChecksumSHA256") if whole else None,
        locked_until=until.astimezone(UTC) if until else None,
        mode=reply.get("ObjectLockMode"),
        held=reply.get("ObjectLockLegalHoldStatus") == "ON",
        sse=reply.get("ServerSideEncryption"),
    )
