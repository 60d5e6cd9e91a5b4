"""SHA-256 as S3 spells it."""

from __future__ import annotations

import base64
import hashlib


def checksum(data: bytes | bytearray) -> str:
    """Return a SHA-256 as S3 spells it."""
    return encoded(hashlib.sha256(data).digest())


def encoded(digest: bytes) -> str:
    """Return a digest in base64."""
    return base64.b64encode(digest).decode("ascii")
