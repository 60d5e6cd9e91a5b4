"""validate: secrets that live now, looked at one by one and held against what backups held."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from strongroom.container.errors import DAMAGE
from strongroom.container.manifest import Manifest
from strongroom.errors import SourceError, StrongroomError
from strongroom.keys import Identity
from strongroom.model import ListedSecret, Secret, Selection
from strongroom.operations.archive.coverage import BackupChoice, Passed, describe_skipped
from strongroom.operations.archive.live_comparison import (
    FLOOR,
    Live,
    Numbers,
    batches,
    beside,
    read_each,
    selected,
)
from strongroom.operations.archive.open import Backup, Objects
from strongroom.operations.checks.value_checks import SecretFinding, check
from strongroom.sources import Destination, Source
from strongroom.sources.batches import matches
from strongroom.words import plural

# -- validate: secrets that live now, looked at one by one and held against what a backup held ---
#
# Read in batches: memory is bounded by one of them, by what was found, and by a number for each secret of a
# backup that is compared. Values are compared in constant time, and never leave this process.


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


# -- validate --production: each policy's source now, held against what its newest backup held ---
#
# As deep as this host can: where it has a key that opens the backup, values; where the backup has none,
# names; without a key, counts. What is said names the depth that was reached.


class Reached(StrEnum):
    """How deep a source was compared with a backup."""

    NOTHING = "nothing"
    COUNTED = "counted"
    NAMES = "names"
    VALUES = "values"


class PolicyComparison(Struct, frozen=True, kw_only=True):
    """A policy's source, and the backup of it that a restore takes: their counts, and what was compared."""

    policy: str
    source: str
    backup: str = ""
    created_at: str = ""
    held: int = 0
    now: int = 0
    depth: Reached = Reached.NOTHING
    compared: LiveComparison | None = None
    findings: tuple[SecretFinding, ...] = ()


def hold(
    policy: str,
    source: Source,
    selection: Selection,
    choice: BackupChoice,
    *,
    identities: Sequence[Identity],
    trusted: frozenset[str],
) -> PolicyComparison:
    """Compare a policy's source with one of its backups.

    Raises:
        SourceError: the source did not answer.
    """
    manifest = choice.manifest
    held = PolicyComparison(
        policy=policy,
        source=source.name,
        backup=manifest.backup_id,
        created_at=manifest.created_at,
        held=manifest.counts.secrets,
        now=sum(1 for _ in selected(source, selection)),
        depth=Reached.COUNTED,
    )
    held = replace(held, findings=tuple(_fewer(held)))
    failed: dict[str, StrongroomError] = {}
    for replica in choice.replicas:
        try:
            secrets = _secrets(replica.objects, manifest, identities, trusted)
            return _compared(held, source, selection, manifest, secrets)
        except SourceError:
            raise
        except StrongroomError as error:
            failed[replica.name] = error
    return _with(held, _not_compared(held, failed))


def _not_compared(held: PolicyComparison, failed: Mapping[str, StrongroomError]) -> SecretFinding:
    """Say why secrets were counted alone. No key here is a remark; no replica that is whole is not."""
    why = "; ".join(f"{name}: {error.message}" for name, error in failed.items())
    if failed and all(isinstance(error, DAMAGE) for error in failed.values()):
        return _about(held.policy, "backup-damaged", f"no replica of backup {held.backup} is whole; {why}")
    text = f"backup {held.backup} could not be opened, so its secrets were counted alone; {why}"
    return _about(held.policy, "not-compared", text, wrong=False)


def _compared(
    held: PolicyComparison,
    source: Source,
    selection: Selection,
    manifest: Manifest,
    secrets: Iterator[Secret],
) -> PolicyComparison:
    counts, findings = against(source, selection, secrets, strict=False, by_name=not manifest.values)
    depth = Reached.VALUES if manifest.values else Reached.NAMES
    return _with(replace(held, compared=counts, depth=depth), *findings)


def _secrets(
    target: Objects, manifest: Manifest, identities: Sequence[Identity], trusted: frozenset[str]
) -> Iterator[Secret]:
    return Backup(target, manifest, identities, trusted=trusted).secrets()


def _fewer(held: PolicyComparison) -> Iterator[SecretFinding]:
    """Less than expected is an alarm, and not a success (counts and floors, as for a backup itself)."""
    if held.now < FLOOR * held.held:
        text = f"its source holds {plural(held.now, 'secret')}, and backup {held.backup} held {held.held:,}"
        yield _about(held.policy, "fewer", text)


def passed_over(held: PolicyComparison, passed: Iterable[Passed]) -> PolicyComparison:
    """Say which newer backups of the policy were not taken, and why."""
    lines = describe_skipped(set_aside for set_aside in passed if set_aside.policy == held.policy)
    newer = (
        _about(held.policy, "passed-over", f"newer, but not used: {line}", wrong=False) for line in lines
    )
    return _with(held, *newer)


def no_backup(policy: str, source: str, error: StrongroomError, *, known: bool) -> PolicyComparison:
    """Say that there is nothing to compare with, which is wrong where the record knows a backup."""
    text = f"no backup of it can be had here, so its source was compared with nothing: {error.message}"
    return PolicyComparison(
        policy=policy, source=source, findings=(_about(policy, "no-backup", text, wrong=known),)
    )


UNREADABLE: Final = "source-unreadable"


def unreadable(source: str, error: StrongroomError) -> SecretFinding:
    """Say that a source did not let itself be looked at."""
    text = f"it cannot be read: {error.message} ({error.code})"
    return SecretFinding(secret="", source=source, check=UNREADABLE, text=text)


def nothing_there(source: str) -> SecretFinding:
    """Say that a source of production holds nothing of what its policies mean: a loss looks like that."""
    return SecretFinding(
        secret="", source=source, check="nothing-there", text="it holds no secret that a policy means"
    )


def _about(policy: str, check: str, text: str, *, wrong: bool = True) -> SecretFinding:
    return SecretFinding(secret="", check=check, text=f"policy '{policy}': {text}", wrong=wrong)


def _with(held: PolicyComparison, *findings: SecretFinding) -> PolicyComparison:
    return replace(held, findings=(*held.findings, *findings))
