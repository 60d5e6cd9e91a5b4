"""Writing detached envelopes: a new one, the newest carried on, the older ones away."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import permutations

from strongroom.container.certificate import CertifiedSigner
from strongroom.container.envelope import write_detached
from strongroom.container.errors import FormatError, MissingPiece, VerificationFailed
from strongroom.container.wrapping import WrappingKeyRecord
from strongroom.errors import TargetError
from strongroom.operations.archive.envelopes import (
    READ_BYTES,
    envelope_name,
    find_newest,
    named,
    read_envelope,
)
from strongroom.targets import Target, locks
from strongroom.targets.errors import TargetLocked
from strongroom.targets.repaired import put_beside


def place_envelope(
    target: Target, record: WrappingKeyRecord, signer: CertifiedSigner, *, trusted: frozenset[str]
) -> WrappingKeyRecord | None:
    """Put an envelope if there is none of its generation; return the record that lies there now.

    Another rotation may have been faster: then it is that one's record, and the caller
    decides whether it will do. ``None``: what lies there is no envelope that counts.
    """
    content = write_detached(record, signer)
    name = envelope_name(record.id, record.generation)
    target.put(name, [content], size=len(content), sha256=hashlib.sha256(content).digest())
    if b"".join(target.read(name, length=len(content) + 1)) == content:
        return record  # what was just signed need not be taken apart again
    try:
        return read_envelope(target, name, record.id, record.generation, trusted)
    except FormatError:
        return None


def lock_envelope(target: Target, record: WrappingKeyRecord, until: datetime | None) -> None:
    """Lock an envelope for as long as the backup that it opens, on a target that locks."""
    if until is not None and locks(target):
        target.extend_lock(envelope_name(record.id, record.generation), until)


def copy_newest(source: Target, target: Target, key: str, *, trusted: frozenset[str]) -> int | None:
    """Bring a target up to the newest envelope that another one has; return its generation.

    The bytes are copied as they are, so that whoever repairs need not be able to sign.
    """
    newest = find_newest(source, key, trusted=trusted)
    here = find_newest(target, key, trusted=trusted)
    if newest.newest is None or (here.newest and here.newest.generation >= newest.newest.generation):
        return None
    generation = newest.newest.generation
    name = _whole_name(source, key, generation, trusted)
    content = b"".join(source.read(name, length=READ_BYTES))
    _bring(target, envelope_name(key, generation), content)
    if generation not in find_newest(target, key, trusted=trusted).records:
        raise VerificationFailed(f"target '{target.name}' does not give the envelope of {key} back")
    return generation


def _bring(target: Target, name: str, content: bytes) -> None:
    """Put an envelope under its name, in the place of whatever lies there; beside it if that is locked."""
    size, sha256 = len(content), hashlib.sha256(content).digest()
    if (
        target.put(name, [content], size=size, sha256=sha256)
        or b"".join(target.read(name, length=size + 1)) == content
    ):
        return
    try:
        target.delete(name)
        target.put(name, [content], size=size, sha256=sha256)
    except TargetLocked:
        put_beside(target, name, lambda: [content], size=size, sha256=sha256)


def _whole_name(target: Target, key: str, generation: int, trusted: frozenset[str]) -> str:
    for name, found in named(target, key):
        if found == generation:
            with suppress(FormatError):
                read_envelope(target, name, key, generation, trusted)
                return name
    raise MissingPiece(f"the envelope of wrapping key {key}, generation {generation}, went away")


def remove_older(
    target: Target, names: Iterable[tuple[str, int]], newest: int, *, locked: Callable[[str], object]
) -> int:
    """Delete those of the envelopes listed that are older than ``newest``; return how many went.

    ``locked`` is told the names of those that stay. The containers' own records stay for ever:
    they are part of them.
    """
    removed = 0
    for name, generation in names:
        if generation >= newest:
            continue
        try:
            target.delete(name)
            removed += 1
        except TargetLocked:
            locked(name)
    return removed


def bring_up(targets: Sequence[Target], keys: Iterable[str], *, trusted: frozenset[str]) -> list[str]:
    """Carry the newest envelope of each wrapping key to every target that lacks it.

    Returns what was carried, as ``target/name``. A target that is away is left for the next
    time: its copy still opens for whom it opened before.
    """
    carried = []
    for key in keys:
        for source, target in permutations(targets, 2):
            with suppress(TargetError):
                if generation := copy_newest(source, target, key, trusted=trusted):
                    carried.append(f"{target.name}/{envelope_name(key, generation)}")
    return carried
