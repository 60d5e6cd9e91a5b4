"""Detached envelopes: where they lie, which one counts, and how new ones are written."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from itertools import permutations
from typing import Protocol, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container import canonical
from strongroom.container.errors import (
    FormatError,
    Malformed,
    MissingPiece,
    Stale,
    Tampered,
    VerificationFailed,
    WrongKey,
)
from strongroom.container.manifest import ContainerEntry, Manifest, ManifestRecipient
from strongroom.container.ranges import RangeReader
from strongroom.container.reader import ENDING_BYTES, read_outer
from strongroom.container.signing import Certificate, CertifiedSigner
from strongroom.container.wrapping import (
    DETACHED,
    SignedEnvelope,
    Stanza,
    WrappingKeyRecord,
    open_detached,
    write_detached,
)
from strongroom.errors import StrongroomError, TargetError, Untrusted
from strongroom.keys import BY_LABEL, allof
from strongroom.model import ObjectInfo
from strongroom.operations.engine.layout import container_name, containers_prefix
from strongroom.targets import HiddenVersion, Target, put_whole
from strongroom.targets.errors import TargetLocked
from strongroom.targets.reading import put_beside

# -- Detached envelopes: where they lie, and how the newest one of a place is found -------------
#
# A later generation of a wrapping key's record is an object of its own, named by key and
# generation. Only what a trusted signer signed is an envelope; whatever else lies there,
# anybody who may write could have put there, and it must neither open nor block anything.


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


# -- Which detached envelope counts, over one place and over several: an older one put back is a rollback


class Newest:
    """The newest envelope of each wrapping key on one place, looked up once a key."""

    def __init__(
        self,
        place: EnvelopePlace,
        *,
        trusted: frozenset[str] | None,
        known: Callable[[str], int] | None = None,
    ) -> None:
        self._place = place
        self._trusted = trusted
        self._known = known
        self._found: dict[str, PlacedEnvelopes] = {}

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

    @property
    def aside(self) -> tuple[UnreadableEnvelope, ...]:
        """What was left aside with nothing in its place, of the keys that were looked up."""
        return tuple(
            envelope for placed_envelopes in self._found.values() for envelope in placed_envelopes.doubtful
        )

    def explained(self, key: str, error: WrongKey) -> WrongKey:
        """Return the error with what was left aside: it may be why no key fits."""
        aside = self._found[key].aside if key in self._found else ()
        if not aside:
            return error
        said = "; ".join(f"{envelope.name} ({envelope.code}: {envelope.reason})" for envelope in aside)
        return WrongKey(
            f"{error.message} Ignored: {said}",
            hint="If a rotation wrote it, take another replica, or trust its signer with --signer.",
        )


class Elsewhere:
    """Tells the newest generation of a wrapping key over several places; those away tell nothing."""

    def __init__(self, places: Iterable[EnvelopePlace], *, trusted: frozenset[str]) -> None:
        self._places = list(places)
        self._trusted = trusted
        self._known: dict[str, int] = {}

    def __call__(self, key: str) -> int:
        if key not in self._known:
            self._known[key] = max(map(partial(self._at, key), self._places), default=0)
        return self._known[key]

    def _at(self, key: str, readable: EnvelopePlace) -> int:
        with suppress(TargetError):
            newest = find_newest(readable, key, trusted=self._trusted).newest
            return newest.generation if newest else 0
        return 0


# -- Writing detached envelopes: a new one, the newest carried on, the older ones away ----------


def place_envelope(
    target: Target, record: WrappingKeyRecord, signer: CertifiedSigner, *, trusted: frozenset[str]
) -> WrappingKeyRecord | None:
    """Put an envelope if there is none of its generation; return the record that lies there now.

    Another rotation may have been faster: then it is that one's record, and the caller
    decides whether it will do. ``None``: what lies there is no envelope that counts.
    """
    content = write_detached(record, signer)
    name = envelope_name(record.id, record.generation)
    put_whole(target, name, content)
    if b"".join(target.read(name, length=len(content) + 1)) == content:
        return record  # what was just signed need not be taken apart again
    try:
        return read_envelope(target, name, record.id, record.generation, trusted)
    except FormatError:
        return None


def lock_envelope(target: Target, record: WrappingKeyRecord, until: datetime | None) -> None:
    """Lock an envelope for as long as the backup that it opens, on a target that locks."""
    if until is not None and target.locks:
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


# -- Who can open a backup now, in words: a manifest names those of back then only --------------


_WORDS = {
    "hpke": "the holder of the private key {}",
    "keyfile": "anyone with the key file {}",
    "passphrase": "anyone who knows the passphrase {}",
    "quorum": "the custodians of the quorum {}",
    "transit": "anyone who may decrypt with the transit key {}",
    "kms": "anyone who may decrypt with the KMS key {}",
    "pkcs11-ec": "the HSM key {}",
    "pkcs11-aes": "the HSM key {}",
}
_CURVES = {0x0010: "P-256", 0x0011: "P-384", 0x0020: "X25519"}
"""What falls to a quantum computer, as RFC 9180 numbers it."""


def readers_now(place: EnvelopePlace, manifest: Manifest, *, trusted: frozenset[str] | None) -> Manifest:
    """Return a manifest with the recipients that its wrapping keys' newest records open for.

    A manifest names those of the time of sealing. Where no newer envelope lies, they are it still.
    """
    keys = wrapping_keys(manifest)
    newest = [find_newest(place, key, trusted=trusted).newest for key in keys]
    stanzas = [stanza for record in newest if record is not None for stanza in record.stanzas]
    if not stanzas:
        return manifest
    try:
        now = [_reader(stanza, manifest.recipients) for stanza in stanzas]
    except FormatError:  # a stranger's, maybe: it must not keep anybody from looking
        return manifest
    recipients = manifest.recipients if None in newest else ()
    return replace(manifest, recipients=tuple(dict.fromkeys((*recipients, *now))))


def _reader(stanza: Stanza, recipients: Iterable[ManifestRecipient]) -> ManifestRecipient:
    """Return who opens a stanza: in the manifest's words if it names them, else in those of the stanza."""
    fingerprint = _fingerprint(stanza)
    for recipient in recipients:
        by_label = stanza.kind in BY_LABEL and (recipient.type, recipient.name) == (stanza.kind, stanza.label)
        if by_label or recipient.fingerprint == fingerprint:
            return recipient
    return ManifestRecipient(
        name=stanza.label,
        type=stanza.kind,
        fingerprint=fingerprint,
        post_quantum=_post_quantum(stanza),
        describes=_describe(stanza),
    )


def _fingerprint(stanza: Stanza) -> str:
    if stanza.type == allof.TYPE:
        legs = [[_fingerprint(way_in) for way_in in leg] for leg in allof.inner(stanza)]
        return f"{stanza.type}:{hashlib.sha256(canonical.encode(legs)).hexdigest()}"
    key = stanza.args.get("key")
    return f"{stanza.kind}:{key if isinstance(key, str) else stanza.label}"


def _describe(stanza: Stanza) -> str:
    if stanza.type == allof.TYPE:
        legs = (" or ".join(map(_describe, leg)) for leg in allof.inner(stanza))
        return f"all of these together: {'; and '.join(legs)}"
    name = f"`{stanza.label}`" if stanza.label else str(stanza.args.get("key", ""))[:16]
    words = _WORDS.get(stanza.kind, f"{stanza.kind} {{}}").format(name).rstrip()
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


# -- What deleting leaves behind of a backup: versions that a target hides, and locks, each until when


UNKNOWN = "unknown"


class OldVersions(Struct, frozen=True, kw_only=True):
    """What a target hides of a backup: versions that were covered or deleted, and can be read all the same.

    ``count`` is -1 if that cannot be told. ``locked_until`` is when the last lock on them ends, ``until``
    when the last of them is removed by a rule of the store: RFC 3339; empty if there is no lock, no
    rule that removes all; ``unknown`` if it may not be read.
    """

    count: int = 0
    locked_until: str = ""
    until: str = ""


NO_VERSIONS = OldVersions()
UNTOLD = OldVersions(count=-1, locked_until=UNKNOWN, until=UNKNOWN)


def locked_until(manifest: Manifest, target: Target) -> str:
    """Return when the lock on a backup's first container ends on a target; see :class:`StillOpens`."""
    if not (target.locks and manifest.containers):
        return ""
    try:
        found = target.locked_until(container_name(manifest.backup_id, manifest.containers[0].sha256))
    except StrongroomError:
        return UNKNOWN
    return found.isoformat() if found else ""


def hidden_of(target: Target, backup: str, keys: Iterable[str]) -> OldVersions:
    """Return what a target hides of a backup: containers, and envelopes of these wrapping keys."""
    return old_versions(target, containers_prefix(backup), *map(envelopes_prefix, keys))


def old_versions(target: Target, *prefixes: str) -> OldVersions:
    """Return what a target hides under prefixes. One that does not answer, or may not be asked, is said."""
    try:
        found = [hidden_version for prefix in prefixes for hidden_version in target.hidden(prefix)]
    except StrongroomError:
        return UNTOLD
    if not found:
        return NO_VERSIONS
    return OldVersions(count=len(found), locked_until=_locks_end(found), until=_rules_end(found))


def _locks_end(versions: Sequence[HiddenVersion]) -> str:
    if not all(hidden_version.lock_known for hidden_version in versions):
        return UNKNOWN
    return _latest(
        [
            hidden_version.locked_until
            for hidden_version in versions
            if hidden_version.locked_until is not None
        ]
    )


def _rules_end(versions: Sequence[HiddenVersion]) -> str:
    """A rule that ends all but one ends nothing: that one opens."""
    if any(hidden_version.expires is None and hidden_version.rule_known for hidden_version in versions):
        return ""
    return (
        UNKNOWN
        if not all(hidden_version.rule_known for hidden_version in versions)
        else _latest([hidden_version.expires for hidden_version in versions])
    )


def _latest(ends: Iterable[datetime | None]) -> str:
    last = max((end for end in ends if end is not None), default=None)
    return last.isoformat() if last else ""


# -- Ask one place after another, and if none answers say what matters most of why --------------


Place = TypeVar("Place")
T = TypeVar("T")


def first_answer(
    places: Iterable[Place], read: Callable[[Place], T], *, of: str, earlier: Iterable[StrongroomError] = ()
) -> T:
    """Return what the first place gives that can be read.

    Args:
        of: what is read, for the error if there is no place to ask.
        earlier: why other places were given up before.

    Raises:
        StrongroomError: none can be read: the failure that :func:`most_telling` picks.
    """
    failures = list(earlier)
    for place in places:
        try:
            return read(place)
        except StrongroomError as error:
            failures.append(error)
    raise most_telling(failures) if failures else MissingPiece(f"no configured target holds {of}")


def most_telling(failures: Iterable[StrongroomError]) -> StrongroomError:
    """Return the failure that decides what is done next; of several alike, the first.

    1. A signer that is not trusted, or a record that was edited: a person has to look, and an attack
       must not hide behind a place that happens to be away.
    2. A key that does not open it: the same bytes lie everywhere, so no other place or time helps.
    3. What passes: the place that is away may hold it whole, so the run tries again, whatever is
       wrong elsewhere.
    4. What is damaged, or refused for good.
    5. What is missing: of a place that never had it, that is no news.
    """
    return min(failures, key=_rank_of_failure)


def _rank_of_failure(error: StrongroomError) -> int:
    if isinstance(error, Untrusted):
        return 1
    if isinstance(error, WrongKey):
        return 2
    if error.transient:
        return 3
    return 5 if isinstance(error, MissingPiece) else 4
