"""validate: secrets that live now, looked at one by one and held against what a backup held.

Read in batches: memory is bounded by one of them, by what was found, and by a number for each secret of a
backup that is compared. Values are compared in constant time, and never leave this process.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from strongroom.errors import StrongroomError
from strongroom.model import ListedSecret, Secret, Selection
from strongroom.operations.archive.live_comparison import (
    Live,
    Numbers,
    batches,
    beside,
    read_each,
    selected,
)
from strongroom.operations.validation.value_checks import SecretFinding, check
from strongroom.sources import Destination, Source
from strongroom.sources.select import matches

Progress = Callable[[int], object]
Kept = Callable[[Secret], Secret]


class LiveComparison(Struct, frozen=True, kw_only=True):
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
    findings: tuple[SecretFinding, ...]
    compared: LiveComparison | None = None


# -- one by one ----------------------------------------------------------------------


OTHERWISE: Final = frozenset({"missing", "differs", "unreadable"})
"""What tells that a secret is not as it is in the backup that it was restored from. Whatever else stands out
was so before the loss."""


def values(
    source: Source,
    entries: Iterable[ListedSecret],
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
    looked, findings = 0, list[SecretFinding]()
    for batch in batches(entries):
        for entry, secret in zip(batch, read_each(source, batch), strict=True):
            if isinstance(secret, Secret):
                findings += check(secret, now=now, demanded=demanded)
            else:
                findings.append(_unread(entry.name, secret))
        looked += len(batch)
        progress(len(batch))
    return Validated(source=source.name, secrets=looked, findings=tuple(findings))


def _unread(name: str, error: StrongroomError | None) -> SecretFinding:
    if error is None:
        return _missing(name, "it is not there")
    return SecretFinding(
        secret=name, check="unreadable", text=f"it cannot be read: {error.message} ({error.code})"
    )


def _missing(name: str, text: str) -> SecretFinding:
    return SecretFinding(secret=name, check="missing", text=text)


# -- against a backup ------------------------------------------------------------------


def against(
    source: Source, selection: Selection, kept: Iterable[Secret], *, strict: bool, by_name: bool = False
) -> tuple[LiveComparison, list[SecretFinding]]:
    """Compare a source with the secrets of a backup, whatever their order.

    A secret is meant if the selection means it on either side: its tags may have changed.

    Args:
        strict: whether a value that differs is wrong. Against the newest backup of a policy it is not: it may
            have been changed at the source since.
        by_name: whether the backup holds no values, so that names alone can be compared.
    """
    seen, counts, findings = Numbers(), LiveComparison(), list[SecretFinding]()
    kept_by = _keeps(source)
    for name, wanted, live in beside(source, ((secret.name, secret) for secret in kept)):
        seen.set(name, 0)
        if not _meant(selection, wanted, live):
            continue
        there = by_name and isinstance(live, Secret)
        field, finding = ("same", None) if there else compare(wanted, live, strict=strict, kept=kept_by)
        counts = _plus(counts, field)
        findings += [finding] if finding else []
    for entry in selected(source, selection):
        if seen.get(entry.name) is None:
            counts = _plus(counts, "not_in_backup")
            findings.append(not_in_backup(entry.name))
    return counts, findings


def _meant(selection: Selection, secret: Secret, live: Live) -> bool:
    return matches(selection, secret) or (isinstance(live, Secret) and matches(selection, live))


def compare(wanted: Secret, live: Live, *, strict: bool, kept: Kept) -> tuple[str, SecretFinding | None]:
    """Return which of :class:`Compared` one secret adds to, and what is to be said of it."""
    if live is None:
        return "missing", _missing(wanted.name, "the backup holds it, and the source does not")
    if not isinstance(live, Secret):
        return "differs", _unread(wanted.name, live)
    if _equal(kept(wanted), kept(live)):
        return "same", None
    text = "its value is not the one of the backup"
    return "differs", SecretFinding(secret=wanted.name, check="differs", text=text, wrong=strict)


def _keeps(source: Source) -> Kept:
    """Return what brings a secret into the spelling in which a source that cannot keep all of it has it."""
    return source.kept if isinstance(source, Destination) else lambda secret: secret


def _equal(secret: Secret, live: Secret) -> bool:
    """Compare the newest values: in constant time, by the values' own equality."""
    return (secret.current.value, secret.current.state) == (live.current.value, live.current.state)


def _plus(counts: LiveComparison, field: str) -> LiveComparison:
    names = LiveComparison.__struct_fields__
    return LiveComparison(**{name: getattr(counts, name) + (name == field) for name in names})


def by_names(
    source: Source, names: Sequence[str], find: Callable[[str], Secret | None]
) -> tuple[LiveComparison, list[SecretFinding]]:
    """Compare the secrets that somebody named; ``find`` looks one up in the backup."""
    counts, findings = LiveComparison(), list[SecretFinding]()
    for name, _, live in beside(source, ((name, None) for name in names)):
        field, finding = _looked_up(name, find(name), live, _keeps(source))
        counts = _plus(counts, field)
        findings += [finding] if finding else []
    return counts, findings


def _looked_up(name: str, secret: Secret | None, live: Live, kept: Kept) -> tuple[str, SecretFinding | None]:
    if secret is None:
        return "not_in_backup", not_in_backup(name)
    return compare(secret, live, strict=True, kept=kept)


def not_in_backup(name: str) -> SecretFinding:
    """Say that a backup lacks a secret: it may be newer."""
    return SecretFinding(secret=name, check="not-in-backup", text="the backup does not hold it", wrong=False)
