"""history: what became of one secret from backup to backup."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from msgspec.structs import replace

from strongroom.cli.commands.find.reading import reading
from strongroom.cli.terminal.answer import Answer
from strongroom.cli.terminal.output import Output, plural
from strongroom.container.name_index import Older
from strongroom.errors import StrongroomError
from strongroom.operations.archive.choice import BackupChoice
from strongroom.operations.archive.coverage import Asked
from strongroom.operations.archive.failover import Replicated
from strongroom.operations.archive.open import DigestedRow
from strongroom.operations.find.facts import SecretFacts, facts_of
from strongroom.operations.find.history import HeldVersion, UnchangedSpan, kept_versions, periods
from strongroom.operations.find.search import SecretQuery
from strongroom.sheet import Lines, Part, Sheet, Table

SHOWN = 50
"""Versions that are listed: who wants older ones knows what to look for."""
MOST_ASKED = 8
"""Backups that are opened for the times of versions alone: a person may have to touch a key for each."""


def show_history(arguments: Namespace, output: Output) -> Answer:
    held: dict[str, SecretFacts] = {}

    def look(backup: Replicated) -> DigestedRow | None:
        return backup.digested_row(arguments.name)

    def take(choice: BackupChoice, found: DigestedRow | None) -> None:
        if found is not None:
            held[choice.manifest.backup_id] = facts_of(*found)

    with reading(arguments, output) as reader:
        asked = Asked(values=False, name=arguments.name, policy=arguments.policy or "", until=arguments.at)
        for _, period in reader.each(asked, look, take, wanted=SecretQuery(pattern=arguments.name)):
            if period.facts.name == arguments.name:  # and not only like it
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
                f"None of the {plural(len(reader.read), 'backup')} read holds a secret '{arguments.name}'",
                f"{reader.near(arguments.name)}Names are case-sensitive, and complete. "
                "Look for a part: strongroom backups find '*part*'",
            )
        versions = {source: _versions(found, arguments.name) for source, found in by_source.items()}
    made = {choice.manifest.backup_id: choice.manifest.created_at for choice in reader.read}
    record = {
        "name": arguments.name,
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
