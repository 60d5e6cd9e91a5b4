"""What a backup says of the snapshot in it, and how its entries are named.

A snapshot is too large for one secret, so it is cut: ``raft-snapshot/<id>/00000`` and so on, beside
``raft-snapshot/<id>/about``, which says what makes it whole again.
"""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from strongroom.container.errors import Malformed
from strongroom.model import prepare

FORMAT = "strongroom-raft-snapshot-1"
ROOT = "raft-snapshot"
ABOUT = "about"
TYPE = "raft-snapshot"
_ID = r"[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}"
_NAME = re.compile(rf"{ROOT}/({_ID})/({ABOUT}|[0-9]{{5,}})")
_Count = Annotated[int, Meta(ge=0)]


class SnapshotHeader(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A snapshot: which server, which moment, which keys, which bytes.

    Args:
        snapshot: its id, which begins with the time.
        parts, size, sha256: how many parts there are, their bytes in all, and the sum of those.
        index, term: of the Raft log.
        entries, logical: how many entries the storage has, and how many of them belong to mounts.
        unseal_generation: fingerprint of what the unseal keys open; see
            :class:`~strongroom.sources.raft.state.SnapshotState`. Two snapshots that share it need the
            same unseal keys.
        key_term: how often the barrier's key was rotated; needs no other unseal keys. ``None`` if
            the token may not see it.
    """

    format: Annotated[str, Meta(pattern=f"^{FORMAT}$")] = FORMAT
    snapshot: Annotated[str, Meta(pattern=f"^{_ID}$")]
    taken_at: str
    parts: Annotated[int, Meta(ge=1)]
    size: _Count
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
    index: _Count
    term: _Count
    entries: _Count
    logical: _Count
    cluster_name: str
    cluster_id: str
    server_version: str
    seal_type: str
    shares: _Count
    threshold: _Count
    unseal_generation: str
    key_term: int | None = None

    def keys_in_words(self) -> str:
        """Say which unseal keys a server needs after it was restored from this."""
        which = f"of generation {self.unseal_generation}" if self.unseal_generation else "of that time"
        if not self.threshold:
            return f"the unseal keys {which}"
        return f"{self.threshold} of the {self.shares} unseal keys {which} ({self.seal_type})"


prepare(SnapshotHeader)
_DECODER = msgspec.json.Decoder(SnapshotHeader)


def parse_about(content: bytes) -> SnapshotHeader:
    """Read what :func:`encode_about` wrote, strictly. Raises Malformed."""
    try:
        return _DECODER.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise Malformed(
            "The backup's description of its snapshot was not written by Strongroom.",
            hint="Restore from another backup.",
        ) from None


def encode_about(about: SnapshotHeader) -> bytes:
    """Return it as JSON."""
    return msgspec.json.encode(about)


def part_name(snapshot: str, part: int | None) -> str:
    """Return a part's name; ``None`` means what is said about all of them."""
    return f"{ROOT}/{snapshot}/{ABOUT if part is None else f'{part:05}'}"


def split_name(name: str) -> tuple[str, int | None] | None:
    """Return snapshot and part, the part being ``None`` for what is said about all of them.

    ``None`` if this is no name of ours. Every number has one spelling.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        return None
    part = None if match[2] == ABOUT else int(match[2])
    return (match[1], part) if part_name(match[1], part) == name else None
