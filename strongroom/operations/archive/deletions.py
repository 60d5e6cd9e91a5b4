"""Deletions on purpose: backups that will be deleted, or were, by the marks on the targets.

A backup is marked first, and deleted once its time of grace is over. The mark that is set last, its
tombstone, says for good that what is missing on that target is no loss: nobody repairs it there, and nobody
is alarmed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from strongroom.container.marks import DELETION, DeletionMark
from strongroom.errors import StrongroomError
from strongroom.model import Role
from strongroom.operations.engine.statements import StatementsOn, fit, newest_on, write_mark
from strongroom.targets import Target
from strongroom.targets.reading import ManifestListing, Objects
from strongroom.times import rfc3339

if TYPE_CHECKING:  # a restore chooses by these marks, and loads no database
    from strongroom.operations.engine.services import Services
    from strongroom.state.store import RunStore

Places = Mapping[str, StatementsOn[DeletionMark]]
"""The deletion marks of each target that answered."""
FAR_AHEAD = 100
"""A mark that undoes a deletion must count over one on a target that is away, unseen by its writer."""


def make_mark(
    backup: str,
    state: Literal["marked", "undeleted", "deleted"],
    *,
    reason: str,
    after: str = "",
    run: str = "",
    by: str = "",
) -> DeletionMark:
    """Return a mark of now; its number is given when it is written."""
    return DeletionMark(
        backup_id=backup,
        number=1,
        state=state,
        after=after,
        reason=fit(reason),
        run=run,
        by=fit(by),
        at=rfc3339(time.time()),
    )


def write_deletion(services: Services, targets: Sequence[Target], mark: DeletionMark) -> dict[str, str]:
    """Write a mark on each target; return why where it could not be.

    What only the prune workers may say they sign; that a backup is not deleted after all, a person may say.
    """
    return write_mark(
        targets,
        DELETION,
        mark,
        signer=services.signers(Role.CONTROL if mark.by else Role.PRUNE),
        trusted=services.signer_fingerprints,
        ahead=FAR_AHEAD if mark.state == "undeleted" else 1,
    )


def read_deletions(services: Services, *, backup: str = "") -> Places:
    """Return the marks on all targets that answer, of one backup or of all."""
    found: dict[str, StatementsOn[DeletionMark]] = {}
    for name, target in services.targets.items():
        try:
            found[name] = marks_on(target, trusted=services.signer_fingerprints, backup=backup)
        except StrongroomError:  # one that is away says nothing
            continue
    return found


def forget_deleted(store: RunStore, targets: Iterable[Target], *, trusted: frozenset[str]) -> None:
    """Forget the replicas that are gone on purpose, whichever host deleted them."""
    for target in targets:
        with suppress(StrongroomError):  # one that is away comes back
            marks = marks_on(target, trusted=trusted)
            recorded = store.digests(sorted(set(marks.folders) - set(ManifestListing(target).backups)))
            for backup, replicas in store.replicas_of(list(recorded)).items():
                here = any(replica.target == target.name for replica in replicas)
                if here and may_be_gone(marks.newest(backup), now=time.time()):
                    store.drop_replica(backup, target.name)


def deleted_from(target: Target, backup: str, *, trusted: frozenset[str], now: float) -> bool:
    """Tell whether what is missing of a backup on a target is so on purpose. One that is away says no."""
    try:
        mark = marks_on(target, trusted=trusted, backup=backup).newest(backup)
    except StrongroomError:
        return False
    return may_be_gone(mark, now=now)


# -- what they say, without any record ---------------------------------------------------------------


def marks_on(objects: Objects, *, trusted: frozenset[str], backup: str = "") -> StatementsOn[DeletionMark]:
    """Return the marks on one target. Raises TargetError if it does not answer."""
    return StatementsOn(objects, DELETION, trusted=trusted, folder=backup)


def counting(places: Iterable[StatementsOn[DeletionMark]], backup: str) -> DeletionMark | None:
    """Return the mark of a backup that counts over several targets."""
    return newest_on(places, DELETION, backup)


def may_be_gone(mark: DeletionMark | None, *, now: float) -> bool:
    """Tell whether what is missing of a backup is missing on purpose: it was deleted, or is being deleted."""
    return mark is not None and (mark.state == "deleted" or is_over(mark, now=now))


def is_over(mark: DeletionMark, *, now: float) -> bool:
    """Tell whether a backup is marked and its time of grace is over."""
    return mark.state == "marked" and datetime.fromisoformat(mark.after).timestamp() <= now
