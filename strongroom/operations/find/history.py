"""What became of one secret from backup to backup."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from msgspec import Struct
from msgspec.structs import replace

from strongroom.errors import StrongroomError
from strongroom.model import VersionState
from strongroom.operations.archive.coverage import limits_of
from strongroom.operations.find.facts import SearchableBackup, SecretFacts, changes
from strongroom.operations.find.same_value import overwritten


class UnchangedSpan(Struct, frozen=True, kw_only=True):
    """A secret as consecutive backups have it: the first and the last of them, and what became otherwise.

    ``facts`` is left out where they do not have it.
    """

    since: str
    until: str
    backups: int
    facts: SecretFacts | None
    what: tuple[str, ...]


class HeldVersion(Struct, frozen=True, kw_only=True):
    """One version of a secret, and the backups that hold its value, the newest first. Where none does, those
    that hold the rest of it."""

    version: int
    state: VersionState
    has_value: bool
    written_at: str | None
    backups: tuple[str, ...]


def kept_versions(backups: Iterable[tuple[str, SecretFacts]]) -> list[HeldVersion]:
    """Return every version of a secret that backups hold, the newest first.

    Args:
        backups: their ids, the newest first, with what they have.
    """
    kept: dict[int, HeldVersion] = {}
    for backup, facts in backups:
        for held_version in _versions(backup, facts):
            known = kept.get(held_version.version)
            if known is None or held_version.has_value > known.has_value:
                kept[held_version.version] = held_version
            elif held_version.has_value == known.has_value:
                written = known.written_at or held_version.written_at
                kept[held_version.version] = replace(
                    known, written_at=written, backups=(*known.backups, backup)
                )
    return [kept[number] for number in sorted(kept, reverse=True)]


def _versions(backup: str, facts: SecretFacts) -> Iterator[HeldVersion]:
    yield HeldVersion(
        version=facts.version,
        state=facts.state,
        has_value=bool(facts.digest),
        written_at=facts.written_at,
        backups=(backup,),
    )
    for run in facts.older:
        for number in range(run.first, run.last + 1):
            yield HeldVersion(
                version=number,
                state=run.state,
                has_value=run.has_value,
                written_at=run.written_at(number),
                backups=(backup,),
            )


Unread = Callable[[str, StrongroomError], None]
"""Is told of a backup whose values cannot be compared with those of another one, and why."""


def periods(
    backups: Iterable[tuple[SearchableBackup, SecretFacts | None]], *, unread: Unread
) -> Iterator[UnchangedSpan]:
    """Yield the periods of a secret in backups of one source, given oldest first with what they have.

    A backup that was limited to less than the source tells nothing by not having it.
    """
    open_period: UnchangedSpan | None = None
    before: SearchableBackup | None = None
    for backup, facts in backups:
        if facts is None and (open_period is None or limits_of(backup.manifest)):
            continue
        what = _changed(before, backup, open_period, facts, unread)
        if open_period is not None and not what:
            open_period = _longer(open_period, backup, facts)
        else:
            if open_period is not None:
                yield open_period
            this = backup.manifest.backup_id
            open_period = UnchangedSpan(since=this, until=this, backups=1, facts=facts, what=what)
        if facts is not None and (facts.digest or before is None):
            before = backup
    if open_period is not None:
        yield open_period


def _longer(period: UnchangedSpan, backup: SearchableBackup, facts: SecretFacts | None) -> UnchangedSpan:
    """Return a period with one more backup. One with a value is what the next is held against."""
    kept = facts if facts is not None and facts.digest else period.facts
    return replace(period, until=backup.manifest.backup_id, backups=period.backups + 1, facts=kept)


def _changed(
    before: SearchableBackup | None,
    backup: SearchableBackup,
    period: UnchangedSpan | None,
    facts: SecretFacts | None,
    unread: Unread,
) -> tuple[str, ...]:
    """Say what is otherwise in a backup; nothing if it has what the ones before it have."""
    if period is None or before is None:
        return ("first seen",)
    was = period.facts
    if was is None or facts is None:
        return () if was is facts else (("gone",) if facts is None else ("back again",))
    both = was.digest and facts.digest and was.version == facts.version
    if both:
        try:
            if not overwritten(before, backup, was, facts):
                was = replace(was, digest=facts.digest)
        except StrongroomError as error:
            unread(backup.manifest.backup_id, error)
            return (*changes(replace(was, digest=facts.digest), facts), _NOT_COMPARED)
    return changes(was, facts)


_NOT_COMPARED = "its value could not be compared with the one before"
