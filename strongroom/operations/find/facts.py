"""What backups say of a secret without its value: version, tags, expiry, and the value's keyed digest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Protocol

from msgspec import Struct

from strongroom.container.manifest import Manifest
from strongroom.container.name_index import Older, older_versions
from strongroom.model import Secret, VersionState
from strongroom.operations.archive.open import DigestedRow, Listed


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
