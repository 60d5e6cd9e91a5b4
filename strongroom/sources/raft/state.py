"""What a snapshot's ``state.bin`` holds: every entry of the storage, one message each.

A message is a varint with its length, then protobuf: 1 the key, 2 the value. Keys are in the
clear and values encrypted by the server's barrier, so this tells what is there and not what it says.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from typing import BinaryIO

from msgspec import Struct

from strongroom.container.errors import Malformed, Truncated

LARGEST = 64 << 20
"""Bytes of one entry. Storage takes 1 MiB unless somebody raised that."""
KEYRING = b"core/keyring"
SEAL_CONFIG = b"core/seal-config"
UNSEAL_KEYS = b"core/hsm/barrier-unseal-keys"
_WANTED = frozenset({KEYRING, SEAL_CONFIG, UNSEAL_KEYS})
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_KEY, _VALUE = 1, 2


class SnapshotState(Struct, frozen=True, kw_only=True):
    """What was found.

    Args:
        entries: how many there are.
        logical: how many of them belong to mounts: secrets and their metadata, among others.
        unseal_generation: fingerprint of the root key as the unseal keys have it encrypted: the
            same for all snapshots that the same unseal keys open, another after each rekeying.
            Empty if the server is so old that it stores no such thing.
        seal_type, shares, threshold: how it is unsealed; 0 and empty if that is not said.
    """

    entries: int
    logical: int
    unseal_generation: str
    seal_type: str = ""
    shares: int = 0
    threshold: int = 0


def scan(stream: BinaryIO) -> SnapshotState:
    """Read all of it; memory is bounded by one entry.

    Raises:
        Malformed: it is not such a stream, or lacks the keyring, without which nothing opens.
        Truncated: it ends within an entry.
    """
    entries = logical = 0
    found: dict[bytes, bytes] = {}
    for message in _messages(stream):
        key = _field(message, _KEY)
        entries += 1
        logical += key.startswith(b"logical/")
        if key in _WANTED:
            found[key] = _field(message, _VALUE)
    if not found.get(KEYRING):
        raise Malformed("The snapshot holds no keyring: with no key could it be read.")
    return _state(entries, logical, found)


def _state(entries: int, logical: int, found: dict[bytes, bytes]) -> SnapshotState:
    wrapped = found.get(UNSEAL_KEYS, b"")
    config = _seal_config(found.get(SEAL_CONFIG, b"{}"))
    return SnapshotState(
        entries=entries,
        logical=logical,
        unseal_generation=hashlib.sha256(wrapped).hexdigest()[:16] if wrapped else "",
        seal_type=str(config.get("type", ""))[:40],
        shares=_count(config.get("secret_shares")),
        threshold=_count(config.get("secret_threshold")),
    )


def _seal_config(value: bytes) -> dict[str, object]:
    try:
        found = json.loads(value)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _count(value: object) -> int:
    return value if isinstance(value, int) and 0 <= value <= 255 else 0


def _messages(stream: BinaryIO) -> Iterator[bytes]:
    while (length := _length(stream)) is not None:
        message = stream.read(length)
        if len(message) != length:
            raise Truncated("The snapshot ends within an entry.")
        yield message


def _length(stream: BinaryIO) -> int | None:
    """Read a message's length; ``None`` at the end of the stream."""
    value = shift = 0
    while byte := stream.read(1):
        value |= (byte[0] & 0x7F) << shift
        shift += 7
        if byte[0] < 0x80:
            break
        if shift > 28:
            raise _nonsense()
    if not byte and not shift:
        return None
    if not byte:
        raise Truncated("The snapshot ends within an entry's length.")
    if value > LARGEST:
        raise _nonsense()
    return value


def _field(message: bytes, wanted: int) -> bytes:
    """Return a field of bytes, empty if it is not there."""
    place = 0
    while place < len(message):
        tag, place = _varint(message, place)
        start, place = _extent(message, tag & 7, place)
        if tag >> 3 == wanted and tag & 7 == _BYTES:
            return message[start:place]
    return b""


def _extent(message: bytes, kind: int, place: int) -> tuple[int, int]:
    """Return where a field's content begins and ends."""
    if kind == _VARINT:
        return place, _varint(message, place)[1]
    length = {_FIXED_64: 8, _FIXED_32: 4}.get(kind)
    if length is None:
        if kind != _BYTES:
            raise _nonsense()
        length, place = _varint(message, place)
    if place + length > len(message):
        raise _nonsense()
    return place, place + length


def _varint(message: bytes, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            break
        byte = message[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise _nonsense()


def _nonsense() -> Malformed:
    return Malformed("The snapshot's state is not made of entries.")
