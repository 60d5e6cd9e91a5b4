"""Detached envelopes: where they lie, and how the newest one of a place is found.

A later generation of a wrapping key's record is an object of its own, named by key and
generation. Only what a trusted signer signed is an envelope; whatever else lies there,
anybody who may write could have put there, and it must neither open nor block anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Protocol

from msgspec import Struct

from strongroom.container.certificate import Certificate
from strongroom.container.envelope import DETACHED, SignedEnvelope, open_detached
from strongroom.container.errors import FormatError, Malformed, Stale, Tampered
from strongroom.container.keyless import ENDING_BYTES, read_outer
from strongroom.container.manifest import ContainerEntry, Manifest
from strongroom.container.ranges import RangeReader
from strongroom.container.wrapping import WrappingKeyRecord
from strongroom.model import ObjectInfo

KEYS = "keys/"
_NAME = re.compile(r"([0-9]{8})(?:\.r[1-9])?")
READ_BYTES = DETACHED.most + 1
"""Of what may be a detached envelope: enough to see that it is too long for one."""


class EnvelopePlace(Protocol):
    """What is read from: a target, or a single-file backup."""

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]: ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]: ...


class UnreadableEnvelope(Struct, frozen=True, kw_only=True):
    """An object among the envelopes that is none: what it is called and what is wrong with it."""

    name: str
    code: str
    reason: str
    generation: int = 0


def describe_aside(found: Iterable[tuple[str, Iterable[str]]]) -> str | None:
    """Say what lies beside the backup and does not count, by target."""
    by_target: dict[str, dict[str, None]] = {}
    for target, names in found:
        for name in names:
            by_target.setdefault(target, {})[name] = None
    if not by_target:
        return None
    where = "; ".join(
        f"{target or 'where it was read'}: {', '.join(names)}" for target, names in by_target.items()
    )
    return f"something beside it does not count ({where})"


class PlacedEnvelopes(Struct, frozen=True, kw_only=True):
    """What lies on one place of one wrapping key: generations that count, and what was left aside.

    ``names`` is all that lies there, each name with its generation, whatever it is. ``certificates`` are
    those of whoever signed the records.
    """

    records: dict[int, WrappingKeyRecord]
    certificates: dict[int, Certificate] = {}
    aside: tuple[UnreadableEnvelope, ...] = ()
    names: tuple[tuple[str, int], ...] = ()

    @property
    def doubtful(self) -> tuple[UnreadableEnvelope, ...]:
        """What was left aside with nothing in its place: no copy of its generation counts."""
        return tuple(envelope for envelope in self.aside if envelope.generation not in self.records)

    @property
    def replaced(self) -> tuple[UnreadableEnvelope, ...]:
        """What was left aside with a copy in its place that counts."""
        return tuple(envelope for envelope in self.aside if envelope.generation in self.records)

    @property
    def newest(self) -> WrappingKeyRecord | None:
        """The record that counts; ``None`` if the containers' own is the newest."""
        return self.records[max(self.records)] if self.records else None


def envelopes_prefix(key: str) -> str:
    """Return what the names of a wrapping key's detached envelopes begin with."""
    return f"{KEYS}{key}/"


def envelope_name(key: str, generation: int) -> str:
    """Return a detached envelope's name on every target (FORMAT.md, section 7)."""
    return f"{envelopes_prefix(key)}{generation:08}"


def wrapping_keys(manifest: Manifest) -> dict[str, ContainerEntry]:
    """Return the distinct wrapping keys of a backup, each with a container that carries it."""
    return by_wrapping_key(manifest.containers) if manifest.sealed else {}


def by_wrapping_key(containers: Iterable[ContainerEntry]) -> dict[str, ContainerEntry]:
    """Return the distinct wrapping keys of sealed containers, each with the first that carries it."""
    found: dict[str, ContainerEntry] = {}
    for entry in containers:
        found.setdefault(entry.wrapping_key, entry)
    return found


def find_newest(place: EnvelopePlace, key: str, *, trusted: frozenset[str] | None) -> PlacedEnvelopes:
    """Return the newest envelope of a wrapping key that counts, reading down from the last name.

    The generations below it stay unread: there is no falling back to their recipients.
    """
    return _find(place, key, trusted=trusted, every=False)


def find_all(place: EnvelopePlace, key: str, *, trusted: frozenset[str] | None) -> PlacedEnvelopes:
    """Read every envelope of a wrapping key on one place, for a check of all of them."""
    return _find(place, key, trusted=trusted, every=True)


def _find(place: EnvelopePlace, key: str, *, trusted: frozenset[str] | None, every: bool) -> PlacedEnvelopes:
    records: dict[int, WrappingKeyRecord] = {}
    certificates: dict[int, Certificate] = {}
    aside: list[UnreadableEnvelope] = []
    names = named(place, key)
    for name, generation in names:
        try:
            signed = read_signed(place, name, key, generation, trusted)
        except FormatError as error:
            aside.append(
                UnreadableEnvelope(name=name, code=error.code, reason=error.message, generation=generation)
            )
        else:
            records.setdefault(generation, signed.record)
            certificates.setdefault(generation, signed.certificate)
        if records and not every:
            break
    return PlacedEnvelopes(records=records, certificates=certificates, aside=tuple(aside), names=tuple(names))


def named(place: EnvelopePlace, key: str) -> list[tuple[str, int]]:
    """Return names and generations of what lies here, the newest first, a copy's repairs after it.

    Not of the first generation: every container has that in itself, so nobody looks at what lies here under
    its name (FORMAT.md, 6).
    """
    prefix = envelopes_prefix(key)
    matches = [(info.name, _NAME.fullmatch(info.name[len(prefix) :])) for info in place.list(prefix)]
    found = [(name, int(match[1])) for name, match in matches if match is not None]
    found = [(name, generation) for name, generation in found if generation > 1]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def read_envelope(
    place: EnvelopePlace, name: str, key: str, generation: int, trusted: frozenset[str] | None
) -> WrappingKeyRecord:
    """Read one envelope and hold it to its name; raise what is wrong with it."""
    return read_signed(place, name, key, generation, trusted).record


def read_signed(
    place: EnvelopePlace, name: str, key: str, generation: int, trusted: frozenset[str] | None
) -> SignedEnvelope:
    """Read one envelope, with its signer's certificate; see :func:`read_envelope`."""
    # Read no further than an envelope can reach: what lies here may be anything.
    data = b"".join(place.read(name, length=READ_BYTES))
    signed = open_detached(data, trusted=trusted)
    record = signed.record
    if record.id != key:
        raise Tampered(f"'{name}' is the envelope of another wrapping key.")
    if record.generation < generation:
        raise Stale(f"'{name}' is generation {record.generation}, and it replaced a newer one.")
    if record.generation > generation:
        raise Malformed(f"'{name}' is generation {record.generation}, under an older one's name.")
    return signed


def own_record(reader: RangeReader, entry: ContainerEntry) -> WrappingKeyRecord:
    """Return the record that a container carries, reading no byte of its segments."""
    outer = read_outer(reader, trusted=None, entry=entry, tail_bytes=ENDING_BYTES)
    return outer.envelope.wrapping_key


def newest_of(records: Iterable[WrappingKeyRecord | None]) -> WrappingKeyRecord | None:
    """Return the record of the highest generation."""
    return max(
        (record for record in records if record is not None),
        key=lambda record: record.generation,
        default=None,
    )
