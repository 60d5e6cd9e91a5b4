"""Which backup holds which version of which secret, and how backups differ; no value is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatchcase
from functools import partial
from itertools import islice
from typing import Protocol, TypeVar

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.manifest import ContainerEntry, Manifest
from strongroom.container.name_index import Older, older_versions
from strongroom.errors import StrongroomError, UsageError
from strongroom.model import Secret, Selection, VersionState
from strongroom.operations.archive.coverage import Asked
from strongroom.operations.archive.open import Backup, DigestedRow, Listed
from strongroom.operations.archive.reading import Replicated
from strongroom.system.lazy import batched

# -- What backups say of a secret without its value: version, tags, expiry, and the value's keyed digest


class SecretFacts(Struct, frozen=True, kw_only=True, gc=False):
    """A secret as one backup, or a source, has it. ``digest`` is of its newest version, empty if that has no
    value. ``older`` are the versions before it."""

    name: str
    version: int
    state: VersionState
    written_at: str | None
    tags: Mapping[str, str]
    expires_at: str | None
    digest: bytes
    older: tuple[Older, ...] = ()


class SearchableBackup(Protocol):
    """A backup that is opened, on one place or on several."""

    @property
    def manifest(self) -> Manifest: ...

    def digested_rows(self) -> Iterator[DigestedRow]: ...

    def digested_row(self, name: str) -> DigestedRow | None: ...

    def secrets(self) -> Iterator[Secret]: ...

    def find(self, name: str) -> Secret | None: ...


def facts_of(listed: Listed, digests: Mapping[int, bytes]) -> SecretFacts:
    """Return the facts of a secret, with the keyed digests of its values by the number of the version."""
    current = listed.versions[-1]
    return SecretFacts(
        name=listed.name,
        version=current.number,
        state=current.state,
        written_at=current.created_at or listed.updated_at,
        tags=listed.tags,
        expires_at=listed.expires_at,
        digest=digests.get(current.number, b""),
        older=older_versions(listed.versions, digests.__contains__),
    )


def changes(before: SecretFacts, after: SecretFacts, *, by_value: bool = False) -> tuple[str, ...]:
    """Say in words what differs between two facts of one secret; nothing if they are alike.

    Args:
        by_value: whether equal digests mean equal values whatever the version's number: then the number
            says nothing more. The digests that lie in backups are over it too.
    """
    return tuple(_changes(before, after, by_value=by_value))


def _changes(before: SecretFacts, after: SecretFacts, *, by_value: bool) -> Iterator[str]:
    comparable = bool(before.digest and after.digest)
    same = comparable and before.digest == after.digest
    if before.version != after.version:
        if not (by_value and same):
            yield f"version {before.version} to {after.version}"
    elif comparable and not same:
        yield f"another value under the same version {after.version}"
    if before.state != after.state:
        yield f"{before.state} to {after.state}"
    yield from _changed_tags(before.tags, after.tags)
    if before.expires_at != after.expires_at:
        yield f"expires {after.expires_at or 'no more'} (before: {before.expires_at or 'never'})"


def _changed_tags(before: Mapping[str, str], after: Mapping[str, str]) -> Iterator[str]:
    for key in sorted(before.keys() | after.keys()):
        if before.get(key) != after.get(key):
            yield f"tag {key}: {before.get(key, 'none')} to {after.get(key, 'none')}"


# -- Which of many backups hold a secret, and in which version ----------------------------------


MOST_NAMES = 100_000
"""Secrets that one search finds at most: memory is bounded by them, and nobody reads more."""


class SecretQuery(Struct, frozen=True, kw_only=True):
    """What is looked for: a name or a pattern, and tags."""

    pattern: str = "*"
    tags: Mapping[str, str] = {}

    @property
    def name(self) -> str:
        """The one name that is meant; empty for a pattern."""
        return "" if any(character in self.pattern for character in "*?[") else self.pattern

    def asked(self, *, policy: str, until: float | None) -> Asked:
        """Return which backups may hold it."""
        return Asked(values=False, name=self.name, policy=policy, until=until, partial=not self.name)

    def means(self, facts: SecretFacts) -> bool:
        named = facts.name == self.pattern or fnmatchcase(facts.name, self.pattern)
        return named and all(facts.tags.get(key) == value for key, value in self.tags.items())

    def within(self, backup: Replicated) -> Iterator[SecretFacts]:
        """Yield what a backup has of it. One name costs a few ranged reads, a pattern all the names."""
        if not self.name:

            def meant(backup: Backup, entry: ContainerEntry) -> Iterator[bytes]:
                found = filter(self.means, (facts_of(*row) for row in backup.digested_rows_in(entry)))
                yield from map(msgspec.msgpack.encode, batched(found, _TOGETHER))

            for part in backup.parts(meant):
                yield from _decode_facts(part)
        elif (found := backup.digested_row(self.name)) is not None and self.means(facts := facts_of(*found)):
            yield facts


_TOGETHER = 1_000
_decode_facts = msgspec.msgpack.Decoder(list[SecretFacts]).decode


class VersionHolding(Struct, frozen=True, kw_only=True):
    """One version of a secret, and the backups of which it is the newest one, the newest backup first.
    ``older`` are the versions before it that these hold too.

    Where one version is asked for it is that, whatever is newer in the backups.
    """

    version: int
    state: VersionState
    written_at: str | None
    has_value: bool
    backups: tuple[str, ...]
    older: tuple[Older, ...] = ()

    def at(self, version: int) -> VersionHolding | None:
        """Return what these backups have of one version."""
        if version == self.version:
            return replace(self, older=())
        run = next((run for run in self.older if run.first <= version <= run.last), None)
        if run is None:
            return None
        return VersionHolding(
            version=version,
            state=run.state,
            written_at=run.written_at(version),
            has_value=run.has_value,
            backups=self.backups,
        )


class FoundSecret(Struct, frozen=True, kw_only=True):
    """A secret of one source, as the newest backup has it, and its versions, the newest backup's first."""

    name: str
    source: str
    tags: Mapping[str, str]
    expires_at: str | None
    versions: tuple[VersionHolding, ...]

    @property
    def as_selection(self) -> Selection:
        """What means this secret."""
        return Selection(include=(self.name,), tags=dict(self.tags))

    def at(self, version: int) -> FoundSecret | None:
        """Return where one version of it is: a line for each state in which it is there."""
        alike: dict[tuple[VersionState, bool], VersionHolding] = {}
        for version_holding in filter(None, (holding.at(version) for holding in self.versions)):
            same = alike.get((version_holding.state, version_holding.has_value))
            alike[version_holding.state, version_holding.has_value] = (
                version_holding if same is None else _together(same, version_holding)
            )
        return replace(self, versions=tuple(alike.values())) if alike else None


def _together(holding: VersionHolding, other: VersionHolding) -> VersionHolding:
    backups = tuple(sorted({*holding.backups, *other.backups}, reverse=True))
    return replace(holding, written_at=holding.written_at or other.written_at, backups=backups)


def too_many() -> UsageError:
    """Return what is said where more secrets are meant than anybody reads."""
    return UsageError(
        f"More than {MOST_NAMES:,} secrets are meant.", hint="Name fewer of them, such as 'prod/db/*'."
    )


class Findings:
    """Gathers what is found in backups, in whatever order: the time of each is what its id begins with."""

    def __init__(self) -> None:
        self._newest: dict[tuple[str, str], tuple[str, SecretFacts]] = {}
        self._versions: dict[tuple[str, str], dict[_Version, list[str]]] = {}

    def add(self, facts: SecretFacts, *backups: str, source: str) -> None:
        """Note that backups hold a secret.

        Raises:
            UsageError: too many secrets are found.
        """
        key = (facts.name, source)
        if key not in self._newest and len(self._newest) == MOST_NAMES:
            raise too_many()
        newest = max(backups)
        if key not in self._newest or self._newest[key][0] < newest:
            self._newest[key] = (newest, facts)
        version = (facts.version, facts.state, facts.written_at, facts.digest, facts.older)
        self._versions.setdefault(key, {}).setdefault(version, []).extend(backups)

    def found(self) -> Iterator[FoundSecret]:
        """Yield every secret that was found, by its name."""
        for key in sorted(self._newest):
            _, facts = self._newest[key]
            held = (
                (version, sorted(backups, reverse=True)) for version, backups in self._versions[key].items()
            )
            yield FoundSecret(
                name=facts.name,
                source=key[1],
                tags=facts.tags,
                expires_at=facts.expires_at,
                versions=tuple(
                    _holding(*holding) for holding in sorted(held, key=lambda pair: pair[1][0], reverse=True)
                ),
            )


_Version = tuple[int, VersionState, str | None, bytes, tuple[Older, ...]]


def _holding(version: _Version, backups: list[str]) -> VersionHolding:
    number, state, written_at, digest, older = version
    return VersionHolding(
        version=number,
        state=state,
        written_at=written_at,
        has_value=bool(digest),
        backups=tuple(backups),
        older=older,
    )


# -- Reading several backups at once, in the order in which they are given ----------------------


A = TypeVar("A")
B = TypeVar("B")
T = TypeVar("T")
AT_ONCE = 8
"""Backups that are read at once: each costs a few requests, one after the other."""


def outcomes(
    backups: Sequence[A], begin: Callable[[A], B], look: Callable[[B], T], *, together: bool
) -> Iterator[tuple[A, T | StrongroomError]]:
    """Yield what came of looking into each: the first alone, for a person may be asked for a passphrase then,
    and the others several at once, if they may be.

    Args:
        begin: is called for one after the other, in this thread: it puts the attempt on record.
    """
    alone = 1 if together else len(backups)
    yield from ((backup, _outcome(look, begin(backup))) for backup in backups[:alone])
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for at in range(alone, len(backups), AT_ONCE):
            window = backups[at : at + AT_ONCE]
            yield from zip(
                window, list(threads.map(partial(_outcome, look), map(begin, window))), strict=True
            )


def _outcome(look: Callable[[B], T], backup: B) -> T | StrongroomError:
    try:
        return look(backup)
    except StrongroomError as error:
        return error


# -- Whether the digests of two backups are of one key: else each value would pass for another one ---


TRIED = 20
"""Secrets that are looked at until one tells: each costs two ranged reads."""


def same_digest_key(before: SearchableBackup, after: SearchableBackup) -> bool:
    """Tell whether equal values have equal digests in two backups.

    A digest says nothing of its key. Another installation has another one, and so has this one since it lost
    its own. Values that are equal and have other digests tell. Where no value is equal, digests differ as
    they should.
    """
    if before.manifest.source != after.manifest.source:
        return False
    held = (facts_of(listed, digests) for listed, digests in before.digested_rows())
    for secret_facts in islice((facts for facts in held if facts.digest), TRIED):
        other = after.digested_row(secret_facts.name)
        if other is not None and (now := facts_of(*other)).version == secret_facts.version and now.digest:
            if now.digest == secret_facts.digest:
                return True
            if same_value(before, after, secret_facts.name, secret_facts.version):
                return False
    return True


def overwritten(
    before: SearchableBackup, after: SearchableBackup, was: SecretFacts, now: SecretFacts
) -> bool:
    """Tell whether a value truly changed under the same version's number; the values themselves tell."""
    return was.digest != now.digest and not same_value(before, after, now.name, now.version)


def same_value(before: SearchableBackup, after: SearchableBackup, name: str, version: int) -> bool:
    """Compare one version's value in two backups, in constant time; it is shown nowhere."""
    found = before.find(name), after.find(name)
    return None not in found and _value(found[0], version) == _value(found[1], version)


def _value(secret: Secret | None, version: int) -> object:
    return (
        next(
            (secret_version.value for secret_version in secret.versions if secret_version.number == version),
            None,
        )
        if secret
        else None
    )
