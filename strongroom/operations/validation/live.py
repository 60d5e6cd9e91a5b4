"""validate: secrets that live now, looked at one by one and held against what a backup held.

Read in batches: memory is bounded by one of them, by what was found, and by a number for each secret of a
backup that is compared. Values are compared in constant time, and never leave this process.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice

from msgspec import Struct

from strongroom.container.errors import DAMAGE
from strongroom.errors import SourceError, StrongroomError
from strongroom.model import Entry, Secret, Selection
from strongroom.operations.validation.value_checks import Finding, check
from strongroom.sources import Lossy, Source
from strongroom.sources.select import matches

BATCH = 1_000

Progress = Callable[[int], object]
Kept = Callable[[Secret], Secret]


class Compared(Struct, frozen=True, kw_only=True):
    """How many values are as in a backup, are otherwise, are missing from the source, or from the backup."""

    same: int = 0
    differs: int = 0
    missing: int = 0
    not_in_backup: int = 0


class Validated(Struct, frozen=True, kw_only=True):
    """What was found in a source: how many secrets were checked, and what stands out.

    ``compared`` is left out where there was no backup to compare with.
    """

    source: str
    secrets: int
    findings: tuple[Finding, ...]
    compared: Compared | None = None


# -- one by one ----------------------------------------------------------------------


def selected(source: Source, selection: Selection) -> Iterator[Entry]:
    """Yield what a selection means in a source."""
    listed = source.list(with_tags=bool(selection.tags))
    return (entry for entry in listed if matches(selection, entry))


def values(
    source: Source,
    entries: Iterable[Entry],
    *,
    now: datetime,
    demanded: bool = False,
    progress: Progress = lambda _: None,
) -> Validated:
    """Read secrets and check each by itself.

    Args:
        demanded: whether somebody named them: see ``value_checks.check``.

    Raises:
        SourceError: the source itself did not answer. What is wrong with one secret is a finding.
    """
    looked, findings = 0, list[Finding]()
    for batch in _batches(entries):
        for entry, secret in zip(batch, _read(source, batch), strict=True):
            if isinstance(secret, Secret):
                findings += check(secret, now=now, demanded=demanded)
            else:
                findings.append(_unread(entry.name, secret))
        looked += len(batch)
        progress(len(batch))
    return Validated(source=source.name, secrets=looked, findings=tuple(findings))


def _batches(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    iterator = iter(entries)
    while batch := list(islice(iterator, BATCH)):
        yield batch


def _read(source: Source, batch: Sequence[Entry]) -> Iterator[Secret | StrongroomError | None]:
    """Yield each secret, or what is wrong with it: one that is damaged must not hide the others."""
    given = 0
    try:
        for secret in source.read(batch):
            yield secret
            given += 1
    except (*DAMAGE, SourceError) as error:
        if error.transient:
            raise
        for entry in batch[given:]:
            yield _alone(source, entry)


def _alone(source: Source, entry: Entry) -> Secret | StrongroomError | None:
    try:
        return next(iter(source.read([entry])), None)
    except (*DAMAGE, SourceError) as error:
        if error.transient:
            raise
        return error


def _unread(name: str, error: StrongroomError | None) -> Finding:
    if error is None:
        return _missing(name, "it is not there")
    return Finding(secret=name, check="unreadable", text=f"it cannot be read: {error.message} ({error.code})")


def _missing(name: str, text: str) -> Finding:
    return Finding(secret=name, check="missing", text=text)


# -- against a backup ------------------------------------------------------------------


def against(
    source: Source, selection: Selection, kept: Iterable[Secret], *, strict: bool, by_name: bool = False
) -> tuple[Compared, list[Finding]]:
    """Compare a source with the secrets of a backup, whatever their order.

    A secret is meant if the selection means it on either side: its tags may have changed.

    Args:
        strict: whether a value that differs is wrong. Against the newest backup of a policy it is not: it may
            have been changed at the source since.
        by_name: whether the backup holds no values, so that names alone can be compared.
    """
    seen = array("q")  # a number in place of each name, which would take ten times as much
    counts, findings = Compared(), list[Finding]()
    kept_by = _keeps(source)
    iterator = iter(kept)
    while batch := list(islice(iterator, BATCH)):
        seen.extend(hash(secret.name) for secret in batch)
        for wanted, live in zip(batch, _read(source, _entries(batch)), strict=True):
            if not _meant(selection, wanted, live):
                continue
            there = by_name and isinstance(live, Secret)
            field, finding = ("same", None) if there else compare(wanted, live, strict=strict, kept=kept_by)
            counts = _plus(counts, field)
            findings += [finding] if finding else []
    for name in _absent(seen, selected(source, selection)):
        counts = _plus(counts, "not_in_backup")
        findings.append(not_in_backup(name))
    return counts, findings


def _entries(batch: Sequence[Secret]) -> list[Entry]:
    return [Entry(secret.name, 0) for secret in batch]


def _meant(selection: Selection, secret: Secret, live: Secret | StrongroomError | None) -> bool:
    return matches(selection, secret) or (isinstance(live, Secret) and matches(selection, live))


def compare(
    wanted: Secret, live: Secret | StrongroomError | None, *, strict: bool, kept: Kept
) -> tuple[str, Finding | None]:
    """Return which of :class:`Compared` one secret adds to, and what is to be said of it."""
    if live is None:
        return "missing", _missing(wanted.name, "the backup holds it, and the source does not")
    if not isinstance(live, Secret):
        return "differs", _unread(wanted.name, live)
    if _equal(kept(wanted), kept(live)):
        return "same", None
    text = "its value is not the one of the backup"
    return "differs", Finding(secret=wanted.name, check="differs", text=text, wrong=strict)


def _keeps(source: Source) -> Kept:
    """Return what brings a secret into the spelling in which a source that cannot keep all of it has it."""
    return source.kept if isinstance(source, Lossy) else lambda secret: secret


def _equal(secret: Secret, live: Secret) -> bool:
    """Compare the newest values: in constant time, by the values' own equality."""
    return (secret.current.value, secret.current.state) == (live.current.value, live.current.state)


def _plus(counts: Compared, field: str) -> Compared:
    names = Compared.__struct_fields__
    return Compared(**{name: getattr(counts, name) + (name == field) for name in names})


def _absent(seen: Iterable[int], entries: Iterable[Entry]) -> Iterator[str]:
    """Yield the names whose hash was not seen. Each process keys hashes anew: nobody makes two meet."""
    known = sorted(seen)
    for entry in entries:
        number = hash(entry.name)
        at = bisect_left(known, number)
        if at == len(known) or known[at] != number:
            yield entry.name


def by_names(
    source: Source, names: Sequence[str], find: Callable[[str], Secret | None]
) -> tuple[Compared, list[Finding]]:
    """Compare the secrets that somebody named; ``find`` looks one up in the backup."""
    counts, findings = Compared(), list[Finding]()
    for name, live in zip(names, _read(source, [Entry(name, 0) for name in names]), strict=True):
        field, finding = _looked_up(name, find(name), live, _keeps(source))
        counts = _plus(counts, field)
        findings += [finding] if finding else []
    return counts, findings


def _looked_up(
    name: str, secret: Secret | None, live: Secret | StrongroomError | None, kept: Kept
) -> tuple[str, Finding | None]:
    if secret is None:
        return "not_in_backup", not_in_backup(name)
    return compare(secret, live, strict=True, kept=kept)


def not_in_backup(name: str) -> Finding:
    """Say that a backup lacks a secret: it may be newer."""
    return Finding(secret=name, check="not-in-backup", text="the backup does not hold it", wrong=False)
