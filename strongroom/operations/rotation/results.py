"""What the steps of a rotation return, and what is known of one."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import UNSET, Struct, UnsetType

from strongroom.model import prepare
from strongroom.operations.backup.facts import PlannedPieces
from strongroom.operations.key_management.exposure import StillOpens
from strongroom.operations.rotation.rewrap import KeyRotated
from strongroom.operations.runs.job import read_facts
from strongroom.state.records import Run


class BackupRotationPlan(Struct, frozen=True, kw_only=True):
    """The facts that a rotation begins with: the backups, by their place in the plan."""

    plan: PlannedPieces
    backups: tuple[str, ...]


class BackupRotated(Struct, frozen=True, kw_only=True):
    """What a backup was and is. ``missed`` says why a target was not reached.

    ``keys`` are those that were re-wrapped, ``indexes`` those of its indexes of names, and ``unopened`` why
    one of these was not. ``new`` is the backup that it was re-encrypted to,
    ``verified`` how deep that was read back. ``still`` says where keys that were rotated away still open it.
    """

    backup: str
    sealed: bool
    missed: Mapping[str, str]
    keys: tuple[KeyRotated, ...] | UnsetType = UNSET
    indexes: tuple[KeyRotated, ...] | UnsetType = UNSET
    unopened: str | UnsetType = UNSET
    new: str | UnsetType = UNSET
    verified: str | UnsetType = UNSET
    still: tuple[StillOpens, ...] | UnsetType = UNSET


class SliceRewrapped(Struct, frozen=True, kw_only=True):
    """What became of a slice: its backups, and the places in the plan of those that go ``alone``. ``rest`` is
    where the next slice begins: at this one's end, if nothing is left."""

    backups: tuple[BackupRotated, ...]
    alone: tuple[int, ...]
    rest: int


prepare(BackupRotationPlan, SliceRewrapped)


def backups_of(run: Run) -> tuple[str, ...]:
    """Return the backups that a rotation is about, in the order of its plan."""
    return read_facts(run, BackupRotationPlan).backups
