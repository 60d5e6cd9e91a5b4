"""Detached envelopes: where they lie, and which one counts.

A later generation of a wrapping key's record is an object of its own, named by key and
generation. Only what a trusted signer signed is an envelope; whatever else lies there,
anybody who may write could have put there, and it must neither open nor block anything.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from functools import partial
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container import canonical
from strongroom.container.envelope import MAX_ENVELOPE, parse_detached
from strongroom.container.manifest import ContainerEntry, Manifest, ManifestRecipient
from strongroom.container.outer import ENDING_BYTES, read_outer
from strongroom.container.ranges import RangeReader
from strongroom.container.stanza import Stanza
from strongroom.container.wrapping import WrappingKeyRecord
from strongroom.errors import (
    FormatError,
    Malformed,
    Stale,
    Tampered,
    TargetError,
    WrongKey,
)
from strongroom.keys import allof
from strongroom.model import ObjectInfo

KEYS = "keys/"
_NAME = re.compile(r"([0-9]{8})(?:\.r[1-9])?")
_FRAME = 1024


class Readable(Protocol):
    """What is read from: a target, or a single-file backup."""

    def read(self, name: str, *, offset: int = 0, length: int | None = None) -> Iterator[bytes]: ...

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]: ...


class Aside(Struct, frozen=True, kw_only=True):
    """An object among the envelopes that is none: what it is called and what is wrong with it."""

    name: str
    code: str
    reason: str


class Found(Struct, frozen=True, kw_only=True):
    """What lies on one place of one wrapping key: generations that count, and what was left aside.

    ``names`` is all that lies there, each name with its generation, whatever it is.
    """

    records: dict[int, WrappingKeyRecord]
    aside: tuple[Aside, ...] = ()
    names: tuple[tuple[str, int], ...] = ()

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


def find_newest(place: Readable, key: str, *, trusted: frozenset[str] | None) -> Found:
    """Return the newest envelope of a wrapping key that counts, reading down from the last name.

    The generations below it stay unread: there is no falling back to their recipients.
    """
    return _find(place, key, trusted=trusted, every=False)


def find_all(place: Readable, key: str, *, trusted: frozenset[str] | None) -> Found:
    """Read every envelope of a wrapping key on one place, for a check of all of them."""
    return _find(place, key, trusted=trusted, every=True)


def _find(place: Readable, key: str, *, trusted: frozenset[str] | None, every: bool) -> Found:
    records: dict[int, WrappingKeyRecord] = {}
    aside: list[Aside] = []
    names = named(place, key)
    for name, generation in names:
        try:
            records.setdefault(generation, read_envelope(place, name, key, generation, trusted))
        except FormatError as error:
            aside.append(Aside(name=name, code=error.code, reason=error.message))
        if records and not every:
            break
    return Found(records=records, aside=tuple(aside), names=tuple(names))


def named(place: Readable, key: str) -> list[tuple[str, int]]:
    """Return names and generations of what lies here, the newest first, a copy's repairs after it."""
    prefix = envelopes_prefix(key)
    matches = [(info.name, _NAME.fullmatch(info.name[len(prefix) :])) for info in place.list(prefix)]
    found = [(name, int(match[1])) for name, match in matches if match is not None]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def read_envelope(
    place: Readable, name: str, key: str, generation: int, trusted: frozenset[str] | None
) -> WrappingKeyRecord:
    """Read one envelope and hold it to its name; raise what is wrong with it."""
    # Read no further than an envelope can reach: what lies here may be anything.
    data = b"".join(place.read(name, length=MAX_ENVELOPE + _FRAME))
    record = parse_detached(data, trusted=trusted)
    if record.id != key:
        raise Tampered(f"'{name}' is the envelope of another wrapping key.")
    if record.generation < generation:
        raise Stale(f"'{name}' is generation {record.generation}, put in the place of a newer one.")
    if record.generation > generation:
        raise Malformed(f"'{name}' is generation {record.generation}, under an older one's name.")
    return record


class Newest:
    """The newest envelope of each wrapping key on one place, looked up once a key."""

    def __init__(
        self,
        place: Readable,
        *,
        trusted: frozenset[str] | None,
        known: Callable[[str], int] | None = None,
    ) -> None:
        self._place = place
        self._trusted = trusted
        self._known = known
        self._found: dict[str, Found] = {}

    def of(self, key: str) -> WrappingKeyRecord | None:
        """Return the record that counts; raise Stale if a newer one is known from elsewhere."""
        if key not in self._found:
            self._found[key] = find_newest(self._place, key, trusted=self._trusted)
        newest = self._found[key].newest
        have, known = (newest.generation if newest else 1), (self._known(key) if self._known else 0)
        if have < known:
            raise Stale(
                f"wrapping key {key} is at generation {have} here, and at {known} elsewhere: "
                "an older envelope was put back, or a rotation has not reached this copy"
            )
        return newest

    def explained(self, key: str, error: WrongKey) -> WrongKey:
        """Return the error with what was left aside: it may be why no key fits."""
        aside = self._found[key].aside if key in self._found else ()
        if not aside:
            return error
        said = "; ".join(f"{one.name} ({one.code}: {one.reason})" for one in aside)
        return WrongKey(
            f"{error.message} Left aside: {said}",
            hint="If a rotation wrote it, take another replica, or trust its signer with --signer.",
        )


def own_record(reader: RangeReader, *, signer: str) -> WrappingKeyRecord:
    """Return the record that a container carries, reading no byte of its segments."""
    return read_outer(reader, trusted=frozenset({signer}), tail_bytes=ENDING_BYTES).envelope.wrapping_key


def newest_of(records: Iterable[WrappingKeyRecord | None]) -> WrappingKeyRecord | None:
    """Return the record of the highest generation."""
    return max((one for one in records if one is not None), key=lambda one: one.generation, default=None)


class Elsewhere:
    """Tells the newest generation of a wrapping key over several places; those away tell nothing."""

    def __init__(self, places: Iterable[Readable], *, trusted: frozenset[str]) -> None:
        self._places = list(places)
        self._trusted = trusted
        self._known: dict[str, int] = {}

    def __call__(self, key: str) -> int:
        if key not in self._known:
            self._known[key] = max(map(partial(self._at, key), self._places), default=0)
        return self._known[key]

    def _at(self, key: str, place: Readable) -> int:
        with suppress(TargetError):
            newest = find_newest(place, key, trusted=self._trusted).newest
            return newest.generation if newest else 0
        return 0


# -- who opens, in words ---------------------------------------------------------

_OF_OLD = frozenset({"kms", "transit"})
"""Kinds whose stanzas do not carry their recipient's fingerprint: they are known again by their label."""
_WORDS = {
    "hpke": "the holder of the private key {}",
    "keyfile": "whoever has the key file {}",
    "passphrase": "whoever knows the passphrase {}",
    "quorum": "the custodians of the quorum {}",
    "transit": "whoever may decrypt with the transit key {}",
    "kms": "whoever may decrypt with the KMS key {}",
    "pkcs11-ec": "the HSM key {}",
    "pkcs11-aes": "the HSM key {}",
}
_CURVES = {0x0010: "P-256", 0x0011: "P-384", 0x0020: "X25519"}
"""What falls to a quantum computer, as RFC 9180 numbers it."""


def readers_now(place: Readable, manifest: Manifest, *, trusted: frozenset[str] | None) -> Manifest:
    """Return a manifest with the recipients that its wrapping keys' newest records open for.

    A manifest names those of the time of sealing. Where no newer envelope lies, they are it still.
    """
    keys = wrapping_keys(manifest)
    found = [find_newest(place, key, trusted=trusted).newest for key in keys]
    stanzas = [stanza for record in found if record is not None for stanza in record.stanzas]
    if not stanzas:
        return manifest
    try:
        now = [_reader(stanza, manifest.recipients) for stanza in stanzas]
    except FormatError:  # a stranger's, maybe: it must not keep anybody from looking
        return manifest
    kept = manifest.recipients if None in found else ()
    return replace(manifest, recipients=tuple(dict.fromkeys((*kept, *now))))


def _reader(stanza: Stanza, known: Iterable[ManifestRecipient]) -> ManifestRecipient:
    """Return who opens a stanza: in the manifest's words if it names them, else in those of the stanza."""
    fingerprint = _fingerprint(stanza)
    for one in known:
        by_label = stanza.type in _OF_OLD and (one.type, one.name) == (stanza.type, stanza.label)
        if by_label or one.fingerprint == fingerprint:
            return one
    return ManifestRecipient(
        name=stanza.label,
        type=stanza.type,
        fingerprint=fingerprint,
        post_quantum=_post_quantum(stanza),
        describes=_describe(stanza),
    )


def _fingerprint(stanza: Stanza) -> str:
    if stanza.type == allof.TYPE:
        legs = [[_fingerprint(one) for one in leg] for leg in allof.inner(stanza)]
        return f"{stanza.type}:{hashlib.sha256(canonical.encode(legs)).hexdigest()}"
    key = stanza.args.get("key")
    return f"{stanza.type}:{key if isinstance(key, str) else stanza.label}"


def _describe(stanza: Stanza) -> str:
    if stanza.type == allof.TYPE:
        legs = (" or ".join(map(_describe, leg)) for leg in allof.inner(stanza))
        return f"all of these together: {'; and '.join(legs)}"
    name = f"`{stanza.label}`" if stanza.label else str(stanza.args.get("key", ""))[:16]
    words = _WORDS.get(stanza.type, f"{stanza.type} {{}}").format(name).rstrip()
    version = f" v{stanza.args.get('version')}" if stanza.type.startswith("pkcs11-") else ""
    return f"{words}{version}{_strength(stanza)}"


def _strength(stanza: Stanza) -> str:
    if not _post_quantum(stanza):
        return f" ({_CURVES[int(stanza.args['kem'])]}, not post-quantum)"
    return " (hybrid post-quantum)" if stanza.type == "hpke" else ""


def _post_quantum(stanza: Stanza) -> bool:
    if stanza.type == allof.TYPE:
        return any(all(map(_post_quantum, leg)) for leg in allof.inner(stanza))
    return stanza.args.get("kem") not in _CURVES
