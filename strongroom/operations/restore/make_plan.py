"""make_plan: look at a backup and a destination, and write down what a restore will do. Reads only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence

from msgspec.structs import replace

from strongroom.container.manifest import Manifest
from strongroom.operations.archive.salvage import LostParts
from strongroom.operations.archive.shortfall import MissingSecret
from strongroom.operations.restore.plan import (
    FIRST,
    TELLS,
    EarlierBackup,
    Note,
    PlanEntry,
    RestoreAction,
    RestorePlan,
    encode_entry,
    manifest_digest,
)
from strongroom.operations.restore.record import spelled
from strongroom.operations.restore.restore import Choose, plan_restore
from strongroom.sources import Destination

STANDS_IN = "its part of the backup is damaged"
"""Why a plan takes a secret from an earlier backup that the planned one would give were it whole."""


def _own(name: str) -> str:
    return ""


def _missing(missing_secret: MissingSecret, asked: RestorePlan) -> PlanEntry:
    return PlanEntry(
        name=spelled(missing_secret.name),
        to=spelled(asked.relocation.there(missing_secret.name)),
        action=RestoreAction.MISSING,
        version=missing_secret.version,
        written_at=missing_secret.written_at or missing_secret.created_at,
        backup=missing_secret.backup,
    )


def _lost(name: str, asked: RestorePlan) -> PlanEntry:
    return PlanEntry(name=spelled(name), to=spelled(asked.relocation.there(name)), action=RestoreAction.LOST)


def _none() -> tuple[()]:
    return ()


def make_plan(
    asked: RestorePlan,
    choose: Choose,
    destination: Destination,
    *,
    note: Note,
    first: Sequence[str] = FIRST,
    tried: frozenset[str] = frozenset(),
    backup_of: Callable[[str], str] = _own,
    missing: Iterable[MissingSecret] = (),
    earlier: Callable[[], Iterable[Manifest]] = _none,
    lost: Callable[[], LostParts | None] = lambda: None,
    stands_in: Callable[[str], bool] = lambda name: False,
) -> RestorePlan:
    """Give ``note`` each entry in the order in which it will be done, and return the plan's head.

    Args:
        asked: the head as far as it is known before: its ``totals`` and ``entries`` are filled in.
        choose: gives what is asked for, under the backup's own names.
        first: tags of the secrets that come before the others.
        tried: what interrupted restores were writing.
        backup_of: names the earlier backup that a secret is taken from; empty for the plan's own.
        missing: what it lacks and is not taken from another one.
        earlier: gives the backups that something was taken from, when all is known.
        lost: says what of the backup could not be read, when all was.
        stands_in: tells whether a secret is from an earlier backup because its part of this one is lost.
    """
    entries = hashlib.sha256()

    def keep(entry: PlanEntry) -> None:
        if entry.action not in TELLS:
            why = entry.why or (STANDS_IN if stands_in(entry.name) else "")
            entry = replace(entry, backup=backup_of(entry.name), why=why)
        entries.update(encode_entry(entry))
        note(entry)

    totals = plan_restore(
        choose,
        destination,
        overwrite=asked.overwrite,
        relocation=asked.relocation,
        first=first,
        note=keep,
        tried=tried,
        newest_only=asked.secret_version is not None,
    )
    for missing_secret in missing:
        if asked.relocation.covers(missing_secret.name):
            keep(_missing(missing_secret, asked))
    found = lost()
    for name in found.names if found is not None else ():
        if asked.relocation.covers(name):
            keep(_lost(name, asked))
    return replace(
        asked,
        totals=totals,
        entries=entries.hexdigest(),
        earlier=tuple(map(_earlier, earlier())),
        lost=found,
    )


def _earlier(manifest: Manifest) -> EarlierBackup:
    return EarlierBackup(
        backup=manifest.backup_id, manifest=manifest_digest(manifest), created_at=manifest.created_at
    )
