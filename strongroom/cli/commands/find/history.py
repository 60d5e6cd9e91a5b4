"""history: what became of one secret from backup to backup."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Mapping
from typing import Any

from strongroom.cli.commands.find.reading import Reader, reading
from strongroom.cli.terminal.output import Output, plural, table
from strongroom.operations.archive.coverage import Asked
from strongroom.operations.archive.failover import Replicated
from strongroom.operations.archive.open import DigestedRow
from strongroom.operations.archive.select_backup import Choice
from strongroom.operations.find.facts import Facts, facts_of
from strongroom.operations.find.history import Period, periods
from strongroom.operations.find.search import Wanted


def show_history(arguments: Namespace, output: Output) -> None:
    held: dict[str, Facts] = {}

    def look(backup: Replicated) -> DigestedRow | None:
        return backup.digested_row(arguments.name)

    def take(choice: Choice, found: DigestedRow | None) -> None:
        if found is not None:
            held[choice.manifest.backup_id] = facts_of(*found)

    with reading(arguments, output) as reader:
        asked = Asked(values=False, name=arguments.name, policy=arguments.policy or "", until=arguments.at)
        for _, period in reader.each(asked, look, take, wanted=Wanted(pattern=arguments.name)):
            if period.facts.name == arguments.name:  # and not only like it
                held |= dict.fromkeys(period.backups, period.facts)
        by_source: dict[str, list[tuple[Replicated, Facts | None]]] = {}
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
                "Look for a part: strongroom find '*part*'",
            )
    made = {choice.manifest.backup_id: choice.manifest.created_at for choice in reader.read}
    output.answer(_document(arguments.name, histories, reader, made), _lines(histories, reader, made))


def _lines(histories: Mapping[str, list[Period]], reader: Reader, made: Mapping[str, str]) -> Iterator[str]:
    head = ("SINCE", "UNTIL", "BACKUPS", "VERSION", "WRITTEN", "WHAT", "FIRST BACKUP")
    for source, told in histories.items():
        yield f"Source '{source}':"
        yield from table(head, [_row(period, made) for period in told])
    yield f"{plural(len(reader.read), 'backup')} read."


def _row(period: Period, made: Mapping[str, str]) -> tuple[object, ...]:
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


def _document(
    name: str, histories: Mapping[str, list[Period]], reader: Reader, made: Mapping[str, str]
) -> dict[str, Any]:
    return {
        "name": name,
        "sources": [
            {"source": source, "periods": [_period(period, made) for period in told]}
            for source, told in histories.items()
        ],
        "backups_read": len(reader.read),
        "backups_not_read": reader.not_read,
    }


def _period(period: Period, made: Mapping[str, str]) -> dict[str, Any]:
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
