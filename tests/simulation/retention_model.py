"""Retention twice: the real ``judge`` over the simulated backups, and a plain model of which are kept.

The model says for each backup by itself whether it is kept, by comparing it with every other.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from datetime import datetime, tzinfo
from functools import lru_cache
from typing import TYPE_CHECKING

from strongroom.model import Depth
from strongroom.operations.engine.services import KeepRules
from strongroom.operations.retention import rules
from strongroom.operations.retention.rules import Candidate, Judgement
from tests.simulation.faults import DAY
from tests.simulation.installation import Backup

if TYPE_CHECKING:
    from tests.simulation.year import Year


def judge(year: Year, *, now: float) -> tuple[Judgement, ...]:
    """Judge every backup by the real rules, and hold that against the plain model."""
    candidates = [candidate(year, backup) for backup in year.installation.backups.values()]
    needed, held = year.needed(), year.held()
    keep = {name: policy.keep for name, policy in year.installation.policies.items()}
    judged = rules.judge(candidates, keep, needed=needed, held=held, now=now)
    kept = {one.backup for one in judged if one.keeps}
    wanted = kept_by_model(candidates, keep, {*needed, *held}, now)
    if lost := sorted(wanted - kept):
        raise year.broken("no backup is dropped that a rule keeps", lost[0])
    if more := sorted(kept - wanted):
        raise year.broken("what no rule keeps is dropped", more[0])
    return judged


def kept(year: Year, policy: str) -> set[str]:
    """Return the backups of a policy that are kept at the true time, by the plain model."""
    found = [candidate(year, backup) for backup in year.installation.of(policy)]
    keep = {policy: year.installation.policies[policy].keep}
    return kept_by_model(found, keep, {*year.needed(), *year.held()}, year.now)


def candidate(year: Year, backup: Backup) -> Candidate:
    """Return a backup as the targets that answer and the record show it."""
    policy = year.installation.policies[backup.policy]
    whole = [name for name, copy in backup.copies.items() if year.shows(backup, name)]
    read = [name for name in whole if backup.copies[name].good and backup.copies[name].verified_at]
    return Candidate(
        backup=backup.name,
        policy=backup.policy,
        source="vault",
        created_at=backup.made_at,
        values=True,
        selection=policy.spec.selection,
        secrets=backup.secrets,
        size=backup.secrets * 100,
        whole=len(whole) >= policy.spec.quorum,
        verified=Depth.DIGEST if len(read) >= policy.spec.quorum else None,
    )


# -- the plain model -----------------------------------------------------------------------------------------

PartOf = Callable[[Candidate], Hashable]


def kept_by_model(
    candidates: Sequence[Candidate], keep: Mapping[str, KeepRules], wanted: set[str], now: float
) -> set[str]:
    """Return which backups are kept."""
    kept: set[str] = set()
    for name, terms in keep.items():
        scope = sorted((one for one in candidates if one.policy == name), key=lambda one: -one.created_at)
        ahead = {one.backup for one in scope if one.created_at > now + rules.AHEAD}
        scope = [one for one in scope if one.backup not in ahead]
        kept |= ahead | _kept(scope, terms, wanted, now)
    return kept


def _kept(scope: Sequence[Candidate], terms: KeepRules, wanted: set[str], now: float) -> set[str]:
    kept: set[str] = set()
    verified = [one for one in scope if one.whole and one.verified is not None]
    for one in scope:
        newer = [other for other in verified if other.created_at > one.created_at]
        if (
            one.backup in wanted
            or not newer
            or not (terms.last or terms.daily or terms.weekly or terms.monthly or terms.yearly)
            or one.created_at > now - terms.minimum_days * DAY
            or any(_is_chosen(one, newer, count, part) for count, part in _rules(terms))
            or not any(other.backup in kept and other.secrets >= 0.9 * one.secrets for other in newer)
        ):
            kept.add(one.backup)
    return kept


def _is_chosen(one: Candidate, newer: Sequence[Candidate], count: int, part_of: PartOf) -> bool:
    """Tell whether it is the newest of its part, and fewer than ``count`` parts are newer."""
    parts = {part_of(other) for other in newer}
    return part_of(one) not in parts and len(parts) < count


def _rules(terms: KeepRules) -> list[tuple[int, PartOf]]:
    def part(form: str) -> PartOf:
        return lambda one: _written(one.created_at, terms.zone, form)

    found: list[tuple[int, PartOf]] = [
        (max(terms.last, terms.minimum_count), lambda one: one.backup),
        (terms.daily, part("%Y-%m-%d")),
        (terms.weekly, part("%G-%V")),
        (terms.monthly, part("%Y-%m")),
        (terms.yearly, part("%Y")),
    ]
    return [(count, part_of) for count, part_of in found if count]


@lru_cache(maxsize=100_000)
def _written(at: float, zone: tzinfo, form: str) -> str:
    return datetime.fromtimestamp(at, zone).strftime(form)
