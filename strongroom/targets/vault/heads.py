"""The head of an object: the one entry that makes it visible, and says where its chunks lie.

::

    PREFIX/objects/NAME                      the head, written last
    PREFIX/chunks/NAME/~ATTEMPT/00000 …      the chunks, one entry each

Each put has an attempt of its own, so two never share a chunk, and whoever comes second
removes its own and nobody else's. ``~`` is in no object's name.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from strongroom.errors import TargetError
from strongroom.model import prepare
from strongroom.targets.vault.entries import Fields

FORMAT = "strongroom-object-1"
OBJECTS = "objects/"
CHUNKS = "chunks/"
ATTEMPT = "~"
DIGEST = 32
MOST_CHUNKS = 8_000
"""Their digests have to fit into the head, and that into the smallest entry (512 KiB)."""

Digits = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,17})$")]
Hex = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class ForeignEntry(TargetError):
    """Where a head should be lies something else."""


class ChunkedHead(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Sizes in bytes as decimal digits: the server keeps numbers as floats.

    ``digests`` are the SHA-256 of each chunk, one after the other, in base64. ``transit`` is
    the key that the chunks are encrypted with besides, ``MOUNT/NAME``, or nothing.
    """

    format: str = FORMAT
    size: Digits
    sha256: Hex
    chunk_bytes: Digits
    attempt: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}$")]
    digests: str
    transit: str = ""

    @property
    def total(self) -> int:
        """Return the object's size."""
        return int(self.size)

    def chunk_of(self, offset: int) -> int:
        """Return the number of the chunk that holds this byte."""
        return offset // int(self.chunk_bytes)

    def all_digests(self) -> Sequence[bytes]:
        """Return the SHA-256 of each chunk."""
        whole = base64.b64decode(self.digests)
        return [whole[start : start + DIGEST] for start in range(0, len(whole), DIGEST)]


prepare(ChunkedHead)


def new_attempt() -> str:
    """Return the name of a put."""
    return secrets.token_hex(8)


def folder_of(name: str, attempt: str) -> str:
    """Return the folder of a put's chunks."""
    return f"{CHUNKS}{name}/{ATTEMPT}{attempt}/"


def chunk_path(name: str, attempt: str, number: int) -> str:
    """Return where a chunk lies."""
    return f"{folder_of(name, attempt)}{number:05}"


def split_folder(path: str) -> tuple[str, str, str]:
    """Take a chunk's path below ``chunks/`` apart: name, attempt, number; empty if it is none."""
    above, _, number = path.rpartition("/")
    name, _, attempt = above.rpartition("/")
    return (name, attempt[1:], number) if attempt.startswith(ATTEMPT) else ("", "", "")


def chunk_count(size: int, chunk_bytes: int) -> int:
    """Return how many chunks an object has; an empty one has one."""
    return max(1, -(-size // chunk_bytes))


def parse_head(fields: Fields, name: str) -> ChunkedHead:
    """Read a head strictly. Raises ForeignEntry if it is none."""
    try:
        head = msgspec.convert(fields, ChunkedHead)
        digests = base64.b64decode(head.digests, validate=True)
    except (msgspec.ValidationError, binascii.Error, ValueError):
        raise _not_ours(name) from None
    if head.format != FORMAT or not int(head.chunk_bytes):
        raise _not_ours(name)
    if len(digests) != DIGEST * chunk_count(head.total, int(head.chunk_bytes)):
        raise _not_ours(name)
    return head


def _not_ours(name: str) -> ForeignEntry:
    return ForeignEntry(
        f"the entry of {name} is not one that Strongroom wrote",
        hint="Somebody else writes into the target's mount. Look at who may, and at the entry.",
    )
