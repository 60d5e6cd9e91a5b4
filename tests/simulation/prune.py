"""Deleting: marked first, deleted after a grace, target by target; and what must never be deleted.

Which backups are dropped the real rules say (:func:`tests.simulation.retention_model.judge`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.simulation import retention_model
from tests.simulation.faults import DAY
from tests.simulation.installation import Backup

if TYPE_CHECKING:
    from tests.simulation.year import Year

GRACE: Final = 7 * DAY


def prune(year: Year) -> None:
    """Mark what no rule keeps, and delete what was marked long enough ago and still is kept by none."""
    judged = retention_model.judge(year, now=year.host_clock())
    marks = year.installation.marked
    for one in judged:
        if one.keeps:
            year.installation.unmark(one.backup, year.now)
        else:
            marks.setdefault(one.backup, year.now)
    for one in judged:
        if not one.keeps and may_delete(year, one.backup, one.successor):
            backup = year.installation.backups[one.backup]
            for name in list(backup.copies):
                if is_free(year, backup, name, one.successor):
                    delete(year, backup, name)


def may_delete(year: Year, backup: str, successor: str) -> bool:
    """Tell whether a mark's grace is over."""
    return year.now >= year.installation.marked[backup] + GRACE


def is_free(year: Year, backup: Backup, target: str, successor: str) -> bool:
    """Tell whether a target gives a backup away: it answers, holds no lock, and shows the successor."""
    other = year.installation.backups[successor]
    there = target in other.copies and year.shows(other, target)
    return there and not year.is_on("target away", target) and backup.copies[target].locked_until <= year.now


def delete(year: Year, backup: Backup, target: str) -> None:
    """Delete a replica, after holding that against what must never be deleted."""
    check(year, backup, target)
    year.counts["replicas deleted"] += 1
    del backup.copies[target]
    if not backup.copies:
        del year.installation.backups[backup.name]
        year.installation.marked.pop(backup.name, None)
        year.installation.degraded.pop(backup.name, None)


def check(year: Year, backup: Backup, target: str) -> None:
    """Refuse to delete what is needed, held, locked, not marked for long enough, or the last of its kind."""
    rule = "nothing that is needed is deleted"
    what = f"{backup.name} on {target}"
    if backup.name in year.held() or backup.name in year.needed():
        raise year.broken(rule, f"{what} is held or needed")
    if backup.copies[target].locked_until > year.now:
        raise year.broken(rule, f"{what} is locked")
    if year.now - year.installation.marked.get(backup.name, year.now) < GRACE:
        raise year.broken(rule, f"{what} was not marked for long enough")
    newer = [one for one in year.installation.of(backup.policy) if one.made_at > backup.made_at]
    if not any(one.is_verified and one.secrets >= 0.9 * backup.secrets for one in newer):
        raise year.broken(rule, f"no newer verified backup covers {what}")
    if not any(one.can_be_restored() for one in newer):
        raise year.broken(rule, f"nothing newer than {what} can be restored")
