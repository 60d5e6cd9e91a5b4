"""history and diff: what became of one secret from backup to backup, and what differs between two."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

from msgspec.structs import asdict, replace

from strongroom.cli.commands.backups.arguments import ShowDifferences, ShowHistory
from strongroom.cli.commands.backups.reading import BackupReader, reading
from strongroom.cli.shared import backup_selection, sources
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural
from strongroom.container.manifest import Manifest
from strongroom.container.name_index import Older
from strongroom.errors import StrongroomError, UsageError
from strongroom.model import Selection
from strongroom.operations.archive.coverage import Asked, BackupChoice, limits_of, made_at
from strongroom.operations.archive.find import SecretFacts, SecretQuery, facts_of, same_digest_key
from strongroom.operations.archive.history import (
    BackupSide,
    Difference,
    HeldVersion,
    LiveSide,
    UnchangedSpan,
    compare,
    digest_for_now,
    kept_versions,
    periods,
)
from strongroom.operations.archive.open import DigestedRow
from strongroom.operations.archive.reading import Replicated
from strongroom.operations.errors import NotAllRead
from strongroom.sheet import Lines, Part, Sheet, Table
from strongroom.times import as_written, rfc3339

# -- history: what became of one secret from backup to backup -----------------------------------


SHOWN = 50
"""Versions that are listed: who wants older ones knows what to look for."""
MOST_ASKED = 8
"""Backups that are opened for the times of versions alone: a person may have to touch a key for each."""


def show_history(given: ShowHistory, output: Output) -> Answer:
    held: dict[str, SecretFacts] = {}

    def look(backup: Replicated) -> DigestedRow | None:
        return backup.digested_row(given.name)

    def take(choice: BackupChoice, found: DigestedRow | None) -> None:
        if found is not None:
            held[choice.manifest.backup_id] = facts_of(*found)

    within = given.within
    with reading(given.read.source, output, indexed=not within.no_index) as reader:
        asked = Asked(values=False, name=given.name, policy=within.policy or "", until=within.at)
        for _, period in reader.each(asked, look, take, wanted=SecretQuery(pattern=given.name)):
            if period.facts.name == given.name:  # and not only like it
                held |= dict.fromkeys(period.backups, period.facts)
        by_source: dict[str, list[tuple[Replicated, SecretFacts | None]]] = {}
        for choice in reversed(reader.read):
            pair = reader.replicated(choice), held.get(choice.manifest.backup_id)
            by_source.setdefault(choice.manifest.source, []).append(pair)
        histories = {
            source: told
            for source, found in by_source.items()
            if (told := list(periods(found, unread=reader.not_compared)))
        }
        if not histories:
            raise reader.missing(
                f"None of the {plural(len(reader.read), 'backup')} read holds a secret '{given.name}'",
                f"{reader.near(given.name)}Names are case-sensitive, and complete. "
                "Look for a part: strongroom backups find '*part*'",
            )
        versions = {source: _versions(found, given.name) for source, found in by_source.items()}
    made = {choice.manifest.backup_id: choice.manifest.created_at for choice in reader.read}
    record = {
        "name": given.name,
        "sources": [
            {
                "source": source,
                "periods": [_period(period, made) for period in told],
                "versions": versions[source],
            }
            for source, told in histories.items()
        ],
        "backups_read": len(reader.read),
        "backups_not_read": reader.not_read,
        "quarantined": reader.quarantined,
    }
    said = Lines([f"{plural(len(reader.read), 'backup')} read."])
    parts = (
        part for source, told in histories.items() for part in _tables(source, told, versions[source], made)
    )
    return Answer(record=record, sheet=Sheet(parts=[said, *parts]))


def _versions(backups: Sequence[tuple[Replicated, SecretFacts | None]], name: str) -> list[HeldVersion]:
    """Return the versions that the backups hold. Where an index of names does not say when one was written,
    the newest backups that have it are asked."""
    there = [(backup, facts) for backup, facts in reversed(backups) if facts is not None]
    kept = kept_versions((backup.manifest.backup_id, facts) for backup, facts in there)
    unknown = {version.backups[0] for version in kept if version.written_at is None}
    asked = [backup for backup, _ in there if backup.manifest.backup_id in unknown][:MOST_ASKED]
    times = {number: time for backup in asked for number, time in _times(backup, name).items()}
    return [
        replace(held_version, written_at=held_version.written_at or times.get(held_version.version))
        for held_version in kept
    ]


def _times(backup: Replicated, name: str) -> dict[int, str | None]:
    """Return when each version in a backup was written; nothing if it cannot be read."""
    with suppress(StrongroomError):
        if (found := backup.digested_row(name)) is not None:
            return {version.number: version.created_at for version in found[0].versions}
    return {}


def _tables(
    source: str, told: Sequence[UnchangedSpan], versions: Sequence[HeldVersion], made: Mapping[str, str]
) -> Iterator[Part]:
    head = ("Since", "Until", "Backups", "Version", "Written", "What", "First backup")
    yield Table(head, [_row(period, made) for period in told], f"Source '{source}'")
    rows = [_version_row(version) for version in versions[:SHOWN]]
    yield Table(
        ("Version", "Written", "Backups", "Newest backup"), rows, "Versions in these backups", sub=True
    )
    older = len(versions) - SHOWN
    yield Lines([f"and {older:,} older, which --json names"] if older > 0 else [])


def _version_row(held_version: HeldVersion) -> tuple[object, ...]:
    return (
        Older(held_version.version, held_version.version, held_version.state, held_version.has_value).words,
        held_version.written_at or "-",
        len(held_version.backups),
        held_version.backups[0],
    )


def _row(period: UnchangedSpan, made: Mapping[str, str]) -> tuple[object, ...]:
    facts = period.facts
    return (
        made[period.since],
        made[period.until],
        period.backups,
        "-" if facts is None else str(facts.version),
        "-" if facts is None else facts.written_at or "-",
        "; ".join(period.what),
        period.since,
    )


def _period(period: UnchangedSpan, made: Mapping[str, str]) -> dict[str, Any]:
    facts = period.facts
    return {
        "since": {"backup": period.since, "created_at": made[period.since]},
        "until": {"backup": period.until, "created_at": made[period.until]},
        "backups": period.backups,
        "what": period.what,
        "present": facts is not None,
        "version": facts and facts.version,
        "state": facts and facts.state,
        "written_at": facts and facts.written_at,
        "tags": facts and facts.tags,
        "expires_at": facts and facts.expires_at,
    }


# -- diff: what differs between two backups, or between a backup and its source now -------------


LIVE = "live"


class _Compared(NamedTuple):
    """What was compared: in words and for machines, whether by values, and what came of it."""

    earlier: Manifest
    later: dict[str, Any]
    words: str
    values: bool
    difference: Difference
    unread: dict[str, str]


def show_differences(given: ShowDifferences, output: Output) -> Answer:
    earlier, later = _named(given)
    with reading(given.read.source, output) as reader:
        first = _open(reader, given, output, earlier)
        if later == LIVE:
            compared = _with_live(first, given, reader)
        else:
            compared = _with_backup(first, _open(reader, given, output, later), output)
    count = plural(len(compared.unread), "secret")
    unread = NotAllRead(f"The source did not give {count}, of which nothing is said.")
    without = "One side holds no values: names, versions, tags and dates were compared."
    return Answer(
        record=_diff_document(compared),
        sheet=_sheet(compared),
        warnings=() if compared.values else (without,),
        error=unread if compared.unread else None,
    )


def _named(given: ShowDifferences) -> tuple[str, str]:
    """Return which backup is the earlier side, empty for the newest, and what the later.

    Raises:
        UsageError: the words name no two sides.
    """
    match given.backups:
        case [] | ["live"]:
            return "", LIVE
        case [str(earlier)] | [str(earlier), "live"] if earlier != LIVE:
            named = earlier, LIVE
        case [str(earlier), str(later)] if earlier != LIVE:
            named = earlier, later
        case _:
            raise UsageError(
                "'diff' compares two sides: an earlier backup, and a later one or 'live'.",
                hint="For example: strongroom backups diff BACKUP live. See 'strongroom backups list'.",
            )
    if given.policy or given.at:
        raise UsageError("--policy and --at choose a backup where none is named, and one is.")
    if given.source and named[1] != LIVE:
        raise UsageError("--source says what 'live' means, and two backups are compared.")
    return named


def _open(reader: BackupReader, given: ShowDifferences, output: Output, backup: str) -> Replicated:
    asked = Asked(
        values=not backup,
        backup=backup,
        policy=given.policy or "",
        until=given.at,
        partial=True,
        use_quarantined=given.use_quarantined,
    )
    return reader.open(backup_selection.choose_backup(reader.chooser, asked, output))


# -- the two sides -------------------------------------------------------------------


def _with_live(backup: Replicated, given: ShowDifferences, reader: BackupReader) -> _Compared:
    manifest = backup.manifest
    name = given.source or manifest.source
    sources.refuse_whole_server(name, reader.installation)
    source = sources.source_of(name, reader.installation)
    digest, chosen = digest_for_now(), manifest.selection
    selection = Selection(include=chosen.include, exclude=chosen.exclude, tags=chosen.tags)
    live = LiveSide(source, selection, digest, values=manifest.values)
    now = time.time()
    side = BackupSide(backup, digest if manifest.values else None)
    return _Compared(
        earlier=manifest,
        later={"source": source.name, "at": rfc3339(now)},
        words=f"source '{source.name}' now",
        values=manifest.values,
        difference=_leave_out(
            compare(side, live, by_value=True, has_expired=_expired_between(manifest, now)), live.unread
        ),
        unread=live.unread,
    )


def _leave_out(difference: Difference, unread: dict[str, str]) -> Difference:
    """Return a difference without what a source did not give: that is not known to be gone."""
    removed = tuple(name for name in difference.removed if name not in unread)
    return replace(difference, removed=removed)


def _with_backup(earlier: Replicated, later: Replicated, output: Output) -> _Compared:
    before, after = earlier.manifest, later.manifest
    if limits_of(before) != limits_of(after):
        output.warn(
            f"the backups were made of different parts: {limits_of(before) or 'everything'}, and "
            f"{limits_of(after) or 'everything'}. What one was not made of counts as added or removed."
        )
    values = before.values and after.values
    by_value = values and not same_digest_key(earlier, later)
    has_expired = _expired_between(before, made_at(after))
    digest = digest_for_now() if by_value else None
    return _Compared(
        earlier=before,
        later={"backup": after.backup_id, "policy": after.policy, "created_at": after.created_at},
        words=f"backup {after.backup_id} of policy '{after.policy}', made {after.created_at}",
        values=values,
        difference=compare(
            BackupSide(earlier, digest, values=values),
            BackupSide(later, digest, values=values),
            by_value=by_value,
            has_expired=has_expired,
        ),
        unread={},
    )


def _expired_between(earlier: Manifest, later: float) -> Callable[[SecretFacts], bool]:
    """Return what tells whether a secret's time ran out between the two sides."""
    start, end = datetime.fromtimestamp(made_at(earlier), UTC), datetime.fromtimestamp(later, UTC)

    def has_expired(facts: SecretFacts) -> bool:
        expires = as_written(facts.expires_at)
        return expires is not None and start < expires <= end

    return has_expired


# -- the answer ----------------------------------------------------------------------


def _sheet(compared: _Compared) -> Sheet:
    earlier, found = compared.earlier, compared.difference
    of = f"From backup {earlier.backup_id} of policy '{earlier.policy}', made {earlier.created_at}"
    counts = (
        f"{len(found.added):,} added, {len(found.changed):,} changed, {len(found.removed):,} removed, "
        f"{len(found.expired):,} expired; {plural(found.same, 'secret')} the same."
    )
    table = Table(("Change", "Name", "What"), list(_rows(compared)))
    return Sheet(parts=[Lines([of, f"to   {compared.words}:"]), table, Lines([counts])])


def _rows(compared: _Compared) -> Iterator[tuple[str, str, str]]:
    found = compared.difference
    yield from (("added", name, "") for name in found.added)
    yield from (("changed", changed.name, "; ".join(changed.what)) for changed in found.changed)
    yield from (("removed", name, "") for name in found.removed)
    yield from (("expired", name, "") for name in found.expired)
    yield from (("not read", name, why) for name, why in sorted(compared.unread.items()))


def _diff_document(compared: _Compared) -> dict[str, Any]:
    earlier = compared.earlier
    return {
        "earlier": {
            "backup": earlier.backup_id,
            "policy": earlier.policy,
            "created_at": earlier.created_at,
        },
        "later": compared.later,
        "values_compared": compared.values,
        **asdict(compared.difference),
        "unread": compared.unread,
    }
