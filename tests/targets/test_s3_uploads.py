"""Which parts of an interrupted upload are gone on with, and whose object is there afterwards."""

from __future__ import annotations

import hashlib

import pytest

from strongroom.targets.s3.bucket import ObjectHead, checksum
from strongroom.targets.s3.putting import UploadedPart, _is_ours

DATA = b"CANARY-part"
MD5 = hashlib.md5(DATA).hexdigest()


@pytest.mark.parametrize(
    ("etag", "size", "sha256", "expected"),
    [
        ("other", len(DATA), checksum(DATA), True),
        (MD5, len(DATA), checksum(b"other"), False),
        (MD5, len(DATA) + 1, checksum(DATA), False),
        (f'"{MD5}"', len(DATA), None, True),
        (MD5, len(DATA), None, True),
        (MD5, len(DATA) + 1, None, False),
        ("other", len(DATA), None, False),
    ],
)
def test_a_part_is_known_by_its_checksum_and_else_by_its_etag(
    etag: str, size: int, sha256: str | None, expected: bool
) -> None:
    part = UploadedPart(number=1, etag=etag, size=size, checksum=sha256)

    assert part.holds(DATA, checksum(DATA)) is expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ({"ETag": "e-1"}, True),
        ({"ETag": '"e-1"'}, True),
        ({"ETag": "f-1"}, False),
        ({"ETag": "e-1", "VersionId": "w"}, False),
        ({"VersionId": "v"}, True),
        ({}, True),
    ],
)
def test_what_is_there_is_ours_if_version_or_etag_say_so_quoted_or_not(
    reply: dict[str, str], expected: bool
) -> None:
    found = ObjectHead(
        size=1,
        etag='"e-1"',
        version="v",
        checksum=None,
        locked_until=None,
        mode=None,
        held=False,
        sse=None,
    )

    assert _is_ours(found, reply) is expected
