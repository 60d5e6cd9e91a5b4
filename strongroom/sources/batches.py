"""Cuts streams into batches, so that memory is bounded by bytes and not by counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from strongroom.model import ListedSecret, Secret

BATCH = 8_192
BATCH_BYTES = 16 << 20
WINDOW_BYTES = 8 << 20
_VERSION = 64  # what a version takes at least, however short its value

T = TypeVar("T")


def batched_secrets(items: Iterable[T], *, by: Callable[[T], Secret]) -> Iterator[list[T]]:
    """Yield ``items`` in batches that hold each secret's name once."""
    batch: list[T] = []
    names: set[str] = set()
    size = 0
    for item in items:
        secret = by(item)
        if len(batch) == BATCH or size >= BATCH_BYTES or secret.name in names:
            yield batch
            batch, names, size = [], set(), 0
        batch.append(item)
        names.add(secret.name)
        size += _size(secret)
    if batch:
        yield batch


def windows(entries: Sequence[ListedSecret]) -> Iterator[Sequence[ListedSecret]]:
    """Yield runs of ``entries`` whose secrets fit into memory together."""
    start = size = 0
    for end, entry in enumerate(entries):
        if size and size + entry.size > WINDOW_BYTES:
            yield entries[start:end]
            start, size = end, 0
        size += entry.size
    if start < len(entries):
        yield entries[start:]


def _size(secret: Secret) -> int:
    size = 0
    for version in secret.versions:
        size += _VERSION + (0 if version.value is None else len(version.value))
    return size
